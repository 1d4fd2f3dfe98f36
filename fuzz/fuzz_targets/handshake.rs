//! See `sockward_proto::fuzz::fuzz_handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_proto::fuzz::fuzz_handshake(data, std::time::Instant::now()));
