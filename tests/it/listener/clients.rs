//! Clients over TLS, and groups by server name.

use super::{OF_NONE, OF_ONE, OF_TWO, World, metadata, over_tls, plain};
use crate::support::{DEADLINE, run, tool};
use crate::tls::certificates::Authority;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn a_server_name_leads_to_its_own_group_and_to_no_other() {
    let mut world = World::start(|certificates| vec![certificates.keys() + "group_by_sni = true"]);
    let (server, roots) = (world.server.kafka(0), world.roots());
    for (name, wanted) in [
        ("vpc-1.prod.kafka.example", OF_ONE),
        ("a1.vpc-1.prod.kafka.example", OF_ONE),
        ("az-us-east-1a.VPC-1.prod.kafka.example", OF_ONE),
        ("vpc-2.prod.kafka.example", OF_TWO), // the twin of vpc_2
        ("b1.vpc_2.prod.kafka.example", OF_TWO),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let (told, errors) = over_tls(server, &["-CAfile", &roots, "-servername", name, version]);
            assert_eq!(told, wanted, "{name}: {errors}");
        }
    }
    for (name, reason) in [
        ("vpc-3.prod.kafka.example", "unknown_name"),
        ("vpc-1.test.kafka.example", "unknown_name"),
        ("a.b.vpc-1.prod.kafka.example", "unknown_name"),
        ("vpc-1.prod.kafka.example.org", "no_name"),
        ("kafka.example", "no_name"),
    ] {
        let labels = ["fingerpost_kafka_group_refusals_total", &format!("\"{reason}\"")];
        let before = world.count(&labels);
        let (told, _) = over_tls(server, &["-CAfile", &roots, "-servername", name]);
        assert_eq!(told, OF_NONE, "{name}");
        world.wait_count(&labels, before + 1.0);
    }
    let (told, _) = over_tls(server, &["-CAfile", &roots, "-noservername"]);
    assert_eq!(told, OF_NONE, "who asks for nothing gets nothing");
    world.wait_count(&["fingerpost_kafka_connections_closed_total", "\"no_group\""], 6.0);
    world.wait_count(&["fingerpost_tls_handshakes_total", "\"ok\""], 16.0);
    let log = world.server.process().stderr();
    let lines =
        log.lines().filter(|line| line.contains("INFO") && line.contains("a Kafka connection was closed"));
    assert_eq!(lines.count(), 1, "strangers can't fill the log");
    assert!(world.count(&["fingerpost_tls_certificate_not_after_seconds", "kafka.pem"]) > 3.7e9);
    assert_eq!(world.count(&["fingerpost_tls_reload_ok"]), 1.0);
}

#[test]
fn a_client_certificate_is_required_and_logged() {
    let mut world = World::start(|certificates| {
        let auth = format!("client_auth = \"required\"\nclient_ca = \"{}\"\n", certificates.authority);
        vec![certificates.keys() + &auth + "group = \"vpc-1\""]
    });
    let (server, roots) = (world.server.kafka(0), world.roots());
    let mine = world.authority.client(world.folder.path(), "orders");
    let other = Authority::new("Another").client(world.folder.path(), "stranger");
    let shown = |pair: &crate::tls::certificates::Pair| {
        [&pair.certificate, &pair.key].map(|file| file.to_str().unwrap().to_owned())
    };
    let [certificate, key] = shown(&mine);
    let (told, errors) = over_tls(server, &["-CAfile", &roots, "-cert", &certificate, "-key", &key]);
    assert_eq!(told, OF_ONE, "{errors}");
    world.server.process().wait_for_text("principal=\"CN=orders,O=Example\"");
    let (told, _) = over_tls(server, &["-CAfile", &roots]);
    assert_eq!(told, OF_NONE);
    world.wait_count(&["fingerpost_tls_handshakes_total", "\"no_client_certificate\""], 1.0);
    let [certificate, key] = shown(&other);
    let (told, _) = over_tls(server, &["-CAfile", &roots, "-cert", &certificate, "-key", &key]);
    assert_eq!(told, OF_NONE);
    world.wait_count(&["fingerpost_tls_handshakes_total", "\"bad_client_certificate\""], 1.0);
    world.wait_count(&["fingerpost_kafka_connections_closed_total", "\"tls_handshake\""], 2.0);
}

/// The wrong protocol ends a connection at once and cleanly, in both directions.
#[test]
fn plain_clients_of_a_tls_port_and_tls_clients_of_a_plain_port_are_closed_and_counted() {
    let mut world = World::start(|certificates| {
        vec![certificates.keys() + "group = \"vpc-1\"", "group = \"vpc-1\"".to_owned()]
    });
    let (secure, open, roots) = (world.server.kafka(0), world.server.kafka(1), world.roots());
    assert_eq!(plain(secure, "127.0.0.1"), OF_NONE);
    world.wait_count(&["fingerpost_tls_handshakes_total", "\"not_tls\""], 1.0);
    let (told, errors) = over_tls(open, &["-CAfile", &roots]);
    assert_eq!(told, OF_NONE, "{errors}");
    world.wait_count(&["fingerpost_kafka_connections_closed_total", "\"bad_frame\""], 1.0);
    assert_eq!(plain(open, "127.0.0.1"), OF_ONE);
    assert_eq!(over_tls(secure, &["-CAfile", &roots]).0, OF_ONE);
    let mut silent = TcpStream::connect(secure).unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    silent.write_all(&metadata("x")).unwrap();
    let mut all = Vec::new();
    let _ = silent.read_to_end(&mut all); // the end, or a reset of what was not read
    assert_eq!(all, b"", "nothing is said in plain text");
}

/// The names that clients are told are in the certificate, and each leads into its own group.
#[test]
fn librdkafka_verifies_the_names_of_group_and_agents() {
    let mut world = World::start(|certificates| vec![certificates.keys() + "group_by_sni = true"]);
    let (port, roots) = (world.server.kafka(0).port(), world.roots());
    let hosts = world.folder.path().join("hosts");
    let names = ["vpc-1", "a1.vpc-1", "vpc-2", "b1.vpc-2", "vpc-3"];
    let lines: Vec<String> =
        names.iter().map(|name| format!("127.0.0.1 {name}.prod.kafka.example\n")).collect();
    std::fs::write(&hosts, lines.concat()).unwrap();
    // A mount namespace of its own, in which these names have addresses.
    let kcat = |name: &str, more: &[&str]| {
        let mut command = tool("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/hosts && exec kcat \"$@\"").arg(&hosts);
        command.args(["-L", "-m", "3", "-b", &format!("{name}.prod.kafka.example:{port}")]);
        command.args(["-X", "security.protocol=ssl", "-X", "ssl.endpoint.identification.algorithm=https"]);
        command.arg("-X").arg(format!("ssl.ca.location={roots}")).args(more);
        run("kcat", &mut command)
    };
    for (name, own, other) in
        [("vpc-1", "a1.vpc-1", "vpc_2"), ("a1.vpc-1", "a2.vpc-1", "vpc_2"), ("b1.vpc-2", "b2.vpc_2", "vpc-1")]
    {
        let out = kcat(name, &[]).ok();
        assert!(out.contains(&format!("{own}.prod.kafka.example")), "{name}: {out}");
        let foreign = out.lines().filter(|line| line.contains("broker ") && line.contains(other));
        assert!(foreign.count() <= 1, "{name}: {out}"); // the bootstrap address itself
        assert!(out.contains("topic \"orders\" with 3 partitions"), "{out}");
    }
    let unknown = kcat("vpc-3", &[]);
    assert!(unknown.stderr.contains("certificate verify failed"), "{}", unknown.stderr);
    let careless = kcat("vpc-3", &["-X", "enable.ssl.certificate.verification=false"]);
    assert!(!careless.stdout.contains("kafka.example:9092"), "{}", careless.stdout);
    assert!(world.count(&["fingerpost_kafka_group_refusals_total", "\"unknown_name\""]) >= 1.0);
}
