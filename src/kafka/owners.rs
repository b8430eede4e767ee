//! Which group an address belongs to: that of the agents that registered it. For listeners whose clients are agents that
//! pass on their own clients' requests.

use crate::model::{Cluster, Fleet, GroupName, Moment, Network};
use std::net::{IpAddr, SocketAddr};

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

/// Whose `address` is in `fleet` at `now`. Agents that are gone own nothing, remembered or not.
pub fn owner_of(fleet: &Fleet, address: IpAddr, now: Moment) -> Owner {
    let claims = fleet.at_address(Network::of(address)).iter().filter(|claim| claim.until.is_none());
    let mut live = claims.filter(|claim| claim.agent.is_live(now)).map(|claim| &claim.agent.key);
    let Some(first) = live.next() else { return Owner::Nobody };
    match live.any(|other| other.group != first.group || other.cluster != first.cluster) {
        true => Owner::Several,
        false => Owner::Group(first.cluster.clone(), first.group.clone()),
    }
}

/// Whether a live agent of another group than this one has registered `address` with that port for Kafka, in `fleet` at
/// `now`. What is done about it must be read from the same snapshot.
pub fn is_anothers(
    fleet: &Fleet,
    address: SocketAddr,
    cluster: &Cluster,
    group: &GroupName,
    now: Moment,
) -> bool {
    fleet.at_address(Network::of(address.ip())).iter().any(|claim| {
        let (key, agent) = (&claim.agent.key, &claim.agent);
        claim.until.is_none()
            && agent.record.kafka_port() == address.port()
            && (key.group != *group || key.cluster != *cluster)
            && agent.is_live(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Agent, AgentId, AgentKey, Group, Lease, Record, Source};
    use std::sync::Arc;

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

    fn owner(fleet: &Arc<Fleet>, address: &str, now: u64) -> String {
        match owner_of(fleet, address.parse().unwrap(), Moment::from_millis(now)) {
            Owner::Group(cluster, group) => format!("{cluster}/{group}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_address_is_its_only_live_groups_and_nobodys_otherwise() {
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
            assert_eq!(owner(&fleet, address, now), wanted, "{address} at {now}");
        }
        let (prod, a) = (Cluster::parse("prod").unwrap(), GroupName::parse("a").unwrap());
        let anothers = |address: &str, now| {
            is_anothers(&fleet, address.parse().unwrap(), &prod, &a, Moment::from_millis(now))
        };
        assert!(!anothers("10.0.0.1:9092", 5) && anothers("10.0.0.2:9092", 5), "one's own, and b's, too");
        assert!(anothers("10.0.0.4:9092", 5), "a group of the same name in another cluster");
        assert!(!anothers("10.0.0.2:9093", 5), "two brokers of one host");
        assert!(anothers("10.0.0.9:9092", 5) && !anothers("10.0.0.9:9092", 50), "until its lease is over");
    }

    #[test]
    fn an_address_that_moves_is_the_new_groups() {
        let first = next(&Fleet::default(), &[group("prod", "a", 1, &["10.0.0.1", "10.0.0.2"])]);
        assert_eq!(owner(&first, "10.0.0.2", 5), "prod/a");
        let second =
            next(&first, &[group("prod", "a", 2, &["10.0.0.1"]), group("prod", "b", 1, &["10.0.0.2"])]);
        assert_eq!(owner(&second, "10.0.0.2", 5), "prod/b", "it moved");
        let mut edit = second.edit();
        edit.remove_group(&Cluster::parse("prod").unwrap(), &GroupName::parse("b").unwrap());
        let third = Arc::new(edit.finish());
        assert_eq!(owner(&third, "10.0.0.2", 5), "Nobody");
    }
}
