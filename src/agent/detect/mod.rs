//! Finds the availability zone that this process runs in.
//!
//! `FINGERPOST_ZONE` is the operator's word: where it is set, nobody is asked. Else every source is asked at once, each
//! within its own short deadline, and the first in [`Source`]'s order that knows a zone is believed:
//!
//! 1. **ECS** knows the task itself, and is only asked where the ECS agent has set its variable.
//! 2. **Kubernetes**: the node's label is what the operator and every other pod mean by "zone", whatever lies below,
//!    and reading it takes a role that somebody gave on purpose.
//! 3. **EC2**, **GCP**, **Azure** know the machine below. They share one address and no more than one can be true; their
//!    order only decides whose reply to the others' paths is explained first.
//!
//! A wrong zone costs money quietly, so nothing is guessed: what is no zone is an error with its reason, and both
//! results print as one line that says what every source answered.

mod aws;
mod azure;
mod ecs;
mod env;
mod gcp;
mod http;
mod kubernetes;
mod report;

pub use env::{Endpoints, Environment};
pub use report::{Attempt, Detected, Outcome, Source, Undetected};

use crate::clock;
use crate::limits;
use crate::model::Zone;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How to look for the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// AWS only: the zone's id (`use1-az2`, the same in every account) instead of its name (`us-east-1a`, which each
    /// account maps differently). Elsewhere there are no ids and it changes nothing.
    pub zone_id: bool,
    /// Waits for every source, also for those that could not change the result any more: for `check`.
    pub exhaustive: bool,
    /// How long each source may take; within [`limits::detect::SOURCE`].
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { zone_id: false, exhaustive: false, deadline: limits::detect::SOURCE.default }
    }
}

/// What a source needs to look for its zone.
#[derive(Debug)]
struct Search {
    environment: Environment,
    endpoints: Endpoints,
    options: Options,
}

/// Finds the zone. It returns within `options.deadline` and a quarter of a second, whatever the network does; requests
/// that are still under way then end by themselves at their deadline.
///
/// # Errors
/// [`Undetected::Named`] if `FINGERPOST_ZONE` is set to what is no zone, [`Undetected::Nowhere`] if no source knows one.
pub async fn detect(
    environment: &Environment,
    endpoints: &Endpoints,
    options: Options,
) -> Result<Detected, Undetected> {
    if let Some(value) = environment.zone() {
        let zone =
            Zone::parse(value).map_err(|error| Undetected::Named { value: value.to_owned(), error })?;
        return Ok(Detected { zone, source: Source::Named, tried: Vec::new() });
    }
    let deadline = options.deadline.clamp(limits::detect::SOURCE.min, limits::detect::SOURCE.max);
    let options = Options { deadline, ..options };
    let exhaustive = options.exhaustive;
    let search = Arc::new(Search { environment: environment.clone(), endpoints: endpoints.clone(), options });

    let begun = clock::stopwatch();
    let asked = Source::ASKED.map(|source| (source, start(source, &search)));
    let mut tried: Vec<Attempt> = Vec::with_capacity(asked.len());
    for (source, answer) in asked {
        let decided = tried.iter().any(|attempt| attempt.outcome.zone().is_some());
        let left = (deadline + limits::detect::GRACE).saturating_sub(begun.elapsed());
        let patience = if decided && !exhaustive { Duration::ZERO } else { left };
        tried.push(wait(source, answer, patience, decided).await);
    }
    let found = tried.iter().find_map(|attempt| Some((attempt.source, attempt.outcome.zone()?.clone())));
    match found {
        Some((source, zone)) => Ok(Detected { zone, source, tried }),
        None => Err(Undetected::Nowhere { tried }),
    }
}

/// Asks one source on a thread of its own: the client blocks, and a thread that nobody waits for any more must not
/// hold up the end of the runtime, as a blocking task of it would.
fn start(source: Source, search: &Arc<Search>) -> oneshot::Receiver<Attempt> {
    let (sender, receiver) = oneshot::channel();
    let search = Arc::clone(search);
    let ask = move || {
        let begun = clock::stopwatch();
        let outcome = match source {
            Source::Named => Outcome::NotHere("it is not set".to_owned()),
            Source::Ecs => ecs::ask(&search),
            Source::Kubernetes => kubernetes::ask(&search),
            Source::Ec2 => aws::ask(&search),
            Source::Gcp => gcp::ask(&search),
            Source::Azure => azure::ask(&search),
        };
        let took = begun.elapsed();
        // Nobody may be listening any more: then the answer came too late to matter.
        let _ = sender.send(Attempt { source, outcome, took });
    };
    // If no thread can be had, the sender goes with its closure and the receiver says that nothing came.
    let _ = std::thread::Builder::new().name(format!("zone-{}", source.word())).spawn(ask);
    receiver
}

/// Waits for a source's answer at most as long as `patience`.
async fn wait(
    source: Source,
    answer: oneshot::Receiver<Attempt>,
    patience: Duration,
    decided: bool,
) -> Attempt {
    let outcome = match tokio::time::timeout(patience, answer).await {
        Ok(Ok(attempt)) => return attempt,
        Ok(Err(_)) => {
            Outcome::Failed("its thread could not be started or ended without an answer".to_owned())
        }
        Err(_) if decided => Outcome::NotAwaited,
        Err(_) => Outcome::Failed("its thread was held up beyond its deadline".to_owned()),
    };
    Attempt { source, outcome, took: patience }
}
