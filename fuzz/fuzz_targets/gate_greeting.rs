//! See `sockward_wire::gate::fuzz_greeting`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_wire::gate::fuzz_greeting(data));
