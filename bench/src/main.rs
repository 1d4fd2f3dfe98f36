//! Ours and OpenSSH, ours and socat at the same work, in one run: `cargo run --release -p sockward-bench [MEASURE…]`.
//!
//! Each measure is taken in turn of both, several times, and told as medians and ratios: single numbers of a
//! shared machine mean nothing. Nothing here is a test; the figures to reach are in docs/benchmarks.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)]

mod cpu;
mod measures;
mod relay;

use measures::MEASURES;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let rounds = std::env::var("SOCKWARD_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for measure in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|w| measure.name.starts_with(w.as_str())) {
            measure.compare(rounds);
        }
    }
}
