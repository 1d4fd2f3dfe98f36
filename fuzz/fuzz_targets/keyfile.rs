//! See `sockward_crypto::fuzz::fuzz_keyfile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_crypto::fuzz::fuzz_keyfile(data));
