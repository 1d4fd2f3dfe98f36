//! The `sockward` binary.
fn main() {}
