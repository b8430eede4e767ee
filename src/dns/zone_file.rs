//! Zone files (RFC 1035 §5): text in, records in wire form out, and for everything that is wrong the file and line.
//!
//! The text of each record is read by hickory-proto's parser, one entry at a time, because it reports no lines.
//! What it cannot read (DNAME, DS and other DNSSEC records, `$GENERATE`, RFC 3597 forms) is refused by name.

use super::names::{Name, text_of};
use crate::limits::dns as limits;
use hickory_proto::rr::{DNSClass, Name as HickoryName, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use hickory_proto::serialize::txt::Parser;
use std::fmt;
use std::path::{Path, PathBuf};

/// One record of a zone file, its names uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The owner in wire form, lower case.
    pub owner: Box<[u8]>,
    /// Its type.
    pub rtype: u16,
    /// Its TTL in seconds.
    pub ttl: u32,
    /// Its data in wire form.
    pub rdata: Box<[u8]>,
    /// The line it begins at; 0 for records that no file holds.
    pub line: usize,
}

/// Something that keeps a zone from being served, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, if it lies in one.
    pub file: Option<PathBuf>,
    /// The line, counted from 1, if it lies in one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {}

/// Reads a zone file for `apex`. Relative names are relative to the apex until `$ORIGIN` says otherwise.
/// Returns what could be read and every problem, not only the first.
pub fn read(path: &Path, apex: &Name) -> (Vec<Entry>, Vec<Problem>) {
    let problem = |what: String| Problem { file: Some(path.to_owned()), line: None, what };
    let too_large = |size: u64| {
        format!(
            "the zone file has {size} bytes, at most {} are read: split the zone",
            limits::ZONE_FILE_BYTES
        )
    };
    match std::fs::metadata(path) {
        Ok(data) if !data.is_file() => {
            return (Vec::new(), vec![problem("the zone file is no ordinary file".to_owned())]);
        }
        Ok(data) if data.len() > limits::ZONE_FILE_BYTES => {
            return (Vec::new(), vec![problem(too_large(data.len()))]);
        }
        Ok(_) => {}
        Err(error) => return (Vec::new(), vec![problem(format!("the zone file cannot be read: {error}"))]),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path, apex),
        Err(error) => (Vec::new(), vec![problem(format!("the zone file cannot be read: {error}"))]),
    }
}

/// As [`read`], for a text that is at hand; `path` is only named in problems.
pub fn parse(text: &str, path: &Path, apex: &Name) -> (Vec<Entry>, Vec<Problem>) {
    let mut reader = Reader {
        origin: text_of(apex.wire()),
        owner: None,
        default_ttl: None,
        last_ttl: None,
        entries: Vec::new(),
    };
    let mut problems = Vec::new();
    for (line, entry) in logical_lines(text) {
        if let Err(what) = entry.and_then(|entry| reader.take(line, &entry)) {
            problems.push(Problem { file: Some(path.to_owned()), line: Some(line), what });
        }
    }
    (reader.entries, problems)
}

/// What earlier lines say about later ones.
struct Reader {
    origin: String,
    owner: Option<String>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    entries: Vec<Entry>,
}

impl Reader {
    fn take(&mut self, line: usize, entry: &str) -> Result<(), String> {
        let mut words = entry.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            None => return Ok(()),
            Some("$ORIGIN") => return self.set_origin(words.next()),
            Some("$TTL") => {
                let text = words.next().unwrap_or_default();
                self.default_ttl = Some(parse_ttl(text).ok_or_else(|| format!("$TTL {text:?} is no time"))?);
                return Ok(());
            }
            Some("$INCLUDE") => {
                return Err("$INCLUDE is not supported: put the records into this file".to_owned());
            }
            Some("$GENERATE") => {
                return Err("$GENERATE is not supported: write its records out".to_owned());
            }
            Some(word) if word.starts_with('$') => return Err(format!("{word} is no known directive")),
            Some(_) => {}
        }
        let text = self.with_owner(entry)?;
        let record = self.record(&text)?;
        self.owner = Some(record.name.to_ascii());
        self.last_ttl = Some(record.ttl);
        let (owner, rdata) = (wire_of_name(&record.name)?, wire_of(&record.data)?);
        let owner = Name::read(&owner).map_err(|_| "the owner is no name".to_owned())?.0.wire().into();
        if self.entries.len() >= limits::ZONE_RECORDS {
            return Err(format!("a zone may have {} records, this one has more", limits::ZONE_RECORDS));
        }
        let rtype = u16::from(record.record_type());
        self.entries.push(Entry { owner, rtype, ttl: record.ttl, rdata: rdata.into(), line });
        Ok(())
    }

    fn set_origin(&mut self, text: Option<&str>) -> Result<(), String> {
        let text = text.ok_or("$ORIGIN needs a name")?;
        let absolute = match text.strip_suffix('.') {
            Some(_) => text.to_owned(),
            None => format!("{text}.{}", self.origin),
        };
        HickoryName::from_ascii(&absolute)
            .map_err(|error| format!("$ORIGIN {text:?} is no name: {error}"))?;
        self.origin = absolute;
        Ok(())
    }

    /// The entry with its owner written out, if it leaves the owner to the record before it.
    fn with_owner(&self, entry: &str) -> Result<String, String> {
        if !entry.starts_with([' ', '\t']) {
            return Ok(entry.to_owned());
        }
        match &self.owner {
            Some(owner) => Ok(format!("{owner}{entry}")),
            None => Err("the first record must name its owner".to_owned()),
        }
    }

    fn record(&self, text: &str) -> Result<Record, String> {
        let origin = HickoryName::from_ascii(&self.origin).map_err(|error| error.to_string())?;
        let ttl = match self.default_ttl.or(self.last_ttl) {
            Some(ttl) => format!("$TTL {ttl}\n"),
            None => String::new(),
        };
        let (_, sets) = Parser::new(format!("{ttl}{text}\n"), None, Some(origin))
            .parse()
            .map_err(|error| explain(text, &error.to_string()))?;
        let record = sets.values().flat_map(|set| set.records_without_rrsigs()).next();
        let record = record.ok_or("this is no record")?.clone();
        if record.dns_class != DNSClass::IN {
            return Err(format!("class {} is not served, only IN is", record.dns_class));
        }
        if record.ttl > i32::MAX as u32 {
            return Err(format!("TTL {} is too long: at most 2147483647 (RFC 2181 §8)", record.ttl));
        }
        if record.record_type() == RecordType::ANAME {
            return Err("ANAME is no standard type and is not served: write A and AAAA records".to_owned());
        }
        Ok(record)
    }
}

/// The parser's message with what a person can do about it.
fn explain(text: &str, error: &str) -> String {
    let has = |word: &str| text.split_whitespace().any(|have| have.eq_ignore_ascii_case(word));
    let unsupported = ["DNAME", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY"];
    match unsupported.iter().find(|word| has(word)) {
        Some(word) => format!("{word} records are not supported in zone files"),
        None => format!("not a record that can be read: {error}"),
    }
}

fn parse_ttl(text: &str) -> Option<u32> {
    let mut total: u32 = 0;
    let mut number: Option<u32> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let all = match number {
        Some(rest) => total.checked_add(rest)?,
        None if text.is_empty() => return None,
        None => total,
    };
    (all <= i32::MAX as u32).then_some(all)
}

fn wire_of(data: &RData) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    // The types of RFC 1035 switch compression on for themselves, which a lone name in a fresh buffer cannot use;
    // SOA has two names and is put together by hand.
    match data {
        RData::SOA(soa) => {
            let mut out = [wire_of_name(&soa.mname)?, wire_of_name(&soa.rname)?].concat();
            let times = [soa.refresh as u32, soa.retry as u32, soa.expire as u32];
            let numbers = [[soa.serial].as_slice(), &times, &[soa.minimum]].concat();
            out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
            Ok(out)
        }
        other => {
            other.emit(&mut encoder).map_err(|error| format!("the data has no wire form: {error}"))?;
            Ok(bytes)
        }
    }
}

fn wire_of_name(name: &HickoryName) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    name.emit(&mut encoder).map_err(|error| format!("{name} has no wire form: {error}"))?;
    Ok(bytes)
}

/// Cuts the text into entries: lines, joined over parentheses, comments taken out, each with its first line's number.
fn logical_lines(text: &str) -> Vec<(usize, Result<String, String>)> {
    let mut lines = Vec::new();
    let (mut entry, mut begun, mut line, mut depth) = (String::new(), 1, 1, 0u32);
    let mut chars = text.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                entry.push(c);
                entry.extend(chars.next());
            }
            '"' => {
                quoted = !quoted;
                entry.push(c);
            }
            '\n' => {
                if quoted {
                    lines.push((line, Err("a quoted text does not end on its line".to_owned())));
                    (quoted, depth) = (false, 0);
                    entry.clear();
                }
                line += 1;
                if depth > 0 {
                    entry.push(' ');
                    continue;
                }
                lines.push((begun, Ok(std::mem::take(&mut entry))));
                begun = line;
            }
            ';' if !quoted => {
                // The comment ends before the line does: the line's end is still to be seen.
                let rest = chars.as_str();
                chars = rest.get(rest.find('\n').unwrap_or(rest.len())..).unwrap_or_default().chars();
            }
            '(' if !quoted => {
                depth += 1;
                entry.push(' ');
            }
            ')' if !quoted => {
                depth = depth.saturating_sub(1);
                entry.push(' ');
            }
            '\r' => {}
            other => entry.push(other),
        }
    }
    match (quoted, depth) {
        (true, _) => lines.push((begun, Err("a quoted text does not end".to_owned()))),
        (_, 1..) => lines.push((begun, Err("a parenthesis is not closed".to_owned()))),
        _ => lines.push((begun, Ok(entry))),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<Entry>, Vec<String>) {
        let (entries, problems) = parse(text, Path::new("z.zone"), &Name::parse("kafka.example").unwrap());
        (entries, problems.iter().map(ToString::to_string).collect())
    }

    const ZONE: &str = "$TTL 1h
@ IN SOA ns1 host.kafka.example. ( 7 ; the serial
   3600 600 86400 2 )
  NS ns1
ns1 60 A 192.0.2.1
    AAAA 2001:db8::1
$ORIGIN sub
www CNAME web.other.example.
";

    #[test]
    fn owners_ttls_and_origins_carry_over() {
        let (entries, problems) = parsed(ZONE);
        assert_eq!(problems, Vec::<String>::new());
        let seen: Vec<(String, u16, u32, usize)> =
            entries.iter().map(|e| (text_of(&e.owner), e.rtype, e.ttl, e.line)).collect();
        let want = [
            ("kafka.example.", 6, 3600, 2),
            ("kafka.example.", 2, 3600, 4),
            ("ns1.kafka.example.", 1, 60, 5),
            ("ns1.kafka.example.", 28, 3600, 6),
            ("www.sub.kafka.example.", 5, 3600, 8),
        ];
        assert_eq!(seen, want.map(|(owner, rtype, ttl, line)| (owner.to_owned(), rtype, ttl, line)));
        assert_eq!(&entries[1].rdata[..], b"\x03ns1\x05kafka\x07example\x00");
        assert_eq!(entries[0].rdata.len(), 19 + 20 + 20);
    }

    #[test]
    fn each_problem_names_its_line_and_the_rest_is_read() {
        let text = "$TTL 60
a A 192.0.2.300
b A 192.0.2.1
$GENERATE 1-9 h$ A 192.0.2.$
d DNAME other.example.
$INCLUDE x
e CH TXT \"x\"
f TXT \"open
g A 192.0.2.2
$FOO
h NOTYPE x
i A (192.0.2.3
";
        let (entries, problems) = parsed(text);
        let owners: Vec<String> = entries.iter().map(|entry| text_of(&entry.owner)).collect();
        assert_eq!(owners, ["b.kafka.example.", "g.kafka.example."]);
        let lines: Vec<&str> = problems.iter().map(|p| p.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["2", "4", "5", "6", "7", "8", "10", "11", "12"], "{problems:#?}");
        assert!(problems[1].contains("$GENERATE") && problems[2].contains("DNAME"), "{problems:#?}");
    }

    /// Every type that operators put into zone files, as the parser library reads it today: a type that stops
    /// being read, or starts to be, shows here.
    #[test]
    fn types_that_can_be_read_and_types_that_cannot() {
        let good = [
            "A 192.0.2.1",
            "AAAA 2001:db8::1",
            "CAA 0 issue \"ca.example\"",
            "CNAME other",
            "HINFO a b",
            "HTTPS 1 . alpn=h2",
            "MX 10 mail",
            "NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.example.com.",
            "NS ns1",
            "OPENPGPKEY mQINBFo=",
            "PTR host.example.",
            "SRV 0 0 9092 host",
            "SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789",
            "SVCB 1 foo.example. port=8053",
            "TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "TXT \"a b\" c",
        ];
        let bad =
            ["DNAME x", "DS 1 8 2 aa", "LOC 51 30 12.748 N 0 7 39.611 W 0m", "RP a b", "TYPE65280 \\# 1 aa"];
        for record in good {
            let (entries, problems) = parsed(&format!("x 60 IN {record}\n"));
            assert_eq!((entries.len(), problems.len()), (1, 0), "{record}: {problems:?}");
        }
        for record in bad {
            let (entries, problems) = parsed(&format!("x 60 IN {record}\n"));
            assert_eq!((entries.len(), problems.len()), (0, 1), "{record}");
        }
        assert_eq!((parse_ttl("1h30m"), parse_ttl("x"), parse_ttl("99999999999")), (Some(5400), None, None));
    }
}
