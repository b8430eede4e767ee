//! When a key is published, signs and goes: the times of BIND's key files (`dnssec-settime` changes them), in seconds
//! since 1970. Pure.

use std::time::{Duration, SystemTime};

/// The times of a key. What is not set never comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created: Option<u64>,
    /// From when on its DNSKEY is published.
    pub publish: Option<u64>,
    /// From when on it signs.
    pub activate: Option<u64>,
    /// From when on it signs no more.
    pub inactive: Option<u64>,
    /// From when on its DNSKEY is gone.
    pub delete: Option<u64>,
    /// From when on CDS and CDNSKEY ask the parent for a DS; the time of publication if not set.
    pub sync_publish: Option<u64>,
    /// From when on they no longer do; the time of inactivity if not set.
    pub sync_delete: Option<u64>,
}

/// What a key does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not published yet.
    Waiting,
    /// Published, so that caches know it when it begins to sign.
    Published,
    /// Published and signing.
    Active,
    /// Published for the signatures that caches still hold.
    Retired,
    /// Gone.
    Removed,
}

impl State {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }

    /// Whether the DNSKEY is in the zone.
    pub fn is_published(self) -> bool {
        matches!(self, Self::Published | Self::Active | Self::Retired)
    }
}

/// Names of the times in key files.
const NAMES: [&str; 7] =
    ["Created", "Publish", "Activate", "Inactive", "Delete", "SyncPublish", "SyncDelete"];

impl Times {
    /// What the key does at `now`. A file without any times is of the old kind: published and active.
    pub fn state(&self, now: u64) -> State {
        let past = |time: Option<u64>| time.is_some_and(|time| time <= now);
        let always = *self == Self::default();
        // A key that signs is published, whatever its times say.
        let published = always || past(self.publish) || past(self.activate);
        match () {
            () if past(self.delete) => State::Removed,
            () if past(self.inactive) && published => State::Retired,
            () if always || past(self.activate) => State::Active,
            () if published => State::Published,
            () => State::Waiting,
        }
    }

    /// Whether CDS and CDNSKEY name the key at `now`, if it is an entry point.
    pub fn is_synced(&self, now: u64) -> bool {
        let begun = self.sync_publish.is_none_or(|time| time <= now);
        let over = self.sync_delete.or(self.inactive).is_some_and(|time| time <= now);
        self.state(now).is_published() && begun && !over
    }

    /// The next moment after `now` at which something changes.
    pub fn next_change(&self, now: u64) -> Option<u64> {
        self.all().into_iter().flatten().filter(|time| *time > now).min()
    }

    /// The times with their names in key files.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.all()).filter_map(|(name, time)| Some((name, time?)))
    }

    /// The time of this name in key files.
    pub fn place(&mut self, name: &str) -> Option<&mut Option<u64>> {
        let places = [
            &mut self.created,
            &mut self.publish,
            &mut self.activate,
            &mut self.inactive,
            &mut self.delete,
            &mut self.sync_publish,
            &mut self.sync_delete,
        ];
        NAMES.into_iter().zip(places).find(|(have, _)| *have == name).map(|(_, place)| place)
    }

    fn all(&self) -> [Option<u64>; 7] {
        let Self { created, publish, activate, inactive, delete, sync_publish, sync_delete } = *self;
        [created, publish, activate, inactive, delete, sync_publish, sync_delete]
    }
}

/// `20260131235959`, UTC, as key files have it.
pub fn stamp(unix: u64) -> String {
    text(unix).chars().filter(char::is_ascii_digit).collect()
}

/// `2026-01-31T23:59:59Z`.
pub fn text(unix: u64) -> String {
    let last = 253_402_300_799; // of the year 9999
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(unix.min(last)))
        .to_string()
}

/// Reads what [`stamp`] writes.
pub fn of_stamp(text: &str) -> Option<u64> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let [year, month, day] = [part(0, 4), part(4, 6), part(6, 8)];
    let [hour, minute, second] = [part(8, 10), part(10, 12), part(12, 14)];
    let time = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_through_its_states_in_order() {
        let times = Times {
            created: Some(10),
            publish: Some(20),
            activate: Some(30),
            inactive: Some(40),
            delete: Some(50),
            ..Times::default()
        };
        let at = |now| times.state(now);
        assert_eq!(
            [at(19), at(20), at(29), at(30)],
            [State::Waiting, State::Published, State::Published, State::Active]
        );
        assert_eq!(
            [at(39), at(40), at(49), at(50)],
            [State::Active, State::Retired, State::Retired, State::Removed]
        );
        assert_eq!([19, 20, 39, 40, 50].map(|now| times.is_synced(now)), [false, true, true, false, false]);
        assert_eq!(
            (times.next_change(0), times.next_change(30), times.next_change(50)),
            (Some(10), Some(40), None)
        );
        let bare = Times { created: Some(1), ..Times::default() };
        assert_eq!((bare.state(5), Times::default().state(5)), (State::Waiting, State::Active));
    }

    #[test]
    fn stamps_go_both_ways() {
        assert_eq!(stamp(1_700_000_000), "20231114221320");
        assert_eq!(of_stamp("20231114221320"), Some(1_700_000_000));
        for wrong in ["", "2023111422132", "20231314221320", "2023111422132x", "20231114226020"] {
            assert_eq!(of_stamp(wrong), None, "{wrong}");
        }
    }
}
