//! See `sockward_config::authorized_keys::fuzz_authorized_keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::authorized_keys::fuzz_authorized_keys(data));
