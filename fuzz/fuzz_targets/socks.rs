//! See `sockward_wire::socks::fuzz_socks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_wire::socks::fuzz_socks(data));
