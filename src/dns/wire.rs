//! A query as it comes off the wire: the 12-byte header is judged before anything else is looked at, then one
//! question, then at most one OPT. Nothing here allocates, follows a pointer, or trusts a count.

pub mod ask;

use super::edns::Options;
use super::names::Name;

/// Size of a DNS header.
pub const HEADER: usize = 12;
/// The Internet class.
pub const CLASS_IN: u16 = 1;
/// The Chaos class: what servers say of themselves (RFC 4892).
pub const CLASS_CH: u16 = 3;

/// Record types that have a rule of their own here. Values: IANA, "Resource Record (RR) TYPEs".
pub mod rtype {
    #![allow(missing_docs)] // the registry's own names
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const RRSIG: u16 = 46;
    pub const NSEC: u16 = 47;
    pub const DNSKEY: u16 = 48;
    pub const CDS: u16 = 59;
    pub const CDNSKEY: u16 = 60;
    /// In an NSEC: the name does not exist (RFC 9824).
    pub const NXNAME: u16 = 128;
    pub const TKEY: u16 = 249;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const MAILB: u16 = 253;
    pub const MAILA: u16 = 254;
    pub const ANY: u16 = 255;
}

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §6.1.3, RFC 7873 §8). Those above 15 have their high bits in the OPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the registry's own names
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    YxDomain = 6,
    NotAuth = 9,
    BadVers = 16,
    BadCookie = 23,
}

/// What the client said of itself with EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP answer it takes, as it says.
    pub size: u16,
    /// The EDNS version; we know 0.
    pub version: u8,
    /// It wants DNSSEC records: echoed (RFC 3225).
    pub dnssec_ok: bool,
    /// Its options; of a version that we don't know, none.
    pub options: Options,
    /// It wants NXDOMAIN beside a compact denial (CO, RFC 9824).
    pub compact_ok: bool,
}

/// One well-formed query. One without a question (name the root, type and class 0) asks for a cookie and nothing else
/// (RFC 7873 §5.4).
#[derive(Clone, Debug)]
pub struct Query {
    /// The name asked for, lower case. The bytes as asked stay in the packet and are echoed from there.
    pub name: Name,
    /// The type asked for.
    pub qtype: u16,
    /// The class asked for.
    pub qclass: u16,
    /// Where the question ends in the packet: header and question are echoed up to here. [`HEADER`] without a question.
    pub question_end: usize,
    /// EDNS, if the client speaks it.
    pub edns: Option<Edns>,
    /// Where the TSIG record begins, if the query is signed; it is the last record (RFC 8945 §5.1).
    pub tsig: Option<usize>,
}

/// What to do with a packet.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // on the stack and gone at once; a box would allocate per query
pub enum Parsed {
    /// Say nothing: an answer could start a loop, or there is no id to answer with.
    Drop(Dropped),
    /// Answer with the header alone.
    Error(Rcode),
    /// Answer it.
    Query(Query),
}

/// Why a packet is not answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Shorter than a header.
    Short,
    /// A response (QR is set): answering could make two servers answer each other for ever.
    Response,
    /// No answer could arrive: source port 0.
    Source,
}

/// Judges a packet.
pub fn parse(packet: &[u8]) -> Parsed {
    let Some(header) = packet.first_chunk::<HEADER>() else { return Parsed::Drop(Dropped::Short) };
    let [_, _, flags, _, qd1, qd2, an1, an2, ns1, ns2, ar1, ar2] = *header;
    if flags & 0x80 != 0 {
        return Parsed::Drop(Dropped::Response);
    }
    if flags & 0x78 != 0 {
        return Parsed::Error(Rcode::NotImp);
    }
    // RFC 9619: no query has more than one.
    if qd1 != 0 || qd2 > 1 {
        return Parsed::Error(Rcode::FormErr);
    }
    let before = u32::from(u16::from_be_bytes([an1, an2])) + u32::from(u16::from_be_bytes([ns1, ns2]));
    let additional = u16::from_be_bytes([ar1, ar2]);
    let mut query =
        Query { name: Name::ROOT, qtype: 0, qclass: 0, question_end: HEADER, edns: None, tsig: None };
    match body(packet, qd2, before, additional, &mut query) {
        Some(()) => Parsed::Query(query),
        None => Parsed::Error(Rcode::FormErr),
    }
}

/// The question and the records behind it; `None` is FORMERR.
fn body(packet: &[u8], questions: u8, before: u32, additional: u16, query: &mut Query) -> Option<()> {
    let mut at = HEADER;
    if questions > 0 {
        at += query.name.fill(packet.get(HEADER..)?).ok()?;
        let [t1, t2, c1, c2] = *packet.get(at..)?.first_chunk::<4>()?;
        at += 4;
        query.qtype = u16::from_be_bytes([t1, t2]);
        query.qclass = u16::from_be_bytes([c1, c2]);
        query.question_end = at;
    }
    // Each record takes at least 11 bytes or ends the loop: no count can make it long.
    for _ in 0..before {
        let record = Record::read(packet, at)?;
        if record.rtype == rtype::OPT {
            return None;
        }
        at = record.end;
    }
    for _ in 0..additional {
        let record = Record::read(packet, at)?;
        if query.tsig.is_some() {
            return None;
        }
        if record.rtype == rtype::TSIG {
            query.tsig = Some(at);
        }
        at = record.end;
        if record.rtype == rtype::OPT {
            if query.edns.is_some() || !record.at_root {
                return None;
            }
            query.edns = Some(record.edns()?);
        }
    }
    let asks_for_something = questions > 0 || query.edns.is_some_and(|edns| edns.options.cookie.is_some());
    (at == packet.len() && asks_for_something).then_some(())
}

/// A record that is only looked at to get past it, or to take an OPT from it.
pub(super) struct Record<'a> {
    at_root: bool,
    pub(super) rtype: u16,
    class: u16,
    ttl: [u8; 4],
    pub(super) rdata: &'a [u8],
    pub(super) end: usize,
}

impl<'a> Record<'a> {
    /// Reads the record that begins at `start`.
    pub(super) fn read(packet: &'a [u8], start: usize) -> Option<Self> {
        let mut at = start;
        loop {
            let len = *packet.get(at)?;
            match len {
                0 => {
                    at += 1;
                    break;
                }
                1..=63 => at += 1 + usize::from(len),
                // A pointer ends a name. Where it leads does not matter here, so it is not followed.
                0xc0..=0xff => {
                    at += 2;
                    break;
                }
                _ => return None,
            }
        }
        let [t1, t2, c1, c2, l1, l2, l3, l4, r1, r2] = *packet.get(at..)?.first_chunk::<10>()?;
        let rdata_at = at + 10;
        let end = rdata_at + usize::from(u16::from_be_bytes([r1, r2]));
        Some(Self {
            at_root: at == start + 1,
            rtype: u16::from_be_bytes([t1, t2]),
            class: u16::from_be_bytes([c1, c2]),
            ttl: [l1, l2, l3, l4],
            rdata: packet.get(rdata_at..end)?,
            end,
        })
    }

    fn edns(&self) -> Option<Edns> {
        let [_, version, flags, _] = self.ttl;
        // Another version may write its options in another way.
        let options = match (version, self.rdata) {
            (0, [_, ..]) => Options::read(self.rdata, self.end - self.rdata.len())?,
            _ => Options::default(),
        };
        let (dnssec_ok, compact_ok) = (flags & 0x80 != 0, flags & 0x40 != 0);
        Some(Edns { size: self.class, version, dnssec_ok, compact_ok, options })
    }
}

#[cfg(test)]
pub(crate) mod check {
    //! Answers as another implementation reads them: hickory-proto, which must find no byte too many.

    use hickory_proto::op::Message;
    use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

    /// Decodes an answer; panics with the bytes when it is not exactly one message.
    pub(crate) fn decode(bytes: &[u8]) -> Message {
        let mut decoder = BinDecoder::new(bytes);
        let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        assert!(decoder.is_empty(), "{} bytes at the end of {bytes:02x?}", decoder.len());
        message
    }

    /// A query's bytes: one question, and an OPT of `edns` bytes.
    pub(crate) fn query(name: &str, qtype: u16, edns: Option<u16>) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
        for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out.extend_from_slice(&qtype.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        if let Some(size) = edns {
            out.extend_from_slice(&[0, 0, 41]);
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&[0; 6]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::check::query;
    use super::*;

    fn error(packet: &[u8]) -> Option<Rcode> {
        match parse(packet) {
            Parsed::Error(rcode) => Some(rcode),
            _ => None,
        }
    }

    fn good(packet: &[u8]) -> Query {
        match parse(packet) {
            Parsed::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_query_and_one_with_edns_are_read() {
        let plain = good(&query("WWW.example", 28, None));
        assert_eq!((plain.name.to_string().as_str(), plain.qtype, plain.qclass), ("www.example.", 28, 1));
        assert_eq!((plain.question_end, plain.edns), (29, None));
        let edns =
            Edns { size: 4096, version: 0, dnssec_ok: false, compact_ok: false, options: Options::default() };
        assert_eq!(good(&query("www.example", 1, Some(4096))).edns, Some(edns));
    }

    #[test]
    fn the_header_alone_decides_first() {
        let mut packet = query("a.example", 1, None);
        assert!(matches!(parse(&packet[..11]), Parsed::Drop(Dropped::Short)));
        packet[2] = 0x81;
        assert!(matches!(parse(&packet), Parsed::Drop(Dropped::Response)));
        packet[2] = 0x29;
        assert_eq!(error(&packet), Some(Rcode::NotImp));
        packet[2] = 1;
        for count in [[0, 0], [0, 2], [255, 255]] {
            packet[4..6].copy_from_slice(&count);
            assert_eq!(error(&packet), Some(Rcode::FormErr), "{count:?}");
        }
    }

    #[test]
    fn malformed_bodies_are_format_errors() {
        let whole = query("a.example", 1, Some(1232));
        for cut in HEADER..whole.len() {
            assert_eq!(error(&whole[..cut]), Some(Rcode::FormErr), "cut at {cut}");
        }
        assert_eq!(error(&[&whole[..], b"x"].concat()), Some(Rcode::FormErr), "a byte too many");
        let mut twice = [&whole[..], &whole[whole.len() - 11..]].concat();
        twice[11] = 2;
        assert_eq!(error(&twice), Some(Rcode::FormErr), "two OPTs");
        let mut named = query("a.example", 1, None);
        named[11] = 1;
        named.extend_from_slice(b"\x01x\x00\x00\x29\x04\xd0\0\0\0\0\0\0");
        assert_eq!(error(&named), Some(Rcode::FormErr), "an OPT that is not at the root");
        let mut answer = query("a.example", 1, Some(1232));
        answer[7] = 1;
        answer[11] = 0;
        assert_eq!(error(&answer), Some(Rcode::FormErr), "an OPT in the answer section");
        let mut many = query("a.example", 1, None);
        many[6..12].copy_from_slice(&[255; 6]);
        assert_eq!(error(&many), Some(Rcode::FormErr), "counts without records");
    }

    #[test]
    fn other_additional_records_are_passed_over() {
        let mut packet = query("a.example", 1, Some(1232));
        packet[11] = 2;
        packet.extend_from_slice(b"\xc0\x0c\x00\x10\x00\x01\0\0\0\0\x00\x03abc");
        assert!(good(&packet).edns.is_some());
        let signature = packet.len();
        packet[11] = 3;
        packet.extend_from_slice(b"\x01k\0\x00\xfa\x00\xff\0\0\0\0\x00\x03abc");
        assert_eq!(good(&packet).tsig, Some(signature));
        packet[11] = 4;
        packet.extend_from_slice(b"\xc0\x0c\x00\x10\x00\x01\0\0\0\0\x00\x03abc");
        assert_eq!(error(&packet), Some(Rcode::FormErr), "a record behind the TSIG");
        let mut option = query("a.example", 1, Some(1232));
        let rdlen = option.len() - 1;
        option[rdlen] = 6;
        option.extend_from_slice(b"\x00\x0a\x00\x02zz");
        assert!(good(&option).edns.is_some());
        let length = option.len() - 3;
        option[length] = 9;
        assert_eq!(error(&option), Some(Rcode::FormErr), "an option that is longer than the OPT");
    }
}
