//! Source addresses to zones: `az@cidr,cidr<>az@cidr`, the form that leaderless systems use already. IPv4 and IPv6;
//! an IPv4 address that arrives in IPv6 clothes counts as IPv4. The longest prefix wins.

use crate::model::{LabelError, Zone};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

/// Networks and the zones they lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrMap {
    /// Longest prefix first, those of one length sorted, each once.
    networks: Vec<(Network, Zone)>,
    /// Where in `networks` those of each length stand: a look-up searches each length, not each network.
    lengths: Vec<(u8, Range<usize>)>,
}

/// A network, IPv4 as the v4-mapped part of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    bits: u128,
    prefix: u8,
}

/// Why a text is no [`CidrMap`]. Names the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No `@` between zone and networks.
    #[error("{0:?} has no '@': write zone@network,network")]
    NoZone(String),
    /// The zone is none.
    #[error("zone {0:?}: {1}")]
    Zone(String, LabelError),
    /// A network is none.
    #[error("{0:?} is no network: write 10.0.0.0/19 or 2001:db8::/48, without bits beyond the prefix")]
    Network(String),
}

impl CidrMap {
    /// The zone that `source` lies in, if any network holds it.
    pub fn zone_of(&self, source: IpAddr) -> Option<&Zone> {
        self.find(bits_of(source)).map(|(_, zone)| zone)
    }

    /// The zone of a whole network, if it lies in one, and the length of the shortest prefix of its first address that
    /// leads nowhere else: for all addresses of that prefix the answer is the same (RFC 7871 §7.2.1).
    pub fn zone_of_network(&self, first: IpAddr, prefix: u8) -> (Option<&Zone>, u8) {
        let bits = bits_of(first);
        let before = if first.to_canonical().is_ipv4() { 96 } else { 0 };
        let found = self.find(bits);
        let own = found.map_or(0, |(network, _)| network.prefix);
        let beside = self.networks.iter().filter(|(network, _)| !network.holds(bits));
        let apart = beside.map(|(network, _)| (network.bits ^ bits).leading_zeros() as u8 + 1);
        let scope = apart.max().unwrap_or(0).max(own);
        let zone = found.filter(|_| own <= prefix.saturating_add(before)).map(|(_, zone)| zone);
        (zone, scope.saturating_sub(before))
    }

    fn find(&self, bits: u128) -> Option<(&Network, &Zone)> {
        self.lengths.iter().find_map(|(prefix, range)| {
            let of_length = self.networks.get(range.clone())?;
            let wanted = bits & mask(*prefix);
            let at = of_length.binary_search_by(|(network, _)| network.bits.cmp(&wanted)).ok()?;
            of_length.get(at).map(|(network, zone)| (network, zone))
        })
    }

    /// Whether it knows no network.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

impl FromStr for CidrMap {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let mut networks = Vec::new();
        for part in text.split("<>").map(str::trim).filter(|part| !part.is_empty()) {
            let (name, list) = part.split_once('@').ok_or_else(|| CidrError::NoZone(part.to_owned()))?;
            let zone = Zone::parse(name.trim()).map_err(|error| CidrError::Zone(name.to_owned(), error))?;
            for cidr in list.split(',').map(str::trim) {
                let network = Network::parse(cidr).ok_or_else(|| CidrError::Network(cidr.to_owned()))?;
                networks.push((network, zone.clone()));
            }
        }
        let order = |(network, _): &(Network, Zone)| (Reverse(network.prefix), network.bits);
        networks.sort_by_key(order); // stable: of two that are the same, the one written first
        networks.dedup_by_key(|(network, _)| *network);
        let mut lengths: Vec<(u8, Range<usize>)> = Vec::new();
        for (at, (network, _)) in networks.iter().enumerate() {
            match lengths.last_mut() {
                Some((prefix, range)) if *prefix == network.prefix => range.end = at + 1,
                _ => lengths.push((network.prefix, at..at + 1)),
            }
        }
        Ok(Self { networks, lengths })
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let prefix = match address {
            IpAddr::V4(_) if prefix <= 32 => prefix + 96,
            IpAddr::V6(_) if prefix <= 128 => prefix,
            _ => return None,
        };
        let network = Self { bits: bits_of(address), prefix };
        (network.bits & !mask(prefix) == 0).then_some(network)
    }

    fn holds(self, bits: u128) -> bool {
        bits & mask(self.prefix) == self.bits
    }
}

fn mask(prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        prefix => u128::MAX << (128 - u32::from(prefix)),
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let map: CidrMap =
            "a@10.0.0.0/8,2001:db8::/32<>b@10.0.64.0/19, 2001:db8:1::/48 <> c@0.0.0.0/0".parse().unwrap();
        let zone = |ip: &str| map.zone_of(ip.parse().unwrap()).map(Zone::as_str);
        assert_eq!(zone("10.0.1.1"), Some("a"));
        assert_eq!(zone("10.0.65.1"), Some("b"));
        assert_eq!(zone("::ffff:10.0.65.1"), Some("b"));
        assert_eq!(zone("192.0.2.1"), Some("c"));
        assert_eq!(zone("2001:db8:1::9"), Some("b"));
        assert_eq!(zone("2001:db8:2::9"), Some("a"));
        assert_eq!(zone("2001:db9::1"), None);
    }

    /// The scope is right if every address of it has the same zone, and no shorter one would do.
    #[test]
    fn a_networks_scope_holds_one_answer_and_could_not_be_shorter() {
        let map: CidrMap =
            "a@10.0.0.0/8,2001:db8::/32<>b@10.0.64.0/19,10.0.64.0/24<>c@10.0.65.128/25<>a@10.0.64.0/19"
                .parse()
                .unwrap();
        let mut random = 7u32;
        for (network, prefix, zone, scope) in [
            ("10.0.64.0", 24, Some("b"), 24),
            ("10.0.66.0", 24, Some("b"), 23),
            ("10.0.96.0", 24, Some("a"), 19),
            ("10.128.0.0", 24, Some("a"), 9),
            ("10.0.0.0", 8, Some("a"), 18),
            ("11.0.0.0", 24, None, 8),
            ("192.0.2.0", 24, None, 1),
            ("10.0.64.0", 16, None, 24),
            ("2001:db8::", 56, Some("a"), 32),
            ("2001:db9::", 56, None, 32),
        ] {
            let first: IpAddr = network.parse().unwrap();
            let (found, length) = map.zone_of_network(first, prefix);
            assert_eq!((found.map(Zone::as_str), length), (zone, scope), "{network}/{prefix}");
            let IpAddr::V4(v4) = first else { continue };
            let of_all = |length: u8, random: &mut u32| {
                let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
                (0..2_000).all(|_| {
                    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let other =
                        IpAddr::from((v4.to_bits() & !host | random.rotate_left(16) & host).to_be_bytes());
                    map.zone_of(other) == map.zone_of(first)
                })
            };
            assert!(of_all(length, &mut random), "{network}: not all of /{length} are answered alike");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = |text: &str| text.parse::<CidrMap>().unwrap_err();
        assert_eq!(error("10.0.0.0/8"), CidrError::NoZone("10.0.0.0/8".into()));
        assert_eq!(error("a@10.0.0.1/8"), CidrError::Network("10.0.0.1/8".into()));
        assert_eq!(error("a@10.0.0.0/33"), CidrError::Network("10.0.0.0/33".into()));
        assert!(matches!(error("b.c@10.0.0.0/8"), CidrError::Zone(_, LabelError::Character('.'))));
        assert!("".parse::<CidrMap>().unwrap().is_empty());
    }
}
