//! TLS all the way with real clients and a real broker: clients verify the names of groups and agents, gateways those of the
//! broker, and a listener that relays those of the gateways.

use crate::support::{
    Broker, DEADLINE, Fingerpost, Redis, Said, alone, broker, client, client_with_hosts, fingerpost,
    http_get, redis, wait_for,
};
use crate::tls::certificates::Authority;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

/// Agents: group, id, zone, address.
const AGENTS: [(&str, &str, &str, &str); 3] = [
    ("vpc-1", "a1", "az-1", "127.0.71.1"),
    ("vpc-1", "a2", "az-2", "127.0.71.2"),
    ("vpc-2", "b1", "az-1", "127.0.72.1"),
];

struct World {
    folder: TempDir,
    hosts: PathBuf,
    roots: String,
    gates: Vec<Gate>,
    broker: Broker,
    redis: Redis,
}

struct Gate {
    process: Fingerpost,
    kafka: SocketAddr,
    admin: SocketAddr,
}

impl Gate {
    fn metric(&self, name: &str) -> f64 {
        let (_, text) = http_get(self.admin, "/metrics");
        let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    fn accepted(&self) -> f64 {
        self.metric("fingerpost_gateway_connections_total")
    }
}

impl World {
    /// Gateways of two groups with TLS before one broker. `more` are further flags.
    fn start(more: impl Fn(&Authority, &TempDir) -> Vec<String>) -> Self {
        let (folder, redis, broker) = (TempDir::new().unwrap(), redis(), broker());
        let authority = Authority::new("Agents' Authority");
        let roots = authority.write(folder.path()).display().to_string();
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        let mut gates = Vec::new();
        for (group, id, zone, ip) in AGENTS {
            let names = [format!("{group}.prod.kafka.test"), format!("*.{group}.prod.kafka.test")];
            let pair = authority.server(folder.path(), id, &[&names[0], &names[1]]);
            // The group's name is its first agent's address only: each agent has a port of its own here.
            let is_first = !hosts.contains(&names[0]);
            let group_name = if is_first { &names[0] } else { "" };
            writeln!(hosts, "{ip} {id}.{} {group_name}", names[0]).unwrap();
            let (upstream, listen, url) = (broker.address().to_string(), format!("{ip}:0"), redis.url());
            let certificate = pair.certificate.display().to_string();
            let key = pair.key.display().to_string();
            let mut arguments = vec!["agent", "--cluster", "prod", "--group", group, "--agent", id];
            arguments.extend(["--zone", zone, "--apex", "kafka.test", "--listen", &listen]);
            arguments.extend(["--upstream", &upstream, "--registry", &url, "--admin", "127.0.0.1:0"]);
            arguments.extend(["--drain", "1s", "--tls-cert", &certificate, "--tls-key", &key]);
            arguments.extend(["--log", "info,fingerpost::kafka=debug"]);
            let more = more(&authority, &folder);
            arguments.extend(more.iter().map(String::as_str));
            let mut process = fingerpost(&arguments);
            let (kafka, admin) = (process.kafka(0), process.admin());
            gates.push(Gate { process, kafka, admin });
        }
        let file = folder.path().join("hosts");
        std::fs::write(&file, hosts).unwrap();
        for gate in &gates {
            wait_for("the gateway to be ready", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
        }
        let world = Self { folder, hosts: file, roots, gates, broker, redis };
        for (group, id, ..) in AGENTS {
            let key = format!("fingerpost:agent:{{prod}}:{group}:{id}");
            wait_for("the record", DEADLINE, || world.redis.cli(&["GET", &key]).contains("\"ready\""));
            for (gate, _) in world.gates.iter().zip(AGENTS).filter(|(_, other)| other.0 == group) {
                let path = format!("/v1/clusters/prod/groups/{group}/agents/{id}");
                wait_for("the group to know it", DEADLINE, || http_get(gate.admin, &path).0 == 200);
            }
        }
        world
    }

    fn create_topic(&self, topic: &str) {
        let bootstrap = self.broker.address().to_string();
        let create =
            ["admin", "create-topic", "--partitions", "3", "--bootstrap", &bootstrap, "--topic", topic];
        client("librdkafka", &create).finish().ok();
    }

    /// Runs a client that trusts the authority and knows the names' addresses.
    fn client(&self, name: &str, bootstrap: &str, arguments: &[&str]) -> Said {
        let common = ["--bootstrap", bootstrap, "--tls-ca", &self.roots];
        client_with_hosts(name, &[arguments, &common].concat(), &self.hosts).finish()
    }

    /// Produces and consumes; what went wrong.
    fn round_trip(&self, name: &str, bootstrap: &str) -> Result<(), String> {
        let topic = format!("of-{name}");
        self.create_topic(&topic);
        let group = format!("group-{name}");
        let id = format!("ws_az=az-2,{name}");
        for arguments in [
            vec!["produce", "--count", "200", "--topic", &topic, "--client-id", &id],
            vec!["consume", "--count", "200", "--group", &group, "--timeout", "60", "--topic", &topic],
        ] {
            let said = self.client(name, bootstrap, &arguments);
            if said.code != 0 || !said.errors().is_empty() {
                let what = arguments[0];
                return Err(format!("{name} {what}: {} {:?}\n{}", said.code, said.errors(), said.stderr));
            }
        }
        Ok(())
    }
}

#[test]
fn clients_verify_the_names_of_group_and_agents_and_work_through_them() {
    let _alone = alone();
    let world = World::start(|_, _| Vec::new());
    let bootstrap = format!("vpc-1.prod.kafka.test:{}", world.gates[0].kafka.port());
    let failed: Vec<String> = ["kcat", "java", "librdkafka", "franz-go"]
        .iter()
        .filter_map(|name| world.round_trip(name, &bootstrap).err())
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let told = world.client("java", &bootstrap, &["metadata", "--topic", "of-java"]).ok();
    let brokers = told.event("metadata")["brokers"].as_array().unwrap().clone();
    let hosts: Vec<&str> = brokers.iter().filter_map(|broker| broker["host"].as_str()).collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    assert!(hosts.iter().all(|host| host.ends_with(".vpc-1.prod.kafka.test")), "{hosts:?}");
    let name = "fingerpost_tls_handshakes_total{front=\"gateway\",outcome=\"ok\"}";
    let met = world.gates[1].metric(name);
    assert!(met >= 4.0, "each of the four producers is led to its zone's own agent, which met {met}");
    assert_eq!(world.gates[2].accepted(), 0.0, "the other group's agent was not");
    // By an address that is in no certificate, the client is the one who refuses.
    let by_address = world.gates[0].kafka.to_string();
    let refused =
        world.client("franz-go", &by_address, &["metadata", "--topic", "of-java", "--timeout", "10"]);
    assert!(refused.code != 0, "{refused:?}");
}

#[test]
fn without_a_certificate_no_client_gets_in_and_with_one_its_name_is_logged() {
    let _alone = alone();
    let mut world = World::start(|authority, folder| {
        let ca = authority.write(folder.path()).display().to_string();
        authority.client(folder.path(), "orders");
        ["--client-auth", "required", "--client-ca", &ca].map(str::to_owned).to_vec()
    });
    let at = format!("vpc-1.prod.kafka.test:{}", world.gates[0].kafka.port());
    let file = |name: &str| world.folder.path().join(name).display().to_string();
    let (certificate, key, roots) = (file("orders.pem"), file("orders.key"), world.roots.clone());
    let kcat = |more: &[&str]| {
        let mut command = crate::support::tool("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/hosts && exec kcat \"$@\"").arg(&world.hosts);
        command.args(["-L", "-m", "5", "-b", &at, "-X", "security.protocol=ssl"]);
        command.arg("-X").arg(format!("ssl.ca.location={roots}")).args(more);
        crate::support::run("kcat", &mut command)
    };
    let none = kcat(&[]);
    assert!(!none.status.success() && !none.stdout.contains("a1.vpc-1"), "{}", none.stdout);
    let (certificate, key) =
        (format!("ssl.certificate.location={certificate}"), format!("ssl.key.location={key}"));
    let told = kcat(&["-X", &certificate, "-X", &key]).ok();
    assert!(told.contains("a1.vpc-1.prod.kafka.test") && told.contains("a2.vpc-1.prod.kafka.test"), "{told}");
    world.gates[0].process.process().wait_for_text("principal=\"CN=orders,O=Example\"");
    let refused = "fingerpost_tls_handshakes_total{front=\"gateway\",outcome=\"no_client_certificate\"}";
    assert!(world.gates[0].metric(refused) >= 1.0);
}

/// A bootstrap listener that relays: clients that take its versions for every broker's work, over TLS to the agents.
#[test]
fn clients_bootstrap_at_a_listener_that_relays_to_the_agents_of_their_group() {
    let _alone = alone();
    let world = World::start(|_, _| Vec::new());
    let text = format!(
        "[registry]\nurl = \"{}\"\n[dns]\nlisten = [\"127.0.0.1:0\"]\n[[dns.zone]]\napex = \"kafka.test\"\n\
         [[cluster]]\nname = \"prod\"\ntopics = {{ source = \"agents\" }}\n\
         [[kafka.listener]]\nlisten = \"127.0.0.1:0\"\ncluster = \"prod\"\ngroup = \"vpc-1\"\n\
         certificates = [\"{}\"]\nkeys = [\"{}\"]\nagents_ca = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        world.redis.url(),
        world.folder.path().join("a1.pem").display(),
        world.folder.path().join("a1.key").display(),
        world.roots
    );
    let file = world.folder.path().join("fingerpost.toml");
    std::fs::write(&file, text).unwrap();
    let mut server = fingerpost(&["serve", "--config", file.to_str().unwrap()]);
    let (listener, admin) = (server.kafka(0), server.admin());
    wait_for("the server to be ready", DEADLINE, || http_get(admin, "/ready").0 == 200);
    // The listener's name for clients: it has a certificate of the group.
    let hosts =
        std::fs::read_to_string(&world.hosts).unwrap() + "127.0.0.1 bootstrap.vpc-1.prod.kafka.test\n";
    std::fs::write(&world.hosts, hosts).unwrap();
    let bootstrap = format!("bootstrap.vpc-1.prod.kafka.test:{}", listener.port());
    let before = world.gates[2].accepted();
    let failed: Vec<String> = ["kafkajs", "kafka-python", "librdkafka", "librdkafka-2.6", "java"]
        .iter()
        .filter_map(|name| world.round_trip(name, &bootstrap).err())
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let (_, text) = http_get(admin, "/metrics");
    let rewrites =
        text.lines().find(|line| line.starts_with("fingerpost_gateway_rewrites_total{api=\"Metadata\"}"));
    assert!(rewrites.is_some(), "Metadata was relayed");
    assert_eq!(world.gates[2].accepted(), before, "the other group's agent met nobody");
}
