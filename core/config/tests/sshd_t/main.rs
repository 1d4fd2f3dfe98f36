//! Our reading of sshd_config beside the stock server's: the lines of `sshd -T -C` for the keywords that both know
//! must be the same, except those where we differ on purpose.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test asks the stock server")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

mod random;

use sockward_test_support::missing;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sockward_config::algorithms::{Algorithms, Names};
use sockward_config::lookup::NoLookup;
use sockward_config::sshd::{self, Context, IncludedFile, TestSpec};

const STOCK: &str = "/usr/sbin/sshd";

/// Different on purpose; docs/openssh-differences.md says why. The values of lists of algorithms are compared in
/// unit tests, with lists of their own.
const DIFFERENT: &[&str] = &[
    // What is not here, said as it is.
    "usepam",
    "passwordauthentication",
    "kbdinteractiveauthentication",
    "hostbasedauthentication",
    "gssapiauthentication",
    "gssapikeyexchange",
    "kerberosauthentication",
    "permitemptypasswords",
    "ignorerhosts",
    "ignoreuserknownhosts",
    "hostbasedusesnamefrompacketonly",
    "printmotd",
    "printlastlog",
    "permituserrc",
    "x11forwarding",
    "allowagentforwarding",
    "permittunnel",
    "compression",
    // What belongs to it, of which nothing is said.
    "kerberosorlocalpasswd",
    "kerberosticketcleanup",
    "gssapicleanupcredentials",
    "gssapistrictacceptorcheck",
    "gssapistorecredentialsonrekey",
    "gssapikexalgorithms",
    "hostbasedacceptedalgorithms",
    "x11displayoffset",
    "x11uselocalhost",
    "xauthlocation",
    "modulifile",
    "securitykeyprovider",
    // stale is our default.
    "streamlocalbindunlink",
    // Newer defaults of OpenSSH.
    "ipqos",
    // Which algorithms there are.
    "ciphers",
    "macs",
    "kexalgorithms",
    "casignaturealgorithms",
    "hostkeyalgorithms",
    "pubkeyacceptedalgorithms",
];

/// Configurations (the global part), each read for every connection below.
const FILES: &[&str] = &[
    "",
    "Port 2222\nPort 2200\nListenAddress 127.0.0.1\nListenAddress [::1]:99\nListenAddress ::1\nListenAddress 127.0.0.2:1\n",
    "listenaddress 1.2.3.4\nport 1234\nport 5678\naddressfamily any\nlistenaddress ::1\n",
    "AddressFamily inet\n",
    "AddressFamily=inet6 # comment\n  PORT = 1\n",
    "LoginGraceTime 1m30s\nMaxAuthTries 3\nMaxSessions 0\nClientAliveInterval 1h\nClientAliveCountMax 0\nRequiredRSASize 2048\n",
    "PermitRootLogin forced-commands-only\nPubkeyAuthentication no\nStrictModes no\nTCPKeepAlive no\nKeepAlive yes\n",
    "PermitRootLogin YES\nPermitTTY no\nUseDNS no\nGatewayPorts clientspecified\nAllowTcpForwarding local\n",
    "AllowTcpForwarding all\nAllowStreamLocalForwarding remote\nDisableForwarding yes\nGatewayPorts yes\n",
    "StreamLocalBindMask 0111\nStreamLocalBindMask 007\n",
    "PidFile /tmp/x.pid\nPidFile none\nBanner /etc/issue\nForceCommand echo \"a  b\" # not a comment\n",
    "PidFile none\nVersionAddendum hello there\n",
    "AuthorizedKeysFile /a/%u \"/b c/%h\" .ssh/%%k # comment\nAuthorizedKeysFile none\n",
    "AuthorizedKeysFile none\nHostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/ssh_host_rsa_key\n",
    "AllowUsers alex bob@10.0.0.0/8 *@*.example.com\nAllowUsers eve\nDenyUsers \"a b\"\nAllowGroups x y\nDenyGroups z*\n",
    "AcceptEnv LANG LC_*\nAcceptEnv A?\nSetEnv A=1 B=\"x y\" A=2\nSetEnv C=3\n",
    "VersionAddendum x # y\nLogLevel VERBOSE # comment\n\"Port\" 23\nRequiredRSASize=4096\n",
    "AuthenticationMethods publickey\nPermitUserEnvironment LANG,LC_*\n",
    "AuthenticationMethods publickey,password publickey\nPermitUserEnvironment yes\n",
    "Subsystem sftp /usr/lib/openssh/sftp-server -e -l INFO\nSubsystem x /x\n",
    "MaxStartups 7\nPerSourceMaxStartups 3\nPerSourceNetBlockSize 24:56\n",
    "MaxStartups 1:2:3\nPerSourceMaxStartups none\nPerSourceNetBlockSize 16:64\n",
    "RekeyLimit 1G 1h\nRekeyLimit 2G\n",
    "RekeyLimit 16\n",
    "RekeyLimit default 600\nPermitOpen a:1 [::1]:2 *:* b:*\nPermitListen 8080 localhost:1 *:2\nPermitOpen c:1\n",
    "PermitOpen none\nPermitListen any\n",
    "PermitOpen a:http\n",
    "LogLevel DEBUG1\nSyslogFacility LOCAL3\nFingerprintHash sha256\n",
    "LogLevel debug3\nSyslogFacility authpriv\nLogLevel QUIET\n",
    "IgnoreRhosts shosts-only\nUsePrivilegeSeparation sandbox\nProtocol 2\nKeyRegenerationInterval 3600\n",
    "Match all\nPort 77\nBanner /all\n",
    "Banner /g\nMatch all\nBanner /all\nStrictModes no\n",
    "PidFile /g\nHostKey /etc/ssh/ssh_host_ed25519_key\nMatch all\nPidFile /all\nHostKey /etc/ssh/ssh_host_rsa_key\n",
];

/// Behind each of the files above.
const BLOCKS: &str = r#"
Match User alex # comment
	Banner /alex
	PermitOpen x:1
	AcceptEnv ALEX
	StreamLocalBindMask 0
	ForceCommand none
Match User alex,bob Address 192.0.2.0/24,!192.0.2.9
	Banner /both
	PermitListen none
	AcceptEnv BOTH
	AllowUsers only
	StreamLocalBindMask 022
	MaxSessions 1
Match Host *.example.com
	Banner /host
	AuthorizedKeysFile /host/%u
Match Group root
	Banner /group
	PermitRootLogin no
Match LocalAddress 127.0.0.1,::1 LocalPort 2222
	Banner /local
	GatewayPorts yes
Match RDomain rdom1
	Banner /rdomain
Match all
	ForceCommand last
	LogLevel VERBOSE
"#;

const SPECS: &[&str] = &[
    "user=alex,host=h,addr=192.0.2.7,laddr=10.0.0.1,lport=22",
    "user=alex,host=h,addr=192.0.2.9,laddr=127.0.0.1,lport=2222",
    "user=bob,host=WWW.example.com,addr=192.0.2.7,laddr=::1,lport=2222",
    "user=bob,host=www.example.com,addr=198.51.100.1,laddr=::1,lport=2223",
    "user=root,host=h,addr=2001:db8::1,laddr=::2,lport=22",
    "user=nobody-at-all,host=h,addr=10.0.0.1,laddr=10.0.0.2,lport=22,rdomain=rdom1",
];

struct Services;

impl sockward_config::lookup::Lookup for Services {
    fn env(&self, _: &std::ffi::OsStr) -> Option<std::ffi::OsString> {
        None
    }
    fn service(&self, name: &str) -> Option<u16> {
        (name == "http").then_some(80)
    }
    fn home(&self, _: Option<&std::ffi::OsStr>) -> Option<std::ffi::OsString> {
        Some("/root".into())
    }
}

fn ours(file: &Path, spec: Option<&str>) -> Result<String, String> {
    const NAMES: Names<'static> = Names { supported: &["a"], default: &["a"] };
    let algorithms = Algorithms {
        ciphers: NAMES,
        macs: NAMES,
        kex: NAMES,
        host_keys: NAMES,
        user_keys: NAMES,
        ca_signatures: NAMES,
    };
    let directory = std::env::current_dir().unwrap();
    let context = Context {
        algorithms: &algorithms,
        lookup: &Services,
        directory: directory.as_os_str().as_bytes(),
        options: &[],
        ports: &[],
    };
    let mut loader = |pattern: &str| glob(pattern);
    let name = file.display().to_string();
    let config = sshd::parse(&name, &fs::read(file).unwrap(), &mut loader, &context)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut test = TestSpec::default();
    if let Some(spec) = spec {
        test.read(spec, &NoLookup)?;
    }
    let groups: Vec<String> = match test.user.as_deref() {
        Some("root") => vec!["root".into()],
        Some("daemon") => vec!["daemon".into()],
        Some("nobody") => vec!["nogroup".into()],
        _ => vec![],
    };
    let values = config.effective(&test.facts(&groups)).map_err(|e| e.to_string())?;
    Ok(sshd::dump(&values))
}

/// `DIR/PREFIX*`, the only form used here.
fn glob(pattern: &str) -> Result<Vec<IncludedFile>, String> {
    let path = Path::new(pattern);
    let prefix = path.file_name().unwrap().to_str().unwrap().trim_end_matches('*').to_owned();
    let mut files: Vec<PathBuf> = fs::read_dir(path.parent().unwrap())
        .map_err(|e| e.to_string())?
        .map(|entry| entry.unwrap().path())
        .filter(|p| {
            let name = p.file_name().unwrap().to_str().unwrap();
            if pattern.ends_with('*') { name.starts_with(&prefix) } else { name == prefix }
        })
        .collect();
    files.sort();
    Ok(files
        .into_iter()
        .map(|p| IncludedFile { name: p.display().to_string(), bytes: fs::read(&p).unwrap() })
        .collect())
}

fn stock(file: &Path, spec: Option<&str>) -> Result<String, String> {
    let mut command = Command::new(STOCK);
    command.arg("-T").arg("-f").arg(file);
    if let Some(spec) = spec {
        command.args(["-C", spec]);
    }
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Lines by keyword, of those that both know.
fn by_keyword(text: &str) -> BTreeMap<&str, Vec<String>> {
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (keyword, value) in text.lines().filter_map(|l| l.split_once(' ')) {
        let value = match value {
            "without-password" => "prohibit-password",
            // A Match block's is printed as it is written.
            "None" | "NONE" => "none",
            // Two words for one level; the newer OpenSSH prints the second.
            "SILENT" => "QUIET",
            _ => value,
        };
        if (keyword, value) == ("channeltimeout", "none") {
            continue;
        }
        lines.entry(keyword).or_default().push(value.to_owned());
    }
    lines
}

fn compare(file: &Path, spec: Option<&str>) {
    let text = fs::read_to_string(file).unwrap();
    assert!(ours(file, spec).is_ok(), "{spec:?} of\n{text}\n{:?}", ours(file, spec));
    if let Some(what) = difference(file, spec) {
        panic!("{what}, {spec:?} of\n{text}");
    }
}

/// How the two readings differ, if they do. That both refuse the file is no difference.
fn difference(file: &Path, spec: Option<&str>) -> Option<String> {
    let (stock, ours) = match (stock(file, spec), ours(file, spec)) {
        (Ok(stock), Ok(ours)) => (stock, ours),
        (Err(_), Err(_)) => return None,
        (Ok(_), Err(ours)) => return Some(format!("refused by ours alone: {ours}")),
        (Err(stock), Ok(_)) => return Some(format!("refused by the stock server alone: {stock}")),
    };
    let (stock, ours) = (by_keyword(&stock), by_keyword(&ours));
    let none = Vec::new();
    stock.iter().find_map(|(keyword, lines)| {
        if DIFFERENT.contains(keyword) || sshd::find_keyword(keyword.as_bytes()).is_none() {
            return None;
        }
        let mine = ours.get(keyword).unwrap_or(&none);
        (mine != lines).then(|| format!("{keyword}: ours {mine:?}, the stock server's {lines:?}"))
    })
}

/// Whether the stock server is there and works; without it the test says why it did not run.
fn stock_is_there() -> bool {
    let _ = fs::create_dir_all("/run/sshd");
    let works =
        Command::new(STOCK).args(["-T", "-f", "/dev/null"]).output().is_ok_and(|o| o.status.success());
    works || !missing("sshd -T does not work here (no openssh-server, no host keys or not root)")
}

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn values_of_files_and_connections() {
    if !stock_is_there() {
        return;
    }
    let file = folder("values").join("sshd_config");
    for text in FILES {
        fs::write(&file, text).unwrap();
        compare(&file, None);
        fs::write(&file, format!("{text}{BLOCKS}")).unwrap();
        for spec in SPECS {
            compare(&file, Some(spec));
        }
    }
}

/// What the stock server refuses, we refuse.
const BAD: &[&str] = &[
    "Port\n",
    "Port 22 23\n",
    "Port 0\n",
    "Port 65536\n",
    "Foo bar\n",
    "VersionAddendum\n",
    "SetEnv A\n",
    "AcceptEnv A=b\n",
    "Banner \"x\n",
    "ForceCommand it's\n",
    "LoginGraceTime 1.5\n",
    "LoginGraceTime -1\n",
    "ListenAddress 1.2.3.4:0\n",
    "ListenAddress [::1\n",
    "ListenAddress ::1 rdomain x\n",
    "AddressFamily inet\nListenAddress ::1\n",
    "PermitOpen any a:1\n",
    "PermitOpen a\n",
    "PermitListen a:b:1\n",
    "MaxStartups 0\n",
    "MaxStartups 5:101:6\n",
    "MaxStartups 7:1:6\n",
    "Match\n",
    "Match user\n",
    "Match foo bar\n",
    "Match all user x\n",
    "Match address 10.0.1.0/8\n",
    "Match localaddress 2000:aa:bb:01::/56\n",
    "Match all\nPort 1\nMatch user x\nPort 2\n",
    "StreamLocalBindMask 888\n",
    "StreamLocalBindMask 01777\n",
    "AllowUsers a@10.0.0.1/8\n",
    "AllowUsers \"\"\n",
    "RekeyLimit 15\n",
    "RekeyLimit 1k x\n",
    "LogLevel LOUD\n",
    "SyslogFacility X\n",
    "Subsystem sftp\n",
    "AuthenticationMethods any publickey\n",
    "PermitRootLogin maybe\n",
    "StrictModes yes no\n",
    "StrictModes yes#no\n",
    "AuthorizedKeysCommand x\n",
    "AuthorizedKeysCommand /x\n",
    "Include\n",
    "Include \"\"\n",
    "IPQoS foo\n",
    "ChannelTimeout session\n",
    "X11DisplayOffset x\n",
    "PerSourceNetBlockSize 33\n",
    "MaxAuthTries -1\n",
    "MaxSessions 99999999999\n",
    "Ciphers foo\n",
    "AuthenticationMethods foo publickey\n",
    "AuthenticationMethods publickey, publickey\n",
    "AuthenticationMethods publickey\nPubkeyAuthentication no\n",
    "Match all\nMatch user x\nDSAAuthentication no\n",
];

#[test]
fn what_the_stock_server_refuses_is_refused() {
    if !stock_is_there() {
        return;
    }
    let file = folder("bad").join("sshd_config");
    for text in BAD {
        fs::write(&file, text).unwrap();
        assert!(stock(&file, None).is_err(), "the stock server takes {text}");
        assert!(ours(&file, None).is_err(), "{text}");
    }
}

/// The cases of OpenSSH's regression test servcfginclude, and some more, put down as what they say.
#[test]
fn includes_and_the_state_of_match() {
    if !stock_is_there() {
        return;
    }
    let dir = folder("include");
    let file = dir.join("sshd_config");
    let included = dir.display();
    fs::write(
        &file,
        format!(
            "Include {included}/none* {included}/early*\nPort 7722\nMatch host a\n Banner /a\nMatch host b\n Banner /b\n \
             Include {included}/i.* # comment\nMatch host c\n Include {included}/i.*\n Banner /c\nMatch host m,n\n \
             Include {included}/i.*\nMatch host e\n Banner /e\n Include {included}/i.*\nMatch user u\n Banner /u\n"
        ),
    )
    .unwrap();
    fs::write(dir.join("early"), "Port 7700\nMatch host early\n Banner /early\n").unwrap();
    fs::write(dir.join("i.0"), "Match host x\n").unwrap();
    fs::write(
        dir.join("i.1"),
        "MaxSessions 5\nMatch host a\n Banner /ia\nMatch host b\n Banner /ib\nMatch host c\n Banner /ic\n",
    )
    .unwrap();
    fs::write(dir.join("i.2"), "Match host c\n Banner /iic\nMatch all\n Banner /all\n").unwrap();
    for host in ["a", "b", "c", "d", "e", "m", "n", "x", "early"] {
        compare(&file, Some(&format!("host={host},user=test,addr=127.0.0.1")));
    }
    compare(&file, Some("host=z,user=u,addr=127.0.0.1"));

    fs::write(dir.join("i.3"), "Banner /x\n Junk\n").unwrap();
    assert!(stock(&file, None).is_err() && ours(&file, None).is_err());
    fs::write(dir.join("i.3"), format!("Include {}\n", file.display())).unwrap();
    assert!(stock(&file, None).is_err() && ours(&file, None).is_err(), "recursion");
}
