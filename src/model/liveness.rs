//! How long an agent may be believed. A [`Lease`] is a deadline that a renewal moves without publishing anything;
//! a [`Source`] is the registry that it came from, whose clock stands still while that registry is out of reach.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A point on our own monotonic clock: milliseconds since a start that only [`crate::clock`] knows. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment `millis` after the clock's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis == 0 { 1 } else { millis })
    }

    /// Milliseconds since the clock's start.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment and `millis` more; the far end of time instead of an overflow.
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this; zero if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One registry as the leases see it: fresh, or frozen since it was lost. Shared by all leases it granted.
#[derive(Debug)]
pub struct Source {
    /// Which registry this is, for people (credentials left out).
    name: String,
    /// Milliseconds of the moment it was lost; 0 while it is fresh.
    frozen_at: AtomicU64,
    /// For how long (ms) leases stand still while it is lost.
    stale_max: u64,
    /// Milliseconds of the moment it last spoke; 0 for one that nobody listens to.
    heard_at: AtomicU64,
    /// Why it can't be followed, for people. No answer reads it.
    trouble: Mutex<Option<String>>,
    /// How many times one of its leases was made to end earlier: a [`Horizon`] from before such a time is void.
    shortenings: AtomicU64,
}

/// How far (ms) leases run on after a registry last spoke. It speaks several times in that time unless something is
/// wrong: it hangs, or this process was stopped and knows nothing of the renewals it slept through. Shorter than what
/// is left of the shortest lease of an agent that renews in time.
pub const UNHEARD_MILLIS: u64 = 300;

impl Source {
    /// A source that starts fresh and freezes leases for at most `stale_max_millis` per outage.
    pub fn new(name: impl Into<String>, stale_max_millis: u64) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            frozen_at: AtomicU64::new(0),
            stale_max: stale_max_millis,
            heard_at: AtomicU64::new(0),
            trouble: Mutex::default(),
            shortenings: AtomicU64::new(0),
        })
    }

    /// Which registry this is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The registry is lost since `since`: time stands still for its leases from then on. A second call keeps the first.
    pub fn freeze(&self, since: Moment) {
        let _ = self.frozen_at.compare_exchange(0, since.millis(), Ordering::AcqRel, Ordering::Acquire);
    }

    /// The registry is back and everything in it was read again.
    pub fn thaw(&self) {
        self.frozen_at.store(0, Ordering::Release);
    }

    /// The registry spoke at `now`. From the first time on, leases run no further than [`UNHEARD_MILLIS`] past the last.
    pub fn hear(&self, now: Moment) {
        self.heard_at.store(now.millis(), Ordering::Release);
    }

    /// Notes why it can't be followed, or that it can. Whether that is news.
    pub fn note_trouble(&self, trouble: Option<String>) -> bool {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *noted != trouble;
        *noted = trouble;
        news
    }

    /// Why it can't be followed, in its own words.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the registry was lost; `None` while it is fresh.
    pub fn frozen_since(&self) -> Option<Moment> {
        match self.frozen_at.load(Ordering::Acquire) {
            0 => None,
            millis => Some(Moment(millis)),
        }
    }

    /// The time that counts for this source's leases: no more than a little past the last word of a registry that is
    /// listened to, so that a pause, theirs or ours, ends no lease before its renewals could be read. While frozen it stands still, and after `stale_max` it goes on
    /// from where it stood, so that a fleet fades over one lease instead of vanishing at once.
    pub fn effective(&self, now: Moment) -> Moment {
        match self.frozen_at.load(Ordering::Relaxed) {
            0 => match self.heard_at.load(Ordering::Relaxed) {
                0 => now,
                heard => Moment(now.0.min(heard.saturating_add(UNHEARD_MILLIS))),
            },
            frozen => Moment(frozen.max(now.0.saturating_sub(self.stale_max)).min(now.0)),
        }
    }
}

/// How long one agent's record may be believed, and the load that came with it last: all that a renewal moves. It is
/// two atomic stores: no snapshot changes for it.
#[derive(Debug)]
pub struct Lease {
    deadline: AtomicU64,
    /// Reported open connections; [`NO_LOAD`] while none were reported.
    connections: AtomicU64,
    source: Arc<Source>,
}

/// No load was reported.
const NO_LOAD: u64 = u64::MAX;

impl Lease {
    /// A lease of `source` that ends at `deadline`.
    pub fn new(deadline: Moment, source: Arc<Source>) -> Arc<Self> {
        let connections = AtomicU64::new(NO_LOAD);
        Arc::new(Self { deadline: AtomicU64::new(deadline.millis()), connections, source })
    }

    /// Takes over the open connections that the agent reported last; `None` if it reports none.
    pub fn report(&self, connections: Option<u64>) {
        // The one number that would mean "none reported" is no number of connections.
        self.connections.store(connections.map_or(NO_LOAD, |many| many.min(NO_LOAD - 1)), Ordering::Relaxed);
    }

    /// The open connections that the agent reported last.
    pub fn connections(&self) -> Option<u64> {
        Some(self.connections.load(Ordering::Relaxed)).filter(|many| *many != NO_LOAD)
    }

    /// Moves the end, in either direction.
    pub fn renew(&self, deadline: Moment) {
        let before = self.deadline.swap(deadline.millis(), Ordering::Relaxed);
        if deadline.millis() < before {
            // After the store, so that whoever sees the old count may hold the old end, and nobody else.
            self.source.shortenings.fetch_add(1, Ordering::Release);
        }
    }

    /// When it ends, on the source's clock.
    pub fn deadline(&self) -> Moment {
        Moment(self.deadline.load(Ordering::Relaxed))
    }

    /// Milliseconds left at `now`; zero when it is over.
    pub fn left(&self, now: Moment) -> u64 {
        self.deadline().since(self.source.effective(now))
    }

    /// Whether the agent may still be believed at `now`.
    pub fn is_live(&self, now: Moment) -> bool {
        self.left(now) > 0
    }

    /// The registry that granted it.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }
}

/// Until when all leases of a group run at least: what an answer looks at instead of each of them, which lie all over
/// the memory of a large fleet (a cache miss or two per agent). Renewals only move leases further, so a horizon once
/// found stays true until it is passed, or until a lease of the same source was made to end earlier.
#[derive(Debug, Default)]
pub struct Horizon {
    /// The source of all the leases; `None` inside if they have several, so that no one clock counts.
    source: OnceLock<Option<Arc<Source>>>,
    /// The source's shortenings ([`Horizon::EPOCHS`] above) and the earliest deadline (below); 0 while unknown.
    known: AtomicU64,
}

impl Horizon {
    /// Bits of the deadline: 34 years of milliseconds.
    const MILLIS: u32 = 40;

    /// Milliseconds that every one of `leases` runs on at `now`, at least; 0 if that is not known. Looks at each lease only
    /// if what is known is less than `enough`.
    pub fn left<'a, I>(&self, now: Moment, enough: u64, leases: impl Fn() -> I) -> u64
    where
        I: Iterator<Item = &'a Arc<Lease>>,
    {
        let find = || {
            let source = leases().next()?.source();
            leases().all(|lease| Arc::ptr_eq(lease.source(), source)).then(|| Arc::clone(source))
        };
        let Some(source) = self.source.get_or_init(find) else { return 0 };
        let epoch = source.shortenings.load(Ordering::Acquire) << Self::MILLIS;
        let time = source.effective(now).millis();
        let known = self.known.load(Ordering::Relaxed);
        let below = (1 << Self::MILLIS) - 1;
        let left = (known & below).saturating_sub(time);
        if known & !below == epoch && left >= enough {
            return left;
        }
        let earliest = leases().map(|lease| lease.deadline().millis()).min().unwrap_or(0).min(below);
        self.known.store(epoch | earliest, Ordering::Relaxed);
        earliest.saturating_sub(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_deadline_and_a_renewal_moves_it() {
        let lease = Lease::new(Moment::from_millis(1_000), Source::new("test", 10_000));
        assert_eq!(lease.left(Moment::from_millis(400)), 600);
        assert!(lease.is_live(Moment::from_millis(999)) && !lease.is_live(Moment::from_millis(1_000)));
        lease.renew(Moment::from_millis(2_000));
        assert!(lease.is_live(Moment::from_millis(1_999)));
        assert_eq!(lease.connections(), None);
        lease.report(Some(u64::MAX));
        assert_eq!(lease.connections(), Some(u64::MAX - 1));
        lease.report(None);
        assert_eq!(lease.connections(), None);
    }

    #[test]
    fn a_horizon_holds_until_it_is_passed_or_a_lease_is_cut_short() {
        let source = Source::new("test", 10_000);
        let leases: Vec<Arc<Lease>> =
            [9_000, 5_000, 7_000].map(|end| Lease::new(Moment::from_millis(end), Arc::clone(&source))).into();
        let horizon = Horizon::default();
        let left = |millis, enough| horizon.left(Moment::from_millis(millis), enough, || leases.iter());
        assert_eq!((left(1_000, 3_000), left(2_000, 3_000)), (4_000, 3_000));
        leases.iter().for_each(|lease| lease.renew(Moment::from_millis(20_000)));
        assert_eq!(left(2_000, 3_000), 3_000, "what is known is enough: nobody is asked");
        assert_eq!(left(2_001, 3_000), 17_999, "too little is known: all are asked");
        leases[2].renew(Moment::from_millis(6_000));
        assert_eq!(left(3_000, 1_000), 3_000, "one was cut short");
        assert_eq!(left(7_000, 1_000), 0, "and is over");
        source.freeze(Moment::from_millis(5_000));
        assert_eq!(left(9_000, 500), 1_000, "time stands still for all of them");
        let other = Lease::new(Moment::from_millis(99_000), Source::new("other", 10_000));
        let two = [Arc::clone(&leases[0]), other];
        assert_eq!(Horizon::default().left(Moment::from_millis(1), 1, || two.iter()), 0, "two clocks");
        assert_eq!(Horizon::default().left(Moment::from_millis(1), 1, || leases[..0].iter()), 0);
    }

    #[test]
    fn a_lost_registry_stops_the_clock_for_stale_max_and_then_lets_it_go_on() {
        let source = Source::new("test", 10_000);
        let lease = Lease::new(Moment::from_millis(1_500), source.clone());
        source.freeze(Moment::from_millis(1_000));
        source.freeze(Moment::from_millis(9_000)); // the first loss counts
        assert_eq!(lease.left(Moment::from_millis(10_900)), 500, "frozen");
        assert_eq!(lease.left(Moment::from_millis(11_200)), 300, "stale_max is over: time goes on");
        assert!(!lease.is_live(Moment::from_millis(11_500)));
        source.thaw();
        assert_eq!(source.frozen_since(), None);
        assert_eq!(
            source.effective(Moment::from_millis(90_000)),
            Moment::from_millis(90_000),
            "nobody listens"
        );
        source.hear(Moment::from_millis(1_100));
        assert_eq!(lease.left(Moment::from_millis(90_000)), 100, "silence stops the clock, too");
        source.hear(Moment::from_millis(90_000));
        assert_eq!(lease.left(Moment::from_millis(90_000)), 0);
        source.hear(Moment::from_millis(1_200));
        assert_eq!(lease.left(Moment::from_millis(1_200)), 300);
    }
}
