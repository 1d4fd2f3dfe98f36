//! See `sockward_config::forward::fuzz_forward`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::forward::fuzz_forward(data));
