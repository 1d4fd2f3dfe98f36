//! TCP: connections to targets, listeners on ports, lists and limits.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use sockward_policy::{By, GatewayPorts, Limit, ListKind, Origin, PeerList, Permit, RuleList, Source};
use sockward_privsep::helper::{Event, Peer};
use sockward_privsep::login::{Connection, Endpoint, Refusal, Request};

use crate::double::{ALEX, Helper, assert_joined, permit, read_all, tcp};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("targets_are_connected_to_and_passed", targets_are_connected_to_and_passed),
    ("what_does_not_work_is_said_in_the_system_s_words", what_does_not_work_is_said_in_the_system_s_words),
    ("names_are_looked_up_for_many_at_once", names_are_looked_up_for_many_at_once),
    ("lists_of_ports_hold_both_ways", lists_of_ports_hold_both_ways),
    ("a_drawn_port_is_one_for_both_families", a_drawn_port_is_one_for_both_families),
    ("a_port_that_somebody_holds_in_part_is_refused", a_port_that_somebody_holds_in_part_is_refused),
    ("gateway_ports_choose_the_address", gateway_ports_choose_the_address),
    ("a_listener_that_is_cancelled_is_gone", a_listener_that_is_cancelled_is_gone),
    ("limits_of_listeners_and_connections_hold", limits_of_listeners_and_connections_hold),
    ("a_port_that_others_reach_is_refused_beside_a_list", a_port_that_others_reach_is_refused_beside_a_list),
    ("low_ports_are_refused_by_the_kernel", low_ports_are_refused_by_the_kernel),
];

fn list(kind: ListKind, words: &str) -> RuleList {
    let words = words.split_whitespace().map(str::as_bytes);
    RuleList::parse(kind, Origin::Configuration, words, &|_| None, Source::new("config", 7)).unwrap()
}

fn limit(max: u32) -> Limit {
    Limit { max: Some(max), by: By::Rule(Source::new("config", 8)) }
}

/// The user's rights do not matter in most of these: without root the helper is ourselves.
fn start() -> (Helper, Permit) {
    let uid = match sockward_sys::identity::effective_uid() {
        0 => ALEX,
        own => own,
    };
    (Helper::start(uid), permit(uid))
}

fn connect(port: u16) -> OwnedFd {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().into()
}

fn targets_are_connected_to_and_passed() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    for target in [TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), TcpListener::bind((Ipv6Addr::LOCALHOST, 0))] {
        let Ok(target) = target else { continue };
        let address = target.local_addr().unwrap();
        for host in [address.ip().to_string().as_str(), "localhost"] {
            let socket = worker.open(tcp(host, address.port())).unwrap();
            let (other, _) = target.accept().unwrap();
            let stream = TcpStream::from(socket);
            assert!(stream.nodelay().unwrap());
            assert_joined(&stream.into(), &other.into());
        }
    }
    let (connection, target, result, by) = helper.event(|e| match e {
        Event::Open { connection, target, result, by } => {
            Some((*connection, target.clone(), result.clone(), by.clone()))
        }
        _ => None,
    });
    assert_eq!((connection, by), (Connection::Opened(0), Some(By::Default)));
    assert_eq!(result, Ok(target));
    worker.link.say(&Request::Closed { connection, received: 7, sent: 9 }, None).unwrap();
    // Said twice, or of nobody: nothing comes of it.
    worker.link.say(&Request::Closed { connection, received: 7, sent: 9 }, None).unwrap();
    let unknown = Connection::Accepted(77);
    worker.link.say(&Request::Closed { connection: unknown, received: 7, sent: 9 }, None).unwrap();
    let bytes = helper.event(|e| match e {
        Event::Closed { connection: c, received, sent, .. } if *c == connection => Some((*received, *sent)),
        _ => None,
    });
    assert_eq!(bytes, (7, 9));
}

fn what_does_not_work_is_said_in_the_system_s_words() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut refused = |target| worker.open(target).unwrap_err();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(refused(tcp(host, gone)), (Refusal::Failed, "Connection refused".into()));
    }
    let high = Endpoint::Tcp { host: "127.0.0.1".into(), port: 65_536 };
    assert_eq!(refused(high), (Refusal::Failed, "no such port".into()));
    let bytes = Endpoint::Tcp { host: b"\xff".into(), port: 1 };
    assert_eq!(refused(bytes), (Refusal::Failed, "not a host name".into()));
    assert_eq!(refused(tcp("", 1)), (Refusal::Failed, "not a host name".into()));
    let (why, text) = refused(tcp("no-such-host.invalid", 1));
    // The resolver's own words.
    assert!(why == Refusal::Failed && !text.is_empty() && !text.contains("os error"), "{text}");
    let by = helper.event(|e| match e {
        Event::Open { target, result: Err(why), by, .. } if target.starts_with("localhost") => {
            Some((why.clone(), by.clone()))
        }
        _ => None,
    });
    assert_eq!(by, ("Connection refused".into(), Some(By::Default)));
}

fn names_are_looked_up_for_many_at_once() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = target.local_addr().unwrap().port();
    // Only the system's resolver knows these.
    let ids: Vec<_> = (0..200)
        .map(|n| {
            let host = ["127.1", "127.0.1", "0x7f000001", "127.2"][n % 4];
            worker.ask(|id| Request::Open { id, target: tcp(host, port) })
        })
        .collect();
    for (n, id) in ids.into_iter().enumerate() {
        let opened = worker.opened(id);
        match n % 4 {
            // Nobody listens at 127.0.0.2.
            3 => assert_eq!(opened.unwrap_err(), (Refusal::Failed, "Connection refused".into())),
            _ => {
                opened.unwrap();
                target.accept().unwrap();
            }
        }
    }
}

fn lists_of_ports_hold_both_ways() {
    let (mut helper, mut permit) = start();
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = target.local_addr().unwrap().port();
    permit.forwarding.open.push(list(ListKind::PermitOpen, &format!("127.0.0.1:{port}")));
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    permit.forwarding.listen.push(list(ListKind::PermitListen, &format!("localhost:{free}")));
    let mut worker = helper.log_in(permit);
    worker.open(tcp("127.0.0.1", port)).unwrap();
    let not_listed = |list| (Refusal::Prohibited, format!("not in the server's list ({list})"));
    for other in [tcp("localhost", port), tcp("127.0.0.1", port ^ 1)] {
        assert_eq!(worker.open(other).unwrap_err(), not_listed("PermitOpen"));
    }
    assert_eq!(worker.listen(tcp("localhost", free)).unwrap().1, Some(free));
    for other in [tcp("127.0.0.1", free), tcp("localhost", 0), tcp("", free ^ 1)] {
        assert_eq!(worker.listen(other).unwrap_err(), not_listed("PermitListen"));
    }
    let (why, by) = helper.event(|e| match e {
        Event::Listen { result: Err(why), by, .. } => Some((why.clone(), by.clone())),
        _ => None,
    });
    assert_eq!(by, Some(By::Rule(Source::new("config", 7))));
    assert_eq!(why, "not in the server's list (PermitListen), decided by config:7");
}

fn a_drawn_port_is_one_for_both_families() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    let (listener, port) = worker.listen(tcp("localhost", 0)).unwrap();
    let port = port.unwrap();
    let mut clients = vec![TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()];
    // Where there is IPv6 at all.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        clients.push(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap());
    }
    for client in clients {
        let from = client.local_addr().unwrap();
        let (of, connection, origin, socket) = worker.accepted();
        assert_eq!((of, origin), (listener, Some((from.ip().to_string(), from.port()))));
        let stream = TcpStream::from(socket);
        assert!(stream.nodelay().unwrap());
        assert_joined(&stream.into(), &client.into());
        let peer = helper.event(|e| match e {
            Event::Connection { connection: c, peer, refused: None, .. }
                if *c == Connection::Accepted(connection) =>
            {
                Some(peer.clone())
            }
            _ => None,
        });
        assert_eq!(peer, Peer::Address { from, uid: Some(0) });
    }
    let (at, real) = helper.event(|e| match e {
        Event::Listen { at, result: Ok(real), .. } => Some((at.clone(), real.clone())),
        _ => None,
    });
    assert_eq!(at, "localhost:0");
    assert!(real.contains(&format!("127.0.0.1:{port}")), "{real}");
}

fn a_port_that_somebody_holds_in_part_is_refused() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let (why, text) = worker.listen(tcp("localhost", port)).unwrap_err();
    assert_eq!(why, Refusal::Failed);
    assert!(text.ends_with("Address already in use"), "{text}");
    // Nothing of it is left over.
    drop(held);
    worker.listen(tcp("localhost", port)).unwrap();
    let again = worker.listen(tcp("localhost", port)).unwrap_err();
    assert_eq!(again, (Refusal::Failed, "this login listens there already".into()));
}

fn gateway_ports_choose_the_address() {
    let (mut helper, base) = start();
    let mut bound = |gateway_ports, host: &str| {
        let mut permit = base.clone();
        permit.forwarding.gateway_ports = gateway_ports;
        let mut worker = helper.log_in(permit);
        helper.events.clear();
        worker.listen(tcp(host, 0)).unwrap();
        helper.event(|e| match e {
            Event::Listen { result: Ok(real), .. } => Some(real.clone()),
            _ => None,
        })
    };
    assert!(bound(GatewayPorts::No, "0.0.0.0").starts_with("127.0.0.1:"));
    assert!(bound(GatewayPorts::No, "127.0.0.1").starts_with("127.0.0.1:"));
    assert!(bound(GatewayPorts::Yes, "localhost").starts_with("0.0.0.0:"));
    assert!(bound(GatewayPorts::ClientSpecified, "").starts_with("0.0.0.0:"));
    assert!(bound(GatewayPorts::ClientSpecified, "127.0.0.2").starts_with("127.0.0.2:"));
    // A name that a child has to look up.
    assert!(bound(GatewayPorts::ClientSpecified, "127.3").starts_with("127.0.0.3:"));
    let mut permit = base;
    permit.forwarding.gateway_ports = GatewayPorts::ClientSpecified;
    let mut worker = helper.log_in(permit);
    for nowhere in ["192.0.2.1", "no-such-host.invalid"] {
        assert_eq!(worker.listen(tcp(nowhere, 0)).unwrap_err().0, Refusal::Failed);
    }
}

fn a_listener_that_is_cancelled_is_gone() {
    let (mut helper, permit) = start();
    let mut worker = helper.log_in(permit);
    let (first, port) = worker.listen(tcp("", 0)).unwrap();
    let port = port.unwrap();
    let (second, other) = worker.listen(tcp("localhost", 0)).unwrap();
    assert_ne!(first, second);
    for unknown in [tcp("localhost", port), tcp("", 0), tcp("", other.unwrap())] {
        assert_eq!(worker.unlisten(unknown).unwrap_err().0, Refusal::Failed);
    }
    assert_eq!(worker.unlisten(tcp("", port)), Ok(first));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    drop(connect(other.unwrap()));
    assert_eq!(worker.accepted().0, second);
    helper.event(|e| matches!(e, Event::Unlisten { at } if *at == "*:0").then_some(()));
}

fn limits_of_listeners_and_connections_hold() {
    let (mut helper, mut permit) = start();
    permit.limits.listeners = limit(2);
    permit.limits.forwarded_connections = limit(3);
    let mut worker = helper.log_in(permit);
    let too_many = |max, keyword| (Refusal::Shortage, format!("too many: the limit is {max} ({keyword})"));
    let (_, port) = worker.listen(tcp("127.0.0.1", 0)).unwrap();
    let port = port.unwrap();
    worker.listen(tcp("localhost", 0)).unwrap();
    assert_eq!(worker.listen(tcp("", 0)).unwrap_err(), too_many(2, "MaxListeners"));
    worker.unlisten(tcp("localhost", 0)).unwrap_err();
    // Both ways count.
    let clients: Vec<_> = (0..2).map(|_| (connect(port), worker.accepted())).collect();
    let opened = worker.ask(|id| Request::Open { id, target: tcp("127.0.0.1", port) });
    worker.opened(opened).unwrap();
    assert_eq!(worker.open(tcp("127.0.0.1", port)).unwrap_err(), too_many(3, "MaxForwardedConnections"));
    // What is connected beyond the limit is closed at once: the worker's own is the first.
    let refused = connect(port);
    assert_eq!(read_all(&refused), "");
    let by = helper.event(|e| match e {
        Event::Connection { refused: Some(why), by, .. } => Some((why.clone(), by.clone())),
        _ => None,
    });
    assert!(by.0.starts_with("too many: the limit is 3 (MaxForwardedConnections)"), "{by:?}");
    assert_eq!(by.1, Some(By::Rule(Source::new("config", 8))));
    let connection = Connection::Accepted(clients[0].1.1);
    worker.link.say(&Request::Closed { connection, received: 0, sent: 0 }, None).unwrap();
    helper.event(|e| matches!(e, Event::Closed { .. }).then_some(()));
    let socket = connect(port);
    assert_joined(&worker.accepted().3, &socket);
}

fn a_port_that_others_reach_is_refused_beside_a_list() {
    let (mut helper, mut permit) = start();
    let source = Source::new("config", 9);
    permit.peers.push(PeerList { peers: Vec::new(), source: source.clone() });
    permit.forwarding.gateway_ports = GatewayPorts::ClientSpecified;
    let mut worker = helper.log_in(permit);
    for host in ["", "*", "0.0.0.0", "::", "192.0.2.1", "::ffff:0.0.0.0", "localhost.example"] {
        let (why, text) = worker.listen(tcp(host, 0)).unwrap_err();
        assert!(why == Refusal::Prohibited && text.contains("(PermitPeer)"), "{host}: {text}");
        let by = helper.event(|e| match e {
            Event::Listen { result: Err(_), by, .. } => Some(by.clone()),
            _ => None,
        });
        assert_eq!(by, Some(By::Rule(source.clone())));
    }
    for host in ["localhost", "127.0.0.1", "127.3.4.5"] {
        worker.listen(tcp(host, 0)).unwrap();
    }
}

fn low_ports_are_refused_by_the_kernel() {
    if !root_or_skip("low_ports_are_refused_by_the_kernel") {
        return;
    }
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse::<u16>().is_ok_and(|first| first <= 700) {
        println!("skipped low_ports_are_refused_by_the_kernel: low ports are everybody's here");
        return;
    }
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    let (why, text) = worker.listen(tcp("127.0.0.1", 700)).unwrap_err();
    assert_eq!((why, text.as_str()), (Refusal::Failed, "Permission denied"));
}
