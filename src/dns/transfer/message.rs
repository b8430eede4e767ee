//! One message of a transfer in the making: the question, then records until it is full enough, then the signature.
//! Owners end in a pointer to the question, which is the apex.

use crate::dns::wire::{CLASS_IN, HEADER, Query, Rcode};
use crate::limits::dns as limits;

/// Bytes of the length before a message on a stream.
const PREFIX: usize = 2;
/// An OPT without options, for those who speak EDNS: our size, version 0.
const OPT_LEN: usize = 11;

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Rr<'a> {
    /// Owner in wire form, at or below the apex.
    pub owner: &'a [u8],
    /// Type.
    pub rtype: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// Data in wire form, uncompressed.
    pub data: &'a [u8],
}

/// A message and the length before it.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
    records: u16,
    /// The apex as the question has it, in bytes.
    apex: usize,
    /// Set aside for OPT and signature.
    reserved: usize,
    opt: Option<bool>,
}

impl Message {
    /// An empty answer to a query for the apex, whose header and question are given; `reserved` bytes are kept for the
    /// signature.
    pub fn answer(question: &[u8], query: &Query, rcode: Rcode, reserved: usize) -> Self {
        let mut bytes = vec![0; PREFIX];
        bytes.extend_from_slice(question);
        if let Some([_, _, _, _, flags, code, _, _, an1, an2, ns1, ns2, ar1, ar2]) =
            bytes.first_chunk_mut::<{ PREFIX + HEADER }>()
        {
            let authoritative = if rcode == Rcode::NoError { 0x04 } else { 0 };
            (*flags, *code) = (0x80 | authoritative, rcode as u8);
            [*an1, *an2, *ns1, *ns2, *ar1, *ar2] = [0; 6];
        }
        let opt = query.edns.map(|edns| edns.dnssec_ok);
        let reserved = reserved + opt.map_or(0, |_| OPT_LEN);
        Self { bytes, records: 0, apex: query.name.wire().len(), reserved, opt }
    }

    /// Adds a record; `false` if it is to go into the next message.
    pub fn push(&mut self, rr: Rr<'_>) -> bool {
        let own = rr.owner.len().saturating_sub(self.apex);
        let size = own + 12 + rr.data.len();
        // The first one may be as large as a message can be, the others fill it as far as is sensible.
        let most = if self.records == 0 { limits::TCP_MESSAGE } else { limits::TRANSFER_FILL };
        if self.bytes.len() - PREFIX + size + self.reserved > most {
            return false;
        }
        self.bytes.extend_from_slice(rr.owner.get(..own).unwrap_or_default());
        self.bytes.extend_from_slice(&(0xc000 | HEADER as u16).to_be_bytes());
        self.bytes.extend_from_slice(&rr.rtype.to_be_bytes());
        self.bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.bytes.extend_from_slice(&rr.ttl.to_be_bytes());
        self.bytes.extend_from_slice(&(rr.data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(rr.data);
        self.records += 1;
        true
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The finished message with its length before it, signed by what `sign` puts behind it.
    pub fn finish(mut self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        if let Some(dnssec_ok) = self.opt {
            let [s1, s2] = (limits::UDP_ANSWER as u16).to_be_bytes();
            self.bytes.extend_from_slice(&[
                0,
                0,
                41,
                s1,
                s2,
                0,
                0,
                if dnssec_ok { 0x80 } else { 0 },
                0,
                0,
                0,
            ]);
        }
        let counts = [self.records, 0, u16::from(self.opt.is_some())].map(u16::to_be_bytes).concat();
        self.put(PREFIX + 6, &counts);
        let record = sign(self.bytes.get(PREFIX..).unwrap_or_default());
        self.bytes.extend_from_slice(&record);
        self.put(PREFIX + 10, &(u16::from(self.opt.is_some()) + 1).to_be_bytes());
        let len = u16::try_from(self.bytes.len() - PREFIX).unwrap_or(u16::MAX);
        self.put(0, &len.to_be_bytes());
        self.bytes
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}
