//! The connection layer: halves, windows, order of answers, and what a hostile peer may not do.

#![allow(
    missing_docs,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic
)]

use sockward_proto::event::{ChannelRequest, GlobalRequest, OpenRequest};
use sockward_proto::{ChannelId, Config, Error, Event, MAX_PACKET, Misbehaved, Received, Side};
use sockward_test_sim::raw::Raw;
use sockward_test_sim::{Pair, Setup};
use sockward_wire::channel::{
    Close, Data, Eof, ExtendedData, Open, OpenConfirmation, OpenFailure, OpenKind, Request, RequestKind,
    Success, TcpPair, WindowAdjust, open_failure,
};
use sockward_wire::{global, number};

fn null_pair() -> Pair {
    Pair::open(Setup {
        client: Config::null(Side::Client),
        server: Config::null(Side::Server),
        ..Setup::default()
    })
}

#[test]
fn each_direction_ends_on_its_own_and_what_was_sent_before_arrives() {
    let mut pair = null_pair();
    let (ours, theirs) = pair.open_channel();
    pair.client_sends(ours, b"question");
    pair.client.conn.send_eof(ours).unwrap();
    pair.run();
    assert!(pair.server.events.iter().any(|e| matches!(e, Event::Eof(c) if *c == theirs)));
    assert_eq!(pair.client.send(ours, b"more"), 0, "nothing can be sent after EOF");
    assert_eq!(pair.server.send(theirs, b"answer"), 6);
    pair.server.conn.close_channel(theirs).unwrap();
    pair.run();
    assert_eq!(pair.server.data[&theirs], b"question");
    assert_eq!(pair.client.data[&ours], b"answer");
    assert!(pair.client.events.iter().any(|e| matches!(e, Event::Closed(c) if *c == ours)));
    assert_eq!((pair.client.conn.channel_count(), pair.server.conn.channel_count()), (0, 0));
}

#[test]
fn a_number_is_used_again_only_after_both_have_closed() {
    let mut pair = null_pair();
    let (first, _) = pair.open_channel();
    pair.client.conn.close_channel(first).unwrap();
    // The server has not answered yet.
    let second = pair.client.conn.open_channel(&OpenRequest::Session).unwrap();
    assert_ne!(first.index(), second.index());
    pair.run();
    let third = pair.client.conn.open_channel(&OpenRequest::Session).unwrap();
    assert_eq!(third.index(), first.index());
    assert_ne!(third, first);
}

#[test]
fn readers_that_stall_stop_nobody_else_and_cost_no_more_than_their_windows() {
    let mut pair = null_pair();
    let stalled: Vec<_> = (0..4).map(|_| pair.open_channel()).collect();
    let (ours, theirs) = pair.open_channel();
    pair.server.stalled = stalled.iter().map(|(_, theirs)| *theirs).collect();
    for (ours, _) in &stalled {
        // As much as the window takes.
        while pair.client.send(*ours, &[7; 65536]) > 0 {
            pair.run();
        }
        assert_eq!(pair.client.conn.sendable(*ours), 0);
    }
    for i in 0..1000u32 {
        pair.client_sends(ours, &i.to_le_bytes());
    }
    pair.run();
    assert_eq!(pair.server.data[&theirs].len(), 4000);
    for (_, theirs) in &stalled {
        assert!(pair.server.data[theirs].len() <= 256 * 1024);
    }
    // They read at last: the rest can be sent.
    let (ours, theirs) = stalled[0];
    pair.server.unstall(theirs);
    pair.run();
    assert!(pair.client.events.iter().any(|e| matches!(e, Event::Writable(c) if *c == ours)));
    assert!(pair.client.conn.sendable(ours) > 0);
}

#[test]
fn answers_keep_the_order_of_requests() {
    let mut pair = null_pair();
    for port in [1, 2, 3] {
        let request = GlobalRequest::TcpipForward { host: b"localhost".to_vec(), port };
        pair.client.conn.global_request(&request).unwrap();
    }
    pair.run();
    let asked = pair.server.take(|e| if let Event::Global(q) = e { Ok(q) } else { Err(e) });
    assert_eq!(asked.len(), 3);
    for question in asked.into_iter().rev() {
        let GlobalRequest::TcpipForward { port, .. } = question.request else { panic!() };
        match port {
            2 => drop(question),
            _ => pair.server.conn.answer_global(question, Some(vec![port as u8])).unwrap(),
        }
    }
    pair.run();
    let replies =
        pair.client.take(|e| if let Event::GlobalAnswered { reply, .. } = e { Ok(reply) } else { Err(e) });
    assert_eq!(replies, [Some(vec![1]), None, Some(vec![3])]);

    let (ours, _) = pair.open_channel();
    for command in ["a", "b"] {
        pair.client.conn.request(ours, &ChannelRequest::Exec(command.into()), true).unwrap();
    }
    pair.client.conn.request(ours, &ChannelRequest::Eow, false).unwrap();
    pair.run();
    let mut asked = pair.server.take(|e| if let Event::Requested(q) = e { Ok(q) } else { Err(e) });
    assert_eq!(asked.len(), 3);
    pair.server.conn.answer_request(asked.remove(1), true).unwrap();
    drop(asked);
    pair.run();
    let replies =
        pair.client.take(|e| if let Event::RequestAnswered { ok, .. } = e { Ok(ok) } else { Err(e) });
    assert_eq!(replies, [false, true]);
}

#[test]
fn a_channel_nobody_takes_is_refused() {
    let mut pair = null_pair();
    pair.server.conn.open_channel(&OpenRequest::ForwardedStreamlocal { path: b"/a".to_vec() }).unwrap();
    pair.client.stalled.clear();
    pair.run();
    // The pair takes what is opened towards it; a question that is dropped is refused.
    let mut raw = Raw::new(Side::Server);
    raw.feed_with(|out| Open { sender: 9, window: 1, max_packet: 1, kind: OpenKind::Session }.encode(out))
        .unwrap();
    assert!(matches!(raw.conn.poll_event(), Some(Event::OpenRequested(_))));
    let sent = raw.sent();
    let refused = OpenFailure::decode(&sent[0]).unwrap();
    assert_eq!((refused.recipient, refused.reason), (9, open_failure::ADMINISTRATIVELY_PROHIBITED));
}

/// A server with one open channel of the raw side: ours is 0, theirs is 5.
fn raw_with_channel(window: u32) -> Raw {
    let mut raw = Raw::new(Side::Server);
    raw.feed_with(|out| {
        Open { sender: 5, window, max_packet: 32768, kind: OpenKind::Session }.encode(out);
    })
    .unwrap();
    let Some(Event::OpenRequested(q)) = raw.conn.poll_event() else { panic!() };
    raw.conn.accept_channel(q).unwrap();
    raw.sent();
    raw
}

#[test]
fn what_a_peer_may_not_do_on_a_channel() {
    let misbehaved = |result: Result<Received, Error>| match result {
        Err(Error::PeerMisbehaved(how)) => how,
        other => panic!("{other:?}"),
    };
    let data = |recipient, n: usize| {
        let mut out = Vec::new();
        Data { recipient, data: &vec![0; n] }.encode(&mut out);
        out
    };
    let mut raw = raw_with_channel(0);
    assert_eq!(misbehaved(raw.feed(&data(1, 1))), Misbehaved::NoSuchChannel(1));

    let mut raw = raw_with_channel(0);
    assert_eq!(misbehaved(raw.feed(&data(0, MAX_PACKET as usize + 1))), Misbehaved::PacketTooLarge);

    let mut raw = raw_with_channel(0);
    let mut sent = 0;
    let how = loop {
        match raw.feed(&data(0, 32768)) {
            Ok(_) => sent += 32768,
            Err(e) => break e,
        }
        assert!(sent <= 256 * 1024, "the window has no end");
    };
    assert_eq!(how, Misbehaved::WindowExceeded.into());

    let mut raw = raw_with_channel(0);
    raw.feed_with(|out| Eof { recipient: 0 }.encode(out)).unwrap();
    assert_eq!(misbehaved(raw.feed(&data(0, 1))), Misbehaved::DataAfterEof);

    let mut raw = raw_with_channel(u32::MAX);
    let adjust = |out: &mut Vec<u8>| WindowAdjust { recipient: 0, bytes: 1 }.encode(out);
    assert_eq!(misbehaved(raw.feed_with(adjust)), Misbehaved::WindowOverflow);

    let mut raw = raw_with_channel(0);
    raw.feed_with(|out| Close { recipient: 0 }.encode(out)).unwrap();
    assert_eq!(misbehaved(raw.feed(&data(0, 1))), Misbehaved::NoSuchChannel(0));

    let mut raw = raw_with_channel(0);
    assert_eq!(
        misbehaved(raw.feed_with(|out| Success { recipient: 0 }.encode(out))),
        Misbehaved::UnwantedReply
    );
    let mut raw = Raw::new(Side::Server);
    assert_eq!(misbehaved(raw.feed_with(global::encode_failure)), Misbehaved::UnwantedReply);

    let mut raw = raw_with_channel(0);
    let confirm = |out: &mut Vec<u8>| {
        OpenConfirmation { recipient: 0, sender: 1, window: 1, max_packet: 1 }.encode(out)
    };
    assert_eq!(misbehaved(raw.feed_with(confirm)), Misbehaved::NoSuchChannel(0), "nobody asked for it");

    let mut raw = Raw::new(Side::Server);
    raw.feed_with(|out| {
        global::Request { want_reply: false, kind: global::RequestKind::NoMoreSessions }.encode(out);
    })
    .unwrap();
    let open =
        |out: &mut Vec<u8>| Open { sender: 0, window: 0, max_packet: 0, kind: OpenKind::Session }.encode(out);
    assert_eq!(misbehaved(raw.feed_with(open)), Misbehaved::SessionAfterNoMore);
}

#[test]
fn messages_at_the_wrong_time_end_the_connection_and_unknown_ones_are_answered() {
    // Each number in turn: to a connection layer, and to a server before any key exchange.
    for message in 1..=255u8 {
        let mut raw = Raw::new(Side::Server);
        let result = raw.feed(&[message, 0, 0, 0, 0]);
        match number::row(message) {
            None if (20..50).contains(&message) => assert!(result.is_err(), "{message}"),
            None => {
                assert!(result.is_ok(), "{message}");
                assert_eq!(raw.sent()[0][0], number::UNIMPLEMENTED, "{message}");
            }
            Some(_) => {
                // Malformed, or not for a server at this point, or understood; a panic is what may not happen.
                let _ = result;
            }
        }
        let mut pair = Pair::new(Setup::default());
        let out = pair.client.conn.pending_output().unwrap().to_vec();
        pair.client.conn.output_written(out.len());
        let line = out.iter().position(|&b| b == b'\n').unwrap() + 1;
        pair.c2s.send(&out[..line]);
        pair.c2s.send(&sockward_test_sim::raw::packet(&[message, 0, 0, 0, 0]));
        pair.run();
        let harmless = [number::IGNORE, number::UNIMPLEMENTED];
        assert!(pair.server.error.is_some() || harmless.contains(&message), "{message} before KEXINIT");
    }
}

#[test]
fn floods_are_bounded() {
    // Channels without end.
    let mut raw = Raw::new(Side::Server);
    let mut waiting = Vec::new();
    for sender in 0..10_000 {
        raw.feed_with(|out| Open { sender, window: 0, max_packet: 0, kind: OpenKind::Session }.encode(out))
            .unwrap();
        waiting.extend(raw.conn.poll_event());
    }
    assert_eq!(waiting.len(), 4096);
    assert!(
        raw.sent().iter().all(|m| OpenFailure::decode(m).unwrap().reason == open_failure::RESOURCE_SHORTAGE)
    );
    // Requests whose answers are due.
    let mut raw = raw_with_channel(0);
    let mut waiting = Vec::new();
    let flood = (0..5000).find_map(|_| {
        let result = raw.feed_with(|out| {
            Request { recipient: 0, want_reply: true, kind: RequestKind::Shell }.encode(out);
        });
        waiting.extend(raw.conn.poll_event());
        result.err()
    });
    assert_eq!(flood, Some(Misbehaved::TooManyRequests.into()));
}

#[test]
fn names_longer_than_any_are_refused_and_not_kept() {
    let mut raw = Raw::new(Side::Server);
    let long = vec![b'x'; 5000];
    let pair =
        |host, origin_host| OpenKind::DirectTcpip(TcpPair { host, port: 80, origin_host, origin_port: 1 });
    let kinds = [pair(&long, b"o"), pair(b"h", &long), OpenKind::DirectStreamlocal { path: &long }];
    for (sender, kind) in (0..).zip(kinds) {
        raw.feed_with(|out| Open { sender, window: 1000, max_packet: 1000, kind }.encode(out)).unwrap();
        let sent = raw.sent();
        assert_eq!(OpenFailure::decode(&sent[0]).unwrap().recipient, sender);
        assert!(raw.conn.poll_event().is_none());
    }
    for kind in [
        global::RequestKind::TcpipForward { host: &long, port: 0 },
        global::RequestKind::StreamlocalForward { path: &long },
        global::RequestKind::HostKeysProve(vec![&long; 40]),
    ] {
        raw.feed_with(|out| global::Request { want_reply: true, kind }.encode(out)).unwrap();
        assert_eq!(raw.sent(), [[number::REQUEST_FAILURE]]);
        assert!(raw.conn.poll_event().is_none());
    }
}

#[test]
fn a_request_longer_than_any_command_fails_and_the_channel_goes_on() {
    let mut raw = raw_with_channel(1000);
    raw.sent();
    for (length, taken) in [(200_000, false), (100_000, true)] {
        let command = vec![b'x'; length];
        let request =
            Request { recipient: 0, want_reply: true, kind: RequestKind::Exec { command: &command } };
        raw.feed_with(|out| request.encode(out)).unwrap();
        assert_eq!(matches!(raw.conn.poll_event(), Some(Event::Requested(_))), taken);
        assert_eq!(raw.sent().concat().first(), Some(&number::CHANNEL_FAILURE), "{length}");
    }
}

#[test]
fn extended_data_has_a_window_too_and_reaches_the_application() {
    let mut raw = raw_with_channel(0);
    let received =
        raw.feed_with(|out| ExtendedData { recipient: 0, kind: 1, data: b"oops" }.encode(out)).unwrap();
    let Received::Data { extended, data, .. } = received else { panic!() };
    assert_eq!((extended, data.len()), (Some(1), 4));
}

#[test]
fn data_for_a_channel_we_have_closed_is_thrown_away() {
    let mut raw = raw_with_channel(0);
    let id = raw.conn.channels()[0];
    raw.conn.close_channel(id).unwrap();
    let received = raw.feed_with(|out| Data { recipient: 0, data: b"late" }.encode(out)).unwrap();
    assert!(matches!(received, Received::Progress(_)));
    raw.feed_with(|out| Close { recipient: 0 }.encode(out)).unwrap();
    assert_eq!(raw.conn.channel_count(), 0);
}

/// A server whose application holds its CLOSE; the peer has closed.
fn raw_with_held_channel() -> (Raw, ChannelId) {
    let mut raw = raw_with_channel(1000);
    let id = raw.conn.channels()[0];
    raw.conn.hold_close(id);
    raw.feed_with(|out| Data { recipient: 0, data: b"last" }.encode(out)).unwrap();
    raw.feed_with(|out| Close { recipient: 0 }.encode(out)).unwrap();
    assert!(matches!(raw.conn.poll_event(), Some(Event::PeerClosed(closed)) if closed == id));
    assert!(raw.conn.poll_event().is_none() && raw.sent().is_empty());
    (raw, id)
}

#[test]
fn a_held_close_leaves_room_for_the_exit_status() {
    let (mut raw, id) = raw_with_held_channel();
    // It takes no data any more, and gets no credit for what its last bytes gave back.
    assert_eq!(raw.conn.sendable(id), 0);
    raw.conn.send_eof(id).unwrap();
    raw.conn.consumed(id, 4).unwrap();
    assert!(raw.sent().is_empty());
    // Its number is not used again meanwhile, and it counts.
    raw.feed_with(|out| {
        Open { sender: 6, window: 0, max_packet: 0, kind: OpenKind::Session }.encode(out);
    })
    .unwrap();
    let Some(Event::OpenRequested(question)) = raw.conn.poll_event() else { panic!() };
    let other = raw.conn.accept_channel(question).unwrap();
    assert_ne!(other.index(), id.index());
    assert_eq!(raw.conn.channel_count(), 2);
    raw.sent();
    raw.conn.request(id, &ChannelRequest::ExitStatus(3), false).unwrap();
    raw.conn.close_channel(id).unwrap();
    let sent = raw.sent();
    assert_eq!(sent.len(), 2);
    let status = Request { recipient: 5, want_reply: false, kind: RequestKind::ExitStatus { status: 3 } };
    assert_eq!(Request::decode(&sent[0]).unwrap(), status);
    assert_eq!(Close::decode(&sent[1]).unwrap().recipient, 5);
    assert!(matches!(raw.conn.poll_event(), Some(Event::Closed(closed)) if closed == id));
    assert_eq!(raw.conn.channels(), [other]);
    // Once is enough.
    raw.conn.close_channel(id).unwrap();
    assert!(raw.sent().is_empty() && raw.conn.poll_event().is_none());
}

#[test]
fn who_has_closed_may_ask_but_send_nothing_more() {
    let late: [fn(&mut Vec<u8>); 5] = [
        |out| Data { recipient: 0, data: b"x" }.encode(out),
        |out| ExtendedData { recipient: 0, kind: 1, data: b"x" }.encode(out),
        |out| Eof { recipient: 0 }.encode(out),
        |out| Close { recipient: 0 }.encode(out),
        |out| WindowAdjust { recipient: 0, bytes: 1 }.encode(out),
    ];
    for encode in late {
        let (mut raw, _) = raw_with_held_channel();
        let result = raw.feed_with(encode);
        assert!(matches!(result, Err(Error::PeerMisbehaved(Misbehaved::NoSuchChannel(0)))), "{result:?}");
    }
    // A request is not heard of, and an answer is given where one is asked for.
    let (mut raw, _) = raw_with_held_channel();
    for want_reply in [false, true] {
        raw.feed_with(|out| Request { recipient: 0, want_reply, kind: RequestKind::Shell }.encode(out))
            .unwrap();
    }
    assert!(raw.conn.poll_event().is_none());
    assert_eq!(raw.sent().iter().map(|m| m[0]).collect::<Vec<_>>(), [number::CHANNEL_FAILURE]);
}

#[test]
fn a_close_that_is_held_answers_one_that_has_gone_out_before() {
    let mut raw = raw_with_channel(0);
    let id = raw.conn.channels()[0];
    raw.conn.hold_close(id);
    raw.conn.close_channel(id).unwrap();
    assert_eq!(raw.sent().len(), 1);
    raw.feed_with(|out| Close { recipient: 0 }.encode(out)).unwrap();
    assert!(matches!(raw.conn.poll_event(), Some(Event::Closed(_))));
    assert!(raw.sent().is_empty() && raw.conn.channels().is_empty());
}
