//! `fingerpost agents`: the fleet as a table, from a server's admin API.

use super::arguments::Agents;
use super::failure::{Failure, UNAVAILABLE, USAGE};
use super::print;
use crate::admin::fleet::{AgentJson, FleetJson};
use crate::config::{Environment, Secret, read_secret_file};
use crate::limits::admin as limits;
use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The admin API of a server on this machine.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8053";

/// Asks, filters and prints.
pub(super) fn run(arguments: &Agents, environment: &Environment) -> Result<ExitCode, Failure> {
    let given = arguments.server.as_deref().or(environment.get("FINGERPOST_SERVER"));
    let server = given.unwrap_or(DEFAULT_SERVER).trim_end_matches('/');
    let server = match server.contains("://") {
        true => server.to_owned(),
        false => format!("http://{server}"),
    };
    if !server.starts_with("http://") {
        return Err(Failure::new(USAGE, format!("{server:?} is no address of an admin API"))
            .next("write http://HOST:8053"));
    }
    let mut fleet = fetch(&server, token(arguments, environment)?)?;
    known(&fleet, arguments.cluster.as_deref(), arguments.group.as_deref())?;
    keep(&mut fleet, arguments.cluster.as_deref(), arguments.group.as_deref());
    if arguments.json {
        let text = serde_json::to_string_pretty(&fleet).unwrap_or_default();
        print(&format!("{text}\n"));
    } else {
        let colours = stdout().is_terminal() && !environment.no_color();
        print(&table(&fleet, &server, colours));
    }
    Ok(ExitCode::SUCCESS)
}

fn token(arguments: &Agents, environment: &Environment) -> Result<Option<Secret>, Failure> {
    let from_file = |path: &Path| read_secret_file(path).map_err(|error| Failure::from(UNAVAILABLE, &error));
    match (&arguments.token_file, environment.get("FINGERPOST_TOKEN")) {
        (Some(path), _) => from_file(path).map(Some),
        (None, Some(given)) => Ok(Some(Secret::new(given))),
        (None, None) => {
            environment.get("FINGERPOST_TOKEN_FILE").map(|path| from_file(Path::new(path))).transpose()
        }
    }
}

fn fetch(server: &str, token: Option<Secret>) -> Result<FleetJson, Failure> {
    let client: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(limits::CLIENT_TIME))
        .http_status_as_error(false)
        .max_redirects(0)
        // A proxy of the environment is for the outer world, and would get to see the token.
        .proxy(None)
        .build()
        .into();
    let url = format!("{server}/v1/clusters");
    let mut request = client.get(&url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let unreachable = |error: &dyn std::error::Error| {
        let failure = Failure::new(UNAVAILABLE, format!("the server at {server} does not answer: {error}"));
        failure.next("is it running? another one can be named with --server or FINGERPOST_SERVER")
    };
    let mut response = request.call().map_err(|error| unreachable(&error))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(limits::ANSWER_BYTES)
        .read_to_vec()
        .map_err(|error| unreachable(&error))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(refused(server, status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| {
        Failure::new(UNAVAILABLE, format!("what answers at {server} is no fingerpost: {error}"))
            .next("name the admin API with --server; it listens at port 8053 by default")
    })
}

fn refused(server: &str, status: u16, body: &[u8]) -> Failure {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let part = |name: &str| body.pointer(&format!("/error/{name}")).and_then(|text| text.as_str());
    let message = plain(part("message").unwrap_or("it does not say why"));
    let failure = Failure::new(UNAVAILABLE, format!("the server at {server} refused ({status}): {message}"));
    match status {
        401 | 403 => failure.next("give a token that may read with --token-file, or in FINGERPOST_TOKEN"),
        _ => failure.next(plain(part("hint").unwrap_or("name another server with --server"))),
    }
}

/// A cluster or group that nobody knows is a slip of the pen, not an empty fleet.
fn known(fleet: &FleetJson, cluster: Option<&str>, group: Option<&str>) -> Result<(), Failure> {
    let clusters = || {
        fleet.clusters.iter().filter(|have| cluster.is_none_or(|name| name.eq_ignore_ascii_case(&have.name)))
    };
    let names = |names: Vec<&str>| {
        format!("known are: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    };
    if let Some(name) = cluster.filter(|_| clusters().next().is_none()) {
        let have = fleet.clusters.iter().map(|have| have.name.as_str()).take(20).collect();
        return Err(
            Failure::new(UNAVAILABLE, format!("there is no cluster {}", plain(name))).next(names(have))
        );
    }
    let groups = || clusters().flat_map(|have| &have.groups);
    if let Some(name) = group.filter(|name| !groups().any(|have| have.name.eq_ignore_ascii_case(name))) {
        let have = groups().map(|have| have.name.as_str()).take(20).collect();
        return Err(Failure::new(UNAVAILABLE, format!("there is no group {}", plain(name))).next(names(have)));
    }
    Ok(())
}

/// Keeps what was asked for.
fn keep(fleet: &mut FleetJson, cluster: Option<&str>, group: Option<&str>) {
    let wanted =
        |wanted: Option<&str>, name: &str| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name));
    fleet.clusters.retain(|entry| wanted(cluster, &entry.name));
    for entry in &mut fleet.clusters {
        entry.groups.retain(|entry| wanted(group, &entry.name));
    }
    fleet.clusters.retain(|entry| group.is_none() || !entry.groups.is_empty());
    fleet.refused.retain(|refused| {
        cluster.is_none_or(|name| refused.key.contains(&format!("{{{name}}}:")))
            && group.is_none_or(|name| refused.key.contains(&format!("}}:{name}:")))
    });
}

const HEAD: [&str; 7] = ["CLUSTER", "GROUP", "ZONE", "AGENT", "STATE", "ADDRESSES", "LEASE LEFT"];

/// The table, then what was refused, then what is odd.
fn table(fleet: &FleetJson, server: &str, colours: bool) -> String {
    let mut rows: Vec<[String; 7]> = Vec::new();
    for group in fleet.clusters.iter().flat_map(|cluster| &cluster.groups) {
        rows.extend(group.agents.iter().map(|agent| row(&group.cluster, &group.name, agent)));
    }
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str(&no_agents(fleet, server));
    } else {
        write_rows(&mut text, &rows, colours);
    }
    if !fleet.refused.is_empty() {
        let _ = writeln!(text, "\nRefused records:");
        for refused in &fleet.refused {
            let _ = writeln!(text, "  {}\n    {}", plain(&refused.key), plain(&refused.reason));
        }
    }
    for source in fleet.sources.iter().filter(|source| source.state != "fresh") {
        let since = shown(source.lost_for_ms.unwrap_or(0));
        let _ = writeln!(
            text,
            "\nThe registry {} has been out of reach for {since}: leases stand still, what is shown is its last word.",
            plain(&source.name)
        );
    }
    if let Some(limit) = &fleet.limited_to {
        let _ = writeln!(text, "\nYour token sees {} only.", plain(limit));
    }
    text
}

fn no_agents(fleet: &FleetJson, server: &str) -> String {
    if !fleet.synced {
        return "The server has not read its registry in full yet.\n".to_owned()
            + &format!("  {server}/ready says what it waits for.\n");
    }
    let groups: Vec<String> = fleet
        .clusters
        .iter()
        .flat_map(|cluster| cluster.groups.iter().map(|group| format!("{}/{}", cluster.name, group.name)))
        .collect();
    let mut text = "No agents.\n".to_owned();
    if !groups.is_empty() {
        let _ = writeln!(text, "  Known groups without one: {}", plain(&groups.join(", ")));
    }
    text + "  An agent appears when it writes its record: fingerpost agent --help, or from a shell\n    \
            redis-cli SET 'fingerpost:agent:{prod}:vpc-1:a1' '{\"addresses\":[\"10.0.1.17\"]}' PX 15000\n"
}

fn row(cluster: &str, group: &str, agent: &AgentJson) -> [String; 7] {
    let state = if agent.live { agent.state.as_str() } else { "expired" };
    let lease = if agent.live { shown(agent.lease_left_ms) } else { "-".to_owned() };
    [
        plain(cluster),
        plain(group),
        plain(agent.zone.as_deref().unwrap_or("-")),
        plain(&agent.id),
        plain(state),
        plain(&agent.addresses.join(",")),
        lease,
    ]
}

fn write_rows(text: &mut String, rows: &[[String; 7]], colours: bool) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let head = HEAD.get(column).map_or(0, |head| head.len());
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(head)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = (&str, &str)>| {
        let mut written = String::new();
        for ((cell, colour), width) in cells.zip(&widths) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 2);
            let _ = match colours && !colour.is_empty() {
                true => write!(written, "\x1b[{colour}m{cell}\x1b[0m{padding}"),
                false => write!(written, "{cell}{padding}"),
            };
        }
        let _ = writeln!(text, "{}", written.trim_end());
    };
    line(&mut HEAD.iter().map(|head| (*head, "1")));
    for row in rows {
        line(&mut row.iter().enumerate().map(|(column, cell)| (cell.as_str(), colour(column, cell))));
    }
}

/// Green takes clients, yellow is leaving, red is gone. The word says the same.
fn colour(column: usize, cell: &str) -> &'static str {
    match (column, cell) {
        (4, "ready") => "32",
        (4, "draining") => "33",
        (4, _) => "31",
        _ => "",
    }
}

/// A time for people: `12.3s`, `4m 10s`.
fn shown(millis: u64) -> String {
    match millis {
        0..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        _ => humantime::format_duration(Duration::from_secs(millis / 1_000)).to_string(),
    }
}

/// Text from elsewhere without anything that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fleet() -> FleetJson {
        let agent = |id: &str, zone: Option<&str>, state: &str, live: bool, left: u64| {
            json!({ "id": id, "zone": zone, "state": state, "live": live, "lease_left_ms": left,
                "addresses": ["10.0.1.17", "2001:db8::17"], "ports": { "kafka": 9092 },
                "advertised_host": "10.0.1.17", "weight": 100, "roles": [], "source": "memory:" })
        };
        let group = |name: &str, agents: serde_json::Value| json!({ "cluster": "prod", "name": name, "live": 1, "ready": 1, "agents": agents, "departed": [] });
        let agents = json!([
            agent("a-1", Some("us-east-1a"), "ready", true, 12_345),
            agent("a-2", None, "draining", true, 3_700_000),
            agent("a-3", Some("us-east-1b"), "ready", false, 0),
        ]);
        serde_json::from_value(json!({
            "generation": 3, "synced": true, "age_ms": 5_000,
            "sources": [{ "name": "redis://r:1", "state": "lost", "lost_for_ms": 5_000 }],
            "clusters": [{ "name": "prod", "groups": [group("vpc-1", agents), group("vpc-2", json!([]))] }],
            "refused": [
                { "key": "fingerpost:agent:{prod}:vpc-1:x\u{1b}[31m", "reason": "addresses: missing", "source": "s" },
                { "key": "fingerpost:agent:{dev}:vpc-1:y", "reason": "value: no JSON", "source": "s" },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn the_table_reads_as_written_down() {
        let text = table(&fleet(), "http://127.0.0.1:8053", false);
        assert_eq!(text, include_str!("../../tests/golden/agents.txt"));
        let coloured = table(&fleet(), "", true);
        assert!(coloured.contains("\x1b[32mready\x1b[0m") && coloured.contains("\x1b[33mdraining\x1b[0m"));
    }

    #[test]
    fn what_was_not_asked_for_is_left_out() {
        let mut only = fleet();
        keep(&mut only, Some("PROD"), Some("vpc-2"));
        assert_eq!(only.clusters[0].groups.len(), 1);
        assert!(only.refused.is_empty());
        let text = table(&only, "http://s", false);
        assert!(text.starts_with("No agents.\n  Known groups without one: prod/vpc-2\n"), "{text}");
        let mut none = fleet();
        keep(&mut none, Some("dev"), None);
        assert!(none.clusters.is_empty() && none.refused.len() == 1);
        none.synced = false;
        assert!(table(&none, "http://s", false).contains("http://s/ready"));
    }
}
