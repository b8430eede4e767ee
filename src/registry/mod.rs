//! Where heartbeats arrive: stores, the record contract, and the task that turns both into snapshots.

pub mod record;

use crate::model::AgentKey;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A boxed future, so that stores can stand behind `dyn`.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The registry as those who write to it see it: agents, the admin API, the demo's fleet.
pub type Registry = Arc<dyn Store>;

/// A place where agents leave their records under a lease.
pub trait Store: Send + Sync + 'static {
    /// Which registry this is, for people (credentials left out).
    fn name(&self) -> &str;

    /// Writes an agent's record with a lease: the heartbeat. `value` is the JSON of the record contract.
    fn put<'a>(&'a self, key: &'a AgentKey, value: &'a str, lease: Duration) -> Boxed<'a, Result<(), Error>>;

    /// Removes an agent's record at once: the clean goodbye. Says whether there was one.
    fn remove<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<bool, Error>>;
}

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be reached, or did not answer in time. Try again later.
    #[error("the registry {0} is out of reach")]
    Unreachable(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// It answered, and refused: access rights, read-only replica, out of memory.
    #[error("the registry {0} refused: {1}")]
    Refused(String, String),
    /// The URL can't be used.
    #[error("registry URL: {0}")]
    Url(String),
}
