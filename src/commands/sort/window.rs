//! The order in which SORT leaves equal elements when it wants only a window of them.
//!
//! Redis sorts a window with the quicksort of Bentley and McIlroy ("Engineering a Sort Function",
//! 1993), passing over the parts that lie outside. Where elements compare as equal, what stands in
//! the window follows from the steps that it takes; `SORT ... STORE` reaches replicas as it was
//! sent, so the same steps have to be taken here for both to store the same.
//!
//! Invariant: what is inside the window is what a full sort would put there, up to the order of
//! equals.

use std::cmp::Ordering;

/// Up to so many elements are sorted by insertion.
const FEW: usize = 7;
/// From so many on the middle of three middles divides.
const MANY: usize = 40;

/// Sorts `items` as far as the window `start..end` is concerned.
pub(super) fn sort_window<T>(
    mut items: &mut [T],
    (mut start, mut end): (usize, usize),
    order: &impl Fn(&T, &T) -> Ordering,
) {
    while items.len() >= FEW {
        items.swap(0, divider(items, order));
        let (less, greater) = divide(items, order);
        let from = items.len() - greater;
        let (rest, above) = items.split_at_mut(from);
        let below = &mut rest[..less];
        let of_above = (start.saturating_sub(from), end.saturating_sub(from));
        let of_below = (start.min(less), end.min(less));
        // The parts know nothing of each other: the longer one comes next, the stack stays small.
        let (shorter, of_shorter) = match less < greater {
            true => {
                (items, start, end) = (above, of_above.0, of_above.1);
                (below, of_below)
            }
            false => {
                (items, start, end) = (below, of_below.0, of_below.1);
                (above, of_above)
            }
        };
        if of_shorter.0 < of_shorter.1 {
            sort_window(shorter, of_shorter, order);
        }
        if start == end {
            return;
        }
    }
    insert(items, order);
}

/// Sorts a few elements.
fn insert<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) {
    for from in 1..items.len() {
        let mut at = from;
        while at > 0 && order(&items[at - 1], &items[at]).is_gt() {
            items.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Which element divides the others.
fn divider<T>(items: &[T], order: &impl Fn(&T, &T) -> Ordering) -> usize {
    let len = items.len();
    let middle_of = |a: usize, b: usize, c: usize| {
        let is = |one: usize, other: usize| order(&items[one], &items[other]);
        match is(a, b).is_lt() {
            true if is(b, c).is_lt() => b,
            true if is(a, c).is_lt() => c,
            true => a,
            false if is(b, c).is_gt() => b,
            false if is(a, c).is_lt() => a,
            false => c,
        }
    };
    let (low, middle, high) = (0, len / 2, len - 1);
    if len <= FEW {
        return middle;
    }
    if len <= MANY {
        return middle_of(low, middle, high);
    }
    let step = len / 8;
    let low = middle_of(low, low + step, low + 2 * step);
    let middle = middle_of(middle - step, middle, middle + step);
    let high = middle_of(high - 2 * step, high - step, high);
    middle_of(low, middle, high)
}

/// Divides by the first element: gives how many are less, which come first, and how many are
/// greater, which come last.
fn divide<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let len = items.len();
    // Equals are gathered before `a` and behind `d`; `b` and `c` go to meet each other.
    let (mut a, mut b, mut c, mut d) = (1, 1, len - 1, len - 1);
    loop {
        while b <= c && order(&items[b], &items[0]).is_le() {
            if order(&items[b], &items[0]).is_eq() {
                items.swap(a, b);
                a += 1;
            }
            b += 1;
        }
        while b <= c && order(&items[c], &items[0]).is_ge() {
            if order(&items[c], &items[0]).is_eq() {
                items.swap(c, d);
                d -= 1;
            }
            c -= 1;
        }
        if b > c {
            break;
        }
        items.swap(b, c);
        b += 1;
        c -= 1;
    }
    let (less, greater) = (b - a, d - c);
    swap_blocks(items, 0, b, a.min(less));
    swap_blocks(items, b, len, greater.min(len - 1 - d));
    (less, greater)
}

/// Exchanges the `count` elements from `at` on with those before `end`.
fn swap_blocks<T>(items: &mut [T], at: usize, end: usize, count: usize) {
    for step in 0..count {
        items.swap(at + step, end - count + step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn windows_hold_what_a_full_sort_puts_there() {
        let mut rng = SmallRng::seed_from_u64(3);
        for _ in 0..3000 {
            let len = rng.random_range(0..120);
            let kinds = rng.random_range(1..30);
            let mut items: Vec<u32> = (0..len).map(|_| rng.random_range(0..kinds)).collect();
            let mut sorted = items.clone();
            sorted.sort_unstable();
            let start = rng.random_range(0..=len);
            let end = rng.random_range(start..=len);
            sort_window(&mut items, (start, end), &u32::cmp);
            assert_eq!(items[start..end], sorted[start..end]);
            items.sort_unstable();
            assert_eq!(items, sorted);
        }
    }
}
