//! Who may import whom. Data flows one way: heartbeats in at the registry, one snapshot in the middle, answers out
//! at the fronts; what is not in these tables is an arrow that would turn it round.

use crate::lex::{Kind, Token};
use crate::source::Source;

/// Room -> the rooms that it may import, besides its own files. `*` is every room.
const ROOMS: [(&str, &[&str]); 17] = [
    ("lib", &[]),
    ("main", &["cli"]),
    ("model", &[]),
    ("placement", &["model"]),
    ("view", &["model"]),
    ("limits", &["model"]),
    ("clock", &["model"]),
    ("telemetry", &["model", "limits"]),
    ("config", &["model", "limits"]),
    ("net", &["limits", "telemetry"]),
    ("registry", &["model", "view", "clock", "limits", "telemetry"]),
    ("dns", &["model", "placement", "view", "clock", "net", "limits", "telemetry"]),
    ("kafka", &["model", "placement", "view", "clock", "net", "limits", "telemetry"]),
    ("admin", &["model", "placement", "view", "registry", "clock", "net", "limits", "telemetry"]),
    ("agent", &["model", "placement", "view", "registry", "kafka", "clock", "net", "limits", "telemetry"]),
    ("server", &["*"]),
    ("cli", &["*"]),
];

/// Crate -> the modules that may name it: a crate's types that leak make the next release of that crate a rewrite.
const CRATES: &[(&str, &[&str])] = &[
    ("hickory_proto", &["dns::wire"]),
    ("domain", &["dns::zone_file"]),
    ("hickory_server", &["dns::encrypted"]),
    ("kafka_protocol", &["kafka"]),
    ("redis", &["registry::redis"]),
    ("axum", &["admin"]),
    ("hyper", &["admin", "dns::encrypted"]),
    ("tower", &["admin"]),
    ("ureq", &["cli", "registry::remote", "agent::detect"]),
    ("prometheus", &["telemetry"]),
    // Beside `view`: what was derived from it, and what a reload exchanges as a whole.
    ("arc_swap", &["view", "dns::dnssec", "kafka::service", "net::tls", "dns::live", "admin::auth"]),
    ("hyper_util", &["admin", "dns::encrypted"]),
    ("ring", &["dns::tsig", "dns::transfer", "dns::dnssec"]),
    ("rustls", &["net::tls", "agent::detect"]),
    ("tokio_rustls", &["net::tls"]),
    ("x509_cert", &["net::tls"]),
    ("ipnet", &["net::proxy"]),
    ("nix", &["net"]),
    ("socket2", &["net"]),
    ("toml", &["config"]),
    ("listenfd", &["config"]), // it reads the environment
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
];

/// Rooms that are plain values and rules: no crate that does I/O or keeps time, no socket, no file, no thread.
const PURE: [&str; 4] = ["model", "placement", "dns::answer", "dns::names"];
/// What a pure room may not name.
const IMPURE: [&str; 9] =
    ["tokio", "tracing", "serde_json", "TcpStream", "TcpListener", "UdpSocket", "fs", "thread", "fastrand"];

/// Arrows between rooms that the table does not have.
pub fn rooms(source: &Source) -> Vec<String> {
    let own = source.room();
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == own) else {
        return vec![format!("{}: the room `{own}` is not in the import table of tests/tidy", source.path)];
    };
    let mut wrong = Vec::new();
    for (room, line) in imported(source) {
        let known = ROOMS.iter().any(|(name, _)| *name == room);
        let fine = room == own || !known || allowed.contains(&"*") || allowed.contains(&room.as_str());
        if own == "server" && room == "cli" || !fine {
            wrong.push(format!("{}:{line}: `{own}` may not import `{room}`", source.path));
        }
    }
    wrong
}

/// The rooms that the product code of a file names by path, with the line.
fn imported(source: &Source) -> Vec<(String, usize)> {
    let tokens = source.product();
    let mut found = Vec::new();
    let mut inline: Vec<usize> = Vec::new(); // the brace depth of each inline module around us
    let mut depth = 0;
    for at in 0..tokens.len() {
        match &tokens[at].kind {
            Kind::Punct('{') => {
                depth += 1;
                if at >= 2 && tokens[at - 2].is("mod") {
                    inline.push(depth);
                }
            }
            Kind::Punct('}') => {
                inline.retain(|&one| one < depth);
                depth -= 1;
            }
            Kind::Ident(name) => {
                let behind = path_root(&tokens, at, name, source.module.len() + inline.len());
                let roots_of_main = name == "fingerpost" && source.room() == "main";
                if let Some(behind) = behind.or(roots_of_main.then_some(at + 1)) {
                    rooms_behind(&tokens, behind, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// If a path from the crate's root starts at `at`: the index of the `::` before its first room.
fn path_root(tokens: &[Token], at: usize, name: &str, module_depth: usize) -> Option<usize> {
    let follows_path = at > 0 && tokens[at - 1].kind == Kind::PathSep;
    if name == "crate" {
        return Some(at + 1);
    }
    if name != "super" || follows_path {
        return None;
    }
    let mut ups = 1;
    let mut at = at + 1;
    while tokens.get(at).is_some_and(|token| token.kind == Kind::PathSep)
        && tokens.get(at + 1).is_some_and(|token| token.is("super"))
    {
        ups += 1;
        at += 2;
    }
    (ups == module_depth).then_some(at)
}

/// The rooms behind the `::` at `at`: one name, or the names of a `{...}` group.
fn rooms_behind(tokens: &[Token], at: usize, found: &mut Vec<(String, usize)>) {
    if tokens.get(at).is_none_or(|token| token.kind != Kind::PathSep) {
        return;
    }
    let Some(first) = tokens.get(at + 1) else { return };
    if let Some(room) = first.ident() {
        found.push((room.to_owned(), first.line));
    }
    if !first.is_punct('{') {
        return;
    }
    let mut depth = 0;
    for pair in tokens[at + 1..].windows(2) {
        if pair[0].is_punct('{') {
            depth += 1;
        } else if pair[0].is_punct('}') {
            depth -= 1;
            if depth == 0 {
                return;
            }
        }
        let starts = pair[0].is_punct('{') || pair[0].is_punct(',');
        if let (true, 1, Some(room)) = (starts, depth, pair[1].ident()) {
            found.push((room.to_owned(), pair[1].line));
        }
    }
}

/// Third-party crates named outside their module.
pub fn crates(source: &Source) -> Vec<String> {
    let tokens = source.product();
    let mut wrong = Vec::new();
    for (name, modules) in CRATES {
        if inside(source, modules) || declares(&tokens, name) {
            continue;
        }
        for line in crate_uses(&tokens, name) {
            wrong.push(format!(
                "{}:{line}: `{name}` may be named only in {}",
                source.path,
                modules.join(", ")
            ));
        }
    }
    wrong
}

/// What does I/O, named in a room that decides.
pub fn purity(source: &Source) -> Vec<String> {
    if !inside(source, &PURE) {
        return Vec::new();
    }
    let named = |token: &Token| IMPURE.iter().find(|name| token.is(name)).map(|name| (*name, token.line));
    let found = source.product().iter().filter_map(named).collect::<Vec<_>>();
    let message = |(name, line)| format!("{}:{line}: `{name}` in a room that does no I/O", source.path);
    found.into_iter().map(message).collect()
}

/// `Redis` in a front: it would tie answers to one store.
pub fn redis_in_fronts(source: &Source) -> Vec<String> {
    if !["dns", "kafka", "admin", "placement", "view"].contains(&source.room()) {
        return Vec::new();
    }
    let names_redis = |token: &&Token| match &token.kind {
        Kind::Ident(text) | Kind::Text(text) => text.to_ascii_lowercase().contains("redis"),
        _ => false,
    };
    let message = |token: &Token| format!("{}:{}: a front names Redis", source.path, token.line);
    source.product().iter().filter(names_redis).map(message).collect()
}

/// Reads of the clock and of the environment outside the modules that own them.
pub fn clock_and_environment(source: &Source) -> Vec<String> {
    let rules: [(&[&str], &[&str], &[&str]); 2] = [
        (&["Instant", "SystemTime", "Utc", "Local"], &["now"], &["clock"]),
        (
            &["env"],
            &["var", "vars", "var_os", "vars_os", "set_var", "remove_var"],
            &["config", "agent::detect"],
        ),
    ];
    let mut wrong = Vec::new();
    for (owners, functions, modules) in rules {
        if inside(source, modules) {
            continue;
        }
        for three in source.product().windows(3) {
            let [owner, separator, function] = three else { continue };
            let is_path = separator.kind == Kind::PathSep;
            let owns = owners.iter().any(|name| owner.is(name));
            if is_path && owns && functions.iter().any(|name| function.is(name)) {
                let what = format!("{}::{}", owner.ident().unwrap_or(""), function.ident().unwrap_or(""));
                let place = modules.join(", ");
                wrong.push(format!("{}:{}: `{what}` only in {place}", source.path, owner.line));
            }
        }
    }
    wrong
}

/// Whether a file is one of these modules or lies below one.
fn inside(source: &Source, modules: &[&str]) -> bool {
    let own = source.module.join("::");
    modules.iter().any(|module| own == *module || own.starts_with(&format!("{module}::")))
}

/// Whether the file declares a module of its own by this name.
fn declares(tokens: &[Token], name: &str) -> bool {
    tokens.windows(2).any(|pair| pair[0].is("mod") && pair[1].is(name))
}

/// Lines where a path starts with this crate: `name::...` or `use name;`, not `other::name::...`.
fn crate_uses(tokens: &[Token], name: &str) -> Vec<usize> {
    let starts_path = |at: usize| {
        let inner = at >= 2 && tokens[at - 1].kind == Kind::PathSep && tokens[at - 2].ident().is_some();
        let leads = tokens.get(at + 1).is_some_and(|next| next.kind == Kind::PathSep);
        let used = at >= 1 && tokens[at - 1].is("use");
        !inner && (leads || used)
    };
    (0..tokens.len()).filter(|&at| tokens[at].is(name) && starts_path(at)).map(|at| tokens[at].line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn forbidden_arrows_are_found_however_they_are_written() {
        for text in [
            "use crate::kafka::frame;",
            "use crate::{model::Fleet, kafka::frame};",
            "fn a() { crate::admin::routes(); }",
            "use super::super::kafka::Frame;",
            "mod inner { use super::super::super::kafka; }",
            "use crate::registry;",
        ] {
            assert_eq!(check(rooms, "src/dns/wire.rs", text), 1, "{text}");
        }
        assert_eq!(check(rooms, "src/model/fleet.rs", "use crate::limits;"), 1);
        assert_eq!(check(rooms, "src/server.rs", "use crate::cli;"), 1);
        assert_eq!(check(rooms, "src/main.rs", "fn main() { fingerpost::server::run() }"), 1);
        assert_eq!(check(rooms, "src/cellar/mod.rs", ""), 1, "a new room needs a row");
    }

    #[test]
    fn allowed_arrows_pass() {
        for text in [
            "use crate::model::{Fleet, kafka}; use super::wire; // crate::kafka",
            "#[cfg(test)] mod tests { use crate::registry::memory; }",
            "const A: &str = \"crate::kafka::frame\";",
            "use crate::{dns::names, view::View};",
        ] {
            assert_eq!(check(rooms, "src/dns/answer.rs", text), 0, "{text}");
        }
        assert_eq!(check(rooms, "src/main.rs", "fn main() { fingerpost::cli::main() }"), 0);
        assert_eq!(check(rooms, "src/cli/mod.rs", "use crate::server;"), 0);
    }

    #[test]
    fn crates_stay_in_their_module() {
        assert_eq!(check(crates, "src/dns/answer.rs", "use hickory_proto::rr::Name;"), 1);
        assert_eq!(check(crates, "src/dns/wire.rs", "use hickory_proto::rr::Name;"), 0);
        assert_eq!(check(crates, "src/admin/metrics.rs", "fn a(r: &prometheus::Registry) {}"), 1);
        assert_eq!(check(crates, "src/registry/follow.rs", "use redis::Client;"), 1);
        assert_eq!(check(crates, "src/registry/redis/push.rs", "use redis::Client;"), 0);
        assert_eq!(check(crates, "src/registry/mod.rs", "mod redis; pub use redis::Store;"), 0);
        assert_eq!(check(crates, "src/server.rs", "use crate::registry::redis::Store;"), 0);
    }

    #[test]
    fn what_decides_does_no_io() {
        assert_eq!(check(purity, "src/placement/strategy.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(check(purity, "src/model/fleet.rs", "fn a() { std::fs::read(\"a\"); }"), 1);
        assert_eq!(check(purity, "src/net/udp.rs", "use tokio::net::UdpSocket;"), 0);
    }

    #[test]
    fn no_front_names_redis() {
        assert_eq!(check(redis_in_fronts, "src/admin/routes.rs", "const A: &str = \"Redis is down\";"), 1);
        assert_eq!(check(redis_in_fronts, "src/kafka/topics.rs", "struct RedisTopics;"), 1);
        assert_eq!(check(redis_in_fronts, "src/dns/answer.rs", "// as Redis has it\nfn a() {}"), 0);
    }

    #[test]
    fn time_and_environment_have_one_reader_each() {
        assert_eq!(check(clock_and_environment, "src/dns/udp.rs", "let a = std::time::Instant::now();"), 1);
        assert_eq!(check(clock_and_environment, "src/clock.rs", "let a = Instant::now();"), 0);
        assert_eq!(check(clock_and_environment, "src/cli/mod.rs", "std::env::var(\"HOME\")"), 1);
        assert_eq!(check(clock_and_environment, "src/config/env.rs", "std::env::var(\"HOME\")"), 0);
        assert_eq!(check(clock_and_environment, "src/cli/mod.rs", "std::env::args_os()"), 0);
    }
}
