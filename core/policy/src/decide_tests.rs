//! The truth tables of `decide`, row by row, and the property that a further restriction never allows more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    Account, Conflict, Forwarding, GatewayPorts, Limits, PeerList, SessionPermit, SocketBirth, Subsystem,
    Switch, Unlink,
};

fn line(n: u32) -> Source {
    Source::new("sshd_config", n)
}

fn permit() -> Permit {
    Permit {
        account: Account {
            name: "alex".into(),
            uid: 1000,
            gid: 1000,
            home: b"/home/alex".into(),
            shell: b"/bin/sh".into(),
        },
        forwarding: Forwarding::default(),
        birth: SocketBirth { mode: 0o600, group: None, unlink: Unlink::Stale, conflict: Conflict::Refuse },
        peers: Vec::new(),
        limits: Limits { sessions: Limit::NONE, listeners: Limit::NONE, forwarded_connections: Limit::NONE },
        session: SessionPermit::default(),
    }
}

fn list(kind: ListKind, words: &str) -> RuleList {
    let words = words.split_whitespace().map(str::as_bytes);
    RuleList::parse(kind, Origin::Configuration, words, &|_| None, line(10)).unwrap()
}

fn rule(switch: Switch, leaves: Direction) -> DirectionRule {
    DirectionRule { leaves, switch, source: line(5) }
}

fn forced() -> ForcedCommand {
    ForcedCommand { command: b"true".into(), origin: Origin::Configuration, source: line(7) }
}

/// Open TCP, listen TCP, open a socket, listen on a socket: localhost:80 and /run/x.sock.
fn all_four(permit: &Permit) -> [bool; 4] {
    let resolved = |list| {
        let directories = pattern_directories(permit, list);
        directories.into_iter().map(|d| (d.clone(), d)).collect::<BTreeMap<_, _>>()
    };
    let (open, listen) = (resolved(ListKind::PermitOpen), resolved(ListKind::PermitListen));
    let path = |directories| PathFacts { resolved: b"/run/x.sock", directories };
    [
        decide_open_tcp(permit, b"localhost", 80).is_allowed(),
        decide_listen_tcp(permit, b"localhost", 80).is_allowed(),
        decide_open_path(permit, path(&open)).is_allowed(),
        decide_listen_path(permit, path(&listen)).is_allowed(),
    ]
}

#[test]
fn switches() {
    use Direction::{Local, No, Remote, Yes};
    use Switch::{AllowStreamLocalForwarding, AllowTcpForwarding, DisableForwarding, PortForwarding};
    for (switch, leaves, allowed) in [
        (AllowTcpForwarding, Yes, [true, true, true, true]),
        (AllowTcpForwarding, No, [false, false, false, false]),
        (AllowTcpForwarding, Local, [true, false, true, false]),
        (AllowTcpForwarding, Remote, [false, true, false, true]),
        (DisableForwarding, No, [false, false, false, false]),
        (PortForwarding, No, [false, false, false, false]),
    ] {
        let mut permit = permit();
        permit.forwarding.tcp.push(rule(switch, leaves));
        assert_eq!(all_four(&permit), allowed, "{switch:?} {leaves:?}");
    }
    for (leaves, allowed) in [
        (Yes, [true, true, true, true]),
        (No, [true, true, false, false]),
        (Local, [true, true, true, false]),
        (Remote, [true, true, false, true]),
    ] {
        let mut permit = permit();
        permit.forwarding.streamlocal.push(rule(AllowStreamLocalForwarding, leaves));
        assert_eq!(all_four(&permit), allowed, "AllowStreamLocalForwarding {leaves:?}");
        // yes for sockets does not outweigh no for TCP.
        permit.forwarding.tcp.push(rule(AllowTcpForwarding, No));
        assert_eq!(all_four(&permit), [false; 4]);
    }
}

#[test]
fn lists_are_whole_lists_of_both_kinds() {
    for (words, tcp, path) in [
        ("any", true, true),
        ("none", false, false),
        ("localhost:80", true, false),
        ("localhost:81", false, false),
        ("/run/x.sock", false, true),
        ("/run/*", false, true),
        ("/run/*/x.sock", false, false),
        ("/run/%u.sock", false, false),
        ("unix:any", false, true),
        ("localhost:70-90 /run/*.sock", true, true),
    ] {
        let mut permit = permit();
        permit.forwarding.open.push(list(ListKind::PermitOpen, words));
        assert_eq!(all_four(&permit), [tcp, true, path, true], "PermitOpen {words}");
        permit.forwarding.open.clear();
        permit.forwarding.listen.push(list(ListKind::PermitListen, words));
        assert_eq!(all_four(&permit), [true, tcp, true, path], "PermitListen {words}");
    }
}

#[test]
fn all_lists_must_allow() {
    let mut permit = permit();
    permit.forwarding.listen.push(list(ListKind::PermitListen, "localhost:80 /run/x.sock"));
    permit.forwarding.listen.push(list(ListKind::PermitListen, "localhost:80"));
    assert_eq!(all_four(&permit), [true, true, true, false]);
}

#[test]
fn a_forced_command_needs_a_list_for_sockets() {
    let mut permit = permit();
    permit.session.forced = Some(forced());
    assert_eq!(all_four(&permit), [true, true, false, false]);
    permit.forwarding.listen.push(list(ListKind::PermitListen, "/run/x.sock"));
    assert_eq!(all_four(&permit), [true, false, false, true]);
    permit.forwarding.open.push(list(ListKind::PermitOpen, "any"));
    assert_eq!(all_four(&permit), [true, false, true, true]);
    permit.forwarding.tcp.push(rule(Switch::AllowTcpForwarding, Direction::No));
    assert_eq!(all_four(&permit), [false; 4]);
}

#[test]
fn a_key_cannot_lift_what_the_configuration_forces() {
    for (forced_by, list_by, allowed) in [
        (Origin::Configuration, Origin::Configuration, true),
        (Origin::Configuration, Origin::Key, false),
        (Origin::Key, Origin::Configuration, true),
        (Origin::Key, Origin::Key, true),
    ] {
        let mut permit = permit();
        permit.session.forced = Some(ForcedCommand { origin: forced_by, ..forced() });
        permit.forwarding.listen.push(RuleList { origin: list_by, ..list(ListKind::PermitListen, "any") });
        assert_eq!(all_four(&permit), [true, true, false, allowed], "{forced_by:?} {list_by:?}");
    }
}

#[test]
fn decisions_name_the_line() {
    let mut permit = permit();
    let by = |d: Decision| match d {
        Decision::Allowed { by, .. } | Decision::Refused(Refusal { by, .. }) => by,
    };
    assert_eq!(by(decide_open_tcp(&permit, b"h", 1)), By::Default);
    permit.forwarding.tcp.push(rule(Switch::AllowTcpForwarding, Direction::Yes));
    assert_eq!(by(decide_open_tcp(&permit, b"h", 1)), By::Rule(line(5)));
    permit.forwarding.open.push(list(ListKind::PermitOpen, "h:1"));
    assert_eq!(by(decide_open_tcp(&permit, b"h", 1)), By::Rule(line(10)));
    assert_eq!(
        decide_open_tcp(&permit, b"h", 2),
        Decision::refused(By::Rule(line(10)), Reason::NotListed(ListKind::PermitOpen))
    );
    permit.session.forced = Some(forced());
    let nothing = BTreeMap::new();
    assert_eq!(
        decide_listen_path(&permit, PathFacts { resolved: b"/x", directories: &nothing }),
        Decision::refused(By::Rule(line(7)), Reason::ForcedCommand(ListKind::PermitListen))
    );
}

#[test]
fn a_path_matches_through_resolved_directories_alone() {
    let mut permit = permit();
    permit.forwarding.listen.push(list(ListKind::PermitListen, "/var/run/x.sock ~/%u.sock unix:any/x"));
    let listed = pattern_directories(&permit, ListKind::PermitListen);
    assert_eq!(listed, [&b"/home/alex"[..], b"/home/alex/any", b"/var/run"]);
    let may = |resolved: &str, directories: &[(&str, &str)]| {
        let directories =
            directories.iter().map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).collect();
        decide_listen_path(&permit, PathFacts { resolved: resolved.as_bytes(), directories: &directories })
            .is_allowed()
    };
    assert!(may("/run/x.sock", &[("/var/run", "/run")]));
    assert!(!may("/var/run/x.sock", &[("/var/run", "/run")]));
    assert!(!may("/run/x.sock", &[]));
    assert!(may("/home/alex/alex.sock", &[("/home/alex", "/home/alex")]));
    // A user's own link does not carry the pattern elsewhere: the walk did not resolve it.
    assert!(!may("/etc/alex.sock", &[("/home/alex", "/home/alex")]));
}

#[test]
fn names_that_are_no_literal_text_match_nothing() {
    let mut permit = permit();
    permit.account.name = "*".into();
    permit.forwarding.listen.push(list(ListKind::PermitListen, "/run/%u/x"));
    let directories = BTreeMap::from([(b"/run".to_vec(), b"/run".to_vec())]);
    let facts = PathFacts { resolved: b"/run/other/x", directories: &directories };
    assert!(!decide_listen_path(&permit, facts).is_allowed());
    assert!(pattern_directories(&permit, ListKind::PermitListen).is_empty());
}

#[test]
fn permit_peer_keeps_listeners_on_loopback() {
    for (gateway, host, bound, with_peers) in [
        (GatewayPorts::No, "", BindAddress::Loopback, true),
        (GatewayPorts::No, "0.0.0.0", BindAddress::Loopback, true),
        (GatewayPorts::Yes, "localhost", BindAddress::Wildcard, false),
        (GatewayPorts::ClientSpecified, "", BindAddress::Wildcard, false),
        (GatewayPorts::ClientSpecified, "localhost", BindAddress::Loopback, true),
        (GatewayPorts::ClientSpecified, "127.0.0.1", BindAddress::Host("127.0.0.1".into()), true),
        (GatewayPorts::ClientSpecified, "192.0.2.1", BindAddress::Host("192.0.2.1".into()), false),
        (GatewayPorts::ClientSpecified, "myhost", BindAddress::Host("myhost".into()), false),
    ] {
        let mut permit = permit();
        permit.forwarding.gateway_ports = gateway;
        let granted = decide_listen_tcp(&permit, host.as_bytes(), 80).into_result();
        assert_eq!(granted, Ok(bound), "{gateway:?} {host}");
        permit.peers = vec![PeerList { peers: Vec::new(), source: line(3) }];
        let result = decide_listen_tcp(&permit, host.as_bytes(), 80).into_result();
        assert_eq!(result.is_ok(), with_peers, "{gateway:?} {host} with PermitPeer");
    }
}

#[test]
fn peers() {
    let peer = |uid, user: &str| PeerFacts { uid, users: vec![user.into()], groups: vec!["vnc".into()] };
    let peers = |words: &str| {
        let words = words.split_whitespace().map(str::as_bytes);
        PeerList::parse(words, line(3)).unwrap().into_iter().collect::<Vec<_>>()
    };
    let bob = peer(1001, "bob");
    let outside = peer(OVERFLOW_ID, "bob");
    for (lists, facts, allowed) in [
        (vec![], None, true),
        (vec![], Some(&outside), true),
        (peers("bob"), Some(&bob), true),
        (peers("@vnc"), Some(&bob), true),
        (peers("alex root"), Some(&bob), false),
        (peers("bob"), Some(&outside), false),
        (peers("bob"), None, false),
        (peers("none"), Some(&bob), false),
        ([peers("bob"), peers("alex")].concat(), Some(&bob), false),
        ([peers("bob"), peers("@vnc")].concat(), Some(&bob), true),
    ] {
        let permit = Permit { peers: lists, ..permit() };
        assert_eq!(decide_peer(&permit, facts).is_allowed(), allowed, "{:?} {facts:?}", permit.peers);
    }
}

#[test]
fn sessions() {
    let run =
        |permit: &Permit, kind| decide_session(permit, kind).into_result().map(|e| (e.command, e.original));
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let mut permit = permit();
    permit.session.subsystems.push(Subsystem { name: b"sftp".into(), command: b"/sftp-server -e".into() });
    assert_eq!(run(&permit, SessionKind::Shell), Ok((None, None)));
    assert_eq!(run(&permit, SessionKind::Exec(b"id")), Ok((bytes("id"), None)));
    assert_eq!(run(&permit, SessionKind::Subsystem(b"sftp")), Ok((bytes("/sftp-server -e"), None)));
    assert!(run(&permit, SessionKind::Subsystem(b"scp")).is_err());
    assert!(decide_tty(&permit).is_allowed());

    permit.session.forced = Some(forced());
    assert_eq!(run(&permit, SessionKind::Shell), Ok((bytes("true"), None)));
    assert_eq!(run(&permit, SessionKind::Exec(b"id")), Ok((bytes("true"), bytes("id"))));
    assert_eq!(run(&permit, SessionKind::Subsystem(b"sftp")), Ok((bytes("true"), bytes("/sftp-server -e"))));
    assert!(run(&permit, SessionKind::Subsystem(b"scp")).is_err());

    permit.session.no_tty.push(line(4));
    assert_eq!(decide_tty(&permit), Decision::refused(By::Rule(line(4)), Reason::NoTty));
    permit.session.disabled = Some(line(1));
    for kind in [SessionKind::Shell, SessionKind::Exec(b"id"), SessionKind::Subsystem(b"sftp")] {
        assert!(run(&permit, kind).is_err(), "{kind:?}");
    }
}

#[test]
fn limits_count() {
    let mut permit = permit();
    assert!(decide_one_more(&permit, Limited::Listeners, usize::MAX).is_allowed());
    permit.limits.listeners = Limit { max: Some(2), by: By::Rule(line(8)) };
    assert!(decide_one_more(&permit, Limited::Listeners, 1).is_allowed());
    assert!(!decide_one_more(&permit, Limited::Listeners, 2).is_allowed());
    permit.limits.sessions = Limit { max: Some(0), by: By::Rule(line(8)) };
    assert!(!decide_one_more(&permit, Limited::Sessions, 0).is_allowed());
}

/// Something a line, a key or a certificate can add to a permit.
#[derive(Clone, Debug)]
enum Restriction {
    Tcp(Direction),
    StreamLocal(Direction),
    Open(RuleList),
    Listen(RuleList),
    Forced,
    Peers,
}

fn restrictions() -> impl Strategy<Value = Restriction> {
    let way = prop_oneof![
        Just(Direction::No),
        Just(Direction::Local),
        Just(Direction::Remote),
        Just(Direction::Yes)
    ];
    let words = prop::sample::subsequence(
        vec!["localhost:80", "*:80", "localhost:1-99", "h:1", "/run/x.sock", "/run/*", "~/x", "unix:any"],
        1..4,
    )
    .prop_map(|w| w.join(" "));
    let words = prop_oneof![4 => words, 1 => Just("any".to_owned()), 1 => Just("none".to_owned())];
    prop_oneof![
        way.clone().prop_map(Restriction::Tcp),
        way.prop_map(Restriction::StreamLocal),
        words.clone().prop_map(|w| Restriction::Open(list(ListKind::PermitOpen, &w))),
        words.prop_map(|w| Restriction::Listen(list(ListKind::PermitListen, &w))),
        Just(Restriction::Forced),
        Just(Restriction::Peers),
    ]
}

fn add(permit: &mut Permit, restriction: Restriction) {
    match restriction {
        Restriction::Tcp(d) => permit.forwarding.tcp.push(rule(Switch::AllowTcpForwarding, d)),
        Restriction::StreamLocal(d) => {
            permit.forwarding.streamlocal.push(rule(Switch::AllowStreamLocalForwarding, d));
        }
        Restriction::Open(l) => permit.forwarding.open.push(l),
        Restriction::Listen(l) => permit.forwarding.listen.push(l),
        Restriction::Forced => permit.session.forced = Some(forced()),
        Restriction::Peers => permit.peers.push(PeerList { peers: Vec::new(), source: line(3) }),
    }
}

proptest! {
    #[test]
    fn a_further_restriction_never_allows_more(
        before in prop::collection::vec(restrictions(), 0..5),
        one_more in restrictions(),
        wildcard in any::<bool>(),
    ) {
        let mut permit = permit();
        if wildcard {
            permit.forwarding.gateway_ports = GatewayPorts::Yes;
        }
        before.into_iter().for_each(|r| add(&mut permit, r));
        // The first list beside a forced command is the one that grants sockets; it is no restriction of them.
        let grants = permit.session.forced.is_some() && match &one_more {
            Restriction::Open(_) => permit.forwarding.open.is_empty(),
            Restriction::Listen(_) => permit.forwarding.listen.is_empty(),
            Restriction::Tcp(_) | Restriction::StreamLocal(_) | Restriction::Forced | Restriction::Peers => false,
        };
        let earlier = all_four(&permit);
        add(&mut permit, one_more);
        let later = all_four(&permit);
        let tcp_and_path = if grants { 0..2 } else { 0..4 };
        for i in tcp_and_path {
            prop_assert!(earlier[i] || !later[i], "{:?} then {:?}", earlier, later);
        }
    }
}
