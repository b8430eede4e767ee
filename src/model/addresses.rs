//! Who has an address: all agents by address, in an order that also tells which networks have any. It is part of the
//! snapshot and shared between snapshots: a change copies the few nodes on the way to the addresses that it touches.

use super::agent::Agent;
use super::group::{Departed, Group};
use super::liveness::Moment;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

/// An agent that has an address, or had it and is remembered.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The agent.
    pub agent: Arc<Agent>,
    /// For an agent that is gone: until when it is remembered.
    pub until: Option<Moment>,
}

impl Claim {
    /// Whether the agent is held, or remembered, at `now`.
    pub fn holds(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    fn is_of(&self, agent: &Arc<Agent>, until: Option<Moment>) -> bool {
        Arc::ptr_eq(&self.agent, agent) && self.until == until
    }
}

/// A part of the address space: the first `bits` bits of `prefix`, IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub prefix: u128,
    /// How many bits of it count: a multiple of four.
    pub bits: u8,
}

impl Network {
    /// One address alone.
    pub fn of(address: IpAddr) -> Self {
        let prefix = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self { prefix, bits: 128 }
    }

    /// Whether it is one address alone.
    pub fn is_address(&self) -> bool {
        self.bits == 128
    }

    /// Whether the two have the same first `bits` bits.
    fn agrees(&self, other: &Self, bits: u8) -> bool {
        (self.prefix ^ other.prefix).leading_zeros() >= u32::from(bits)
    }
}

/// All claims by address: a tree of hexadecimal digits with single ways cut short.
#[derive(Clone, Debug, Default)]
pub struct AddressIndex(Option<Arc<Node>>);

#[derive(Clone, Debug)]
struct Node {
    at: Network,
    below: Below,
}

#[derive(Clone, Debug)]
enum Below {
    /// Two or more, sorted by their digit.
    Nodes(Vec<Arc<Node>>),
    /// Of one address.
    Claims(Vec<Claim>),
}

impl AddressIndex {
    /// Who has this address.
    pub fn at(&self, address: Network) -> &[Claim] {
        match self.find(address) {
            Some(Node { below: Below::Claims(claims), .. }) => claims,
            _ => &[],
        }
    }

    /// Whether anybody has an address within this network.
    pub fn has_within(&self, network: Network) -> bool {
        self.find(network).is_some()
    }

    /// Takes over what changed between two builds of a group; `None` is a group that is not there.
    pub(super) fn follow(&mut self, old: Option<&Group>, new: Option<&Group>) {
        fn agents(group: Option<&Group>) -> &[Arc<Agent>] {
            group.map_or(&[], Group::agents)
        }
        fn departed(group: Option<&Group>) -> &[Departed] {
            group.map_or(&[], Group::departed)
        }
        self.follow_agents(agents(old), agents(new));
        // These lie in the order in which they left: what is new stands at the end.
        let mut left = departed(new).iter();
        let mut next = left.next();
        for gone in departed(old) {
            match next {
                Some(same) if Arc::ptr_eq(&same.agent, &gone.agent) && same.until == gone.until => {
                    next = left.next()
                }
                _ => self.remove(&gone.agent, Some(gone.until)),
            }
        }
        next.into_iter().chain(left).for_each(|gone| self.insert(&gone.agent, Some(gone.until)));
    }

    /// Both lists are sorted by id. An agent that did not change is the same one in both and is not even looked at.
    fn follow_agents(&mut self, old: &[Arc<Agent>], new: &[Arc<Agent>]) {
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(one), Some(other)) => one.key.agent.cmp(&other.key.agent),
            };
            if order.is_le()
                && let Some(agent) = old.next()
            {
                self.remove(agent, None);
            }
            if order.is_ge()
                && let Some(agent) = new.next()
            {
                self.insert(agent, None);
            }
        }
    }

    fn insert(&mut self, agent: &Arc<Agent>, until: Option<Moment>) {
        for address in &agent.record.addresses {
            let leaf = Node {
                at: Network::of(*address),
                below: Below::Claims(vec![Claim { agent: Arc::clone(agent), until }]),
            };
            match &mut self.0 {
                Some(root) => Node::insert(root, leaf),
                None => self.0 = Some(Arc::new(leaf)),
            }
        }
    }

    fn remove(&mut self, agent: &Arc<Agent>, until: Option<Moment>) {
        for address in &agent.record.addresses {
            let is_gone = |claim: &Claim| claim.is_of(agent, until);
            if let Some(root) = &mut self.0
                && Node::remove(root, Network::of(*address), &is_gone)
            {
                self.0 = None;
            }
        }
    }

    /// The node that all addresses of this network lie at or below.
    fn find(&self, network: Network) -> Option<&Node> {
        let mut node = self.0.as_deref()?;
        loop {
            if !node.at.agrees(&network, node.at.bits.min(network.bits)) {
                return None;
            }
            if node.at.bits >= network.bits {
                return Some(node);
            }
            let Below::Nodes(nodes) = &node.below else { return None };
            node = nodes.get(place(nodes, network, node.at.bits).ok()?)?;
        }
    }
}

/// The hexadecimal digit behind the first `bits` bits.
fn digit(network: Network, bits: u8) -> u8 {
    (network.prefix >> (124 - bits.min(124)) & 0xf) as u8
}

fn place(nodes: &[Arc<Node>], network: Network, bits: u8) -> Result<usize, usize> {
    nodes.binary_search_by_key(&digit(network, bits), |node| digit(node.at, bits))
}

impl Node {
    fn insert(this: &mut Arc<Self>, leaf: Self) {
        let shared = (this.at.prefix ^ leaf.at.prefix).leading_zeros() as u8 / 4 * 4;
        if shared < this.at.bits {
            let prefix = leaf.at.prefix & u128::MAX.checked_shl(128 - u32::from(shared)).unwrap_or(0);
            let mut nodes = vec![Arc::clone(this), Arc::new(leaf)];
            nodes.sort_by_key(|node| node.at.prefix);
            *this = Arc::new(Self { at: Network { prefix, bits: shared }, below: Below::Nodes(nodes) });
            return;
        }
        let node = Arc::make_mut(this);
        match &mut node.below {
            Below::Claims(claims) => {
                if let Below::Claims(new) = leaf.below {
                    claims.extend(new);
                }
            }
            Below::Nodes(nodes) => match place(nodes, leaf.at, node.at.bits) {
                Ok(at) => {
                    if let Some(next) = nodes.get_mut(at) {
                        Self::insert(next, leaf);
                    }
                }
                Err(at) => nodes.insert(at, Arc::new(leaf)),
            },
        }
    }

    /// Removes claims of one address; `true` when nothing is left here.
    fn remove(this: &mut Arc<Self>, address: Network, is_gone: &dyn Fn(&Claim) -> bool) -> bool {
        if !this.at.agrees(&address, this.at.bits) {
            return false;
        }
        let node = Arc::make_mut(this);
        let only = match &mut node.below {
            Below::Claims(claims) => {
                claims.retain(|claim| !is_gone(claim));
                return claims.is_empty();
            }
            Below::Nodes(nodes) => {
                let Ok(at) = place(nodes, address, node.at.bits) else { return false };
                if nodes.get_mut(at).is_some_and(|next| Self::remove(next, address, is_gone)) {
                    nodes.remove(at);
                }
                if nodes.len() > 1 {
                    return false;
                }
                nodes.pop()
            }
        };
        // A single way on is cut short.
        match only {
            Some(only) => *this = only,
            None => return true,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, AgentKey, Cluster, GroupName, Lease, Record, Source};
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn agent(id: u32, addresses: &[IpAddr]) -> Arc<Agent> {
        let (cluster, group) = (Cluster::parse("c").unwrap(), GroupName::parse("g").unwrap());
        let key = AgentKey { cluster, group, agent: AgentId::parse(&format!("a{id:05}")).unwrap() };
        let record = Record { addresses: addresses.to_vec(), ..Record::default() };
        let lease = Lease::new(Moment::from_millis(9), Source::new("t", 0));
        Arc::new(Agent { key, record: Arc::new(record), lease })
    }

    fn group(agents: Vec<Arc<Agent>>, departed: Vec<Departed>) -> Group {
        let (cluster, name) = (Cluster::parse("c").unwrap(), GroupName::parse("g").unwrap());
        Group::build(cluster, name, 1, agents, departed)
    }

    /// Nodes of `new` that `old` does not have.
    fn made(old: &AddressIndex, new: &AddressIndex) -> usize {
        fn all(node: Option<&Arc<Node>>, into: &mut std::collections::HashSet<*const Node>) {
            let Some(node) = node else { return };
            into.insert(Arc::as_ptr(node));
            if let Below::Nodes(nodes) = &node.below {
                nodes.iter().for_each(|node| all(Some(node), into));
            }
        }
        let (mut before, mut after) = Default::default();
        all(old.0.as_ref(), &mut before);
        all(new.0.as_ref(), &mut after);
        after.difference(&before).count()
    }

    #[test]
    fn one_changed_agent_among_thousands_makes_a_few_nodes() {
        let numbered = |number: u32| agent(number, &[Ipv4Addr::from_bits(0x0a00_0000 + number * 7).into()]);
        let agents: Vec<Arc<Agent>> = (0..10_000).map(numbered).collect();
        let before = group(agents.clone(), Vec::new());
        let mut index = AddressIndex::default();
        index.follow(None, Some(&before));
        let mut changed = agents;
        changed[5_000] = agent(5_000, &["10.200.0.1".parse().unwrap()]);
        let old = index.clone();
        index.follow(Some(&before), Some(&group(changed, Vec::new())));
        let made = made(&old, &index);
        assert!((1..=16).contains(&made), "{made} nodes");
    }

    /// Few bits vary, so that addresses, networks and whole agents meet often.
    fn address(random: &mut fastrand::Rng) -> IpAddr {
        match random.bool() {
            true => Ipv4Addr::new(10, random.u8(..3), random.u8(..3), random.u8(..20)).into(),
            false => {
                let low = u128::from(random.u8(..20)) | u128::from(random.u8(..3)) << 60;
                Ipv6Addr::from_bits(0x2001_0db8 << 96 | low).into()
            }
        }
    }

    /// After each of many random changes the index says of every address and network what a plain list says.
    #[test]
    fn the_index_agrees_with_a_plain_list_after_any_changes() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut index, mut have) = (AddressIndex::default(), group(Vec::new(), Vec::new()));
        let mut found = 0;
        for round in 0..600 {
            let mut agents: Vec<Arc<Agent>> = have.agents().to_vec();
            let mut departed: Vec<Departed> = have.departed().to_vec();
            for _ in 0..random.usize(..4) {
                let id = random.u32(..40);
                let addresses: Vec<IpAddr> = (0..random.usize(1..3)).map(|_| address(&mut random)).collect();
                let addresses: Vec<IpAddr> = addresses
                    .iter()
                    .copied()
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect();
                let new = agent(id, &addresses);
                agents.retain(|agent| {
                    let stays = agent.key != new.key;
                    if !stays && id.is_multiple_of(2) {
                        let until = Moment::from_millis(round + 1);
                        departed.push(Departed { agent: Arc::clone(agent), until });
                    }
                    stays
                });
                if random.u8(..4) > 0 {
                    agents.push(new);
                }
            }
            if random.bool() && !departed.is_empty() {
                departed.remove(random.usize(..departed.len()));
            }
            if round % 97 == 0 {
                (agents, departed) = (Vec::new(), Vec::new());
            }
            let next = group(agents, departed);
            let before = index.clone();
            let old_claims = before.0.clone();
            index.follow(Some(&have), Some(&next));
            assert!(
                before.0.as_ref().map(Arc::as_ptr) == old_claims.as_ref().map(Arc::as_ptr),
                "shared, not changed"
            );
            have = next;
            let mut plain: BTreeMap<u128, usize> = BTreeMap::new();
            let all = have.agents().iter().chain(have.departed().iter().map(|gone| &gone.agent));
            for address in all.flat_map(|agent| &agent.record.addresses) {
                *plain.entry(Network::of(*address).prefix).or_default() += 1;
            }
            for _ in 0..40 {
                let Network { prefix, .. } = Network::of(address(&mut random));
                let count = index.at(Network { prefix, bits: 128 }).len();
                assert_eq!(count, plain.get(&prefix).copied().unwrap_or(0), "round {round}");
                found += count;
                let bits = random.u8(..=32) * 4;
                let network = Network { prefix, bits };
                let is_in = |have: &u128| network.agrees(&Network { prefix: *have, bits: 128 }, bits);
                assert_eq!(index.has_within(network), plain.keys().any(is_in), "round {round}, {network:x?}");
            }
        }
        assert!(found > 1_000, "{found}");
        index.follow(Some(&have), None);
        assert!(index.0.is_none(), "what is gone is forgotten");
    }
}
