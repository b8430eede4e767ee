//! What `/ready` says of the configuration: which one is in use, since when, and why a newer one is not.

use crate::limits::reload as limits;
use serde_json::{Value, json};
use std::time::SystemTime;

/// The configuration in use, and how the last attempt at a newer one went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigState {
    /// A hash of all values and zone files, secrets left out: replicas with one hash answer alike.
    pub hash: u64,
    /// Since when it is in use.
    pub since: SystemTime,
    /// How often another one was taken since the start.
    pub reloads: u64,
    /// Why the last attempt failed; `None` if the files as they are now are in use.
    pub failure: Option<ConfigFailure>,
}

/// A configuration that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFailure {
    /// When.
    pub at: SystemTime,
    /// Why, with files and keys.
    pub reason: String,
}

impl ConfigState {
    /// As JSON.
    pub(super) fn shown(&self) -> Value {
        let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
        let failure = self.failure.as_ref().map(|failure| {
            let reason: String = failure.reason.chars().take(limits::REASON_CHARS).collect();
            json!({ "at": time(failure.at), "reason": reason })
        });
        json!({
            "hash": format!("{:012x}", self.hash),
            "since": time(self.since),
            "reloads": self.reloads,
            "failure": failure,
        })
    }
}
