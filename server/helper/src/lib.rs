//! The process of the logged-in user: binds, connects, executes.
