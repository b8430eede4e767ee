//! Topics that a registry lists. They have no lease, so they are kept until their hash is deleted.

use super::{Holdings, Outcome, millis, shown_key};
use crate::limits::registry as limits;
use crate::model::{Catalog, Cluster, Moment, Refusal};
use crate::registry::keys::Key;
use crate::registry::record::Refused;
use crate::registry::{Field, Fields, RawKey, topics};
use std::sync::Arc;

/// The topics of one cluster.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) key: RawKey,
    pub(super) catalog: Arc<Catalog>,
    pub(super) refused: Vec<Refusal>,
    /// Until when they are believed although the registry no longer has them.
    pub(super) kept_until: Option<Moment>,
    pub(super) scan: u64,
}

impl Holdings {
    /// Takes in what was read of a topics key.
    pub fn observe_topics(&mut self, key: &RawKey, fields: Fields, at: Moment) -> Outcome {
        let cluster = match self.keyspace.parse(key) {
            Ok(Key::Topics(cluster)) => cluster,
            Ok(Key::Agent(_)) => return Outcome::Same,
            Err(refused) => {
                return match fields {
                    Fields::Missing => self.accept(key),
                    _ => self.refuse(key, &refused, at),
                };
            }
        };
        let (fields, more) = match fields {
            Fields::Some { fields, more } => (fields, more),
            Fields::Missing => {
                let cleared = self.accept(key);
                let gone = self.missing_topics(&cluster, at);
                return if gone == Outcome::Changed { gone } else { cleared };
            }
            Fields::Unreadable(reason) => {
                if let Some(listed) = self.catalogs.get_mut(&cluster) {
                    listed.scan = self.scan;
                }
                return self.refuse(key, &Refused::new("topics", reason), at);
            }
        };
        if self.catalogs.len() >= limits::CATALOGS && !self.catalogs.contains_key(&cluster) {
            let most = limits::CATALOGS;
            return self.refuse(
                key,
                &Refused::new("topics", format!("{most} clusters' topics are held already")),
                at,
            );
        }
        self.accept(key);
        self.list(key, cluster, &fields, more, at)
    }

    fn list(&mut self, key: &RawKey, cluster: Cluster, fields: &[Field], more: bool, at: Moment) -> Outcome {
        let read = topics::parse(fields);
        let mut reasons = read.refused;
        if more {
            let reason = format!("it has more than {} fields; the others are left out", limits::TOPICS);
            reasons.push((String::new(), Refused::new("topics", reason)));
        }
        let place = |field: &str| match field {
            "" => shown_key(key),
            field => format!("{} {field}", shown_key(key)),
        };
        let source = self.source.name().to_owned();
        let refused: Vec<Refusal> = (reasons.iter().take(limits::REFUSALS))
            .map(|(field, why)| Refusal {
                key: place(field),
                reason: why.to_string(),
                source: source.clone(),
            })
            .collect();
        let before = self.catalogs.get(&cluster);
        let same_refused = before.map_or(refused.is_empty(), |listed| listed.refused == refused);
        let before = before.map(|listed| Arc::clone(&listed.catalog));
        let same_topics = before.as_ref().is_some_and(|catalog| catalog.topics == read.topics);
        let generation = before.as_ref().map_or(0, |catalog| catalog.generation) + u64::from(!same_topics);
        if !same_refused {
            self.changes.refused = true;
            self.refusals += refused.len() as u64;
            self.warn(at, || {
                for refusal in refused.iter().take(5) {
                    tracing::warn!(key = refusal.key, reason = refusal.reason, "a topic was refused");
                }
            });
        }
        let catalog = match before {
            Some(catalog) if same_topics => catalog,
            _ => Arc::new(Catalog { topics: read.topics, generation }),
        };
        let listed = Listed { key: RawKey::clone(key), catalog, refused, kept_until: None, scan: self.scan };
        self.catalogs.insert(cluster.clone(), listed);
        if same_topics {
            return Outcome::Same;
        }
        self.changes.catalogs.insert(cluster);
        Outcome::Changed
    }

    /// Topics have no lease. Gone with everything else, they are kept as long as a lost registry is believed.
    fn missing_topics(&mut self, cluster: &Cluster, at: Moment) -> Outcome {
        let Some(listed) = self.catalogs.get_mut(cluster) else { return Outcome::Same };
        listed.scan = self.scan;
        if self.mass_loss {
            let until = at.plus_millis(millis(self.settings.stale_max));
            if listed.kept_until.replace(until).is_none() {
                tracing::warn!(%cluster, "the registry lost its topics; the last known are used until they are written again");
            }
            return Outcome::Same;
        }
        if listed.kept_until.is_some_and(|until| until > at) {
            return Outcome::Same;
        }
        self.catalogs.remove(cluster);
        self.changes.catalogs.insert(cluster.clone());
        self.changes.refused = true;
        Outcome::Changed
    }
}
