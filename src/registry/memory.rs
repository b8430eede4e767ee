//! The embedded store: the same contract as Redis within one process. The default of `demo`, and enough for one node.

use super::keys::{Keyspace, Space};
use super::nudges::Nudges;
use super::{Boxed, Error, Field, Fields, Found, Left, Page, Problem, RawKey, Session, Store, ZoneMark};
use crate::clock::Clock;
use crate::limits::registry as limits;
use crate::model::{AgentKey, Cluster, Moment};
use dashmap::DashMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A registry in this process' memory; clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keyspace: Keyspace,
    clock: Clock,
    records: DashMap<RawKey, Entry>,
    topics: DashMap<RawKey, Vec<Field>>,
    /// By key; only zones of the configuration have one.
    marks: Mutex<HashMap<String, ZoneMark>>,
    followers: Mutex<Vec<Weak<Nudges>>>,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    /// `None`: no lease was given.
    deadline: Option<Moment>,
}

impl Entry {
    fn is_live(&self, now: Moment) -> bool {
        self.deadline.is_none_or(|deadline| deadline > now)
    }
}

impl MemoryStore {
    /// An empty store whose leases run on `clock`.
    pub fn new(keyspace: Keyspace, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            keyspace,
            clock,
            records: DashMap::new(),
            topics: DashMap::new(),
            marks: Mutex::default(),
            followers: Mutex::default(),
        }))
    }

    /// Writes bytes under a key, whatever they are: what `SET key value PX lease` is in Redis.
    pub fn set(&self, key: &[u8], value: &[u8], lease: Option<Duration>) -> Result<(), Error> {
        let now = self.0.clock.now();
        if self.0.records.len() >= limits::AGENTS.max {
            self.0.records.retain(|_, entry| entry.is_live(now));
            if self.0.records.len() >= limits::AGENTS.max {
                return Err(Error::Refused("memory:".to_owned(), "it is full".to_owned()));
            }
        }
        let deadline = lease.map(|lease| now.plus_millis(millis(lease)));
        self.0.records.insert(key.into(), Entry { value: value.to_vec(), deadline });
        self.0.tell(|nudges| nudges.push(key));
        Ok(())
    }

    /// Removes a key and says whether there was a live one: what `DEL` is in Redis.
    pub fn delete(&self, key: &[u8]) -> bool {
        let removed = self.0.records.remove(key);
        self.0.tell(|nudges| nudges.push(key));
        removed.is_some_and(|(_, entry)| entry.is_live(self.0.clock.now()))
    }

    /// Removes everything: what `FLUSHALL` is in Redis.
    pub fn flush(&self) {
        self.0.records.clear();
        self.0.topics.clear();
        self.0.marks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.tell(Nudges::push_flush);
    }

    /// Writes (or with no fields removes) the topics of a cluster.
    pub fn set_topics(&self, cluster: &Cluster, fields: Vec<Field>) {
        let key: RawKey = self.0.keyspace.topics(cluster).into_bytes().into();
        match fields.is_empty() {
            true => drop(self.0.topics.remove(&key)),
            false => drop(self.0.topics.insert(RawKey::clone(&key), fields)),
        }
        self.0.tell(|nudges| nudges.push(&key));
    }
}

impl Shared {
    fn tell(&self, what: impl Fn(&Nudges)) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| follower.upgrade().inspect(|nudges| what(nudges)).is_some());
    }

    fn read(&self, key: &RawKey, now: Moment) -> Found {
        let Some(entry) = self.records.get(key).filter(|entry| entry.is_live(now)) else {
            return Found::Missing;
        };
        let left = entry.deadline.map_or(Left::Forever, |deadline| Left::Millis(deadline.since(now)));
        let end = entry.value.len().min(limits::RECORD_BYTES + 1);
        Found::Value { bytes: entry.value.get(..end).unwrap_or_default().to_vec(), left }
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory:"
    }

    fn keyspace(&self) -> &Keyspace {
        &self.0.keyspace
    }

    fn put<'a>(&'a self, key: &'a AgentKey, value: &'a str, lease: Duration) -> Boxed<'a, Result<(), Error>> {
        let key = self.0.keyspace.agent(key);
        Box::pin(async move { self.set(key.as_bytes(), value.as_bytes(), Some(lease)) })
    }

    fn remove<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<bool, Error>> {
        let key = self.0.keyspace.agent(key);
        Box::pin(async move { Ok(self.delete(key.as_bytes())) })
    }

    fn current<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<Option<Vec<u8>>, Error>> {
        let raw: RawKey = self.0.keyspace.agent(key).into_bytes().into();
        let found = self.0.read(&raw, self.0.clock.now());
        Box::pin(async move {
            Ok(match found {
                Found::Value { bytes, .. } => Some(bytes),
                _ => None,
            })
        })
    }

    fn zone_mark<'a>(&'a self, apex: &'a str) -> Boxed<'a, Result<Option<ZoneMark>, Error>> {
        let marks = self.0.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = marks.get(&self.0.keyspace.zone(apex)).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn swap_zone_mark<'a>(
        &'a self,
        apex: &'a str,
        expected: Option<&'a ZoneMark>,
        new: &'a ZoneMark,
    ) -> Boxed<'a, Result<bool, Error>> {
        let mut marks = self.0.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.0.keyspace.zone(apex);
        let swapped = marks.get(&key) == expected;
        if swapped {
            marks.insert(key, new.clone());
        }
        Box::pin(async move { Ok(swapped) })
    }

    fn session<'a>(&'a self) -> Boxed<'a, Result<Box<dyn Session>, Error>> {
        let nudges = Arc::new(Nudges::default());
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&nudges));
        let session: Box<dyn Session> = Box::new(MemorySession { store: Arc::clone(&self.0), nudges });
        Box::pin(async move { Ok(session) })
    }

    fn probe<'a>(&'a self) -> Boxed<'a, Vec<Problem>> {
        Box::pin(async { Vec::new() })
    }
}

struct MemorySession {
    store: Arc<Shared>,
    nudges: Arc<Nudges>,
}

impl Session for MemorySession {
    fn nudges(&self) -> &Arc<Nudges> {
        &self.nudges
    }

    fn scan<'a>(&'a mut self, space: Space, _: u64) -> Boxed<'a, Result<Page, Error>> {
        let now = self.store.clock.now();
        self.store.records.retain(|_, entry| entry.is_live(now));
        let ours = |key: &RawKey| self.store.keyspace.is(space, key);
        let keys: Vec<RawKey> = match space {
            Space::Agents => {
                self.store.records.iter().map(|entry| RawKey::clone(entry.key())).filter(ours).collect()
            }
            Space::Topics => {
                self.store.topics.iter().map(|entry| RawKey::clone(entry.key())).filter(ours).collect()
            }
        };
        Box::pin(async move { Ok(Page { keys, next: 0 }) })
    }

    fn read<'a>(&'a mut self, keys: &'a [RawKey]) -> Boxed<'a, Result<Vec<Found>, Error>> {
        let now = self.store.clock.now();
        let found = keys.iter().map(|key| self.store.read(key, now)).collect();
        Box::pin(async move { Ok(found) })
    }

    fn fields<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Fields, Error>> {
        let fields = self.store.topics.get(key).map_or(Fields::Missing, |fields| Fields::Some {
            more: fields.len() > limits::TOPICS,
            fields: fields.iter().take(limits::TOPICS).cloned().collect(),
        });
        Box::pin(async move { Ok(fields) })
    }

    fn ping<'a>(&'a mut self) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_runs_out_by_itself_and_every_change_nudges() {
        let clock = Clock::manual(1_000);
        let store = MemoryStore::new(Keyspace::default(), clock.clone());
        let mut session = store.session().await.unwrap();
        let key: RawKey = b"fingerpost:agent:{c}:g:a".as_slice().into();
        store.set(&key, b"x", Some(Duration::from_millis(500))).unwrap();
        let keys = [RawKey::clone(&key)];
        assert_eq!(
            session.read(&keys).await.unwrap(),
            [Found::Value { bytes: b"x".to_vec(), left: Left::Millis(500) }]
        );
        assert_eq!(session.nudges().take(9).keys, keys);
        assert_eq!(session.scan(Space::Agents, 0).await.unwrap().keys, keys);
        clock.advance(Duration::from_millis(500));
        assert_eq!(session.read(&keys).await.unwrap(), [Found::Missing]);
        assert!(session.scan(Space::Agents, 0).await.unwrap().keys.is_empty());
        assert!(!store.delete(&key), "it was gone already");
        store.flush();
        assert!(session.nudges().take_flags().flushed);
    }
}
