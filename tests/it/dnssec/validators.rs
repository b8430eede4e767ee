//! Those who check signatures: `delv`, unbound and BIND's named, each with the zone's key as its trust anchor. The
//! clock of unbound can be turned (libfaketime); BIND's programs do not start with that library, so for them it is the
//! server's clock that is turned.

use crate::support::{DEADLINE, Dig, Process, Ran, dig, run, tool, wait_for};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The offset of a validator's clock, which it reads again and again.
pub struct Hands {
    file: PathBuf,
    _folder: TempDir,
}

impl Hands {
    /// The machine's time.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let hands = Self { file: folder.path().join("offset"), _folder: folder };
        hands.turn(0);
        hands
    }

    /// So many seconds after the machine's time.
    pub fn turn(&self, seconds: u64) {
        let draft = self.file.with_extension("new");
        std::fs::write(&draft, format!("+{seconds}\n")).unwrap();
        std::fs::rename(&draft, &self.file).unwrap();
    }

    /// The program under this clock. Its monotonic clock stays the machine's, so that its timers run.
    fn under(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// The library that turns clocks.
fn faketime() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten().find_map(|folder| {
        let library = folder.path().join("faketime/libfaketimeMT.so.1");
        library.is_file().then_some(library)
    });
    found.expect("libfaketime is not installed: run scripts/setup")
}

/// A DNSKEY as trust anchor: `257 3 13 base64`.
#[derive(Clone, Debug)]
pub struct Anchor {
    pub zone: String,
    pub key: String,
}

impl Anchor {
    fn of_bind(&self) -> String {
        let mut words = self.key.split_whitespace();
        let [flags, protocol, algorithm, key] = std::array::from_fn(|_| words.next().unwrap());
        format!(
            "trust-anchors {{ \"{}\" static-key {flags} {protocol} {algorithm} \"{key}\"; }};\n",
            self.zone
        )
    }
}

/// What delv says of an answer.
pub fn delv(server: SocketAddr, anchor: &Anchor, arguments: &[&str]) -> Ran {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("anchors");
    std::fs::write(&file, anchor.of_bind()).unwrap();
    let mut command = tool("delv");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    command.arg("-a").arg(&file).arg(format!("+root={}", anchor.zone)).arg("+multiline").args(arguments);
    run("delv", &mut command)
}

/// A validating resolver.
pub struct Resolver {
    pub address: SocketAddr,
    process: Process,
    folder: TempDir,
}

impl Resolver {
    /// Asks it, for DNSSEC data, too.
    #[track_caller]
    pub fn ask(&self, name: &str, rtype: &str) -> Dig {
        dig(self.address, &[name, rtype, "+recurse", "+dnssec"])
    }

    /// Asks it, and fails unless it says that the answer is genuine.
    #[track_caller]
    pub fn secure(&self, name: &str, rtype: &str) -> Dig {
        let answer = self.ask(name, rtype);
        assert!(answer.flag("ad"), "{name} {rtype} is not validated:\n{}\n{}", answer.text, self.log());
        answer
    }

    pub fn log(&self) -> String {
        let file = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("{}\n{file}", self.process.log())
    }

    #[track_caller]
    fn ready(self) -> Self {
        wait_for("the resolver to answer", DEADLINE, || {
            let mut command = tool("dig");
            let port = self.address.port().to_string();
            command.arg(format!("@{}", self.address.ip())).args(["-p", &port, "+tries=1", "+time=1"]);
            run("dig", command.args(["version.bind", "CH", "TXT", "+norecurse"])).code() == 0
        });
        self
    }
}

/// Zones and the servers that have them.
pub type Stubs<'a> = &'a [(&'a str, SocketAddr)];

/// unbound.
pub fn unbound(address: SocketAddr, anchor: &Anchor, stubs: Stubs<'_>, hands: &Hands) -> Resolver {
    let folder = TempDir::new().unwrap();
    let mut config = format!(
        "server:\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n \
         verbosity: 2\n val-log-level: 2\n interface: {}@{}\n access-control: 127.0.0.0/8 allow\n \
         do-not-query-localhost: no\n module-config: \"validator iterator\"\n do-ip6: no\n \
         trust-anchor: \"{}. DNSKEY {}\"\n directory: \"{}\"\n minimal-responses: no\n",
        address.ip(),
        address.port(),
        anchor.zone,
        anchor.key,
        folder.path().display()
    );
    config += "remote-control:\n control-enable: no\n";
    for (zone, server) in stubs {
        config += &format!("stub-zone:\n name: {zone}\n stub-addr: {}@{}\n", server.ip(), server.port());
    }
    let file = folder.path().join("unbound.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = tool("unbound");
    command.arg("-d").arg("-c").arg(&file);
    hands.under(&mut command);
    let process = Process::spawn("unbound", &mut command);
    Resolver { address, process, folder }.ready()
}

/// BIND's named. It asks servers at the port that it listens at.
pub fn named(address: SocketAddr, anchor: &Anchor, stubs: Stubs<'_>) -> Resolver {
    let folder = TempDir::new().unwrap();
    let mut config = format!(
        "options {{ directory \"{folder}\"; port {port}; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n \
         pid-file none; session-keyfile none; recursion yes; allow-query {{ any; }}; dnssec-validation yes;\n \
         query-source address {ip}; managed-keys-directory \"{folder}\"; max-cache-size 20m; }};\n\
         controls {{ }};\n{anchors}",
        folder = folder.path().display(),
        port = address.port(),
        ip = address.ip(),
        anchors = anchor.of_bind(),
    );
    config += "zone \".\" { type hint; file \"/dev/null\"; };\n";
    for (zone, server) in stubs {
        assert_eq!(server.port(), address.port(), "named asks at its own port");
        config +=
            &format!("zone \"{zone}\" {{ type static-stub; server-addresses {{ {}; }}; }};\n", server.ip());
    }
    let file = folder.path().join("named.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = tool("named");
    command.arg("-g").arg("-n").arg("1").arg("-c").arg(&file);
    let process = Process::spawn("named", &mut command);
    Resolver { address, process, folder }.ready()
}

/// The trust anchor of the entry point among key files.
pub fn anchor_of(folder: &Path, zone: &str) -> Anchor {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|file| file.path());
    let keys = files.filter(|file| file.extension().is_some_and(|ending| ending == "key"));
    let records = keys.map(|file| std::fs::read_to_string(file).unwrap());
    let found = records.filter_map(|text| {
        let line = text.lines().find(|line| line.contains(" DNSKEY 257 "))?.to_owned();
        Some(line.split_once(" DNSKEY ").unwrap().1.to_owned())
    });
    Anchor { zone: zone.to_owned(), key: found.min().expect("a key-signing key") }
}
