//! Moves in soon.
