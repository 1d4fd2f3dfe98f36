//! Every system call, all the unsafe. Linux only.
//!
//! The other crates forbid unsafe code; what they need of the kernel is a safe function here that
//! is hard to use wrongly. No decisions: who may do what is `policy`'s and the processes' business.
//!
//! ```text
//!   processes    spawn  link  signal  daemon  identity  sandbox  limits
//!   people       account  process
//!   sockets      path ──▶ unix      resolve ──▶ tcp ──▶ sock_diag   interface
//!   the rest     fd  stream  file  create  terminal  pty  log  audit  time
//! ```

pub mod account;
pub mod audit;
pub mod create;
pub mod daemon;
pub mod fd;
pub mod file;
pub mod identity;
pub mod interface;
pub mod limits;
pub mod link;
pub mod log;
pub mod path;
pub mod process;
pub mod pty;
pub mod resolve;
pub mod sandbox;
pub mod signal;
pub mod sock_diag;
pub mod spawn;
pub mod stream;
pub mod tcp;
pub mod terminal;
pub mod time;
pub mod unix;

#[cfg(test)]
mod testing;

/// A number that nobody can guess, from getrandom(2): for names of files in shared directories.
fn random_u64() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole and without a signal in between.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
