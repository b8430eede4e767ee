//! Which keys of a zone are published and which sign, at a moment. Pure.

use super::key::Key;
use super::times::State;
use crate::dns::names::Name;
use crate::dns::tree::RrSet;
use crate::dns::wire::rtype;
use std::sync::Arc;

/// The keys of a zone as they stand at a moment.
#[derive(Debug)]
pub struct Keyset {
    /// Keys that sign the zone's data: one of each algorithm (RFC 4035 §2.2).
    pub data: Vec<Arc<Key>>,
    /// Keys that sign DNSKEY, CDS and CDNSKEY.
    pub entry: Vec<Arc<Key>>,
    /// DNSKEY, CDS and CDNSKEY; a set without records is not there.
    sets: Vec<RrSet>,
    /// When something changes next, in seconds since 1970.
    pub next_change: Option<u64>,
    /// Whether no key was active, so that one that is only published signs: better than a zone that nobody can validate.
    pub lacks_active: bool,
}

impl Keyset {
    /// The keys at `now`. `None`: no key is published, so that nothing could be validated.
    pub fn at(keys: &[Arc<Key>], ttl: u32, now: u64) -> Option<Self> {
        let published: Vec<&Arc<Key>> =
            keys.iter().filter(|key| key.times.state(now).is_published()).collect();
        let mut algorithms: Vec<_> = published.iter().map(|key| key.algorithm).collect();
        algorithms.sort();
        algorithms.dedup();
        let (mut data, mut lacks_active) = (Vec::new(), false);
        for algorithm in &algorithms {
            let of = || published.iter().filter(|key| key.algorithm == *algorithm).copied();
            let active = || of().filter(|key| key.times.state(now) == State::Active);
            // A zone-signing key if there is one, else an entry point signs everything (CSK). Of several the one that
            // became active last: the successor.
            let rank = |key: &&Arc<Key>| (key.times.activate, key.tag());
            let chosen = active().filter(|key| !key.is_entry_point()).max_by_key(rank);
            let chosen = chosen.or_else(|| active().max_by_key(rank));
            lacks_active |= chosen.is_none();
            data.extend(chosen.or_else(|| of().max_by_key(rank)).map(Arc::clone));
        }
        // Every published entry point signs the keys, those to come and those that retired included: whichever DS the
        // parent or a cache has, it leads to a signature. A zone of ZSKs alone signs its keys with them.
        let mut entry: Vec<Arc<Key>> =
            published.iter().filter(|key| key.is_entry_point()).map(|key| Arc::clone(key)).collect();
        if entry.is_empty() {
            entry.clone_from(&data);
        }
        if data.is_empty() {
            return None;
        }
        let synced = || entry.iter().filter(|key| key.is_entry_point() && key.times.is_synced(now));
        let sets = vec![
            RrSet::of(rtype::DNSKEY, ttl, published.iter().map(|key| key.dnskey())),
            RrSet::of(rtype::CDS, ttl, synced().map(|key| key.ds())),
            RrSet::of(rtype::CDNSKEY, ttl, synced().map(|key| key.dnskey())),
        ];
        let next_change = keys.iter().filter_map(|key| key.times.next_change(now)).min();
        Some(Self { data, entry, sets, next_change, lacks_active })
    }

    /// DNSKEY, CDS or CDNSKEY, if there are any.
    pub fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype && !set.records.is_empty())
    }

    /// The types that the apex has beside those of the zone.
    pub fn types(&self) -> impl Iterator<Item = u16> {
        self.sets.iter().filter(|set| !set.records.is_empty()).map(|set| set.rtype)
    }

    /// Those that sign a set of this type.
    pub fn signers(&self, rtype: u16) -> &[Arc<Key>] {
        match rtype {
            rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => &self.entry,
            _ => &self.data,
        }
    }

    /// Whether other keys sign or are published than in `other`.
    pub fn differs(&self, other: &Self, apex: &Name) -> bool {
        let tags = |keys: &[Arc<Key>]| keys.iter().map(|key| key.dnskey()).collect::<Vec<_>>();
        let sets = |of: &Self| -> Vec<Vec<Vec<u8>>> {
            of.sets.iter().map(|set| set.records.iter().map(|data| data.flat(apex)).collect()).collect()
        };
        tags(&self.data) != tags(&other.data)
            || tags(&self.entry) != tags(&other.entry)
            || sets(self) != sets(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{Algorithm, KSK, ZSK};
    use super::super::times::Times;
    use super::*;

    fn key(algorithm: Algorithm, flags: u16, [publish, activate, inactive, delete]: [u64; 4]) -> Arc<Key> {
        let times = Times {
            created: Some(1),
            publish: Some(publish),
            activate: Some(activate),
            inactive: Some(inactive),
            delete: Some(delete),
            ..Times::default()
        };
        let apex = Name::parse("k.example").unwrap();
        Arc::new(Key::generate(apex, algorithm, flags, times).unwrap().0)
    }

    fn tags(keys: &[Arc<Key>]) -> Vec<u16> {
        keys.iter().map(|key| key.tag()).collect()
    }

    const P256: Algorithm = Algorithm::EcdsaP256Sha256;

    #[test]
    fn a_zone_signing_key_is_published_before_it_signs_and_stays_after() {
        let ksk = key(P256, KSK, [1, 1, 900, 900]);
        let (old, new) = (key(P256, ZSK, [1, 1, 50, 80]), key(P256, ZSK, [20, 50, 900, 900]));
        let keys = [Arc::clone(&ksk), Arc::clone(&old), Arc::clone(&new)];
        let at = |now| {
            let set = Keyset::at(&keys, 60, now).unwrap();
            (
                tags(&set.data),
                set.set(rtype::DNSKEY).unwrap().records.len(),
                tags(&set.entry),
                set.next_change,
            )
        };
        let ksk = vec![ksk.tag()];
        assert_eq!(at(19), (vec![old.tag()], 2, ksk.clone(), Some(20)));
        assert_eq!(at(20), (vec![old.tag()], 3, ksk.clone(), Some(50)));
        assert_eq!(at(50), (vec![new.tag()], 3, ksk.clone(), Some(80)));
        assert_eq!(at(80), (vec![new.tag()], 2, ksk, Some(900)));
    }

    #[test]
    fn every_published_entry_point_signs_the_keys_and_cds_names_those_to_stay() {
        let (old, new) = (key(P256, KSK, [1, 1, 50, 80]), key(P256, KSK, [20, 50, 900, 900]));
        let keys = [Arc::clone(&old), Arc::clone(&new)];
        let at = |now| Keyset::at(&keys, 60, now).unwrap();
        let cds = |now| at(now).set(rtype::CDS).map_or(0, |set| set.records.len());
        assert_eq!(
            (tags(&at(19).entry).len(), tags(&at(60).entry).len(), tags(&at(80).entry).len()),
            (1, 2, 1)
        );
        assert_eq!((cds(19), cds(30), cds(60)), (1, 2, 1));
        assert_eq!(
            (tags(&at(49).data), tags(&at(50).data)),
            (vec![old.tag()], vec![new.tag()]),
            "a CSK signs data"
        );
        let first = at(30);
        assert!(!first.differs(&at(31), &old.zone) && first.differs(&at(50), &old.zone));
    }

    #[test]
    fn each_algorithm_signs_and_a_zone_without_an_active_key_is_signed_still() {
        let both = [key(P256, KSK, [1, 1, 900, 900]), key(Algorithm::Ed25519, KSK, [1, 1, 900, 900])];
        assert_eq!(Keyset::at(&both, 60, 5).unwrap().data.len(), 2);
        let late = [key(P256, KSK, [1, 1, 50, 900])];
        let set = Keyset::at(&late, 60, 60).unwrap();
        assert_eq!((set.data.len(), set.lacks_active), (1, true));
        assert!(Keyset::at(&late, 60, 900).is_none() && Keyset::at(&[], 60, 1).is_none());
    }
}
