//! The beginning of a connection: every algorithm, however the bytes are chopped, and what must end it.

#![allow(
    missing_docs,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic
)]

use std::time::Duration;

use sockward_crypto::{Cipher, KexMethod, Mac};
use sockward_proto::event::AuthMethod;
use sockward_proto::{Error, Event, KeepAlive, Misbehaved, RekeyLimit};
use sockward_test_sim::{Pair, Random, Setup, raw};
use sockward_wire::transport::{Ignore, KexInit};
use sockward_wire::{NameList, number};

fn one(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

/// Moves some data and says whether it arrived.
fn echo(pair: &mut Pair, bytes: &[u8]) {
    let (ours, theirs) = pair.open_channel();
    pair.client_sends(ours, bytes);
    pair.run();
    assert_eq!(pair.server.data[&theirs], bytes);
}

#[test]
fn every_method_and_every_cipher_with_every_mac() {
    for (kex, _) in KexMethod::NAMES {
        let mut setup = Setup::default();
        setup.client.algorithms.kex = one(kex);
        echo(&mut Pair::open(setup), b"hello");
    }
    for (cipher, _) in Cipher::NAMES {
        for (mac, _) in Mac::NAMES {
            let mut setup = Setup::default();
            setup.client.algorithms.ciphers = one(cipher);
            setup.client.algorithms.macs = one(mac);
            echo(&mut Pair::open(setup), &[42; 100_000]);
        }
    }
}

#[test]
fn a_byte_at_a_time() {
    for cipher in ["aes128-gcm@openssh.com", "aes256-ctr", "chacha20-poly1305@openssh.com"] {
        let mut setup = Setup { piece: 1, ..Setup::default() };
        setup.client.algorithms.ciphers = one(cipher);
        setup.client.algorithms.macs = one("hmac-sha2-256");
        echo(&mut Pair::open(setup), &[1; 3000]);
    }
}

#[test]
fn both_sides_tell_the_same_session_id_and_keep_it() {
    let mut pair = Pair::open(Setup::default());
    let id = pair.client.conn.session_id().unwrap().to_vec();
    assert_eq!(pair.server.conn.session_id().unwrap(), id);
    pair.client.conn.rekey().unwrap();
    pair.run();
    assert_eq!(pair.server.conn.session_id().unwrap(), id);
    echo(&mut pair, b"after");
}

#[test]
fn nothing_in_common_is_said_with_the_others_offer() {
    let mut setup = Setup::default();
    setup.client.algorithms.kex = one("curve25519-sha256");
    setup.server.algorithms.kex = one("ecdh-sha2-nistp521");
    let mut pair = Pair::new(setup);
    pair.run();
    let expected = Error::PeerIncompatible {
        what: "key exchange method",
        offer: "ecdh-sha2-nistp521,kex-strict-s-v00@openssh.com".to_owned(),
    };
    assert_eq!(pair.client.error, Some(expected));
}

#[test]
fn a_host_key_nobody_vouches_for_ends_the_connection() {
    let mut pair = Pair::new(Setup { friendly: false, ..Setup::default() });
    pair.run();
    assert!(pair.client.events.iter().any(|e| matches!(e, Event::HostKey(_))));
    pair.client.events.clear();
    assert!(pair.client.conn.pending_output().is_err());
    assert!(pair.client.conn.is_closed());
}

#[test]
fn every_flipped_bit_of_the_handshake_ends_it_on_one_side_at_least() {
    // The whole handshake and login in one direction is a few KiB: flip one bit at random places of it.
    let mut random = Random(99);
    for round in 0..60 {
        let mut pair = Pair::new(Setup { piece: 200, ..Setup::default() });
        let at = random.below(2500) as u64;
        let mut done = false;
        loop {
            let before = pair.s2c.total - pair.s2c.wire.len() as u64;
            if !done && before + pair.s2c.wire.len() as u64 > at && before <= at {
                let i = (at - before) as usize;
                pair.s2c.wire[i] ^= 1 << (round % 8);
                done = true;
            }
            if !pair.step() {
                break;
            }
        }
        // A flip in the version line's comment or in the list of what we do not use may change nothing but
        // the hash, and that is enough: no side may be open, except when the flip never took place.
        if done {
            assert!(!pair.client.conn.is_open(), "flip at {at} went through");
        }
    }
}

#[test]
fn strict_key_exchange_refuses_injected_messages() {
    // Terrapin: something harmless put in before the first KEXINIT, or during the exchange.
    for before_kexinit in [true, false] {
        let mut pair = Pair::new(Setup::default());
        let mut ignore = Vec::new();
        Ignore { data: b"x" }.encode(&mut ignore);
        let injected = sockward_test_sim::raw::packet(&ignore);
        let out = pair.client.conn.pending_output().unwrap().to_vec();
        pair.client.conn.output_written(out.len());
        let line_end = out.iter().position(|&b| b == b'\n').unwrap() + 1;
        let at = if before_kexinit { line_end } else { out.len() };
        pair.c2s.send(&out[..at]);
        pair.c2s.send(&injected);
        pair.c2s.send(&out[at..]);
        pair.run();
        let expected = if before_kexinit { Misbehaved::KexInitNotFirst } else { Misbehaved::Unexpected(2) };
        assert_eq!(pair.server.error, Some(expected.into()), "before KEXINIT: {before_kexinit}");
    }
}

#[test]
fn requests_that_are_dropped_are_refused_and_the_next_is_read() {
    let mut pair = Pair::new(Setup { friendly: false, ..Setup::default() });
    pair.run();
    let keys = pair.client.take(|e| if let Event::HostKey(q) = e { Ok(q) } else { Err(e) });
    keys.into_iter().for_each(|q| pair.client.conn.accept_host_key(q).unwrap());
    pair.run();
    pair.client.conn.auth_query("ssh-ed25519", b"blob").unwrap();
    pair.run();
    let asked = pair.server.take(|e| if let Event::AuthRequested(q) = e { Ok(q) } else { Err(e) });
    assert!(matches!(&asked[0].method, AuthMethod::PublicKey { signature: None, .. }));
    assert_eq!(asked[0].user, b"alex");
    drop(asked);
    pair.run();
    let failed =
        pair.client.take(|e| if let Event::AuthFailed { partial, .. } = e { Ok(partial) } else { Err(e) });
    assert_eq!(failed, [false]);
    assert_eq!(pair.client.conn.server_sig_algs(), Some("ssh-ed25519"));
    // The next request is read only after the first was answered.
    pair.client.conn.auth_none().unwrap();
    pair.run();
    let asked = pair.server.take(|e| if let Event::AuthRequested(q) = e { Ok(q) } else { Err(e) });
    assert_eq!(asked.len(), 1);
    for q in asked {
        pair.server.conn.auth_success(q).unwrap();
    }
    pair.run();
    assert!(pair.client.conn.is_open());
}

#[test]
fn rekeying_by_bytes_in_the_middle_of_bursts_on_many_channels() {
    for limit in [Some(64 * 1024), Some(1 << 20)] {
        let mut setup = Setup { piece: 50_000, ..Setup::default() };
        setup.client.rekey_limit = RekeyLimit { bytes: limit, time: None };
        setup.server.rekey_limit = RekeyLimit { bytes: limit.map(|n| n + 1000), time: None };
        let mut pair = Pair::open(setup);
        let channels: Vec<_> = (0..20).map(|_| pair.open_channel()).collect();
        let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let mut sent = vec![0; channels.len()];
        while sent.iter().any(|&n| n < bytes.len()) {
            for (i, (ours, theirs)) in channels.iter().enumerate() {
                sent[i] += pair.client.send(*ours, &bytes[sent[i]..bytes.len().min(sent[i] + 30_000)]);
                pair.server.send(*theirs, b"back");
            }
            assert!(pair.step(), "stuck: {:?}", pair.errors());
        }
        pair.run();
        for (_, theirs) in &channels {
            assert_eq!(pair.server.data[theirs], bytes);
        }
        let keys = pair.client.take(|e| if let Event::Keys { .. } = e { Ok(()) } else { Err(e) }).len();
        assert!(keys > 5, "{keys} exchanges");
    }
}

#[test]
fn keys_are_not_changed_before_the_login() {
    // OpenSSH's server makes one key exchange before the login and ends at a second.
    let mut setup = Setup { friendly: false, ..Setup::default() };
    let minute = Duration::from_secs(60);
    setup.client.rekey_limit = RekeyLimit { bytes: Some(16), time: Some(minute) };
    setup.server.rekey_limit = setup.client.rekey_limit;
    let mut pair = Pair::new(setup);
    pair.run();
    let trusted = pair.client.take(|e| if let Event::HostKey(q) = e { Ok(q) } else { Err(e) });
    trusted.into_iter().for_each(|q| pair.client.conn.accept_host_key(q).unwrap());
    pair.run();
    let keys = |pair: &mut Pair| {
        pair.client.take(|e| if let Event::Keys { .. } = e { Ok(()) } else { Err(e) }).len()
    };
    assert_eq!(keys(&mut pair), 1);
    // Somebody thinks about a password.
    assert_eq!(pair.client.conn.poll_timeout(), None);
    pair.wait(2 * minute);
    pair.client.conn.auth_none().unwrap();
    pair.run();
    assert_eq!(keys(&mut pair), 0);
    let asked = pair.server.take(|e| if let Event::AuthRequested(q) = e { Ok(q) } else { Err(e) });
    asked.into_iter().for_each(|q| pair.server.conn.auth_success(q).unwrap());
    pair.run();
    pair.wait(2 * minute);
    assert!(keys(&mut pair) > 0);
    assert_eq!(pair.errors(), (None, None));
}

#[test]
fn a_wrong_guess_is_thrown_away_whatever_message_it_is() {
    for message in [number::KEX_INIT, 34] {
        let mut pair = Pair::new(Setup::default());
        let out = pair.client.conn.pending_output().unwrap().to_vec();
        let line_end = out.iter().position(|&b| b == b'\n').unwrap() + 1;
        let ours = raw::payloads(&out[line_end..]).remove(0);
        let mut init = KexInit::decode(&ours).unwrap();
        init.first_kex_packet_follows = true;
        init.kex = NameList::new("diffie-hellman-group-exchange-sha256,curve25519-sha256").unwrap();
        let mut kexinit = Vec::new();
        init.encode(&mut kexinit);
        pair.c2s.send(&out[..line_end]);
        pair.c2s.send(&raw::packet(&kexinit));
        pair.c2s.send(&raw::packet(&[message, 0, 0, 4, 0]));
        let mut share = vec![number::KEX_INIT, 0, 0, 0, 32];
        share.extend([9; 32]);
        pair.c2s.send(&raw::packet(&share));
        pair.client.conn.output_written(out.len());
        pair.run();
        let taken = pair.server.conn.session_id().is_some();
        assert!(taken, "the share behind a guess by message {message}: {:?}", pair.server.error);
    }
}

#[test]
fn a_connection_that_has_ended_wants_no_more_attention() {
    let mut setup = Setup::default();
    setup.client.rekey_limit = RekeyLimit { bytes: None, time: Some(Duration::from_secs(60)) };
    setup.client.keep_alive = Some(KeepAlive { interval: Duration::from_secs(10), count_max: 3 });
    let mut pair = Pair::open(setup);
    assert!(pair.client.conn.poll_timeout().is_some());
    pair.client.conn.disconnect("bye");
    assert_eq!(pair.client.conn.poll_timeout(), None, "nothing would come of it, again and again");
}

#[test]
fn rekeying_by_time_also_when_idle() {
    let mut setup = Setup::default();
    let hour = Duration::from_secs(3600);
    setup.client.rekey_limit = RekeyLimit { bytes: None, time: Some(hour) };
    let mut pair = Pair::open(setup);
    let keys = |pair: &mut Pair| {
        pair.server.take(|e| if let Event::Keys { .. } = e { Ok(()) } else { Err(e) }).len()
    };
    assert_eq!(keys(&mut pair), 1);
    pair.wait(hour / 2);
    assert_eq!(keys(&mut pair), 0);
    pair.wait(hour / 2);
    assert_eq!(keys(&mut pair), 1);
    echo(&mut pair, b"goes on");
}

#[test]
fn a_silent_peer_is_given_up_and_a_talking_one_is_not() {
    let interval = Duration::from_secs(10);
    let mut setup = Setup::default();
    setup.server.keep_alive = Some(KeepAlive { interval, count_max: 3 });
    let mut pair = Pair::open(setup);
    for _ in 0..20 {
        pair.wait(interval);
    }
    assert_eq!(pair.errors(), (None, None), "answers to keep-alives count as signs of life");
    for _ in 0..10 {
        pair.now += interval;
        let now = pair.now;
        if let Err(e) = pair.server.conn.handle_timeout(now) {
            assert_eq!(e, Error::Timeout);
            return;
        }
    }
    panic!("a dead peer was kept");
}
