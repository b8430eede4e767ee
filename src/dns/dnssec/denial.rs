//! Compact denial (RFC 9824): an NSEC at the name that was asked for, which says what types it has and that nothing
//! lies between it and the very next name. For a name that does not exist the types say so (NXNAME). Pure.

use super::seal::Job;
use crate::dns::answer::{Kind, Outcome, Question, answer};
use crate::dns::names::{MAX_NAME, Name};
use crate::dns::tree::{Found, Node};
use crate::dns::wire::rtype;
use crate::dns::zones::Zone;

/// Types of names that the fleet owns.
const OF_FLEET: [u16; 5] = [rtype::A, rtype::PTR, rtype::TXT, rtype::AAAA, rtype::SRV];

/// The types that a name has, as an NSEC lists them: itself and its signature included.
pub(super) fn types(
    job: &Job<'_>,
    zone: &Zone,
    name: &Name,
    apex: usize,
    keys: impl Iterator<Item = u16>,
) -> Vec<u16> {
    let mut types = vec![rtype::RRSIG, rtype::NSEC];
    let of_node = |node: &Node| node.sets.iter().map(|set| set.rtype).collect::<Vec<_>>();
    match zone.tree.find(name, apex) {
        // At a cut only what the parent says of it (RFC 4035 §2.3).
        Found::Cut(node) => {
            types.extend(of_node(node).into_iter().filter(|rtype| matches!(*rtype, rtype::NS | rtype::DS)));
        }
        Found::Exact(node) => {
            types.extend(of_node(node));
            if apex == 0 {
                types.extend(keys);
            }
        }
        Found::Below(node) => types.extend(of_missing(job, zone, Some(node), name)),
        Found::Moved(..) => {} // says nothing of its own: it is an alias
        Found::Nowhere => types.extend(of_missing(job, zone, zone.tree.apex(), name)),
    }
    types
}

/// What a name has that static data does not own: the fleet's types, or those of the wildcard below `closest`.
fn of_missing(job: &Job<'_>, zone: &Zone, closest: Option<&Node>, name: &Name) -> Vec<u16> {
    let (known, client) = (job.known, job.client);
    let says = |qtype| answer(known, Question { name, qtype, client }, 0);
    let said = says(rtype::NSEC);
    if matches!(said.outcome, Outcome::NoSuchName) {
        return vec![rtype::NXNAME];
    }
    if matches!(said.last, Kind::Static | Kind::Apex) {
        let wildcard = closest.and_then(|node| zone.tree.wildcard(node));
        return wildcard.map_or(Vec::new(), |node| node.sets.iter().map(|set| set.rtype).collect());
    }
    OF_FLEET.into_iter().filter(|qtype| !matches!(says(*qtype).outcome, Outcome::NoData)).collect()
}

/// The data of the NSEC at `name`; `None` if there is no next name, which takes a name of 254 bytes that ends oddly.
pub(super) fn nsec(name: &[u8], types: &mut Vec<u16>) -> Option<Vec<u8>> {
    let mut data = next_name(name)?;
    types.sort_unstable();
    types.dedup();
    let mut rest = types.as_slice();
    while let Some(first) = rest.first() {
        let window = first >> 8;
        let (here, later) = rest.split_at(rest.partition_point(|rtype| rtype >> 8 == window));
        let mut bits = [0u8; 32];
        let mut len = 0;
        for rtype in here {
            let (byte, bit) = (usize::from(rtype & 0xff) / 8, rtype & 7);
            *bits.get_mut(byte)? |= 0x80 >> bit;
            len = byte + 1;
        }
        data.extend_from_slice(&[window as u8, len as u8]);
        data.extend_from_slice(bits.get(..len)?);
        rest = later;
    }
    Some(data)
}

/// The name right behind `name` in canonical order: the one with a label of a zero byte before it. Where that would be
/// too long, nothing can lie below the name, and the next is the one whose first label is greater by one.
fn next_name(name: &[u8]) -> Option<Vec<u8>> {
    if name.len() + 2 <= MAX_NAME {
        return Some([&[1, 0], name].concat());
    }
    let len = usize::from(*name.first()?);
    let mut next = name.to_vec();
    let last = next.get_mut(len)?;
    // Upper case compares as lower case, which `[` lies before and `{` behind.
    *last = match last.checked_add(1)? {
        b'A'..=b'Z' => b'[',
        byte => byte,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_a_window_for_each_256_types() {
        // RFC 4034 §4.3: A MX RRSIG NSEC TYPE1234.
        let data = nsec(b"\x01a\0", &mut vec![1234, 15, 1, 46, 47, 1]).unwrap();
        let maps = [&b"\0\x06\x40\x01\0\0\0\x03\x04\x1b"[..], &[0; 26], b"\x20"].concat();
        assert_eq!(data, [b"\x01\0\x01a\0", &maps[..]].concat());
        let missing = nsec(b"\0", &mut vec![46, 47, 128]).unwrap();
        assert_eq!(missing, [&b"\x01\0\0\0\x11"[..], &[0, 0, 0, 0, 0, 3], &[0; 10], b"\x80"].concat());
    }

    #[test]
    fn the_longest_names_have_a_successor_too() {
        let name = |last: u8| {
            [
                &[63][..],
                &[b'a'; 62],
                &[last],
                &[[63; 1].as_slice(), &[b'b'; 63]].concat().repeat(2),
                &[61],
                &[b'c'; 61],
                &[0],
            ]
            .concat()
        };
        assert_eq!(name(b'a').len(), 255);
        assert_eq!(next_name(&name(b'a')).unwrap(), name(b'b'));
        assert_eq!(next_name(&name(b'@')).unwrap(), name(b'['));
        assert_eq!(next_name(&name(0xff)), None);
    }
}
