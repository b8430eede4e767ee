//! The composition root: binds everything, then hands out what it bound.

use crate::config::Config;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// What `fingerpost demo` was asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where DNS answers.
    pub dns: SocketAddr,
    /// Where the Kafka listeners of vpc-1 and vpc-2 listen.
    pub kafka: [SocketAddr; 2],
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// The zone's apex, lower case, without the last dot.
    pub apex: String,
    /// Agents per zone and group.
    pub agents_per_zone: usize,
    /// Whether agents come, drain and die.
    pub churn: bool,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration can't work: exit code 78.
    #[error("{0}")]
    Config(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// Something that is needed can't be had (an address, the registry): exit code 69.
    #[error("{0}")]
    Unavailable(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

/// Runs a server until `stop`, then drains it.
pub async fn serve(_config: Config, _stop: CancellationToken) -> Result<(), Error> {
    Err(Error::Unavailable("the server is not part of this branch".to_owned(), None))
}

/// Runs the demo until `stop`, then drains it.
pub async fn demo(_options: DemoOptions, _stop: CancellationToken) -> Result<(), Error> {
    Err(Error::Unavailable("the demo is not part of this branch".to_owned(), None))
}
