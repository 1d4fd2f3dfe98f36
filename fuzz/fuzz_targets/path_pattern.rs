//! See `sockward_policy::path::fuzz_path_pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_policy::path::fuzz_path_pattern(data));
