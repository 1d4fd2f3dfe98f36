//! Tests of forwarding specifications.

use std::ffi::{OsStr, OsString};

use proptest::prelude::*;

use super::*;
use crate::lookup::Lookup;

struct Machine;

impl Lookup for Machine {
    fn env(&self, name: &OsStr) -> Option<OsString> {
        (name == "RUN").then(|| "/run/user".into())
    }
    fn service(&self, name: &str) -> Option<u16> {
        (name == "http").then_some(80)
    }
    fn home(&self, _: Option<&OsStr>) -> Option<OsString> {
        None
    }
}

fn parse(spec: &str, form: Form) -> Result<Forward, ForwardError> {
    Forward::parse(spec.as_bytes(), form, &Machine)
}

/// What `-G` would print, or the error.
fn shown(spec: &str, form: Form) -> String {
    parse(spec, form).map_or_else(|e| format!("error: {e}"), |f| f.to_string())
}

#[test]
fn every_form_of_ssh_1() {
    for (spec, form, printed) in [
        ("8080:localhost:80", Form::Local, "8080 [localhost]:80"),
        ("8080:localhost:http", Form::Local, "8080 [localhost]:80"),
        ("127.0.0.1:8080:localhost:80", Form::Local, "[127.0.0.1]:8080 [localhost]:80"),
        ("*:8080:localhost:80", Form::Local, "[*]:8080 [localhost]:80"),
        (":8080:localhost:80", Form::Local, "[]:8080 [localhost]:80"),
        ("[::1]:8080:[fe80::1%eth0]:80", Form::Local, "[::1]:8080 [fe80::1%eth0]:80"),
        ("[]:8080:[::1]:80", Form::Local, "[]:8080 [::1]:80"),
        ("8080:/run/x.sock", Form::Local, "8080 /run/x.sock"),
        ("127.0.0.1:8080:/run/x.sock", Form::Local, "[127.0.0.1]:8080 /run/x.sock"),
        ("/run/a:localhost:80", Form::Local, "/run/a [localhost]:80"),
        ("/run/a:/run/b", Form::Local, "/run/a /run/b"),
        ("./a:~/b", Form::Local, "./a ~/b"),
        (" 8080:localhost:80", Form::Local, "8080 [localhost]:80"),
        ("8080:localhost:80:", Form::Local, "8080 [localhost]:80"),
        ("${RUN}/a:%d/b", Form::Local, "/run/user/a %d/b"),
        ("/a\\:b:[/c:d]", Form::Local, "/a:b /c:d"),
        ("0:localhost:80", Form::Remote, "0 [localhost]:80"),
        ("/run/a:localhost:80", Form::Remote, "/run/a [localhost]:80"),
        ("1080", Form::Remote, "1080"),
        ("*:1080", Form::Remote, "[*]:1080"),
        ("/run/socks", Form::Remote, "/run/socks"),
        ("0", Form::Remote, "0"),
        ("1080", Form::Dynamic, "1080"),
        ("[::1]:1080", Form::Dynamic, "[::1]:1080"),
        ("/run/socks", Form::Dynamic, "/run/socks"),
    ] {
        assert_eq!(shown(spec, form), printed, "{spec}");
    }
}

#[test]
fn unix_prefix_marks_a_path_without_a_slash() {
    for (spec, form, printed) in [
        ("unix:web.sock:localhost:80", Form::Remote, "unix:web.sock [localhost]:80"),
        ("8080:unix:web.sock", Form::Local, "8080 unix:web.sock"),
        ("127.0.0.1:8080:unix:web.sock", Form::Local, "[127.0.0.1]:8080 unix:web.sock"),
        ("unix:a:unix:b", Form::Local, "unix:a unix:b"),
        ("unix:/run/a:/run/b", Form::Local, "/run/a /run/b"),
        ("unix:socks", Form::Dynamic, "unix:socks"),
        ("unix:\\80:localhost:80", Form::Remote, "unix:80 [localhost]:80"),
        // As OpenSSH reads them: a bind address and a host named unix.
        ("unix:8080:localhost:80", Form::Local, "[unix]:8080 [localhost]:80"),
        ("8080:unix:80", Form::Local, "8080 [unix]:80"),
        ("8080:[unix]:http", Form::Local, "8080 [unix]:80"),
    ] {
        assert_eq!(shown(spec, form), printed, "{spec}");
        let forward = parse(spec, form).unwrap();
        assert_eq!(Forward::parse(&forward.to_spec(), form, &Machine), Ok(forward), "{spec}");
    }
}

#[test]
fn errors_say_what_was_expected() {
    for (spec, form, part) in [
        ("8080", Form::Local, "expected [bind_address:]port or socket, then host:hostport or socket"),
        ("8080:localhost", Form::Local, "expected"),
        ("/run/a", Form::Local, "expected"),
        ("", Form::Local, "expected"),
        ("::1:8080:localhost:80", Form::Local, "brackets"),
        ("a:1:b:2:c", Form::Local, "expected"),
        ("8080:localhost:80", Form::Dynamic, "expected [bind_address:]port or socket;"),
        ("/a:/b", Form::Dynamic, "expected"),
        ("0:localhost:80", Form::Local, "port 0"),
        ("0", Form::Dynamic, "port 0"),
        ("8080:localhost:0", Form::Remote, "port 0"),
        ("65536:localhost:80", Form::Local, "'65536' is no port"),
        ("-1:localhost:80", Form::Local, "'-1' is no port"),
        ("80 :localhost:80", Form::Local, "'80 ' is no port"),
        ("8080:localhost:smtp", Form::Local, "'smtp' is no port"),
        ("8080::80", Form::Local, "host to connect to is missing"),
        ("8080:a b:80", Form::Local, "'a b' is no host"),
        ("8080:[::1:80", Form::Local, "'['"),
        ("[::1]8080:localhost:80", Form::Local, "'['"),
        ("8080:localhost:80\\", Form::Local, "backslash"),
        ("unix:", Form::Remote, "'unix' is no port"),
        ("~bob/a:localhost:80", Form::Remote, "another user's home"),
        ("${NO}:localhost:80", Form::Local, "${NO} has no value"),
        ("/a\0b:localhost:80", Form::Local, "NUL"),
    ] {
        let text = shown(spec, form);
        assert!(text.starts_with("error: ") && text.contains(part), "{spec:?}: {text}");
    }
}

#[test]
fn stdio_forwarding() {
    let stdio = |spec: &str| Target::parse_stdio(spec.as_bytes(), &Machine).map(|t| t.to_string());
    assert_eq!(stdio("host:22").as_deref(), Ok("[host]:22"));
    assert_eq!(stdio("[::1]:22").as_deref(), Ok("[::1]:22"));
    assert_eq!(stdio("/run/x").as_deref(), Ok("/run/x"));
    assert_eq!(stdio("unix:x").as_deref(), Ok("unix:x"));
    for bad in ["22", "host:0", "a:b:c", "host", ""] {
        assert!(stdio(bad).is_err(), "{bad}");
    }
}

#[test]
fn config_words() {
    let words =
        |a: &[u8], b: Option<&[u8]>, form| Forward::parse_words(a, b, form, &Machine).map(|f| f.to_string());
    assert_eq!(words(b"8080", Some(b"localhost:80"), Form::Local).as_deref(), Ok("8080 [localhost]:80"));
    assert_eq!(words(b"unix:a", Some(b"unix:b"), Form::Remote).as_deref(), Ok("unix:a unix:b"));
    assert_eq!(words(b"1080", None, Form::Remote).as_deref(), Ok("1080"));
    assert!(words(b"8080", None, Form::Local).is_err());
}

#[test]
fn who_owns_a_path() {
    let forward = parse("unix:a:~/b", Form::Local).unwrap();
    let near = forward.near_path(Form::Local).unwrap();
    let far = forward.far_path(Form::Local).unwrap();
    assert_eq!((near.place(), far.place()), (Place::Relative, Place::Home));
    assert_eq!(near.near(b"/home/alex").unwrap().as_bytes(), b"a");
    assert_eq!(far.near(b"/home/alex/").unwrap().as_bytes(), b"/home/alex/b");
    assert!(far.stock_server_remedy().unwrap().contains("does not expand '~' in '~/b'"));
    assert!(near.stock_server_remedy().unwrap().contains("'unix:a'"));

    let forward = parse("/a:/b", Form::Remote).unwrap();
    assert_eq!(forward.far_path(Form::Remote).unwrap().stock_server_remedy(), None);
    assert_eq!(forward.near_path(Form::Remote).unwrap().to_string(), "/b");
    assert_eq!(parse("1:a:2", Form::Remote).unwrap().far_path(Form::Remote), None);
}

#[test]
fn tokens_may_turn_a_path_round() {
    let path = ForwardPath::new("%d/x").unwrap();
    assert_eq!(path.place(), Place::Relative);
    let path = path.expanded(&[(b'd', b"/home/alex")]).unwrap();
    assert_eq!((path.place(), path.to_string().as_str()), (Place::Root, "/home/alex/x"));
    assert!(ForwardPath::new("%d").unwrap().expanded(&[(b'd', b"")]).is_err());
}

#[test]
fn bind_addresses() {
    let listen = |bind: Option<&str>| Listen::Tcp { bind: bind.map(str::to_owned), port: 1 };
    for (bind, no, yes, remote) in [
        (None, BindScope::Loopback, BindScope::All, "localhost"),
        (Some(""), BindScope::All, BindScope::All, ""),
        (Some("*"), BindScope::All, BindScope::All, ""),
        (Some("localhost"), BindScope::Loopback, BindScope::Loopback, "localhost"),
        (Some("::1"), BindScope::Address("::1"), BindScope::Address("::1"), "::1"),
    ] {
        let listen = listen(bind);
        assert_eq!(listen.local_scope(false), Some(no), "{bind:?}");
        assert_eq!(listen.local_scope(true), Some(yes), "{bind:?}");
        assert_eq!(listen.remote_address(), Some(remote), "{bind:?}");
    }
}

fn path() -> impl Strategy<Value = ForwardPath> {
    let bytes = prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"/:[]\\${} ~u80".to_vec())],
        1..20,
    );
    bytes.prop_filter_map("no path", |b| ForwardPath::new(b).ok())
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.:%\\\\-]{1,12}", Just("unix".to_owned())]
}

fn forward() -> impl Strategy<Value = (Forward, Form)> {
    let listen = prop_oneof![
        (prop::option::of(prop_oneof![host(), Just(String::new()), Just("*".to_owned())]), 1u16..)
            .prop_map(|(bind, port)| Listen::Tcp { bind, port }),
        path().prop_map(Listen::Unix),
    ];
    let target = prop_oneof![
        (host(), 1u16..).prop_map(|(host, port)| Target::Tcp { host, port }),
        path().prop_map(Target::Unix),
        Just(Target::Socks),
    ];
    (listen, target, any::<bool>()).prop_map(|(listen, target, remote)| {
        let form = match (&target, remote) {
            (_, true) => Form::Remote,
            (Target::Socks, false) => Form::Dynamic,
            (_, false) => Form::Local,
        };
        (Forward { listen, target }, form)
    })
}

proptest! {
    #[test]
    fn prints_and_parses_to_the_same((forward, form) in forward()) {
        let spec = forward.to_spec();
        prop_assert_eq!(Forward::parse(&spec, form, &Machine), Ok(forward), "{}", spec.escape_ascii());
    }

    #[test]
    fn lines_print_and_parse_to_the_same((forward, form) in forward()) {
        let (first, second) = (forward.listen.to_spec(), forward.target.to_spec());
        let second = (!second.is_empty()).then_some(&second[..]);
        prop_assert_eq!(Forward::parse_words(&first, second, form, &Machine), Ok(forward));
    }

    #[test]
    fn arbitrary_input_never_panics(input in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzz_forward(&input);
    }

    #[test]
    fn almost_right_input_never_panics(input in "(unix|[a-b\\[\\]/:\\\\~${} 0-2]){0,12}") {
        fuzz_forward(input.as_bytes());
    }
}
