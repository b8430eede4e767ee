//! How the replicas come to one serial: each compares what it would publish with what the registry says is newest.
//!
//! [`decide`] is pure. Its rules: a serial stands for one content; what this process has shown never goes back
//! (RFC 1982); who sees the newest content first raises the serial at once; who sees another content than the newest
//! waits until it sees the same, for all read one registry, and raises it only if that does not come about.

use super::{Mark, Plan, Serials};
use crate::clock::{self, Clock};
use crate::dns::answer::Known;
use crate::dns::respond::Responder;
use crate::dns::transfer::contents::Contents;
use crate::dns::transfer::journal::Version;
use crate::dns::zones::Zone;
use crate::limits::dns as limits;
use crate::model::{Fleet, Moment};
use crate::telemetry::transfer::Metrics;
use crate::view::View;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Show our content under this serial.
    Publish(u32),
    /// Ask that this serial stand for our content.
    Propose(u32),
    /// Look again later.
    Wait,
}

/// What [`decide`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the registry says.
    pub mark: Option<&'a Mark>,
    /// The digest of the content that we would show.
    pub own: &'a str,
    /// What we show.
    pub shown: Option<(u32, &'a str)>,
    /// The zone file's serial: the smallest that may be shown.
    pub floor: u32,
    /// Where a registry without a mark begins: the time, so that one which lost everything does not go back.
    pub seed: u32,
    /// Whether we have waited long enough for the others' content.
    pub is_patient: bool,
}

/// Whether `a` comes after `b` (RFC 1982 §3.2).
pub fn is_newer(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

fn newest(a: u32, b: u32) -> u32 {
    if is_newer(a, b) { a } else { b }
}

/// See the module.
pub fn decide(situation: Situation<'_>) -> Decision {
    let Situation { mark, own, shown, floor, seed, is_patient } = situation;
    // The least serial of ours that others have not passed: what we show goes on to stand for the same content.
    let least = match shown {
        None => floor,
        Some((serial, digest)) if digest == own => newest(serial, floor),
        Some((serial, _)) => newest(serial.wrapping_add(1), floor),
    };
    let Some(mark) = mark else {
        return Decision::Propose(if shown.is_some() { least } else { newest(seed, floor) });
    };
    let is_past = is_newer(least, mark.serial);
    if mark.digest == own && !is_past {
        return Decision::Publish(mark.serial);
    }
    let is_ours = shown == Some((mark.serial, mark.digest.as_str()));
    // The registry lost what it had and others began anew, or the file's serial was raised.
    let is_lost = is_newer(floor, mark.serial)
        || shown.is_some_and(|(serial, digest)| {
            is_newer(serial, mark.serial) || serial == mark.serial && digest != mark.digest
        });
    match is_ours || is_lost || is_patient {
        true => Decision::Propose(newest(mark.serial.wrapping_add(1), least)),
        false => Decision::Wait,
    }
}

/// One zone of this replica: builds its content when the fleet changes, and shows it once there is a serial for it.
pub(super) struct Replica {
    /// Which of the responder's zones.
    pub(super) zone: usize,
    pub(super) responder: Arc<Responder>,
    pub(super) view: View,
    pub(super) clock: Clock,
    pub(super) plan: Arc<Plan>,
    pub(super) serials: Arc<dyn Serials>,
    /// Shortest time between two serials of ours.
    pub(super) interval: Duration,
    pub(super) versions: watch::Sender<Option<Arc<Version>>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: State,
}

/// What it remembers from look to look.
#[derive(Debug, Default)]
pub(super) struct State {
    built: Option<(u64, Arc<Contents>)>,
    /// How long that took.
    took: Duration,
    /// Since when our content and the newest differ.
    differs: Option<Moment>,
    /// How often we overruled others without a change of ours: they see another fleet, or have another configuration.
    disputes: u32,
    raised: Option<Moment>,
    /// The registry did not answer, which was said.
    in_trouble: bool,
}

impl Replica {
    /// Looks whenever the fleet changes, and in any case each [`limits::SERIAL_POLL`], until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut generations = self.view.generations();
        loop {
            generations.borrow_and_update();
            let pause = self.look().await;
            // Not too often: the content of a large zone takes a while to build.
            let least = limits::SERIAL_LOOK.max(self.state.took * 10).min(limits::SERIAL_POLL);
            let rest = pause.unwrap_or(limits::SERIAL_POLL).saturating_sub(least);
            let next = async {
                tokio::time::sleep(least).await;
                let _ = tokio::time::timeout(rest, generations.changed()).await;
            };
            tokio::select! {
                () = next => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look; when the next one is due at the latest.
    async fn look(&mut self) -> Option<Duration> {
        let fleet = self.view.load_full();
        // Half a fleet is no content, and what stood still since the registry was lost is no news.
        if !fleet.is_synced() || fleet.sources().iter().any(|source| source.frozen_since().is_some()) {
            return None;
        }
        let contents = self.contents(fleet).await?;
        let (apex, floor) = self.zone().map(|zone| (zone.apex.to_string(), zone.serial))?;
        let apex = apex.trim_end_matches('.');
        let mark = self.told(self.serials.read(apex).await, apex)?;
        let now = self.clock.now();
        let shown = self.versions.borrow().clone();
        let shown = shown.as_ref().map(|version| (version.serial, version.contents.digest.as_str()));
        if mark.is_none() && shown.is_none() {
            // A serial out of nothing, the time, waits for an interval: what was shown before everything was lost went up
            // no faster than the clock, and so is less by then.
            self.state.raised.get_or_insert(now);
        }
        let situation = Situation {
            mark: mark.as_ref(),
            own: &contents.digest,
            shown,
            floor,
            seed: clock::unix_seconds() as u32,
            is_patient: self.is_patient(now, mark.as_ref(), &contents),
        };
        match decide(situation) {
            Decision::Publish(serial) => {
                self.state.disputes = 0;
                self.publish(serial, contents);
                None
            }
            Decision::Wait => None,
            Decision::Propose(serial) => {
                let since = self.state.raised.map(|raised| Duration::from_millis(now.since(raised)));
                if let Some(left) = since.and_then(|since| self.interval.checked_sub(since)) {
                    return Some(left);
                }
                self.note_dispute(mark.as_ref(), shown, &contents, apex);
                let new = Mark { serial, digest: contents.digest.clone() };
                if !self.told(self.serials.swap(apex, mark.as_ref(), &new).await, apex)? {
                    return Some(Duration::ZERO); // somebody was quicker: look what they said
                }
                self.state.raised = Some(now);
                self.publish(serial, contents);
                None
            }
        }
    }

    fn zone(&self) -> Option<&Zone> {
        self.responder.zones().iter().nth(self.zone)
    }

    /// The content of this fleet. Building it is work, so it is done beside the runtime, and once per snapshot.
    async fn contents(&mut self, fleet: Arc<Fleet>) -> Option<Arc<Contents>> {
        let generation = fleet.generation();
        if let Some((built, contents)) = &self.state.built
            && *built == generation
        {
            return Some(Arc::clone(contents));
        }
        let (responder, plan) = (Arc::clone(&self.responder), Arc::clone(&self.plan));
        let (index, now, started) = (self.zone, self.clock.now(), clock::stopwatch());
        let build = tokio::task::spawn_blocking(move || {
            let zone = responder.zones().iter().nth(index)?;
            let known = Known { zones: responder.zones(), rules: responder.rules(), fleet: &fleet, now };
            Some(Arc::new(Contents::of(zone, &known, &plan)))
        });
        let contents = build.await.ok().flatten()?;
        self.state.took = started.elapsed();
        self.metrics.build_seconds.observe(self.state.took.as_secs_f64());
        self.state.built = Some((generation, Arc::clone(&contents)));
        Some(contents)
    }

    /// Whether the others' content was waited for long enough. Who overruled them in vain waits longer each time.
    fn is_patient(&mut self, now: Moment, mark: Option<&Mark>, contents: &Contents) -> bool {
        if mark.is_none_or(|mark| mark.digest == contents.digest) {
            self.state.differs = None;
            return false;
        }
        let since = *self.state.differs.get_or_insert(now);
        let first = self.interval + limits::SERIAL_PATIENCE;
        let patience = first.saturating_mul(1 << self.state.disputes.min(10));
        Duration::from_millis(now.since(since)) >= patience.min(limits::SERIAL_PATIENCE_MOST.max(first))
    }

    /// Counts proposals that only bring back what we show already: somebody else keeps seeing another content.
    fn note_dispute(&mut self, mark: Option<&Mark>, shown: Option<(u32, &str)>, own: &Contents, apex: &str) {
        let unchanged = shown.is_some_and(|(_, digest)| digest == own.digest);
        if !unchanged || mark.is_none_or(|mark| mark.digest == own.digest) {
            self.state.disputes = 0;
            return;
        }
        self.state.disputes += 1;
        self.state.differs = None;
        self.metrics.disputes.inc();
        if self.state.disputes == 2 {
            tracing::warn!(
                zone = apex,
                "another replica keeps publishing another content of this zone: compare configuration and zone \
                 files of all replicas, and whether all of them follow the same registry"
            );
        }
    }

    fn publish(&self, serial: u32, contents: Arc<Contents>) {
        let before = self.versions.borrow().clone();
        let version = match &before {
            Some(before) if before.serial == serial && before.contents.digest == contents.digest => return,
            Some(before) => before.next(serial, contents),
            None => Version::first(serial, contents),
        };
        let Some(zone) = self.zone() else { return };
        let apex = zone.apex.to_string();
        let records = version.contents.records();
        tracing::debug!(zone = apex, serial, records, "a new version of the zone");
        self.metrics.published(apex.trim_end_matches('.'), serial, records);
        // The version first: who has seen the serial must find it.
        self.versions.send_replace(Some(Arc::new(version)));
        zone.agreed.set(serial);
    }

    /// What the registry answered; its failure is said once, for it is asked each second.
    fn told<T>(&mut self, answer: Result<T, String>, apex: &str) -> Option<T> {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut self.state.in_trouble) {
                    tracing::info!(zone = apex, "the registry keeps the zone's serial again");
                }
                Some(answer)
            }
            Err(error) => {
                self.metrics.registry_errors.inc();
                if !std::mem::replace(&mut self.state.in_trouble, true) {
                    tracing::warn!(
                        zone = apex,
                        error,
                        "the zone's serial stays: the registry does not keep it"
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(serial: u32, digest: &str) -> Mark {
        Mark { serial, digest: digest.to_owned() }
    }

    fn says(mark: Option<&Mark>, own: &str, shown: Option<(u32, &str)>, is_patient: bool) -> Decision {
        decide(Situation { mark, own, shown, floor: 5, seed: 1_000, is_patient })
    }

    #[test]
    fn serials_compare_as_rfc_1982_says() {
        for (a, b) in
            [(1, 0), (44, 0), (100, 0), (100, 44), (200, 100), (255, 200), (0, u32::MAX), (7, 1 << 31 | 8)]
        {
            assert!(is_newer(a, b) && !is_newer(b, a), "{a} {b}");
        }
        assert!(!is_newer(3, 3) && !is_newer(0, 1 << 31), "undefined ones are not newer");
    }

    #[test]
    fn a_registry_without_a_mark_begins_at_the_time_and_goes_on_from_what_was_shown() {
        assert_eq!(says(None, "x", None, false), Decision::Propose(1_000));
        assert_eq!(
            decide(Situation {
                mark: None,
                own: "x",
                shown: None,
                floor: 2_000,
                seed: 1_000,
                is_patient: false
            }),
            Decision::Propose(2_000)
        );
        assert_eq!(
            says(None, "x", Some((50, "x")), false),
            Decision::Propose(50),
            "the same content keeps its serial"
        );
        assert_eq!(says(None, "y", Some((50, "x")), false), Decision::Propose(51));
    }

    #[test]
    fn who_is_ahead_raises_it_and_who_is_behind_waits() {
        let newest = mark(50, "x");
        assert_eq!(says(Some(&newest), "x", None, false), Decision::Publish(50), "a restart");
        assert_eq!(says(Some(&newest), "x", Some((49, "w")), false), Decision::Publish(50), "converged");
        assert_eq!(
            says(Some(&newest), "x", Some((48, "x")), false),
            Decision::Publish(50),
            "there and back again"
        );
        assert_eq!(
            says(Some(&newest), "y", Some((50, "x")), false),
            Decision::Propose(51),
            "first to see it"
        );
        assert_eq!(says(Some(&newest), "y", Some((49, "w")), false), Decision::Wait);
        assert_eq!(says(Some(&newest), "y", None, false), Decision::Wait);
        assert_eq!(says(Some(&newest), "y", Some((49, "w")), true), Decision::Propose(51));
        assert_eq!(says(Some(&newest), "y", None, true), Decision::Propose(51));
        let wrap = mark(u32::MAX, "x");
        let (floor, shown) = (u32::MAX - 9, Some((u32::MAX, "x")));
        let wrapped = Situation { mark: Some(&wrap), own: "y", shown, floor, seed: 1_000, is_patient: false };
        assert_eq!(decide(wrapped), Decision::Propose(0));
    }

    #[test]
    fn what_was_shown_never_goes_back() {
        let lost = mark(7, "x");
        assert_eq!(says(Some(&lost), "x", Some((50, "x")), false), Decision::Propose(50));
        assert_eq!(says(Some(&lost), "x", Some((50, "w")), false), Decision::Propose(51));
        assert_eq!(says(Some(&lost), "y", Some((50, "x")), false), Decision::Propose(51));
        assert_eq!(
            says(Some(&mark(50, "y")), "x", Some((50, "x")), false),
            Decision::Propose(51),
            "a serial of two contents"
        );
        assert_eq!(
            says(Some(&mark(50, "y")), "y", Some((50, "x")), false),
            Decision::Propose(51),
            "nor does it stand for another"
        );
        assert_eq!(
            says(Some(&mark(4, "x")), "x", None, false),
            Decision::Propose(5),
            "the file's serial was raised"
        );
    }
}
