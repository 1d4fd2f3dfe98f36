//! Random sequences of operations on a pair: whatever the order, bytes arrive complete and in order, both
//! sides agree on what is open, and nothing is left over.

#![allow(
    missing_docs,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic
)]

use std::collections::HashMap;

use proptest::prelude::*;
use sockward_proto::event::OpenRequest;
use sockward_proto::{ChannelId, ChannelLimits, Config, Event, RekeyLimit, Side};
use sockward_test_sim::{Pair, Peer, Setup};

#[derive(Clone, Debug)]
enum Op {
    Open,
    Send {
        server: bool,
        channel: usize,
        len: usize,
    },
    Eof {
        server: bool,
        channel: usize,
    },
    Close {
        server: bool,
        channel: usize,
    },
    /// The server answers no CLOSE from now on.
    Hold {
        channel: usize,
    },
    Stall {
        server: bool,
        channel: usize,
    },
    Unstall {
        server: bool,
    },
    Rekey {
        server: bool,
    },
    Step(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let at = || (any::<bool>(), 0usize..8);
    prop_oneof![
        3 => Just(Op::Open),
        8 => (at(), 1usize..100_000).prop_map(|((server, channel), len)| Op::Send { server, channel, len }),
        2 => at().prop_map(|(server, channel)| Op::Eof { server, channel }),
        1 => at().prop_map(|(server, channel)| Op::Close { server, channel }),
        1 => (0usize..8).prop_map(|channel| Op::Hold { channel }),
        1 => at().prop_map(|(server, channel)| Op::Stall { server, channel }),
        1 => any::<bool>().prop_map(|server| Op::Unstall { server }),
        1 => any::<bool>().prop_map(|server| Op::Rekey { server }),
        8 => (1usize..20).prop_map(Op::Step),
    ]
}

/// What one side sent on a channel, by the other side's id.
#[derive(Default)]
struct Sent(HashMap<ChannelId, u32>);

/// The n-th 4-byte word of a channel's stream is n: order and completeness show at a glance.
fn send(peer: &mut Peer, channel: ChannelId, sent: &mut Sent, len: usize) {
    let from = *sent.0.entry(channel).or_default();
    let words = u32::try_from(len / 4).unwrap().min((peer.conn.sendable(channel) / 4).try_into().unwrap());
    let bytes: Vec<u8> = (from..from + words).flat_map(u32::to_le_bytes).collect();
    let n = peer.send(channel, &bytes);
    assert_eq!(n, bytes.len(), "the window was asked for before");
    sent.0.insert(channel, from + words);
}

fn in_order(bytes: &[u8]) -> u32 {
    let words: Vec<u32> = bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    assert!(words.iter().copied().eq(0..words.len() as u32), "bytes were lost, mixed or doubled");
    words.len() as u32
}

fn run(ops: &[Op], setup: Setup) {
    let mut pair = Pair::open(setup);
    let mut clients: Vec<ChannelId> = Vec::new();
    let (mut from_client, mut from_server) = (Sent::default(), Sent::default());
    let mut closed_early = false;
    for op in ops {
        match *op {
            Op::Open if clients.len() < 8 => {
                clients.push(pair.client.conn.open_channel(&OpenRequest::Session).unwrap());
            }
            Op::Open => {}
            Op::Send { server, channel, len } => {
                let (peer, list, sent) = match server {
                    true => (&mut pair.server, None, &mut from_server),
                    false => (&mut pair.client, Some(&clients), &mut from_client),
                };
                let id = match list {
                    Some(list) => list.get(channel).copied(),
                    None => peer.accepted.get(channel).copied(),
                };
                if let Some(id) = id {
                    send(peer, id, sent, len);
                }
            }
            Op::Eof { server: true, channel } => {
                if let Some(id) = pair.server.accepted.get(channel).copied() {
                    pair.server.conn.send_eof(id).unwrap();
                }
            }
            Op::Eof { server: false, channel } => {
                if let Some(id) = clients.get(channel) {
                    pair.client.conn.send_eof(*id).unwrap();
                }
            }
            Op::Close { server: true, channel } => {
                if let Some(id) = pair.server.accepted.get(channel).copied() {
                    closed_early = true;
                    pair.server.conn.close_channel(id).unwrap();
                }
            }
            Op::Close { server: false, channel } => {
                let opened = |id: &ChannelId| {
                    pair.client.events.iter().any(|e| matches!(e, Event::Opened(c) if c == id))
                };
                if let Some(id) = clients.get(channel).filter(|id| opened(id)).copied() {
                    closed_early = true;
                    pair.client.conn.close_channel(id).unwrap();
                }
            }
            Op::Hold { channel } => {
                if let Some(id) = pair.server.accepted.get(channel).copied() {
                    pair.server.conn.hold_close(id);
                }
            }
            Op::Stall { server: true, channel } => {
                pair.server.stalled.extend(pair.server.accepted.get(channel).copied());
            }
            Op::Stall { server: false, channel } => pair.client.stalled.extend(clients.get(channel).copied()),
            Op::Unstall { server } => {
                let peer = if server { &mut pair.server } else { &mut pair.client };
                for id in std::mem::take(&mut peer.stalled) {
                    peer.unstall(id);
                }
            }
            Op::Rekey { server } => {
                let peer = if server { &mut pair.server } else { &mut pair.client };
                peer.conn.rekey().unwrap();
            }
            Op::Step(n) => {
                for _ in 0..n {
                    pair.step();
                }
            }
        }
        assert_eq!(pair.errors(), (None, None));
    }
    pair.run();
    // Complete unless a side closed with bytes under way; in order always.
    let check = |peer: &Peer, others: &Sent| {
        let arrived: u32 = peer.data.values().map(|bytes| in_order(bytes)).sum();
        let sent: u32 = others.0.values().sum();
        assert!(arrived <= sent && (arrived == sent || closed_early), "{arrived} of {sent} words arrived");
    };
    check(&pair.server, &from_client);
    check(&pair.client, &from_server);
    for id in pair.client.conn.channels() {
        pair.client.conn.close_channel(id).unwrap();
    }
    pair.run();
    // What the server held is as long for both.
    assert_eq!(pair.client.conn.channel_count(), pair.server.conn.channel_count());
    for id in pair.server.conn.channels() {
        pair.server.conn.close_channel(id).unwrap();
    }
    pair.run();
    assert_eq!(pair.errors(), (None, None));
    assert_eq!((pair.client.conn.channel_count(), pair.server.conn.channel_count()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_channel_machine_keeps_its_promises(ops in prop::collection::vec(op(), 1..120), piece in 1usize..70_000) {
        let limits = ChannelLimits { window: 64 * 1024, window_budget: 1 << 20, ..ChannelLimits::default() };
        let mut setup = Setup {
            client: Config::null(Side::Client),
            server: Config::null(Side::Server),
            piece,
            ..Setup::default()
        };
        setup.client.limits = limits;
        setup.server.limits = limits;
        run(&ops, setup);
    }

    #[test]
    fn so_it_does_with_keys_changing_beneath(ops in prop::collection::vec(op(), 1..60), piece in 100usize..70_000) {
        let mut setup = Setup { piece, ..Setup::default() };
        setup.client.rekey_limit = RekeyLimit { bytes: Some(150_000), time: None };
        run(&ops, setup);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..4000) {
        // Any bytes in place of any part of a client's beginning, and as messages of the connection layer.
        let mut pair = Pair::new(Setup::default());
        let mut out = pair.client.conn.pending_output().unwrap().to_vec();
        out.truncate(at);
        pair.c2s.send(&out);
        pair.c2s.send(&bytes);
        let n = pair.client.conn.pending_output().unwrap().len();
        pair.client.conn.output_written(n);
        pair.run();
        let mut raw = sockward_test_sim::raw::Raw::new(Side::Client);
        let _ = raw.feed(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fuzz_functions_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let now = std::time::Instant::now();
        sockward_proto::fuzz::fuzz_handshake(&bytes, now);
        sockward_proto::fuzz::fuzz_connection_layer(&bytes, now);
    }
}
