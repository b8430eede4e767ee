//! Arguments, tables and exit codes of the built program.

use crate::support::{fingerpost_run, root};

const MINIMAL: &str = r#"
[registry]
url = "memory:"
[dns]
listen = ["127.0.0.1:0"]
[[dns.zone]]
apex = "kafka.example"
[[cluster]]
name = "prod"
topics = { source = "static", list = [{ name = "orders", partitions = 12 }] }
[[kafka.listener]]
listen = "127.0.0.1:0"
cluster = "prod"
group = "vpc-1"
[admin]
listen = "127.0.0.1:0"
"#;

/// A configuration file in a directory that lives as long as the first part.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fingerpost.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// Compares with a golden file. `FINGERPOST_BLESS=1 cargo test` writes it anew; look at the difference then.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = root().join("tests/golden").join(name);
    if std::env::var_os("FINGERPOST_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} differs", path.display());
}

#[test]
fn the_help_reads_as_written_down() {
    let mut all = fingerpost_run(&["--help"]).ok();
    for command in ["serve", "check", "demo", "agents", "agent", "keys", "completions", "man"] {
        all += &format!("\n\n$ fingerpost {command} --help\n{}", fingerpost_run(&[command, "--help"]).ok());
    }
    golden("help.txt", &all);
    assert_eq!(fingerpost_run(&["--version"]).ok().trim(), concat!("fingerpost ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_64_and_says_what_to_do() {
    let agent = ["agent", "--cluster", "c", "--group", "g", "--address", "127.0.0.1"];
    let of = |listen, upstream| {
        let registry = "redis://127.0.0.1:1";
        [
            "agent",
            "--cluster",
            "c",
            "--group",
            "g",
            "--registry",
            registry,
            "--listen",
            listen,
            "--upstream",
            upstream,
        ]
    };
    let (gate, itself) = (of("127.0.0.1:0", "127.0.0.1:1"), of("127.0.0.1:1", "127.0.0.1:1"));
    let far = [&of("0.0.0.0:0", "127.0.0.1:1")[..], &["--address", "10.0.0.1"]].concat();
    for (arguments, said) in [
        (vec![], "Usage: fingerpost"),
        (vec!["serv"], "similar subcommand exists: 'serve'"),
        (vec!["serve"], "--config <FILE>"),
        (vec!["demo", "--agents-per-zone", "0"], "are allowed"),
        (vec!["demo", "--apex", "a..b"], "is no DNS name"),
        (vec!["demo", "--kafka", "127.0.0.1:65535"], "vpc-2 gets the next port"),
        (vec!["agents", "--server", "ftp://x"], "write http://HOST:8053"),
        ([&agent[..], &[]].concat(), "no registry is given"),
        ([&agent[..], &["--registry", "memory:"]].concat(), "out of an agent's reach"),
        ([&agent[..], &["--lease", "1ms"]].concat(), "500ms to 1h are allowed"),
        ([&agent[..], &["--agent", "az-x"]].concat(), "reserved"),
        (
            [&gate[..], &["--strategy", "single_agnet"]].concat(),
            "is none of single_agent, equal_spread, consistent; did you mean",
        ),
        ([&gate[..], &["--balance", "fair"]].concat(), "is none of round_robin, sticky"),
        ([&gate[..], &["--scope", "cluster"]].concat(), "is none of group, zone"),
        ([&gate[..], &["--same-client", "1d"]].concat(), "1ms to 1h are allowed"),
        ([&gate[..], &["--zone-cidrs", "az-1"]].concat(), "has no '@': write zone@network,network"),
        ([&gate[..], &["--zone-cidrs", "az-1@10.0.0.1/8"]].concat(), "is no network: write 10.0.0.0/19"),
        ([&gate[..], &["--zone-alias", "a-b"]].concat(), "has no '=': write"),
        ([&gate[..], &["--client-zone", "a b"]].concat(), "--client-zone"),
        ([&agent[..], &["--strategy", "consistent"]].concat(), "--listen"),
        ([&far[..], &["--advertise", "LocalHost."]].concat(), "would send each client to its own machine"),
        ([&far[..], &["--advertise", "127.0.0.9"]].concat(), "or add --allow-loopback"),
        ([&far[..], &["--advertise", "0.0.0.0"]].concat(), "advertise: \"0.0.0.0\""),
        ([&far[..], &["--advertise", "broker:9092"]].concat(), "advertise: \"broker:9092\""),
        ([&far[..], &["--port", "0"]].concat(), "--port"),
        ([&far[..], &["--port", "65536"]].concat(), "--port"),
        ([&gate[..], &["--address", "224.0.0.1"]].concat(), "servers would refuse this record"),
        ([&gate[..], &["--address", "0.0.0.0"]].concat(), "servers would refuse this record"),
        (itself.to_vec(), "would connect to itself"),
    ] {
        let ran = fingerpost_run(&arguments);
        assert_eq!(ran.code(), 64, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_wrong_configuration_is_78_with_every_problem() {
    let (_dir, path) = file("[registry]\nurll = \"memory:\"\n[admin]\nlisten = \"0.0.0.0:0\"\n");
    let ran = fingerpost_run(&["serve", "--config", &path]);
    assert_eq!(ran.code(), 78);
    for said in [
        ":2:1: unknown key \"urll\"",
        "did you mean \"url\"?",
        "registry.url is missing",
        "there is no token",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
    let missing = fingerpost_run(&["serve", "--config", "/nonexistent/f.toml"]);
    assert_eq!(missing.code(), 78);
    assert!(missing.stderr.contains("because: No such file"), "{}", missing.stderr);
}

#[test]
fn check_walks_the_start_up_path() {
    let (_dir, path) = file(MINIMAL);
    let ran = fingerpost_run(&["check", "--config", &path]);
    assert_eq!((ran.code(), ran.stdout.lines().last()), (0, Some("√ ready to serve")), "{}", ran.stdout);
    let (_dir, path) = file(&MINIMAL.replace("memory:", "redis://127.0.0.1:1"));
    let ran = fingerpost_run(&["check", "--config", &path, "--json"]);
    assert_eq!(ran.code(), 69, "{}", ran.stdout);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["success"], false);
    assert_eq!(report["categories"][4]["checks"][0]["result"], "error");
    assert_eq!(
        report["categories"][3]["checks"][0]["result"], "success",
        "the others are tried all the same"
    );
}

#[test]
fn check_skips_what_has_no_ground_and_names_taken_addresses() {
    let (_dir, path) = file(&MINIMAL.replace("apex", "apx"));
    let ran = fingerpost_run(&["check", "--config", &path, "-o", "short"]);
    assert_eq!(ran.code(), 78);
    assert!(ran.stdout.contains("- the registry can be followed\n    skipped: the configuration is wrong"));
    let only = fingerpost_run(&["check", "--config", &path, "--config-only"]);
    assert!(only.code() == 78 && !only.stdout.contains("registry"), "{}", only.stdout);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_dir, path) =
        file(&MINIMAL.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""), 1));
    let ran = fingerpost_run(&["check", "--config", &path, "-o", "short"]);
    assert_eq!(ran.code(), 69, "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("× Kafka for prod/vpc-1 at {address}")), "{}", ran.stdout);
    assert!(ran.stdout.contains("hint: `ss -lptun"), "{}", ran.stdout);
    let (_dir, path) =
        file(&MINIMAL.replace("apex = \"kafka.example\"", "apex = \"kafka.example\"\nfile = \"no.zone\""));
    let ran = fingerpost_run(&["check", "--config", &path, "-o", "short"]);
    assert!(ran.code() == 78 && ran.stdout.contains("no.zone"), "{}", ran.stdout);
}

#[test]
fn agents_without_a_server_is_69() {
    let ran = fingerpost_run(&["agents", "--server", "http://127.0.0.1:1"]);
    assert_eq!(ran.code(), 69);
    assert!(
        ran.stderr.contains("does not answer") && ran.stderr.contains("next: is it running?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn completions_and_man_pages_are_made() {
    assert!(fingerpost_run(&["completions", "bash"]).ok().contains("_fingerpost"));
    assert!(fingerpost_run(&["man"]).ok().contains(".TH fingerpost"));
    let dir = tempfile::tempdir().unwrap();
    fingerpost_run(&["man", dir.path().to_str().unwrap()]).ok();
    assert!(dir.path().join("fingerpost-serve.1").exists());
    assert_eq!(fingerpost_run(&["man", "/nonexistent/dir"]).code(), 69);
}
