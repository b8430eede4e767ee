//! Which group an address belongs to: that of the agents that registered it. For listeners whose clients are agents that
//! pass on their own clients' requests.
//!
//! The index follows the snapshot: a connection pays for the groups that changed since the last one, not for the fleet.

use crate::model::{Agent, Cluster, Fleet, Group, GroupName, Lease, Moment};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Addresses of all agents, live or not; a look-up compares their leases.
#[derive(Debug, Default)]
pub struct Owners(Mutex<Index>);

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No live agent's.
    Nobody,
    /// Of live agents of this group alone.
    Group(Cluster, GroupName),
    /// Of live agents of two groups or more: whichever were taken, it could be the wrong one.
    Several,
}

#[derive(Debug, Default)]
struct Index {
    /// The snapshot that the index was made of.
    of: Option<Arc<Fleet>>,
    claims: HashMap<IpAddr, Vec<Claim>>,
}

/// One agent's claim on an address.
#[derive(Debug)]
struct Claim {
    cluster: Cluster,
    group: GroupName,
    /// For Kafka.
    port: u16,
    lease: Arc<Lease>,
}

impl Owners {
    /// Whose `address` is in `fleet` at `now`. Never goes back to an older snapshot than the last one asked of.
    pub fn find(&self, fleet: &Arc<Fleet>, address: IpAddr, now: Moment) -> Owner {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.follow(fleet);
        let claims = index.claims.get(&address.to_canonical()).map_or(&[][..], Vec::as_slice);
        let mut live = claims.iter().filter(|claim| claim.lease.is_live(now));
        let Some(first) = live.next() else { return Owner::Nobody };
        match live.any(|other| other.group != first.group || other.cluster != first.cluster) {
            true => Owner::Several,
            false => Owner::Group(first.cluster.clone(), first.group.clone()),
        }
    }
}

impl Owners {
    /// The claims of `fleet`, or of a newer snapshot if there was a question about one. Others wait while it is held.
    pub fn at(&self, fleet: &Arc<Fleet>) -> Claims<'_> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Claims { fleet: Arc::clone(index.follow(fleet)), index }
    }
}

/// All claims on addresses within one snapshot.
#[derive(Debug)]
pub struct Claims<'a> {
    index: MutexGuard<'a, Index>,
    /// The snapshot. What is said of its agents must be read from it, not from one that is older or newer than the claims.
    pub fleet: Arc<Fleet>,
}

impl Claims<'_> {
    /// Whether a live agent of another group than this one has registered `address` with that port for Kafka.
    pub fn is_anothers(
        &self,
        address: SocketAddr,
        cluster: &Cluster,
        group: &GroupName,
        now: Moment,
    ) -> bool {
        let claims = self.index.claims.get(&address.ip().to_canonical()).map_or(&[][..], Vec::as_slice);
        let another = |claim: &Claim| claim.group != *group || claim.cluster != *cluster;
        claims.iter().any(|claim| claim.port == address.port() && another(claim) && claim.lease.is_live(now))
    }
}

impl Index {
    /// Follows to `fleet`, if that is newer; returns what the index is of then.
    fn follow(&mut self, fleet: &Arc<Fleet>) -> &Arc<Fleet> {
        let old = self.of.take().unwrap_or_default();
        if old.generation() >= fleet.generation() {
            return self.of.insert(old);
        }
        for group in old.groups_not_in(fleet) {
            self.remove(group);
        }
        for group in fleet.groups_not_in(&old) {
            self.add(group);
        }
        self.of.insert(Arc::clone(fleet))
    }

    fn remove(&mut self, group: &Group) {
        for address in group.agents().iter().flat_map(|agent| &agent.record.addresses) {
            if let Some(claims) = self.claims.get_mut(address) {
                claims.retain(|claim| claim.group != group.name || claim.cluster != group.cluster);
                if claims.is_empty() {
                    self.claims.remove(address);
                }
            }
        }
    }

    fn add(&mut self, group: &Group) {
        let claim = |agent: &Agent| Claim {
            cluster: group.cluster.clone(),
            group: group.name.clone(),
            port: agent.record.kafka_port(),
            lease: Arc::clone(&agent.lease),
        };
        for agent in group.agents() {
            for address in &agent.record.addresses {
                self.claims.entry(*address).or_default().push(claim(agent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, AgentKey, Record, Source};

    /// A group with an agent per address; each lease ends at 1000 but those of addresses ending in 9, at 10.
    fn group(cluster: &str, name: &str, version: u64, addresses: &[&str]) -> Arc<Group> {
        let (cluster, name) = (Cluster::parse(cluster).unwrap(), GroupName::parse(name).unwrap());
        let source = Source::new("test", 0);
        let agents = addresses.iter().enumerate().map(|(i, address)| {
            let agent = AgentId::parse(&format!("a{i}")).unwrap();
            let end = if address.ends_with('9') { 10 } else { 1_000 };
            Arc::new(Agent {
                key: AgentKey { cluster: cluster.clone(), group: name.clone(), agent },
                record: Arc::new(Record { addresses: vec![address.parse().unwrap()], ..Record::default() }),
                lease: Lease::new(Moment::from_millis(end), Arc::clone(&source)),
            })
        });
        let agents = agents.collect();
        Arc::new(Group::build(cluster.clone(), name.clone(), version, agents, Vec::new()))
    }

    fn next(fleet: &Fleet, groups: &[Arc<Group>]) -> Arc<Fleet> {
        let mut edit = fleet.edit();
        groups.iter().for_each(|group| edit.put_group(Arc::clone(group)));
        Arc::new(edit.finish())
    }

    fn owner(owners: &Owners, fleet: &Arc<Fleet>, address: &str, now: u64) -> String {
        match owners.find(fleet, address.parse().unwrap(), Moment::from_millis(now)) {
            Owner::Group(cluster, group) => format!("{cluster}/{group}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_address_is_its_only_live_groups_and_nobodys_otherwise() {
        let owners = Owners::default();
        let fleet = next(
            &Fleet::default(),
            &[
                group("prod", "a", 1, &["10.0.0.1", "10.0.0.2", "10.0.0.9", "2001:db8::1", "10.0.0.1"]),
                group("prod", "b", 1, &["10.0.0.2", "10.0.0.9", "10.0.0.3"]),
                group("test", "a", 1, &["10.0.0.3", "10.0.0.4"]),
            ],
        );
        for (address, now, wanted) in [
            ("10.0.0.1", 5, "prod/a"),
            ("::ffff:10.0.0.1", 5, "prod/a"),
            ("2001:db8::1", 5, "prod/a"),
            ("10.0.0.2", 5, "Several"),
            ("10.0.0.3", 5, "Several"), // of two clusters
            ("10.0.0.4", 5, "test/a"),
            ("10.0.0.4", 2_000, "Nobody"),
            ("10.0.0.9", 5, "Several"),
            ("10.0.0.9", 50, "Nobody"),
            ("10.0.0.5", 5, "Nobody"),
        ] {
            assert_eq!(owner(&owners, &fleet, address, now), wanted, "{address} at {now}");
        }
        let (prod, a) = (Cluster::parse("prod").unwrap(), GroupName::parse("a").unwrap());
        let anothers = |address: &str, now| {
            owners.at(&fleet).is_anothers(address.parse().unwrap(), &prod, &a, Moment::from_millis(now))
        };
        assert!(!anothers("10.0.0.1:9092", 5) && anothers("10.0.0.2:9092", 5), "one's own, and b's, too");
        assert!(anothers("10.0.0.4:9092", 5), "a group of the same name in another cluster");
        assert!(!anothers("10.0.0.2:9093", 5), "two brokers of one host");
        assert!(anothers("10.0.0.9:9092", 5) && !anothers("10.0.0.9:9092", 50), "until its lease is over");
    }

    #[test]
    fn the_index_follows_changes_and_never_goes_back() {
        let owners = Owners::default();
        let first = next(&Fleet::default(), &[group("prod", "a", 1, &["10.0.0.1", "10.0.0.2"])]);
        assert_eq!(owner(&owners, &first, "10.0.0.2", 5), "prod/a");
        let second =
            next(&first, &[group("prod", "a", 2, &["10.0.0.1"]), group("prod", "b", 1, &["10.0.0.2"])]);
        assert_eq!(owner(&owners, &second, "10.0.0.2", 5), "prod/b", "it moved");
        assert_eq!(owner(&owners, &first, "10.0.0.2", 5), "prod/b", "an old snapshot takes nothing back");
        let mut edit = second.edit();
        edit.remove_group(&Cluster::parse("prod").unwrap(), &GroupName::parse("b").unwrap());
        let third = Arc::new(edit.finish());
        assert_eq!(owner(&owners, &third, "10.0.0.2", 5), "Nobody");
        let kept = owners.0.lock().unwrap().claims.len();
        assert_eq!(kept, 1, "what is gone is forgotten");
    }
}
