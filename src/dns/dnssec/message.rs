//! A finished answer taken apart into its records, so that signatures can be put between them. Reads what we wrote
//! ourselves, and still trusts no length in it.

use crate::dns::names::MAX_NAME;
use crate::dns::wire::HEADER;

/// The bytes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'m> {
    pub(super) bytes: &'m [u8],
}

/// Where a record lies in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Its owner's first byte.
    pub(super) start: usize,
    /// Its type's first byte.
    pub(super) fixed: usize,
    /// Its type.
    pub(super) rtype: u16,
    /// Its TTL.
    pub(super) ttl: u32,
    /// Its data.
    pub(super) data: usize,
    /// Behind it.
    pub(super) end: usize,
    /// 0 answer, 1 authority, 2 additional.
    pub(super) section: usize,
}

/// Most pointers of one name: ours have one.
const POINTERS: usize = 8;

impl<'m> Message<'m> {
    /// Lists the records behind the question, which ends at `at`, into `records`.
    pub(super) fn records(&self, mut at: usize, records: &mut Vec<Record>) -> Option<()> {
        records.clear();
        let [_, _, _, _, _, _, an1, an2, ns1, ns2, ar1, ar2] = *self.bytes.first_chunk::<HEADER>()?;
        for (section, count) in [[an1, an2], [ns1, ns2], [ar1, ar2]].into_iter().enumerate() {
            for _ in 0..u16::from_be_bytes(count) {
                let record = self.record(at, section)?;
                at = record.end;
                records.push(record);
            }
        }
        (at == self.bytes.len()).then_some(())
    }

    fn record(&self, start: usize, section: usize) -> Option<Record> {
        let fixed = self.behind_name(start)?;
        let [t1, t2, _, _, l1, l2, l3, l4, r1, r2] = *self.bytes.get(fixed..)?.first_chunk::<10>()?;
        let data = fixed + 10;
        let end = data + usize::from(u16::from_be_bytes([r1, r2]));
        self.bytes.get(data..end)?;
        let (rtype, ttl) = (u16::from_be_bytes([t1, t2]), u32::from_be_bytes([l1, l2, l3, l4]));
        Some(Record { start, fixed, rtype, ttl, data, end, section })
    }

    fn behind_name(&self, mut at: usize) -> Option<usize> {
        loop {
            match *self.bytes.get(at)? {
                0 => return Some(at + 1),
                len @ 1..=63 => at += 1 + usize::from(len),
                0xc0.. => return Some(at + 2),
                _ => return None,
            }
        }
    }

    /// Writes out the name at `at`, in lower case; its length, and where the message goes on behind it.
    pub(super) fn flat_name(&self, mut at: usize, out: &mut [u8; MAX_NAME]) -> Option<(usize, usize)> {
        let (mut len, mut end, mut pointers) = (0, None, 0);
        loop {
            match *self.bytes.get(at)? {
                0 => {
                    *out.get_mut(len)? = 0;
                    return Some((len + 1, end.unwrap_or(at + 1)));
                }
                label @ 1..=63 => {
                    let size = 1 + usize::from(label);
                    let (from, to) = (self.bytes.get(at..at + size)?, out.get_mut(len..len + size)?);
                    to.copy_from_slice(from);
                    to.make_ascii_lowercase(); // a length byte is no letter
                    (len, at) = (len + size, at + size);
                }
                high @ 0xc0.. => {
                    pointers += 1;
                    let target = usize::from(high & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    if target >= at || pointers > POINTERS {
                        return None;
                    }
                    end = end.or(Some(at + 2));
                    at = target;
                }
                _ => return None,
            }
        }
    }

    /// Whether two records have one owner and type.
    pub(super) fn is_one_set(&self, one: &Record, other: &Record) -> bool {
        if one.rtype != other.rtype || one.section != other.section {
            return false;
        }
        let raw = |record: &Record| self.bytes.get(record.start..record.fixed);
        if raw(one) == raw(other) {
            return true;
        }
        let (mut a, mut b) = ([0; MAX_NAME], [0; MAX_NAME]);
        match (self.flat_name(one.start, &mut a), self.flat_name(other.start, &mut b)) {
            (Some((n, _)), Some((m, _))) => a.get(..n) == b.get(..m),
            _ => false,
        }
    }
}

/// Where records of one message went in another: pointers to names move along.
#[derive(Debug, Default)]
pub(super) struct Moves(Vec<(usize, usize)>);

impl Moves {
    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What stood at `from` stands at `to`.
    pub(super) fn note(&mut self, from: usize, to: usize) {
        self.0.push((from, to));
    }

    /// The pointer to what `pointer` led to.
    fn moved(&self, pointer: [u8; 2]) -> Option<[u8; 2]> {
        let target = usize::from(u16::from_be_bytes(pointer) & 0x3fff);
        // Before the first record there is the question, which stays where it is.
        let (from, to) = self.0.iter().rev().find(|(from, _)| *from <= target).copied().unwrap_or((0, 0));
        let target = u16::try_from(to + target - from).ok().filter(|target| *target < 0x4000)?;
        Some((0xc000 | target).to_be_bytes())
    }

    /// Corrects the pointer that ends the name at `at` of `bytes`, if one does; gives where the name ends.
    pub(super) fn correct(&self, bytes: &mut [u8], mut at: usize) -> Option<usize> {
        loop {
            match *bytes.get(at)? {
                0 => return Some(at + 1),
                len @ 1..=63 => at += 1 + usize::from(len),
                0xc0.. => {
                    let place = bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
                    *place = self.moved(*place)?;
                    return Some(at + 2);
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_back_and_never_in_circles() {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(b"\x01A\0"); // 12
        bytes.extend_from_slice(b"\x01b\xc0\x0c"); // 15
        bytes.extend_from_slice(b"\xc0\x13"); // 19, to itself
        let message = Message { bytes: &bytes };
        let mut out = [0; MAX_NAME];
        assert_eq!(message.flat_name(15, &mut out), Some((5, 19)));
        assert_eq!(&out[..5], b"\x01b\x01a\0");
        assert_eq!(message.flat_name(19, &mut out), None);
        assert_eq!(message.flat_name(40, &mut out), None);
    }

    #[test]
    fn pointers_follow_what_they_led_to() {
        let mut moves = Moves::default();
        moves.note(30, 30);
        moves.note(50, 150);
        let mut bytes = *b"\x01a\xc0\x0c\xc0\x36";
        assert_eq!(moves.correct(&mut bytes, 0), Some(4));
        assert_eq!(moves.correct(&mut bytes, 4), Some(6));
        assert_eq!(bytes, *b"\x01a\xc0\x0c\xc0\x9a", "54 is 4 bytes into what moved from 50 to 150");
    }
}
