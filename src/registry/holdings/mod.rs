//! What one registry holds, as far as we know, and until when we believe it: a state machine without I/O. It is told
//! what was read and what time it is; what follows from that for the fleet it notes, and `publish` collects it.
//!
//! Three rules are worth knowing. A renewal moves a lease and changes nothing else. What vanishes one by one (DEL,
//! expiry) is gone at once; what vanishes all at once (an outage, a Redis that came back empty, FLUSHALL) is kept
//! for one more lease, because its agents will write again. A record that can't be read does not end the lease that
//! its last good version came with.

use super::keys::{Key, Keyspace};
use super::record::{self, Refused};
use super::{Found, Left, RawKey};
use crate::limits::registry as limits;
use crate::model::{Agent, AgentId, AgentKey, Cluster, Departed, GroupName, Lease, Moment, Record, Source};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

mod addresses;
mod publish;
mod refusals;
mod topics;

use addresses::Addresses;
use publish::Changes;
use refusals::Bad;
use topics::Listed;

/// Which group of which cluster.
pub type GroupId = (Cluster, GroupName);

/// How far two readings of one unchanged lease may lie apart: what the network and a rounding make of it.
const SLACK_MILLIS: u64 = 50;

/// What exists before the first agent, as a configuration has it that may be read again.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Groups.
    pub groups: Vec<GroupId>,
}

/// How a registry is followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clusters that exist whether or not a group was seen: those that the configuration names.
    pub clusters: Vec<Cluster>,
    /// Groups that exist whether or not an agent was seen: those that listeners and the configuration name.
    pub groups: Vec<GroupId>,
    /// Other clusters and groups to exist from the moment on that they are sent; `None` if they never change.
    pub reconfigured: Option<watch::Receiver<Configured>>,
    /// How often everything is compared with a full scan.
    pub resync: Duration,
    /// For how long a lost registry's last word is believed.
    pub stale_max: Duration,
    /// For how long a group without agents is remembered.
    pub group_memory: Duration,
    /// For how long the name of an agent that is gone resolves.
    pub departed: Duration,
    /// Most agents that are held.
    pub agents: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            groups: Vec::new(),
            reconfigured: None,
            resync: limits::RESYNC.default,
            stale_max: limits::STALE_MAX.default,
            group_memory: limits::GROUP_MEMORY.default,
            departed: limits::DEPARTED.default,
            agents: limits::AGENTS.default,
        }
    }
}

/// What an observation did to what we hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that an answer is made of: a renewal, or nothing at all.
    Same,
    /// An agent came, went or changed, or a record was newly refused.
    Changed,
}

/// Everything that one registry holds.
#[derive(Debug)]
pub struct Holdings {
    settings: Settings,
    source: Arc<Source>,
    keyspace: Keyspace,
    held: HashMap<RawKey, Held>,
    groups: HashMap<GroupId, Members>,
    addresses: Addresses,
    refused: BTreeMap<RawKey, Bad>,
    /// Hashes of key and reason of refusals that are not shown.
    unshown: HashMap<u64, u64>,
    catalogs: BTreeMap<Cluster, Listed>,
    expiries: BinaryHeap<Reverse<(Moment, RawKey)>>,
    /// Those that ran out lately, should it turn out that the registry was lost before they did.
    lapsed: VecDeque<(Moment, RawKey, Held)>,
    changes: Changes,
    /// Counts scans: what carries an older number was not seen by the current one.
    scan: u64,
    synced: bool,
    /// Everything may have vanished at once; the scan that is under way finds out.
    mass_loss: bool,
    /// Counts such times.
    grace_round: u64,
    /// Refusals since the start, repetitions of the same one left out.
    refusals: u64,
    /// Lines logged in the second that began then.
    warnings: (Moment, u32),
}

#[derive(Debug)]
struct Held {
    agent: Arc<Agent>,
    value: Vec<u8>,
    /// When the registry will drop it; `None` while it does not have it.
    there_until: Option<Moment>,
    /// Until when it is believed although the registry may not have it.
    grace_until: Option<Moment>,
    /// Which round of grace that was.
    grace_round: u64,
    /// The registry was asked for it and does not have it: it lives on grace alone, and gets no other.
    missed: bool,
    /// The lease that it was last given, in milliseconds.
    span: u64,
    /// When its entry in `expiries` is due.
    scheduled: Moment,
    scan: u64,
}

/// The agents of one group.
#[derive(Debug, Default)]
struct Members {
    agents: BTreeMap<AgentId, Arc<Agent>>,
    departed: VecDeque<Departed>,
    configured: bool,
    /// When the group is forgotten, if no agent comes.
    forget_at: Option<Moment>,
}

impl Holdings {
    /// Nothing held yet; the registry called `name` counts as lost until the first scan is complete.
    pub fn new(settings: Settings, keyspace: Keyspace, name: &str, now: Moment) -> Self {
        let source = Source::new(name, millis(settings.stale_max));
        source.freeze(now);
        let configured = || Members { configured: true, ..Members::default() };
        let groups: HashMap<_, _> = settings.groups.iter().map(|id| (id.clone(), configured())).collect();
        let changes =
            Changes { groups: groups.keys().cloned().collect(), status: true, ..Changes::default() };
        Self {
            settings,
            source,
            keyspace,
            held: HashMap::new(),
            groups,
            addresses: Addresses::default(),
            refused: BTreeMap::new(),
            unshown: HashMap::new(),
            catalogs: BTreeMap::new(),
            expiries: BinaryHeap::new(),
            lapsed: VecDeque::new(),
            changes,
            scan: 0,
            synced: false,
            mass_loss: false,
            grace_round: 0,
            refusals: 0,
            warnings: (now, 0),
        }
    }

    /// Takes in what was read of an agent's key. `at` is the moment before it was asked for.
    pub fn observe(&mut self, key: &RawKey, found: Found, at: Moment) -> Outcome {
        let (bytes, left) = match found {
            Found::Missing => return self.missing(key, at),
            Found::Unreadable(reason) => return self.refuse(key, &Refused::new("value", reason), at),
            Found::Value { left: Left::Forever, .. } => {
                let reason =
                    "it has none: set it with PX, for an agent that never expires is answered for ever";
                return self.refuse(key, &Refused::new("lease", reason), at);
            }
            Found::Value { left: Left::Millis(left), .. } if left > millis(limits::LEASE.max) => {
                return self.refuse(
                    key,
                    &Refused::new("lease", "it is longer than an hour: set a shorter PX"),
                    at,
                );
            }
            Found::Value { bytes, left: Left::Millis(left) } => (bytes, left),
        };
        let known = self.held.get(key).is_some_and(|held| held.value == bytes);
        if known {
            // Most heartbeats end here: the same bytes with a new lease.
            self.renew(key, at, left);
            return self.accept(key);
        }
        match self.read(key, &bytes) {
            Ok((id, record)) => {
                let changed = self.place(key, id, record, bytes, at, left);
                let cleared = self.accept(key);
                if changed == Outcome::Changed { changed } else { cleared }
            }
            Err(refused) => self.refuse(key, &refused, at),
        }
    }

    fn read(&self, key: &RawKey, bytes: &[u8]) -> Result<(AgentKey, Record), Refused> {
        let Key::Agent(id) = self.keyspace.parse(key)? else {
            return Err(Refused::new("key", "it is no agent's"));
        };
        let record = record::parse(bytes)?;
        if self.held.len() >= self.settings.agents && !self.held.contains_key(key) {
            let most = self.settings.agents;
            return Err(Refused::new(
                "fleet",
                format!("{most} agents are held already, which is the configured most"),
            ));
        }
        Ok((id, record))
    }

    /// Puts a good record in: an agent that is new, changed, or only wrote the same in other bytes.
    fn place(
        &mut self,
        key: &RawKey,
        id: AgentKey,
        record: Record,
        bytes: Vec<u8>,
        at: Moment,
        left: u64,
    ) -> Outcome {
        if let Some(held) = self.held.get_mut(key) {
            held.value = bytes;
            held.agent.lease.report(record.connections);
            let same = *held.agent.record == record;
            if !same {
                let lease = Arc::clone(&held.agent.lease);
                held.agent = Arc::new(Agent { key: id, record: Arc::new(record), lease });
                let agent = Arc::clone(&held.agent);
                self.seat(agent);
            }
            self.renew(key, at, left);
            return if same { Outcome::Same } else { Outcome::Changed };
        }
        let deadline = at.plus_millis(left);
        let lease = Lease::new(deadline, Arc::clone(&self.source));
        lease.report(record.connections);
        let agent = Arc::new(Agent { key: id, record: Arc::new(record), lease });
        tracing::debug!(agent = %agent.key, "an agent came");
        let held = Held {
            agent: Arc::clone(&agent),
            value: bytes,
            there_until: Some(deadline),
            grace_until: None,
            grace_round: 0,
            missed: false,
            span: left,
            scheduled: deadline,
            scan: self.scan,
        };
        self.expiries.push(Reverse((deadline, RawKey::clone(key))));
        self.held.insert(RawKey::clone(key), held);
        self.seat(agent);
        Outcome::Changed
    }

    /// Gives an agent its place in its group.
    fn seat(&mut self, agent: Arc<Agent>) {
        let id = (agent.key.cluster.clone(), agent.key.group.clone());
        let members = self.groups.entry(id.clone()).or_default();
        members.forget_at = None;
        members.departed.retain(|gone| gone.agent.key.agent != agent.key.agent);
        let record = Arc::clone(&agent.record);
        if let Some(before) = members.agents.insert(agent.key.agent.clone(), agent) {
            self.addresses.release(&id, &before.record);
        }
        for other in self.addresses.hold(&id, &record) {
            // An address that another group has now leads nobody into it by the name of one who had it before.
            if let Some(members) = self.groups.get_mut(&other) {
                let taken = |gone: &Departed| {
                    gone.agent.record.addresses.iter().any(|a| record.addresses.contains(a))
                };
                members.departed.retain(|gone| !taken(gone));
                self.changes.groups.insert(other);
            }
        }
        self.changes.forgotten.remove(&id);
        self.changes.groups.insert(id);
    }

    fn renew(&mut self, key: &RawKey, at: Moment, left: u64) {
        let Some(held) = self.held.get_mut(key) else { return };
        let deadline = at.plus_millis(left);
        match held.there_until {
            Some(before) if deadline > before.plus_millis(SLACK_MILLIS) => {
                held.span = left;
                held.grace_until = None;
            }
            Some(_) => {}
            None => {
                held.span = held.span.max(left);
                held.grace_until = held.grace_until.filter(|grace| *grace > deadline);
            }
        }
        held.there_until = Some(deadline);
        held.missed = false;
        held.scan = self.scan;
        let until = held.grace_until.map_or(deadline, |grace| grace.max(deadline));
        held.believe_until(until, key, &mut self.expiries);
    }

    /// The registry does not have this key.
    fn missing(&mut self, key: &RawKey, at: Moment) -> Outcome {
        let cleared = self.accept(key);
        let Some(held) = self.held.get_mut(key) else { return cleared };
        held.scan = self.scan;
        // A key that goes before its time was deleted; one that went at its time ran out.
        let ran_out = held.there_until.is_none_or(|until| at.plus_millis(SLACK_MILLIS) >= until);
        if let Some(grace) = held.grace_until.filter(|grace| ran_out && *grace > at) {
            held.there_until = None;
            held.missed = true;
            held.believe_until(grace, key, &mut self.expiries);
            return cleared;
        }
        if let Some(held) = self.held.remove(key) {
            tracing::debug!(agent = %held.agent.key, "an agent said goodbye or was deleted");
            self.unseat(&held.agent, at);
        }
        Outcome::Changed
    }

    /// Takes an agent out of its group; its name stays for a while.
    fn unseat(&mut self, agent: &Arc<Agent>, now: Moment) {
        let id = (agent.key.cluster.clone(), agent.key.group.clone());
        let Some(members) = self.groups.get_mut(&id) else { return };
        members.agents.remove(&agent.key.agent);
        self.addresses.release(&id, &agent.record);
        let remember = !self.settings.departed.is_zero()
            && self.addresses.has_room()
            && !self.addresses.is_anothers(&id, &agent.record);
        if remember {
            self.addresses.remember(&id, &agent.record);
            let until = now.plus_millis(millis(self.settings.departed));
            members.departed.push_back(Departed { agent: Arc::clone(agent), until });
            if members.departed.len() > limits::DEPARTED_MOST {
                members.departed.pop_front();
            }
        }
        if members.agents.is_empty() && !members.configured {
            members.forget_at = Some(now.plus_millis(millis(self.settings.group_memory)));
            if self.groups.len() > limits::GROUPS {
                self.groups.remove(&id);
                self.changes.groups.remove(&id);
                self.changes.forgotten.insert(id);
                return;
            }
        }
        self.changes.groups.insert(id);
    }

    /// Ends leases that ran out by `now`. Answers compare leases with the clock themselves, so being late here
    /// leaves a lapsed agent in no answer.
    pub fn expire(&mut self, now: Moment) {
        while let Some(Reverse((due, _))) = self.expiries.peek() {
            if *due > now {
                break;
            }
            let Some(Reverse((due, key))) = self.expiries.pop() else { break };
            let stale_max = self.source.frozen_since().map_or(0, |_| millis(self.settings.stale_max));
            let Some(held) = self.held.get_mut(&key).filter(|held| held.scheduled == due) else { continue };
            if held.agent.lease.is_live(now) {
                let end = held.agent.lease.deadline().plus_millis(stale_max);
                held.scheduled = end.max(now.plus_millis(1));
                self.expiries.push(Reverse((held.scheduled, key)));
            } else if let Some(held) = self.held.remove(&key) {
                tracing::debug!(agent = %held.agent.key, "an agent's lease ran out");
                self.unseat(&held.agent, now);
                self.lapsed.push_back((now, key, held));
            }
        }
        while self.lapsed.front().is_some_and(|(at, ..)| now.since(*at) > millis(limits::SECOND_THOUGHT)) {
            self.lapsed.pop_front();
        }
    }

    /// When [`Holdings::expire`] next has something to do.
    pub fn next_expiry(&self) -> Option<Moment> {
        self.expiries.peek().map(|Reverse((due, _))| *due)
    }

    /// The registry was lost: it was last heard at `since`. Leases stand still from then on, and those that ran out
    /// since then are taken back, for their renewals could not reach us.
    pub fn lost(&mut self, since: Moment, now: Moment) {
        if self.source.frozen_since().is_some() {
            return;
        }
        self.source.freeze(since);
        for (_, key, mut held) in std::mem::take(&mut self.lapsed) {
            if held.agent.lease.is_live(now) && !self.held.contains_key(&key) {
                held.scheduled = now;
                self.expiries.push(Reverse((now, RawKey::clone(&key))));
                self.seat(Arc::clone(&held.agent));
                self.held.insert(key, held);
            }
        }
    }

    /// Everything may have vanished at once (the registry is back after an outage, or was flushed): every agent that
    /// is believed now is believed for one more lease, whether the registry still has it or not. Who lives on such a
    /// grace already gets no second one: repeated flushes must not keep the dead alive.
    pub fn begin_grace(&mut self, now: Moment) {
        self.mass_loss = true;
        self.grace_round += 1;
        for (key, held) in &mut self.held {
            if held.agent.lease.is_live(now) && !held.missed {
                held.grace_round = self.grace_round;
                let grace = now.plus_millis(held.span);
                held.grace_until = Some(held.grace_until.map_or(grace, |before| before.max(grace)));
                held.there_until = None;
                let until = held.agent.lease.deadline().max(grace);
                held.believe_until(until, key, &mut self.expiries);
            }
        }
    }

    /// A scan of everything begins.
    pub fn begin_scan(&mut self) {
        self.scan += 1;
    }

    /// Agents' keys that we know and that the scan did not meet. Each must be read before it counts as gone: a scan
    /// may miss a key that was deleted and written again meanwhile.
    pub fn unseen(&self) -> Vec<RawKey> {
        let held = self.held.iter().filter(|(_, held)| held.scan != self.scan).map(|(key, _)| key);
        let bad = self.refused.iter().filter(|(_, bad)| bad.scan != self.scan).map(|(key, _)| key);
        let keys: BTreeSet<&RawKey> = held.chain(bad).collect();
        keys.into_iter().map(RawKey::clone).collect()
    }

    /// Topics' keys that we know and that the scan did not meet.
    pub fn unseen_topics(&self) -> Vec<RawKey> {
        self.catalogs
            .values()
            .filter(|listed| listed.scan != self.scan)
            .map(|l| RawKey::clone(&l.key))
            .collect()
    }

    /// A scan is complete: the registry is fresh from now on.
    pub fn finish_scan(&mut self, now: Moment) {
        let frozen = self.source.frozen_since().is_some();
        let mass_loss = std::mem::take(&mut self.mass_loss);
        for (key, held) in &mut self.held {
            let granted = mass_loss && held.grace_round == self.grace_round;
            if let Some(grace) = held.grace_until.filter(|_| granted) {
                // The scan itself took time, which must not cost anybody his grace.
                let grace = grace.max(now.plus_millis(held.span));
                held.grace_until = Some(grace);
                held.believe_until(grace.max(held.there_until.unwrap_or(grace)), key, &mut self.expiries);
            } else if frozen {
                let until = held.agent.lease.deadline();
                held.believe_until(until, key, &mut self.expiries);
            }
        }
        self.changes.status |= frozen || !self.synced;
        self.synced = true;
        self.source.thaw();
        self.housekeeping(now);
    }

    /// Forgets what was remembered long enough.
    fn housekeeping(&mut self, now: Moment) {
        for (id, members) in &mut self.groups {
            let before = members.departed.len();
            members.departed.retain(|gone| gone.until > now);
            if members.departed.len() != before {
                self.changes.groups.insert(id.clone());
            }
        }
        let forget: Vec<GroupId> = (self.groups.iter())
            .filter(|(_, members)| members.agents.is_empty() && members.forget_at.is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in forget {
            self.groups.remove(&id);
            self.changes.groups.remove(&id);
            self.changes.forgotten.insert(id);
        }
        let departed = self.groups.iter().flat_map(|(id, of)| of.departed.iter().map(move |gone| (id, gone)));
        self.addresses.recount(departed.map(|(id, gone)| (id, &*gone.agent.record)));
        let over: Vec<Cluster> = (self.catalogs.iter())
            .filter(|(_, listed)| listed.kept_until.is_some_and(|until| until <= now))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in over {
            self.catalogs.remove(&cluster);
            self.changes.catalogs.insert(cluster);
        }
    }

    /// How many agents are held.
    pub fn agents(&self) -> usize {
        self.held.len()
    }

    /// How many groups are known.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The registry as leases see it.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether a full scan was ever completed.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}

impl Held {
    fn believe_until(
        &mut self,
        until: Moment,
        key: &RawKey,
        expiries: &mut BinaryHeap<Reverse<(Moment, RawKey)>>,
    ) {
        self.agent.lease.renew(until);
        // A later end needs no entry of its own: the one that is due finds the lease live and is put back.
        if until < self.scheduled {
            self.scheduled = until;
            expiries.push(Reverse((until, RawKey::clone(key))));
        }
    }
}

/// A key as it may be shown: bounded, and unable to drive a terminal.
pub(super) fn shown_key(key: &[u8]) -> String {
    let end = key.len().min(limits::KEY_BYTES);
    String::from_utf8_lossy(key.get(..end).unwrap_or_default()).escape_debug().to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
