//! The canonical form of records (RFC 4034 §6): what is signed, whatever way a message wrote it. Pure.

use super::message::{Message, Record};
use crate::dns::names::{MAX_NAME, Name};
use crate::dns::wire::{CLASS_IN, rtype};
use std::ops::Range;

/// Where names stand in a type's data: bytes before them, how many they are. They are written out in lower case
/// (RFC 4034 §6.2 as corrected by RFC 6840 §5.1).
fn names_of(rtype: u16) -> Option<(usize, usize)> {
    match rtype {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => Some((0, 1)),
        // SOA, MINFO, RP
        6 | 14 | 17 => Some((0, 2)),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => Some((2, 1)),
        rtype::SRV => Some((6, 1)),
        26 => Some((2, 2)), // PX
        _ => None,
    }
}

/// Types whose names a message may compress (RFC 3597 §4).
pub(super) fn is_compressed(rtype: u16) -> Option<(usize, usize)> {
    names_of(rtype).filter(|_| matches!(rtype, 2..=9 | 12 | 14 | 15))
}

/// Space to put sets into canonical form, used again and again.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    data: Vec<u8>,
    order: Vec<Range<usize>>,
    /// The records of the last set, ready to be signed: owner, type, class, TTL, length and data of each, sorted.
    pub(super) records: Vec<u8>,
}

impl Canonical {
    /// Takes records of one set from a message; `false` if it is malformed.
    pub(super) fn take(&mut self, message: &Message<'_>, records: &[Record]) -> bool {
        self.clear();
        records.iter().all(|record| {
            let start = self.data.len();
            let read = self.rdata(message, record).is_some();
            self.order.push(start..self.data.len());
            read
        })
    }

    /// Begins a set whose data follows by [`Canonical::add`].
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.order.clear();
    }

    /// Adds a record's data that is in canonical form already.
    pub(super) fn add(&mut self, data: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(data);
        self.order.push(start..self.data.len());
    }

    /// Sorts the records and writes them with their owner, in lower case, and their original TTL.
    pub(super) fn finish(&mut self, owner: &[u8], rtype: u16, ttl: u32) {
        let Self { data, order, records } = self;
        let of = |range: &Range<usize>| data.get(range.clone()).unwrap_or_default();
        order.sort_unstable_by(|one, other| of(one).cmp(of(other)));
        order.dedup_by(|one, other| of(one) == of(other));
        records.clear();
        for range in order.iter() {
            records.extend_from_slice(owner);
            records.extend_from_slice(&rtype.to_be_bytes());
            records.extend_from_slice(&CLASS_IN.to_be_bytes());
            records.extend_from_slice(&ttl.to_be_bytes());
            records.extend_from_slice(&(range.len() as u16).to_be_bytes());
            records.extend_from_slice(of(range));
        }
    }

    fn rdata(&mut self, message: &Message<'_>, record: &Record) -> Option<()> {
        let bytes = message.bytes.get(record.data..record.end)?;
        let (skip, names) = match (names_of(record.rtype), record.rtype) {
            (Some(layout), _) => layout,
            (None, 35) => (naptr_name(bytes)?, 1),
            (None, _) => {
                self.data.extend_from_slice(bytes);
                return Some(());
            }
        };
        self.data.extend_from_slice(bytes.get(..skip)?);
        let mut at = record.data + skip;
        for _ in 0..names {
            let mut flat = [0; MAX_NAME];
            let (len, end) = message.flat_name(at, &mut flat)?;
            self.data.extend_from_slice(flat.get(..len)?);
            at = end;
        }
        self.data.extend_from_slice(message.bytes.get(at..record.end)?);
        Some(())
    }
}

/// Where the replacement of a NAPTR begins: behind two numbers and three texts.
fn naptr_name(data: &[u8]) -> Option<usize> {
    (0..3).try_fold(4, |at: usize, _| Some(at + 1 + usize::from(*data.get(at)?)))
}

/// Labels that an RRSIG counts: without the root, and without a wildcard's `*` (RFC 4034 §3.1.3).
pub(super) fn labels(owner: &Name) -> u8 {
    (owner.labels() - usize::from(owner.label(0) == b"*")) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sorted_by_their_data_and_doubles_are_dropped() {
        let mut canonical = Canonical::default();
        canonical.clear();
        for data in [&b"\x0a\0\0\x02"[..], b"\x0a\0\0", b"\xff", b"\x0a\0\0\x02"] {
            canonical.add(data);
        }
        canonical.finish(b"\x01a\0", 1, 7);
        let one = |data: &[u8]| [&b"\x01a\0\0\x01\0\x01\0\0\0\x07\0"[..], &[data.len() as u8], data].concat();
        assert_eq!(canonical.records, [one(b"\x0a\0\0"), one(b"\x0a\0\0\x02"), one(b"\xff")].concat());
    }

    #[test]
    fn compressed_names_are_written_out_in_lower_case_and_other_data_stays() {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(b"\x01K\x07eXample\0"); // at 12
        let start = bytes.len();
        bytes.extend_from_slice(b"\0\x0a\x01M\xc0\x0c");
        let (data, end) = (start, bytes.len());
        let message = Message { bytes: &bytes };
        let mut canonical = Canonical::default();
        let record = |rtype| Record { start, fixed: start, rtype, ttl: 0, data, end, section: 0 };
        assert!(canonical.take(&message, &[record(15)]));
        assert_eq!(canonical.data, b"\0\x0a\x01m\x01k\x07example\0");
        assert!(canonical.take(&message, &[record(16)]));
        assert_eq!(canonical.data, b"\0\x0a\x01M\xc0\x0c");
        assert!(!canonical.take(&message, &[Record { data: end - 1, ..record(2) }]), "half a pointer");
        assert_eq!(naptr_name(b"\0\x01\0\x02\x01S\x00\x02ab\x00"), Some(10));
        let labels_of = |text: &str| labels(&Name::parse(text).unwrap());
        assert_eq!((labels_of("*.a.b"), labels_of("a.b"), labels_of(".")), (2, 2, 0));
    }
}
