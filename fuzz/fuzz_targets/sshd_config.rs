//! See `sockward_config::sshd::fuzz_sshd_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::sshd::fuzz_sshd_config(data));
