//! EDNS Client Subnet (RFC 7871): a resolver says in which network its client is. It tells the zone, and nothing else:
//! never the group, and never what may be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network that a query was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its first address; `None` if the client wants nobody to know (source prefix 0, §7.1.2).
    pub network: Option<(IpAddr, u8)>,
}

/// The option's data is none that a query may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Subnet {
    /// Reads an option's data: as many address bytes as the prefix needs, and no bit behind it (§6).
    pub fn read(data: &[u8]) -> Result<Self, Malformed> {
        let Some(([f1, f2, prefix, 0], address)) = data.split_first_chunk::<4>() else {
            return Err(Malformed);
        };
        let most = match u16::from_be_bytes([*f1, *f2]) {
            // A family is needed for an address alone.
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return Err(Malformed),
        };
        if *prefix > most || address.len() != usize::from(prefix.div_ceil(8)) {
            return Err(Malformed);
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(address).for_each(|(place, byte)| *place = *byte);
        let stray = address.last().map_or(0, |last| match prefix % 8 {
            0 => 0,
            used => last & (0xff >> used),
        });
        if stray != 0 {
            return Err(Malformed);
        }
        let [a, b, c, d, ..] = bytes;
        let address = match most {
            32 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from(bytes)),
        };
        Ok(Self { network: (*prefix > 0).then_some((address, *prefix)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families_are_read() {
        let network =
            |data: &[u8]| Subnet::read(data).unwrap().network.map(|(ip, len)| format!("{ip}/{len}"));
        assert_eq!(network(&[0, 1, 24, 0, 192, 0, 2]).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(network(&[0, 1, 32, 0, 192, 0, 2, 1]).as_deref(), Some("192.0.2.1/32"));
        assert_eq!(network(&[0, 1, 23, 0, 192, 0, 2]).as_deref(), Some("192.0.2.0/23"));
        assert_eq!(network(&[0, 2, 35, 0, 0x20, 1, 0x0d, 0xb8, 0x20]).as_deref(), Some("2001:db8:2000::/35"));
        assert_eq!(network(&[0, 1, 0, 0]), None);
        assert_eq!(network(&[0, 2, 0, 0]), None);
        assert_eq!(network(&[0, 0, 0, 0]), None);
    }

    #[test]
    fn what_rfc_7871_forbids_is_malformed() {
        for data in [
            &[][..],
            &[0, 1, 24],
            &[0, 1, 24, 0, 192, 0],          // too few bytes
            &[0, 1, 24, 0, 192, 0, 2, 0],    // too many
            &[0, 1, 23, 0, 192, 0, 3],       // a bit behind the prefix
            &[0, 1, 33, 0, 192, 0, 2, 1, 0], // longer than an address
            &[0, 2, 129, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0],
            &[0, 1, 24, 1, 192, 0, 2], // a scope in a query
            &[0, 3, 8, 0, 1],          // a family that is none
            &[0, 0, 8, 0, 1],
        ] {
            assert_eq!(Subnet::read(data), Err(Malformed), "{data:?}");
        }
    }
}
