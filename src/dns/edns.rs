//! EDNS options (RFC 6891 §6.1.2): those of a query that mean something here, and those of its answer. What is not
//! known is passed over. Nothing is copied from a query before somebody asks for it.

/// Option codes. Values: IANA, "DNS EDNS0 Option Codes (OPT)".
mod code {
    pub(super) const NSID: u16 = 3;
    pub(super) const SUBNET: u16 = 8;
    pub(super) const COOKIE: u16 = 10;
    pub(super) const KEEPALIVE: u16 = 11;
    pub(super) const ERROR: u16 = 15;
}

/// Extended DNS Errors (RFC 8914 §4) that we give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ede {
    /// 0: an error without a code of its own.
    Other = 0,
    /// 3: what is answered is the last word of a registry that is lost.
    StaleAnswer = 3,
    /// 14: the registry was not read yet.
    NotReady = 14,
    /// 18: the client may not ask for this name.
    Prohibited = 18,
    /// 19: the same as 3, for a name that did not exist then.
    StaleNxDomain = 19,
    /// 20: the name is none of ours.
    NotAuthoritative = 20,
    /// 30: a type that no record has (RFC 9824 §3.5).
    InvalidType = 30,
}

/// Where an option's data lies in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u16,
    len: u16,
}

impl Span {
    /// The data.
    pub fn of(self, packet: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        packet.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// The options of a query that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client asks which server this is (RFC 5001).
    pub nsid: bool,
    /// The client asks how long it may keep the connection (RFC 7828).
    pub keepalive: bool,
    /// Its cookies (RFC 7873); of several the first counts (§5.2).
    pub cookie: Option<Span>,
    /// Whom it asks for (RFC 7871).
    pub subnet: Option<Span>,
}

impl Options {
    /// Reads the data of an OPT that begins at `start` of its packet; `None` if the options do not fill it exactly.
    pub fn read(rdata: &[u8], start: usize) -> Option<Self> {
        let mut options = Self::default();
        let (mut rest, mut at) = (rdata, start);
        while !rest.is_empty() {
            let [c1, c2, l1, l2] = *rest.first_chunk::<4>()?;
            let len = u16::from_be_bytes([l1, l2]);
            let span = Span { start: u16::try_from(at + 4).ok()?, len };
            match u16::from_be_bytes([c1, c2]) {
                code::NSID => options.nsid = true,
                code::KEEPALIVE => options.keepalive = true,
                code::COOKIE => options.cookie = options.cookie.or(Some(span)),
                code::SUBNET => options.subnet = options.subnet.or(Some(span)),
                _ => {}
            }
            rest = rest.get(4 + usize::from(len)..)?;
            at += 4 + usize::from(len);
        }
        Some(options)
    }
}

/// A client cookie and the server cookie that belongs to it (RFC 9018 §4), as they are sent back.
pub type Cookie = [u8; 24];

/// A client subnet as it is sent back: what the client said, with the scope of the answer (RFC 7871 §7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubnetReply {
    /// Family, source prefix, scope prefix, address; 4 to 20 bytes.
    bytes: [u8; 20],
    len: usize,
}

impl SubnetReply {
    /// Echoes an option's data with this scope.
    pub fn new(data: &[u8], scope: u8) -> Self {
        let mut bytes = [0; 20];
        let len = data.len().min(bytes.len());
        if let (Some(place), Some(data)) = (bytes.get_mut(..len), data.get(..len)) {
            place.copy_from_slice(data);
        }
        bytes[3] = scope;
        Self { bytes, len }
    }

    fn data(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The options of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reply<'a> {
    /// What went wrong, or is not as it should be.
    pub error: Option<Ede>,
    /// Which server this is.
    pub nsid: Option<&'a [u8]>,
    /// Cookies.
    pub cookie: Option<Cookie>,
    /// Client subnet.
    pub subnet: Option<SubnetReply>,
    /// For how long the connection may be idle, in units of 100 ms.
    pub keepalive: Option<u16>,
}

impl Reply<'_> {
    /// Bytes that the options take.
    #[inline]
    pub fn len(&self) -> usize {
        let of = |data: Option<usize>| data.map_or(0, |len| 4 + len);
        of(self.error.map(|_| 2))
            + of(self.nsid.map(<[u8]>::len))
            + of(self.cookie.map(|cookie| cookie.len()))
            + of(self.subnet.as_ref().map(|subnet| subnet.len))
            + of(self.keepalive.map(|_| 2))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the options to `put`, piece by piece.
    pub fn write<E>(&self, mut put: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut option = |code: u16, data: &[u8]| {
            let [[c1, c2], [l1, l2]] = [code, data.len() as u16].map(u16::to_be_bytes);
            put(&[c1, c2, l1, l2])?;
            put(data)
        };
        if let Some(nsid) = self.nsid {
            option(code::NSID, nsid)?;
        }
        if let Some(subnet) = &self.subnet {
            option(code::SUBNET, subnet.data())?;
        }
        if let Some(cookie) = &self.cookie {
            option(code::COOKIE, cookie)?;
        }
        if let Some(tenths) = self.keepalive {
            option(code::KEEPALIVE, &tenths.to_be_bytes())?;
        }
        match self.error {
            Some(error) => option(code::ERROR, &(error as u16).to_be_bytes()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_and_unknown_ones_passed_over() {
        let rdata =
            b"\0\x64\0\x01x\0\x03\0\0\0\x0a\0\x08abcdefgh\0\x0a\0\x01z\0\x08\0\x04\0\x01\0\0\0\x0b\0\0";
        let packet = [&b"0123"[..], rdata].concat();
        let options = Options::read(rdata, 4).unwrap();
        assert!(options.nsid && options.keepalive);
        assert_eq!(options.cookie.unwrap().of(&packet), b"abcdefgh", "the first one");
        assert_eq!(options.subnet.unwrap().of(&packet), b"\0\x01\0\0");
        assert_eq!(Options::read(&rdata[..rdata.len() - 1], 4), None, "cut short");
        assert_eq!(Options::read(b"", 0), Some(Options::default()));
    }

    #[test]
    fn a_reply_is_as_long_as_it_says_and_reads_back() {
        let reply = Reply {
            error: Some(Ede::Prohibited),
            nsid: Some(b"ns1"),
            cookie: Some([7; 24]),
            subnet: Some(SubnetReply::new(&[0, 1, 24, 0, 192, 0, 2], 20)),
            keepalive: Some(100),
        };
        let mut out = Vec::new();
        let written = reply.write(|bytes| {
            out.extend_from_slice(bytes);
            Ok::<(), ()>(())
        });
        assert_eq!(written, Ok(()));
        assert_eq!(out.len(), reply.len());
        let read = Options::read(&out, 0).unwrap();
        assert_eq!(read.cookie.unwrap().of(&out), [7; 24]);
        assert_eq!(read.subnet.unwrap().of(&out), [0, 1, 24, 20, 192, 0, 2]);
        assert!(out.ends_with(&[0, 15, 0, 2, 0, 18]));
        assert!(Reply::default().is_empty() && !reply.is_empty());
    }
}
