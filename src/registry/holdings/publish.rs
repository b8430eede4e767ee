//! The next snapshot: what changed since the last one, put into it group by group.

use super::{Configured, GroupId, Holdings, millis, shown_key};
use crate::limits::registry as limits;
use crate::model::{Cluster, Departed, Fleet, Group, Moment, Refusal};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What is to be published.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) groups: HashSet<GroupId>,
    pub(super) forgotten: HashSet<GroupId>,
    pub(super) catalogs: BTreeSet<Cluster>,
    pub(super) refused: bool,
    /// When refusals were last published.
    pub(super) refused_at: Option<Moment>,
    /// The first publication, or the first after a full read.
    pub(super) status: bool,
}

impl Changes {
    /// Whether answers change.
    fn any(&self) -> bool {
        self.status || !self.groups.is_empty() || !self.forgotten.is_empty() || !self.catalogs.is_empty()
    }
}

impl Holdings {
    /// The snapshot that follows `current`, if there is anything new. Costs what changed: each touched group is
    /// built once, however many of its agents came or went.
    pub fn publish(&mut self, current: &Fleet, now: Moment) -> Option<Fleet> {
        let refused = self.changes.refused && self.refusals_due().is_none_or(|due| due <= now);
        if !self.changes.any() && !refused {
            return None;
        }
        let mut edit = current.edit();
        let version = edit.generation();
        for (cluster, name) in self.changes.forgotten.drain() {
            edit.remove_group(&cluster, &name);
        }
        for id in self.changes.groups.drain() {
            let Some(members) = self.groups.get_mut(&id) else { continue };
            members.departed.retain(|gone| gone.until > now);
            let agents = members.agents.values().map(Arc::clone).collect();
            let departed: Vec<Departed> = members.departed.iter().cloned().collect();
            let (cluster, name) = id;
            if current.group(cluster.as_str(), name.as_str()).is_none()
                && let Some(other) = edit.so_far().twin_of(&cluster, &name)
            {
                let (one, other) = (name.as_str(), other.name.as_str());
                tracing::warn!(%cluster, one, other, "two groups share a DNS name but for _ and -: rename one of them");
            }
            edit.put_group(Arc::new(Group::build(cluster, name, version, agents, departed)));
        }
        for cluster in std::mem::take(&mut self.changes.catalogs) {
            let catalog = self.catalogs.get(&cluster).map(|listed| Arc::clone(&listed.catalog));
            edit.set_catalog(cluster, catalog);
        }
        if self.changes.refused {
            edit.set_refused(self.refused_list());
            (self.changes.refused, self.changes.refused_at) = (false, Some(now));
        }
        if std::mem::take(&mut self.changes.status) {
            edit.set_sources(vec![Arc::clone(&self.source)]);
            edit.configure_clusters(&self.settings.clusters);
            if self.synced {
                edit.set_synced();
            }
        }
        Some(edit.finish())
    }

    /// From now on these clusters and groups exist without an agent. A group that is no longer among them is remembered
    /// for as long as any other that lost its last agent.
    pub fn configure(&mut self, configured: Configured, now: Moment) {
        let forget_at = now.plus_millis(millis(self.settings.group_memory));
        for (id, members) in &mut self.groups {
            if members.configured && !configured.groups.contains(id) {
                members.configured = false;
                members.forget_at = members.agents.is_empty().then_some(forget_at);
            }
        }
        for id in &configured.groups {
            let members = self.groups.entry(id.clone()).or_default();
            (members.configured, members.forget_at) = (true, None);
            self.changes.groups.insert(id.clone());
            self.changes.forgotten.remove(id);
        }
        (self.settings.clusters, self.settings.groups) = (configured.clusters, configured.groups);
        self.changes.status = true;
    }

    /// When a list of refusals that waits may be published on its own.
    pub fn refusals_due(&self) -> Option<Moment> {
        let last = self.changes.refused_at.filter(|_| self.changes.refused)?;
        Some(last.plus_millis(millis(limits::REFUSALS_DELAY)))
    }

    /// How many refused records are shown.
    pub fn refused(&self) -> usize {
        self.refused.len() + self.catalogs.values().map(|listed| listed.refused.len()).sum::<usize>()
    }

    /// Refusals since the start; the same one twice counts once.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    fn refused_list(&self) -> Vec<Refusal> {
        let source = self.source.name();
        let agents = self.refused.iter().map(|(key, bad)| Refusal {
            key: shown_key(key),
            reason: bad.reason.clone(),
            source: source.to_owned(),
        });
        let topics = self.catalogs.values().flat_map(|listed| listed.refused.iter().cloned());
        agents.chain(topics).take(limits::REFUSALS).collect()
    }
}
