//! The ssh side.
