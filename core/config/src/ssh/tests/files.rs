//! Files: blocks, order, includes, tokens, errors.

use proptest::prelude::*;

use super::*;

#[test]
fn the_first_value_stays_from_the_command_line_to_the_system_file() {
    let machine = Fake::default();
    let user = "User fileuser\nConnectTimeout 5\nHost other\n Compression yes\n";
    let system = "User sysuser\nConnectTimeout 9\nPort 99\n";
    let c = load_on(&machine, "-o ConnectTimeout=1 host", user, system).unwrap();
    assert_eq!((c.user.as_str(), c.port, c.settings.connect_timeout), ("fileuser", 99, Timeout(Some(1))));
    assert!(!c.settings.compression);
    assert_eq!(c.settings.sources.get("User").map(|s| s.to_string()).as_deref(), Some("user:1"));
    assert_eq!(c.settings.sources.get("Port").map(|s| s.to_string()).as_deref(), Some("system:3"));
    assert_eq!(c.settings.sources.get("Compression"), None);
}

#[test]
fn settings_of_blocks_that_do_not_count_do_not_count() {
    // OpenSSH's own parser forgets to look for these three.
    let c =
        loaded("host", "Host other\n StreamLocalBindMask 0\n SyslogFacility AUTH\n RefuseConnection no\n");
    assert_eq!(c.settings.stream_local_bind_mask, BindMask(0o177));
    assert_eq!(c.settings.syslog_facility, crate::choice::SyslogFacility::User);
    let errors = errors("host", "Host h*\n RefuseConnection \"not today\"\n");
    assert_eq!(errors, ["user line 2: RefuseConnection: not today"]);
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let text = "Port 99999\nHost other\n  Bogus x\n  Compression perhaps\nMatch\nUser \"x\nLocalForward 1 b\nPort 1 2\n";
    assert_eq!(
        errors("host", text),
        [
            "user line 1 column 6: Port: bad port '99999'",
            "user line 3 column 3: bad configuration option: bogus",
            "user line 4 column 15: Compression: unsupported option 'perhaps', expected yes or no",
            "user line 5: no argument after keyword \"Match\"",
            "user line 6: invalid quotes: an opening quote has no closing one",
            "user line 7 column 16: LocalForward: bad forwarding specification: expected [bind_address:]port or \
             socket, then host:hostport or socket; IPv6 addresses go in brackets, a path needs a slash or 'unix:'",
            "user line 8 column 8: Port: extra arguments at end of line: '2'",
        ]
    );
}

#[test]
fn match_criteria() {
    let machine = Fake::default();
    for (line, command, matched) in [
        ("localuser alex", "", true),
        ("localuser !alex,*", "", false),
        ("localnetwork 192.0.2.0/24", "", true),
        ("localnetwork 198.51.100.0/24,2001:db8::/32", "", false),
        ("version Sockward_*", "", true),
        ("tagged t*", "", true),
        ("tagged \"\"", "", false),
        ("command \"ls *\"", "ls -l", true),
        ("command \"\"", "", true),
        ("command *", "", false),
        ("sessiontype exec", "ls", true),
        ("sessiontype shell", "", true),
        ("sessiontype=shell,exec", "ls", true),
        ("!sessiontype shell", "", false),
        ("host HOST originalhost host", "", true),
        ("user alex !host host", "", false),
        ("exec=yes", "", true),
        ("!exec \"no\"", "", true),
    ] {
        let text = format!("Match {line}\n Port 7\n");
        let c = load_on(&machine, &format!("-P tag host {command}"), &text, "").unwrap();
        assert_eq!(c.port == 7, matched, "{line}");
    }
    for bad in ["bogus x", "host", "exec broken", "localnetwork x", "all host x", "host x all y", "tagged"] {
        assert!(load_on(&machine, "host", &format!("Match {bad}\n"), "").is_err(), "{bad}");
    }
}

#[test]
fn commands_run_only_where_they_can_decide() {
    let machine = Fake { files: [("/inc", "Match exec inc\n".to_owned())].into(), ..Fake::default() };
    let text = "Match host other exec first\nMatch exec yes-%h-%p-%r exec second exec third\nHost no\n Include /inc\n";
    load_on(&machine, "bob@host", text, "").unwrap();
    assert_eq!(*machine.ran.borrow(), ["yes-host-22-bob", "second"]);
}

#[test]
fn a_final_pass_sees_the_new_name() {
    let text =
        "Hostname %h.example.com\nMatch final host *.example.com\n Port 7\nHost *.example.com\n User x\n";
    let c = loaded("host", text);
    assert_eq!((c.host.as_str(), c.port, c.user.as_str()), ("host.example.com", 7, "x"));
    // Without `final` there is one pass, and Host looks at the name as given.
    let c = loaded("host", "Hostname %h.example.com\nHost *.example.com\n User x\n");
    assert_eq!((c.host.as_str(), c.user.as_str()), ("host.example.com", "alex"));
}

#[test]
fn includes_are_anchored_and_expanded() {
    let files = [
        ("/home/alex/.ssh/conf.d/a", "Port 1"),
        ("/etc/ssh/conf.d/b", "User b"),
        ("/home/alex/c-host", "Hostname c"),
    ];
    let machine = Fake { files: files.map(|(n, t)| (n, t.to_owned())).into(), ..Fake::default() };
    let c = load_on(&machine, "host", "Include conf.d/* ~/c-%h\n", "Include conf.d/*\n").unwrap();
    assert_eq!((c.port, c.user.as_str(), c.host.as_str()), (1, "b", "c"));
    assert!(load_on(&machine, "host", "", "Include ~/c-%h\n").is_err());
    let faulty = Fake { files: [("/x", "\nPort x".to_owned())].into(), ..Fake::default() };
    let error = load_on(&faulty, "host", "Include /x", "").unwrap_err();
    assert_eq!(
        error.first().map(|e| e.to_string()).as_deref(),
        Some("/x line 2 column 6: Port: bad port 'x'")
    );
}

#[test]
fn includes_that_run_away_are_stopped() {
    let deep = Fake { files: [("/a", "Include /a\nInclude /a\n".to_owned())].into(), ..Fake::default() };
    let error = load_on(&deep, "host", "Include /a\nInclude /a\n", "").unwrap_err();
    assert_eq!(error.len(), 1);
    assert!(error.iter().all(|e| e.message.contains("too many recursive")));
    let names: Vec<&'static str> = (0..100).map(|i| &*format!("/b{i}").leak()).collect();
    let wide =
        Fake { files: names.iter().map(|n| (*n, "Include /b*\n".to_owned())).collect(), ..Fake::default() };
    assert!(load_on(&wide, "host", "Include /b*\n", "").is_err());
}

#[test]
fn tokens_are_expanded_once_in_the_keywords_that_take_them() {
    let text = "User u-%u\nPort 2222\nControlPath ~/%C-%r@%h:%p\nIdentityFile ~/id-%h\nHostKeyAlias Al\n\
                LocalForward /run/%k/%L %d/x\nRemoteCommand echo %% %n %l %i %j\nSetEnv A=%u%%\nProxyJump jump\n\
                UserKnownHostsFile ~/%k ${SSH_AUTH_SOCK}\nIdentityAgent ${SSH_AUTH_SOCK}.%p\n";
    let c = loaded("host", text);
    assert_eq!(c.user, "u-alex");
    let hashed = "here.example.comhost2222u-alexjump".len();
    let hash = format!("{hashed:02x}").repeat(20);
    for (keyword, value) in [
        ("controlpath", format!("/home/alex/{hash}-u-alex@host:2222")),
        ("identityfile", "~/id-%h".to_owned()),
        ("localforward", "/run/al/here /home/alex/x".to_owned()),
        ("remotecommand", "echo % host here.example.com 1000 jump".to_owned()),
        ("setenv", "A=alex%".to_owned()),
        ("userknownhostsfile", "/home/alex/al /run/agent".to_owned()),
        ("identityagent", "/run/agent.2222".to_owned()),
    ] {
        assert_eq!(shown(&c, keyword), [value], "{keyword}");
    }
    assert_eq!(c.command, b"echo % host here.example.com 1000 jump");
    assert_eq!(c.expand_path(OsStr::new("~/id-%h"), &Fake::default()).unwrap(), "/home/alex/id-host");
    assert_eq!(errors("host", "\nControlPath %z\n"), ["user line 2: ControlPath: unknown key %z"]);
    assert_eq!(
        errors("host", "User ${BAD}\n"),
        ["user line 1: User: remote username contains invalid characters"]
    );
    assert_eq!(errors("host", "LocalForward 1 /%z\n"), ["user line 1: LocalForward: unknown key %z"]);
}

#[test]
fn which_agent() {
    let agent = |text: &str| loaded("host", text).agent_socket(&Fake::default());
    let path = |p: &str| AgentSocket::Path(p.into());
    assert_eq!(agent(""), path("/run/agent"));
    assert_eq!(agent("IdentityAgent SSH_AUTH_SOCK"), path("/run/agent"));
    assert_eq!(agent("IdentityAgent $SSH_AUTH_SOCK"), path("/run/agent"));
    assert_eq!(agent("IdentityAgent none"), AgentSocket::None);
    assert_eq!(agent("IdentityAgent $NOSUCH"), AgentSocket::None);
    assert_eq!(agent("IdentityAgent $EMPTY"), AgentSocket::None);
    assert_eq!(agent("IdentityAgent ~/a"), path("/home/alex/a"));
}

#[test]
fn going_through_other_hosts() {
    let c = loaded("-p 2222 bob@host", "ProxyJump first,%r@[::1]:24\n");
    let jump = c.settings.proxy_jump.as_ref().unwrap();
    assert_eq!((jump.last().host.as_str(), jump.last().port), ("::1", Some(24)));
    let file = OsString::from("/my config");
    let with = JumpCommand { config_file: Some(&file), verbosity: 2, host: &c.host, port: c.port };
    let arguments = jump.arguments(&with, &c.tokens.proxy_table()).unwrap();
    assert_eq!(
        arguments.join(OsStr::new("|")),
        "-l|bob|-p|24|-J|first|-F|/my config|-W|[host]:2222|-vv|--|::1"
    );
    // These are the arguments of a client that is not ours alone.
    let inner = parse_arguments(arguments, &Fake::default(), &ALGORITHMS);
    assert!(matches!(inner, Ok(Action::Run(i)) if i.host == "::1" && i.stdio_forward.is_some()));

    assert!(loaded("host", "ProxyCommand x\nProxyJump y\n").settings.proxy_jump.is_none());
    assert!(loaded("host", "ProxyJump y\nProxyCommand x\n").settings.proxy_command.is_none());
    assert!(loaded("host", "ProxyJump none\nProxyCommand x\nProxyJump y\n").settings.proxy_jump.is_none());
    assert_eq!(
        errors("host", "ProxyJump alex@host:22\n"),
        ["user line 1: ProxyJump: jumphost loop via host"]
    );
    assert!(errors("host", "ProxyJump $(x)\n").iter().all(|e| e.contains("invalid hostname")));
}

#[test]
fn commands_for_a_shell() {
    let c = loaded(
        "bob@host",
        "ProxyCommand nc %h %p %r # %%\nPermitLocalCommand yes\nLocalCommand echo %T %u\n",
    );
    assert_eq!(c.proxy_command().unwrap().unwrap(), "nc host 22 bob # %");
    assert_eq!(c.local_command().unwrap().unwrap(), "echo NONE alex");
    assert_eq!(loaded("host", "LocalCommand x").local_command(), Ok(None));
    assert_eq!(loaded("host", "ProxyCommand none").proxy_command(), Ok(None));
    assert!(loaded("host", "ProxyCommand nc %d").proxy_command().is_err());
    let c = loaded("host", "VersionAddendum for %h # not sent\n");
    assert_eq!(shown(&c, "versionaddendum"), ["for host"]);
}

#[test]
fn what_is_not_built_is_said_where_it_is_asked_for() {
    let said = |arguments: &str, text: &str| -> Vec<(Severity, String)> {
        let c = loaded(arguments, text);
        missing(&c.settings, &ALGORITHMS).into_iter().map(|r| (r.severity, r.what.to_string())).collect()
    };
    assert_eq!(said("host", "Host other\n KnownHostsCommand x\n"), []);
    assert_eq!(
        said("host", "KnownHostsCommand none\nRevokedHostKeys none\nTunnel no\nForwardProbe connect\n"),
        []
    );
    assert_eq!(said("-o KnownHostsCommand=none host", "KnownHostsCommand x\n"), []);
    let text = "ProxyUseFdpass yes";
    let expected =
        "user line 1: ProxyUseFdpass is not implemented: the proxy command must carry the data itself";
    assert_eq!(said("host", text), [(Severity::Refuse, expected.to_owned())]);
    for refused in ["CanonicalizeHostname yes", "ProxyUseFdpass yes", "Tunnel yes", "KnownHostsCommand /x %H"]
    {
        let said = said("host", refused);
        assert_eq!(
            said.iter().map(|(severity, _)| *severity).collect::<Vec<_>>(),
            [Severity::Refuse],
            "{refused}"
        );
    }
    assert_eq!(
        said("-AC host", "").iter().map(|(s, _)| *s).collect::<Vec<_>>(),
        [Severity::Note, Severity::Warn]
    );
}

#[test]
fn our_own_keywords() {
    let c = loaded(
        "-oPermitPeer=bob,@vnc host",
        "ForwardProbe connect\nReconnect yes\nReconnectWait 1m\nTargetOwner bob\nVia gate\n",
    );
    assert_eq!(shown(&c, "permitpeer"), ["bob @vnc"]);
    assert_eq!(shown(&c, "forwardprobe"), ["connect"]);
    assert_eq!((c.settings.reconnect, c.settings.via), (true, Via::Gate));
    assert_eq!((c.settings.reconnect_wait.0, c.settings.reconnect_max_delay.0), (Some(60), 60));
    assert_eq!(loaded("-oReconnectWait=none host", "").settings.reconnect_wait.0, None);
    assert_eq!(loaded("-oPermitPeer=any host", "").settings.permit_peer, PermitPeer::Any);
    assert_eq!(shown(&loaded("host", ""), "via"), [""; 0]);
    for bad in ["Via x", "Transport x", "ForwardProbe maybe", "PermitPeer any bob", "PermitPeer b*"] {
        assert!(errors("host", bad).iter().all(|e| e.contains("user line 1")), "{bad}");
    }
}

#[test]
fn remarks_name_what_has_no_effect() {
    let text = "Protocol 2\nRSAAuthentication yes\nGSSAPIKeyExchange no\nIgnoreUnknown new*\nNewThing 1\nCiphers 3des-cbc,aes128-ctr\n\
                Host other\n RSAAuthentication no\n Ciphers 3des-cbc,aes128-ctr\n";
    let c = loaded("host", text);
    let said: Vec<_> = c.remarks.iter().map(|r| (r.severity, r.what.source.line)).collect();
    let note = Severity::Note;
    assert_eq!(said, [(note, 1), (Severity::Warn, 2), (note, 3), (note, 5), (note, 6)]);
    assert_eq!(c.settings.ciphers.names, ["aes128-ctr"]);
}

#[test]
fn who_orders_host_key_algorithms() {
    let ordered = |text: &str| loaded("host", text).settings.host_key_algorithms.ordered;
    assert!(!ordered("") && !ordered("HostKeyAlgorithms +rsa*") && !ordered("HostKeyAlgorithms -rsa*"));
    assert!(ordered("HostKeyAlgorithms ^rsa*") && ordered("HostKeyAlgorithms rsa*"));
}

#[test]
fn variables_and_remote_socks() {
    let c = loaded("host", "SendEnv A_* B\nSendEnv -A_[x]*\nPermitRemoteOpen db:5432 *:80\n");
    assert!(c.settings.send_env.sends(b"A_1") && !c.settings.send_env.sends(b"C"));
    let open = &c.settings.permit_remote_open;
    assert!(open.permits(b"db", 5432) && open.permits(b"x", 80) && !open.permits(b"db", 22));
    assert!(!loaded("host", "PermitRemoteOpen none").settings.permit_remote_open.permits(b"x", 80));
    let none = loaded("host", "SendEnv A\nSendEnv -*\n");
    assert_eq!(none.settings.send_env, SendEnv::default());
}

#[test]
fn update_host_keys_depends_on_the_files() {
    let learn = |text: &str| loaded("host", text).settings.update_host_keys;
    assert_eq!(learn(""), YesNoAsk::Yes);
    assert_eq!(learn("UserKnownHostsFile ~/.ssh/known_hosts"), YesNoAsk::Yes);
    assert_eq!(learn("UserKnownHostsFile /x"), YesNoAsk::No);
    assert_eq!(learn("VerifyHostKeyDNS yes"), YesNoAsk::No);
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_ssh_config(&input);
    }

    #[test]
    fn almost_right_files_never_panic(rows in prop::collection::vec((0..KEYWORDS.len(), "[ =]?[a-z0-9%~:/.@,${}\"\\\\-]{0,12}( [a-z0-9:/]{0,6})?"), 0..8)) {
        let text: String = rows.iter().map(|(i, value)| format!("{} {value}\n", KEYWORDS[*i].name)).collect();
        fuzz_ssh_config(text.as_bytes());
    }
}
