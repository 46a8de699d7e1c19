//! Walking a list from any index, in either direction, without copying anything.

use super::node::Node;
use super::quick::{End, Quick, Spot};
use super::{Body, List};
use crate::types::compact::{Item, Listpack};

/// Elements of a list, towards one end.
#[derive(Clone)]
pub struct Iter<'a> {
    quick: Option<(&'a Quick, Spot)>,
    here: Here<'a>,
    towards: End,
    left: usize,
}

#[derive(Clone)]
enum Here<'a> {
    /// The pack and the position of the element to give next, while there is one.
    Pack(&'a Listpack, Option<usize>),
    Plain(Option<&'a [u8]>),
}

impl<'a> Here<'a> {
    /// A node, entered from the side where a walk towards `towards` begins.
    fn enter(node: &'a Node, towards: End) -> Here<'a> {
        match node {
            Node::Plain(text) => Here::Plain(Some(text)),
            Node::Packed { pack, .. } => match towards {
                End::Right => Here::Pack(pack, pack.first()),
                End::Left => Here::Pack(pack, pack.last()),
            },
        }
    }
}

impl<'a> Iter<'a> {
    /// `count` elements from the one with this index on; fewer when the list ends.
    pub(super) fn new(list: &'a List, index: usize, towards: End, count: usize) -> Iter<'a> {
        let reachable = match towards {
            End::Right => list.len().saturating_sub(index),
            End::Left if index < list.len() => index + 1,
            End::Left => 0,
        };
        let left = count.min(reachable);
        let nothing = Here::Plain(None);
        let (quick, here) = match &list.0 {
            Body::Small(pack) => (None, Here::Pack(pack, pack.seek(index))),
            Body::Large(quick) => match quick.locate(index) {
                None => (None, nothing),
                Some((spot, offset)) => {
                    let here = match quick.node(spot) {
                        Some(Node::Packed { pack, .. }) => Here::Pack(pack, pack.seek(offset)),
                        Some(Node::Plain(text)) => Here::Plain(Some(text)),
                        None => nothing,
                    };
                    (Some((&**quick, spot)), here)
                }
            },
        };
        Iter { quick, here, towards, left }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.left == 0 {
            return None;
        }
        loop {
            match &mut self.here {
                Here::Pack(pack, at) => {
                    if let Some(pos) = *at {
                        *at = match self.towards {
                            End::Right => pack.next(pos),
                            End::Left => pack.prev(pos),
                        };
                        self.left -= 1;
                        return Some(pack.get(pos));
                    }
                }
                Here::Plain(text) => {
                    if let Some(text) = text.take() {
                        self.left -= 1;
                        return Some(Item::Bytes(text));
                    }
                }
            }
            let (quick, spot) = self.quick?;
            let spot = match self.towards {
                End::Right => quick.next(spot),
                End::Left => quick.prev(spot),
            }?;
            self.quick = Some((quick, spot));
            self.here = Here::enter(quick.node(spot)?, self.towards);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    /// Towards the right a whole pack goes by without leaving its loop, and each of its elements
    /// is decoded once: `next` does it for the element and again for the place behind it.
    fn fold<B, F: FnMut(B, Item<'a>) -> B>(mut self, init: B, mut step: F) -> B {
        let mut sum = init;
        loop {
            if let (End::Right, Here::Pack(pack, Some(from))) = (self.towards, &self.here) {
                let mut pos = *from;
                while self.left > 0 {
                    let Some((item, behind)) = pack.read(pos) else { break };
                    (sum, pos) = (step(sum, item), behind);
                    self.left -= 1;
                }
                self.here = Here::Pack(pack, None);
            }
            let Some(item) = self.next() else { return sum };
            sum = step(sum, item);
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
