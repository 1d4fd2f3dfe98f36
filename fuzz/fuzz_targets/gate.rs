//! See `sockward_proto::fuzz::fuzz_gate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_proto::fuzz::fuzz_gate(data, std::time::Instant::now()));
