//! Is the upstream well? Asked over a new connection each half second with the request that every client sends first.
//! The connection is then kept until the next probe: it ends with the broker, so that a crash is seen at once.

use crate::kafka::gateway::Upstream;
use crate::limits::gateway as limits;
use crate::telemetry::gateway::Metrics;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// Shortest time between two probes, however often connections fail.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not asked yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// Probes for ever, and tells `health`. An upstream that refuses or breaks connections is lost, and what goes through to
/// it is closed; one that is slow is only not given new clients, for those that it has may yet be served.
pub async fn watch(upstream: Arc<Upstream>, metrics: Arc<Metrics>, health: watch::Sender<Health>) {
    loop {
        match upstream.probe().await {
            Ok(mut held) => {
                if was(&health, Health::Up) != Health::Up {
                    tracing::info!(upstream = upstream.address(), "the upstream answers");
                    metrics.upstream_up.set(1);
                }
                let mut byte = [0];
                tokio::select! {
                    () = tokio::time::sleep(limits::PROBE) => {}
                    _ = held.read(&mut byte) => {}
                    () = upstream.poked() => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                metrics.upstream_error("probe");
                if was(&health, Health::Down) != Health::Down {
                    let upstream = upstream.address();
                    tracing::warn!(upstream, %error, "the upstream does not answer: the agent takes no clients");
                    metrics.upstream_up.set(0);
                }
                if error.kind() != io::ErrorKind::TimedOut {
                    upstream.declare_lost();
                }
                tokio::time::sleep(limits::PROBE).await;
            }
        }
    }
}

/// Tells the present health; returns what it was.
fn was(health: &watch::Sender<Health>, is: Health) -> Health {
    let mut before = is;
    health.send_if_modified(|health| {
        before = std::mem::replace(health, is);
        before != is
    });
    before
}
