//! The table of keys as text: the commented example file and the reference page are both made here, and tests hold
//! the files in the repository against it.

use super::keys::{Fallback, Key, SECTIONS, Section};
use super::value::{Kind, shown_time};
use std::fmt::Write;

/// `examples/fingerpost.toml`: every key with its meaning, bounds and default. Keys without a default are
/// commented out unless their section needs them.
pub fn example() -> String {
    let mut text = String::from(
        "# fingerpost: every key, with its default. Keys that are commented out have none.\n\
         # Paths are looked for beside this file first, then in the working directory.\n\
         # Durations are \"500ms\", \"15s\", \"1h\", or whole seconds. `fingerpost check --config FILE` tries it all.\n",
    );
    for section in SECTIONS {
        let _ = write!(text, "\n# {}\n{}\n", section.meaning, head(section));
        for key in section.keys {
            describe(&mut text, section, key);
        }
    }
    text
}

/// Sections that a server does without stay commented out in the example.
fn is_left_out(section: &Section) -> bool {
    matches!(section.name, "admin.tokens" | "dns.tsig_key" | "dns.secondary")
}

fn head(section: &Section) -> String {
    if is_left_out(section) { format!("# {}", section.head()) } else { section.head() }
}

fn describe(text: &mut String, section: &Section, key: &Key) {
    let _ = writeln!(text, "# {}", key.meaning.replace('`', ""));
    let notes: Vec<String> = [bounds(key.kind), key.environment.map(|name| format!("environment: {name}"))]
        .into_iter()
        .flatten()
        .collect();
    if !notes.is_empty() {
        let _ = writeln!(text, "# ({})", notes.join("; "));
    }
    let line = match key.default {
        Fallback::Is(value) | Fallback::Required(value) | Fallback::Usual(value) if !is_left_out(section) => {
            format!("{} = {value}", key.name)
        }
        Fallback::Is(value)
        | Fallback::Required(value)
        | Fallback::Usual(value)
        | Fallback::Absent(value) => {
            format!("#{} = {value}", key.name)
        }
    };
    let _ = writeln!(text, "{line}");
}

fn bounds(kind: Kind) -> Option<String> {
    match kind {
        Kind::Number(min, max) => Some(format!("{min} to {max}")),
        Kind::Time(min, max) => Some(format!("{} to {}", shown_time(min), shown_time(max))),
        Kind::Word(words) => Some(words.join(", ")),
        _ => None,
    }
}

/// The table part of `docs/config.md`.
pub fn tables() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let _ = write!(text, "\n### `{}`\n\n{}\n\n", section.head(), section.meaning);
        text.push_str("| key | takes | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in section.keys {
            let default = match key.default {
                Fallback::Is(value) => format!("`{value}`"),
                Fallback::Required(_) => "**required**".to_owned(),
                Fallback::Absent(_) | Fallback::Usual(_) => "none".to_owned(),
            };
            let variable = key.environment.map(|name| format!(" Environment: `{name}`.")).unwrap_or_default();
            let takes = takes(key.kind);
            let meaning = key.meaning.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {takes} | {default} | {meaning}{variable} |", key.name);
        }
    }
    text
}

fn takes(kind: Kind) -> String {
    let what = match kind {
        Kind::Text => "text",
        Kind::Secret => "secret",
        Kind::Path => "path",
        Kind::Paths => "list of paths",
        Kind::Networks => "list of networks",
        Kind::Url => "URL",
        Kind::DnsName => "DNS name",
        Kind::Cluster | Kind::Group | Kind::Zone => "label",
        Kind::Groups => "list of labels",
        Kind::Flag => "`true`, `false`",
        Kind::Number(..) => "number",
        Kind::Time(..) => "duration",
        Kind::Word(_) => "one of",
        Kind::Address => "address:port",
        Kind::Addresses => "list of address:port",
        Kind::Texts => "list of texts",
        Kind::DnsNames => "list of DNS names",
        Kind::Ips => "list of IP addresses",
        Kind::Topics => "table",
    };
    match bounds(kind) {
        Some(bounds) => format!("{what}: {bounds}"),
        None => what.to_owned(),
    }
}
