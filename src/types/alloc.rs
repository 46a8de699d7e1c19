//! What the allocator really hands out for a request, so that sizes are true without asking it.
//!
//! The classes are mimalloc's on 64-bit machines: 8, then steps of 16 up to 64, then four classes
//! to each power of two. Sizes counted this way are the same in every process, whatever allocator
//! an embedding application uses, so tests of memory are deterministic.

/// Bytes that a heap block of `bytes` takes; 0 for an empty block, which is never allocated.
pub const fn class(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 64 {
        return (bytes + 15) & !15;
    }
    let top = usize::BITS - 1 - (bytes - 1).leading_zeros();
    let step = 1usize << (top - 2);
    (bytes + step - 1) & !(step - 1)
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_are_mimallocs() {
        let got: Vec<usize> = [0, 1, 8, 9, 16, 17, 33, 64, 65, 81, 97, 113, 129, 161, 257, 1025]
            .iter()
            .map(|&bytes| class(bytes))
            .collect();
        assert_eq!(got, [0, 8, 8, 16, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 320, 1280]);
    }
}
