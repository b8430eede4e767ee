//! Replicas with a secondary configured, heartbeats, and what dig prints of a transfer.

use crate::support::{
    DEADLINE, Fingerpost, Redis, Rr, dig, fingerpost, http_get, run, tool, wait_for, wait_some,
};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

pub const APEX: &str = "kafka.example";
pub const KEY: &str = "fp-xfer";
/// As it stands in docs/transfers.md.
pub const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ==";
pub const OTHER_SECRET: &str = "YW5vdGhlciBhbm90aGVyIGFub3RoZXIgYW5vdGhlciE=";
/// What a zone's serial is called there.
const SERIAL: &str = "fingerpost_dns_zone_serial{zone=\"kafka.example\"} ";

/// A running server with the keys `fp-xfer`, whose secondary may copy the zone, and `reader`, which may not.
pub struct Replica {
    folder: TempDir,
    server: Fingerpost,
}

impl Replica {
    /// Tells the secondaries at these addresses.
    #[track_caller]
    pub fn start(redis: &Redis, notify: &[SocketAddr]) -> Self {
        Self::with(redis, notify, "")
    }

    /// The same with more lines at the end of the configuration.
    #[track_caller]
    pub fn with(redis: &Redis, notify: &[SocketAddr], more: &str) -> Self {
        Self::on(&redis.url(), notify, more)
    }

    /// The same on the registry of this URL.
    #[track_caller]
    pub fn on(registry: &str, notify: &[SocketAddr], more: &str) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("write the secret");
        let mut text = format!(
            "[registry]\nurl = \"{}\"\noperation_timeout = \"500ms\"\n[dns]\nlisten = [\"127.0.0.1:0\"]\n\
             [[dns.zone]]\napex = \"{APEX}\"\n[[cluster]]\nname = \"prod\"\ngroups = [\"vpc-1\"]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info,fingerpost::dns=debug\"\n\
             [process]\nwatch = \"100ms\"\n",
            registry
        );
        // Our side of the documentation's example, with the addresses and files of this test.
        let secondary = snippet("toml")
            .replace("/run/secrets/fp-xfer", &secret.to_string_lossy())
            .replace(
                "\"192.0.2.53:53\"",
                &notify.iter().map(|to| format!("\"{to}\"")).collect::<Vec<_>>().join(", "),
            )
            .replace("192.0.2.53", "127.0.0.1");
        text.push_str(&secondary);
        let reader = "[[dns.tsig_key]]\nname = \"reader\"\nsecret_file = ";
        let _ = writeln!(text, "{reader}\"{}\"\n{more}", secret.to_string_lossy());
        let file = folder.path().join("fingerpost.toml");
        std::fs::write(&file, text).expect("write the configuration");
        let server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
        Self { folder, server }
    }

    pub fn dns(&mut self) -> SocketAddr {
        self.server.dns()
    }

    pub fn metrics(&mut self) -> String {
        http_get(self.server.admin(), "/metrics").1
    }

    /// The value of a metric's line that begins so; 0 if there is none.
    pub fn metric(&mut self, line: &str) -> u64 {
        let text = self.metrics();
        text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
    }

    /// Waits until the zone has a serial, and returns it.
    #[track_caller]
    pub fn wait_for_serial(&mut self) -> u32 {
        let server = self.dns();
        wait_some("a serial", DEADLINE, || serial(server))
    }

    /// Waits until the serial is another one than `before`, which must be a later one.
    #[track_caller]
    pub fn wait_for_serial_after(&mut self, before: u32) -> u32 {
        let server = self.dns();
        wait_some("a later serial", DEADLINE, || {
            let now = serial(server).filter(|now| *now != before)?;
            assert!(now.wrapping_sub(before) < 1 << 31, "{now} is before {before}");
            Some(now)
        })
    }

    /// Waits until the zone that is handed out has this record.
    #[track_caller]
    pub fn wait_for_record(&mut self, name: &str, kind: &str, data: Option<&str>) {
        let server = self.dns();
        wait_for(&format!("{name} {kind} {data:?} in the zone"), DEADLINE, || {
            let all = transferred(server, "AXFR");
            let mut found = all.iter().filter(|rr| rr.name == format!("{name}.{APEX}.") && rr.kind == kind);
            match data {
                Some(data) => found.any(|rr| rr.data == data),
                None => found.next().is_none(),
            }
        });
    }

    /// Changes the configuration file, which is looked at again and again.
    pub fn reconfigure(&mut self, change: impl FnOnce(String) -> String) {
        let file = self.folder.path().join("fingerpost.toml");
        let text = change(std::fs::read_to_string(&file).expect("read the configuration"));
        std::fs::write(self.folder.path().join("new"), text).expect("write the configuration");
        std::fs::rename(self.folder.path().join("new"), file).expect("put it in place");
    }

    pub fn stop(mut self) {
        assert_eq!(self.server.interrupt(DEADLINE), 0);
    }

    /// As the metrics have it, which is the number that the SOA shows.
    pub fn serial_of_metrics(&mut self) -> u64 {
        self.metric(SERIAL)
    }
}

/// The serial that a server shows; `None` while it fails.
pub fn serial(server: SocketAddr) -> Option<u32> {
    let said = dig(server, &[APEX, "SOA"]);
    said.data("SOA").first()?.split(' ').nth(2)?.parse().ok()
}

/// A code block of docs/transfers.md.
pub fn snippet(language: &str) -> String {
    let docs =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transfers.md")).unwrap();
    let block = docs.split(&format!("```{language}\n")).nth(1).expect(language);
    block.split("```").next().unwrap().to_owned()
}

/// Heartbeats as a shell does it.
pub fn heartbeat(redis: &Redis, group: &str, agent: &str, address: &str) {
    let key = format!("fingerpost:agent:{{prod}}:{group}:{agent}");
    let value = format!(r#"{{"zone":"us-east-1a","addresses":["{address}"]}}"#);
    redis.cli(&["SET", &key, &value, "PX", "600000"]);
}

/// Many agents at once, `agent-0` to `agent-<count - 1>`.
pub fn heartbeats(redis: &Redis, group: &str, count: usize) {
    let mut script = String::new();
    for n in 0..count {
        let _ = writeln!(
            script,
            "redis.call('SET', 'fingerpost:agent:{{prod}}:{group}:agent-{n}', \
             '{{\"zone\":\"z{}\",\"addresses\":[\"10.0.{}.{}\"]}}', 'PX', 600000)",
            n % 3,
            n / 250,
            n % 250 + 1
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fill.lua");
    std::fs::write(&file, script).unwrap();
    redis.cli(&["--eval", &file.to_string_lossy()]);
}

/// A goodbye.
pub fn leave(redis: &Redis, group: &str, agent: &str) {
    redis.cli(&["DEL", &format!("fingerpost:agent:{{prod}}:{group}:{agent}")]);
}

/// What dig prints of a transfer that is signed with the right key.
pub fn transferred(server: SocketAddr, kind: &str) -> Vec<Rr> {
    asked(server, kind, Some(&format!("hmac-sha256:{KEY}:{SECRET}"))).0
}

/// The records of a transfer in their order, without signatures, and all that dig printed.
pub fn asked(server: SocketAddr, kind: &str, key: Option<&str>) -> (Vec<Rr>, String) {
    let mut command = tool("dig");
    let port = server.port().to_string();
    command.args(["@127.0.0.1", "-p", &port, "+tcp", "+tries=1", "+time=5"]);
    command.args(key.iter().flat_map(|key| ["-y", key])).args([APEX, kind]);
    let ran = run("dig", &mut command);
    let records = ran.stdout.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).map(|line| {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_default().to_owned();
        Rr {
            name: word(),
            ttl: word().parse().unwrap_or(0),
            class: word(),
            kind: word(),
            data: words.collect::<Vec<_>>().join(" "),
        }
    });
    (records.filter(|rr| rr.kind != "TSIG").collect(), format!("{}{}", ran.stdout, ran.stderr))
}
