//! Sorted sets: members with scores, in order.

mod node;
pub mod tree;
