//! The record contract (`docs/registry.md`): the JSON value of an agent's key, read with an exact reason for every
//! refusal, and written. The bytes come from outside: their length is looked at before anything is parsed.

use crate::limits::registry as limits;
use crate::model::agent::{DEFAULT_KAFKA_PORT, DEFAULT_WEIGHT, KAFKA_SERVICE};
use crate::model::{Label, Record, State, Zone};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The version of the contract that is read and written.
const VERSION: u64 = 1;
/// Largest Kafka node id: Java clients use `Integer.MAX_VALUE - id` for coordinators, which must stay apart.
pub const MAX_NODE_ID: i32 = (1 << 30) - 1;

/// Why a record was refused: which field, and what is wrong or allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    field: String,
    reason: String,
}

impl Refused {
    /// A refusal because of `field`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Refused {}

/// Reads a record. Unknown fields are left alone; only `addresses` is required.
pub fn parse(bytes: &[u8]) -> Result<Record, Refused> {
    if bytes.len() > limits::RECORD_BYTES {
        return Err(Refused::new("value", format!("it is larger than {} bytes", limits::RECORD_BYTES)));
    }
    if bytes.is_empty() {
        return Err(Refused::new("value", "it is empty; write the record as a JSON object"));
    }
    // serde_json gives up at 128 levels, so nesting can't exhaust the stack.
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| Refused::new("value", format!("no JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(Refused::new("value", "it must be a JSON object"));
    };
    let fields = Fields(fields);
    if let Some(version) = fields.get("v")
        && version.as_u64() != Some(VERSION)
    {
        return Err(Refused::new("v", format!("{} is not known, write {VERSION}", brief(version))));
    }
    Ok(Record {
        zone: fields.parsed("zone", Zone::parse)?,
        addresses: addresses(&fields)?,
        ports: ports(&fields)?,
        advertise: fields.text("advertise")?.map(host).transpose()?,
        roles: roles(&fields)?,
        state: state(&fields)?,
        weight: weight(&fields)?,
        connections: fields.get("load").and_then(|load| load.get("connections")).and_then(Value::as_u64),
        node_id: node_id(&fields)?,
        version: fields.for_people("version")?,
        started_at: fields.for_people("started_at")?,
    })
}

/// Writes a record as the contract has it; what it reads back equals it.
pub fn to_json(record: &Record) -> String {
    let mut out = Map::new();
    out.insert("v".into(), json!(VERSION));
    if let Some(zone) = &record.zone {
        out.insert("zone".into(), json!(zone.as_str()));
    }
    out.insert("addresses".into(), record.addresses.iter().map(|address| json!(address)).collect());
    let ports: Map<String, Value> =
        record.ports.iter().map(|(name, port)| (name.as_str().to_owned(), json!(port))).collect();
    out.insert("ports".into(), Value::Object(ports));
    if let Some(host) = &record.advertise {
        out.insert("advertise".into(), json!(&**host));
    }
    if !record.roles.is_empty() {
        out.insert("roles".into(), record.roles.iter().map(|role| json!(role.as_str())).collect());
    }
    out.insert("state".into(), json!(record.state.as_str()));
    out.insert("weight".into(), json!(record.weight));
    if let Some(connections) = record.connections {
        out.insert("load".into(), json!({ "connections": connections }));
    }
    if let Some(id) = record.node_id {
        out.insert("node_id".into(), json!(id));
    }
    for (name, text) in [("version", &record.version), ("started_at", &record.started_at)] {
        if let Some(text) = text {
            out.insert(name.into(), json!(&**text));
        }
    }
    Value::Object(out).to_string()
}

/// Whether an address can be told to a client: not unspecified, multicast or broadcast.
fn is_usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

fn addresses(fields: &Fields) -> Result<Vec<IpAddr>, Refused> {
    let Some(value) = fields.get("addresses") else {
        return Err(Refused::new("addresses", "it is missing; give at least one IP address"));
    };
    let list = bounded(value, "addresses", limits::RECORD_ADDRESSES)?;
    let mut out = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let field = || format!("addresses[{at}]");
        let text = item.as_str().ok_or_else(|| wrong(field(), item, "an IP address as text"))?;
        let address =
            text.parse::<IpAddr>().map_err(|_| wrong(field(), item, "an IP address without port"))?;
        let address = address.to_canonical();
        if !is_usable(address) {
            return Err(wrong(field(), item, "an address that a client can connect to"));
        }
        if !out.contains(&address) {
            out.push(address);
        }
    }
    match out.is_empty() {
        true => Err(Refused::new("addresses", "it is empty; give at least one IP address")),
        false => Ok(out),
    }
}

fn ports(fields: &Fields) -> Result<BTreeMap<Label, u16>, Refused> {
    let mut out = BTreeMap::new();
    if let Some(value) = fields.get("ports") {
        let Value::Object(ports) = value else {
            return Err(wrong("ports", value, "an object of ports by name"));
        };
        if ports.len() > limits::RECORD_PORTS {
            return Err(too_many("ports", ports.len(), limits::RECORD_PORTS));
        }
        for (name, value) in ports {
            let field = || format!("ports.{}", shown(name));
            let label = Label::parse(name).map_err(|error| Refused::new(field(), error.to_string()))?;
            let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
            let port = port.ok_or_else(|| wrong(field(), value, "a port, 1 to 65535"))?;
            if out.insert(label, port).is_some() {
                return Err(Refused::new(field(), "it is there twice (case does not count)"));
            }
        }
    }
    if let Ok(kafka) = Label::parse(KAFKA_SERVICE) {
        out.entry(kafka).or_insert(DEFAULT_KAFKA_PORT);
    }
    Ok(out)
}

fn roles(fields: &Fields) -> Result<Vec<Label>, Refused> {
    let Some(value) = fields.get("roles") else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (at, item) in bounded(value, "roles", limits::RECORD_ROLES)?.iter().enumerate() {
        let field = || format!("roles[{at}]");
        let text = item.as_str().ok_or_else(|| wrong(field(), item, "a role as text"))?;
        let role = Label::parse(text).map_err(|error| wrong(field(), item, &error.to_string()))?;
        if !out.contains(&role) {
            out.push(role);
        }
    }
    Ok(out)
}

fn state(fields: &Fields) -> Result<State, Refused> {
    match fields.text("state")? {
        None | Some("ready") => Ok(State::Ready),
        Some("draining") => Ok(State::Draining),
        Some(other) => {
            Err(Refused::new("state", format!("{:?} is neither \"ready\" nor \"draining\"", shown(other))))
        }
    }
}

fn weight(fields: &Fields) -> Result<u16, Refused> {
    let Some(value) = fields.get("weight") else { return Ok(DEFAULT_WEIGHT) };
    let weight = value.as_u64().and_then(|weight| u16::try_from(weight).ok());
    weight.ok_or_else(|| wrong("weight", value, "a whole number, 0 to 65535"))
}

fn node_id(fields: &Fields) -> Result<Option<i32>, Refused> {
    let Some(value) = fields.get("node_id") else { return Ok(None) };
    let id = value.as_i64().and_then(|id| i32::try_from(id).ok()).filter(|id| (1..=MAX_NODE_ID).contains(id));
    id.map(Some).ok_or_else(|| wrong("node_id", value, &format!("a whole number, 1 to {MAX_NODE_ID}")))
}

/// A host that clients are told: an IP address that can be connected to, or a host name.
fn host(text: &str) -> Result<Arc<str>, Refused> {
    let refuse = |what: &str| Refused::new("advertise", format!("{:?} is not {what}", shown(text)));
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        return match is_usable(address) {
            true => Ok(address.to_string().into()),
            false => Err(refuse("an address that a client can connect to")),
        };
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // A name whose last label is a number is a mistyped address to every resolver.
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if name.len() > 253 || numeric || !name.split('.').all(label) {
        return Err(refuse("a host name or an IP address (without port: that goes into ports.kafka)"));
    }
    Ok(name.into())
}

/// The fields of a record. A field that is `null` is absent: many serialisers write it so.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, Refused> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(field, value, "text"))
    }

    fn parsed<T, E: fmt::Display>(
        &self,
        field: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        parse(text)
            .map(Some)
            .map_err(|error| Refused::new(field, format!("{:?} can't be used: {error}", shown(text))))
    }

    /// Text that only people read. It ends up in terminals and DNS, so it is short and printable ASCII.
    fn for_people(&self, field: &'static str) -> Result<Option<Arc<str>>, Refused> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        if text.len() > limits::RECORD_TEXT || text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(Refused::new(
                field,
                format!("it must be at most {} bytes of printable ASCII", limits::RECORD_TEXT),
            ));
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

fn bounded<'a>(value: &'a Value, field: &str, most: usize) -> Result<&'a [Value], Refused> {
    let Value::Array(list) = value else { return Err(wrong(field, value, "a list")) };
    match list.len() > most {
        true => Err(too_many(field, list.len(), most)),
        false => Ok(list),
    }
}

fn too_many(field: &str, seen: usize, most: usize) -> Refused {
    Refused::new(field, format!("it has {seen} entries, {most} are allowed"))
}

fn wrong(field: impl Into<String>, value: &Value, wanted: &str) -> Refused {
    Refused::new(field, format!("{} is not {wanted}", brief(value)))
}

/// A value as it may be shown: short. Text is escaped by its JSON form, so that it can't drive a terminal.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", shown(text)),
        other => other.to_string(),
    }
}

/// The beginning of a text from outside. Show it with `{:?}`.
pub(super) fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn the_contracts_example_is_read_and_written_back_the_same() {
        let text = r#"{"v":1, "zone":"us-east-1a", "addresses":["10.0.1.17","2001:db8::17","::ffff:10.0.1.17"],
            "ports":{"kafka":9093,"schema-registry":9094}, "advertise":"b17.example", "roles":["proxy-produce"],
            "state":"draining", "weight":7, "load":{"connections":132,"cpu":0.5}, "node_id":17, "version":"1.2.3",
            "started_at":"2026-11-22T10:00:00Z", "unknown":{"kept":"out of the way"}}"#;
        let record = parse(text.as_bytes()).unwrap();
        assert_eq!(record.addresses.len(), 2, "the mapped address is the first one again");
        assert_eq!((record.kafka_port(), record.port("schema-registry")), (9093, Some(9094)));
        assert_eq!((record.state, record.weight, record.node_id), (State::Draining, 7, Some(17)));
        assert_eq!(record.connections, Some(132));
        let again = parse(to_json(&record).as_bytes()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.connections, record.connections);
    }

    #[test]
    fn only_addresses_are_required() {
        let record = parse(br#"{"addresses":["10.0.0.1"],"zone":null}"#).unwrap();
        assert_eq!((record.kafka_port(), record.weight, record.state), (9092, 100, State::Ready));
        assert!(record.zone.is_none() && record.roles.is_empty());
    }

    #[test]
    fn a_refusal_names_the_field_and_what_is_allowed() {
        let cases = [
            ("", "value: it is empty"),
            ("{", "value: no JSON"),
            ("[]", "value: it must be a JSON object"),
            ("{}", "addresses: it is missing"),
            (r#"{"v":2,"addresses":["10.0.0.1"]}"#, "v: 2 is not known, write 1"),
            (r#"{"v":"1","addresses":["10.0.0.1"]}"#, "v: \"1\" is not known"),
            (r#"{"addresses":[]}"#, "addresses: it is empty"),
            (r#"{"addresses":"10.0.0.1"}"#, "addresses: \"10.0.0.1\" is not a list"),
            (r#"{"addresses":["10.0.0.1",7]}"#, "addresses[1]: 7 is not"),
            (r#"{"addresses":["10.0.0.1:9092"]}"#, "addresses[0]: \"10.0.0.1:9092\" is not an IP address"),
            (r#"{"addresses":["0.0.0.0"]}"#, "addresses[0]: \"0.0.0.0\" is not an address that"),
            (r#"{"addresses":["::ffff:0.0.0.0"]}"#, "addresses[0]"),
            (r#"{"addresses":["255.255.255.255"]}"#, "addresses[0]"),
            (r#"{"addresses":["ff02::1"]}"#, "addresses[0]"),
            (r#"{"addresses":["10.0.0.1"],"zone":"a.b"}"#, "zone: \"a.b\" can't be used"),
            (r#"{"addresses":["10.0.0.1"],"ports":{"kafka":0}}"#, "ports.kafka: 0 is not a port"),
            (r#"{"addresses":["10.0.0.1"],"ports":{"kafka":65536}}"#, "ports.kafka"),
            (r#"{"addresses":["10.0.0.1"],"ports":{"a b":1}}"#, "ports.a b"),
            (r#"{"addresses":["10.0.0.1"],"ports":{"x":1,"X":2}}"#, "there twice"),
            (r#"{"addresses":["10.0.0.1"],"advertise":"0.0.0.0"}"#, "advertise: \"0.0.0.0\""),
            (r#"{"addresses":["10.0.0.1"],"advertise":"host:9092"}"#, "advertise"),
            (r#"{"addresses":["10.0.0.1"],"advertise":"10.0.0.300"}"#, "advertise"),
            (r#"{"addresses":["10.0.0.1"],"advertise":""}"#, "advertise"),
            (r#"{"addresses":["10.0.0.1"],"roles":["a","b c"]}"#, "roles[1]"),
            (r#"{"addresses":["10.0.0.1"],"state":"Ready"}"#, "state: \"Ready\" is neither"),
            (r#"{"addresses":["10.0.0.1"],"weight":-1}"#, "weight: -1 is not"),
            (r#"{"addresses":["10.0.0.1"],"node_id":0}"#, "node_id: 0 is not"),
            (r#"{"addresses":["10.0.0.1"],"node_id":1073741824}"#, "node_id"),
            (r#"{"addresses":["10.0.0.1"],"version":"\u001b[2J"}"#, "version"),
        ];
        for (text, reason) in cases {
            let seen = refused(text);
            assert!(seen.starts_with(reason) || seen.contains(reason), "{text}: {seen}");
        }
    }

    #[test]
    fn size_count_and_depth_are_bounded() {
        let huge = format!(r#"{{"addresses":["10.0.0.1"],"x":"{}"}}"#, "x".repeat(limits::RECORD_BYTES));
        assert!(refused(&huge).contains("larger than 16384"));
        assert!(refused(&"[".repeat(16_000)).starts_with("value: no JSON"));
        let many: Vec<String> = (0..33).map(|i| format!("\"10.0.0.{i}\"")).collect();
        assert!(
            refused(&format!(r#"{{"addresses":[{}]}}"#, many.join(",")))
                .contains("33 entries, 32 are allowed")
        );
        let long = format!(r#"{{"addresses":["10.0.0.1"],"advertise":"{}"}}"#, "a.".repeat(200));
        assert!(refused(&long).len() < 200, "a refusal is short whatever was written");
    }

    #[test]
    fn no_bytes_make_the_parser_fail_otherwise_than_by_refusing() {
        let seed = br#"{"v":1,"zone":"a","addresses":["10.0.1.17","2001:db8::17"],"ports":{"kafka":9092},"weight":10}"#;
        let mut random = fastrand::Rng::with_seed(7);
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            if let Ok(record) = parse(&bytes) {
                accepted += 1;
                assert!(!record.addresses.is_empty() && record.addresses.iter().all(|a| is_usable(*a)));
                assert_eq!(parse(to_json(&record).as_bytes()).unwrap(), record);
            }
        }
        assert!((100..20_000).contains(&accepted), "{accepted}: the mutations reach both outcomes");
    }
}
