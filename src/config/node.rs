//! The literal document: a tree of values that each know where they stand. The only file that knows the TOML parser.

use super::problem::{Origin, Problems};
use toml::de::{DeTable, DeValue};

/// One literal value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Origin,
    pub(super) datum: Datum,
}

/// What a literal value is.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Floats, dates and integers beyond 64 bits: no key takes them.
    Odd(&'static str),
}

/// A key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key itself stands.
    pub(super) at: Origin,
    pub(super) value: Node,
}

impl Datum {
    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Odd(what) => what,
        }
    }
}

/// Parses a document; syntax errors go to `problems`, and what could be read is returned anyway.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(Origin::Default, |span| position(text, span.start));
        problems.error(at, format!("not TOML: {}", error.message().trim()), None);
    }
    entries(text, table.get_ref())
}

/// Parses one value that we wrote ourselves (a default).
pub(super) fn parse_default(text: &'static str) -> Node {
    let (value, errors) = DeValue::parse_recoverable(text);
    debug_assert!(errors.is_empty(), "the default {text} is TOML");
    let mut node = node(text, Origin::Default, value.get_ref());
    forget_places(&mut node);
    node
}

/// A text from an environment variable as a value. `list` splits it at commas.
pub(super) fn from_environment(name: &'static str, text: &str, list: bool) -> Node {
    let at = Origin::Environment(name);
    let one = |text: &str| Node { at, datum: Datum::Text(text.trim().to_owned()) };
    match list {
        false => one(text),
        true => Node {
            at,
            datum: Datum::List(text.split(',').filter(|part| !part.trim().is_empty()).map(one).collect()),
        },
    }
}

fn forget_places(node: &mut Node) {
    node.at = Origin::Default;
    match &mut node.datum {
        Datum::List(list) => list.iter_mut().for_each(forget_places),
        Datum::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = Origin::Default;
            forget_places(&mut entry.value);
        }),
        _ => {}
    }
}

fn entries(text: &str, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<(usize, Entry)> = table
        .iter()
        .map(|(key, value)| {
            let at = position(text, key.span().start);
            let value = node(text, position(text, value.span().start), value.get_ref());
            (key.span().start, Entry { key: key.get_ref().to_string(), at, value })
        })
        .collect();
    entries.sort_by_key(|(start, _)| *start);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn node(text: &str, at: Origin, value: &DeValue<'_>) -> Node {
    let datum = match value {
        DeValue::String(text) => Datum::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Datum::Integer(number),
            Err(_) => Datum::Odd("a number beyond 64 bits"),
        },
        DeValue::Boolean(flag) => Datum::Flag(*flag),
        DeValue::Array(list) => Datum::List(
            list.iter().map(|item| node(text, position(text, item.span().start), item.get_ref())).collect(),
        ),
        DeValue::Table(table) => Datum::Table(entries(text, table)),
        DeValue::Float(_) => Datum::Odd("a fraction"),
        DeValue::Datetime(_) => Datum::Odd("a date"),
    };
    Node { at, datum }
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
    Origin::File { line: before.matches('\n').count() + 1, column }
}
