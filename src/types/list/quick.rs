//! The large encoding: a deque of nodes in two levels.
//!
//! Groups of at most `GROUP_NODES` nodes stand in a deque, each with its count of elements, so
//! that an index in the middle of ten million elements is found in some hundred steps, and a node
//! that comes or goes there moves a few kilobytes. Ends grow by whole groups, so a list that is
//! only pushed to stays dense.
//!
//! The nodes of a group, and the contents of each node, are shared between copies of the list
//! ([`Shared`]): a copy costs a look at each group, and the first change of a node afterwards a
//! copy of that node and of its group's table.
//!
//! Invariant: no node and no group is empty between calls; counts and sizes are what a walk over
//! everything would find (`check` does that walk). Within a call groups may run empty or over;
//! positions of other nodes then stay valid until `tidy` puts the groups in order.

use super::node::Node;
use crate::types::alloc::class;
use crate::types::compact::Needle;
use crate::types::compact::{Item, Listpack};
use crate::types::limits::Limits;
use crate::types::shared::{Roomy, Shared};
use std::collections::VecDeque;

/// Nodes of one group; a change among them moves at most 2 KiB. Tests fill many groups.
const GROUP_NODES: usize = if cfg!(test) { 16 } else { 128 };

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head, index 0.
    Left,
    /// The tail.
    Right,
}

#[derive(Clone, Default)]
pub(super) struct Group {
    pub(super) count: usize,
    pub(super) nodes: Nodes,
}

type Nodes = Shared<Roomy<Node>>;

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) group: usize,
    pub(super) node: usize,
}

#[derive(Clone, Default)]
pub(super) struct Quick {
    pub(super) groups: VecDeque<Group>,
    count: usize,
    nodes: usize,
    /// Heap memory of the nodes' contents.
    node_bytes: usize,
    /// Heap memory of the groups' own tables.
    table_bytes: usize,
}

fn table_bytes(nodes: &Nodes) -> usize {
    Nodes::OWN_BYTES + nodes.heap_bytes()
}

impl Quick {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let groups = class(self.groups.capacity() * size_of::<Group>());
        self.node_bytes + self.table_bytes + groups
    }

    pub(super) fn copy_bytes(&self) -> usize {
        class(self.groups.len() * size_of::<Group>())
    }

    #[inline]
    pub(super) fn node(&self, spot: Spot) -> Option<&Node> {
        self.groups.get(spot.group)?.nodes.get(spot.node)
    }

    pub(super) fn first(&self) -> Option<Spot> {
        let group = self.groups.iter().position(|group| !group.nodes.is_empty())?;
        Some(Spot { group, node: 0 })
    }

    pub(super) fn last(&self) -> Option<Spot> {
        let group = self.groups.iter().rposition(|group| !group.nodes.is_empty())?;
        Some(Spot { group, node: self.groups[group].nodes.len() - 1 })
    }

    pub(super) fn next(&self, spot: Spot) -> Option<Spot> {
        if spot.node + 1 < self.groups[spot.group].nodes.len() {
            return Some(Spot { node: spot.node + 1, ..spot });
        }
        let mut behind = self.groups.range(spot.group + 1..);
        let steps = behind.position(|group| !group.nodes.is_empty())?;
        Some(Spot { group: spot.group + 1 + steps, node: 0 })
    }

    pub(super) fn prev(&self, spot: Spot) -> Option<Spot> {
        if spot.node > 0 {
            return Some(Spot { node: spot.node - 1, ..spot });
        }
        let group = self.groups.range(..spot.group).rposition(|group| !group.nodes.is_empty())?;
        Some(Spot { group, node: self.groups[group].nodes.len() - 1 })
    }

    /// The node that holds the element with this index, and the element's index in it.
    pub(super) fn locate(&self, index: usize) -> Option<(Spot, usize)> {
        if index >= self.count {
            return None;
        }
        let (group, left) = walk(self.groups.iter(), |group| group.count, self.count, index)?;
        let Group { count, nodes } = self.groups.get(group)?;
        let (node, offset) = walk(nodes.iter(), Node::count, *count, left)?;
        Some((Spot { group, node }, offset))
    }

    /// Adds an element at an end. A new node gets at once the room that the full one before it
    /// fills: growing step by step would cost more than the pushes do.
    #[inline]
    pub(super) fn push(&mut self, end: End, text: &[u8], limits: &Limits) {
        let mut room = 0;
        let group = match end {
            End::Left => self.groups.front_mut(),
            End::Right => self.groups.back_mut(),
        };
        if let Some(group) = group {
            let nodes = group.nodes.open();
            let node = match end {
                End::Left => nodes.first_mut(),
                End::Right => nodes.last_mut(),
            };
            if let Some(node) = node {
                let before = node.heap_bytes();
                let admitted = node.admits(limits, text.len());
                if admitted {
                    let index = if end == End::Left { 0 } else { node.count() };
                    node.insert(index, text);
                } else {
                    room = node.seal();
                }
                self.node_bytes = self.node_bytes + node.heap_bytes() - before;
                if admitted {
                    group.count += 1;
                    self.count += 1;
                    return;
                }
            }
        }
        let mut node = Node::new(limits, text);
        node.reserve(room);
        self.push_node(end, node);
    }

    /// Adds a node at an end, in a new group when that end's group is full.
    pub(super) fn push_node(&mut self, end: End, node: Node) {
        let group = match end {
            End::Left => self.groups.front(),
            End::Right => self.groups.back(),
        };
        if group.is_none_or(|group| group.nodes.len() >= GROUP_NODES) {
            let group = Group::default();
            self.table_bytes += table_bytes(&group.nodes);
            match end {
                End::Left => self.groups.push_front(group),
                End::Right => self.groups.push_back(group),
            }
        }
        let spot = match end {
            End::Left => Spot { group: 0, node: 0 },
            End::Right => {
                let group = self.groups.len() - 1;
                Spot { group, node: self.groups[group].nodes.len() }
            }
        };
        self.put_node(spot, node);
    }

    /// Takes the element at an end out, after `read` has seen it. The node keeps its room: it is
    /// gone soon, or filled again.
    #[inline]
    pub(super) fn pop<R>(&mut self, end: End, read: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let group = match end {
            End::Left => self.groups.front_mut(),
            End::Right => self.groups.back_mut(),
        }?;
        let nodes = group.nodes.open();
        let node = match end {
            End::Left => nodes.first_mut(),
            End::Right => nodes.last_mut(),
        }?;
        let result = match node {
            Node::Packed { count, pack } if *count > 1 => {
                let pack = pack.open();
                let pos = if end == End::Left { pack.first() } else { pack.last() }?;
                let result = read(pack.get(pos));
                pack.remove_keeping_room(pos);
                *count -= 1;
                group.count -= 1;
                self.count -= 1;
                return Some(result);
            }
            Node::Packed { pack, .. } => read(pack.get(pack.first()?)),
            Node::Plain(text) => read(Item::Bytes(text)),
        };
        let spot = if end == End::Left { self.first() } else { self.last() }?;
        self.take_node(spot);
        self.tidy(spot.group);
        Some(result)
    }

    /// Exchanges the element with this index, which must be there.
    pub(super) fn set(&mut self, index: usize, text: &[u8], limits: &Limits) -> Option<()> {
        let (spot, offset) = self.locate(index)?;
        let large = super::node::is_large(limits, text.len());
        let count = self.node(spot)?.count();
        match self.node(spot)? {
            Node::Packed { .. } if !large => {
                self.edit(spot, |node| {
                    if let Node::Packed { pack, .. } = node {
                        if let Some(pos) = pack.seek(offset) {
                            pack.open().replace(pos, text);
                        }
                    }
                });
            }
            Node::Plain(_) if large => self.edit(spot, |node| *node = Node::new(limits, text)),
            Node::Plain(_) => {
                self.insert_beside(spot, 0, true, text, limits)?;
                let (spot, _) = self.locate(index)?;
                self.take_node(spot);
                self.tidy(spot.group);
            }
            Node::Packed { .. } => {
                let tail = if offset + 1 < count { self.cut(spot, offset + 1) } else { None };
                let at = Spot { node: spot.node + 1, ..spot };
                self.put_node(at, Node::new(limits, text));
                if let Some(tail) = tail {
                    self.put_node(Spot { node: at.node + 1, ..at }, tail);
                }
                if offset == 0 {
                    self.take_node(spot);
                } else {
                    self.edit(spot, |node| node.remove(offset, 1));
                    self.merge_around(at, limits);
                }
                self.tidy(spot.group);
            }
        }
        Some(())
    }

    /// Puts an element before or after the one with this index, which must be there.
    pub(super) fn insert(
        &mut self,
        index: usize,
        after: bool,
        text: &[u8],
        limits: &Limits,
    ) -> Option<()> {
        let (spot, offset) = self.locate(index)?;
        self.insert_beside(spot, offset, after, text, limits)
    }

    fn insert_beside(
        &mut self,
        spot: Spot,
        offset: usize,
        after: bool,
        text: &[u8],
        limits: &Limits,
    ) -> Option<()> {
        let node = self.node(spot)?;
        let index = offset + after as usize;
        let at_edge = if after { index == node.count() } else { index == 0 };
        if node.admits(limits, text.len()) {
            self.edit(spot, |node| node.insert(index, text));
            return Some(());
        }
        if !at_edge {
            let tail = self.cut(spot, index)?;
            let behind = Spot { node: spot.node + 1, ..spot };
            self.put_node(behind, tail);
            if super::node::is_large(limits, text.len()) {
                self.put_node(behind, Node::new(limits, text));
            } else if after {
                self.edit(behind, |node| node.insert(0, text));
                self.merge_around(spot, limits);
            } else {
                self.edit(spot, |node| node.insert(index, text));
                self.merge_around(behind, limits);
            }
            self.tidy(spot.group);
            return Some(());
        }
        let neighbour = if after { self.next(spot) } else { self.prev(spot) };
        let open = neighbour
            .filter(|&spot| self.node(spot).is_some_and(|node| node.admits(limits, text.len())));
        match open {
            Some(open) => self.edit(open, |node| {
                node.insert(if after { 0 } else { node.count() }, text);
            }),
            None => {
                let at = Spot { node: spot.node + after as usize, ..spot };
                self.put_node(at, Node::new(limits, text));
                self.tidy(spot.group);
            }
        }
        Some(())
    }

    /// Takes out `count` elements from the one with this index on.
    pub(super) fn remove_range(&mut self, index: usize, count: usize) {
        let mut left = count.min(self.count.saturating_sub(index));
        while left > 0 {
            let Some((spot, offset)) = self.locate(index) else { return };
            let Some(node) = self.node(spot) else { return };
            let here = left.min(node.count() - offset);
            if here == node.count() {
                self.take_node(spot);
                self.tidy(spot.group);
            } else {
                self.edit(spot, |node| node.remove(offset, here));
            }
            left -= here;
        }
    }

    /// Takes out elements equal to the needle, at most `most`, from an end; returns how many.
    pub(super) fn remove(&mut self, needle: &Needle<'_>, from: End, most: usize) -> usize {
        let mut removed = 0;
        let mut next = if from == End::Left { self.first() } else { self.last() };
        let mut emptied = Vec::new();
        while let Some(spot) = next {
            if removed == most {
                break;
            }
            let Some(node) = self.node(spot) else { break };
            let matches = match node {
                Node::Packed { pack, .. } => pack.iter().filter(|i| needle.matches(i)).count(),
                Node::Plain(text) => needle.matches(&Item::Bytes(text)) as usize,
            };
            let here = matches.min(most - removed);
            let is_whole = here == node.count();
            next = if from == End::Left { self.next(spot) } else { self.prev(spot) };
            removed += here;
            if is_whole {
                emptied.push(spot);
            } else if here > 0 {
                let spared = if from == End::Left { 0 } else { matches - here };
                self.edit(spot, |node| remove_matches(node, needle, spared, here));
            }
        }
        // From the back, so that the spots before stay what they are.
        emptied.sort_unstable_by_key(|spot| std::cmp::Reverse((spot.group, spot.node)));
        for spot in emptied {
            let is_last_of_group = self.groups[spot.group].nodes.len() == 1;
            self.take_node(spot);
            if is_last_of_group {
                self.drop_group(spot.group);
            }
        }
        removed
    }

    /// Takes the only node out, if it is packed and `wanted` says so of its bytes and count.
    pub(super) fn lone_pack(&mut self, wanted: impl Fn(usize, usize) -> bool) -> Option<Listpack> {
        if self.nodes != 1 {
            return None;
        }
        let spot = self.first()?;
        let node = self.node(spot)?;
        if matches!(node, Node::Plain(_)) || !wanted(node.bytes(), node.count()) {
            return None;
        }
        match self.take_node(spot)? {
            Node::Packed { pack, .. } => {
                let mut pack = pack.into_value();
                pack.shrink_to_fit();
                Some(pack)
            }
            Node::Plain(_) => None,
        }
    }

    /// Frees the last node; false when there is none.
    pub(super) fn pop_node(&mut self) -> bool {
        let Some(spot) = self.last() else { return false };
        self.take_node(spot);
        if self.groups[spot.group].nodes.is_empty() {
            self.drop_group(spot.group);
        }
        true
    }

    /// Changes a node in place, keeping the counts true.
    fn edit(&mut self, spot: Spot, change: impl FnOnce(&mut Node)) {
        let Some(group) = self.groups.get_mut(spot.group) else { return };
        let Some(node) = group.nodes.open().get_mut(spot.node) else { return };
        let (bytes, count) = (node.heap_bytes(), node.count());
        change(node);
        self.node_bytes = self.node_bytes + node.heap_bytes() - bytes;
        group.count = group.count + node.count() - count;
        self.count = self.count + node.count() - count;
    }

    fn put_node(&mut self, spot: Spot, node: Node) {
        let Some(group) = self.groups.get_mut(spot.group) else { return };
        self.node_bytes += node.heap_bytes();
        self.count += node.count();
        self.nodes += 1;
        group.count += node.count();
        self.table_bytes -= table_bytes(&group.nodes);
        group.nodes.open().insert(spot.node, node);
        self.table_bytes += table_bytes(&group.nodes);
    }

    fn take_node(&mut self, spot: Spot) -> Option<Node> {
        let group = self.groups.get_mut(spot.group)?;
        let nodes = group.nodes.open();
        if spot.node >= nodes.len() {
            return None;
        }
        let node = nodes.remove(spot.node);
        self.node_bytes -= node.heap_bytes();
        self.count -= node.count();
        self.nodes -= 1;
        group.count -= node.count();
        Some(node)
    }

    /// Cuts a packed node before this index; the caller puts what was behind somewhere.
    fn cut(&mut self, spot: Spot, index: usize) -> Option<Node> {
        let mut tail = None;
        self.edit(spot, |node| tail = node.split_off(index));
        tail
    }

    /// Joins small neighbours near a node that a split has left, in the order in which Redis
    /// tries them.
    fn merge_around(&mut self, center: Spot, limits: &Limits) {
        let mut center = center;
        if let Some(prev) = self.prev(center) {
            let before = self.prev(prev);
            let merged = before.is_some_and(|before| self.merge(before, limits));
            if merged && prev.group == center.group {
                center.node -= 1;
            }
        }
        if let Some(next) = self.next(center) {
            self.merge(next, limits);
        }
        let target = match self.prev(center) {
            Some(prev) if self.merge(prev, limits) => prev,
            _ => center,
        };
        self.merge(target, limits);
    }

    /// Joins a node with the one after it, if both together are within bounds.
    fn merge(&mut self, spot: Spot, limits: &Limits) -> bool {
        let Some(next) = self.next(spot) else { return false };
        let (Some(left), Some(right)) = (self.node(spot), self.node(next)) else { return false };
        if !left.may_absorb(limits, right) {
            return false;
        }
        if let Some(right) = self.take_node(next) {
            self.edit(spot, |left| left.absorb(&right));
        }
        true
    }

    /// Puts the groups around `group` in order after nodes have come or gone.
    fn tidy(&mut self, group: usize) {
        let end = (group + 3).min(self.groups.len());
        for group in (group.saturating_sub(2)..end).rev() {
            let nodes = self.groups[group].nodes.len();
            let before = group.checked_sub(1).map_or(0, |prev| self.groups[prev].nodes.len());
            if nodes == 0 {
                self.drop_group(group);
            } else if nodes > GROUP_NODES {
                self.split_group(group);
            } else if before > 0 && nodes + before <= GROUP_NODES / 4 {
                self.join_group(group);
            }
        }
    }

    fn drop_group(&mut self, group: usize) {
        if let Some(group) = self.groups.remove(group) {
            self.table_bytes -= table_bytes(&group.nodes);
        }
    }

    fn split_group(&mut self, group: usize) {
        let left = &mut self.groups[group];
        self.table_bytes -= table_bytes(&left.nodes);
        let kept = left.nodes.open();
        let nodes = Nodes::new(kept.split_off(GROUP_NODES / 2).into());
        kept.shrink_to(GROUP_NODES);
        let count = nodes.iter().map(Node::count).sum();
        left.count -= count;
        self.table_bytes += table_bytes(&left.nodes) + table_bytes(&nodes);
        self.groups.insert(group + 1, Group { count, nodes });
    }

    /// Moves the nodes of a sparse group into the group before it.
    fn join_group(&mut self, group: usize) {
        let Some(mut right) = self.groups.remove(group) else { return };
        let left = &mut self.groups[group - 1];
        self.table_bytes -= table_bytes(&left.nodes) + table_bytes(&right.nodes);
        let nodes = left.nodes.open();
        nodes.append(right.nodes.open());
        nodes.shrink_to(GROUP_NODES / 2);
        left.count += right.count;
        self.table_bytes += table_bytes(&left.nodes);
    }

    pub(super) fn check(&self) {
        let (mut count, mut nodes, mut bytes, mut tables) = (0, 0, 0, 0);
        for group in &self.groups {
            assert!(!group.nodes.is_empty(), "an empty group");
            assert!(group.nodes.len() <= GROUP_NODES, "a group too large");
            let here: usize = group.nodes.iter().map(Node::count).sum();
            assert_eq!(here, group.count, "a group's count is wrong");
            for node in group.nodes.iter() {
                if let Node::Packed { count, pack } = node {
                    pack.check();
                    assert_eq!(*count as usize, pack.len(), "a node's count is wrong");
                    assert!(*count > 0, "an empty node");
                }
                bytes += node.heap_bytes();
            }
            count += here;
            nodes += group.nodes.len();
            tables += table_bytes(&group.nodes);
        }
        assert_eq!((count, nodes), (self.count, self.nodes), "counts are wrong");
        assert_eq!((bytes, tables), (self.node_bytes, self.table_bytes), "sizes are wrong");
    }
}

/// Which of `parts` holds the element with this index of `total`, and its index there; walked to
/// from the nearer end.
fn walk<'a, T: 'a>(
    mut parts: impl DoubleEndedIterator<Item = &'a T> + ExactSizeIterator,
    count: impl Fn(&T) -> usize,
    total: usize,
    index: usize,
) -> Option<(usize, usize)> {
    if index <= total / 2 {
        let mut left = index;
        let part = parts.position(|part| {
            let here = count(part);
            let found = left < here;
            left -= if found { 0 } else { here };
            found
        })?;
        return Some((part, left));
    }
    let mut start = total;
    let part = parts.rposition(|part| {
        start -= count(part);
        start <= index
    })?;
    Some((part, index - start))
}

/// Takes `most` elements equal to the needle out of a packed node, sparing the first `spared`.
fn remove_matches(node: &mut Node, needle: &Needle<'_>, spared: usize, most: usize) {
    let Node::Packed { count, pack } = node else { return };
    let (mut spared, mut left) = (spared, most);
    *count -= pack.open().remove_if(|item| {
        if left == 0 || !needle.matches(item) {
            return false;
        }
        if spared > 0 {
            spared -= 1;
            return false;
        }
        left -= 1;
        true
    }) as u32;
}
