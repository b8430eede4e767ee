//! A zone as a list of records: its static data, and of the fleet what an ordinary server can answer. Pure: the same
//! zone, fleet and time give the same list and digest on every replica.
//!
//! A secondary draws no samples and asks no lease, so it gets every ready agent of a group (up to a bound) with the
//! longest TTL. What depends on one process alone (agents that left, groups that are only remembered) is left out:
//! replicas would never agree on it.

use super::Plan;
use crate::dns::answer::Known;
use crate::dns::answer::fleet::live_zone;
use crate::dns::names::Name;
use crate::dns::tree::Found;
use crate::dns::wire::rtype;
use crate::dns::zones::Zone;
use crate::limits::dns as limits;
use crate::model::group::is_twin;
use crate::model::ids::ZONE_PREFIX;
use crate::model::{Agent, Cluster, Group, ReadyAddresses};
use ring::digest;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::Hasher;
use std::sync::Arc;

/// All records of one zone but its SOA, sorted.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The apex in wire form.
    pub apex: Box<[u8]>,
    /// The SOA's data with a serial of 0.
    soa: Box<[u8]>,
    /// The SOA's TTL in seconds.
    pub soa_ttl: u32,
    /// Sorted by owner and type; none twice.
    pub sets: Vec<Arc<Set>>,
    /// Tells this content from any other: hexadecimal digits.
    pub digest: String,
}

/// The records of one owner and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The owner in wire form, lower case.
    pub owner: Arc<[u8]>,
    /// The type.
    pub rtype: u16,
    /// The TTL in seconds.
    pub ttl: u32,
    /// Whether it belongs to a group that only those may see who may see all.
    pub closed: bool,
    /// The data of each record.
    pub data: Arc<Data>,
}

/// The data of some records, sorted, each once: a length of two bytes before each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Data(Box<[u8]>);

impl Data {
    /// These records, however many they are.
    fn whole(mut records: Vec<Vec<u8>>) -> Option<Arc<Self>> {
        records.sort_unstable();
        records.dedup();
        let flat = records
            .iter()
            .flat_map(|record| (record.len() as u16).to_be_bytes().into_iter().chain(record.iter().copied()));
        let flat: Box<[u8]> = flat.collect();
        (!flat.is_empty()).then(|| Arc::new(Self(flat)))
    }

    /// As many of these records as one answer of a secondary can hold.
    fn bounded(mut records: Vec<Vec<u8>>) -> Option<Arc<Self>> {
        records.sort_unstable();
        records.dedup();
        let bytes = |records: &[Vec<u8>]| records.iter().map(|record| record.len() + 2).sum::<usize>();
        if records.len() > limits::TRANSFER_SET || bytes(&records) > limits::TRANSFER_SET_BYTES {
            // Which are left out is drawn by their content: the same on every replica, and few change when one goes.
            records.sort_by_cached_key(|record| hash(record));
            records.truncate(limits::TRANSFER_SET);
            while bytes(&records) > limits::TRANSFER_SET_BYTES {
                records.pop();
            }
        }
        Self::whole(records)
    }

    /// The data of each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk::<2>()?;
            let (record, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            rest = behind;
            Some(record)
        })
    }
}

/// A fixed key: every replica leaves out the same records.
fn hash(record: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7472_616e_7366_6572, 0x7365_7473);
    hasher.write(record);
    hasher.finish()
}

impl Contents {
    /// What `zone` holds. `plan` says which groups are configured, and which are not for everybody.
    pub fn of(zone: &Zone, known: &Known<'_>, plan: &Plan) -> Self {
        let mut builder = Builder { zone, known, plan, sets: Vec::new() };
        builder.statics();
        // No cluster lies in a reverse zone, and its PTR records are not copied.
        let clusters = zone.reverse.is_none().then(|| known.fleet.clusters().keys());
        clusters.into_iter().flatten().for_each(|cluster| builder.cluster(cluster));
        let mut sets = builder.sets;
        sets.sort_by(|a, b| (&a.owner, a.rtype).cmp(&(&b.owner, b.rtype)));
        sets.dedup_by(|a, b| a.owner == b.owner && a.rtype == b.rtype);
        let soa = zone.soa();
        let mut contents = Self {
            apex: zone.apex.wire().into(),
            soa: soa
                .and_then(|soa| soa.records.first())
                .map(|data| with_serial(data.flat(&zone.apex), 0))
                .unwrap_or_default(),
            soa_ttl: soa.map_or(0, |soa| soa.ttl),
            sets: sets.into_iter().map(Arc::new).collect(),
            digest: String::new(),
        };
        contents.digest = contents.digest();
        contents
    }

    /// The SOA's data with a serial.
    pub fn soa(&self, serial: u32) -> Box<[u8]> {
        with_serial(self.soa.to_vec(), serial)
    }

    /// How many records there are, the SOA not counted.
    pub fn records(&self) -> usize {
        self.sets.iter().map(|set| set.data.iter().count()).sum()
    }

    /// Bytes that the records take in messages, about: owners end in pointers.
    pub fn bytes(&self) -> usize {
        let own = |set: &Set| set.owner.len().saturating_sub(self.apex.len()) + 12;
        self.sets.iter().map(|set| set.data.iter().map(|data| own(set) + data.len()).sum::<usize>()).sum()
    }

    fn digest(&self) -> String {
        let mut sum = digest::Context::new(&digest::SHA256);
        sum.update(&self.soa_ttl.to_be_bytes());
        sum.update(&self.soa);
        for set in &self.sets {
            sum.update(&(set.owner.len() as u16).to_be_bytes());
            sum.update(&set.owner);
            sum.update(&set.rtype.to_be_bytes());
            sum.update(&set.ttl.to_be_bytes());
            sum.update(&[u8::from(set.closed)]);
            sum.update(&(set.data.0.len() as u64).to_be_bytes());
            sum.update(&set.data.0);
        }
        let mut text = String::new();
        for byte in sum.finish().as_ref().iter().take(16) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

fn with_serial(mut soa: Vec<u8>, serial: u32) -> Box<[u8]> {
    let at = soa.len().saturating_sub(20);
    if let Some(place) = soa.get_mut(at..at + 4) {
        place.copy_from_slice(&serial.to_be_bytes());
    }
    soa.into()
}

/// Addresses of both families.
#[derive(Clone, Default)]
struct Both {
    v4: Option<Arc<Data>>,
    v6: Option<Arc<Data>>,
}

struct Builder<'a> {
    zone: &'a Zone,
    known: &'a Known<'a>,
    plan: &'a Plan,
    sets: Vec<Set>,
}

impl<'a> Builder<'a> {
    fn statics(&mut self) {
        for node in self.zone.tree.nodes() {
            for set in node.sets.iter().filter(|set| set.rtype != rtype::SOA) {
                let records = set.records.iter().map(|data| data.flat(&self.zone.apex)).collect();
                // Static sets are whole, however large: the operator wrote them.
                if let Some(data) = Data::whole(records) {
                    let owner = (&*node.name).into();
                    self.sets.push(Set { owner, rtype: set.rtype, ttl: set.ttl, closed: false, data });
                }
            }
        }
    }

    /// A cluster's own name, and its groups.
    fn cluster(&mut self, cluster: &'a Cluster) {
        let fleet = self.known.fleet;
        let own = |label: &str| fleet.cluster_by_label(label) == Some(cluster) && self.is_fleets(label);
        let labels: Vec<String> =
            spellings(cluster.as_str()).into_iter().filter(|label| own(label)).collect();
        let names = fleet.clusters().get(cluster).map(|entry| &entry.groups);
        let groups =
            names.into_iter().flatten().filter_map(|name| fleet.group(cluster.as_str(), name.as_str()));
        let groups: Vec<&Arc<Group>> = groups.collect();
        let open: Vec<&&Arc<Group>> = groups.iter().filter(|group| !self.is_closed(group)).collect();
        let configured = self.known.rules.clusters.contains(cluster);
        let wide = self.known.rules.cluster_wide.contains(cluster).then(|| self.addresses_of_all(&open));
        // A secondary knows a zone's name only if it is told; those of the cluster's other groups are told, too, so
        // that a group which has no agent there for a moment keeps the name.
        let zones: BTreeSet<&str> = open.iter().flat_map(|group| self.zones_of(group)).collect();
        for label in &labels {
            if configured {
                self.text(&[label], &format!("cluster={cluster}"), false);
            }
            if let Some(wide) = &wide {
                self.addresses(&[label], wide, false);
            }
        }
        for group in groups {
            self.group(group, &labels, &zones);
        }
    }

    fn group(&mut self, group: &'a Arc<Group>, clusters: &[String], zones: &BTreeSet<&'a str>) {
        let (fleet, now, closed) = (self.known.fleet, self.known.now, self.is_closed(group));
        let leads_here = |cluster: &str, label: &str| {
            fleet.group_by_label(cluster, label).is_some_and(|found| Arc::ptr_eq(found, group))
        };
        let of_group = Both { v4: live(group.v4().all(), now), v6: live(group.v6().all(), now) };
        let labels: BTreeSet<String> =
            zones.iter().copied().chain(self.zones_of(group)).flat_map(spellings).collect();
        let of_zone = |label: &String| {
            let both = live_zone(group, label, now).map_or_else(
                || of_group.clone(),
                |zone| Both {
                    v4: live(group.v4().of_zone(zone), now),
                    v6: live(group.v6().of_zone(zone), now),
                },
            );
            (format!("{ZONE_PREFIX}{label}"), both)
        };
        let of_zones: Vec<(String, Both)> = labels.iter().map(of_zone).collect();
        let agents: Vec<(String, Both)> =
            group.live(now).flat_map(|agent| self.agent(group, agent)).collect();
        let services = self.services(group);
        let configured = self.plan.groups.contains(&(group.cluster.clone(), group.name.clone()));
        for cluster in clusters {
            for name in spellings(group.name.as_str()) {
                if !leads_here(cluster, &name) {
                    continue;
                }
                let base = [name.as_str(), cluster.as_str()];
                if configured {
                    let text = format!("cluster={} group={}", group.cluster, group.name);
                    self.text(&base, &text, closed);
                }
                self.addresses(&base, &of_group, closed);
                for (label, both) in of_zones.iter().chain(&agents) {
                    self.addresses(&[label.as_str(), base[0], base[1]], both, closed);
                }
                for (service, hosts) in &services {
                    self.service(service, base, hosts, closed);
                }
            }
        }
    }

    /// An agent's addresses under each spelling of its name that is its own.
    fn agent(&self, group: &Group, agent: &Agent) -> Vec<(String, Both)> {
        let octets4 = agent.record.v4().map(|address| address.octets().to_vec());
        let octets6 = agent.record.v6().map(|address| address.octets().to_vec());
        let both = Both { v4: Data::bounded(octets4.collect()), v6: Data::bounded(octets6.collect()) };
        let is_its = |label: &String| {
            let owner = group.agent_by_label(label, self.known.now);
            owner.is_some_and(|owner| owner.key == agent.key)
        };
        let labels = spellings(agent.key.agent.as_str()).into_iter().filter(is_its);
        labels.map(|label| (label, both.clone())).collect()
    }

    /// Per spelling of a service's name its ready agents with their ports.
    fn services(&self, group: &'a Group) -> Vec<(String, Vec<(&'a Agent, u16)>)> {
        let mut services: BTreeMap<&str, Vec<(&Agent, u16)>> = BTreeMap::new();
        for agent in group.ready(self.known.now) {
            for (service, port) in &agent.record.ports {
                services.entry(service.as_str()).or_default().push((agent, *port));
            }
        }
        let twin_of_one = |label: &str| services.keys().filter(|name| is_twin(name, label)).count() == 1;
        let mut all = Vec::new();
        for (service, hosts) in &services {
            for label in spellings(service) {
                if label == *service || !services.contains_key(label.as_str()) && twin_of_one(&label) {
                    all.push((label, hosts.clone()));
                }
            }
        }
        all
    }

    fn service(&mut self, service: &str, base: [&str; 2], hosts: &[(&Agent, u16)], closed: bool) {
        let label = format!("_{service}");
        let target = |(agent, port): &(&Agent, u16)| {
            let host = self.name(&[agent.key.agent.as_str(), base[0], base[1]])?;
            let numbers = [0, agent.record.weight, *port].map(u16::to_be_bytes).concat();
            Some([numbers, host.to_vec()].concat())
        };
        let data = Data::bounded(hosts.iter().filter_map(target).collect());
        self.add(&[&label, "_tcp", base[0], base[1]], rtype::SRV, data, closed);
    }

    fn addresses(&mut self, labels: &[&str], both: &Both, closed: bool) {
        self.add(labels, rtype::A, both.v4.clone(), closed);
        self.add(labels, rtype::AAAA, both.v6.clone(), closed);
    }

    /// A TXT that lets a name exist: without agents it is no data then, and no wildcard of the zone file covers it.
    fn text(&mut self, labels: &[&str], text: &str, closed: bool) {
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let text = text.as_bytes().get(..usize::from(len)).unwrap_or_default();
        self.add(labels, rtype::TXT, Data::bounded(vec![[&[len], text].concat()]), closed);
    }

    fn add(&mut self, labels: &[&str], rtype: u16, data: Option<Arc<Data>>, closed: bool) {
        if let (Some(data), Some(owner)) = (data, self.name(labels)) {
            self.sets.push(Set { owner, rtype, ttl: self.known.rules.ttl, closed, data });
        }
    }

    /// These labels below the apex; `None` if that is too long for a name, which then cannot be asked for either.
    fn name(&self, labels: &[&str]) -> Option<Arc<[u8]>> {
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            wire.push(u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.extend_from_slice(self.zone.apex.wire());
        (wire.len() <= crate::dns::names::MAX_NAME).then(|| wire.into())
    }

    /// Whether the fleet owns `<label>.<apex>`: neither static data does, nor another zone of ours.
    fn is_fleets(&self, label: &str) -> bool {
        let Some(wire) = self.name(&[label]) else { return false };
        let Ok((name, _)) = Name::read(&wire) else { return false };
        let here = self.known.zones.of(&name);
        here.is_some_and(|(zone, index)| {
            std::ptr::eq(zone, self.zone) && matches!(zone.tree.find(&name, index), Found::Nowhere)
        })
    }

    fn is_closed(&self, group: &Group) -> bool {
        self.known.rules.access.is_restricted(group)
    }

    fn zones_of(&self, group: &'a Group) -> impl Iterator<Item = &'a str> {
        group.live(self.known.now).filter_map(|agent| agent.record.zone.as_ref()).map(|zone| zone.as_str())
    }

    fn addresses_of_all(&self, groups: &[&&Arc<Group>]) -> Both {
        let now = self.known.now;
        let octets4 = groups.iter().flat_map(|group| octets(group.v4().all(), now)).collect();
        let octets6 = groups.iter().flat_map(|group| octets(group.v6().all(), now)).collect();
        Both { v4: Data::bounded(octets4), v6: Data::bounded(octets6) }
    }
}

/// The ways in which a name may be written: its own, and its `-` twin.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    all.extend(name.contains('_').then(|| name.replace('_', "-")));
    all
}

fn octets<const N: usize>(
    addresses: ReadyAddresses<'_, N>,
    now: crate::model::Moment,
) -> impl Iterator<Item = Vec<u8>> {
    addresses.walk(0).filter(move |slot| slot.lease.is_live(now)).map(|slot| slot.octets.to_vec())
}

fn live<const N: usize>(addresses: ReadyAddresses<'_, N>, now: crate::model::Moment) -> Option<Arc<Data>> {
    Data::bounded(octets(addresses, now).collect())
}
