//! Who may ask for a group's names. To all others every name at and below the group's is refused, be it there or not,
//! so that nothing can be learned from the difference.

use crate::model::{Cluster, Group, GroupName};
use crate::net::proxy::Networks;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Groups that only some networks may ask for. Any other group is for everybody.
#[derive(Clone, Debug, Default)]
pub struct Access(BTreeMap<Cluster, BTreeMap<GroupName, Networks>>);

impl Access {
    /// Lets only `networks` ask for a group.
    pub fn restrict(&mut self, cluster: Cluster, group: GroupName, networks: Networks) {
        self.0.entry(cluster).or_default().insert(group, networks);
    }

    /// Whether `source` may ask for this group.
    #[inline]
    pub fn admits(&self, group: &Group, source: IpAddr) -> bool {
        self.0.is_empty() || self.is_on_the_list(group, source)
    }

    /// Whether a group is not for everybody.
    pub fn is_restricted(&self, group: &Group) -> bool {
        self.0.get(&group.cluster).is_some_and(|groups| groups.contains_key(&group.name))
    }

    fn is_on_the_list(&self, group: &Group, source: IpAddr) -> bool {
        let networks = self.0.get(&group.cluster).and_then(|groups| groups.get(&group.name));
        networks.is_none_or(|networks| networks.contains(source))
    }
}
