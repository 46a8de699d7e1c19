//! Whether two byte strings are the same, for the short ones that keys and members are: without a
//! call, by whole words that may overlap.

/// Whether `a` and `b` are the same bytes.
#[inline(always)]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        8..=16 => ends::<8>(a) == ends::<8>(b),
        17..=32 => ends::<16>(a) == ends::<16>(b),
        4..=7 => ends::<4>(a) == ends::<4>(b),
        1..=3 => (a[0], a[a.len() / 2], a[a.len() - 1]) == (b[0], b[b.len() / 2], b[b.len() - 1]),
        _ => a == b,
    }
}

/// The first and the last `N` bytes.
#[inline(always)]
fn ends<const N: usize>(bytes: &[u8]) -> (Option<&[u8; N]>, Option<&[u8; N]>) {
    (bytes.first_chunk(), bytes.last_chunk())
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn every_byte_counts_at_every_length() {
        for len in 0..80 {
            let text: Vec<u8> = (0..len).map(|at| (at * 7 + 3) as u8).collect();
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other), "byte {at} of {len}");
            }
        }
    }
}
