//! TSIG (RFC 8945): messages signed with a shared secret, checked and made. It is what lets a secondary copy a zone,
//! and nobody else. Bytes, keys and the time come in as arguments; nothing here does I/O.

use super::base64;
use super::names::{Name, text_of};
use super::wire::{HEADER, rtype};
use crate::limits::dns as limits;
use ring::hmac;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

/// Class ANY, which the record always has.
const CLASS_ANY: [u8; 2] = [0, 255];
/// Seconds by which the clocks of the two sides may differ (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Time signed and fudge.
const TIMERS: usize = 8;

/// What is wrong with a signature (the record's own error field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the registry's own names
pub enum Fault {
    BadSig = 16,
    BadKey = 17,
    BadTime = 18,
    BadTrunc = 22,
}

/// A keyed hash that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`, which everybody has to speak.
    Sha256,
    /// `hmac-sha384`.
    Sha384,
    /// `hmac-sha512`.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name that configurations use; as a domain name it is also what messages carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    const fn wire(self) -> &'static [u8] {
        match self {
            Self::Sha256 => b"\x0bhmac-sha256\x00",
            Self::Sha384 => b"\x0bhmac-sha384\x00",
            Self::Sha512 => b"\x0bhmac-sha512\x00",
        }
    }

    fn hash(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    const fn mac_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A shared secret and its name. Nothing prints the secret.
pub struct Key {
    /// In wire form, lower case: the canonical form that is hashed.
    name: Box<[u8]>,
    algorithm: Algorithm,
    secret: hmac::Key,
}

/// Why a key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The name is no domain name.
    #[error("the TSIG key name {0:?} is no domain name")]
    Name(String),
    /// The secret is no base64.
    #[error(
        "the secret of the TSIG key {0} is no base64: write what `tsig-keygen` or `keymgr -t` prints as secret"
    )]
    Base64(String),
    /// The secret is too short to be one.
    #[error("the secret of the TSIG key {0} has {1} bytes, {least} are the least: make one with `tsig-keygen`", least = limits::TSIG_SECRET)]
    Short(String, usize),
    /// Two keys of one name.
    #[error("the TSIG key {0} is there twice: keep one")]
    Twice(String),
}

impl Key {
    /// A key by its name and its secret in base64, as every name server's configuration has them.
    pub fn new(name: &str, algorithm: Algorithm, secret: &str) -> Result<Self, BadKey> {
        let wire = Name::parse(name).map_err(|_| BadKey::Name(name.to_owned()))?;
        let bytes = base64::decode(secret).ok_or_else(|| BadKey::Base64(name.to_owned()))?;
        if bytes.len() < limits::TSIG_SECRET {
            return Err(BadKey::Short(name.to_owned(), bytes.len()));
        }
        Ok(Self { name: wire.wire().into(), algorithm, secret: hmac::Key::new(algorithm.hash(), &bytes) })
    }

    /// Its name, with a final dot.
    pub fn name(&self) -> String {
        text_of(&self.name)
    }

    /// Most bytes that a record signed with it takes: with the time of a BADTIME.
    fn record_len(&self) -> usize {
        self.name.len() + 10 + self.algorithm.wire().len() + 16 + self.algorithm.mac_len() + 6
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), text_of(&self.name))
    }
}

/// The keys that are known.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// These keys; no two may have one name.
    pub fn new(keys: Vec<Key>) -> Result<Self, BadKey> {
        for (index, key) in keys.iter().enumerate() {
            if keys.iter().take(index).any(|other| other.name == key.name) {
                return Err(BadKey::Twice(key.name()));
            }
        }
        Ok(Self(keys.into_iter().map(Arc::new).collect()))
    }

    /// The key of this name, such as `fp-xfer`.
    pub fn get(&self, name: &str) -> Option<&Arc<Key>> {
        let name = Name::parse(name).ok()?;
        self.0.iter().find(|key| *key.name == *name.wire())
    }

    /// Checks the signature of a request whose TSIG record begins at `at`; `now` is in seconds since 1970.
    /// What comes back signs the answer, or says how it is to be refused.
    pub fn check(&self, packet: &[u8], at: usize, now: u64) -> Result<Signer, Refusal> {
        let record = Record::read(packet, at).ok_or(Refusal::Malformed)?;
        let unsigned = |fault| Refusal::Unsigned { fault, record: record.unsigned(fault) };
        let wanted = |key: &&Arc<Key>| {
            *key.name == *record.key.wire() && key.algorithm.wire() == record.algorithm.wire()
        };
        let Some(key) = self.0.iter().find(wanted) else { return Err(unsigned(Fault::BadKey)) };
        let whole = key.algorithm.mac_len();
        if record.mac.len() > whole || record.mac.len() < (whole / 2).max(10) {
            return Err(Refusal::Malformed);
        }
        let data = input(&[], packet, at, &record, true);
        if !is_mac(key, &data, record.mac) {
            return Err(unsigned(Fault::BadSig));
        }
        let signer = |time, fault| Signer {
            key: Arc::clone(key),
            mac: record.mac.to_vec(),
            id: record.id,
            time,
            fault,
            other: Vec::new(),
            chained: false,
        };
        if now.abs_diff(record.time) > u64::from(record.fudge) {
            let other = now.to_be_bytes().get(2..).unwrap_or_default().to_vec();
            let signer = Signer { other, ..signer(record.time, Some(Fault::BadTime)) };
            return Err(Refusal::Signed { fault: Fault::BadTime, signer });
        }
        if record.mac.len() < whole {
            let signer = signer(now, Some(Fault::BadTrunc));
            return Err(Refusal::Signed { fault: Fault::BadTrunc, signer });
        }
        Ok(signer(now, None))
    }
}

/// How a request is refused whose signature does not hold.
#[derive(Debug)]
pub enum Refusal {
    /// FORMERR: it is no TSIG record as RFC 8945 §5.2 has it.
    Malformed,
    /// NOTAUTH with this record behind it: who does not know the secret gets nothing signed.
    Unsigned {
        /// What is wrong.
        fault: Fault,
        /// The record for the answer.
        record: Vec<u8>,
    },
    /// NOTAUTH, signed: the peer knows the secret.
    Signed {
        /// What is wrong.
        fault: Fault,
        /// Signs the answer.
        signer: Signer,
    },
}

/// Signs messages of one exchange, each with the MAC of the one before in its own.
#[derive(Debug)]
pub struct Signer {
    key: Arc<Key>,
    mac: Vec<u8>,
    id: u16,
    time: u64,
    fault: Option<Fault>,
    other: Vec<u8>,
    /// Whether one answer was signed: later ones hash only the timers beside the message (RFC 8945 §5.3.1).
    chained: bool,
}

impl Signer {
    /// For a request of our own; `id` is its message id, `now` in seconds since 1970.
    pub fn of_request(key: Arc<Key>, id: u16, now: u64) -> Self {
        Self { key, mac: Vec::new(), id, time: now, fault: None, other: Vec::new(), chained: false }
    }

    /// The key that the exchange is signed with.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Most bytes that a signature adds to a message.
    pub fn room(&self) -> usize {
        self.key.record_len()
    }

    /// The record that signs `message`, to be put behind it with [`append`]. `now` is the time of this message.
    pub fn sign(&mut self, message: &[u8], now: u64) -> Vec<u8> {
        if self.fault.is_none() {
            self.time = now;
        }
        let record = Record {
            key: Name::read(&self.key.name).map_or(Name::ROOT, |(name, _)| name),
            algorithm: Name::read(self.key.algorithm.wire()).map_or(Name::ROOT, |(name, _)| name),
            time: self.time,
            fudge: FUDGE,
            mac: &[],
            id: self.id,
            error: self.fault.map_or(0, |fault| fault as u16),
            other: &self.other,
        };
        let data = input(&self.mac, message, message.len(), &record, !self.chained);
        let mac = hmac::sign(&self.key.secret, &data);
        let bytes = Record { mac: mac.as_ref(), ..record }.write();
        self.mac = mac.as_ref().to_vec();
        self.chained = true;
        bytes
    }

    /// Whether `reply`, whose TSIG record begins at `at`, is the answer to the request that was signed last.
    pub fn answers(&self, reply: &[u8], at: usize, now: u64) -> bool {
        let Some(record) = Record::read(reply, at) else { return false };
        let ours = *record.key.wire() == *self.key.name
            && record.algorithm.wire() == self.key.algorithm.wire()
            && record.mac.len() == self.key.algorithm.mac_len();
        ours && now.abs_diff(record.time) <= u64::from(record.fudge)
            && is_mac(&self.key, &input(&self.mac, reply, at, &record, true), record.mac)
    }
}

/// Puts a TSIG record behind the message that fills `out` up to `len`; the new length, 0 if there is no room.
pub fn append(out: &mut [u8], len: usize, record: &[u8]) -> usize {
    let end = len + record.len();
    let Some(room) = out.get_mut(len..end) else { return 0 };
    room.copy_from_slice(record);
    if let Some([_, _, _, _, _, _, _, _, _, _, high, low]) = out.first_chunk_mut::<HEADER>() {
        [*high, *low] = u16::from_be_bytes([*high, *low]).saturating_add(1).to_be_bytes();
    }
    end
}

/// A TSIG record, read.
struct Record<'m> {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    /// The id that the message had before somebody on the way changed it.
    id: u16,
    error: u16,
    other: &'m [u8],
}

impl<'m> Record<'m> {
    /// Reads the record at `at`, which must end with the packet (RFC 8945 §5.1: it is the last one).
    fn read(packet: &'m [u8], at: usize) -> Option<Self> {
        let (key, took) = Name::read(packet.get(at..)?).ok()?;
        let rest = packet.get(at + took..)?;
        let (fixed, rest) = rest.split_first_chunk::<10>()?;
        let [t1, t2, c1, c2, ttl @ .., l1, l2] = fixed;
        let is_tsig = u16::from_be_bytes([*t1, *t2]) == rtype::TSIG && [*c1, *c2] == CLASS_ANY;
        if !is_tsig || ttl != &[0; 4] || rest.len() != usize::from(u16::from_be_bytes([*l1, *l2])) {
            return None;
        }
        let (algorithm, took) = Name::read(rest).ok()?;
        let (fixed, rest) = rest.get(took..)?.split_first_chunk::<10>()?;
        let [s1, s2, s3, s4, s5, s6, f1, f2, m1, m2] = *fixed;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([m1, m2])))?;
        let (fixed, other) = rest.split_first_chunk::<6>()?;
        let [i1, i2, e1, e2, o1, o2] = *fixed;
        (other.len() == usize::from(u16::from_be_bytes([o1, o2]))).then_some(Self {
            key,
            algorithm,
            time: u64::from_be_bytes([0, 0, s1, s2, s3, s4, s5, s6]),
            fudge: u16::from_be_bytes([f1, f2]),
            mac,
            id: u16::from_be_bytes([i1, i2]),
            error: u16::from_be_bytes([e1, e2]),
            other,
        })
    }

    /// What answers it when the peer has not shown that it knows the secret: no MAC, its own time (RFC 8945 §5.3.2).
    fn unsigned(&self, fault: Fault) -> Vec<u8> {
        let (key, algorithm) = (self.key.clone(), self.algorithm.clone());
        Record { key, algorithm, mac: &[], error: fault as u16, other: &[], ..*self }.write()
    }

    fn write(&self) -> Vec<u8> {
        let mac_len = (self.mac.len() as u16).to_be_bytes();
        let tail = [self.id, self.error, self.other.len() as u16].map(u16::to_be_bytes).concat();
        let data = [self.algorithm.wire(), &self.timers(), &mac_len, self.mac, &tail, self.other].concat();
        let head = [&rtype::TSIG.to_be_bytes()[..], &CLASS_ANY, &[0; 4], &(data.len() as u16).to_be_bytes()];
        [self.key.wire(), &head.concat(), &data].concat()
    }

    fn timers(&self) -> [u8; TIMERS] {
        let [_, _, s1, s2, s3, s4, s5, s6] = self.time.to_be_bytes();
        let [f1, f2] = self.fudge.to_be_bytes();
        [s1, s2, s3, s4, s5, s6, f1, f2]
    }
}

/// What is hashed (RFC 8945 §4.3): the MAC before, the message as it was before it was signed, and of the record
/// everything but the MAC, or its timers alone.
fn input(before: &[u8], packet: &[u8], end: usize, record: &Record<'_>, whole: bool) -> Vec<u8> {
    let mut data = Vec::with_capacity(before.len() + end + 128);
    if !before.is_empty() {
        data.extend_from_slice(&(before.len() as u16).to_be_bytes());
        data.extend_from_slice(before);
    }
    if let Some([_, _, fixed @ .., a1, a2]) = packet.first_chunk::<HEADER>() {
        let count = u16::from_be_bytes([*a1, *a2]);
        // A message that is being signed does not count the record yet; one that came does.
        let count = if end < packet.len() { count.saturating_sub(1) } else { count };
        data.extend_from_slice(&record.id.to_be_bytes());
        data.extend_from_slice(fixed);
        data.extend_from_slice(&count.to_be_bytes());
    }
    data.extend_from_slice(packet.get(HEADER..end).unwrap_or_default());
    if !whole {
        data.extend_from_slice(&record.timers());
        return data;
    }
    data.extend_from_slice(record.key.wire());
    data.extend_from_slice(&CLASS_ANY);
    data.extend_from_slice(&[0; 4]);
    data.extend_from_slice(record.algorithm.wire());
    data.extend_from_slice(&record.timers());
    data.extend_from_slice(&record.error.to_be_bytes());
    data.extend_from_slice(&(record.other.len() as u16).to_be_bytes());
    data.extend_from_slice(record.other);
    data
}

/// Whether `mac` is the MAC of `data` or a beginning of it, in a time that does not tell where they differ.
fn is_mac(key: &Key, data: &[u8], mac: &[u8]) -> bool {
    if mac.len() == key.algorithm.mac_len() {
        return hmac::verify(&key.secret, data, mac).is_ok();
    }
    let right = hmac::sign(&key.secret, data);
    let differ = right.as_ref().iter().zip(mac).fold(0, |sum, (one, other)| black_box(sum | (one ^ other)));
    differ == 0 && !mac.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::wire::check::query;
    use super::*;

    const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
    const NOW: u64 = 1_800_000_000;

    fn keys() -> Keys {
        let key = |name, algorithm| Key::new(name, algorithm, SECRET).unwrap();
        Keys::new(vec![key("Fp-Xfer.", Algorithm::Sha256), key("other", Algorithm::Sha512)]).unwrap()
    }

    /// A signed query and where its record begins.
    fn signed(name: &str, time: u64) -> (Vec<u8>, usize, Signer) {
        let mut packet = query("k.example", rtype::SOA, Some(1232));
        let len = packet.len();
        let mut signer = Signer::of_request(Arc::clone(keys().get(name).unwrap()), 0xabcd, time);
        let record = signer.sign(&packet, time);
        packet.resize(len + record.len(), 0);
        assert_eq!(append(&mut packet, len, &record), len + record.len());
        (packet, len, signer)
    }

    #[test]
    fn a_request_and_its_answers_form_a_chain() {
        for name in ["fp-xfer", "OTHER."] {
            let (packet, at, client) = signed(name, NOW - 100);
            let mut server = keys().check(&packet, at, NOW).unwrap();
            let mut reply = query("k.example", rtype::SOA, None);
            reply[2] |= 0x80;
            let len = reply.len();
            let record = server.sign(&reply, NOW);
            reply.resize(len + record.len(), 0);
            append(&mut reply, len, &record);
            assert!(record.len() <= server.room());
            assert!(client.answers(&reply, len, NOW));
            assert!(!client.answers(&reply, len, NOW + 301), "too late");
            let second = server.sign(&reply[..len], NOW);
            assert_ne!(second, record, "the second message hashes the first one's MAC");
            reply[13] ^= 1;
            assert!(!client.answers(&reply, len, NOW), "a changed byte");
        }
    }

    #[test]
    fn what_was_changed_forged_or_kept_too_long_is_refused_with_its_code() {
        let fault = |packet: &[u8], at: usize, now: u64| match keys().check(packet, at, now) {
            Ok(_) => None,
            Err(Refusal::Malformed) => Some((0, false)),
            Err(Refusal::Unsigned { fault, record }) => {
                assert_eq!(Record::read(&record, 0).unwrap().mac, [0; 0]);
                Some((fault as u16, false))
            }
            Err(Refusal::Signed { fault, .. }) => Some((fault as u16, true)),
        };
        let (good, at, _) = signed("fp-xfer", NOW);
        assert_eq!(fault(&good, at, NOW + 300), None);
        assert_eq!(fault(&good, at, NOW + 301), Some((18, true)));
        assert_eq!(fault(&good, at, NOW - 301), Some((18, true)));
        for index in (2..at).chain(at + 22..good.len()) {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            assert!(fault(&bad, at, NOW).is_some(), "byte {index}");
        }
        let mut renumbered = good.clone();
        renumbered[0] ^= 0xff;
        assert_eq!(fault(&renumbered, at, NOW), None, "the original id counts");
        let mut stranger = good.clone();
        stranger[at + 1] = b'x';
        assert_eq!(fault(&stranger, at, NOW), Some((17, false)));
        for cut in 0..good.len() - at {
            assert_eq!(fault(&good[..at + cut], at, NOW), Some((0, false)), "cut at {cut}");
        }
    }

    #[test]
    fn a_shortened_mac_is_refused_even_if_it_is_right() {
        let (packet, at, _) = signed("fp-xfer", NOW);
        let record = Record::read(&packet, at).unwrap();
        let cut = |len: usize| {
            let (key, algorithm) = (record.key.clone(), record.algorithm.clone());
            let short = Record { key, algorithm, mac: &record.mac[..len], ..record }.write();
            keys().check(&[&packet[..at], &short].concat(), at, NOW)
        };
        assert!(matches!(cut(31), Err(Refusal::Signed { fault: Fault::BadTrunc, .. })));
        assert!(matches!(cut(16), Err(Refusal::Signed { fault: Fault::BadTrunc, .. })));
        assert!(matches!(cut(15), Err(Refusal::Malformed)), "less than half");
        assert!(matches!(cut(0), Err(Refusal::Malformed)));
    }

    #[test]
    fn secrets_are_base64_and_never_printed() {
        assert_eq!(base64::decode("Zm9vYmE=").unwrap(), b"fooba");
        assert_eq!(base64::decode("Zm9vYg==").unwrap(), b"foob");
        assert_eq!(base64::decode("/+8").unwrap(), [0xff, 0xef]);
        for bad in ["Zm9v!mE=", "A", "Zm9vY", "Zm 9v"] {
            assert_eq!(base64::decode(bad), None, "{bad}");
        }
        assert!(matches!(Key::new("k", Algorithm::Sha256, "Zm9v"), Err(BadKey::Short(_, 3))));
        let twice = vec![
            Key::new("a", Algorithm::Sha256, SECRET).unwrap(),
            Key::new("A.", Algorithm::Sha512, SECRET).unwrap(),
        ];
        assert!(matches!(Keys::new(twice), Err(BadKey::Twice(_))));
        assert_eq!(format!("{:?}", keys().get("fp-xfer").unwrap()), "hmac-sha256 fp-xfer.");
    }
}
