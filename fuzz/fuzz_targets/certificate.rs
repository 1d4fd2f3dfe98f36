//! See `sockward_crypto::fuzz::fuzz_certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_crypto::fuzz::fuzz_certificate(data));
