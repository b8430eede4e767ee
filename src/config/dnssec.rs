//! How zones are signed, as it is configured.

use std::path::PathBuf;
use std::time::Duration;

/// How a zone is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnssecConfig {
    /// The folder of its keys, resolved to a path that can be opened from here.
    pub keys: PathBuf,
    /// How long a signature is valid.
    pub validity: Duration,
    /// TTL of the keys.
    pub key_ttl: Duration,
}
