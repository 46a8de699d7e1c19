//! Walking over things that lie anywhere in memory: the processor is asked for each of them some
//! steps before its turn, so that the walk waits for memory as a whole and not item by item.

/// Steps ahead. Enough for the time that memory takes; few enough for the processor to have that
/// many requests under way.
const STEPS: usize = 12;

/// An iterator that fetches what its items point at before they come.
#[derive(Clone, Debug)]
pub struct Ahead<'a, I, T> {
    items: I,
    /// Items whose turn comes, in a ring; `next` is the place of the first.
    coming: [Option<&'a T>; STEPS],
    next: usize,
    fetch: fn(&T),
}

impl<'a, I: Iterator<Item = &'a T>, T> Ahead<'a, I, T> {
    /// `fetch` asks the processor for what an item points at.
    pub fn new(mut items: I, fetch: fn(&T)) -> Self {
        let mut coming = [None; STEPS];
        for place in &mut coming {
            *place = items.next().inspect(|item| fetch(item));
        }
        Ahead { items, coming, next: 0, fetch }
    }
}

impl<'a, I: ExactSizeIterator<Item = &'a T>, T> Iterator for Ahead<'a, I, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        let later = self.items.next();
        if let Some(later) = later {
            (self.fetch)(later);
        }
        let item = std::mem::replace(&mut self.coming[self.next], later);
        self.next = (self.next + 1) % STEPS;
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.items.len() + self.coming.iter().flatten().count();
        (left, Some(left))
    }
}

impl<'a, I: ExactSizeIterator<Item = &'a T>, T> ExactSizeIterator for Ahead<'a, I, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_once_and_in_order() {
        for len in [0, 1, STEPS - 1, STEPS, STEPS + 1, 1000] {
            let items: Vec<usize> = (0..len).collect();
            let mut ahead = Ahead::new(items.iter(), |_| ());
            for expected in 0..len {
                assert_eq!(ahead.len(), len - expected);
                assert_eq!(ahead.next(), Some(&expected));
            }
            assert_eq!((ahead.len(), ahead.next(), ahead.next()), (0, None, None));
        }
    }
}
