//! Where heartbeats arrive: stores, the record contract, and the task that turns both into snapshots.
//!
//! [`open`] a store by its URL, [`follow::start`] to have its contents published through a view. [`holdings`] is
//! what decides, without I/O; [`record`] and [`keys`] are the public contract (`docs/registry.md`).

pub mod follow;
pub mod holdings;
pub mod keys;
pub mod marks;
pub mod memory;
pub mod nudges;
pub mod record;
pub mod redis;
pub mod topics;

pub use keys::{Key, Keyspace, Space};
pub use marks::ZoneMark;
pub use memory::MemoryStore;
pub use redis::RedisStore;

use crate::clock::Clock;
use crate::limits::registry as limits;
use crate::model::AgentKey;
use nudges::Nudges;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A boxed future, so that stores can stand behind `dyn`.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The registry as those who write to it see it: agents, the admin API, the demo's fleet.
pub type Registry = Arc<dyn Store>;

/// A key as it is written in the registry.
pub type RawKey = Arc<[u8]>;

/// One field of a hash and its value.
pub type Field = (Vec<u8>, Vec<u8>);

/// A place where agents leave their records under a lease.
pub trait Store: Send + Sync + 'static {
    /// Which registry this is, for people (credentials left out).
    fn name(&self) -> &str;

    /// Which of its keys are ours.
    fn keyspace(&self) -> &Keyspace;

    /// Writes an agent's record with a lease: the heartbeat. `value` is the JSON of the record contract.
    fn put<'a>(&'a self, key: &'a AgentKey, value: &'a str, lease: Duration) -> Boxed<'a, Result<(), Error>>;

    /// Removes an agent's record at once: the clean goodbye. Says whether there was one.
    fn remove<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<bool, Error>>;

    /// What the agent's key holds now, if it can be told; no more than one byte beyond what a record may have.
    fn current<'a>(&'a self, _key: &'a AgentKey) -> Boxed<'a, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// The newest serial of a zone and the content it stands for; `None` if none was ever agreed on.
    fn zone_mark<'a>(&'a self, apex: &'a str) -> Boxed<'a, Result<Option<ZoneMark>, Error>>;

    /// Replaces the mark of a zone if it is still `expected`, in one step that nobody else comes between. Says
    /// whether it was; after an error it may have been.
    fn swap_zone_mark<'a>(
        &'a self,
        apex: &'a str,
        expected: Option<&'a ZoneMark>,
        new: &'a ZoneMark,
    ) -> Boxed<'a, Result<bool, Error>>;

    /// Connects for following: from then on changes are pushed into the session's nudges.
    fn session<'a>(&'a self) -> Boxed<'a, Result<Box<dyn Session>, Error>>;

    /// Tries every step that following needs; each that fails is named with what to do about it.
    fn probe<'a>(&'a self) -> Boxed<'a, Vec<Problem>>;
}

/// One connection that follows a registry. Each operation has a deadline; an error means that the session is over.
pub trait Session: Send {
    /// Where changes are pushed.
    fn nudges(&self) -> &Arc<Nudges>;

    /// One step of a walk over all keys of a kind. The walk is over when the next cursor is 0; a key may come twice.
    fn scan<'a>(&'a mut self, space: Space, cursor: u64) -> Boxed<'a, Result<Page, Error>>;

    /// Reads records with what is left of their leases, in the order of `keys`.
    fn read<'a>(&'a mut self, keys: &'a [RawKey]) -> Boxed<'a, Result<Vec<Found>, Error>>;

    /// Reads the fields of a topics hash, at most [`limits::TOPICS`].
    fn fields<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Fields, Error>>;

    /// Asks whether the registry is still there.
    fn ping<'a>(&'a mut self) -> Boxed<'a, Result<(), Error>>;
}

/// One step of a walk over keys.
#[derive(Debug, Default)]
pub struct Page {
    /// Keys of this step.
    pub keys: Vec<RawKey>,
    /// Where the next step goes on; 0 is the end.
    pub next: u64,
}

/// What a key held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A value, at most one byte longer than a record may be, and its lease.
    Value {
        /// The bytes.
        bytes: Vec<u8>,
        /// What is left of the lease.
        left: Left,
    },
    /// Something that can't be read as a value, and why.
    Unreadable(String),
}

/// What is left of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// So many milliseconds.
    Millis(u64),
    /// The key has no lease: it would stay for ever.
    Forever,
}

/// The contents of a topics hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fields {
    /// There is none.
    Missing,
    /// Its fields; `more` if it has more than are read.
    Some {
        /// Field and value.
        fields: Vec<Field>,
        /// Whether some were left out.
        more: bool,
    },
    /// Something else lies there.
    Unreadable(String),
}

/// Something that keeps a registry from being followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The step that failed, such as `CLIENT TRACKING`.
    pub step: &'static str,
    /// What the registry said.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

/// How a registry is opened.
#[derive(Clone)]
pub struct Options {
    /// What its keys begin with.
    pub prefix: String,
    /// The password, if it comes from a file or the environment instead of the URL. It wins over the URL's.
    pub password: Option<String>,
    /// Certificates of a TLS connection (`rediss://`).
    pub tls: TlsFiles,
    /// How long one operation may take.
    pub operation: Duration,
    /// The time that the embedded store's leases run on.
    pub clock: Clock,
}

/// Files of a TLS connection to the registry, all PEM. They are read again for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are believed; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that we show and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: keys::DEFAULT_PREFIX.to_owned(),
            password: None,
            tls: TlsFiles::default(),
            operation: limits::OPERATION.default,
            clock: Clock::machine(),
        }
    }
}

/// Opens the registry of a URL: `redis://[user[:password]@]host[:port][/db]`, the same over TLS with `rediss://`,
/// `redis+unix:///path`, or `memory:`, which is a new, empty store each time. Nothing is connected yet.
pub fn open(url: &str, options: &Options) -> Result<Registry, Error> {
    let keyspace = Keyspace::new(&options.prefix)?;
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("memory") => Ok(Arc::new(MemoryStore::new(keyspace, options.clock.clone()))),
        Some("redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" | "valkey+unix") => {
            Ok(Arc::new(RedisStore::new(url, keyspace, options)?))
        }
        Some(scheme) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') => {
            Err(Error::Url(format!(
                "the scheme {scheme:?} is not known; use redis://, rediss://, redis+unix:// or memory:"
            )))
        }
        _ => Err(Error::Url("it has no scheme; write redis://host:6379 or memory:".to_owned())),
    }
}

/// Opens the registry of a URL and tries every step that following it needs.
pub async fn probe(url: &str, options: &Options) -> Vec<Problem> {
    match open(url, options) {
        Ok(registry) => registry.probe().await,
        Err(error) => vec![Problem {
            step: "URL",
            error: error.to_string(),
            hint: "write redis://[user[:password]@]host[:port][/db] (rediss:// for TLS) or memory:"
                .to_owned(),
        }],
    }
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
    /// A certificate or key for TLS can't be used.
    #[error("TLS to the registry: {0}")]
    Tls(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_error_says_what_is_known_and_never_the_password() {
        let error = |url: &str| open(url, &Options::default()).map(|_| ()).expect_err(url).to_string();
        assert!(error("http://x").contains("redis://, rediss://, redis+unix:// or memory:"));
        assert!(error("localhost").contains("no scheme"));
        assert!(error("rediss://u:secret@x/#insecure").contains("ca_file"));
        for url in
            ["redis://u:secret@", "redis://u:secret@host:port", "u:secret@host", "redis://u:secret@h/x"]
        {
            assert!(!error(url).contains("secret"), "{url}: {}", error(url));
        }
        let options = Options { prefix: "a*".to_owned(), ..Options::default() };
        assert!(open("memory:", &options).is_err());
    }

    #[test]
    fn a_name_carries_no_credentials() {
        let name = |url: &str| open(url, &Options::default()).unwrap().name().to_owned();
        assert_eq!(name("redis://user:secret@127.0.0.1:7000/3"), "redis://127.0.0.1:7000/3");
        assert_eq!(name("rediss://user:secret@redis.example"), "rediss://redis.example:6379");
        assert_eq!(name("redis://[::1]"), "redis://[::1]:6379");
        assert_eq!(name("redis+unix:///run/redis.sock"), "redis+unix:///run/redis.sock");
        assert_eq!(name("memory:"), "memory:");
    }
}
