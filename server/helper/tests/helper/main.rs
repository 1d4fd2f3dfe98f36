//! Helpers as the monitor starts them.

fn main() {}
