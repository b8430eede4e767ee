//! Signatures by what they sign. A set that is asked for again is not signed again, whichever way it was made; one
//! that has changed is another set. Bounded: two generations, of which the older one is dropped when the younger is
//! full, so that what is asked for stays.

use super::key::{BadKey, Key};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How long signatures hold, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) validity: u64,
}

/// A signature with what is needed to make it again.
#[derive(Debug)]
pub(super) struct Signature {
    /// The data of the RRSIG record.
    pub(super) rdata: Box<[u8]>,
    /// The type that it covers.
    pub(super) rtype: u16,
    /// What it signs, in canonical form.
    pub(super) records: Box<[u8]>,
    pub(super) key: Arc<Key>,
    /// When it was or will be renewed, and from when on it is not given out any more, in seconds since 1970.
    pub(super) renew: u64,
    pub(super) useless: u64,
    inception: u64,
    used: AtomicU64,
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered<'a> {
    pub(super) rtype: u16,
    pub(super) labels: u8,
    pub(super) ttl: u32,
    /// The set in canonical form.
    pub(super) records: &'a [u8],
}

impl Signature {
    /// Signs at `now`. `spread` decides how much earlier than the validity allows it ends.
    pub(super) fn make(
        covered: Covered<'_>,
        key: &Arc<Key>,
        terms: Terms,
        now: u64,
        spread: u64,
    ) -> Result<Self, BadKey> {
        use crate::limits::dnssec as limits;
        let Covered { rtype, labels, ttl, records } = covered;
        let jitter = spread % (terms.validity / limits::JITTER).max(1);
        let expires = now + terms.validity - jitter;
        let inception = now.saturating_sub(limits::INCEPTION);
        let mut data = Vec::with_capacity(18 + key.zone.wire().len() + 64 + records.len());
        data.extend_from_slice(&rtype.to_be_bytes());
        data.extend_from_slice(&[key.algorithm as u8, labels]);
        data.extend_from_slice(&ttl.to_be_bytes());
        // Serial numbers of 32 bits (RFC 4034 §3.1.5).
        data.extend_from_slice(&(expires as u32).to_be_bytes());
        data.extend_from_slice(&(inception as u32).to_be_bytes());
        data.extend_from_slice(&key.tag().to_be_bytes());
        data.extend_from_slice(key.zone.wire());
        let head = data.len();
        data.extend_from_slice(records);
        let signature = key.sign(&data)?;
        data.truncate(head);
        data.extend_from_slice(&signature);
        let renew = expires.saturating_sub(terms.validity / limits::RENEW_AT);
        let useless = expires.saturating_sub(terms.validity / (2 * limits::RENEW_AT));
        Ok(Self {
            rdata: data.into(),
            rtype,
            records: records.into(),
            key: Arc::clone(key),
            renew,
            useless,
            inception,
            used: AtomicU64::new(now),
        })
    }

    /// The same content, signed by `key` at `now`.
    pub(super) fn again(&self, key: &Arc<Key>, terms: Terms, now: u64, spread: u64) -> Result<Self, BadKey> {
        let [labels, t1, t2, t3, t4] = match self.rdata.get(3..8) {
            Some([labels, t1, t2, t3, t4]) => [*labels, *t1, *t2, *t3, *t4],
            _ => return Err(BadKey::Mismatch),
        };
        let ttl = u32::from_be_bytes([t1, t2, t3, t4]);
        let covered = Covered { rtype: self.rtype, labels, ttl, records: &self.records };
        let made = Self::make(covered, key, terms, now, spread)?;
        made.used.store(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(made)
    }

    /// When it was last given out, within a minute.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

type Map = DashMap<u128, Arc<Signature>>;

/// A bounded number of signatures.
#[derive(Debug)]
pub(super) struct Cache {
    generations: ArcSwap<[Arc<Map>; 2]>,
    young: AtomicUsize,
    most: usize,
    /// When the first of them is due, in seconds since 1970.
    due: AtomicU64,
}

/// Hashes what is signed: keyed at random, 128 bits, so that nobody finds two sets of one number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers(u64, u64);

impl Default for Numbers {
    fn default() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }
}

impl Numbers {
    /// The number of a set in canonical form as signed by `key`.
    pub(super) fn of(self, records: &[u8], key: &Key) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(records);
        hasher.write(&[key.algorithm as u8]);
        hasher.write(key.public());
        hasher.finish128().as_u128()
    }
}

impl Cache {
    /// An empty one for `most` signatures.
    pub(super) fn new(most: usize) -> Self {
        let generations = ArcSwap::from_pointee([Arc::default(), Arc::default()]);
        Self {
            generations,
            young: AtomicUsize::new(0),
            most: (most / 2).max(1),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// Hands a signature that still holds at `now` to `take`; `false` if there is none.
    pub(super) fn read(&self, number: u128, now: u64, take: impl FnOnce(&Signature)) -> bool {
        let generations = self.generations.load();
        let [young, old] = &**generations;
        let holds = |signature: &Signature| signature.inception <= now && now < signature.useless;
        let touch = |signature: &Signature| {
            if now > signature.used() + 60 {
                signature.used.store(now, Ordering::Relaxed);
            }
        };
        if let Some(found) = young.get(&number) {
            let holds = holds(&found);
            if holds {
                touch(&found);
                take(&found);
            }
            return holds;
        }
        let Some(found) = old.get(&number).map(|found| Arc::clone(&found)).filter(|found| holds(found))
        else {
            return false;
        };
        touch(&found);
        take(&found);
        self.insert(number, found);
        true
    }

    /// Keeps a signature, in the place of an earlier one of the same content.
    pub(super) fn insert(&self, number: u128, signature: Arc<Signature>) {
        self.due.fetch_min(signature.renew, Ordering::Relaxed);
        let generations = self.generations.load();
        let [young, _] = &**generations;
        if young.insert(number, signature).is_some() {
            return;
        }
        if self.young.fetch_add(1, Ordering::Relaxed) + 1 == self.most {
            self.generations.store(Arc::new([Arc::default(), Arc::clone(young)]));
            self.young.store(0, Ordering::Relaxed);
        }
    }

    /// When the first signature is due.
    pub(super) fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }

    /// All signatures, with their numbers.
    pub(super) fn all(&self) -> Vec<(u128, Arc<Signature>)> {
        let generations = self.generations.load();
        let pairs =
            generations.iter().flat_map(|map| map.iter().map(|one| (*one.key(), Arc::clone(one.value()))));
        pairs.collect()
    }

    /// Takes those out that were due at `now`; who renews them puts them in again. The moment when the next one is due
    /// is known afterwards.
    pub(super) fn take_due(&self, now: u64) -> Vec<(u128, Arc<Signature>)> {
        self.due.store(u64::MAX, Ordering::Relaxed);
        let (due, later): (Vec<_>, Vec<_>) = self.all().into_iter().partition(|(_, one)| one.renew <= now);
        if let Some(first) = later.iter().map(|(_, one)| one.renew).min() {
            self.due.fetch_min(first, Ordering::Relaxed);
        }
        due
    }

    /// Forgets a signature, if it is still this one.
    pub(super) fn forget(&self, number: u128, signature: &Arc<Signature>) {
        let generations = self.generations.load();
        let [young, old] = &**generations;
        if young.remove_if(&number, |_, have| Arc::ptr_eq(have, signature)).is_some() {
            // Only ever too large: a generation ends a little early then.
            let _ =
                self.young.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        }
        old.remove_if(&number, |_, have| Arc::ptr_eq(have, signature));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.generations.load().iter().map(|map| map.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{Algorithm, KSK};
    use super::super::times::Times;
    use super::*;
    use crate::dns::names::Name;

    fn key() -> Arc<Key> {
        let apex = Name::parse("k.example").unwrap();
        Arc::new(Key::generate(apex, Algorithm::Ed25519, KSK, Times::default()).unwrap().0)
    }

    fn made(key: &Arc<Key>, now: u64) -> Arc<Signature> {
        let covered = Covered { rtype: 1, labels: 3, ttl: 5, records: b"records" };
        Arc::new(Signature::make(covered, key, Terms { validity: 8_000 }, now, 300).unwrap())
    }

    #[test]
    fn a_signature_is_given_while_it_holds_and_due_before_it_ends() {
        let key = key();
        let (cache, now) = (Cache::new(10), 1_000_000);
        let one = made(&key, now);
        assert_eq!((one.inception, one.renew, one.useless), (now - 3_600, now + 5_700, now + 6_700));
        assert_eq!(one.rdata.len(), 18 + key.zone.wire().len() + 64);
        cache.insert(7, Arc::clone(&one));
        let reads = |now| cache.read(7, now, |_| {});
        assert_eq!([now, now + 6_699, now + 6_700, now - 3_601].map(reads), [true, true, false, false]);
        assert_eq!(cache.due(), now + 5_700);
        assert!(cache.take_due(now + 5_699).is_empty());
        let due = cache.take_due(now + 5_700);
        assert_eq!(due.len(), 1);
        let again = Arc::new(due[0].1.again(&key, Terms { validity: 8_000 }, now + 5_700, 0).unwrap());
        assert_eq!((again.rdata[..8].to_vec(), again.used()), (one.rdata[..8].to_vec(), one.used()));
        cache.insert(7, again);
        assert_eq!((cache.len(), reads(now + 6_700), cache.due()), (1, true, now + 11_700));
        cache.forget(7, &one);
        assert_eq!(cache.len(), 1, "the old one is not there any more");
    }

    #[test]
    fn what_is_asked_for_outlives_what_is_not_and_the_number_is_bounded() {
        let (cache, key) = (Cache::new(100), key());
        let one = made(&key, 1_000_000);
        cache.insert(0, Arc::clone(&one));
        for number in 1..10_000 {
            cache.insert(number, Arc::clone(&one));
            assert!(cache.len() <= 101, "{}", cache.len());
            assert!(cache.read(0, 1_000_000, |_| {}), "after {number}");
        }
        assert!(!cache.read(1, 1_000_000, |_| {}));
    }

    #[test]
    fn the_number_of_a_set_depends_on_all_of_it_and_on_the_key() {
        let (numbers, one, other) = (Numbers::default(), key(), key());
        let number = numbers.of(b"x", &one);
        assert_eq!(number, numbers.of(b"x", &one));
        for another in [numbers.of(b"y", &one), numbers.of(b"x", &other)] {
            assert_ne!(number, another);
        }
    }
}
