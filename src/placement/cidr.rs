//! Source addresses to zones: `az@cidr,cidr<>az@cidr`, the form that leaderless systems use already. IPv4 and IPv6;
//! an IPv4 address that arrives in IPv6 clothes counts as IPv4. The longest prefix wins.

use crate::model::{LabelError, Zone};
use std::net::IpAddr;
use std::str::FromStr;

/// Networks and the zones they lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrMap {
    /// Longest prefix first.
    networks: Vec<(Network, Zone)>,
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
        let bits = bits_of(source);
        self.networks.iter().find(|(network, _)| network.holds(bits)).map(|(_, zone)| zone)
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
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix)); // stable: first written wins
        Ok(Self { networks })
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
        (network.bits & !network.mask() == 0).then_some(network)
    }

    fn mask(self) -> u128 {
        match self.prefix {
            0 => 0,
            prefix => u128::MAX << (128 - u32::from(prefix)),
        }
    }

    fn holds(self, bits: u128) -> bool {
        bits & self.mask() == self.bits
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
