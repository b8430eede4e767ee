//! Why a relayed connection ended.

use super::pending::Twice;
use super::replies::Unreadable;
use super::requests::Refusal;
use crate::kafka::api::Stop;
use crate::net::entry;
use std::io;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The client closed it.
    #[error("the client closed it")]
    Client,
    /// The client said that it sends no more, and has its replies or waited long enough.
    #[error("the client ended and has its replies")]
    HalfClosed,
    /// The connection to the client broke.
    #[error("the client's connection broke")]
    ClientBroken(#[source] io::Error),
    /// The client took nothing for too long.
    #[error("the client took nothing for too long")]
    ClientStalled,
    /// A request that does not pass.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Two requests that can't be told apart.
    #[error("{0}")]
    Twice(#[from] Twice),
    /// It did not come in.
    #[error(transparent)]
    Entry(#[from] entry::Error),
    /// The client asked by TLS for a name of another group or cluster.
    #[error("it asked for {0:?}, which is a name of another group")]
    Misplaced(String),
    /// The upstream can't be connected to.
    #[error("the upstream can't be connected to")]
    Connect(#[source] io::Error),
    /// No agent of the group can be connected to.
    #[error("no ready agent of the group can be reached, {0} were tried")]
    NoAgent(usize),
    /// The upstream closed it.
    #[error("the upstream closed it")]
    Upstream,
    /// The connection to the upstream broke.
    #[error("the upstream's connection broke")]
    UpstreamBroken(#[source] io::Error),
    /// The upstream took or sent nothing for too long in the middle of a frame.
    #[error("the upstream stalled")]
    UpstreamStalled,
    /// The upstream was found to be lost.
    #[error("the upstream is lost")]
    Lost,
    /// The upstream sent what is none of a broker's replies.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// A reply could not be rewritten.
    #[error("a {0} reply could not be rewritten: {1}")]
    Rewrite(&'static str, Stop),
    /// Nothing came for too long.
    #[error("it was idle for too long")]
    Idle,
    /// The agent drains, and nothing was in flight.
    #[error("the agent drains")]
    Drained,
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

impl Close {
    /// The label in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Client | Self::HalfClosed => "client",
            Self::ClientBroken(_) => "client_broken",
            Self::ClientStalled => "client_stalled",
            Self::Refused(_) | Self::Twice(_) => "refused",
            Self::Entry(error) => error.step(),
            Self::Misplaced(_) => "misplaced",
            Self::Connect(_) => "connect",
            Self::NoAgent(_) => "no_agent",
            Self::Upstream => "upstream",
            Self::UpstreamBroken(_) => "upstream_broken",
            Self::UpstreamStalled => "upstream_stalled",
            Self::Lost => "upstream_lost",
            Self::Unreadable(_) => "upstream_unreadable",
            Self::Rewrite(..) => "rewrite",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Stopping => "stopping",
        }
    }

    /// What it says of the upstream, as a label.
    pub(crate) const fn upstream_error(&self) -> Option<&'static str> {
        match self {
            Self::Connect(_) => Some("connect"),
            Self::UpstreamBroken(_) | Self::UpstreamStalled | Self::Lost => Some("lost"),
            Self::Unreadable(_) | Self::Rewrite(_, Stop::Malformed(_)) => Some("unreadable"),
            _ => None,
        }
    }
}
