//! DNSSEC, signed as it is answered.
//!
//! An answer is decided and written as if there were no DNSSEC; for a client that asked for it (DO), [`Signer::seal`]
//! then goes through the finished message and puts a signature behind every set that is ours to sign (`seal`), and a
//! compact denial (`denial`, RFC 9824) where something does not exist. A signature is found by the set's content in
//! canonical form (`canonical`, `cache`): what has not changed is signed once, renewed in the background before it
//! ends, and never by a query again. Keys are BIND's files ([`files`]), their times make a rollover ([`times`],
//! [`keyset`]).

mod budget;
mod cache;
mod canonical;
mod denial;
pub mod files;
pub mod key;
pub mod keyset;
mod message;
mod seal;
pub mod times;

pub use key::{Algorithm, Key};
pub use keyset::Keyset;
pub use seal::Job;

use super::names::Name;
use super::zone_file::Problem;
use crate::clock::Clock;
use crate::limits::dnssec as limits;
use crate::telemetry::dnssec::{Made, Metrics};
use arc_swap::{ArcSwap, Guard};
use budget::Budget;
use cache::{Cache, Numbers, Signature, Terms};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A zone that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedZone {
    /// Its apex.
    pub apex: String,
    /// The folder of its keys.
    pub folder: PathBuf,
    /// How long a signature is valid.
    pub validity: Duration,
    /// TTL of DNSKEY, CDS and CDNSKEY in seconds.
    pub dnskey_ttl: u32,
}

/// The keys of all signed zones, and the signatures made with them. Shared by all that answer.
#[derive(Debug)]
pub struct Signer {
    zones: Vec<Zone>,
    clock: Clock,
    numbers: Numbers,
    /// Of names that exist.
    stable: Cache,
    /// Of names that only their question made.
    made_up: Cache,
    budgets: [Budget; 3],
    ticks: std::sync::atomic::AtomicU32,
}

/// One signed zone with its keys of this moment.
#[derive(Debug)]
struct Zone {
    apex: Name,
    settings: SignedZone,
    keys: ArcSwap<Keyset>,
    files: Mutex<Files>,
}

/// What was read of a zone's folder, and what was last said about it.
#[derive(Debug)]
struct Files {
    keys: Vec<Arc<Key>>,
    said: [String; 2],
}

/// What is warned of.
#[derive(Clone, Copy, Debug)]
enum About {
    Files,
    Times,
}

/// What a query's signature is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The name exists.
    Stable,
    /// Only the question made it.
    MadeUp,
}

impl Signer {
    /// Reads the keys of all zones. Fails with everything that is wrong with any.
    pub fn open(zones: &[SignedZone], clock: Clock) -> Result<Self, Vec<Problem>> {
        let (mut open, mut problems) = (Vec::new(), Vec::new());
        for settings in zones {
            match Zone::open(settings, clock.unix()) {
                Ok(zone) => open.push(zone),
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            zones: open,
            clock,
            numbers: Numbers::default(),
            stable: Cache::new(limits::SIGNATURES),
            made_up: Cache::new(limits::MADE_UP),
            budgets: [limits::STABLE_RATE, limits::MADE_UP_RATE, limits::MADE_UP_TCP_RATE].map(Budget::new),
            ticks: std::sync::atomic::AtomicU32::new(0),
        })
    }

    /// Whether any zone is signed.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The keys of the signed zone with this apex, if there is one.
    pub fn keys_at(&self, apex: &Name) -> Option<Guard<Arc<Keyset>>> {
        self.zone(apex).map(|zone| zone.keys.load())
    }

    /// The random number that a signed answer's sample is drawn by: one of a few at a time, so that few sets are signed,
    /// and the same on every replica. They change with time, so that every address is met.
    pub fn sample(&self, entropy: u64) -> u64 {
        use super::answer::sample::mix;
        let epoch = self.clock.unix() / limits::SAMPLE_SECONDS;
        mix(mix(epoch).wrapping_add(entropy % limits::SAMPLES))
    }

    /// Work that time brings: keys that come and go, signatures that are due. Blocks; to be called every
    /// [`limits::TICK`].
    pub fn tick(&self, metrics: &Metrics) {
        let now = self.clock.unix();
        let ticks = self.ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for zone in &self.zones {
            if ticks.is_multiple_of(limits::RELOAD_TICKS) {
                zone.reload();
            }
            self.turn(zone, now, metrics);
        }
        for cache in [&self.stable, &self.made_up] {
            if cache.due() <= now {
                self.renew(cache, now, metrics);
            }
        }
        metrics.kept(self.stable.len() + self.made_up.len());
    }

    fn zone(&self, apex: &Name) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.apex.wire() == apex.wire())
    }

    /// Lets the keys of this moment take over, once what is asked for is signed by them.
    fn turn(&self, zone: &Zone, now: u64, metrics: &Metrics) {
        let old = zone.keys.load_full();
        let files = zone.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(new) = Keyset::at(&files.keys, zone.settings.dnskey_ttl, now) else {
            drop(files);
            zone.say(
                About::Times,
                "no key is published at this moment: the zone is signed by those that were".to_owned(),
            );
            return;
        };
        drop(files);
        zone.say(About::Times, match new.lacks_active {
            true => "no key is active at this moment: one that is published signs; `fingerpost keys list` shows the times".to_owned(),
            false => String::new(),
        });
        if !new.differs(&old, &zone.apex) {
            return;
        }
        let is_old = |key: &Arc<Key>| old.data.iter().any(|have| have.dnskey() == key.dnskey());
        let fresh: Vec<&Arc<Key>> = new.data.iter().filter(|key| !is_old(key)).collect();
        for (_, signature) in self.stable.all() {
            let asked_for = signature.used() + limits::UNUSED > now;
            if asked_for && signature.key.zone.wire() == zone.apex.wire() && is_old(&signature.key) {
                for key in &fresh {
                    self.sign_again(&self.stable, zone, &signature, key, now, metrics);
                }
            }
        }
        tracing::info!(zone = %zone.apex, signing = ?new.data, "the keys of a zone changed");
        zone.keys.store(Arc::new(new));
    }

    /// Signs again what is due and was asked for lately, and forgets the rest.
    fn renew(&self, cache: &Cache, now: u64, metrics: &Metrics) {
        for (number, signature) in cache.take_due(now) {
            let zone = self.zone(&signature.key.zone);
            let signs = |zone: &&Zone| {
                let keys = zone.keys.load();
                let mut signers = keys.signers(signature.rtype).iter();
                signers.any(|key| key.dnskey() == signature.key.dnskey())
            };
            match zone.filter(signs).filter(|_| signature.used() + limits::UNUSED > now) {
                Some(zone) => self.sign_again(cache, zone, &signature, &signature.key, now, metrics),
                None => cache.forget(number, &signature),
            }
        }
    }

    fn sign_again(
        &self,
        cache: &Cache,
        zone: &Zone,
        signature: &Signature,
        key: &Arc<Key>,
        now: u64,
        metrics: &Metrics,
    ) {
        let number = self.numbers.of(&signature.records, key);
        match signature.again(key, zone.terms(), now, number as u64) {
            Ok(made) => {
                metrics.made(Made::InAdvance);
                cache.insert(number, Arc::new(made));
            }
            Err(error) => {
                tracing::error!(zone = %zone.apex, ?key, %error, "a signature could not be renewed")
            }
        }
    }
}

impl Zone {
    fn open(settings: &SignedZone, now: u64) -> Result<Self, Vec<Problem>> {
        let problem = |what: String| vec![Problem { file: Some(settings.folder.clone()), line: None, what }];
        let apex = Name::parse(&settings.apex)
            .map_err(|_| problem(format!("{:?} is no name of a zone", settings.apex)))?;
        let keys: Vec<Arc<Key>> = files::load(&settings.folder, &apex)?.into_iter().map(Arc::new).collect();
        let set = Keyset::at(&keys, settings.dnskey_ttl, now).ok_or_else(|| {
            let why = if keys.is_empty() { "no key" } else { "no key that is published now" };
            problem(format!("{why} of the zone {apex}: make one by `fingerpost keys generate`, or look at the times by `fingerpost keys list`"))
        })?;
        let files = Mutex::new(Files { keys, said: Default::default() });
        Ok(Self { apex, settings: settings.clone(), keys: ArcSwap::from_pointee(set), files })
    }

    fn terms(&self) -> Terms {
        Terms { validity: self.settings.validity.as_secs() }
    }

    /// Reads the folder again. What is wrong with it changes nothing but a line in the log.
    fn reload(&self) {
        match files::load(&self.settings.folder, &self.apex) {
            Ok(keys) => {
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                files.keys = keys.into_iter().map(Arc::new).collect();
                drop(files);
                self.say(About::Files, String::new());
            }
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.say(
                    About::Files,
                    format!("the keys stay as they were read before: {}", lines.join("; ")),
                );
            }
        }
    }

    /// Warns of something about the files or about the times, once; an empty text means that all is well.
    fn say(&self, about: About, what: String) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = files.said.get_mut(about as usize) else { return };
        if *said != what && !what.is_empty() {
            tracing::warn!(zone = %self.apex, "{what}");
        }
        *said = what;
    }
}
