//! The configuration as a whole: a file in, settings or every problem out.

use super::*;

const MINIMAL: &str = r#"
[registry]
url = "redis://127.0.0.1:6379"        # or "memory:"
[dns]
listen = ["127.0.0.1:5353"]
[[dns.zone]]
apex = "kafka.example"
file = "zones/kafka.example.zone"     # optional: without it SOA and NS are made from the apex
[[cluster]]
name = "prod"
topics = { source = "static", list = [{ name = "orders", partitions = 12 }] }
[[kafka.listener]]
listen = "127.0.0.1:9092"
cluster = "prod"
group = "vpc-1"
[admin]
listen = "127.0.0.1:8053"
"#;

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(Path::new("some/f.toml"), text, &Environment::of(variables))
}

/// `place: message` and the hint of every problem.
fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let found = match with(text, variables) {
        Ok(config) => config.warnings,
        Err(Error::Invalid(problems)) => problems,
        Err(other) => panic!("{other}"),
    };
    found
        .into_iter()
        .map(|problem| (format!("{}: {}", problem.place, problem.message), problem.hint.unwrap_or_default()))
        .collect()
}

#[test]
fn the_minimal_file_works_as_it_stands() {
    let config = with(MINIMAL, &[]).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let absent = with(&MINIMAL.replace("zones/kafka.example.zone", "no.zone"), &[]).unwrap();
    let beside = Some(Path::new("some/no.zone"));
    assert_eq!(absent.dns.zones[0].file.as_deref(), beside, "what is nowhere is expected beside the file");
    // Tests run in the package's folder, where the zone file is; beside `some/f.toml` there is none.
    assert_eq!(config.registry.shown(), "redis://127.0.0.1:6379");
    assert_eq!(config.dns.ttl, Duration::from_secs(5));
    assert_eq!(config.dns.zones[0].file.as_deref(), Some(Path::new("zones/kafka.example.zone")));
    let cluster = &config.clusters[0];
    assert!(cluster.groups.contains("vpc-1"), "a listener's group exists from the start");
    let TopicSource::Static(topics) = &cluster.topics else { panic!("{:?}", cluster.topics) };
    assert_eq!((topics[0].name.as_str(), topics[0].partitions), ("orders", 12));
    assert_eq!(config.kafka.listeners[0].listen.port(), 9092);
    assert_eq!(config.admin.listen.port(), 8053);
    let url = config.settings.iter().find(|setting| setting.key == "registry.url").unwrap();
    assert_eq!(url.origin, Origin::File { line: 3, column: 7 });
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = "[registry]\nurl = \"http://x\"\nresink = 5\n[dns]\nlisten = \"127.0.0.1:53\"\nttl = 0\nsample = 900\n\
                    [[dns.zone]]\napx = \"k.example\"\n[[cluster]]\nname = \"pr od\"\n[[kafka.listener]]\n\
                    listen = \"localhost:9092\"\ncluster = \"prod\"\ngroup = 7\n[admn]\nlisten = \"x\"\n";
    let found = problems(text, &[]);
    let has = |place: &str, what: &str, hint: &str| {
        assert!(
            found.iter().any(|(m, h)| m.starts_with(&format!("some/f.toml:{place}: "))
                && m.contains(what)
                && h.contains(hint)),
            "{place} {what} {hint} in {found:#?}"
        );
    };
    has("2:7", "no registry URL", "redis://");
    has("3:1", "unknown key \"resink\" in [registry]", "did you mean \"resync\"?");
    has("5:10", "dns.listen: a text where a list belongs", "brackets");
    has("6:7", "dns.ttl: 0s is out of bounds", "1s to");
    has("7:10", "dns.sample: 900 is out of bounds", "1 to 32");
    has("9:1", "unknown key \"apx\" in [[dns.zone]]", "did you mean \"apex\"?");
    has("8:1", "dns.zone.apex is missing", "add apex");
    has("11:8", "no name for a cluster", "DNS labels");
    has("13:10", "no address with a port", "host names are not resolved");
    has("14:11", "there is no cluster prod", "[[cluster]]");
    has("15:9", "a number where a text belongs", "");
    has("16:2", "unknown section \"admn\"", "did you mean \"admin\"?");
    assert_eq!(found.len(), 12, "{found:#?}");
}

#[test]
fn not_toml_is_told_with_its_place_and_the_rest_is_still_read() {
    let found = problems("[registry]\nurl = \n[dns]\ntttl = 3\n", &[]);
    assert!(
        found.iter().any(|(m, _)| m.starts_with("some/f.toml:2:") && m.contains("not TOML")),
        "{found:?}"
    );
    assert!(found.iter().any(|(m, _)| m.starts_with("some/f.toml:4:1")), "{found:?}");
    assert!(matches!(with("\u{0}", &[]), Err(Error::Invalid(_))));
}

#[test]
fn the_environment_overrides_and_strays_are_warned_of() {
    let config = with(
        MINIMAL,
        &[
            ("FINGERPOST_REGISTRY_URL", "memory:"),
            ("FINGERPOST_DNS_LISTEN", "127.0.0.1:1053, [::1]:1053"),
            ("FINGERPOST_ADMIN_TOKEN", "0123456789abcdef"),
            ("FINGERPOST_ADMIN_LISTEM", "x"),
            ("OTHER", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.registry.url.expose(), "memory:");
    assert_eq!(config.dns.listen.len(), 2);
    assert_eq!(config.admin.tokens.len(), 1);
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.warnings[0].hint.as_deref(), Some("did you mean \"FINGERPOST_ADMIN_LISTEN\"?"));
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "no secret is printed");
    let url = config.settings.iter().find(|setting| setting.key == "registry.url").unwrap();
    assert_eq!(url.origin, Origin::Environment("FINGERPOST_REGISTRY_URL"));
    let found = problems(MINIMAL, &[("FINGERPOST_DNS_LISTEN", "nowhere")]);
    assert!(found[0].0.starts_with("environment FINGERPOST_DNS_LISTEN: dns.listen"), "{found:?}");
}

#[test]
fn what_is_wrong_as_a_whole_is_refused() {
    for (change, message, hint) in [
        (("127.0.0.1:8053", "127.0.0.1:9092"), "127.0.0.1:9092 is taken by 127.0.0.1:9092", "another port"),
        (
            ("127.0.0.1:8053", "0.0.0.0:8053"),
            "can be reached from elsewhere, and there is no token",
            "token_file",
        ),
        (("127.0.0.1:8053", "[::ffff:10.0.0.1]:8053"), "there is no token", "127.0.0.1"),
        (("cluster = \"prod\"", "cluster = \"prud\""), "there is no cluster prud", "did you mean \"prod\"?"),
        (("[[cluster]]", "[[cluster]]\nname = \"prod\"\n[[cluster]]"), "cluster prod is there twice", ""),
        (("[[dns.zone]]", "[[dns.zone]]\napex = \"Kafka.Example.\"\n[[dns.zone]]"), "is there twice", ""),
        (("[registry]", "[registry]\nprefix = \"a b\""), "cannot be used", ""),
        (("[registry]", "[registry]\npassword = \"x\"\npassword_file = \"y\""), "exclude each other", "file"),
        (("file =", "ns = [\"ns.kafka.example\"]\nfile ="), "exclude each other", "leave ns out"),
        (("[admin]", "[admin]\ntokens = 3"), "written the wrong way", "[[admin.tokens]]"),
        (("[admin]", "[log]\nlevel = \"a=b=c\"\n[admin]"), "is no level", "debug"),
        (("partitions = 12", "partitons = 12"), "unknown key \"partitons\"", "partitions"),
        (("partitions = 12", "partitions = 12, id = \"x\""), "no topic id", "hexadecimal"),
    ] {
        let found = problems(&MINIMAL.replacen(change.0, change.1, 1), &[]);
        assert!(found.iter().any(|(m, h)| m.contains(message) && h.contains(hint)), "{message}: {found:#?}");
    }
}

#[test]
fn a_line_that_may_hold_a_secret_is_not_repeated() {
    let text = "[admin]\ntoken = 7\nlisten = 7\ntokn = \"hunter2\"\napi = { key = \"hunter2\" }\n\
                    [registry]\npasword=\"hunter2\"\nurl = \"u:hunter2@host\"\n";
    let Err(Error::Invalid(found)) = with(text, &[]) else { panic!("valid?") };
    let shown = |line| found.iter().find(|p| p.place.ends_with(line)).unwrap().excerpt.clone();
    assert_eq!(shown(":2:9"), Some(("token = …".to_owned(), 9)));
    assert_eq!(shown(":3:10"), Some(("listen = 7".to_owned(), 10)));
    for problem in &found {
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
    assert!(found.len() >= 6, "{found:#?}");
}

#[test]
fn the_example_file_is_the_table_of_keys_and_holds_the_defaults() {
    let written = include_str!("../../examples/fingerpost.toml");
    assert_eq!(
        written,
        reference::example(),
        "run `fingerpost reference example > examples/fingerpost.toml`"
    );
    let config = with(written, &[]).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let defaults = with("[registry]\nurl = \"redis://127.0.0.1:6379\"\n", &[]).unwrap();
    for (name, value) in defaults.settings.iter().map(|setting| (&setting.key, &setting.value)) {
        let here = config.settings.iter().find(|setting| setting.key == *name).unwrap();
        assert_eq!(here.value, *value, "{name}");
        assert!(matches!(here.origin, Origin::File { .. }), "{name} is written in the example");
    }
    // What is commented out is valid too, except that a secret and its file exclude each other.
    let all: String = written
        .lines()
        .filter(|line| !["#password =", "#token =", "#dnssec_"].iter().any(|key| line.starts_with(key)))
        .map(|line| {
            let key = line.starts_with('#') && !line.starts_with("# ") && !line.starts_with("#file");
            let head = line.starts_with("# [");
            format!("{}\n", &line[usize::from(key) + 2 * usize::from(head)..])
        })
        .collect();
    // Certificates and proxies have no use while what they are for is off.
    let all = all
        .replace("url = \"redis://", "url = \"rediss://")
        .replace("topics = { source = \"registry\" }", "topics = { source = \"agents\" }")
        .replace("client_auth = \"off\"", "client_auth = \"required\"")
        .replace("proxy_protocol = \"off\"", "proxy_protocol = \"required\"");
    let config = with(&all, &[]).unwrap_or_else(|error| panic!("{error:?} in {all}"));
    assert_eq!(config.admin.tokens.len(), 2);
}

#[test]
fn a_zone_is_signed_or_copied_and_not_both() {
    let zones = MINIMAL.replace(
        "[[cluster]]",
        "dnssec_keys = \"keys\"\n[[dns.zone]]\napex = \"other.example\"\n[[cluster]]",
    );
    let key = "[[dns.tsig_key]]\nname = \"k\"\nalgorithm = \"hmac-sha256\"\nsecret_file = \"k\"\n";
    let secondary = |more: &str| format!("{zones}{key}[[dns.secondary]]\nkey = \"k\"\n{more}");
    let wrong = |more: &str| {
        problems(&secondary(more), &[]).iter().any(|(what, _)| what.contains("is signed, and copies"))
    };
    assert!(wrong("") && wrong("zones = [\"kafka.example\"]\n"));
    let config = with(&secondary("zones = [\"other.example\"]\n"), &[]).unwrap();
    assert_eq!(config.dns.secondaries.len(), 1);
}

#[test]
fn defaults_are_the_bounds_own() {
    use crate::limits;
    let config = with("[registry]\nurl = \"memory:\"\n", &[]).unwrap();
    assert_eq!(config.registry.resync, limits::registry::RESYNC.default);
    assert_eq!(config.registry.operation_timeout, limits::registry::OPERATION.default);
    assert_eq!(config.registry.stale_max, limits::registry::STALE_MAX.default);
    assert_eq!(config.registry.group_memory, limits::registry::GROUP_MEMORY.default);
    assert_eq!(config.registry.departed_grace, limits::registry::DEPARTED.default);
    assert_eq!(config.registry.max_agents, limits::registry::AGENTS.default);
    assert_eq!(config.dns.workers, limits::dns::WORKERS.default);
    assert_eq!(config.dns.ttl.as_secs(), u64::from(limits::dns::TTL.default));
    assert_eq!(config.dns.sample, limits::dns::SAMPLE.default);
    assert_eq!(config.dns.tcp_idle, limits::dns::TCP_IDLE.default);
    assert_eq!(config.dns.tcp_connections, limits::tcp::CONNECTIONS.default);
    assert_eq!(config.dns.tcp_per_source, limits::tcp::PER_SOURCE.default);
    assert_eq!(config.kafka.connections, limits::tcp::CONNECTIONS.default);
    assert_eq!(config.kafka.per_source, limits::tcp::PER_SOURCE.default);
    assert_eq!(config.kafka.idle, limits::kafka::IDLE.default);
    assert_eq!(config.admin.connections, limits::admin::CONNECTIONS.default);
    assert_eq!(config.process.watch, limits::reload::INTERVAL.default);
    assert!(!config.process.share_addresses);
    assert_eq!(config.log, Log::default());
}

#[test]
fn the_reference_page_has_the_table_of_keys() {
    let page = include_str!("../../docs/config.md");
    assert!(
        page.contains(&reference::tables()),
        "run `fingerpost reference tables` and put it in docs/config.md"
    );
}
