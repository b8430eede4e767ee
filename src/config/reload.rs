//! What a running server takes from a changed configuration, and what needs a restart.

use super::{Config, GroupBy};
use std::collections::{BTreeMap, BTreeSet};

/// Sections and keys that a reload takes. Everything else needs a restart: addresses, threads, limits of listeners,
/// the registry, the Kafka listeners themselves. Certificates are none of these: each listener watches its own files.
pub const LIVE: &[&str] = &[
    "dns.ttl",
    "dns.negative_ttl",
    "dns.sample",
    "dns.empty",
    "dns.txt",
    "dns.zone",
    "dns.tsig_key",
    "dns.secondary",
    "dns.serial_interval",
    "dns.ecs",
    "dns.server_id",
    "dns.server_version",
    "dns.cookies",
    "dns.cookie_secret_files",
    "dns.rate_limit",
    "group",
    "cluster",
    "admin.token",
    "admin.token_file",
    "admin.public_read",
    "admin.hosts",
    "admin.tokens",
];

/// What of `new` cannot be taken without a restart, a sentence each; empty if all of it can.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let values = |config: &Config| -> BTreeMap<String, String> {
        config.settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    };
    let (before, after) = (values(old), values(new));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    let mut wrong: Vec<String> = keys
        .into_iter()
        .filter(|key| !is_live(key) && before.get(*key) != after.get(*key))
        .map(|key| format!("{key} is {} and would be {}", shown(before.get(key)), shown(after.get(key))))
        .collect();
    // What the values above do not show, for it is secret.
    if wrong.iter().all(|what| !what.starts_with("registry.url"))
        && old.registry.url.expose() != new.registry.url.expose()
    {
        wrong.push("registry.url has other credentials".to_owned());
    }
    if old.registry.password != new.registry.password
        && wrong.iter().all(|what| !what.starts_with("registry.password"))
    {
        wrong.push("registry.password is another one".to_owned());
    }
    wrong.extend(of_listeners(old, new));
    wrong
}

/// What Kafka listeners were given at the start and keep.
fn of_listeners(old: &Config, new: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    let apexes =
        |config: &Config| -> Vec<String> { config.dns.zones.iter().map(|zone| zone.apex.clone()).collect() };
    let by_name =
        |listener: &super::ListenerConfig| matches!(listener.clients, GroupBy::Connection { sni: true, .. });
    if apexes(old) != apexes(new) && old.kafka.listeners.iter().any(by_name) {
        wrong.push(
            "dns.zone.apex is changed, by which a Kafka listener with group_by_sni tells groups".to_owned(),
        );
    }
    let served: BTreeSet<_> = old.kafka.listeners.iter().map(|listener| &listener.cluster).collect();
    for cluster in served {
        let topics = |config: &Config| {
            config.clusters.iter().find(|one| one.name == *cluster).map(|one| one.topics.clone())
        };
        if topics(old) != topics(new) {
            wrong
                .push(format!("cluster.topics of {cluster} is changed, which a Kafka listener answers from"));
        }
    }
    wrong
}

/// Whether the key at a path such as `dns.zone[1].file` is taken by a reload.
fn is_live(path: &str) -> bool {
    let plain: String = path
        .split('[')
        .enumerate()
        .map(|(at, part)| match at {
            0 => part,
            _ => part.split_once(']').map_or("", |(_, rest)| rest),
        })
        .collect();
    let section = plain.rsplit_once('.').map_or("", |(section, _)| section);
    LIVE.iter().any(|live| *live == plain || *live == section)
}

#[cfg(test)]
mod tests {
    use super::super::keys::SECTIONS;
    use super::super::{Environment, parse};
    use super::*;
    use std::path::Path;

    const TEXT: &str = "[registry]\nurl = \"redis://u:one@127.0.0.1:6379\"\n[dns]\nttl = \"5s\"\n\
        [[dns.zone]]\napex = \"k.example\"\n[[cluster]]\nname = \"prod\"\n\
        [[kafka.listener]]\nlisten = \"127.0.0.1:9092\"\ncluster = \"prod\"\ngroup = \"vpc-1\"\n\
        [admin]\ntoken = \"0123456789abcdef\"\n";

    fn needs(text: &str, other: &str) -> Vec<String> {
        let read = |text: &str| parse(Path::new("f.toml"), text, &Environment::default()).unwrap();
        needs_restart(&read(text), &read(other))
    }

    #[test]
    fn what_is_live_is_taken_and_the_rest_is_named() {
        let with = |from: &str, to: &str| needs(TEXT, &TEXT.replacen(from, to, 1));
        assert!(with("", "").is_empty());
        for (from, to) in [
            (
                "ttl = \"5s\"",
                "ttl = \"9s\"\nsample = 3\nempty = \"servfail\"\ntxt = false\nnegative_ttl = \"1s\"",
            ),
            ("[[cluster]]", "[[dns.zone]]\napex = \"l.example\"\nns = [\"ns.l.example\"]\n[[cluster]]"),
            ("name = \"prod\"", "name = \"prod\"\ngroups = [\"vpc-2\"]\ncluster_wide = true"),
            ("[[cluster]]", "[[cluster]]\nname = \"dev\"\n[[cluster]]"),
            ("0123456789abcdef", "fedcba9876543210"),
            ("[admin]", "[admin]\npublic_read = true\nhosts = [\"x\"]"),
        ] {
            assert_eq!(with(from, to), Vec::<String>::new(), "{to}");
        }
        for (from, to, wanted) in [
            (
                "ttl = \"5s\"",
                "listen = [\"127.0.0.1:54\"]",
                "dns.listen is [\"127.0.0.1:5353\"] and would be [\"127.0.0.1:54\"]",
            ),
            ("u:one@", "u:two@", "registry.url has other credentials"),
            ("127.0.0.1:6379", "127.0.0.2:6379", "registry.url is \"redis://"),
            ("[dns]", "password = \"x\"\n[dns]", "registry.password is nothing and would be"),
            ("vpc-1", "vpc-2", "kafka.listener[1].group is [\"vpc-1\"] and would be [\"vpc-2\"]"),
            (
                "name = \"prod\"",
                "name = \"prod\"\ntopics = { source = \"static\", list = [] }",
                "cluster.topics of prod",
            ),
            ("[admin]", "[log]\nlevel = \"debug\"\n[admin]", "log.level"),
        ] {
            let found = with(from, to);
            assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
        }
        let by_name = TEXT.replace("group = \"vpc-1\"", "group_by_sni = true\ncertificates = [\"c.pem\"]");
        let other = by_name.replace("k.example", "l.example");
        assert!(needs(&by_name, &other)[0].starts_with("dns.zone.apex is changed"));
    }

    #[test]
    fn what_is_called_live_exists_and_is_documented() {
        let page = include_str!("../../docs/reload.md");
        for live in LIVE {
            let is_key = |(section, key): (&str, &str)| {
                SECTIONS.iter().any(|one| one.name == section && one.key(key).is_some())
            };
            let known = SECTIONS.iter().any(|section| section.name == *live)
                || live.rsplit_once('.').is_some_and(is_key);
            assert!(known, "{live}");
            assert!(page.contains(&format!("`{live}`")), "docs/reload.md does not name `{live}`");
        }
    }
}
