//! See `sockward_config::known_hosts::fuzz_known_hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_config::known_hosts::fuzz_known_hosts(data));
