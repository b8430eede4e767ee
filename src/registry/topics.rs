//! Topics in the registry: a hash per cluster, field = topic name, value = `{"id":"<uuid>","partitions":<n>}`.

use super::Field;
use super::record::{Refused, shown};
use crate::limits::registry as limits;
use crate::model::Topic;
use crate::model::catalog::MAX_PARTITIONS;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// The topics of one hash, and the fields that were refused (each alone), with the reason.
#[derive(Debug, Default)]
pub struct Topics {
    /// The good ones by name.
    pub topics: BTreeMap<Arc<str>, Topic>,
    /// The others: field (cut, escaped) and reason.
    pub refused: Vec<(String, Refused)>,
}

/// Reads the fields of one topics hash.
pub fn parse(fields: &[Field]) -> Topics {
    let mut out = Topics::default();
    let mut ids = HashSet::new();
    // Which of two topics with one id is kept must not depend on the order that the hash is told in.
    let mut sorted: Vec<&Field> = fields.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        let topic = topic(name, value).and_then(|topic| match ids.insert(topic.id) {
            true => Ok(topic),
            false => Err(Refused::new("id", "another topic of this cluster has it")),
        });
        match topic {
            Ok(topic) => {
                out.topics.insert(Arc::clone(&topic.name), topic);
            }
            Err(refused) => {
                let field = String::from_utf8_lossy(name);
                out.refused.push((shown(&field).escape_debug().to_string(), refused));
            }
        }
    }
    out
}

fn topic(name: &[u8], value: &[u8]) -> Result<Topic, Refused> {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let text = std::str::from_utf8(name)
        .ok()
        .filter(|text| {
            (1..=249).contains(&text.len()) && !matches!(*text, "." | "..") && name.iter().all(legal)
        })
        .ok_or_else(|| Refused::new("name", "it must be 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'"))?;
    if value.len() > limits::TOPIC_BYTES {
        return Err(Refused::new("value", format!("it is larger than {} bytes", limits::TOPIC_BYTES)));
    }
    let value: Value =
        serde_json::from_slice(value).map_err(|error| Refused::new("value", format!("no JSON: {error}")))?;
    let id = value.get("id").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
    let id =
        id.filter(|id| !id.is_nil()).ok_or_else(|| Refused::new("id", "it must be a UUID, not all zeros"))?;
    let partitions = value.get("partitions").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let partitions = partitions.filter(|n| (1..=MAX_PARTITIONS).contains(n)).ok_or_else(|| {
        Refused::new("partitions", format!("it must be a whole number, 1 to {MAX_PARTITIONS}"))
    })?;
    Ok(Topic { name: text.into(), id: id.into_bytes(), partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_refused_alone() {
        let id = |n: u8| format!(r#"{{"id":"00000000-0000-4000-8000-0000000000{n:02x}","partitions":12}}"#);
        let fields: Vec<Field> = [
            ("orders", id(1)),
            ("orders2", id(1)),
            ("a b", id(2)),
            ("..", id(3)),
            ("nil", r#"{"id":"00000000-0000-0000-0000-000000000000","partitions":1}"#.to_owned()),
            ("zero", r#"{"id":"00000000-0000-4000-8000-000000000009","partitions":0}"#.to_owned()),
            ("text", "x".to_owned()),
            ("pay.ments_1", id(4)),
        ]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes()))
        .into();
        let read = parse(&fields);
        let names: Vec<&str> = read.topics.keys().map(|name| &**name).collect();
        assert_eq!(names, ["orders", "pay.ments_1"]);
        assert_eq!(read.topics["orders"].partitions, 12);
        let refused: Vec<String> = read.refused.iter().map(|(name, why)| format!("{name}/{why}")).collect();
        assert_eq!(refused.len(), 6, "{refused:?}");
        assert!(refused.iter().any(|line| line.starts_with("orders2/id: another topic")), "{refused:?}");
    }
}
