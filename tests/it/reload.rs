//! Reload: what changes in files is taken by SIGHUP or by itself, what is bad is refused and said, and no query is lost.

use crate::support::{DEADLINE, Fingerpost, Load, Signal, dig, fingerpost, http_get, wait_for};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

/// A server with a zone file of its own.
struct World {
    folder: TempDir,
    server: Fingerpost,
}

const CONFIG: &str = "[registry]\nurl = \"memory:\"\n[dns]\nlisten = [\"127.0.0.1:0\"]\n\
    [[dns.zone]]\napex = \"kafka.example\"\nfile = \"kafka.zone\"\n[[cluster]]\nname = \"prod\"\n\
    [admin]\nlisten = \"127.0.0.1:0\"\n[process]\nwatch = \"200ms\"\n";

impl World {
    fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("kafka.zone"), zone("192.0.2.1")).unwrap();
        let file = folder.path().join("fingerpost.toml");
        std::fs::write(&file, config).unwrap();
        let server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
        let mut world = Self { folder, server };
        wait_for("the start", DEADLINE, || world.ready()["ready"] == true);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file as editors do: another one is written and renamed.
    fn put(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn hang_up(&mut self) {
        self.server.process().signal(Signal::Hup);
    }

    fn dns(&mut self) -> SocketAddr {
        self.server.dns()
    }

    fn ready(&mut self) -> Value {
        serde_json::from_str(&http_get(self.server.admin(), "/ready").1).unwrap()
    }

    fn metric(&mut self, name: &str) -> Option<f64> {
        let (_, text) = http_get(self.server.admin(), "/metrics");
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn taken(&mut self) -> f64 {
        self.metric("fingerpost_config_reloads_total{outcome=\"taken\"}").unwrap_or(0.0)
    }

    #[track_caller]
    fn wait_for_refusal(&mut self, why: &str) {
        let mut last = Value::Null;
        wait_for(&format!("a refusal because {why}"), DEADLINE, || {
            last = self.ready();
            last["config"]["failure"]["reason"].as_str().is_some_and(|reason| reason.contains(why))
        });
        assert_eq!(last["ready"], true, "what was in use stays in use: {last}");
        assert_eq!(self.metric("fingerpost_config_reload_success"), Some(0.0));
        let logged = why.split('"').next().unwrap_or(why); // the log writes quotes its own way
        self.server.process().wait_for_text(logged);
    }

    #[track_caller]
    fn wait_for_answer(&mut self, name: &str, kind: &str, wanted: &[&str]) {
        let server = self.dns();
        wait_for(&format!("{name} {kind} to be {wanted:?}"), DEADLINE, || {
            let answer = dig(server, &[name, kind]).answer;
            answer.iter().map(|rr| rr.data.as_str()).collect::<Vec<_>>() == wanted
        });
    }
}

fn zone(www: &str) -> String {
    format!("$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.53\nwww A {www}\n")
}

#[test]
fn under_load_reloads_lose_no_query() {
    let mut world = World::start(CONFIG);
    let load = Load::start(world.dns(), "www.kafka.example", 2);
    load.goes_on(500);
    for round in 0..20u8 {
        let before = world.taken();
        world.put("kafka.zone", &zone(&format!("192.0.2.{}", 1 + round)));
        world.hang_up();
        wait_for("the reload", DEADLINE, || world.taken() > before);
        load.goes_on(200);
    }
    let outcome = load.stop();
    assert_eq!(outcome.sent, outcome.answered, "{outcome:?}");
    assert_eq!(outcome.addresses.len(), 20, "each zone was served: {outcome:?}");
    assert_eq!(world.ready()["config"]["reloads"], 20, "the watch found nothing that was not taken yet");
}

#[test]
fn a_changed_zone_is_taken_by_itself_and_a_bad_one_is_refused_until_it_is_mended() {
    let mut world = World::start(CONFIG);
    let first = world.ready()["config"]["hash"].clone();
    assert_eq!(world.metric("fingerpost_config_reload_success"), Some(1.0));
    world.put("kafka.zone", &zone("192.0.2.2"));
    world.wait_for_answer("www.kafka.example", "A", &["192.0.2.2"]);
    assert_ne!(world.ready()["config"]["hash"], first);

    world.put("kafka.zone", &zone("192.0.2.300"));
    world.wait_for_refusal("kafka.zone:5");
    world.wait_for_answer("www.kafka.example", "A", &["192.0.2.2"]);
    std::fs::remove_file(world.path("kafka.zone")).unwrap();
    world.wait_for_refusal("cannot be read");
    world.wait_for_answer("www.kafka.example", "A", &["192.0.2.2"]);

    world.put("kafka.zone", &zone("192.0.2.1"));
    world.wait_for_answer("www.kafka.example", "A", &["192.0.2.1"]);
    let ready = world.ready();
    assert_eq!((&ready["config"]["hash"], &ready["config"]["failure"]), (&first, &Value::Null));
    assert_eq!(world.metric("fingerpost_config_reload_success"), Some(1.0));
    assert!(world.metric("fingerpost_config_reload_success_timestamp_seconds").unwrap() > 1.7e9);
}

#[test]
fn the_configuration_itself_is_reloaded_but_for_what_needs_a_restart() {
    let mut world = World::start(CONFIG);
    let server = world.dns();
    assert_eq!(dig(server, &["vpc-1.prod.kafka.example", "A"]).status, "NXDOMAIN");
    let more = "[[cluster]]\nname = \"prod\"\ngroups = [\"vpc-1\"]\n[[dns.zone]]\napex = \"other.example\"\n\
        [[cluster]]\nname = \"dev\"\n";
    let changed = CONFIG.replace("[[cluster]]\nname = \"prod\"\n", more);
    world.put("fingerpost.toml", &changed);
    wait_for("the group", DEADLINE, || dig(server, &["vpc-1.prod.kafka.example", "A"]).status == "NOERROR");
    assert_eq!(dig(server, &["dev.kafka.example", "A"]).status, "NOERROR", "a new cluster exists");
    assert_eq!(dig(server, &["other.example", "SOA"]).answer.len(), 1);

    let listen = changed
        .replace("[dns]\nlisten = [\"127.0.0.1:0\"]", "[dns]\nworkers = 3\nlisten = [\"127.0.0.2:0\"]");
    world.put("fingerpost.toml", &listen.replace("apex = \"other.example\"", "apex = \"third.example\""));
    world.hang_up();
    world.wait_for_refusal("dns.listen is [\"127.0.0.1:0\"] and would be [\"127.0.0.2:0\"]");
    world.wait_for_refusal("dns.workers is 0 and would be 3");
    assert_eq!(dig(server, &["third.example", "SOA"]).status, "REFUSED", "all or nothing");

    world.put(
        "fingerpost.toml",
        &changed.replace("[[dns.zone]]\napex = \"other", "[[dns.zone]]\napx = \"other"),
    );
    world.wait_for_refusal("unknown key \"apx\"");
    world.put("fingerpost.toml", CONFIG);
    wait_for("the zone to go", DEADLINE, || dig(server, &["other.example", "SOA"]).status == "REFUSED");
    wait_for("the cluster to go", DEADLINE, || dig(server, &["dev.kafka.example", "A"]).status == "NXDOMAIN");
}

#[test]
fn tokens_change_with_their_file() {
    let token = "token_file = \"token\"\nlisten = \"127.0.0.1:0\"\n[process]";
    let folder = TempDir::new().unwrap();
    let config = CONFIG.replace("listen = \"127.0.0.1:0\"\n[process]", token);
    assert_ne!(config, CONFIG);
    let config = config.replace("file = \"kafka.zone\"\n", "");
    let put = |secret: &str| {
        std::fs::write(folder.path().join("new"), secret).unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("token")).unwrap();
    };
    put("first-0123456789");
    let file = folder.path().join("fingerpost.toml");
    std::fs::write(&file, config).unwrap();
    let mut server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
    let admin = server.admin();
    let status = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let mut curl = crate::support::tool("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header]);
        crate::support::run("curl", curl.arg(format!("http://{admin}/v1/clusters"))).ok()
    };
    assert_eq!((status("first-0123456789").as_str(), status("other-0123456789").as_str()), ("200", "401"));
    put("other-0123456789");
    wait_for("the new token", DEADLINE, || status("other-0123456789") == "200");
    assert_eq!(status("first-0123456789"), "401");
    put("short");
    server.process().wait_for_text("is shorter than");
    assert_eq!(status("other-0123456789"), "200");
}
