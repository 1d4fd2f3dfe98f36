//! What the differential test beside the stock server cannot see: our own keywords, errors and their places,
//! merging as newer OpenSSH does it, permits.

use proptest::prelude::*;
use sockward_policy::address::Peer;
use sockward_policy::{
    Account, By, Direction, KeyOptions, ListKind, Origin, Permit, RuleList, Source, Switch, Unlink,
    decide_listen_tcp, decide_open_tcp, decide_tty,
};

use super::fuzz::ALGORITHMS;
use super::*;
use crate::ConfigError;
use crate::lookup::NoLookup;

fn read_with(text: &str, options: &[&str], ports: &[u16]) -> Result<Config, Vec<ConfigError>> {
    let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
    let context =
        Context { algorithms: &ALGORITHMS, lookup: &NoLookup, directory: b"/cwd", options: &options, ports };
    let mut loader = |pattern: &str| match pattern {
        "/etc/ssh/self" => {
            Ok(vec![IncludedFile { name: "self".into(), bytes: b"Include self self\n".into() }])
        }
        "/many" => Ok(vec![IncludedFile { name: "many".into(), bytes: Vec::new() }; 2000]),
        "/unreadable" => Err("Permission denied".to_owned()),
        _ => Ok(Vec::new()),
    };
    parse("sshd_config", text.as_bytes(), &mut loader, &context)
}

fn read(text: &str) -> Config {
    read_with(text, &[], &[]).map_err(|e| format!("{text}: {e:?}")).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    let errors = read_with(text, &[], &[]).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

fn for_user(config: &Config, user: &str) -> Effective {
    let facts = ConnectionFacts { user: Some(user.as_bytes()), ..ConnectionFacts::default() };
    config.effective(&facts).unwrap()
}

#[test]
fn every_row_is_consistent() {
    for (i, keyword) in keywords().enumerate() {
        assert!(keyword.doc.ends_with('.'), "{}", keyword.name);
        let found = find_keyword(keyword.name.to_ascii_uppercase().as_bytes()).unwrap();
        assert!(std::ptr::eq(found, keywords().nth(i).unwrap()), "{} stands twice", keyword.name);
    }
    for (old, new) in ALIASES {
        assert_eq!(find_keyword(old.as_bytes()).unwrap().name, *new);
    }
    for (name, harmless) in NOT_YET {
        assert!(keywords().any(|k| k.name == *name), "{name}");
        for value in *harmless {
            assert!(errors(&format!("{name} {value}\n")).is_empty(), "{name} {value}");
        }
    }
}

#[test]
fn errors_are_collected_with_their_places() {
    let text =
        "Port x\nFoo 1\n\nMatch user a\n  Port 22\n  PermitTTY perhaps\nMatch nothing\nBanner \"x\nUseDNS\n";
    assert_eq!(
        errors(text),
        [
            "sshd_config line 1 column 6: badly formatted port number 'x'",
            "sshd_config line 2 column 1: bad configuration option: Foo",
            "sshd_config line 5 column 3: Directive 'Port' is not allowed within a Match block",
            "sshd_config line 6 column 13: unsupported option \"perhaps\", expected yes or no",
            "sshd_config line 7 column 7: missing Match criteria for nothing",
            "sshd_config line 8: invalid quotes: an opening quote has no closing one",
            "sshd_config line 9 column 1: no argument after keyword \"UseDNS\"",
        ]
    );
}

#[test]
fn what_restricts_and_is_not_there_is_an_error() {
    for line in [
        "ChrootDirectory /srv",
        "AuthenticationMethods password",
        "AuthenticationMethods publickey,password",
        "AuthenticationMethods none password",
        "AuthorizedKeysCommand /x %i",
        "AuthorizedPrincipalsCommand /x \"",
        "AuthorizedKeysCommand x",
        "ExposeAuthInfo yes",
        "RDomain 1",
        "HostKeyAgent /run/agent",
        "PerSourcePenalties crash:90",
        "PerSourcePenalties yes",
        "ForceCommand internal-sftp -d /x",
        "ListenAddress ::1 rdomain x",
    ] {
        assert_eq!(errors(&format!("{line}\n")).len(), 1, "{line}");
        assert_eq!(errors(&format!("Match user nobody\n{line}\n")).len(), 1, "{line}");
    }
    for (name, _) in NOT_YET {
        let line = match *name {
            "UseDNS" => format!("{name} yes\n"),
            _ => format!("{name} bob\n"),
        };
        assert!(errors(&line)[0].contains("is not enforced by this version"), "{line}: {:?}", errors(&line));
    }
}

#[test]
fn what_only_permits_is_a_warning() {
    for line in [
        "UsePAM yes",
        "PasswordAuthentication yes",
        "ChallengeResponseAuthentication yes",
        "X11Forwarding yes",
        "AllowAgentForwarding yes",
        "PermitTunnel ethernet",
        "Compression delayed",
        "PrintMotd yes",
        "KeyRegenerationInterval 3600",
        "FingerprintHash md5",
        "Subsystem sftp internal-sftp",
        "Ciphers aes128-ctr,3des-cbc",
    ] {
        assert_eq!(read(&format!("{line}\n")).warnings().len(), 1, "{line}");
    }
    for line in [
        "UsePAM no",
        "X11Forwarding no",
        "PermitTunnel no",
        "PasswordAuthentication no",
        "X11UseLocalhost no",
    ] {
        assert_eq!(read(&format!("{line}\n")).warnings(), [], "{line}");
    }
}

#[test]
fn the_command_line_comes_first() {
    let options = ["Port=1", "Banner /o", "MaxSessions 3 # c", "AcceptEnv A"];
    let config =
        read_with("Port 2\nBanner /f\nAcceptEnv B\nMatch user u\nBanner /m\n", &options, &[]).unwrap();
    let global = config.global();
    assert_eq!(global.ports, [1, 2]);
    assert_eq!(global.banner.as_deref(), Some(&b"/o"[..]));
    assert_eq!(global.source("banner"), Some(&Source::command_line()));
    assert_eq!(global.accept_env, [b"A".to_vec(), b"B".to_vec()]);
    assert_eq!(for_user(&config, "u").banner.as_deref(), Some(&b"/m"[..]));
    assert_eq!(read_with("Port 2\n", &["Port=1"], &[7, 8]).unwrap().global().ports, [7, 8]);
    for bad in ["Match all", "Include x", "", "Foo=1", "Port"] {
        assert!(read_with("", &[bad], &[]).is_err(), "{bad}");
    }
}

#[test]
fn files_are_absolute_where_they_are_the_servers() {
    let config = read("HostKey key\nBanner NONE\nPidFile run/x\nAuthorizedKeysFile keys/%u\n");
    let global = config.global();
    assert_eq!(global.host_keys, [HostKeyFile { path: b"/cwd/key".into(), given: true }]);
    assert_eq!((global.banner.as_deref(), global.pid_file.as_deref()), (None, Some(&b"/cwd/run/x"[..])));
    assert_eq!(global.authorized_keys_files, [b"keys/%u".to_vec()]);
    assert!(!read("").global().host_keys[0].given);
    assert_eq!(errors("AuthorizedKeysFile %k\n").len(), 1);
    assert_eq!(errors("HostKey ~eve/key\n").len(), 1);
}

#[test]
fn subsystems_are_replaced_by_name() {
    let text = "Subsystem a /a \"x y\"\nSubsystem a /b\nSubsystem b /b\nMatch user u\nSubsystem b /u\nSubsystem c /c\n\
                Match user u\nSubsystem b /v\n";
    let shown = |values: &Effective| {
        dump(values)
            .lines()
            .filter_map(|l| l.strip_prefix("subsystem "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let config = read(text);
    assert_eq!(shown(config.global()), ["a /a \"x y\"", "b /b"]);
    assert_eq!(shown(&for_user(&config, "u")), ["a /a \"x y\"", "b /u", "c /c"]);
}

#[test]
fn rekey_limit_and_list_merging_in_match() {
    let config =
        read("RekeyLimit 2G 1h\nAllowUsers a b\nMatch user u\nRekeyLimit 1M\nAllowUsers c\nAllowUsers d\n");
    let values = for_user(&config, "u");
    assert_eq!(values.rekey_limit, RekeyLimit { bytes: 1 << 20, seconds: Some(3600) });
    assert_eq!(values.allow_users.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!(values.allow_users[1].source, Source::new("sshd_config", 6));
}

#[test]
fn mask_and_mode_are_one_setting() {
    assert_eq!(read("").global().socket_mode.bits(), 0o600);
    assert_eq!(read("StreamLocalBindMask 0117\n").global().socket_mode.bits(), 0o660);
    let set = |steps: &[(values::Pass, Option<u16>, Option<u16>)]| {
        let mut values = read("").global().socket_mode;
        for (pass, mask, mode) in steps {
            values.set(*pass, *mask, *mode);
        }
        values.bits()
    };
    use values::Pass::{Global, Match};
    assert_eq!(set(&[(Global, None, Some(0o660))]), 0o660);
    assert_eq!(set(&[(Global, None, Some(0o660)), (Match, Some(0o077), None)]), 0o700);
    assert_eq!(set(&[(Global, Some(0o077), None), (Match, None, Some(0o666))]), 0o666);
    assert_eq!(set(&[(Match, Some(0o007), None), (Match, None, Some(0o666))]), 0o660);
    assert_eq!(set(&[(Match, None, Some(0o666)), (Match, None, Some(0o600))]), 0o666);
    let both = errors("Match user u\nStreamLocalBindMode 0660\nStreamLocalBindMask 0117\n");
    assert!(both[0].contains("in one block"), "{both:?}");
}

#[test]
fn includes_are_bounded() {
    assert!(errors("Include self\n").iter().any(|e| e.contains("too many recursive")));
    assert!(errors("Include /many\n")[0].contains("more than 1024 included files"));
    assert_eq!(
        errors("Include /unreadable\n"),
        ["sshd_config line 1 column 9: Include /unreadable: Permission denied"]
    );
    assert!(errors("Include /none relative*\n").is_empty());
}

#[test]
fn our_own_values() {
    let config = read(
        "PermitListen /run/%u/*.sock ~/x unix:any 8000-8099\nStreamLocalBindUnlink yes\nWorkerIsolation shared\n",
    );
    let global = config.global();
    assert_eq!(global.unlink, Unlink::Yes);
    assert_eq!(global.worker_isolation, Some(Isolation::Shared));
    assert!(
        dump(global).contains("\npermitlisten /run/%u/*.sock ~/x unix:any *:8000-8099\n"),
        "{}",
        dump(global)
    );
    assert_eq!(read("").global().unlink, Unlink::Stale);
    assert!(errors("PermitOpen /run/../x\n")[0].contains("'.' and '..' cannot be components"));
}

#[test]
fn the_dump_can_be_read_again() {
    for text in
        ["", "Port 1\nPort 2\nListenAddress ::1\nPermitOpen a:1 /x\nMatch all\nBanner /b\nSetEnv A=1\n"]
    {
        let first = dump(read(text).global());
        assert_eq!(dump(read(&first).global()), first);
    }
}

#[test]
fn host_names_are_asked_for_only_if_they_count() {
    // UseDNS yes is not enforced yet; without it no name is looked up.
    for text in ["Match host *.example.com\nBanner /x\n", "AllowUsers a@h\n", ""] {
        assert!(!read(text).asks_for_host_name(), "{text}");
    }
}

#[test]
fn who_may_log_in() {
    let here = Peer { address: Some("10.0.0.1".parse().unwrap()), host: "h.example.com" };
    let groups = ["users".to_owned(), "vnc".to_owned()];
    for (text, allowed) in [
        ("", true),
        ("AllowUsers bob alex\n", true),
        ("AllowUsers bob\n", false),
        ("AllowUsers al?x@10.0.0.0/8\n", true),
        ("AllowUsers alex@11.0.0.0/8\n", false),
        ("AllowUsers alex@*.example.com\n", true),
        ("AllowUsers alex@*,!10.0.0.1\n", false),
        ("AllowUsers alex\nDenyUsers a*\n", false),
        ("DenyUsers alex@11.0.0.0/8\n", true),
        ("AllowGroups wheel vn?\n", true),
        ("AllowGroups wheel\n", false),
        ("AllowGroups vnc\nDenyGroups users\n", false),
    ] {
        let config = read(text);
        let result = config.global().may_log_in("alex", &groups, &here);
        assert_eq!(result.is_ok(), allowed, "{text} {result:?}");
    }
    let config = read("DenyGroups x\n");
    assert_eq!(config.global().may_log_in("alex", &[], &here), Err(LoginRefusal::NoGroups));
    let config = read("\nDenyUsers alex\n");
    let refusal = config.global().may_log_in("alex", &groups, &here).unwrap_err();
    assert_eq!(refusal.to_string(), "listed in DenyUsers (sshd_config:2)");
    for (value, plain, forced) in [
        (RootLogin::Yes, true, true),
        (RootLogin::ProhibitPassword, true, true),
        (RootLogin::ForcedCommandsOnly, false, true),
        (RootLogin::No, false, false),
    ] {
        assert_eq!((value.permits_public_key(false), value.permits_public_key(true)), (plain, forced));
    }
}

fn account() -> Account {
    Account {
        name: "alex".into(),
        uid: 1000,
        gid: 1000,
        home: b"/home/alex".into(),
        shell: b"/bin/sh".into(),
    }
}

fn permit(text: &str, keys: &[KeyOptions]) -> Result<Permit, PermitError> {
    read(text).global().permit(account(), keys)
}

fn key() -> KeyOptions {
    KeyOptions::unrestricted(Source::new("keys", 4))
}

#[test]
fn a_permit_without_rules_allows_as_openssh() {
    let permit = permit("", &[key()]).unwrap();
    assert!(decide_open_tcp(&permit, b"h", 1).is_allowed() && decide_tty(&permit).is_allowed());
    assert_eq!(permit.limits.sessions.max, Some(10));
    assert_eq!(permit.limits.sessions.by, By::Default);
    assert_eq!((permit.birth.mode, permit.birth.unlink), (0o600, Unlink::Stale));
    assert!(permit.forwarding.tcp.is_empty() && permit.forwarding.open.is_empty());
}

#[test]
fn file_and_key_are_intersected() {
    let list = |words: &str| {
        let words = words.split(' ').map(str::as_bytes);
        RuleList::parse(ListKind::PermitOpen, Origin::Key, words, &|_| None, Source::new("keys", 4)).ok()
    };
    let keys = [KeyOptions { open: list("a:1 b:1"), pty: false, ..key() }];
    let both = permit("PermitOpen b:1 c:1\nAllowTcpForwarding local\n", &keys).unwrap();
    for (host, allowed) in [("a", false), ("b", true), ("c", false)] {
        assert_eq!(decide_open_tcp(&both, host.as_bytes(), 1).is_allowed(), allowed, "{host}");
    }
    assert!(!decide_listen_tcp(&both, b"b", 1).is_allowed());
    assert_eq!(both.forwarding.tcp[0].source, Source::new("sshd_config", 2));
    assert_eq!(both.session.no_tty, [Source::new("keys", 4)]);

    let disabled = permit("DisableForwarding yes\n", &[]).unwrap();
    assert_eq!(disabled.forwarding.tcp[0].switch, Switch::DisableForwarding);
    assert!(!decide_open_tcp(&disabled, b"b", 1).is_allowed());
    assert!(permit("DisableForwarding no\n", &[]).unwrap().forwarding.tcp.is_empty());

    let restricted = permit("", &[KeyOptions::restricted(Source::new("keys", 4))]).unwrap();
    assert_eq!(restricted.forwarding.tcp[0].switch, Switch::PortForwarding);
    assert_eq!(restricted.forwarding.tcp[0].leaves, Direction::No);
}

#[test]
fn forced_commands() {
    let forced = |command: &str| KeyOptions { forced_command: Some(command.into()), ..key() };
    let by_key = permit("", &[forced("k")]).unwrap().session.forced.unwrap();
    assert_eq!((by_key.command.as_slice(), by_key.origin), (&b"k"[..], Origin::Key));
    let by_file = permit("ForceCommand f # g\n", &[forced("k")]).unwrap().session.forced.unwrap();
    assert_eq!((by_file.command.as_slice(), by_file.origin), (&b"f # g"[..], Origin::Configuration));
    assert_eq!(by_file.source, Source::new("sshd_config", 1));
    assert_eq!(permit("", &[forced("k"), forced("c")]), Err(PermitError::ForcedCommands));
    assert!(permit("", &[forced("k"), forced("k")]).is_ok());
}

#[test]
fn modes_groups_and_environment() {
    let group = |name: &str| KeyOptions { socket_group: Some(name.into()), ..key() };
    let keys = [KeyOptions { socket_mode: Some(0o640), ..group("vnc") }];
    let birth = permit("StreamLocalBindMask 0117\n", &keys).unwrap().birth;
    assert_eq!(birth.mode, 0o640);
    assert!(birth.group.is_some_and(|g| g.name == "vnc" && !g.by_administrator));
    assert!(matches!(permit("", &[group("a"), group("b")]), Err(PermitError::SocketGroups(_, _))));

    let variable = |text: &str| sockward_policy::Variable::parse(text.as_bytes()).unwrap();
    let keys = [KeyOptions { environment: vec![variable("LANG=x"), variable("LD_PRELOAD=y")], ..key() }];
    for (text, count) in
        [("", 0), ("PermitUserEnvironment yes\n", 2), ("PermitUserEnvironment LANG,LC_*\n", 1)]
    {
        assert_eq!(permit(text, &keys).unwrap().session.key_environment.len(), count, "{text}");
    }
    let sftp = permit("Subsystem sftp internal-sftp\nSubsystem x /x\n", &[]).unwrap().session.subsystems;
    assert_eq!(sftp.len(), 1);
}

#[test]
fn advice_says_what_restricts_less_than_it_seems() {
    let advice = |text: &str| read(text).advice().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(advice(""), [""; 0]);
    let open = advice("PermitOpen a:1\n");
    assert!(open.iter().any(|a| a.contains("forwarders of their own")), "{open:?}");
    assert!(open.iter().any(|a| a.contains("PermitOpen does not restrict what is listened on")), "{open:?}");
    assert_eq!(advice("PermitOpen a:1\nPermitListen none\nForceCommand x\n"), [""; 0]);
    let block = advice("Match user u\nPermitListen /run/x\nPermitOpen none\nMaxSessions 0\n");
    assert_eq!(
        block,
        ["sshd_config line 2: OpenSSH's sshd takes no socket paths in this list and refuses this file"]
    );
    assert!(advice("ForceCommand x\n")[0].contains("beside ForceCommand"));
    assert!(advice("WorkerIsolation shared\n")[0].contains("does not know WorkerIsolation"));
}

proptest! {
    #[test]
    fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_sshd_config(&data);
        crate::authorized_keys::fuzz_authorized_keys(&data);
    }

    #[test]
    fn never_panics_on_likely_lines(
        lines in proptest::collection::vec(
            (prop::sample::select(keywords().map(|k| k.name).chain(["Match", "Include"]).collect::<Vec<_>>()),
             "( |=)(yes|no|none|any|all|user|[a-z0-9:/.%@!,*= \"'\\\\-]{0,10}){1,4}"),
            0..8)
    ) {
        let text: String = lines.into_iter().map(|(keyword, rest)| format!("{keyword}{rest}\n")).collect();
        fuzz_sshd_config(text.as_bytes());
    }
}

#[test]
fn groups_are_found_in_every_block_once() {
    let text = "StreamLocalBindGroup vnc\nMatch user a\nStreamLocalBindGroup web\nMatch user b\n\
                StreamLocalBindGroup none\nMatch user c\nStreamLocalBindGroup vnc\n";
    let groups = read(text).socket_groups();
    let expected = [
        ("vnc".to_owned(), Source::new("sshd_config", 1)),
        ("web".to_owned(), Source::new("sshd_config", 3)),
    ];
    assert_eq!(groups, expected);
}
