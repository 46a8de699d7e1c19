//! Style is a test.
