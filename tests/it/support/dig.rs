//! `dig` and `kdig`: run, and parsed as far as tests look.

use super::{run, tool};
use std::net::SocketAddr;

/// What dig printed, parsed.
#[derive(Debug, Default)]
pub struct Dig {
    /// `NOERROR`, `NXDOMAIN`, ...; empty if no answer came.
    pub status: String,
    /// `QUERY`, ...
    pub opcode: String,
    /// `qr`, `aa`, `tc`, ...
    pub flags: Vec<String>,
    /// The question: name, class, type.
    pub question: Vec<String>,
    /// The answer section.
    pub answer: Vec<Rr>,
    /// The authority section.
    pub authority: Vec<Rr>,
    /// The additional section, without OPT.
    pub additional: Vec<Rr>,
    /// The lines of the OPT pseudo-section, such as `EDNS: version: 0, flags:; udp: 1232`.
    pub opt: Vec<String>,
    /// The message's size in bytes.
    pub size: usize,
    /// Whatever dig found odd: warnings, extra bytes, time-outs, wrong ids.
    pub warnings: Vec<String>,
    /// dig's exit code: 0 whenever some answer came.
    pub code: i32,
    /// All that it printed, for messages.
    pub text: String,
}

/// One record as dig prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rr {
    /// Owner, as sent, with its final dot.
    pub name: String,
    /// TTL in seconds.
    pub ttl: u32,
    /// `IN`, ...
    pub class: String,
    /// `A`, ...
    pub kind: String,
    /// The rest, with single spaces.
    pub data: String,
}

impl Dig {
    /// The data of all answers of one type.
    pub fn data(&self, kind: &str) -> Vec<&str> {
        self.answer.iter().filter(|rr| rr.kind == kind).map(|rr| rr.data.as_str()).collect()
    }

    /// Whether a flag is set.
    pub fn flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }

    /// Fails the test if dig found anything odd.
    #[track_caller]
    pub fn clean(self) -> Self {
        assert!(self.warnings.is_empty(), "dig complains: {:#?}\n{}", self.warnings, self.text);
        self
    }
}

/// Asks `server` by `dig`, once, without recursion (an authoritative server makes dig warn otherwise). `arguments`
/// come last and win: `["vpc-1.prod.kafka.example", "AAAA", "+tcp"]`.
#[track_caller]
pub fn dig(server: SocketAddr, arguments: &[&str]) -> Dig {
    ask("dig", server, &["+tries=1", "+time=5", "+norecurse"], arguments)
}

/// Asks `server` by `kdig` (Knot): a second opinion, and the one that speaks DoT, DoH and DoQ.
#[track_caller]
pub fn kdig(server: SocketAddr, arguments: &[&str]) -> Dig {
    ask("kdig", server, &["+retry=0", "+time=5", "+norec"], arguments)
}

#[track_caller]
fn ask(program: &str, server: SocketAddr, defaults: &[&str], arguments: &[&str]) -> Dig {
    let mut command = tool(program);
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    command.args(defaults).args(arguments);
    let ran = run(program, &mut command);
    let mut dig = parse(&ran.stdout);
    dig.code = ran.code();
    dig.warnings.extend(ran.stderr.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    dig.text.push_str(&ran.stderr);
    dig
}

/// The sections of dig's (and kdig's) output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    Opt,
    Question,
    Answer,
    Authority,
    Additional,
}

fn parse(text: &str) -> Dig {
    let mut dig = Dig { text: text.to_owned(), ..Dig::default() };
    let mut section = Section::None;
    for line in text.lines() {
        if let Some(next) = heading(line) {
            section = next;
        } else if line.trim().is_empty() {
            section = Section::None;
        } else if line.contains("->>HEADER<<-") {
            header(&mut dig, line);
        } else if line.to_ascii_lowercase().starts_with(";; flags:") {
            let flags = line[";; flags:".len()..].split(';').next().unwrap_or_default();
            dig.flags = flags.split_whitespace().map(str::to_owned).collect();
        } else if let Some(size) = size(line) {
            dig.size = size;
        } else if is_odd(line) {
            dig.warnings.push(line.to_owned());
        } else {
            within(&mut dig, section, line);
        }
    }
    dig
}

fn heading(line: &str) -> Option<Section> {
    let title = line.strip_prefix(";; ")?.trim_end_matches(':').to_ascii_uppercase();
    match title.as_str() {
        "OPT PSEUDOSECTION" | "EDNS PSEUDOSECTION" => Some(Section::Opt),
        "QUESTION SECTION" => Some(Section::Question),
        "ANSWER SECTION" => Some(Section::Answer),
        "AUTHORITY SECTION" => Some(Section::Authority),
        "ADDITIONAL SECTION" => Some(Section::Additional),
        _ => None,
    }
}

fn header(dig: &mut Dig, line: &str) {
    for part in line.split([',', ';']) {
        let Some((key, value)) = part.rsplit_once(": ") else { continue };
        if key.ends_with("status") {
            dig.status = value.trim().to_owned();
        } else if key.ends_with("opcode") {
            dig.opcode = value.trim().to_owned();
        }
    }
}

/// `;; MSG SIZE  rcvd: 56` of dig, `;; Received 56 B` of kdig.
fn size(line: &str) -> Option<usize> {
    if let Some(rest) = line.strip_prefix(";; MSG SIZE") {
        return rest.rsplit(' ').next()?.parse().ok();
    }
    line.strip_prefix(";; Received ")?.strip_suffix(" B")?.parse().ok()
}

fn is_odd(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let signs = [
        "warning",
        "error:",
        "extra bytes",
        "bad packet",
        "malformed",
        "mismatch",
        "timed out",
        "no servers could be reached",
        "communications error",
        "connection refused",
        "truncated",
        "unexpected",
        "trailing",
        "short message",
        "invalid",
    ];
    lower.starts_with(";;") && signs.iter().any(|sign| lower.contains(sign))
}

fn within(dig: &mut Dig, section: Section, line: &str) {
    let records = match section {
        Section::None => return,
        Section::Opt => {
            dig.opt.push(line.trim_start_matches([';', ' ']).to_owned());
            return;
        }
        Section::Question => {
            let words = line.trim_start_matches([';', ' ']).split_whitespace();
            dig.question = words.map(str::to_owned).collect();
            return;
        }
        Section::Answer => &mut dig.answer,
        Section::Authority => &mut dig.authority,
        Section::Additional => &mut dig.additional,
    };
    match record(line) {
        Some(rr) => records.push(rr),
        None => dig.warnings.push(format!("a line that is no record: {line}")),
    }
}

fn record(line: &str) -> Option<Rr> {
    let mut words = line.split_whitespace();
    Some(Rr {
        name: words.next()?.to_owned(),
        ttl: words.next()?.parse().ok()?,
        class: words.next()?.to_owned(),
        kind: words.next()?.to_owned(),
        data: words.collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\n; <<>> DiG 9.18 <<>> @127.0.0.1 vpc-1.prod.kafka.example\n;; Got answer:\n\
        ;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711\n\
        ;; flags: qr aa; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1\n\n\
        ;; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n\
        ;; QUESTION SECTION:\n;vpc-1.prod.kafka.example.\tIN\tA\n\n\
        ;; ANSWER SECTION:\nvpc-1.prod.kafka.example. 5\tIN\tA\t10.0.1.17\n\
        vpc-1.prod.kafka.example. 5\tIN\tA\t10.0.1.18\n\n;; MSG SIZE  rcvd: 85\n";

    #[test]
    fn an_answer_is_read() {
        let dig = parse(ANSWER).clean();
        assert_eq!((dig.status.as_str(), dig.opcode.as_str(), dig.size), ("NOERROR", "QUERY", 85));
        assert_eq!(dig.flags, ["qr", "aa"]);
        assert_eq!(dig.question, ["vpc-1.prod.kafka.example.", "IN", "A"]);
        assert_eq!(dig.data("A"), ["10.0.1.17", "10.0.1.18"]);
        assert_eq!(dig.opt, ["EDNS: version: 0, flags:; udp: 1232"]);
    }

    #[test]
    fn kdig_prints_another_header() {
        let text = ";; ->>HEADER<<- opcode: QUERY; status: NXDOMAIN; id: 1\n\
            ;; Flags: qr aa; QUERY: 1; ANSWER: 0; AUTHORITY: 1; ADDITIONAL: 0\n\n\
            ;; AUTHORITY SECTION:\nkafka.example.\t2\tIN\tSOA\tns1.kafka.example. a. 1 2 3 4 5\n\n;; Received 90 B\n";
        let dig = parse(text).clean();
        assert_eq!((dig.status.as_str(), dig.size, dig.authority.len()), ("NXDOMAIN", 90, 1));
        assert!(dig.flag("aa"));
    }

    #[test]
    fn what_is_odd_is_kept() {
        for line in [
            ";; WARNING: recursion requested but not available",
            ";; Warning: Message parser reports malformed message packet.",
            ";; communications error to 127.0.0.1#5353: timed out",
            ";; no servers could be reached",
            ";; Truncated, retrying in TCP mode.",
        ] {
            assert_eq!(parse(line).warnings, [line]);
        }
    }
}
