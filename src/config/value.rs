//! What a key may hold: the kinds of value, their bounds, and how each is read from the literal document.

use super::node::{Datum, Entry, Node};
use super::problem::{Origin, Problems, nearest};
use super::secret::{Secret, shown_url};
use crate::limits::Bound;
use crate::model::{Cluster, GroupName, LabelError, Zone, catalog::MAX_PARTITIONS};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never printed.
    Secret,
    /// A path of a file.
    Path,
    /// Several paths of files.
    Paths,
    /// The registry's URL.
    Url,
    /// A DNS name.
    DnsName,
    /// A cluster's name.
    Cluster,
    /// A group's name.
    Group,
    /// Several groups' names.
    Groups,
    /// An availability zone.
    Zone,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Number(i64, i64),
    /// A duration such as `"15s"`, or whole seconds, within bounds.
    Time(Duration, Duration),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `address:port`.
    Address,
    /// Several of `address:port`.
    Addresses,
    /// Several texts.
    Texts,
    /// Several DNS names.
    DnsNames,
    /// Several IP addresses.
    Ips,
    /// Several networks: addresses or CIDR blocks.
    Networks,
    /// Where a cluster's topics come from.
    Topics,
}

/// A value that was read and is valid.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text, path, word or URL.
    Text(String),
    /// A secret.
    Secret(Secret),
    /// A cluster's name.
    Cluster(Cluster),
    /// Groups' names (one for a single group).
    Groups(Vec<GroupName>),
    /// A zone.
    Zone(Zone),
    /// A flag.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A duration.
    Time(Duration),
    /// Addresses (one for a single address).
    Addresses(Vec<SocketAddr>),
    /// Texts.
    Texts(Vec<String>),
    /// IP addresses.
    Ips(Vec<IpAddr>),
    /// Topics.
    Topics(TopicSource),
}

/// Where a cluster's topics come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSource {
    /// The registry's hash of topics.
    Registry,
    /// This list.
    Static(Vec<TopicSpec>),
    /// The agents themselves: listeners relay to them.
    Agents,
}

/// A topic of a static list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Its id, where one is given; else it is made from cluster and name.
    pub id: Option<[u8; 16]>,
}

impl Kind {
    /// A duration within a bound.
    pub const fn time(bound: &Bound<Duration>) -> Self {
        Self::Time(bound.min, bound.max)
    }

    /// A duration within a bound that counts seconds.
    pub const fn seconds(bound: &Bound<u32>) -> Self {
        Self::Time(Duration::from_secs(bound.min as u64), Duration::from_secs(bound.max as u64))
    }

    /// A number within a bound.
    pub const fn number(bound: &Bound<usize>) -> Self {
        Self::Number(bound.min as i64, bound.max as i64)
    }

    /// Whether the kind is a list, which an environment variable writes with commas.
    pub(super) fn is_list(self) -> bool {
        matches!(
            self,
            Self::Addresses
                | Self::Groups
                | Self::Texts
                | Self::DnsNames
                | Self::Ips
                | Self::Paths
                | Self::Networks
        )
    }

    /// Reads a literal value; what is wrong goes to `problems`.
    pub(super) fn read(self, key: &str, node: &Node, problems: &mut Problems) -> Option<Value> {
        let outcome = match self {
            Self::Topics => return topics(key, node, problems),
            Self::Addresses => return list(key, node, problems, read_address).map(Value::Addresses),
            Self::DnsNames => return list(key, node, problems, read_dns_name).map(Value::Texts),
            Self::Ips => return list(key, node, problems, read_ip).map(Value::Ips),
            Self::Paths => return list(key, node, problems, read_path).map(Value::Texts),
            Self::Networks => return list(key, node, problems, read_network).map(Value::Texts),
            Self::Texts => return list(key, node, problems, |text| Ok(text.to_owned())).map(Value::Texts),
            Self::Groups => {
                return list(key, node, problems, read_group).map(Value::Groups);
            }
            Self::Flag => read_flag(&node.datum),
            Self::Number(min, max) => read_number(&node.datum, min, max),
            Self::Time(min, max) => read_time(&node.datum, min, max),
            _ => match &node.datum {
                Datum::Text(text) => self.read_text(text),
                other => Err((format!("{} where a text belongs", other.what()), None)),
            },
        };
        match outcome {
            Ok(value) => Some(value),
            Err((what, hint)) => {
                problems.error(node.at, format!("{key}: {what}"), hint);
                None
            }
        }
    }

    pub(super) fn read_text(self, text: &str) -> Result<Value, Wrong> {
        let whole = |text: &str| match text.is_empty() {
            true => Err(("it is empty".to_owned(), Some("leave the key out instead".to_owned()))),
            false => Ok(Value::Text(text.to_owned())),
        };
        match self {
            Self::Secret => match text.is_empty() {
                true => Err(("the secret is empty".to_owned(), None)),
                false => Ok(Value::Secret(Secret::new(text))),
            },
            Self::Url => read_url(text),
            Self::DnsName => read_dns_name(text).map(Value::Text),
            Self::Cluster => {
                Cluster::parse(text).map(Value::Cluster).map_err(|error| no_label("cluster", text, &error))
            }
            Self::Group => read_group(text).map(|group| Value::Groups(vec![group])),
            Self::Zone => Zone::parse(text).map(Value::Zone).map_err(|error| no_label("zone", text, &error)),
            Self::Address => read_address(text).map(|address| Value::Addresses(vec![address])),
            Self::Word(words) => match words.contains(&text) {
                true => Ok(Value::Text(text.to_owned())),
                false => Err((
                    format!("{text:?} is none of {}", words.join(", ")),
                    nearest(text, words.iter().copied()),
                )),
            },
            _ => whole(text),
        }
    }
}

/// What is wrong with a value, and what to do.
pub(super) type Wrong = (String, Option<String>);

fn no_label(kind: &str, text: &str, error: &LabelError) -> Wrong {
    let hint = "names are DNS labels: a-z, 0-9, '-' and '_', at most 63".to_owned();
    (format!("{text:?} is no name for a {kind}: {error}"), Some(hint))
}

fn read_group(text: &str) -> Result<GroupName, Wrong> {
    GroupName::parse(text).map_err(|error| no_label("group", text, &error))
}

fn read_address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let hint =
            "write \"127.0.0.1:9092\", \"[::1]:9092\" or \"0.0.0.0:9092\"; host names are not resolved";
        (format!("{text:?} is no address with a port"), Some(hint.to_owned()))
    })
}

fn read_ip(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().map_err(|_| (format!("{text:?} is no IP address"), None))
}

fn read_path(text: &str) -> Result<String, Wrong> {
    match text.is_empty() {
        true => Err(("an empty path".to_owned(), None)),
        false => Ok(text.to_owned()),
    }
}

/// An address or a CIDR block, as it is written.
fn read_network(text: &str) -> Result<String, Wrong> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let most = address.parse::<IpAddr>().ok().map(|ip| if ip.is_ipv4() { 32 } else { 128 });
    let fits = |most: u8| length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= most));
    match most.is_some_and(fits) {
        true => Ok(text.to_owned()),
        false => {
            let hint = "write an address or a CIDR block, such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
            Err((format!("{text:?} is no network"), Some(hint.to_owned())))
        }
    }
}

fn read_url(text: &str) -> Result<Value, Wrong> {
    const SCHEMES: [&str; 6] =
        ["redis://", "rediss://", "valkey://", "valkeys://", "redis+unix://", "valkey+unix://"];
    let hint =
        || Some("write \"redis://host:6379\", or \"memory:\" for a registry within this process".to_owned());
    if text == "memory:" {
        return Ok(Value::Text(text.to_owned()));
    }
    if text.ends_with("#insecure") {
        let hint = Some("name the authority of its certificate by ca_file".to_owned());
        return Err(("\"#insecure\" would believe anybody".to_owned(), hint));
    }
    match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        None => Err((format!("{:?} is no registry URL", shown_url(text)), hint())),
        Some("" | "/") => Err((format!("{text:?} names no host"), hint())),
        Some(_) => Ok(Value::Text(text.to_owned())),
    }
}

/// A DNS name in lower case without its last dot.
pub(super) fn read_dns_name(text: &str) -> Result<String, Wrong> {
    let wrong = |why: String| (format!("{text:?} is no DNS name: {why}"), None);
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return Err(wrong("it has no label".to_owned()));
    }
    if name.len() > 253 {
        return Err(wrong(format!("it has {} bytes, 253 are allowed", name.len())));
    }
    for label in name.split('.') {
        crate::model::Label::parse(label).map_err(|error| wrong(format!("in {label:?} {error}")))?;
    }
    Ok(name)
}

fn read_flag(datum: &Datum) -> Result<Value, Wrong> {
    match datum {
        Datum::Flag(flag) => Ok(Value::Flag(*flag)),
        Datum::Text(text) if text == "true" => Ok(Value::Flag(true)),
        Datum::Text(text) if text == "false" => Ok(Value::Flag(false)),
        other => Err((format!("{} where true or false belongs", other.what()), None)),
    }
}

fn read_number(datum: &Datum, min: i64, max: i64) -> Result<Value, Wrong> {
    let number = match datum {
        Datum::Integer(number) => *number,
        Datum::Text(text) => text.parse().map_err(|_| ("a text where a number belongs".to_owned(), None))?,
        other => return Err((format!("{} where a number belongs", other.what()), None)),
    };
    match (min..=max).contains(&number) {
        true => Ok(Value::Number(number)),
        false => Err((format!("{number} is out of bounds"), Some(format!("{min} to {max} are allowed")))),
    }
}

fn read_time(datum: &Datum, min: Duration, max: Duration) -> Result<Value, Wrong> {
    let how = || Some("write \"15s\", \"500ms\", \"1h\", or whole seconds".to_owned());
    let time = match datum {
        Datum::Integer(seconds) => match u64::try_from(*seconds) {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => return Err((format!("{seconds} is no duration"), how())),
        },
        Datum::Text(text) => match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => humantime::parse_duration(text)
                .map_err(|error| (format!("{text:?} is no duration: {error}"), how()))?,
        },
        other => return Err((format!("{} where a duration belongs", other.what()), how())),
    };
    match (min..=max).contains(&time) {
        true => Ok(Value::Time(time)),
        false => {
            let bounds = format!("{} to {} are allowed", shown_time(min), shown_time(max));
            Err((format!("{} is out of bounds", shown_time(time)), Some(bounds)))
        }
    }
}

/// A duration as configurations write it.
pub fn shown_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// Reads every item of a list, so that each wrong one is reported.
fn list<T>(
    key: &str,
    node: &Node,
    problems: &mut Problems,
    read: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<Vec<T>> {
    let Datum::List(items) = &node.datum else {
        let hint = Some("put it in brackets: [\"…\"]".to_owned());
        problems.error(node.at, format!("{key}: {} where a list belongs", node.datum.what()), hint);
        return None;
    };
    let mut all = true;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let read = match &item.datum {
            Datum::Text(text) => read(text),
            other => Err((format!("{} where a text belongs", other.what()), None)),
        };
        match read {
            Ok(value) => values.push(value),
            Err((what, hint)) => {
                all = false;
                problems.error(item.at, format!("{key}: {what}"), hint);
            }
        }
    }
    all.then_some(values)
}

/// The fields of an inline table; what is unknown or twice is reported.
struct Fields<'a> {
    key: &'a str,
    at: Origin,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    fn of(key: &'a str, node: &'a Node, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Datum::Table(entries) = &node.datum else {
            let hint = Some(format!("write {{ {} = … }}", known.first().unwrap_or(&"name")));
            problems.error(node.at, format!("{key}: {} where a table belongs", node.datum.what()), hint);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = nearest(&entry.key, known.iter().copied())
                .unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
            problems.error(entry.at, format!("unknown key {:?} in {key}", entry.key), Some(hint));
        }
        Some(Self { key, at: node.at, entries })
    }

    fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
    }

    fn read(&self, name: &str, kind: Kind, problems: &mut Problems) -> Option<Value> {
        self.get(name).and_then(|node| kind.read(&format!("{}.{name}", self.key), node, problems))
    }

    fn need(&self, name: &str, kind: Kind, problems: &mut Problems) -> Option<Value> {
        if self.get(name).is_none() {
            problems.error(self.at, format!("{}: {name} is missing", self.key), None);
        }
        self.read(name, kind, problems)
    }
}

fn topics(key: &str, node: &Node, problems: &mut Problems) -> Option<Value> {
    let fields = Fields::of(key, node, &["source", "list"], problems)?;
    let source = fields.need("source", Kind::Word(&["registry", "redis", "static", "agents"]), problems)?;
    let listed = fields.get("list");
    if source != Value::Text("static".to_owned()) {
        if let Some(node) = listed {
            let hint = Some("write source = \"static\", or leave the list out".to_owned());
            problems.error(node.at, format!("{key}: only source = \"static\" takes a list"), hint);
        }
        let agents = source == Value::Text("agents".to_owned());
        return Some(Value::Topics(if agents { TopicSource::Agents } else { TopicSource::Registry }));
    }
    let Some(node) = listed else {
        let hint = Some("write list = [{ name = \"orders\", partitions = 12 }]".to_owned());
        problems.error(fields.at, format!("{key}: list is missing"), hint);
        return None;
    };
    let Datum::List(items) = &node.datum else {
        problems.error(node.at, format!("{key}.list: {} where a list belongs", node.datum.what()), None);
        return None;
    };
    let list_key = format!("{key}.list");
    let mut specs: Vec<TopicSpec> = Vec::with_capacity(items.len());
    let mut all = true;
    for item in items {
        match topic(&list_key, item, problems) {
            Some(spec) if specs.iter().any(|have| have.name == spec.name) => {
                problems.error(item.at, format!("{list_key}: topic {:?} is listed twice", spec.name), None);
                all = false;
            }
            Some(spec) => specs.push(spec),
            None => all = false,
        }
    }
    all.then_some(Value::Topics(TopicSource::Static(specs)))
}

fn topic(key: &str, node: &Node, problems: &mut Problems) -> Option<TopicSpec> {
    let fields = Fields::of(key, node, &["name", "partitions", "id"], problems)?;
    let name = fields.need("name", Kind::Text, problems);
    let partitions = fields.need("partitions", Kind::Number(1, MAX_PARTITIONS as i64), problems);
    let id = match fields.read("id", Kind::Text, problems) {
        Some(Value::Text(text)) => {
            let id = uuid::Uuid::parse_str(&text).ok().filter(|id| !id.is_nil());
            if id.is_none() {
                let hint = Some("write 8-4-4-4-12 hexadecimal digits, not all zero".to_owned());
                problems.error(fields.at, format!("{key}: {text:?} is no topic id"), hint);
            }
            Some(id?.into_bytes())
        }
        _ => None,
    };
    let (Some(Value::Text(name)), Some(Value::Number(partitions))) = (name, partitions) else { return None };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() > 249 || !name.chars().all(legal) || name == "." || name == ".." {
        let hint = Some("Kafka allows 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'".to_owned());
        problems.error(fields.at, format!("{key}: {name:?} is no topic name"), hint);
        return None;
    }
    Some(TopicSpec { name, partitions: i32::try_from(partitions).ok()?, id })
}

impl fmt::Display for Value {
    /// As the file would write it; a secret as `(secret)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        match self {
            Self::Text(text) => write!(f, "{:?}", shown_url(text)),
            Self::Secret(_) => f.write_str("(secret)"),
            Self::Cluster(name) => write!(f, "\"{name}\""),
            Self::Zone(name) => write!(f, "\"{name}\""),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Time(time) => write!(f, "\"{}\"", shown_time(*time)),
            Self::Groups(all) => f.write_str(&quoted(all.iter().map(|name| format!("\"{name}\"")).collect())),
            Self::Addresses(all) => {
                f.write_str(&quoted(all.iter().map(|address| format!("\"{address}\"")).collect()))
            }
            Self::Texts(all) => f.write_str(&quoted(all.iter().map(|text| format!("{text:?}")).collect())),
            Self::Ips(all) => f.write_str(&quoted(all.iter().map(|ip| format!("\"{ip}\"")).collect())),
            Self::Topics(TopicSource::Registry) => f.write_str("{ source = \"registry\" }"),
            Self::Topics(TopicSource::Agents) => f.write_str("{ source = \"agents\" }"),
            Self::Topics(TopicSource::Static(list)) => {
                write!(f, "{{ source = \"static\" }} ({} topics)", list.len())
            }
        }
    }
}
