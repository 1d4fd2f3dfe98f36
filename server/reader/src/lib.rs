//! The process that looks up accounts and reads key files.
