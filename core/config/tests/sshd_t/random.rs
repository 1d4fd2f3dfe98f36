//! Made-up configuration files and connections, held against the stock server's reading of them: the same effective
//! values, or both refuse. A file is made from its number alone, so that it can be made again.
//!
//! SOCKWARD_ROUNDS asks for more files than the ordinary run makes, SOCKWARD_SEED for another first one.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{difference, folder, stock_is_there};

/// Files of an ordinary run.
const ROUNDS: u64 = 240;

#[test]
fn made_up_files_and_connections() {
    if !stock_is_there() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("SOCKWARD_SEED").unwrap_or(1);
    let rounds = number("SOCKWARD_ROUNDS").unwrap_or(ROUNDS);
    let dir = folder("random");
    let half = |parity: u64| {
        let dir = dir.join(parity.to_string());
        fs::create_dir_all(&dir).unwrap();
        (first..first + rounds)
            .filter(|seed| seed % 2 == parity)
            .filter_map(|seed| round(seed, &dir))
            .collect()
    };
    let (even, odd): (Vec<String>, Vec<String>) = std::thread::scope(|scope| {
        let even = scope.spawn(|| half(0));
        (half(1), even.join().unwrap())
    });
    let all: Vec<String> = even.into_iter().chain(odd).collect();
    assert!(all.is_empty(), "{} differences\n{}", all.len(), all.join("\n\n"));
}

/// Writes one file, and says how the two readings of it differ.
fn round(seed: u64, dir: &Path) -> Option<String> {
    let mut maker =
        Maker { dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), written: Vec::new(), wrong: false };
    maker.wrong = maker.dice.one_in(6);
    // It may be read more than once.
    maker.written = ROWS.iter().filter(|row| row.once).map(|row| row.name).collect();
    let included = maker.section(false, 3);
    maker.written.clear();
    fs::write(dir.join("included"), &included).unwrap();
    let text = maker.file(&dir.join("included"));
    let file = dir.join("sshd_config");
    fs::write(&file, &text).unwrap();
    let spec = maker.connection(&text);
    difference(&file, spec.as_deref())
        .map(|what| format!("SOCKWARD_SEED={seed}, {what}\n-C {spec:?} of\n{text}\nincluded:\n{included}"))
}

/// Numbers that only look random: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

struct Maker {
    dice: Dice,
    /// Those of the rows to be written once that are written.
    written: Vec<&'static str>,
    /// Whether values may be ones that are refused.
    wrong: bool,
}

impl Maker {
    fn file(&mut self, included: &Path) -> String {
        let mut text = self.section(false, 8);
        for _ in 0..self.dice.below(4) {
            if self.dice.one_in(5) {
                writeln!(text, "{} {}", self.case("Include"), included.display()).unwrap();
            }
            let criteria = self.criteria();
            let comment = self.dice.pick(&["", "", "", " # all of it", " #"]);
            writeln!(text, "{}{} {criteria}{comment}", self.dice.pick(&["", " "]), self.case("Match"))
                .unwrap();
            text += &self.section(true, 5);
            if self.dice.one_in(6) {
                writeln!(text, "\tInclude {}", included.display()).unwrap();
            }
        }
        if self.dice.one_in(8) {
            text.pop();
        }
        text
    }

    fn section(&mut self, in_match: bool, most: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.dice.below(most + 1) {
            let rows: Vec<&Row> = ROWS.iter().filter(|row| !in_match || row.in_match || self.wrong).collect();
            let row = rows[self.dice.below(rows.len())];
            if self.written.contains(&row.name) {
                continue;
            }
            text += &self.line(row);
            if row.once {
                self.written.push(row.name);
            } else if self.dice.one_in(4) {
                text += &self.line(row);
            }
        }
        text
    }

    fn line(&mut self, row: &Row) -> String {
        if self.dice.one_in(25) {
            return self.dice.pick(&["\n", "# Port x\n", "   # y\n", "\t\n", " \r\n", "#\n"]).to_owned();
        }
        let values = match row.kind {
            Kind::One => vec![self.word(row)],
            Kind::List(most) => (0..=self.dice.below(most)).map(|_| self.word(row)).collect(),
            Kind::Line => vec![self.dice.pick(row.good).to_owned()],
        };
        let keyword = self.case(row.name);
        let keyword = if self.dice.one_in(30) { format!("\"{keyword}\"") } else { keyword };
        let indent = self.dice.pick(&["", "", "", " ", "\t", "  \t", "\r"]);
        let between = self.dice.pick(&[" ", " ", " ", "\t", "=", " = ", "  ", "= ", " ="]);
        let between = if keyword.starts_with('"') { " " } else { between };
        let comment = self.dice.pick(&["", "", "", "", " # x", " #\"", " #x y", "\t#z"]);
        // Where a comment is told from the text by hand.
        let comment =
            if row.name == "VersionAddendum" { comment.replace('\t', " ") } else { comment.to_owned() };
        let end = self.dice.pick(&["", "", "", " ", "\t", "\r", " \x0c"]);
        format!("{indent}{keyword}{between}{}{comment}{end}\n", values.join(" "))
    }

    fn word(&mut self, row: &Row) -> String {
        let bad = self.wrong && !row.bad.is_empty() && self.dice.one_in(4);
        let word = self.dice.pick(if bad { row.bad } else { row.good });
        match self.dice.below(14) {
            _ if word.is_empty() => "\"\"".to_owned(),
            0 if !word.contains('"') => format!("\"{word}\""),
            1 if !word.contains('\'') => format!("'{word}'"),
            2 if word.len() > 2 && word.is_ascii() && !word.contains(['"', '\'', '\\', ' ']) => {
                format!("{}\"{}\"", &word[..1], &word[1..])
            }
            _ if word.contains(' ') && !word.contains('"') => format!("\"{word}\""),
            _ => word.to_owned(),
        }
    }

    fn case(&mut self, name: &str) -> String {
        match self.dice.below(4) {
            0 => name.to_ascii_lowercase(),
            1 => name.to_ascii_uppercase(),
            _ => name.to_owned(),
        }
    }

    fn criteria(&mut self) -> String {
        if self.dice.one_in(6) {
            return self.case("all");
        }
        let mut text = String::new();
        for n in 0..=self.dice.below(3) {
            let (name, good, bad) = CRITERIA[self.dice.below(CRITERIA.len())];
            let lists = name != "LocalPort";
            let count = if lists { self.dice.below(3) } else { 0 };
            let values: Vec<String> = (0..=count)
                .map(|_| {
                    let wrong = self.wrong && self.dice.one_in(6);
                    let negated = if lists && self.dice.one_in(4) { "!" } else { "" };
                    format!("{negated}{}", self.dice.pick(if wrong { bad } else { good }))
                })
                .collect();
            let gap = if n > 0 { self.dice.pick(&[" ", "  ", "\t"]) } else { "" };
            let between = self.dice.pick(&[" ", " ", "\t"]);
            let value = values.join(",");
            let value = if self.dice.one_in(8) { format!("\"{value}\"") } else { value };
            write!(text, "{gap}{}{between}{value}", self.case(name)).unwrap();
        }
        text
    }

    fn connection(&mut self, text: &str) -> Option<String> {
        // The stock server ends at a Match LocalPort if it is not told of a port.
        if self.dice.one_in(4) && !text.to_ascii_lowercase().contains("localport") {
            return None;
        }
        let mut parts = vec![
            format!("user={}", self.dice.pick(&["root", "daemon", "nobody", "alex", "Alex", "no-such-user"])),
            format!("host={}", self.dice.pick(&["h", "www.example.com", "WWW.Example.COM", "127.0.0.1"])),
            format!("addr={}", self.dice.pick(&["127.0.0.1", "192.0.2.9", "10.1.2.3", "::1", "2001:db8::9"])),
            format!("laddr={}", self.dice.pick(&["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"])),
            format!("lport={}", self.dice.pick(&["22", "2222", "1"])),
        ];
        if self.dice.one_in(8) {
            parts.remove(self.dice.below(parts.len() - 1));
        }
        if self.dice.one_in(3) {
            parts.reverse();
        }
        Some(parts.join(","))
    }
}

/// A criterion of Match, what may be in its list, and what may not.
const CRITERIA: &[(&str, &[&str], &[&str])] = &[
    ("User", &["root", "daemon", "no*", "alex", "?lex", "*", "ALEX", "zed"], &["", "a@b"]),
    ("Group", &["root", "daemon", "nogroup", "*", "r*", "zed"], &[""]),
    ("Host", &["h", "*.example.com", "WWW.EXAMPLE.com", "127.0.0.*", "?", "*"], &[""]),
    (
        "Address",
        &[
            "127.0.0.1",
            "127.0.0.0/8",
            "192.0.2.0/24",
            "10.*",
            "::1",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
            "*",
        ],
        &["10.0.0.1/8", "2001:db8::1/32", ""],
    ),
    (
        "LocalAddress",
        &["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/64", "127.*", "*", "::ffff:127.0.0.1"],
        &["10.0.0.1/8", ""],
    ),
    ("LocalPort", &["22", "2222", "1"], &["0", "x", "22,23", "65536", "!22", "-1", "022"]),
];

enum Kind {
    /// One word.
    One,
    /// One word up to so many.
    List(usize),
    /// The rest of the line, as it stands here.
    Line,
}

struct Row {
    name: &'static str,
    in_match: bool,
    kind: Kind,
    good: &'static [&'static str],
    bad: &'static [&'static str],
    /// Whether it stands in a file once: what a second line means has changed in OpenSSH, or differs on purpose.
    once: bool,
}

const fn row(
    name: &'static str,
    kind: Kind,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> Row {
    Row { name, in_match: false, kind, good, bad, once: false }
}

impl Row {
    const fn in_match(mut self) -> Row {
        self.in_match = true;
        self
    }

    const fn once(mut self) -> Row {
        self.once = true;
        self
    }
}

const FLAG: &[&str] = &["yes", "no", "YES", "No"];
const NOT_FLAG: &[&str] = &["maybe", "", "1", "true", "yes,no", "yes no", "off"];
const TIMES: &[&str] = &["0", "30", "1m", "1h30m", "2D", "1w", "600s", "1m1m", "007"];
const NOT_TIMES: &[&str] = &["", "1x", "m", "-1", "1.5", "none", "1m-1s", "99999999999", "5 m", "0x10"];
const NUMBERS: &[&str] = &["0", "1", "3", "12", "100", "007"];
const NOT_NUMBERS: &[&str] = &["", "x", "-1", "1.5", "1k", "99999999999", "0x10", "3x"];
const FILES: &[&str] = &["/etc/x", "none", "/a b/c", "/%h", "relative", "/a#b", "None", "~/x"];
const USERS: &[&str] = &[
    "root",
    "alex",
    "a*",
    "?b",
    "alex@h",
    "*@10.0.0.0/8",
    "a@*.example.com",
    "!eve",
    "b@::1",
    "a@2001:db8::/32",
];
const NOT_USERS: &[&str] = &["", "a@10.0.0.1/8", "@h", "a@"];
const COMMANDS: &[&str] = &[
    "none",
    "/bin/x",
    "echo \"a  b\"",
    "echo 'a  b' c",
    "/bin/x   y\tz",
    "echo a\\\"b",
    "echo \\\\ \\x",
    "echo a=b",
    "\"/bin/x y\" z",
    "echo #x",
    "echo a#b",
    "none x",
    "NONE",
];
const DIRECTIONS: &[&str] = &["yes", "no", "local", "remote", "all", "Local"];

/// What both know, but for lists of algorithms and what docs/openssh-differences.md names.
const ROWS: &[Row] = &[
    row("Port", Kind::One, &["22", "2222", "1", "65535", "022"], &["0", "65536", "x", "", "-1", "22x"]),
    row("AddressFamily", Kind::One, &["any", "inet", "inet6", "ANY"], &["inet4", ""]),
    row(
        "ListenAddress",
        Kind::One,
        &["127.0.0.1", "127.0.0.1:24", "::1", "[::1]:25", "[::1]", "0.0.0.0", "::", "[127.0.0.2]:26"],
        &["[::1", "127.0.0.1:0", "127.0.0.1:x", "", "127.0.0.1:", "[::1]x"],
    ),
    row("LoginGraceTime", Kind::One, TIMES, NOT_TIMES),
    row("MaxAuthTries", Kind::One, &["1", "3", "007", "0"], NOT_NUMBERS).in_match(),
    row("MaxSessions", Kind::One, NUMBERS, NOT_NUMBERS).in_match(),
    row("ClientAliveInterval", Kind::One, TIMES, NOT_TIMES).in_match(),
    row("ClientAliveCountMax", Kind::One, NUMBERS, NOT_NUMBERS).in_match(),
    row("RequiredRSASize", Kind::One, &["1024", "2048", "1536"], NOT_NUMBERS).in_match(),
    row(
        "StreamLocalBindMask",
        Kind::One,
        &["0177", "0", "022", "777", "0777", "7"],
        &["8", "01777", "", "x", "-1"],
    )
    .in_match(),
    row(
        "PermitRootLogin",
        Kind::One,
        &["yes", "no", "prohibit-password", "without-password", "forced-commands-only", "Prohibit-Password"],
        NOT_FLAG,
    )
    .in_match(),
    row("PubkeyAuthentication", Kind::One, FLAG, NOT_FLAG).in_match(),
    row("DSAAuthentication", Kind::One, FLAG, NOT_FLAG),
    row("PermitTTY", Kind::One, FLAG, NOT_FLAG).in_match(),
    row("StrictModes", Kind::One, FLAG, NOT_FLAG),
    row("TCPKeepAlive", Kind::One, FLAG, NOT_FLAG),
    row("KeepAlive", Kind::One, FLAG, NOT_FLAG),
    row("GatewayPorts", Kind::One, &["yes", "no", "clientspecified", "ClientSpecified"], NOT_FLAG).in_match(),
    row("UseDNS", Kind::One, &["no", "NO"], NOT_FLAG),
    row("AllowTcpForwarding", Kind::One, DIRECTIONS, NOT_FLAG).in_match(),
    row("AllowStreamLocalForwarding", Kind::One, DIRECTIONS, NOT_FLAG).in_match(),
    row("DisableForwarding", Kind::One, FLAG, NOT_FLAG).in_match(),
    row("AuthorizedKeysFile", Kind::List(3), &[".ssh/authorized_keys", "/k/%u", "%h/k", "/a b/%%"], &[""])
        .in_match(),
    row("AuthorizedKeysFile", Kind::One, &["none", "None", "/k"], &[""]).in_match(),
    row("RevokedKeys", Kind::One, FILES, &[""]).in_match(),
    row("HostKey", Kind::One, &["/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key"], &[""]),
    row("AllowUsers", Kind::List(3), USERS, NOT_USERS).in_match(),
    row("DenyUsers", Kind::List(3), USERS, NOT_USERS).in_match(),
    row("AllowGroups", Kind::List(3), &["root", "a*", "a b", "!z"], &[""]).in_match(),
    row("DenyGroups", Kind::List(3), &["root", "a*", "a b", "!z"], &[""]).in_match(),
    row("AcceptEnv", Kind::List(3), &["LANG", "LC_*", "A?", "*"], &["A=b", ""]).in_match(),
    row("SetEnv", Kind::List(3), &["A=1", "B=x y", "A=2", "C=", "D=a=b", "LANG=C"], &["A", "", "=x"])
        .in_match(),
    row("PidFile", Kind::One, FILES, &[""]),
    row("Banner", Kind::One, FILES, &[""]).in_match(),
    row("TrustedUserCAKeys", Kind::One, FILES, &[""]).in_match(),
    row("AuthorizedPrincipalsFile", Kind::One, FILES, &[""]).in_match(),
    row("ForceCommand", Kind::Line, COMMANDS, &[]).in_match(),
    row("VersionAddendum", Kind::Line, &["none", "hello", "hello there", "None", "a  b"], &[]),
    row("AuthorizedKeysCommandUser", Kind::One, &["nobody", "none", "%u", "None"], &[""]).in_match(),
    row("AuthorizedPrincipalsCommandUser", Kind::One, &["nobody", "none"], &[""]).in_match(),
    row(
        "LogLevel",
        Kind::One,
        &["INFO", "quiet", "DEBUG", "debug1", "DEBUG3", "Verbose"],
        &["LOUD", "", "5"],
    )
    .in_match(),
    row(
        "SyslogFacility",
        Kind::One,
        &["AUTH", "daemon", "LOCAL0", "local7", "USER"],
        &["LOCAL8", "", "KERN"],
    ),
    row("FingerprintHash", Kind::One, &["sha256", "SHA256"], &["crc", ""]),
    row(
        "AuthenticationMethods",
        Kind::List(2),
        &["publickey", "publickey,publickey"],
        &["", "foo", "publickey,", ",publickey", "any", "none"],
    )
    .in_match()
    .once(),
    row("AuthenticationMethods", Kind::One, &["any"], &[""]).in_match().once(),
    row(
        "ChannelTimeout",
        Kind::List(3),
        &["session=5m", "direct-*=1h", "*=0", "agent-connection=90"],
        &["session", "=5", "session=x", "session=", "none"],
    )
    .in_match(),
    row("ChannelTimeout", Kind::One, &["none"], &[""]).in_match(),
    row("UnusedConnectionTimeout", Kind::One, &["none", "0", "5m", "1h30m"], &["", "x", "-1"])
        .in_match()
        .once(),
    row(
        "MaxStartups",
        Kind::One,
        &["7", "1:2:3", "10:30:60", "5:100:5"],
        &["0", "5:101:6", "7:1:6", "", "1:2", "x"],
    )
    .once(),
    row("PerSourceMaxStartups", Kind::One, &["3", "none", "100"], &["", "x", "-1"]).once(),
    row(
        "PerSourceNetBlockSize",
        Kind::One,
        &["24:56", "0:0", "32:128", "16:64"],
        &["33", "", "x", "24:129", ":64", "-1"],
    )
    .once(),
    row(
        "RekeyLimit",
        Kind::One,
        &["default", "16", "1K", "4M", "2g", "1000000"],
        &["15", "", "x", "1T", "none", "-1"],
    )
    .in_match()
    .once(),
    row(
        "RekeyLimit",
        Kind::Line,
        &["1G 1h", "default none", "default 600", "16 0", "2M none", "1k 30m"],
        &[],
    )
    .in_match()
    .once(),
    row(
        "PermitOpen",
        Kind::List(3),
        &["a:1", "[::1]:2", "*:*", "b:*", "10.0.0.1:http", "*:80", "h:65535"],
        &["a", "a:0", "a:x", "", "a:65536", "[::1]", "any", "none", ":5", "a:1:2"],
    )
    .in_match(),
    row("PermitOpen", Kind::One, &["any", "none"], &["", "Any"]).in_match(),
    row(
        "PermitListen",
        Kind::List(3),
        &["8080", "localhost:1", "*:2", "[::1]:3", "*:*", "h:*"],
        &["a", "a:0", "x:x", "65536", "any", "none", "a:b:1"],
    )
    .in_match(),
    row("PermitListen", Kind::One, &["any", "none"], &[]).in_match(),
    row("PermitUserEnvironment", Kind::One, &["yes", "no", "LANG,LC_*", "YES", "A"], &[""]),
    row("PubkeyAuthOptions", Kind::One, &["none", "touch-required", "verify-required"], &["", "x"])
        .in_match(),
    row("PubkeyAuthOptions", Kind::List(2), &["touch-required", "verify-required"], &["none"]).in_match(),
    row("IgnoreRhosts", Kind::One, &["yes", "no", "shosts-only"], NOT_FLAG).in_match(),
    row("IgnoreUserKnownHosts", Kind::One, FLAG, NOT_FLAG),
    row("Compression", Kind::One, &["yes", "no", "delayed"], &["maybe", ""]),
    row("PermitTunnel", Kind::One, &["yes", "no", "point-to-point", "ethernet"], &["maybe", ""]).in_match(),
    row("X11DisplayOffset", Kind::One, NUMBERS, NOT_NUMBERS).in_match(),
    row("X11Forwarding", Kind::One, FLAG, NOT_FLAG).in_match(),
    row("PasswordAuthentication", Kind::One, FLAG, NOT_FLAG).in_match(),
    row(
        "IPQoS",
        Kind::List(1),
        &["ef", "cs0", "AF21", "lowdelay", "0x10", "16", "none", "le"],
        &["foo", "", "256", "0x"],
    )
    .in_match(),
    row("Protocol", Kind::Line, &["2", "2,1"], &[]),
    row("UsePrivilegeSeparation", Kind::Line, &["yes", "sandbox"], &[]),
    row("RSAAuthentication", Kind::Line, &["yes", "x"], &[]).in_match(),
];
