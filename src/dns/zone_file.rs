//! Zone files (RFC 1035 §5): text in, records in wire form out, and for everything that is wrong the file and line.
//!
//! This file cuts the text into entries, keeps what earlier entries say about later ones, and follows `$INCLUDE`;
//! `generate` writes `$GENERATE` out. The data of one record is read by NLnet Labs' `domain` (`record`), one entry
//! at a time, so that a bad record does not keep the rest from being looked at.

mod generate;
mod record;

use super::names::Name;
use crate::limits::dns as limits;
use record::Fields;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The file that it stands in, if any.
    pub file: Option<Arc<Path>>,
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
    let mut reader = Reader::new(path, apex);
    match reader.load(path) {
        Ok(text) => reader.text(&text),
        Err(what) => reader.problems.push(Problem { file: Some(path.to_owned()), line: None, what }),
    }
    (reader.entries, reader.problems)
}

/// As [`read`], for a text that is at hand; `path` is named in problems, and included files lie beside it.
pub fn parse(text: &str, path: &Path, apex: &Name) -> (Vec<Entry>, Vec<Problem>) {
    let mut reader = Reader::new(path, apex);
    reader.text(text);
    (reader.entries, reader.problems)
}

/// What earlier entries say about later ones.
#[derive(Clone, Debug)]
struct State {
    file: Arc<Path>,
    /// Where `$ORIGIN` points, in wire form.
    origin: Vec<u8>,
    owner: Option<Box<[u8]>>,
    /// What `$TTL` said (RFC 2308 §4).
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
}

struct Reader {
    state: State,
    /// Files that are open: the zone file, and those that include the one at hand.
    open: Vec<PathBuf>,
    /// Bytes of all files that may still be read.
    bytes_left: u64,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    /// There were more records than a zone may have, which is said once.
    overflow: bool,
}

impl Reader {
    fn new(path: &Path, apex: &Name) -> Self {
        let origin = apex.wire().to_vec();
        let state = State { file: path.into(), origin, owner: None, default_ttl: None, last_ttl: None };
        Self {
            state,
            open: vec![canonical(path)],
            bytes_left: limits::ZONE_FILE_BYTES,
            entries: Vec::new(),
            problems: Vec::new(),
            overflow: false,
        }
    }

    /// The text of a file, counted against what a zone may read in all.
    fn load(&mut self, path: &Path) -> Result<String, String> {
        let unreadable = |error: std::io::Error| format!("the zone file cannot be read: {error}");
        let data = std::fs::metadata(path).map_err(unreadable)?;
        if !data.is_file() {
            return Err("the zone file is no ordinary file".to_owned());
        }
        if data.len() > self.bytes_left {
            let (size, most) = (data.len(), limits::ZONE_FILE_BYTES);
            return Err(format!(
                "the zone file has {size} bytes, at most {most} are read, included files too: split the zone"
            ));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        self.bytes_left = self.bytes_left.saturating_sub(text.len() as u64);
        Ok(text)
    }

    fn text(&mut self, text: &str) {
        for (line, entry) in logical_lines(text) {
            if let Err(what) = entry.and_then(|entry| self.entry(line, &entry)) {
                let file = Some(self.state.file.to_path_buf());
                self.problems.push(Problem { file, line: Some(line), what });
            }
        }
    }

    fn entry(&mut self, line: usize, entry: &str) -> Result<(), String> {
        let (word, rest) = token(entry);
        if word.is_empty() {
            return Ok(());
        }
        if entry.starts_with([' ', '\t']) || !word.starts_with('$') {
            return self.record(line, entry);
        }
        match word.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                self.state.origin = self.name(only_word(rest, "$ORIGIN")?)?;
                Ok(())
            }
            "$TTL" => {
                let text = only_word(rest, "$TTL")?;
                let ttl = parse_ttl(text).ok_or_else(|| format!("$TTL {text:?} is no time"))?;
                self.state.default_ttl = Some(ttl);
                Ok(())
            }
            "$INCLUDE" => self.include(rest),
            "$GENERATE" => {
                let generate = generate::Generate::parse(rest)?;
                if self.entries.len() + generate.count() > limits::ZONE_RECORDS {
                    return Err(too_many_records());
                }
                generate.entries().try_for_each(|text| self.record(line, &text?))
            }
            other => Err(format!("{other} is no known directive: $ORIGIN, $TTL, $INCLUDE and $GENERATE are")),
        }
    }

    /// `$INCLUDE file [origin]`: a path beside the file that has the line. What the included file says of origin, owner
    /// and TTL ends with it (RFC 1035 §5.1).
    fn include(&mut self, text: &str) -> Result<(), String> {
        let (path, rest) = token(text);
        if path.is_empty() {
            return Err("$INCLUDE needs the path of a file".to_owned());
        }
        let origin = match token(rest) {
            ("", _) => self.state.origin.clone(),
            (origin, rest) if token(rest).0.is_empty() => self.name(origin)?,
            _ => return Err("$INCLUDE has a path, perhaps an origin, and nothing else".to_owned()),
        };
        let path = unquoted(path);
        let beside = self.state.file.parent().unwrap_or(Path::new("")).join(&path);
        if self.open.len() > limits::ZONE_INCLUDES {
            let most = limits::ZONE_INCLUDES;
            return Err(format!("$INCLUDE {path:?} is nested deeper than {most}: include it from above"));
        }
        let canonical = canonical(&beside);
        if self.open.contains(&canonical) {
            return Err(format!("$INCLUDE {path:?} would include itself"));
        }
        let text = self.load(&beside).map_err(|what| format!("$INCLUDE {path:?}: {what}"))?;
        let inner = State { file: beside.into(), origin, ..self.state.clone() };
        let outer = std::mem::replace(&mut self.state, inner);
        self.open.push(canonical);
        self.text(&text);
        self.open.pop();
        self.state = outer;
        Ok(())
    }

    fn record(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (owner, rest) = match text.starts_with([' ', '\t']) {
            true => {
                let owner = self.state.owner.clone();
                (owner.ok_or("the first record must name its owner")?.into_vec(), text)
            }
            false => {
                let (owner, rest) = token(text);
                (self.name(owner)?, rest)
            }
        };
        let owner: Box<[u8]> = owner.to_ascii_lowercase().into();
        self.state.owner = Some(owner.clone());
        let fields = Fields::parse(rest)?;
        let ttl = match fields.ttl.or(self.state.default_ttl).or(self.state.last_ttl) {
            Some(ttl) => ttl,
            // The SOA's own MINIMUM was the default before $TTL was (RFC 1035 §5.1, RFC 2308 §4).
            None => fields.soa_minimum().ok_or("the record has no TTL: write one, or a $TTL line above")?,
        };
        let rdata = fields.data(&self.state.origin)?;
        self.state.last_ttl = Some(ttl);
        if self.entries.len() >= limits::ZONE_RECORDS {
            return if std::mem::replace(&mut self.overflow, true) {
                Ok(())
            } else {
                Err(too_many_records())
            };
        }
        let file = Some(Arc::clone(&self.state.file));
        self.entries.push(Entry { owner, rtype: fields.rtype, ttl, rdata: rdata.into(), file, line });
        Ok(())
    }

    /// A name in wire form, relative ones below the origin.
    fn name(&self, text: &str) -> Result<Vec<u8>, String> {
        record::name(text, &self.state.origin)
    }
}

fn too_many_records() -> String {
    format!("a zone may have {} records, this one has more", limits::ZONE_RECORDS)
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The first word and what follows it. A word ends at white space that is neither quoted nor escaped.
fn token(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn only_word<'t>(text: &'t str, directive: &str) -> Result<&'t str, String> {
    match token(text) {
        ("", _) => Err(format!("{directive} needs a value")),
        (word, rest) if token(rest).0.is_empty() => Ok(word),
        _ => Err(format!("{directive} has one value")),
    }
}

/// A word without its quotes and escapes.
fn unquoted(word: &str) -> String {
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {}
            '\\' => text.extend(chars.next()),
            other => text.push(other),
        }
    }
    text
}

/// A time in seconds, or in units such as `1h30m`.
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
    // RFC 2181 §8.
    (all <= i32::MAX as u32).then_some(all)
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
                // A line's end cannot be escaped.
                if !chars.as_str().starts_with('\n') {
                    entry.extend(chars.next());
                }
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
    use super::super::names::text_of;
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
$GENERATE 1-9 h$ A 192.0.2.30$
d DNAME
$INCLUDE x
e CH TXT \"x\"
f TXT \"open
g A 192.0.2.2
$FOO
h NOTYPE x
x RRSIG A 13 2 60 20300101000000 20200101000000 1 k. aa==
x ANAME y
x 99999999999 A 192.0.2.1
x A \\# 3 010203
x LOC 51 30 12.748 N 0 7 39.611 W 0m
a..b A 192.0.2.1
i A (192.0.2.3
";
        let (entries, problems) = parsed(text);
        let owners: Vec<String> = entries.iter().map(|entry| text_of(&entry.owner)).collect();
        assert_eq!(owners, ["b.kafka.example.", "g.kafka.example."]);
        let lines: Vec<&str> = problems.iter().map(|p| p.split(':').nth(1).unwrap()).collect();
        let want = ["2", "4", "5", "6", "7", "8", "10", "11", "12", "13", "14", "15", "16", "17", "18"];
        assert_eq!(lines, want, "{problems:#?}");
        for (at, word) in
            [(1, "192.0.2.301"), (7, "TYPE<number>"), (8, "leave them out"), (12, "LOC \\# <bytes>")]
        {
            assert!(problems[at].contains(word), "{word}: {}", problems[at]);
        }
    }

    /// Every type that operators put into zone files, as it is read today: what stops being read, or starts to be,
    /// shows here.
    #[test]
    fn types_that_can_be_read() {
        let all = [
            "A 192.0.2.1",
            "AAAA 2001:db8::1",
            "AFSDB 1 host",
            "CAA 0 issue \"ca.example\"",
            "CDNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
            "CDS 0 0 0 00",
            "CLASS1 TXT x",
            "CNAME other",
            "DNAME x",
            "DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
            "DS 60485 5 1 2BB183AF5F22588179A53B0A 98631FAD1A292118",
            "HINFO a b",
            "HTTPS 1 . alpn=h2 port=8443 ipv4hint=192.0.2.1",
            "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
            "KX 10 host",
            "LOC \\# 16 00121613888CF9D08028B0C400989680",
            "MINFO a b",
            "MX 10 mail",
            "NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.example.com.",
            "NS ns1",
            "OPENPGPKEY mQINBFo=",
            "PTR host.example.",
            "RP admin.example. text.example.",
            "SMIMEA 3 0 0 0123456789abcdef",
            "SPF \"v=spf1 -all\"",
            "SRV 0 0 9092 host",
            "SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789a0",
            "SVCB 1 foo.example. port=8053",
            "TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "TXT \"a b\" c\\200",
            "TYPE65280 \\# 3 aa bbcc",
            "TYPE65280 \\# 0",
            "TYPE1 \\# 4 c0000201",
            "A \\# 4 (c000 0201)",
            "ZONEMD 2018031900 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ];
        for record in all {
            let (entries, problems) = parsed(&format!("x 60 IN {record}\n").replace("IN CLASS1", "CLASS1"));
            assert_eq!((entries.len(), problems.len()), (1, 0), "{record}: {problems:?}");
        }
        assert_eq!(&parsed("x 1 AFSDB 1 h\n").0[0].rdata[..], b"\x00\x01\x01h\x05kafka\x07example\x00");
        assert_eq!((parse_ttl("1h30m"), parse_ttl("x"), parse_ttl("99999999999")), (Some(5400), None, None));
    }

    #[test]
    fn ttls_come_from_the_record_the_directive_the_last_record_or_the_soa() {
        let soa = "@ SOA ns1 host 7 1h 10m 1d 3m\n";
        let ttls = |text: &str| parsed(text).0.iter().map(|entry| entry.ttl).collect::<Vec<u32>>();
        assert_eq!(
            ttls(&format!("{soa}a A 192.0.2.1\nb 9 A 192.0.2.1\nc IN A 192.0.2.1\n")),
            [180, 180, 9, 9]
        );
        assert_eq!(ttls("$TTL 5\na IN 1m A 192.0.2.1\nb A 192.0.2.1\n"), [60, 5]);
        assert!(parsed("a A 192.0.2.1\n").1[0].contains("no TTL"));
        let times = &parsed(soa).0[0].rdata;
        assert_eq!(times[times.len() - 16..], [3600u32, 600, 86_400, 180].map(u32::to_be_bytes).concat());
    }

    #[test]
    fn escapes_and_long_names_are_read_and_too_long_ones_are_not() {
        let (entries, problems) = parsed("a\\.b\\032\\065 60 TXT x\n\\064 60 TXT x\n");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            &entries[0].owner[..],
            b"\x05a.b a\x05kafka\x07example\x00",
            "a dot, a space and a letter"
        );
        assert_eq!(entries[1].owner[..2], *b"\x01@", "no origin");
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(47));
        assert_eq!(parsed(&format!("{long} 60 TXT x\n")).0[0].owner.len(), 255);
        assert!(parsed(&format!("{long}a 60 TXT x\n")).1[0].contains("is no name"));
        assert!(parsed(&format!("{label}a 60 TXT x\n")).1[0].contains("is no name"));
    }

    /// Files in a folder of their own; the first is read.
    fn read_files(files: &[(&str, &str)]) -> (Vec<Entry>, Vec<String>) {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (entries, problems) = read(&folder.path().join(files[0].0), &Name::parse("k.example").unwrap());
        let prefix = format!("{}/", folder.path().display());
        (entries, problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect())
    }

    #[test]
    fn an_at_sign_is_the_origin_where_a_name_stands() {
        let (entries, problems) = parsed("$ORIGIN \\(a\\@.b.\nx 1 MX 5 @\nx 1 TXT @ \\@\n");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(&entries[0].rdata[..], b"\x00\x05\x03(a@\x01b\x00");
        assert_eq!(&entries[1].rdata[..], b"\x01@\x01@");
    }

    #[test]
    fn included_files_lie_beside_the_file_and_name_their_own_lines() {
        let (entries, problems) = read_files(&[
            ("z", "$TTL 9\n@ TXT 1\n$INCLUDE sub/a in ; of a\n  TXT 3\nrel TXT 4\n"),
            ("sub/a", "$INCLUDE \"b c\"\n$TTL 7\n$ORIGIN deeper\nx TXT 2\n\nbad A x\n"),
            ("sub/b c", "@ TXT b\n$INCLUDE ../z\n$INCLUDE gone\n"),
        ]);
        let seen: Vec<(String, u32, usize)> =
            entries.iter().map(|e| (text_of(&e.owner), e.ttl, e.line)).collect();
        let want = [
            ("k.example.", 9, 2),
            ("in.k.example.", 9, 1),
            ("x.deeper.in.k.example.", 7, 4),
            ("k.example.", 9, 4),
            ("rel.k.example.", 9, 5),
        ];
        assert_eq!(seen, want.map(|(owner, ttl, line)| (owner.to_owned(), ttl, line)));
        assert_eq!(problems.len(), 3, "{problems:?}");
        let begins = |at: usize, with: &str| assert!(problems[at].starts_with(with), "{problems:?}");
        begins(0, "sub/b c:2: $INCLUDE \"../z\" would include itself");
        begins(1, "sub/b c:3: $INCLUDE \"gone\": the zone file cannot be read");
        begins(2, "sub/a:6: ");
    }

    #[test]
    fn inclusion_and_series_have_an_end() {
        let names: Vec<String> = (0..10).map(|at| format!("f{at}")).collect();
        let texts: Vec<String> = (1..11).map(|at| format!("a{at} 1 TXT x\n$INCLUDE f{at}\n")).collect();
        let files: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let (entries, problems) = read_files(&files);
        assert_eq!(entries.len(), 1 + limits::ZONE_INCLUDES);
        assert!(problems[0].starts_with("f8:2: ") && problems[0].contains("nested deeper"), "{problems:?}");
        let (entries, problems) = parsed("$TTL 1\n$GENERATE 1-65536 h${0,5} CNAME t$\n");
        assert_eq!((entries.len(), problems), (65_536, vec![]));
        let mut full = Reader::new(Path::new("z"), &Name::parse("k.example").unwrap());
        full.entries = vec![entries[0].clone(); limits::ZONE_RECORDS - 2];
        full.text("a 1 TXT x\n$GENERATE 1-2 h$ TXT x\nb 1 TXT x\nc 1 TXT x\nd 1 TXT x\n");
        let lines: Vec<Option<usize>> = full.problems.iter().map(|problem| problem.line).collect();
        assert_eq!((full.entries.len(), lines), (limits::ZONE_RECORDS, vec![Some(2), Some(4)]), "said once");
    }
}
