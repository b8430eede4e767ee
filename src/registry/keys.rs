//! Key text: `<prefix>:agent:{<cluster>}:<group>:<agent>` and `<prefix>:topics:{<cluster>}`, read and written.
//!
//! Who an agent is stands in its key and nowhere else, so that the registry's access rights on key patterns are a
//! real border between groups. For the same reason a key has one spelling: upper case is refused, not folded.

use super::Error;
use super::record::Refused;
use crate::limits::registry as limits;
use crate::model::ids::is_key_prefix;
use crate::model::{AgentId, AgentKey, Cluster, GroupName, LabelError};

/// What a registry's keys begin with, unless told otherwise.
pub const DEFAULT_PREFIX: &str = "fingerpost";

/// The part of a registry that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    agents: String,
    topics: String,
    zones: String,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An agent's record.
    Agent(AgentKey),
    /// The topics of a cluster.
    Topics(Cluster),
}

/// The two kinds of keys, for scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Records of agents.
    Agents,
    /// Topics of clusters.
    Topics,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self::of(DEFAULT_PREFIX)
    }
}

impl Keyspace {
    /// The keys that begin with `prefix`: 1 to 64 of `[A-Za-z0-9_.:-]`, for it becomes part of a SCAN pattern.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        if !is_key_prefix(prefix) {
            return Err(Error::Url(format!(
                "the key prefix {:?} must be 1 to 64 of a-z, A-Z, 0-9 and _.:-",
                super::record::shown(prefix)
            )));
        }
        Ok(Self::of(prefix))
    }

    fn of(prefix: &str) -> Self {
        Self {
            agents: format!("{prefix}:agent:"),
            topics: format!("{prefix}:topics:"),
            zones: format!("{prefix}:zone:"),
        }
    }

    /// What every key of one kind begins with.
    pub fn prefix(&self, space: Space) -> &str {
        match space {
            Space::Agents => &self.agents,
            Space::Topics => &self.topics,
        }
    }

    /// The key of an agent's record.
    pub fn agent(&self, key: &AgentKey) -> String {
        format!("{}{{{}}}:{}:{}", self.agents, key.cluster, key.group, key.agent)
    }

    /// The key of a cluster's topics.
    pub fn topics(&self, cluster: &Cluster) -> String {
        format!("{}{{{cluster}}}", self.topics)
    }

    /// The key of what the replicas agreed on for a DNS zone; no final dot.
    pub fn zone(&self, apex: &str) -> String {
        format!("{}{{{apex}}}", self.zones)
    }

    /// Whether `key` is of that kind, well written or not.
    pub fn is(&self, space: Space, key: &[u8]) -> bool {
        key.starts_with(self.prefix(space).as_bytes())
    }

    /// Reads a key that lies under our prefix.
    pub fn parse(&self, key: &[u8]) -> Result<Key, Refused> {
        if key.len() > limits::KEY_BYTES {
            return Err(refuse(format!("it has {} bytes, {} are allowed", key.len(), limits::KEY_BYTES)));
        }
        let text = std::str::from_utf8(key).map_err(|_| refuse("it is not UTF-8"))?;
        if let Some(rest) = text.strip_prefix(&self.topics) {
            let inner = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let cluster = inner.ok_or_else(|| refuse(format!("write it {}{{<cluster>}}", self.topics)))?;
            return Ok(Key::Topics(name("cluster", cluster, Cluster::parse)?));
        }
        let form = || refuse(format!("write it {}{{<cluster>}}:<group>:<agent>", self.agents));
        let rest = text.strip_prefix(&self.agents).ok_or_else(form)?;
        let (cluster, rest) =
            rest.strip_prefix('{').and_then(|rest| rest.split_once("}:")).ok_or_else(form)?;
        let (group, agent) = rest.split_once(':').ok_or_else(form)?;
        Ok(Key::Agent(AgentKey {
            cluster: name("cluster", cluster, Cluster::parse)?,
            group: name("group", group, GroupName::parse)?,
            agent: name("agent", agent, AgentId::parse)?,
        }))
    }
}

fn name<T>(part: &str, text: &str, parse: impl Fn(&str) -> Result<T, LabelError>) -> Result<T, Refused> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(refuse(format!("{part} {:?}: write it in lower case", super::record::shown(text))));
    }
    parse(text).map_err(|error| refuse(format!("{part} {:?}: {error}", super::record::shown(text))))
}

fn refuse(reason: impl Into<String>) -> Refused {
    Refused::new("key", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_key_is_read_back() {
        let space = Keyspace::default();
        let text = "fingerpost:agent:{prod}:vpc-1:a_7";
        let Ok(Key::Agent(key)) = space.parse(text.as_bytes()) else { panic!("refused") };
        assert_eq!(key.to_string(), "prod/vpc-1/a_7");
        assert_eq!(space.agent(&key), text);
        let topics = space.topics(&key.cluster);
        assert_eq!(topics, "fingerpost:topics:{prod}");
        assert_eq!(space.parse(topics.as_bytes()), Ok(Key::Topics(key.cluster)));
    }

    #[test]
    fn a_key_has_one_spelling_and_no_label_hides_another() {
        let space = Keyspace::default();
        for bad in [
            "fingerpost:agent:",
            "fingerpost:agent:{prod}",
            "fingerpost:agent:{prod}:g",
            "fingerpost:agent:prod:g:a",
            "fingerpost:agent:{prod}:g:a:b",
            "fingerpost:agent:{prod}:G:a",
            "fingerpost:agent:{Prod}:g:a",
            "fingerpost:agent:{prod}:g:az-1",
            "fingerpost:agent:{prod}:_g:a",
            "fingerpost:agent:{}:g:a",
            "fingerpost:agent:{prod}:g:",
            "fingerpost:agent:{p}:x}:g:a",
            "fingerpost:topics:prod",
            "other:agent:{prod}:g:a",
        ] {
            assert!(space.parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(space.parse(b"fingerpost:agent:{prod}:g:\xff").is_err());
        assert!(space.parse(&[b'x'; 4096]).is_err());
        assert!(Keyspace::new("a*").is_err() && Keyspace::new("").is_err() && Keyspace::new("a:b").is_ok());
    }
}
