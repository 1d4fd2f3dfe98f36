//! The client's configuration against the installed OpenSSH: the same files and arguments, `ssh -G` beside ours.
//!
//! Compared are the keywords both print. Left out is what Debian's ssh changes and what differs on purpose; each
//! is named in `NOT_COMPARED`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "starts stock ssh and reads its files"
)]

use sockward_test_support::missing;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sockward_config::algorithms::{Algorithms, Names};
use sockward_config::lookup::Lookup;
use sockward_config::ssh::{Action, ConfigFile, ConfigFiles, Local, Machine, load, parse_arguments};

/// Keywords whose lines are not compared, and why.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("gssapikeyexchange", "Debian's"),
    ("gssapikexalgorithms", "Debian's"),
    ("gssapirenewalforcesrekey", "Debian's"),
    ("gssapitrustdns", "Debian's"),
    ("securitykeyprovider", "we have no built-in one"),
];

struct Stock {
    directory: PathBuf,
    algorithms: Algorithms<'static>,
    local: Local,
}

struct Real;

impl Lookup for Real {
    fn env(&self, name: &OsStr) -> Option<OsString> {
        (name == "FOO").then(|| "bar".into())
    }
    fn service(&self, name: &str) -> Option<u16> {
        [("ssh", 22), ("http", 80), ("https", 443)].iter().find(|(n, _)| *n == name).map(|(_, port)| *port)
    }
    fn home(&self, user: Option<&OsStr>) -> Option<OsString> {
        match user {
            None => Some(home()),
            Some(user) => (user == "root").then(|| "/root".into()),
        }
    }
}

impl Machine for Real {
    fn succeeds(&self, command: &OsStr) -> Result<bool, String> {
        Command::new("sh").arg("-c").arg(command).status().map(|s| s.success()).map_err(|e| e.to_string())
    }

    /// Wildcards in the last component alone.
    fn include(&self, pattern: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, String> {
        let path = Path::new(pattern);
        let (Some(directory), Some(last)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
        let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok())
            .filter(|entry| sockward_wire::pattern::matches(last.as_bytes(), entry.file_name().as_bytes()))
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|f| Ok((f.clone().into(), std::fs::read(&f).map_err(|e| e.to_string())?)))
            .collect()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

fn home() -> OsString {
    // ssh asks the user table, not $HOME.
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let uid = id("-u");
    let line = passwd.lines().find(|l| l.split(':').nth(2) == Some(&uid)).unwrap();
    line.split(':').nth(5).unwrap().into()
}

fn id(flag: &str) -> String {
    let out = Command::new("id").arg(flag).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let out = Command::new(command).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn leak(names: impl IntoIterator<Item = String>) -> &'static [&'static str] {
    let names: Vec<&'static str> = names.into_iter().map(|n| &*n.leak()).collect();
    names.leak()
}

impl Stock {
    /// `None`, with a message, if there is no ssh.
    fn find(test: &str) -> Option<Self> {
        let defaults =
            output("ssh", &["-G", "-F", "none", "host"]).filter(|text| text.contains("\nciphers "));
        let Some(defaults) = defaults else {
            assert!(missing("ssh is not installed"));
            return None;
        };
        let query = |what: &str| leak(output("ssh", &["-Q", what]).unwrap().lines().map(str::to_owned));
        let default = |keyword: &str| {
            let line = defaults.lines().find_map(|l| l.strip_prefix(keyword)).unwrap();
            leak(line.trim().split(',').map(str::to_owned))
        };
        let names = |what, keyword| Names { supported: query(what), default: default(keyword) };
        let algorithms = Algorithms {
            ciphers: names("cipher", "ciphers "),
            macs: names("mac", "macs "),
            kex: names("kex", "kexalgorithms "),
            host_keys: names("key-sig", "hostkeyalgorithms "),
            user_keys: names("key-sig", "pubkeyacceptedalgorithms "),
            ca_signatures: names("sig", "casignaturealgorithms "),
        };
        let local = Local {
            user: id("-un"),
            uid: id("-u").parse().unwrap(),
            home: home(),
            hostname: output("uname", &["-n"]).unwrap().trim().to_owned(),
            version: "OpenSSH_9.2p1".to_owned(),
            sha1: |data| {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, data);
                digest.as_ref().try_into().unwrap()
            },
        };
        let directory = std::env::temp_dir().join(format!("sockward-ssh-g-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Some(Stock { directory, algorithms, local })
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Stock's lines, or `None` if it refuses.
    fn stock(&self, arguments: &[&str]) -> Option<Vec<String>> {
        let out = Command::new("ssh").arg("-G").args(arguments).env("FOO", "bar").output().unwrap();
        out.status.success().then(|| lines(&out.stdout))
    }

    /// Our lines, or what is wrong.
    fn ours(&self, arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments = std::iter::once("-G").chain(arguments.iter().copied()).map(OsString::from);
        let action = parse_arguments(arguments, &Real, &self.algorithms).map_err(|e| e.to_string())?;
        let Action::Run(invocation) = action else { return Err("no invocation".to_owned()) };
        let mut text = Vec::new();
        let mut name = String::new();
        if let ConfigFile::Named(file) = &invocation.config_file {
            name = file.to_string_lossy().into_owned();
            text = std::fs::read(file).map_err(|e| e.to_string())?;
        }
        let files = ConfigFiles { user: Some((&name, &text)), system: None };
        let loaded = load(&invocation, &files, &self.local, &Real, &self.algorithms)
            .map_err(|errors| errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n"))?;
        Ok(lines(&loaded.dump(&self.algorithms)))
    }

    /// Both give the same, or both refuse. What differs is added to `faults`. True if both take it.
    fn compare(&self, what: &str, arguments: &[&str], faults: &mut Vec<String>) -> bool {
        let mut fault = |text: String| faults.push(format!("{text}; {arguments:?}\n{what}\n"));
        match (self.stock(arguments), self.ours(arguments)) {
            (Some(stock), Ok(ours)) => {
                let (stock, ours) = (grouped(&stock), grouped(&ours));
                for (keyword, values) in &stock {
                    let compared = !NOT_COMPARED.iter().any(|(k, _)| k == keyword);
                    // Stock shows a target that it does not take itself.
                    let values = values.iter().map(|v| v.strip_suffix(" [socks]:0").unwrap_or(v).to_owned());
                    let values: Vec<_> = values.filter(|v| !shown_twice(keyword, v, &stock)).collect();
                    let others = ours.get(keyword).cloned().unwrap_or_default();
                    if compared && others != values {
                        fault(format!("{keyword}: ours {others:?}, stock {values:?}"));
                    }
                }
                for keyword in ours.keys().filter(|k| !stock.contains_key(*k)) {
                    fault(format!("only ours prints {keyword}"));
                }
            }
            (None, Err(_)) => return false,
            (stock, ours) => fault(format!("stock takes it: {}, ours: {ours:?}", stock.is_some())),
        }
        true
    }
}

/// Stock prints a LocalForward to a socket as a DynamicForward too.
fn shown_twice(keyword: &str, value: &str, stock: &BTreeMap<String, Vec<String>>) -> bool {
    let local = stock.get("localforward").into_iter().flatten();
    keyword == "dynamicforward"
        && local.clone().any(|l| l.starts_with(value) && !l.ends_with(|c: char| c.is_ascii_digit()))
}

/// Numbers below the one asked for: xorshift, the same in every run.
fn dice(seed: u32) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).unwrap() % below
    }
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} differences\n{}", faults.len(), faults.join("\n"));
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
}

/// The values of each keyword in order; the order of keywords does not matter.
fn grouped(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        map.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    map
}

/// What Debian's ssh and ours have other defaults for.
const EQUAL_DEFAULTS: &str = "Host *\n IPQoS ef cs0\n ForwardX11Trusted no\n IdentityFile ~/.ssh/id_x\n";

#[test]
fn hand_written_files() {
    let Some(stock) = Stock::find("hand") else { return };
    let mut faults = Vec::new();
    for (i, text) in FILES.iter().enumerate() {
        let file = stock.write(&format!("config{i}"), &format!("{text}\n{EQUAL_DEFAULTS}"));
        for host in
            ["host", "a.example.com", "B", "127.0.0.1", "::1", "alex@host", "ssh://bob@a.example.com:2222/"]
        {
            stock.compare(text, &["-F", &file, host], &mut faults);
        }
    }
    report(&faults);
}

const FILES: &[&str] = &[
    "",
    "# comment\n\n  \t\nPort 2222 # more\nPORT=23\nuser = alex\nHostname=%h.example.com\n",
    "Host a.*\n User a\n Port 1\nHost * !a.*\n User notA\nHost host\n Port 2\n",
    "Host A b\n User case\nHost B\n Port 3\n",
    "Match host a.example.com\n User a\nMatch originalhost host user alex\n Port 99\nMatch all\n Port 98\n",
    "Match !host a.example.com,host\n Port 97\nMatch user=alex\n Port 96\nMatch localuser root\n Port 95\n",
    "Hostname x.example.com\nMatch host x.*\n Port 50\nMatch originalhost x.*\n Port 51\n",
    "Match final host y.*\n Port 60\nHostname y.%h\nMatch canonical\n Port 61\n",
    "Match final\n User final\nHost host\n User first\nHost *\n SendEnv A\n IdentityFile a\n LocalForward 1 b:2\n",
    "Match exec \"test %h = host\"\n Port 70\nMatch exec false\n Port 71\nMatch exec \"test '%n' = '%h'\"\n User same\n",
    "Match all host x\n",
    "Match host\n",
    "Match bogus x\n",
    "Match canonical all\n Port 5\n",
    "Match final all\n Port 6\n",
    "Match final host x all\n Port 6\n",
    "Hostname %x\n",
    "NoSuchKeyword yes\n",
    "IgnoreUnknown nosuch*,Other\nNoSuchKeyword yes\nOTHER 1\n",
    "Port\n",
    "Port 0\n",
    "Port 65536\n",
    "Port http\n",
    "Port 22 23\n",
    "Port \"22\n",
    "Port \"22\"\n",
    "\"Port\" 24\n",
    "Port ''\n",
    "User \"a b\"\nPreferredAuthentications publickey,password\n",
    "IdentityFile a\nIdentityFile \"b c\"\nIdentityFile a\nCertificateFile c-cert.pub\nCertificateFile d\n",
    "LocalForward 8080 localhost:80\nLocalForward [::1]:8081 [::1]:81\nLocalForward *:8082 /run/x\nLocalForward 8080 localhost:80\n",
    "LocalForward /run/%p/a /run/${FOO}/b\nRemoteForward /tmp/%u localhost:http\nRemoteForward 1080\n",
    "RemoteForward 0 localhost:80\nRemoteForward :2222 h:22\nDynamicForward 1080\nDynamicForward [::1]:1081\n",
    "LocalForward 0 a:1\n",
    "LocalForward 8080\n",
    "LocalForward a b c\n",
    "DynamicForward 1 2\n",
    "DynamicForward nosuchport\n",
    "LocalForward 8080 localhost:0\n",
    "LocalForward 1:2:3:4:5 6\n",
    "LocalForward ${NOSUCH} a:1\n",
    "LocalForward 8080 localhost:80\nClearAllForwardings yes\nDynamicForward 1\n",
    "SendEnv LANG LC_*\nSendEnv FOO -LC_*\nSetEnv A=1 B=2 A=3\nSetEnv C=4\n",
    "SendEnv A=1\n",
    "SetEnv A\n",
    "Host other\n SendEnv X\n SetEnv Y=1\nHost *\n SendEnv -X Z\n",
    "RekeyLimit 1G 1h\n",
    "RekeyLimit default none\nRekeyLimit 16 1m\n",
    "RekeyLimit 512k\nRekeyLimit 1M 30\n",
    "RekeyLimit 15\n",
    "RekeyLimit x\n",
    "EscapeChar none\n",
    "EscapeChar ^]\n",
    "EscapeChar %\n",
    "EscapeChar ab\n",
    "IPQoS af21\n",
    "IPQoS cs1 0x10\n",
    "IPQoS bogus\n",
    "TunnelDevice 1:2\nTunnel ethernet\n",
    "TunnelDevice any:3\nTunnel yes\n",
    "TunnelDevice x\n",
    "StreamLocalBindMask 0117\nStreamLocalBindUnlink yes\n",
    "StreamLocalBindMask 999\n",
    "StreamLocalBindMask 1000\n",
    "ControlMaster auto\nControlPath ~/.ssh/%r@%h:%p-%C\nControlPersist 10m\n",
    "ControlPath none\nControlPersist yes\nControlMaster autoask\n",
    "ControlPersist 0\n",
    "ControlPersist maybe\n",
    "ControlPath %x\n",
    "UserKnownHostsFile /a/%h ~/b ${FOO}\nGlobalKnownHostsFile none\n",
    "UserKnownHostsFile none\n",
    "UserKnownHostsFile none /a\n",
    "UserKnownHostsFile ~/.ssh/known_hosts\nVerifyHostKeyDNS ask\n",
    "GlobalKnownHostsFile /a /b\n",
    "UserKnownHostsFile \"\"\n",
    "HostKeyAlias UPPER\nControlPath /x/%k\n",
    "IdentityAgent none\n",
    "IdentityAgent SSH_AUTH_SOCK\n",
    "IdentityAgent $FOO\n",
    "IdentityAgent ${FOO}/x\n",
    "IdentityAgent $F-OO\n",
    "IdentityAgent ~/agent.%p\n",
    "ForwardAgent ~/agent\n",
    "ForwardAgent YES\n",
    "ProxyCommand nc %h %p # not a comment\n",
    "ProxyCommand = nc -X \"a b\" %h\n",
    "ProxyCommand none\nProxyJump jump\n",
    "ProxyJump a,bob@b:2222,[::1]:22\nProxyCommand x\n",
    "ProxyJump ssh://alex@jump:2222\n",
    "ProxyJump 192.0.2.1:22\n",
    "ProxyJump none\nProxyCommand x y\n",
    "ProxyJump jump:x\n",
    "ProxyJump @jump\n",
    "RemoteCommand echo %h %% \"%n\"\nRequestTTY force\n",
    "RemoteCommand none\nSessionType none\n",
    "RemoteCommand %q\n",
    "LocalCommand echo %T\nPermitLocalCommand yes\n",
    "PermitRemoteOpen a:1 [::1]:2 *:*\n",
    "PermitRemoteOpen none\n",
    "PermitRemoteOpen any x:1\n",
    "PermitRemoteOpen x\n",
    "AddKeysToAgent confirm 5m\n",
    "AddKeysToAgent 1h\n",
    "AddKeysToAgent ask\n",
    "AddKeysToAgent yes 1m\n",
    "ConnectTimeout 10\nServerAliveInterval 1m\nServerAliveCountMax 5\nConnectionAttempts 3\n",
    "ConnectTimeout x\n",
    "ConnectTimeout none\n",
    "NumberOfPasswordPrompts -1\n",
    "NumberOfPasswordPrompts 1x\n",
    "StrictHostKeyChecking accept-new\nCheckHostIP yes\nHashKnownHosts yes\nUpdateHostKeys ask\n",
    "StrictHostKeyChecking off\nVisualHostKey yes\nFingerprintHash md5\n",
    "StrictHostKeyChecking maybe\n",
    "LogLevel DEBUG3\nSyslogFacility LOCAL3\n",
    "LogLevel debug\nLogVerbose a\n",
    "LogLevel loud\n",
    "Ciphers aes128-ctr,aes256-ctr\nMACs +hmac-md5\nKexAlgorithms ^curve25519-sha256\n",
    "Ciphers -*cbc,aes*-ctr\nHostKeyAlgorithms *\nPubkeyAcceptedAlgorithms +ssh-rsa,ssh-dss*\nCASignatureAlgorithms -ecdsa*\n",
    "HostKeyAlgorithms ssh-ed25519*,rsa*\nHostbasedAcceptedAlgorithms -*cert*\n",
    "Ciphers nosuch\n",
    "KexAlgorithms +nosuch\n",
    "PubkeyAcceptedKeyTypes ssh-ed25519\nHostbasedKeyTypes ssh-rsa\n",
    "ChallengeResponseAuthentication no\nProtocol 2\nCipher x\nKeepAlive no\nDSAAuthentication no\n",
    "PubkeyAuthentication unbound\nPasswordAuthentication no\nKbdInteractiveDevices pam\n",
    "PKCS11Provider none\nXAuthLocation /x/xauth\nBindAddress 192.0.2.1\nBindInterface eth0\n",
    "AddressFamily inet6\nTCPKeepAlive no\nExitOnForwardFailure yes\nGatewayPorts yes\nForwardX11 yes\nForwardX11Timeout 5m\n",
    "CanonicalDomains none\nCanonicalizePermittedCNAMEs none\n",
    "StdinNull yes\nSessionType subsystem\nCompression yes\nProxyUseFdpass yes\nEnableSSHKeysign yes\n",
    "Compression maybe\n",
    "Include /nonexistent/*\nPort 7\n",
    "Include \"\"\n",
    "Host nope\n Ciphers nosuch\n",
];

#[test]
fn command_lines() {
    let Some(stock) = Stock::find("args") else { return };
    let mut faults = Vec::new();
    let file = stock
        .write("config", &format!("Host host\n Port 1\n User file\n LocalForward 9 h:9\n{EQUAL_DEFAULTS}"));
    for arguments in [
        "host",
        "-p 22 -o Port=23 host",
        "-o Port=23 -p 22 host",
        "host -p 22",
        "-p 0 host",
        "-p 65536 host",
        "-p 2000blah host",
        "-p http host",
        "-l a b@host",
        "b@host -l a",
        "-oUser=c b@host",
        "a@b@host",
        "@host",
        "-4 -6 host",
        "-6 -4 host",
        "-nNT host",
        "-vvv host",
        "-q -v host",
        "-qvv host",
        "-tt host",
        "-t -T host",
        "-T -t host",
        "-N host",
        "-s host sftp",
        "-s host",
        "-N -s host sftp",
        "-f host",
        "-f host true",
        "-fN host",
        "-W a:1 host",
        "-W a host",
        "-W a:1 -o ExitOnForwardFailure=no -o ClearAllForwardings=no host",
        "-W a:1 -W b:2 host",
        "-O check -W a:1 host",
        "-O bogus host",
        "-O check host",
        "-L 1:b:2 -L1:b:2 -L 3:/x host",
        "-L x host",
        "-R 1 -R /a:/b -R 0:h:1 host",
        "-R 1:2:3:4:5 host",
        "-D 1 -D [::1]:2 host",
        "-D 0 host",
        "-J a,b host",
        "-J a -J b host",
        "-J none host",
        "-J -x host",
        "-o ProxyCommand=x -J a host",
        "-J host host",
        "-J file@host:1 host",
        "-c aes128-ctr -m hmac-sha2-256 host",
        "-c nosuch host",
        "-m nosuch host",
        "-e none host",
        "-e ^B host",
        "-e ab host",
        "-b 192.0.2.1 -B lo host",
        "-g -x -X -Y -a -A -C -M host",
        "-MM -S /x/%h host",
        "-S none host",
        "-w 1:2 host",
        "-w x host",
        "-E /dev/null -y host",
        "-1 host",
        "-2 host",
        "-k -K host",
        "-o Host=x host",
        "-o Match=all host",
        "-o Include=/x host",
        "-o Bogus=x host",
        "-o Port host",
        "-o=Port=5 host",
        "-oPort=5 host",
        "-oLocalForward=4\tb:4 host",
        "--bogus host",
        "-",
        "-- host",
        "-- host -p 5",
        "host -- -p 5",
        "host ls -p 5",
        "ssh://u@host:5",
        "ssh://host:0",
        "ssh://host/x",
        "host;x",
        "-l a;b host",
        "-l -x host",
        "-o RemoteCommand=x host y",
        "-o ConnectionAttempts=0 host",
        "HOST",
        "127.0.0.1",
        "0:0::1",
        "::FFFF:192.0.2.1",
        "fe80::1%lo",
        "-p",
        "-p 5",
        "",
    ] {
        let mut all = vec!["-F", &*file];
        all.extend(arguments.split(' ').filter(|w| !w.is_empty()));
        stock.compare(arguments, &all, &mut faults);
    }
    report(&faults);
}

#[test]
fn included_files() {
    let Some(stock) = Stock::find("include") else { return };
    let mut faults = Vec::new();
    let at = stock.directory.to_str().unwrap().to_owned();
    stock.write("i.0", "Match host xxxxxx\n");
    stock.write("i.1", "Match host a\n Hostname aaa\nMatch host b\n Hostname bbb\nHost d\n Hostname ddd\nHost f # c\n Hostname fff\n");
    stock.write("i.2", "Host d\n Hostname dddd\nHost e\n Hostname eeee\nMatch all\n Hostname xxxx\n");
    stock.write("x.1", "Host a\n");
    stock.write("bad.1", "Hostname h\n\tJunk\n");
    for text in [
        "Match host a\n Hostname aa\nMatch host b\n Hostname bb\n Include @/i.*\nHost d\n Include @/i.*\n Hostname dd\nHost e f\n Include @/i.*\nHost n\n Include @/i.*\n",
        "Include @/x.*\nHostname aa\n",
        "Include @/x.1 @/nosuch\nPort 5\n",
        "Host q\n Include @/bad.*\nHost *\n Port 5\n",
        "Include @/bad.*\n",
        "Include @/config\n",
    ] {
        let file = stock.write("config", &format!("{}\n{EQUAL_DEFAULTS}", text.replace('@', &at)));
        for host in ["a", "b", "c", "d", "e", "f", "n", "x"] {
            stock.compare(text, &["-F", &file, host], &mut faults);
        }
    }
    report(&faults);
}

/// SOCKWARD_ROUNDS asks for more files than the ordinary run makes, SOCKWARD_SEED for others.
#[test]
fn generated_files() {
    let Some(stock) = Stock::find("generated") else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
    let mut faults = Vec::new();
    let mut pick = dice(number("SOCKWARD_SEED").unwrap_or(1));
    for round in 0..number("SOCKWARD_ROUNDS").unwrap_or(300) {
        let mut text = String::new();
        for _ in 0..pick(12) + 1 {
            let line = LINES[pick(LINES.len())];
            let (keyword, value) = line.split_once(' ').unwrap();
            let keyword = match pick(3) {
                0 => keyword.to_ascii_lowercase(),
                1 => keyword.to_ascii_uppercase(),
                _ => keyword.to_owned(),
            };
            let separator = [" ", "\t", "=", " = ", "  "][pick(5)];
            let indent = ["", " ", "\t"][pick(3)];
            let end = ["", " ", "\r", "\t", " # x", "\t#y \""][pick(6)];
            // Stock ssh reads this as a host whose name is none.
            let end = if line == "ProxyJump none" && end.contains('#') { "" } else { end };
            text += &format!("{indent}{keyword}{separator}{value}{end}\n");
        }
        let file = stock.write(&format!("g{round}"), &format!("{text}{EQUAL_DEFAULTS}"));
        let host = ["a", "b.example.com", "alex@c"][pick(3)];
        stock.compare(&text, &["-F", &file, host], &mut faults);
    }
    report(&faults);
}

const LINES: &[&str] = &[
    "Host a",
    "Host b.* !a",
    "Host *",
    "Host c a",
    "Match host a",
    "Match user alex",
    "Match !user alex",
    "Match originalhost b.* user *",
    "Match all",
    "Match final",
    "Hostname %h.example.org",
    "Hostname 192.0.2.7",
    "Port 2222",
    "Port 2323",
    "User alex",
    "IdentityFile ~/.ssh/one",
    "IdentityFile \"two words\"",
    "CertificateFile /c",
    "LocalForward 8080 localhost:80",
    "LocalForward 127.0.0.1:8081 /run/%n",
    "RemoteForward 9090 [::1]:90",
    "RemoteForward /run/a /run/b",
    "DynamicForward 1080",
    "SendEnv LANG LC_*",
    "SendEnv -LC_*",
    "SetEnv A=\"b c\" D=e",
    "ProxyJump j1,u@j2:22",
    "ProxyCommand nc %h %p",
    "ProxyCommand none",
    "ProxyJump none",
    "RekeyLimit 1M",
    "RekeyLimit 2M 1h",
    "ControlPath /tmp/%h-%p-%r-%n",
    "ControlPersist 1h",
    "ControlMaster ask",
    "StrictHostKeyChecking no",
    "StrictHostKeyChecking Accept-New",
    "UserKnownHostsFile ~/a /b/%h",
    "GlobalKnownHostsFile /g",
    "UpdateHostKeys yes",
    "Ciphers aes256-ctr,aes128-ctr",
    "Ciphers +3des-cbc",
    "MACs -umac*",
    "KexAlgorithms ecdh-sha2-nistp256",
    "HostKeyAlgorithms ^rsa*",
    "EscapeChar ^A",
    "IPQoS cs1",
    "TunnelDevice 5",
    "RequestTTY yes",
    "ServerAliveInterval 15",
    "ServerAliveCountMax 2",
    "ConnectTimeout 1m30s",
    "HostKeyAlias Alias",
    "IdentityAgent ~/agent-%r",
    "ForwardAgent yes",
    "PermitRemoteOpen a:1 b:*",
    "LogLevel VERBOSE",
    "GatewayPorts true",
    "HashKnownHosts FALSE",
    "Compression no",
    "Port x",
    "Bogus 1",
    "ConnectionAttempts 4",
    "PubkeyAuthentication no",
    "PreferredAuthentications publickey",
    "ExitOnForwardFailure yes",
];

#[test]
fn forwarding_specifications() {
    let Some(stock) = Stock::find("specs") else { return };
    let (mut faults, mut taken) = (Vec::new(), 0);
    let mut pick = dice(7);
    // Right ones more often than wrong ones.
    let parts = [
        "80",
        "8081",
        "80",
        "http",
        "h",
        "h.example.com",
        "[::1]",
        "/p",
        "/run/x",
        "p/q",
        "*",
        "80",
        "h",
        "/q",
        "0",
        "65536",
        "::1",
        "[a/b]",
        "",
        "[]",
        "\\:",
        "a\\:b",
        "[x",
        "unix2",
    ];
    for _ in 0..600 {
        let fields: Vec<&str> = (0..=pick(4)).map(|_| parts[pick(parts.len())]).collect();
        let spec = fields.join(":");
        let flag = ["-L", "-R", "-D"][pick(3)];
        // On purpose: no empty target, no path as the target of a -D, no path where a host or bind address stands.
        let paths = fields.iter().filter(|f| f.contains('/')).count();
        let odd = matches!(fields.as_slice(), [.., "" | "[]", _] | [.., ""])
            || flag == "-D" && paths > 0 && fields.len() > 1;
        let path_as_host = matches!(fields.as_slice(), [_, host, _] | [_, _, host, _] if host.contains('/'))
            || matches!(fields.as_slice(), [bind, _, _, _] if bind.contains('/'))
            || matches!(fields.as_slice(), [bind, at] if bind.contains('/') && !at.contains('/'))
            || matches!(fields.as_slice(), [path, _, at] if path.contains('/') && at.contains('/'));
        if odd || path_as_host {
            continue;
        }
        let common = ["-F", "none", "-oIPQoS=ef cs0", "-oForwardX11Trusted=no", "-oIdentityFile=x"];
        let arguments = [&common[..], &[flag, &spec, "host"]].concat();
        taken += usize::from(stock.compare(&spec, &arguments, &mut faults));
    }
    assert!(taken > 60, "only {taken} specifications are right");
    report(&faults);
}

#[test]
fn the_output_reads_back_where_stocks_does() {
    let Some(stock) = Stock::find("again") else { return };
    let rewrite = |name: &str, lines: &[String]| {
        stock.write(name, &lines.iter().skip(1).map(|l| format!("{l}\n")).collect::<String>())
    };
    let mut read_back = 0;
    for (i, text) in FILES.iter().enumerate() {
        let file = stock.write(&format!("config{i}"), text);
        let arguments = ["-F", &file, "somehost"];
        let (Some(theirs), Ok(ours)) = (stock.stock(&arguments), stock.ours(&arguments)) else { continue };
        let again = rewrite(&format!("stock{i}"), &theirs);
        if stock.stock(&["-F", &again, "somehost"]) == Some(theirs) {
            let again = rewrite(&format!("ours{i}"), &ours);
            assert_eq!(stock.ours(&["-F", &again, "somehost"]), Ok(ours.clone()), "{text}");
            let common = ours.iter().filter(|l| !l.starts_with("gssapi")).cloned().collect::<Vec<_>>();
            let again = rewrite(&format!("common{i}"), &common);
            assert!(stock.stock(&["-F", &again, "somehost"]).is_some(), "stock reads it too: {text}");
            read_back += 1;
        }
    }
    assert!(read_back > 20, "only {read_back} files were compared");
}
