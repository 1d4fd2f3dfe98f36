//! What sshd(8) says of the options of a key, and what it does with the ones it cannot read.

use sockward_policy::Rules;

use super::*;
use crate::authorized_keys::utc;

fn read(text: &str) -> Result<KeyOptions, OptionError> {
    let services = |name: &str| (name == "http").then_some(80);
    let context = OptionContext { services: &services, local_time: &utc };
    parse(text.as_bytes(), Source::new("keys", 3), &context)
}

fn unrestricted() -> KeyOptions {
    KeyOptions::unrestricted(Source::new("keys", 3))
}

#[test]
fn flags_in_order() {
    for (text, port_forwarding, pty) in [
        ("", true, true),
        ("restrict", false, false),
        ("RESTRICT,Pty", false, true),
        ("pty,restrict", false, false),
        ("restrict,port-forwarding", true, false),
        ("no-port-forwarding", false, true),
        ("no-pty,no-X11-forwarding,no-agent-forwarding,no-user-rc", true, false),
        ("X11-forwarding,agent-forwarding,user-rc,tunnel=\"0\"", true, true),
    ] {
        assert_eq!(read(text), Ok(KeyOptions { port_forwarding, pty, ..unrestricted() }), "{text}");
    }
    assert!(!read("no-touch-required").unwrap().touch_required);
    assert!(read("cert-authority").unwrap().cert_authority);
}

#[test]
fn values_are_dequoted() {
    for (text, command) in [
        (r#"command="echo bar""#, "echo bar"),
        (r#"no-pty,COMMAND="a \"b\" c",pty"#, r#"a "b" c"#),
        (r#"command="a\nb\\c""#, r"a\nb\\c"),
        (r#"command="a,b=c d""#, "a,b=c d"),
        (r#"command="""#, ""),
    ] {
        let options = read(text).unwrap();
        assert_eq!(options.forced_command.as_deref(), Some(command.as_bytes()), "{text}");
    }
}

#[test]
fn lists_of_ports_and_paths() {
    let texts = |list: Option<RuleList>| list.unwrap().texts().collect::<Vec<_>>().join(" ");
    let options =
        read(r#"permitopen="192.0.2.1:80",permitopen="[::1]:*",permitopen="/run/%u.sock""#).unwrap();
    assert_eq!(texts(options.open), "192.0.2.1:80 [::1]:* /run/%u.sock");
    assert_eq!(options.listen, None);
    let options =
        read(r#"restrict,port-forwarding,permitlisten="8080",permitlisten="~/x",permitlisten="h:http""#);
    let list = options.unwrap().listen.unwrap();
    assert_eq!(list.origin, Origin::Key);
    assert_eq!(list.source, Source::new("keys", 3));
    assert_eq!(texts(Some(list)), "*:8080 ~/x h:http");
    assert_eq!(read(r#"permitlisten="none""#).unwrap().listen.unwrap().rules, Rules::None);
    for bad in [r#"permitopen="80""#, r#"permitopen="any",permitopen="a:1""#, r#"permitlisten="/a/../b""#] {
        assert!(matches!(read(bad), Err(OptionError::Value(_, _))), "{bad}");
    }
}

#[test]
fn where_when_and_what_environment() {
    let options =
        read(r#"from="10.0.0.0/8,!10.1.1.1",expiry-time="20380101Z",expiry-time="20370101Z""#).unwrap();
    assert_eq!(options.expires, Some(2_114_380_800));
    assert!(options.from.is_some());
    let options = read(r#"environment="A=1",environment="A=2",environment="B_2=x=y""#).unwrap();
    let variables: Vec<_> =
        options.environment.iter().map(|v| (v.name.as_slice(), v.value.as_slice())).collect();
    assert_eq!(variables, [(&b"A"[..], &b"1"[..]), (b"B_2", b"x=y")]);
    let options = read(r#"cert-authority,principals="alex,bob,,eve""#).unwrap();
    assert_eq!(options.principals, Some(vec![b"alex".to_vec(), b"bob".to_vec()]));
}

#[test]
fn what_cannot_be_read_refuses_the_key() {
    for (text, error) in [
        ("ptyx", "unknown key option 'ptyx'"),
        ("no-restrict", "unknown key option 'no-restrict'"),
        ("restrict=\"x\"", "unknown key option 'restrict'"),
        ("command", "unknown key option 'command'"),
        ("command=x", "command: missing start quote"),
        ("command=\"x", "command: missing end quote"),
        ("command=\"x\"y", "unknown key option 'command'"),
        ("pty,", "unexpected end-of-options behind a comma"),
        ("pty,,pty", "unknown key option ''"),
        (",pty", "unknown key option ''"),
        ("command=\"a\",command=\"a\"", "multiple \"command\" clauses"),
        ("from=\"::1\",from=\"::1\"", "multiple \"from\" clauses"),
        ("principals=\"a\",principals=\"b\"", "multiple \"principals\" clauses"),
        ("expiry-time=\"INVALID\"", "expiry-time: invalid expires time, expected YYYYMMDD[HHMM[SS]][Z]"),
        ("environment=\"A\"", "environment: expected NAME=value"),
        ("environment=\"A-B=c\"", "environment: a name has letters, digits and '_' alone"),
        ("tunnel=\"x\"", "tunnel: invalid tun device"),
        (
            "from=\"10.0.0.1/8\"",
            "from: inconsistent mask length in '10.0.0.1/8': the bits behind the mask must be zero and the mask fit the address",
        ),
        ("zos-key-ring-label=\"x\"", "unknown key option 'zos-key-ring-label'"),
    ] {
        assert_eq!(read(text).map_err(|e| e.to_string()), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn what_is_not_enforced_yet_refuses_the_key() {
    for (text, name) in [
        ("verify-required", "verify-required"),
        ("permitpeer=\"bob\"", "permitpeer"),
        ("streamlocalbindgroup=\"vnc\"", "streamlocalbindgroup"),
        ("streamlocalbindmode=\"0660\"", "streamlocalbindmode"),
    ] {
        if NOT_YET_KEY_OPTIONS.contains(&name) {
            assert_eq!(read(text), Err(OptionError::NotYet(name)));
        } else {
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
