//! Names that come from outside, parsed once: a [`Label`] that exists is a lower-case DNS label that we may publish.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest DNS label in bytes (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;
/// What `az-<zone>` puts before a zone; an agent may not be called so.
pub const ZONE_PREFIX: &str = "az-";

/// One lower-case label of `[a-z0-9_-]`, 1 to 63 bytes. Upper case is folded when it is parsed, as DNS does.
/// Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Arc<str>);

/// Why a text is no [`Label`] (or no more special name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// The text is empty.
    Empty,
    /// The text is longer than its kind allows: bytes seen, bytes allowed.
    TooLong(usize, usize),
    /// A character outside `[a-z0-9_-]`.
    Character(char),
    /// A beginning that this kind of name reserves for another.
    Reserved(&'static str),
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong(seen, most) => write!(f, "it has {seen} bytes, {most} are allowed"),
            Self::Character(c) => write!(f, "{c:?} is not one of a-z, 0-9, '-' and '_'"),
            Self::Reserved(prefix) => write!(f, "names that begin with {prefix:?} are reserved"),
        }
    }
}

impl std::error::Error for LabelError {}

impl Label {
    /// Parses `text`, folding upper case.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        parse_label(text, MAX_LABEL, &[]).map(Self)
    }

    /// The label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_label(text: &str, most: usize, reserved: &[&'static str]) -> Result<Arc<str>, LabelError> {
    if text.is_empty() {
        return Err(LabelError::Empty);
    }
    if text.len() > most {
        return Err(LabelError::TooLong(text.len(), most));
    }
    let lower = text.to_ascii_lowercase();
    if let Some(odd) = lower.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
        return Err(LabelError::Character(odd));
    }
    match reserved.iter().find(|prefix| lower.starts_with(**prefix)) {
        Some(prefix) => Err(LabelError::Reserved(prefix)),
        None => Ok(lower.into()),
    }
}

macro_rules! named_label {
    ($(#[$doc:meta])* $name:ident, $most:expr, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses `text`, folding upper case.
            pub fn parse(text: &str) -> Result<Self, LabelError> {
                parse_label(text, $most, &$reserved).map(Self)
            }

            /// The name's text, lower case.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = LabelError;
            fn from_str(text: &str) -> Result<Self, LabelError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

named_label!(
    /// A logical Kafka cluster: the label below the apex. May not begin with `_`.
    Cluster, MAX_LABEL, ["_"]
);
named_label!(
    /// An agent group: the label below its cluster, and the border that no client crosses. May not begin with `_`.
    GroupName, MAX_LABEL, ["_"]
);
named_label!(
    /// One agent within its group. May not begin with `_` (services) or `az-` (zones).
    AgentId, MAX_LABEL, ["_", ZONE_PREFIX]
);
named_label!(
    /// An availability zone: opaque, it must only equal what clients say. At most 60 bytes, for `az-<zone>` is a label.
    Zone, MAX_LABEL - ZONE_PREFIX.len(), []
);

impl FromStr for Label {
    type Err = LabelError;
    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Whether registry keys may begin with `text`: 1 to 64 of `[A-Za-z0-9_.:-]`, for it becomes part of a pattern.
pub fn is_key_prefix(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// Which agent of which group of which cluster: what a registry key says, and nothing else may say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentKey {
    /// The logical cluster.
    pub cluster: Cluster,
    /// The group within the cluster.
    pub group: GroupName,
    /// The agent within the group.
    pub agent: AgentId,
}

impl fmt::Display for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.group, self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fold_case_and_refuse_what_dns_or_we_cannot_name() {
        assert_eq!(Label::parse("US-East_1a").unwrap().as_str(), "us-east_1a");
        assert_eq!(Label::parse(""), Err(LabelError::Empty));
        assert_eq!(Label::parse("a.b"), Err(LabelError::Character('.')));
        assert_eq!(Label::parse(&"x".repeat(64)), Err(LabelError::TooLong(64, 63)));
        assert!(Label::parse(&"x".repeat(63)).is_ok());
        assert_eq!(AgentId::parse("AZ-one"), Err(LabelError::Reserved("az-")));
        assert_eq!(AgentId::parse("_kafka"), Err(LabelError::Reserved("_")));
        assert_eq!(GroupName::parse("_x"), Err(LabelError::Reserved("_")));
        assert_eq!(Zone::parse(&"z".repeat(61)), Err(LabelError::TooLong(61, 60)));
    }
}
