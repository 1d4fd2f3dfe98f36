//! See `sockward_config::revocation::fuzz_revocation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::revocation::fuzz_revocation(data));
