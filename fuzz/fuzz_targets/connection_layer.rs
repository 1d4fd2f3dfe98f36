//! See `sockward_proto::fuzz::fuzz_connection_layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockward_proto::fuzz::fuzz_connection_layer(data, std::time::Instant::now()));
