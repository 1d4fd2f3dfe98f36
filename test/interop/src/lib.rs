//! The same scenarios, ours and OpenSSH on either side.
