//! The group of a connection, and the service of that group. The first of these that says something decides:
//!
//! 1. the listener's own group;
//! 2. the host name that the client asked for by TLS: `<group>.<cluster>.<apex>`, or any one label before it;
//! 3. the group whose live agents registered the client's address.
//!
//! Otherwise the connection is refused. There is no default: it would show one group's agents to the clients of another.
//! For the same reason a host name that should name a group, and names none, is not passed over in favour of the
//! address.

use super::owners::{Owner, owner_of};
use super::service::Service;
use crate::limits::kafka as limits;
use crate::model::{Cluster, Fleet, GroupName, Moment};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whose clients come to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Those of this group.
    Of(GroupName),
    /// Those of any group of the cluster; each connection's is found.
    Any {
        /// Zones whose names clients ask for by TLS, lower case, without a final dot; with none, names say nothing.
        apexes: Vec<String>,
        /// Whether the address of an agent tells the group.
        source: bool,
    },
}

impl From<GroupName> for Clients {
    fn from(group: GroupName) -> Self {
        Self::Of(group)
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(group) => group.fmt(f),
            Self::Any { .. } => f.write_str("*"),
        }
    }
}

/// Why a connection has no group. Close it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGroup {
    /// The registry was not read yet: what is missing may well exist.
    #[error("the registry was not read yet, so groups are not known")]
    NotSynced,
    /// The client asked for a name that is no group's.
    #[error(
        "the server name {0:?} names no group of cluster {1}: clients ask for <group>.<cluster>.<apex>, or one label \
         before it"
    )]
    UnknownName(String, Cluster),
    /// The client asked for no name of ours, and addresses do not count here.
    #[error(
        "the client asked for no server name below an apex of ours: it must connect by <group>.<cluster>.<apex>"
    )]
    NoName,
    /// The client's address is no live agent's.
    #[error("{0} is the address of no live agent, and nothing else tells the client's group")]
    NotAnAgent(IpAddr),
    /// Agents of several groups have the client's address.
    #[error("agents of several groups registered {0}: give each group's agents addresses of their own")]
    SeveralGroups(IpAddr),
    /// The client's address is an agent's of another cluster.
    #[error("{0} is the address of an agent of another cluster than {1}")]
    OtherCluster(IpAddr, Cluster),
}

impl NoGroup {
    /// The label in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotSynced => "not_synced",
            Self::UnknownName(..) => "unknown_name",
            Self::NoName => "no_name",
            Self::NotAnAgent(_) => "not_an_agent",
            Self::SeveralGroups(_) => "several_groups",
            Self::OtherCluster(..) => "other_cluster",
        }
    }
}

/// How the service of a group is made.
pub type Make = Box<dyn Fn(GroupName) -> Service + Send + Sync>;

/// Finds the group of a connection and hands out the service of that group.
pub struct Groups {
    cluster: Cluster,
    clients: Clients,
    /// The service of a listener with a group of its own.
    own: Option<Arc<Service>>,
    make: Make,
    services: Mutex<HashMap<GroupName, Arc<Service>>>,
    lines: Lines,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("cluster", &self.cluster).field("clients", &self.clients).finish()
    }
}

impl Groups {
    /// The clients of a listener of `cluster`.
    pub fn new(cluster: Cluster, clients: Clients, make: Make) -> Self {
        let own = match &clients {
            Clients::Of(group) => Some(Arc::new(make(group.clone()))),
            Clients::Any { .. } => None,
        };
        let (services, lines) = (Mutex::default(), Lines::default());
        Self { cluster, clients, own, make, services, lines }
    }

    /// The service of the listener's own group, if it has one: then nothing else needs to be asked.
    pub fn own(&self) -> Option<&Arc<Service>> {
        self.own.as_ref()
    }

    /// The service for a client that asked for `name` and came from `source`.
    pub fn find(
        &self,
        fleet: &Arc<Fleet>,
        name: Option<&str>,
        source: IpAddr,
        now: Moment,
    ) -> Result<Arc<Service>, NoGroup> {
        match &self.own {
            Some(own) => Ok(Arc::clone(own)),
            None => Ok(self.service(&self.group(fleet, name, source, now)?)),
        }
    }

    /// Writes one line about a refusal, seldom enough that strangers can't fill a disk.
    pub fn tell(&self, refusal: &NoGroup, source: IpAddr, now: Moment) {
        if let Some(more) = self.lines.due(now) {
            tracing::info!(%source, more, "a Kafka connection was closed: {refusal}");
        }
    }

    fn group(
        &self,
        fleet: &Arc<Fleet>,
        name: Option<&str>,
        source: IpAddr,
        now: Moment,
    ) -> Result<GroupName, NoGroup> {
        let (apexes, by_source) = match &self.clients {
            Clients::Of(group) => return Ok(group.clone()),
            Clients::Any { apexes, source } => (apexes, *source),
        };
        if let Some(name) = name
            && let Some(labels) = labels_below(apexes, name)
        {
            return self.named(fleet, &labels, name);
        }
        if !by_source {
            return Err(NoGroup::NoName);
        }
        match owner_of(fleet, source, now) {
            Owner::Group(cluster, group) if cluster == self.cluster => Ok(group),
            Owner::Group(..) => Err(NoGroup::OtherCluster(source, self.cluster.clone())),
            Owner::Several => Err(NoGroup::SeveralGroups(source)),
            Owner::Nobody if !fleet.is_synced() => Err(NoGroup::NotSynced),
            Owner::Nobody => Err(NoGroup::NotAnAgent(source)),
        }
    }

    /// The group that a name's labels below the apex name, by the rules of DNS: a twin counts if only one group owns it.
    fn named(&self, fleet: &Fleet, labels: &[&str], name: &str) -> Result<GroupName, NoGroup> {
        let found = match labels {
            [group, cluster] | [_, group, cluster] => fleet.group_by_label(cluster, group),
            _ => None,
        };
        match found {
            Some(group) if group.cluster == self.cluster => Ok(group.name.clone()),
            None if !fleet.is_synced() => Err(NoGroup::NotSynced),
            _ => {
                let shown = name.chars().take(limits::NAME_BYTES).collect();
                Err(NoGroup::UnknownName(shown, self.cluster.clone()))
            }
        }
    }

    /// The service of a group, kept for the next connection.
    fn service(&self, group: &GroupName) -> Arc<Service> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.get(group) {
            return Arc::clone(service);
        }
        if services.len() >= limits::GROUPS {
            services.retain(|_, service| Arc::strong_count(service) > 1);
        }
        let service = Arc::new((self.make)(group.clone()));
        if services.len() < limits::GROUPS {
            services.insert(group.clone(), Arc::clone(&service));
        }
        service
    }
}

/// The labels of `name` below the nearest of our apexes, if there are enough of them to name a group. A name outside, the
/// apex itself and a name directly below it (of a server, say) name none.
pub(super) fn labels_below<'a>(apexes: &[String], name: &'a str) -> Option<Vec<&'a str>> {
    let below = |apex: &String| name.strip_suffix(apex.as_str())?.strip_suffix('.');
    // The nearest apex leaves the least.
    let rest = apexes.iter().filter_map(below).min_by_key(|rest| rest.len())?;
    let labels: Vec<&str> = rest.split('.').take(4).collect(); // four are too many already
    (labels.len() > 1).then_some(labels)
}

/// When the last line was written, and how many were not.
#[derive(Debug, Default)]
struct Lines {
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Lines {
    /// How many lines were held back before this one, which may be written; `None` if it may not.
    fn due(&self, now: Moment) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let pause = u64::try_from(limits::REFUSAL_LINES.as_millis()).unwrap_or(u64::MAX);
        let then = now.plus_millis(pause).millis();
        let mine = now.millis() >= next
            && self.next.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        match mine {
            true => Some(self.held_back.swap(0, Ordering::Relaxed)),
            false => {
                self.held_back.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Topics;
    use crate::model::Group;
    use crate::telemetry::kafka::Metrics;

    fn fleet(names: &[(&str, &str)], synced: bool) -> Arc<Fleet> {
        let mut edit = Fleet::default().edit();
        for (cluster, name) in names {
            let (cluster, name) = (Cluster::parse(cluster).unwrap(), GroupName::parse(name).unwrap());
            edit.put_group(Arc::new(Group::build(cluster, name, 1, Vec::new(), Vec::new())));
        }
        if synced {
            edit.set_synced();
        }
        Arc::new(edit.finish())
    }

    fn groups(clients: Clients) -> Groups {
        let cluster = Cluster::parse("prod").unwrap();
        let metrics = Arc::new(Metrics::register(&Default::default()).unwrap());
        let placement = crate::kafka::placement();
        let make: Make = Box::new(move |group| {
            let cluster = Cluster::parse("prod").unwrap();
            Service::new(cluster, group, Topics::Registry, Arc::clone(&placement), Arc::clone(&metrics))
        });
        Groups::new(cluster, clients, make)
    }

    fn found(groups: &Groups, fleet: &Arc<Fleet>, name: Option<&str>) -> String {
        let source = "192.0.2.1".parse().unwrap();
        match groups.find(fleet, name, source, Moment::from_millis(5)) {
            Ok(service) => service.group.to_string(),
            Err(why) => why.as_str().to_owned(),
        }
    }

    #[test]
    fn a_name_leads_to_its_group_or_nowhere() {
        let apexes = vec!["kafka.example".to_owned(), "deep.prod.kafka.example".to_owned()];
        let by_name = groups(Clients::Any { apexes: apexes.clone(), source: false });
        let by_both = groups(Clients::Any { apexes, source: true });
        let fleet = fleet(
            &[
                ("prod", "vpc-1"),
                ("prod", "vpc_2"),
                ("prod", "x_1-a"),
                ("prod", "x-1_a"),
                ("test", "vpc-1"),
                ("test", "only"),
            ],
            true,
        );
        for (name, wanted) in [
            ("vpc-1.prod.kafka.example", "vpc-1"),
            ("agent-7.vpc-1.prod.kafka.example", "vpc-1"),
            ("az-us-east-1a.vpc-1.prod.kafka.example", "vpc-1"),
            ("vpc-2.prod.kafka.example", "vpc_2"),
            ("vpc_2.prod.kafka.example", "vpc_2"),
            ("x-1-a.prod.kafka.example", "unknown_name"), // two groups share this twin
            ("a.b.vpc-1.prod.kafka.example", "unknown_name"),
            ("vpc-3.prod.kafka.example", "unknown_name"),
            ("vpc-1.test.kafka.example", "unknown_name"), // of another cluster
            ("only.test.kafka.example", "unknown_name"),
            ("vpc-1.other.kafka.example", "unknown_name"),
            ("prod.vpc-1.deep.prod.kafka.example", "unknown_name"), // below the nearer apex
        ] {
            assert_eq!(found(&by_name, &fleet, Some(name)), wanted, "{name}");
            assert_eq!(found(&by_both, &fleet, Some(name)), wanted, "{name}: the address decides nothing");
        }
        for name in [
            None,
            Some("kafka.example"),
            Some("prod.kafka.example"),
            Some("vpc-1.prod.kafka.example.org"),
            Some("vpc-1.prod.notkafka.example"),
            Some("vpc-1.prodkafka.example"),
            Some("lb.internal"),
        ] {
            assert_eq!(found(&by_name, &fleet, name), "no_name", "{name:?}");
            assert_eq!(found(&by_both, &fleet, name), "not_an_agent", "{name:?}");
        }
    }

    #[test]
    fn nobody_is_told_anything_before_the_registry_was_read() {
        let some = groups(Clients::Any { apexes: vec!["kafka.example".to_owned()], source: true });
        let unread = fleet(&[("prod", "known")], false);
        assert_eq!(found(&some, &unread, Some("vpc-1.prod.kafka.example")), "not_synced");
        assert_eq!(found(&some, &unread, None), "not_synced");
        assert_eq!(found(&some, &unread, Some("known.prod.kafka.example")), "known", "it was configured");
    }

    #[test]
    fn a_group_has_one_service_and_the_listeners_own_comes_first() {
        let apexes = vec!["kafka.example".to_owned()];
        let fleet = fleet(&[("prod", "vpc-1"), ("prod", "vpc-2")], true);
        let groups_by_name = groups(Clients::Any { apexes, source: false });
        let get = |name: &str| {
            let source = "192.0.2.1".parse().unwrap();
            groups_by_name.find(&fleet, Some(name), source, Moment::from_millis(5)).unwrap()
        };
        let (one, other) = (get("vpc-1.prod.kafka.example"), get("vpc-2.prod.kafka.example"));
        assert!(Arc::ptr_eq(&one, &get("a.vpc-1.prod.kafka.example")));
        assert!(!Arc::ptr_eq(&one, &other));
        let own = groups(Clients::Of(GroupName::parse("vpc-2").unwrap()));
        assert_eq!(found(&own, &fleet, Some("vpc-1.prod.kafka.example")), "vpc-2");
    }

    #[test]
    fn lines_are_seldom_and_say_how_many_were_not_written() {
        let lines = Lines::default();
        let at = |seconds: u64| lines.due(Moment::from_millis(seconds * 1_000));
        assert_eq!(
            [at(1), at(2), at(3), at(10), at(11), at(12), at(21)],
            [Some(0), None, None, None, Some(3), None, Some(1)]
        );
    }
}
