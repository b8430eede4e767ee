//! The container files: what an engine would be given is well formed, and what it would run works here without one.

use crate::support::{
    DEADLINE, dig, fingerpost, fingerpost_run, fingerpost_run_with, redis, root, run, wait_for,
};
use std::process::Command;
use tempfile::TempDir;

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The agents of docker-compose.yml: service name and the arguments of `fingerpost`.
fn agents() -> Vec<(String, Vec<String>)> {
    let mut service = String::new();
    let mut found = Vec::new();
    for line in file("docker-compose.yml").lines() {
        if let Some(name) = line.strip_prefix("  ").and_then(|rest| rest.strip_suffix(':')) {
            service = name.trim().to_owned();
        }
        if let Some(list) = line.trim().strip_prefix("command: [agent, ") {
            let words = list.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"').to_owned());
            found.push((service.clone(), std::iter::once("agent".to_owned()).chain(words).collect()));
        }
    }
    found
}

#[test]
fn the_compose_file_is_well_formed() {
    let ran = run("check-compose", &mut Command::new(root().join("scripts/check-compose")));
    assert_eq!(ran.code(), 0, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn the_image_runs_as_a_number_and_does_nothing_unasked() {
    let dockerfile = file("Dockerfile");
    let last_stage: Vec<&str> =
        dockerfile.lines().rev().take_while(|line| !line.starts_with("FROM ")).collect();
    let user = last_stage.iter().find_map(|line| line.strip_prefix("USER ")).expect("the image has a user");
    assert!(user.split(':').all(|part| part.parse::<u32>().is_ok_and(|id| id > 0)), "USER {user}");
    assert!(last_stage.contains(&"ENTRYPOINT [\"fingerpost\"]"));
    assert!(!last_stage.iter().any(|line| line.starts_with("CMD")), "without arguments it prints its help");
    assert!(!dockerfile.contains("setcap"));
}

#[test]
fn the_mounted_configuration_is_accepted() {
    let config = root().join("examples/compose.toml");
    let config = config.to_str().expect("the path is UTF-8");
    let text = file("docker-compose.yml");
    assert!(text.contains("./examples/compose.toml:/etc/fingerpost/fingerpost.toml:ro"));
    let arguments = ["check", "--config", config, "--config-only"];
    let token = ("FINGERPOST_ADMIN_TOKEN", "only-for-this-machine");
    let accepted = fingerpost_run_with(&arguments, &[token]);
    assert_eq!(accepted.code(), 0, "{}{}", accepted.stdout, accepted.stderr);
    let refused = fingerpost_run(&arguments);
    assert_eq!(refused.code(), 78, "listening on all addresses needs the token that the environment gives");
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("token"));
}

#[test]
fn its_agents_appear_in_their_groups_and_in_no_other() {
    let redis = redis();
    let folder = TempDir::new().expect("make a temporary folder");
    let config = folder.path().join("fingerpost.toml");
    let here = file("examples/compose.toml")
        .replace("redis://redis:6379", &redis.url())
        .lines()
        .map(|line| if line.contains("0.0.0.0:") { on_loopback(line) } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(&config, here).expect("write the configuration");
    let mut server = fingerpost(&["serve", "--config", config.to_str().expect("the path is UTF-8")]);
    let dns = server.dns();

    let agents = agents();
    assert_eq!(agents.len(), 4, "docker-compose.yml has two groups of two agents");
    let mut running = Vec::new();
    for (service, arguments) in &agents {
        let url = redis.url();
        let replaced = arguments.iter().map(|word| if word.starts_with("redis://") { &url } else { word });
        let mut words: Vec<&str> = replaced.map(String::as_str).collect();
        words.extend(["--agent", service]); // in its container, the host's name is its id
        running.push(fingerpost(&words));
    }
    for (group, addresses) in
        [("vpc-1", ["172.30.53.21", "172.30.53.22"]), ("vpc-2", ["172.30.53.31", "172.30.53.32"])]
    {
        let name = format!("{group}.prod.kafka.example");
        wait_for(&format!("{name} to have {addresses:?}"), DEADLINE, || {
            let answer = dig(dns, &[&name, "A"]).clean();
            let mut data = answer.data("A");
            data.sort_unstable();
            assert!(data.iter().all(|one| addresses.contains(one)), "{name} answers another group: {data:?}");
            data == addresses
        });
    }
}

/// A line of the configuration with a free port on loopback for each address.
fn on_loopback(line: &str) -> String {
    let (before, after) = line.split_once("0.0.0.0:").expect("the caller looked");
    let rest = after.trim_start_matches(|char: char| char.is_ascii_digit());
    format!("{before}127.0.0.1:0{rest}")
}
