//! The process that owns the facts and the host keys.
