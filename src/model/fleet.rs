//! The whole fleet as one immutable snapshot. Publishing a change rebuilds one group and copies one shard of
//! pointers, not ten thousand groups.

use super::addresses::{AddressIndex, Claim, Network};
use super::agent::Refusal;
use super::catalog::Catalog;
use super::group::{Group, is_twin, only};
use super::ids::{Cluster, GroupName};
use super::liveness::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Parts that the groups are split into: an edit copies this many pointers and one part's.
const SHARDS: usize = 256;

/// Groups whose canonical names hash into one shard, sorted by that hash.
type Shard = Vec<(u64, Arc<Group>)>;

/// One cluster: its groups by name.
#[derive(Clone, Debug, Default)]
pub struct ClusterEntry {
    /// Every known group, those without an agent included.
    pub groups: BTreeSet<GroupName>,
    /// Whether the configuration names it: then it exists, and owns its name, without any group.
    pub configured: bool,
}

/// An immutable snapshot of everything that answers are made of.
#[derive(Clone, Debug)]
pub struct Fleet {
    generation: u64,
    synced: bool,
    shards: Box<[Arc<Shard>]>,
    addresses: AddressIndex,
    clusters: Arc<BTreeMap<Cluster, ClusterEntry>>,
    catalogs: Arc<BTreeMap<Cluster, Arc<Catalog>>>,
    refused: Arc<Vec<Refusal>>,
    sources: Arc<Vec<Arc<Source>>>,
}

impl Default for Fleet {
    fn default() -> Self {
        let empty = Arc::new(Shard::new());
        Self {
            generation: 0,
            synced: false,
            shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(),
            addresses: AddressIndex::default(),
            clusters: Arc::default(),
            catalogs: Arc::default(),
            refused: Arc::default(),
            sources: Arc::default(),
        }
    }
}

impl Fleet {
    /// Counts publications within this process.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the registry was read in full at least once. Before that, what is missing here may well exist.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// The registries that feed it.
    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Whether a registry is lost, so that some of what is here is its last word.
    pub fn is_stale(&self) -> bool {
        self.sources.iter().any(|source| source.frozen_since().is_some())
    }

    /// Records that were not taken.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Every known cluster and the names of its groups, sorted.
    pub fn clusters(&self) -> &BTreeMap<Cluster, ClusterEntry> {
        &self.clusters
    }

    /// The topics that the registry lists for a cluster.
    pub fn catalog(&self, cluster: &str) -> Option<&Arc<Catalog>> {
        self.catalogs.get(cluster)
    }

    /// The group of exactly these names. Kafka's side asks here: a listener's group has no twins.
    pub fn group(&self, cluster: &str, group: &str) -> Option<&Arc<Group>> {
        self.exactly(cluster.as_bytes(), group.as_bytes())
    }

    fn exactly(&self, cluster: &[u8], group: &[u8]) -> Option<&Arc<Group>> {
        self.bucket(cluster, group).find(|have| {
            have.cluster.as_str().as_bytes() == cluster && have.name.as_str().as_bytes() == group
        })
    }

    /// The agents that have this address, held or remembered, of whatever groups.
    pub fn at_address(&self, address: Network) -> &[Claim] {
        self.addresses.at(address)
    }

    /// Whether any agent, held or remembered, has an address in this network.
    pub fn has_within(&self, network: Network) -> bool {
        self.addresses.has_within(network)
    }

    /// The cluster that owns `label`: the one of that name, else the only one whose `-` twin it is.
    pub fn cluster_by_label(&self, label: &str) -> Option<&Cluster> {
        match self.clusters.get_key_value(label) {
            Some((cluster, _)) => Some(cluster),
            None => only(self.clusters.keys().filter(|cluster| is_twin(cluster.as_str(), label))),
        }
    }

    /// The group that owns `group` below the cluster label `cluster`: exact names first, then the only `-` twin.
    /// A twin that two groups share belongs to neither, for either answer would lead into a wrong group.
    /// Labels come as any bytes; those that are no text name no group.
    pub fn group_by_label(&self, cluster: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Option<&Arc<Group>> {
        let (cluster, group) = (cluster.as_ref(), group.as_ref());
        self.exactly(cluster, group).or_else(|| self.twin(cluster, group))
    }

    /// The rare rest of [`Fleet::group_by_label`].
    fn twin(&self, cluster: &[u8], group: &[u8]) -> Option<&Arc<Group>> {
        let group = std::str::from_utf8(group).ok()?;
        let cluster = self.cluster_by_label(std::str::from_utf8(cluster).ok()?)?.as_str();
        self.group(cluster, group).or_else(|| {
            only(
                self.bucket(cluster.as_bytes(), group.as_bytes())
                    .filter(|have| have.cluster.as_str() == cluster && is_twin(have.name.as_str(), group)),
            )
        })
    }

    /// A group of the same cluster whose name differs from this one only by `_` and `-`: once one of the two is
    /// forgotten, its spelling may lead to the other.
    pub fn twin_of(&self, cluster: &Cluster, name: &GroupName) -> Option<&Arc<Group>> {
        self.bucket(cluster.as_str().as_bytes(), name.as_str().as_bytes())
            .find(|have| have.cluster == *cluster && have.name != *name)
    }

    /// Every group, in no order that means anything.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(_, group)| group))
    }

    /// Starts the next snapshot from this one.
    pub fn edit(&self) -> Edit {
        let mut next = self.clone();
        next.generation += 1;
        Edit { next }
    }

    fn bucket(&self, cluster: &[u8], group: &[u8]) -> impl Iterator<Item = &Arc<Group>> {
        let hash = canonical_hash(cluster, group);
        let shard: &[(u64, Arc<Group>)] =
            self.shards.get(hash as usize % SHARDS).map_or(&[], |shard| shard.as_slice());
        let start = shard.partition_point(|(have, _)| *have < hash);
        shard.iter().skip(start).take_while(move |(have, _)| *have == hash).map(|(_, group)| group)
    }
}

/// A snapshot in the making. What it does not touch it shares with the one it came from.
#[derive(Debug)]
pub struct Edit {
    next: Fleet,
}

impl Edit {
    /// The generation that the finished snapshot will have.
    pub fn generation(&self) -> u64 {
        self.next.generation
    }

    /// The snapshot as edited so far.
    pub fn so_far(&self) -> &Fleet {
        &self.next
    }

    /// Puts a group in, in place of the one of its names.
    pub fn put_group(&mut self, group: Arc<Group>) {
        let known =
            self.next.clusters.get(&group.cluster).is_some_and(|entry| entry.groups.contains(&group.name));
        if !known {
            let clusters = Arc::make_mut(&mut self.next.clusters);
            clusters.entry(group.cluster.clone()).or_default().groups.insert(group.name.clone());
        }
        let hash = canonical_hash(group.cluster.as_str().as_bytes(), group.name.as_str().as_bytes());
        let Some(shard) = self.next.shards.get_mut(hash as usize % SHARDS) else { return };
        let shard = Arc::make_mut(shard);
        let same = |have: &Arc<Group>| have.cluster == group.cluster && have.name == group.name;
        match shard.iter_mut().find(|(have, old)| *have == hash && same(old)) {
            Some((_, old)) => {
                self.next.addresses.follow(Some(old), Some(&group));
                *old = group;
            }
            None => {
                self.next.addresses.follow(None, Some(&group));
                let at = shard.partition_point(|(have, _)| *have < hash);
                shard.insert(at, (hash, group));
            }
        }
    }

    /// Lets exactly these clusters exist whether or not they have groups, and own their names; one that was so before exists from now on
    /// only if it has a group.
    pub fn configure_clusters<'a>(&mut self, clusters: impl IntoIterator<Item = &'a Cluster>) {
        let all = Arc::make_mut(&mut self.next.clusters);
        all.values_mut().for_each(|entry| entry.configured = false);
        clusters.into_iter().for_each(|cluster| all.entry(cluster.clone()).or_default().configured = true);
        all.retain(|_, entry| entry.configured || !entry.groups.is_empty());
    }

    /// Forgets a group, and its cluster with its last group unless that is configured.
    pub fn remove_group(&mut self, cluster: &Cluster, group: &GroupName) {
        let clusters = Arc::make_mut(&mut self.next.clusters);
        if let Some(entry) = clusters.get_mut(cluster) {
            entry.groups.remove(group);
            if entry.groups.is_empty() && !entry.configured {
                clusters.remove(cluster);
            }
        }
        let hash = canonical_hash(cluster.as_str().as_bytes(), group.as_str().as_bytes());
        if let Some(shard) = self.next.shards.get_mut(hash as usize % SHARDS) {
            let is_it = |have: &Group| have.cluster == *cluster && have.name == *group;
            let gone = shard.iter().find(|(_, have)| is_it(have)).map(|(_, have)| Arc::clone(have));
            self.next.addresses.follow(gone.as_deref(), None);
            Arc::make_mut(shard).retain(|(_, have)| !is_it(have));
        }
    }

    /// Sets or (with `None`) forgets the topics of a cluster.
    pub fn set_catalog(&mut self, cluster: Cluster, catalog: Option<Arc<Catalog>>) {
        let catalogs = Arc::make_mut(&mut self.next.catalogs);
        match catalog {
            Some(catalog) => catalogs.insert(cluster, catalog),
            None => catalogs.remove(&cluster),
        };
    }

    /// Sets the list of refused records.
    pub fn set_refused(&mut self, refused: Vec<Refusal>) {
        self.next.refused = Arc::new(refused);
    }

    /// Sets the registries that feed the fleet.
    pub fn set_sources(&mut self, sources: Vec<Arc<Source>>) {
        self.next.sources = Arc::new(sources);
    }

    /// Notes that the registry was read in full.
    pub fn set_synced(&mut self) {
        self.next.synced = true;
    }

    /// The finished snapshot.
    pub fn finish(self) -> Fleet {
        self.next
    }
}

/// FNV-1a over both names with `_` written as `-`, so that twins share a bucket. Only operators make names, so a
/// keyed hash would buy nothing.
fn canonical_hash(cluster: &[u8], group: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| {
        let canonical = if *byte == b'_' { b'-' } else { *byte };
        (hash ^ u64::from(canonical)).wrapping_mul(0x0100_0000_01b3)
    };
    let hash = group.iter().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = cluster.iter().fold(step(hash, &b'.'), step);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(cluster: &str, name: &str) -> Arc<Group> {
        let (cluster, name) = (Cluster::parse(cluster).unwrap(), GroupName::parse(name).unwrap());
        Arc::new(Group::build(cluster, name, 1, Vec::new(), Vec::new()))
    }

    fn fleet(names: &[(&str, &str)]) -> Fleet {
        let mut edit = Fleet::default().edit();
        names.iter().for_each(|(cluster, name)| edit.put_group(group(cluster, name)));
        edit.finish()
    }

    #[test]
    fn an_edit_leaves_the_old_snapshot_as_it_was() {
        let before = fleet(&[("prod", "a"), ("prod", "b")]);
        let mut edit = before.edit();
        edit.remove_group(&Cluster::parse("prod").unwrap(), &GroupName::parse("a").unwrap());
        edit.put_group(group("test", "a"));
        let after = edit.finish();
        assert!(before.group("prod", "a").is_some() && before.group("test", "a").is_none());
        assert!(after.group("prod", "a").is_none() && after.group("test", "a").is_some());
        assert!(after.generation() > before.generation());
        assert_eq!(after.groups().count(), 2);
    }

    #[test]
    fn a_dash_twin_leads_to_its_group_unless_another_owns_the_name_or_two_share_it() {
        let fleet = fleet(&[
            ("prod", "vpc_1"),
            ("prod", "x_1-a"),
            ("prod", "x-1_a"),
            ("prod", "own_1"),
            ("prod", "own-1"),
            ("my_c", "g"),
            ("my-d", "h"),
            ("my_d", "g"),
        ]);
        let name = |cluster, group| {
            fleet.group_by_label(cluster, group).map(|g| format!("{}/{}", g.cluster, g.name))
        };
        assert_eq!(name("prod", "vpc-1").as_deref(), Some("prod/vpc_1"));
        assert_eq!(name("prod", "x-1-a"), None, "shared by two groups");
        assert_eq!(name("prod", "own-1").as_deref(), Some("prod/own-1"));
        assert_eq!(name("my-c", "g").as_deref(), Some("my_c/g"));
        assert_eq!(name("my-d", "g"), None, "my-d exists, so my_d has no twin");
        assert!(fleet.group("prod", "vpc-1").is_none(), "the exact look-up knows no twins");
        let mut edit = fleet.edit();
        edit.configure_clusters(&[Cluster::parse("my-c").unwrap()]);
        let fleet = edit.finish();
        assert!(
            fleet.group_by_label("my-c", "g").is_none(),
            "a configured cluster without groups owns its name"
        );
        assert!(fleet.group_by_label("my_c", "g").is_some());
    }
}
