//! See `sockward_config::ssh::fuzz_ssh_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::ssh::fuzz_ssh_config(data));
