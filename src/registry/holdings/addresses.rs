//! Whose an address is. Addresses are used again: an agent moves to another group, a new one gets the address of one
//! that is gone. What is remembered of a departed agent must then not lead into the other group.

use super::GroupId;
use crate::limits::registry as limits;
use crate::model::Record;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Addresses of agents that are held, and of those that left and are remembered.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    held: HashMap<IpAddr, Vec<GroupId>>,
    /// Groups that may remember a departed agent of this address; some have forgotten it meanwhile.
    left: HashMap<IpAddr, BTreeSet<GroupId>>,
}

impl Addresses {
    /// An agent of `group` is held with this record. Returns the other groups that may remember a departed agent of
    /// one of its addresses, and must forget it.
    pub(super) fn hold(&mut self, group: &GroupId, record: &Record) -> BTreeSet<GroupId> {
        let mut others = BTreeSet::new();
        for address in &record.addresses {
            self.held.entry(*address).or_default().push(group.clone());
            let Some(left) = self.left.get_mut(address) else { continue };
            let own = left.take(group);
            others.append(left);
            match own {
                Some(own) => left.insert(own),
                None => self.left.remove(address).is_some(),
            };
        }
        others
    }

    /// An agent of `group` is held with this record no longer.
    pub(super) fn release(&mut self, group: &GroupId, record: &Record) {
        for address in &record.addresses {
            let Some(groups) = self.held.get_mut(address) else { continue };
            if let Some(at) = groups.iter().position(|have| have == group) {
                groups.swap_remove(at);
            }
            if groups.is_empty() {
                self.held.remove(address);
            }
        }
    }

    /// Whether an agent of another group is held with one of these addresses.
    pub(super) fn is_anothers(&self, group: &GroupId, record: &Record) -> bool {
        let others =
            |address| self.held.get(address).is_some_and(|groups| groups.iter().any(|have| have != group));
        record.addresses.iter().any(others)
    }

    /// `group` remembers a departed agent with this record.
    pub(super) fn remember(&mut self, group: &GroupId, record: &Record) {
        if self.left.len() > limits::DEPARTED_ADDRESSES {
            // Forgetting who remembers what would lose an isolation check: the caller must not remember any more.
            return;
        }
        for address in &record.addresses {
            self.left.entry(*address).or_default().insert(group.clone());
        }
    }

    /// Whether more departed agents can be remembered.
    pub(super) fn has_room(&self) -> bool {
        self.left.len() <= limits::DEPARTED_ADDRESSES
    }

    /// Starts again with the departed agents that are still remembered.
    pub(super) fn recount<'a>(&mut self, departed: impl Iterator<Item = (&'a GroupId, &'a Record)>) {
        self.left.clear();
        for (group, record) in departed {
            self.remember(group, record);
        }
    }
}
