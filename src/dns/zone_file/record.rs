//! One record's fields and data. The sole user of the `domain` crate, whose scanner knows the types and the forms of
//! RFC 3597 (`TYPE123`, `CLASS1`, `\#`). What it lacks stands here: times with units, and types that are written like
//! another one.

use super::{parse_ttl, token};
use crate::dns::names::text_of;
use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::name::{Name, UncertainName};
use domain::base::rdata::ComposeRecordData;
use domain::base::{ParseRecordData, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use std::str::FromStr;

/// Types that `domain` cannot read, and one that it can and that is written in the same way.
const WRITTEN_LIKE: [(u16, &str); 12] = [
    (18, "MX"),         // AFSDB, RFC 1183
    (21, "MX"),         // RT, RFC 1183
    (36, "MX"),         // KX, RFC 2230
    (49, "OPENPGPKEY"), // DHCID, RFC 4701
    (53, "TLSA"),       // SMIMEA, RFC 8162
    (58, "RP"),         // TALINK
    (99, "TXT"),        // SPF, RFC 4408
    (107, "MX"),        // LP, RFC 6742
    (258, "TXT"),       // AVC
    (261, "TXT"),       // RESINFO, RFC 9606
    (262, "TXT"),       // WALLET
    (32_769, "DS"),     // DLV, RFC 4431
];

/// Types whose data holds names, where `@` stands for the origin: NS, MD, MF, CNAME, SOA, MB, MG, MR, PTR, MINFO, MX, RP,
/// AFSDB, RT, SRV, NAPTR, KX, DNAME, IPSECKEY, TALINK, SVCB, HTTPS, LP.
const HAVE_NAMES: [u16; 23] =
    [2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 33, 35, 36, 39, 45, 58, 64, 65, 107];

/// What stands behind a record's owner.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    /// Its own TTL in seconds.
    pub(super) ttl: Option<u32>,
    /// Its type.
    pub(super) rtype: u16,
    type_text: &'t str,
    data: &'t str,
}

impl<'t> Fields<'t> {
    /// Reads `[TTL] [class] type data`, TTL and class in either order.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let (mut ttl, mut has_class, mut rest) = (None, false, text);
        loop {
            let (word, behind) = token(rest);
            if word.is_empty() {
                return Err("the record has no type".to_owned());
            }
            if ttl.is_none() && word.starts_with(|c: char| c.is_ascii_digit()) {
                let parsed = parse_ttl(word);
                let what =
                    || format!("TTL {word:?} is no time, or longer than 2147483647 seconds (RFC 2181 §8)");
                ttl = Some(parsed.ok_or_else(what)?);
            } else if let (false, Ok(class)) = (has_class, Class::from_str(word)) {
                if class != Class::IN {
                    return Err(format!("class {word} is not served, only IN is"));
                }
                has_class = true;
            } else {
                let rtype = type_of(word)?;
                return Ok(Self { ttl, rtype, type_text: word, data: behind });
            }
            rest = behind;
        }
    }

    /// The MINIMUM of an SOA.
    pub(super) fn soa_minimum(&self) -> Option<u32> {
        if self.rtype != Rtype::SOA.to_int() {
            return None;
        }
        words(self.data).nth(6).and_then(parse_ttl)
    }

    /// The data in wire form, relative names below `origin`.
    pub(super) fn data(&self, origin: &[u8]) -> Result<Vec<u8>, String> {
        let is_generic = token(self.data).0 == "\\#";
        let like = WRITTEN_LIKE.iter().find(|(rtype, _)| *rtype == self.rtype);
        let text = match like {
            _ if is_generic => format!(". 1 IN TYPE{} {}\n", self.rtype, self.data),
            Some((_, like)) => format!(". 1 IN {like} {}\n", self.plain_data(origin)),
            None => format!(". 1 IN {} {}\n", self.type_text, self.plain_data(origin)),
        };
        let mut file = Zonefile::from(text.as_str());
        file.set_origin(
            Name::from_octets(Bytes::copy_from_slice(origin)).map_err(|error| error.to_string())?,
        );
        let record = match file.next_entry().map_err(|error| self.explain(&error.to_string()))? {
            Some(Entry::Record(record)) => record,
            _ => return Err("this is no record".to_owned()),
        };
        let mut data = Vec::new();
        // A vector grows as it must.
        let _ = record.data().compose_rdata(&mut data);
        if data.len() > usize::from(u16::MAX) {
            return Err(format!("the data has {} bytes, at most 65535 fit into a record", data.len()));
        }
        if is_generic && !is_sound(self.rtype, &data) {
            return Err(format!("these bytes are no data of type {}", self.type_text));
        }
        Ok(data)
    }

    /// The data without what the scanner does not know: `@` for the origin as a name, and times with units.
    fn plain_data(&self, origin: &[u8]) -> String {
        let is_soa = self.rtype == Rtype::SOA.to_int();
        let has_names = HAVE_NAMES.contains(&self.rtype) && self.data.contains('@');
        if !is_soa && !has_names {
            return self.data.to_owned();
        }
        let plain = |(at, word): (usize, &str)| match parse_ttl(word) {
            Some(seconds) if is_soa && (3..=6).contains(&at) => seconds.to_string(),
            _ if word == "@" => text_of(origin),
            _ => word.to_owned(),
        };
        words(self.data).enumerate().map(plain).collect::<Vec<_>>().join(" ")
    }

    /// The scanner's message with what a person can do about it.
    fn explain(&self, error: &str) -> String {
        let kind = self.type_text;
        // It counts lines and columns within the one record that it was given.
        let error = error.splitn(3, ':').nth(2).unwrap_or(error).trim();
        if error.contains("unknown record type") {
            return format!(
                "{kind} data is read in the form of RFC 3597 only: {kind} \\# <bytes> <hexadecimal digits>"
            );
        }
        let data: String = self.data.trim().chars().take(80).collect();
        format!("{data:?} is no data of type {kind}: {error}")
    }
}

/// A name in wire form, relative ones below `origin`; `@` is the origin.
pub(super) fn name(text: &str, origin: &[u8]) -> Result<Vec<u8>, String> {
    if text == "@" {
        return Ok(origin.to_vec());
    }
    let wrong = |error: String| format!("{text:?} is no name: {error}");
    let wire = match UncertainName::<Vec<u8>>::from_str(text).map_err(|error| wrong(error.to_string()))? {
        UncertainName::Absolute(name) => name.as_slice().to_vec(),
        UncertainName::Relative(name) => [name.as_slice(), origin].concat(),
    };
    if wire.len() > crate::dns::names::MAX_NAME {
        return Err(wrong("a name has at most 255 bytes".to_owned()));
    }
    Ok(wire)
}

fn type_of(word: &str) -> Result<u16, String> {
    if ["ANAME", "ALIAS"].iter().any(|have| word.eq_ignore_ascii_case(have)) {
        return Err(format!("{word} is no standard type and is not served: write A and AAAA records"));
    }
    let rtype = Rtype::from_str(word).map_err(|_| {
        format!("{word} is no known type: types without a name are written TYPE<number> (RFC 3597)")
    })?;
    match rtype {
        Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::SIG | Rtype::NXT => {
            Err(format!("{word} records are made by the server that signs: leave them out"))
        }
        // Meta types and questions (RFC 6895 §3.1).
        Rtype::OPT => Err(format!("{word} is no type that a zone can hold")),
        other if matches!(other.to_int(), 0 | 128..=255) => {
            Err(format!("{word} is no type that a zone can hold"))
        }
        other => Ok(other.to_int()),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (word, behind) = token(rest);
        rest = behind;
        (!word.is_empty()).then_some(word)
    })
}

/// Whether bytes that were given as such are what their type says. Types that are not known may be anything.
fn is_sound(rtype: u16, data: &[u8]) -> bool {
    let rtype = WRITTEN_LIKE
        .iter()
        .find(|(have, _)| *have == rtype)
        .map_or(Ok(Rtype::from_int(rtype)), |(_, like)| Rtype::from_str(like));
    let Ok(rtype) = rtype else { return false };
    let mut parser = Parser::from_ref(data);
    let parsed = ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(rtype, &mut parser);
    matches!(parsed, Ok(Some(_))) && parser.remaining() == 0
}
