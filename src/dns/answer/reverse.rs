//! The names of reverse zones: PTR of the addresses that agents have, made of the fleet.
//!
//! Isolation: an address that agents of two groups have answers nothing, whichever of them live.

use super::fleet::Said;
use super::sample::{seconds, ttl_of};
use super::{Kind, Known, Outcome, Question};
use crate::dns::names::{MAX_NAME, Name, label_text};
use crate::dns::wire::rtype;
use crate::dns::zones::Zone;
use crate::limits::dns as limits;
use crate::model::{Agent, Claim, Group, Moment, Network};

/// PTR records: the names of one group's agents at one address.
#[derive(Clone, Copy, Debug)]
pub struct Pointers<'a> {
    claims: &'a [Claim],
    now: Moment,
    /// The apex that the names lie below.
    pub apex: &'a Name,
    /// TTL in seconds.
    pub ttl: u32,
}

impl<'a> Pointers<'a> {
    /// The agents, sorted by nothing.
    pub fn iter(&self) -> impl Iterator<Item = &'a Agent> + use<'a> {
        let Pointers { claims, now, apex, .. } = *self;
        let fits = move |agent: &&Agent| {
            let key = &agent.key;
            let labels = [key.agent.as_str(), key.group.as_str(), key.cluster.as_str()];
            labels.iter().map(|label| label.len() + 1).sum::<usize>() + apex.wire().len() <= MAX_NAME
        };
        let agents = claims.iter().filter(move |claim| claim.holds(now)).map(|claim| &*claim.agent);
        agents.filter(fits).take(limits::POINTERS)
    }
}

/// Reads the part of the address space that an apex such as `1.0.10.in-addr.arpa` or `8.b.d.0.1.0.0.2.ip6.arpa` stands
/// for. `None` for every other name; `Some(None)` for one below these that stands for no network (RFC 2317).
pub fn network_of(apex: &Name) -> Option<Option<Network>> {
    let top = apex.labels().checked_sub(2)?;
    if apex.label(top + 1) != b"arpa" {
        return None;
    }
    match apex.label(top) {
        b"in-addr" => Some(narrow(Network { prefix: 0xffff << 32, bits: 96 }, apex, top)),
        b"ip6" => Some(narrow(Network { prefix: 0, bits: 0 }, apex, top)),
        _ => None,
    }
}

/// The network that the first `labels` labels of `name` narrow `within` down to, the last of them first.
fn narrow(within: Network, name: &Name, labels: usize) -> Option<Network> {
    let is_v4 = name.label(name.labels().saturating_sub(2)) == b"in-addr";
    (0..labels).rev().try_fold(within, |network, index| {
        let label = label_text(name.label(index))?;
        let (digits, value) = match is_v4 {
            true => (8, label.parse::<u8>().ok().filter(|_| label == "0" || !label.starts_with('0'))?),
            false => (4, u8::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?),
        };
        let shift = 128u8.checked_sub(network.bits)?.checked_sub(digits)?;
        Some(Network { prefix: network.prefix | u128::from(value) << shift, bits: network.bits + digits })
    })
}

/// What the fleet says of a name in a reverse zone whose first `labels` labels stand below the apex, which stands for
/// `within`. `None`: nothing.
pub fn answer<'a>(
    known: &Known<'a>,
    question: Question<'_>,
    within: Option<Network>,
    labels: usize,
) -> Option<Said<'a>> {
    let network = narrow(within?, question.name, labels)?;
    if !known.fleet.is_synced() {
        return Some(Said::new(Kind::Unknown, Outcome::NotSynced));
    }
    if !network.is_address() {
        return known.fleet.has_within(network).then(|| Said::new(Kind::Address, Outcome::NoData));
    }
    let claims = known.fleet.at_address(network);
    let mut holding = claims.iter().filter(|claim| claim.holds(known.now)).map(|claim| &claim.agent.key);
    let key = holding.next()?;
    if holding.any(|other| other.group != key.group || other.cluster != key.cluster) {
        return Some(Said::new(Kind::Address, Outcome::NoData));
    }
    let group = known.fleet.group(key.cluster.as_str(), key.group.as_str()).map(|group| &**group);
    let outcome = match question.qtype {
        rtype::PTR => pointers(known, claims, group),
        rtype::ANY => Outcome::Any,
        _ => Outcome::NoData,
    };
    Some(Said { group, ..Said::new(Kind::Address, outcome) })
}

fn pointers<'a>(known: &Known<'a>, claims: &'a [Claim], group: Option<&'a Group>) -> Outcome<'a> {
    let (now, most) = (known.now, known.rules.ttl);
    let home = group.and_then(|group| known.zones.home_of(&group.cluster)).map(|zone: &Zone| &zone.apex);
    let Some(apex) = home else { return Outcome::NoData };
    // As its own name: no longer than the lease, or than it is remembered.
    let ttl = |claim: &Claim| match claim.until {
        Some(until) => most.min(seconds(until.since(now))),
        None => ttl_of(&claim.agent, most, now),
    };
    let ttl = claims.iter().filter(|claim| claim.holds(now)).map(ttl).min().unwrap_or(1);
    let pointers = Pointers { claims, now, apex, ttl };
    if pointers.iter().next().is_none() { Outcome::NoData } else { Outcome::Pointers(pointers) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn apexes_stand_for_networks() {
        let network = |apex: &str| network_of(&Name::parse(apex).unwrap());
        let of = |address: &str, bits: u8| {
            let Network { prefix, .. } = Network::of(address.parse::<IpAddr>().unwrap());
            Some(Some(Network { prefix, bits }))
        };
        assert_eq!(network("1.0.10.in-addr.arpa"), of("10.0.1.0", 120));
        assert_eq!(network("in-addr.arpa"), of("0.0.0.0", 96));
        assert_eq!(network("4.3.2.1.in-addr.arpa"), of("1.2.3.4", 128));
        assert_eq!(network("8.B.d.0.1.0.0.2.ip6.arpa"), of("2001:db8::", 32));
        assert_eq!(network("0-25.1.0.10.in-addr.arpa"), Some(None));
        for other in [
            "01.10.in-addr.arpa",
            "256.10.in-addr.arpa",
            "5.4.3.2.1.in-addr.arpa",
            "10.2.ip6.arpa",
            "g.ip6.arpa",
        ] {
            assert_eq!(network(other), Some(None), "{other}");
        }
        assert_eq!(
            (network("arpa"), network("kafka.example"), network("x.in-addr.arpa.example")),
            (None, None, None)
        );
    }
}
