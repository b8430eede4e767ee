//! Follows one registry: what is pushed and what scans find goes into [`Holdings`], and what follows from that is
//! published. One task; it ends with its stop signal and never otherwise.
//!
//! A push says only that a key changed, so keys are read: in batches, each key once however often it was pushed.
//! Beside the pushes a full scan at connect and at an interval compares everything; between its steps pushes are
//! served first. While the registry is out of reach the source is frozen and the last snapshot stays.

use super::holdings::{Holdings, Outcome};
use super::keys::Space;
use super::nudges::Nudges;
use super::{Error, RawKey, Registry, Session};
use crate::clock::{self, Clock};
use crate::limits::registry as limits;
use crate::model::Moment;
use crate::telemetry::registry::Metrics;
use crate::view::Publisher;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use super::holdings::{Configured, GroupId, Settings};

/// Starts to follow `registry`, publishing through `publisher`, until `stop`.
pub fn start(
    registry: Registry,
    settings: Settings,
    publisher: Publisher,
    clock: Clock,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let now = clock.now();
    let (resync, reconfigured) = (millis(settings.resync), settings.reconfigured.clone());
    let holdings = Holdings::new(settings, registry.keyspace().clone(), registry.name(), now);
    let follower =
        Follower { registry, holdings, reconfigured, publisher, clock, metrics, resync, heard: now };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follower.run() => {}
        }
    })
}

/// Waits until the configuration was read again; for ever if it is not.
async fn changed(receiver: &mut Option<watch::Receiver<Configured>>) {
    if let Some(receiver) = receiver {
        // `changed` marks it as seen, which taking it in shall do.
        if receiver.changed().await.is_ok() {
            receiver.mark_changed();
            return;
        }
    }
    std::future::pending().await
}

struct Follower {
    registry: Registry,
    holdings: Holdings,
    /// Which clusters and groups the configuration names, if that may change.
    reconfigured: Option<watch::Receiver<Configured>>,
    publisher: Publisher,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Milliseconds between scans.
    resync: u64,
    /// When the registry last answered.
    heard: Moment,
}

/// One connection's work in progress.
struct Course {
    session: Box<dyn Session>,
    nudges: Arc<Nudges>,
    scan: Option<Scan>,
    next_scan: Moment,
    /// When the last batch of pushed keys was read.
    last_batch: Moment,
    /// Topics that changed, and when they are read.
    topics: BTreeSet<RawKey>,
    topics_due: Moment,
    /// What a scan found changed, and when: a push should tell of it too.
    suspects: HashMap<RawKey, Moment>,
    /// Pushed keys were served last: what else is due comes next, however many keys wait.
    others_turn: bool,
    /// When the next look at suspects and gauges is due.
    look_due: Moment,
    /// When the first push arrived whose change is not published yet.
    pushed_at: Option<Instant>,
}

/// A walk over everything, in steps.
struct Scan {
    stage: Stage,
    /// Keys met but not read yet.
    queue: VecDeque<RawKey>,
    /// Whether a difference means that a push was lost.
    repairs: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Pages of agents' keys from this cursor on.
    Agents(u64),
    /// The last page is being read; then it can be said which known keys were not met.
    Met,
    /// Known keys that no page had.
    UnseenAgents,
    /// The same for topics.
    Topics(u64),
    MetTopics,
    UnseenTopics,
    Done,
}

impl Follower {
    async fn run(mut self) {
        self.publish(None, true);
        let mut failures = 0;
        loop {
            let error = match self.registry.session().await {
                Ok(session) => {
                    self.metrics.connects.inc();
                    let before = self.metrics.scans.get();
                    let error = self.follow(session).await;
                    if self.metrics.scans.get() > before {
                        failures = 0;
                    }
                    error
                }
                Err(error) => error,
            };
            self.lose(&error, failures);
            failures += 1;
            self.pause(failures).await;
        }
    }

    fn lose(&mut self, error: &Error, failures: u32) {
        let now = self.clock.now();
        self.holdings.lost(self.heard, now);
        self.metrics.connected.set(0);
        let agents = self.holdings.agents();
        let (name, reason) = (self.registry.name(), reasons(error));
        let news = self.holdings.source().note_trouble(Some(reason.clone()));
        match failures {
            0 if self.holdings.is_synced() => {
                tracing::warn!(
                    registry = name,
                    agents,
                    reason,
                    "the registry is lost; answers go on as last read"
                );
            }
            0 => tracing::warn!(registry = name, reason, "the registry can't be followed yet; trying on"),
            _ if news => tracing::warn!(registry = name, reason, "the registry still can't be followed"),
            _ => tracing::debug!(registry = name, reason, "the registry is still out of reach"),
        }
        self.publish(None, false);
    }

    /// Waits before the next attempt: doubled each time, with full jitter, so that replicas don't come back at once.
    async fn pause(&mut self, failures: u32) {
        let most = limits::RECONNECT_FIRST.saturating_mul(1 << failures.min(16)).min(limits::RECONNECT_MOST);
        let wait = Duration::from_millis(fastrand::u64(0..=millis(most)));
        tokio::time::sleep(wait).await;
        self.reconfigure();
        let now = self.clock.now();
        self.holdings.expire(now);
        self.publish(None, false);
        self.report_age(now);
    }

    /// Follows one connection until it is lost.
    async fn follow(&mut self, session: Box<dyn Session>) -> Error {
        let now = self.clock.now();
        let mut course = Course {
            nudges: Arc::clone(session.nudges()),
            session,
            scan: None,
            next_scan: now,
            last_batch: Moment::from_millis(0),
            topics: BTreeSet::new(),
            topics_due: now,
            suspects: HashMap::new(),
            others_turn: false,
            look_due: now,
            pushed_at: None,
        };
        self.heard = now;
        self.holdings.source().hear(now);
        self.holdings.begin_grace(now);
        self.begin_scan(&mut course, false);
        loop {
            if let Err(error) = self.step(&mut course).await {
                return error;
            }
            let now = self.clock.now();
            self.holdings.expire(now);
            self.publish(course.pushed_at, false);
            if !course.nudges.has_keys() {
                course.pushed_at = None;
            }
        }
    }

    /// Does the most urgent thing, or waits until there is one.
    async fn step(&mut self, course: &mut Course) -> Result<(), Error> {
        self.heed_flags(course)?;
        self.reconfigure();
        let now = self.clock.now();
        if course.look_due <= now {
            self.look_around(course, now);
        }
        let topics_due = !course.topics.is_empty() && course.topics_due <= now;
        let others = course.scan.is_some() || topics_due || course.next_scan <= now;
        let batch_due = course.last_batch.plus_millis(millis(limits::BATCH_DELAY));
        let waiting = course.nudges.has_keys();
        if waiting && batch_due <= now && !(others && course.others_turn) {
            (course.last_batch, course.others_turn) = (now, true);
            return self.read_pushed(course).await;
        }
        course.others_turn = false;
        if course.scan.is_some() {
            return self.scan_step(course).await;
        }
        if topics_due {
            return self.read_topics(course).await;
        }
        if course.next_scan <= now {
            self.begin_scan(course, true);
            return Ok(());
        }
        let ping_due = self.heard.plus_millis(millis(limits::PING));
        if ping_due <= now {
            course.session.ping().await?;
            self.hear(course);
            return Ok(());
        }
        let wake = self.next_due(course, ping_due);
        if waiting {
            tokio::time::sleep(Duration::from_millis(wake.min(batch_due).since(now))).await;
        } else {
            let woken = async {
                tokio::select! {
                    () = course.nudges.ready() => {}
                    () = changed(&mut self.reconfigured) => {}
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(wake.since(now)), woken).await;
        }
        Ok(())
    }

    /// Takes in what the configuration names now, if it was read again.
    fn reconfigure(&mut self) {
        let Some(receiver) = &mut self.reconfigured else { return };
        if receiver.has_changed().unwrap_or(false) {
            let configured = receiver.borrow_and_update().clone();
            self.holdings.configure(configured, self.clock.now());
        }
    }

    /// When something is due, if nothing is pushed before.
    fn next_due(&self, course: &Course, ping_due: Moment) -> Moment {
        let mut wake = course.next_scan.min(ping_due).min(course.look_due);
        if !course.topics.is_empty() {
            wake = wake.min(course.topics_due);
        }
        for due in [self.holdings.next_expiry(), self.holdings.refusals_due()].into_iter().flatten() {
            wake = wake.min(due);
        }
        wake
    }

    /// What concerns everything comes before what concerns keys.
    fn heed_flags(&mut self, course: &mut Course) -> Result<(), Error> {
        let flags = course.nudges.take_flags();
        if let Some(why) = flags.lost {
            return Err(Error::Unreachable(self.registry.name().to_owned(), Some(why.into())));
        }
        if flags.flushed {
            let agents = self.holdings.agents();
            tracing::warn!(
                registry = self.registry.name(),
                agents,
                "the registry was flushed; its agents are kept for one more lease, so that they can write again"
            );
            self.holdings.begin_grace(self.clock.now());
        }
        if flags.flushed || flags.overflowed {
            self.begin_scan(course, false);
        }
        Ok(())
    }

    async fn read_pushed(&mut self, course: &mut Course) -> Result<(), Error> {
        self.metrics.nudges.inc_by(course.nudges.take_count());
        let taken = course.nudges.take(limits::BATCH);
        course.pushed_at = course.pushed_at.or(taken.first_at);
        let topics = self.registry.keyspace().prefix(Space::Topics).as_bytes();
        let (topics, agents): (Vec<RawKey>, Vec<RawKey>) =
            taken.keys.into_iter().partition(|key| key.starts_with(topics));
        for key in agents.iter().chain(&topics) {
            course.suspects.remove(key);
        }
        if !topics.is_empty() {
            if course.topics.is_empty() {
                course.topics_due = self.clock.now().plus_millis(millis(limits::TOPICS_DELAY));
            }
            course.topics.extend(topics);
        }
        self.read(course, &agents).await.map(drop)
    }

    /// Reads agents' keys and takes in what they hold. Says which of them changed something.
    async fn read(&mut self, course: &mut Course, keys: &[RawKey]) -> Result<Vec<RawKey>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.clock.now();
        let found = course.session.read(keys).await?;
        self.hear(course);
        self.metrics.reads.inc_by(found.len() as u64);
        // A flush that happened before the read was pushed before its reply: then "missing" is no goodbye.
        self.heed_flags(course)?;
        let mut changed = Vec::new();
        for (key, found) in keys.iter().zip(found) {
            if self.holdings.observe(key, found, at) == Outcome::Changed {
                changed.push(RawKey::clone(key));
            }
        }
        Ok(changed)
    }

    async fn read_topics(&mut self, course: &mut Course) -> Result<(), Error> {
        let Some(key) = course.topics.pop_first() else { return Ok(()) };
        self.read_topic(course, &key).await.map(drop)
    }

    async fn read_topic(&mut self, course: &mut Course, key: &RawKey) -> Result<Outcome, Error> {
        let at = self.clock.now();
        let fields = course.session.fields(key).await?;
        self.hear(course);
        self.heed_flags(course)?;
        Ok(self.holdings.observe_topics(key, fields, at))
    }

    fn begin_scan(&mut self, course: &mut Course, repairs: bool) {
        self.holdings.begin_scan();
        course.scan = Some(Scan { stage: Stage::Agents(0), queue: VecDeque::new(), repairs });
    }

    /// One step of the scan: reads a batch of what was met, or meets more.
    async fn scan_step(&mut self, course: &mut Course) -> Result<(), Error> {
        let Some(scan) = &mut course.scan else { return Ok(()) };
        let repairs = scan.repairs;
        let count = scan.queue.len().min(limits::BATCH);
        if count > 0 {
            let mut changed = Vec::new();
            match scan.stage {
                Stage::Agents(_) | Stage::Met | Stage::UnseenAgents => {
                    let keys: Vec<RawKey> = scan.queue.drain(..count).collect();
                    changed = self.read(course, &keys).await?;
                }
                Stage::Topics(_) | Stage::MetTopics | Stage::UnseenTopics | Stage::Done => {
                    if let Some(key) = scan.queue.pop_front()
                        && self.read_topic(course, &key).await? == Outcome::Changed
                    {
                        changed.push(key);
                    }
                }
            }
            if repairs {
                let now = self.clock.now();
                let room = limits::SUSPECTS.saturating_sub(course.suspects.len());
                // Pushes of overlong keys are not kept, so a scan is how they are meant to be found.
                changed.retain(|key| key.len() <= limits::KEY_BYTES);
                course.suspects.extend(changed.into_iter().take(room).map(|key| (key, now)));
            }
            return Ok(());
        }
        let (stage, keys) = match scan.stage {
            Stage::Agents(cursor) => {
                let page = course.session.scan(Space::Agents, cursor).await?;
                (if page.next == 0 { Stage::Met } else { Stage::Agents(page.next) }, page.keys)
            }
            Stage::Met => (Stage::UnseenAgents, self.holdings.unseen()),
            Stage::UnseenAgents => (Stage::Topics(0), Vec::new()),
            Stage::Topics(cursor) => {
                let page = course.session.scan(Space::Topics, cursor).await?;
                (if page.next == 0 { Stage::MetTopics } else { Stage::Topics(page.next) }, page.keys)
            }
            Stage::MetTopics => (Stage::UnseenTopics, self.holdings.unseen_topics()),
            Stage::UnseenTopics => (Stage::Done, Vec::new()),
            Stage::Done => {
                self.finish_scan(course);
                return Ok(());
            }
        };
        scan.queue.extend(keys);
        scan.stage = stage;
        self.hear(course);
        Ok(())
    }

    /// The registry spoke. After a silence in which leases may have been renewed without our knowing, nothing may end
    /// before everything was read again: the source is frozen as of its last word, and a scan thaws it.
    fn hear(&mut self, course: &mut Course) {
        let now = self.clock.now();
        let silence = now.since(self.heard);
        if silence > millis(limits::SILENCE) && self.holdings.source().frozen_since().is_none() {
            let name = self.registry.name();
            tracing::warn!(
                registry = name,
                silence_ms = silence,
                "nothing was heard for a while: the registry hung or this process was stopped; reading everything again"
            );
            self.holdings.lost(self.heard, now);
            self.holdings.begin_grace(now);
            self.begin_scan(course, false);
        }
        self.heard = now;
        self.holdings.source().hear(now);
    }

    fn finish_scan(&mut self, course: &mut Course) {
        let now = self.clock.now();
        course.scan = None;
        course.next_scan = now.plus_millis(self.resync);
        let back = self.holdings.source().frozen_since();
        self.holdings.finish_scan(now);
        self.metrics.scans.inc();
        self.metrics.connected.set(1);
        self.holdings.source().note_trouble(None);
        if let Some(since) = back {
            let after = humantime::format_duration(Duration::from_millis(now.since(since))).to_string();
            let agents = self.holdings.agents();
            tracing::info!(registry = self.registry.name(), agents, after, "the registry was read in full");
        }
    }

    /// Counts what a scan had to repair, about once a second.
    fn look_around(&self, course: &mut Course, now: Moment) {
        course.look_due = now.plus_millis(millis(limits::LOOK));
        let patience = millis(limits::PUSH_PATIENCE);
        let (mut repaired, metrics) = (0, &self.metrics);
        course.suspects.retain(|_, at| {
            let waits = now.since(*at) < patience;
            repaired += u64::from(!waits);
            waits
        });
        if repaired > 0 {
            metrics.repaired.inc_by(repaired);
            tracing::warn!(
                registry = self.registry.name(),
                repaired,
                "a scan found changes that were not pushed"
            );
        }
        self.report_age(now);
    }

    fn report_age(&self, now: Moment) {
        self.metrics.view_age.set(now.since(self.heard) as f64 / 1_000.0);
        self.metrics.agents.set(i64::try_from(self.holdings.agents()).unwrap_or(i64::MAX));
        let refusals = self.holdings.refusals().saturating_sub(self.metrics.refusals.get());
        self.metrics.refusals.inc_by(refusals);
        self.metrics.refused.set(i64::try_from(self.holdings.refused()).unwrap_or(i64::MAX));
    }

    /// Publishes what changed. Nothing goes out before the first full read, but for what the configuration says:
    /// half a fleet would be answered as if it were the whole.
    fn publish(&mut self, pushed_at: Option<Instant>, first: bool) {
        if !self.holdings.is_synced() && !first {
            return;
        }
        let started = clock::stopwatch();
        let current = self.publisher.current();
        let Some(fleet) = self.holdings.publish(&current, self.clock.now()) else { return };
        let metrics = &self.metrics;
        metrics.generation.set(i64::try_from(fleet.generation()).unwrap_or(i64::MAX));
        metrics.groups.set(i64::try_from(self.holdings.group_count()).unwrap_or(i64::MAX));
        self.publisher.publish(fleet);
        metrics.publishes.inc();
        metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        if let Some(pushed_at) = pushed_at {
            metrics.lag_seconds.observe(pushed_at.elapsed().as_secs_f64());
        }
        self.report_age(self.clock.now());
    }
}

/// An error and its sources in one line.
fn reasons(error: &Error) -> String {
    let mut out = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        out = format!("{out}: {next}");
        source = next.source();
    }
    out
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
