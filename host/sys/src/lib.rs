//! Every system call, all the unsafe. Linux only.
//!
//! The other crates forbid unsafe code; what they need of the kernel is a safe function here that
//! is hard to use wrongly. No decisions: who may do what is `policy`'s and the processes' business.
//!
//! ```text
//!   processes    spawn  link  signal  daemon  identity  sandbox  limits
//!   people       account
//!   sockets      path ──▶ unix      resolve ──▶ tcp
//!   the rest     fd  file  log  time
//! ```

pub mod fd;
pub mod file;
pub mod limits;
pub mod link;
pub mod signal;
pub mod spawn;
pub mod time;

#[cfg(test)]
mod testing;
