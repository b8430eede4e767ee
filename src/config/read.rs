//! Walks a literal document along the table of keys: what is valid is kept with its origin, everything else is
//! reported, with its place and the nearest known name.

use super::environment::Environment;
use super::keys::{Fallback, Key, SECTIONS, Section};
use super::node::{self, Datum, Entry, Node};
use super::problem::{Origin, Problems, nearest, nearest_name};
use super::value::Value;
use std::collections::BTreeMap;

/// A valid value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// One occurrence of a section: its valid values, defaults included.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) at: Origin,
    pub(super) values: BTreeMap<&'static str, Found>,
    /// Keys that were given, those that were refused included.
    pub(super) given: Vec<&'static str>,
}

/// All sections of a document.
#[derive(Debug, Default)]
pub(super) struct Document {
    instances: BTreeMap<&'static str, Vec<Instance>>,
}

impl Document {
    /// Every occurrence of a section, in the document's order; a section that is not repeated occurs exactly once.
    pub(super) fn all(&self, section: &str) -> &[Instance] {
        self.instances.get(section).map_or(&[], Vec::as_slice)
    }

    /// Every section that occurs.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'static str, &[Instance])> {
        SECTIONS.iter().map(|section| (section.name, self.all(section.name)))
    }
}

/// Reads a document; `environment` overrides what its variables name.
pub(super) fn read(text: &str, environment: &Environment, problems: &mut Problems) -> Document {
    let root = node::parse(text, problems);
    report_unknown_sections(&root, "", problems);
    let mut document = Document::default();
    for section in SECTIONS {
        let mut tables = Vec::new();
        occurrences(&root, section, problems, &mut tables);
        if tables.is_empty() && !section.repeated {
            tables.push((Origin::Default, [].as_slice()));
        }
        let instances =
            tables.into_iter().map(|(at, entries)| instance(section, at, entries, environment, problems));
        document.instances.insert(section.name, instances.collect());
    }
    for name in environment.unknown() {
        let known = SECTIONS.iter().flat_map(|section| section.keys).filter_map(|key| key.environment);
        problems.stray_variable(name, nearest(name, known));
    }
    document
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|section| section.name == name || section.name.starts_with(&format!("{name}.")))
}

fn report_unknown_sections(root: &[Entry], prefix: &str, problems: &mut Problems) {
    for entry in root {
        if is_section(&format!("{prefix}{}", entry.key)) {
            continue;
        }
        let sections = SECTIONS.iter().map(|section| section.name).filter(|name| !name.contains('.'));
        let owner = SECTIONS
            .iter()
            .filter(|section| !section.repeated)
            .find(|section| section.key(&entry.key).is_some());
        let hint = match (nearest(&entry.key, sections), owner) {
            (_, Some(section)) => Some(format!("it belongs under {}", section.head())),
            (hint, None) => hint,
        };
        let what =
            if matches!(entry.value.datum, Datum::Table(_) | Datum::List(_)) { "section" } else { "key" };
        problems.error(entry.at, format!("unknown {what} {:?}", entry.key), hint);
    }
}

/// The tables of a section. What has its name but is no table is reported.
fn occurrences<'a>(
    root: &'a [Entry],
    section: &Section,
    problems: &mut Problems,
    tables: &mut Vec<(Origin, &'a [Entry])>,
) {
    let mut level = root;
    let mut path = section.name.split('.').peekable();
    while let Some(part) = path.next() {
        let Some(entry) = level.iter().find(|entry| entry.key == part) else { return };
        let last = path.peek().is_none();
        match (&entry.value.datum, last) {
            (Datum::Table(entries), false) => level = entries,
            (Datum::Table(entries), true) if !section.repeated => tables.push((entry.at, entries)),
            (Datum::List(items), true) if section.repeated => {
                for item in items {
                    match &item.datum {
                        Datum::Table(entries) => tables.push((item.at, entries)),
                        other => {
                            problems.error(item.at, format!("{} where a table belongs", other.what()), None)
                        }
                    }
                }
            }
            (_, true) => {
                let hint = Some(format!("write {}", section.head()));
                problems.error(entry.at, format!("{:?} is written the wrong way", section.name), hint);
            }
            // Said once already, for the section above.
            (_, false) => return,
        }
    }
}

fn instance(
    section: &'static Section,
    at: Origin,
    entries: &[Entry],
    environment: &Environment,
    problems: &mut Problems,
) -> Instance {
    report_unknown_keys(section, entries, problems);
    let (mut values, mut given) = (BTreeMap::new(), Vec::new());
    for key in section.keys {
        let full = format!("{}.{}", section.name, key.name);
        let Some(literal) = literal(key, entries, environment) else {
            if matches!(key.default, Fallback::Required(_)) {
                problems.error(at, format!("{} is missing", full), Some(how_to_add(section, key)));
            }
            continue;
        };
        if literal.at != Origin::Default {
            given.push(key.name);
        }
        if let Some(value) = key.kind.read(&full, &literal, problems) {
            values.insert(key.name, Found { value, origin: literal.at });
        }
    }
    Instance { at, values, given }
}

fn how_to_add(section: &Section, key: &Key) -> String {
    let example = match key.default {
        Fallback::Required(example)
        | Fallback::Usual(example)
        | Fallback::Absent(example)
        | Fallback::Is(example) => example,
    };
    let variable = key.environment.map(|name| format!(", or set {name}")).unwrap_or_default();
    format!("add {} = {example} under {}{variable}", key.name, section.head())
}

/// What holds for a key: the environment before the file before the default.
fn literal(key: &Key, entries: &[Entry], environment: &Environment) -> Option<Node> {
    if let Some((name, text)) = key.environment.and_then(|name| Some((name, environment.get(name)?))) {
        return Some(node::from_environment(name, text, key.kind.is_list()));
    }
    match entries.iter().find(|entry| entry.key == key.name) {
        Some(entry) => Some(entry.value.clone()),
        None => match key.default {
            Fallback::Is(default) => Some(node::parse_default(default)),
            Fallback::Required(_) | Fallback::Usual(_) | Fallback::Absent(_) => None,
        },
    }
}

fn report_unknown_keys(section: &Section, entries: &[Entry], problems: &mut Problems) {
    for entry in entries {
        let below = format!("{}.{}", section.name, entry.key);
        if section.key(&entry.key).is_some() || is_section(&below) {
            continue;
        }
        let subsections =
            SECTIONS.iter().filter_map(|other| other.name.strip_prefix(section.name)?.strip_prefix('.'));
        let known: Vec<&str> = section.keys.iter().map(|key| key.name).chain(subsections).collect();
        let elsewhere = SECTIONS.iter().find(|other| other.key(&entry.key).is_some());
        let hint = match (nearest_name(&entry.key, known.iter().copied()), elsewhere) {
            (Some(name), _) => format!("did you mean {name:?}?"),
            (None, Some(other)) => format!("{:?} belongs under {}", entry.key, other.head()),
            (None, None) => format!("the keys here are {}", known.join(", ")),
        };
        problems.error(entry.at, format!("unknown key {:?} in {}", entry.key, section.head()), Some(hint));
    }
}
