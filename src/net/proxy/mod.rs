//! The PROXY protocol, inbound: a load balancer in front of us says in a first header who the client is. Only peers of
//! named networks may say so, for whoever may can be any client he likes.
//!
//! | mode | peer in a trusted network | any other peer |
//! | --- | --- | --- |
//! | `required` | the header, or the connection is refused | refused |
//! | `optional` | the header if there is one (its first bytes are never those of Kafka or TLS) | taken as it is, unread |

mod header;

pub use header::{ClientTls, Header, Malformed, Parsed, V1_SIGNATURE, V2_SIGNATURE, parse, write_v2};

use crate::limits::proxy as limits;
use crate::net::prefixed::Prefixed;
use ipnet::IpNet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Whether there must be a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A connection without one is refused.
    #[default]
    Required,
    /// Clients may also come directly. With a network that holds clients too, those can pretend to be others.
    Optional,
}

/// What a listener expects of those in front of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether there must be a header.
    pub mode: Mode,
    /// Who may send one.
    pub trusted: Networks,
    /// How long a header may take ([`limits::DEADLINE`]).
    pub deadline: Duration,
    /// Most bytes of a version 2 header behind its first 16 ([`limits::V2_BYTES`]).
    pub v2_bytes: usize,
}

impl Settings {
    /// Headers from `trusted`, with the default bounds.
    pub fn new(mode: Mode, trusted: Networks) -> Self {
        Self { mode, trusted, deadline: limits::DEADLINE.default, v2_bytes: limits::V2_BYTES.default }
    }
}

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// A network that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Neither an address nor a block.
    #[error("trusted network {0:?}: write an address or a CIDR block, such as 10.0.0.0/8 or 2001:db8::/32")]
    Unreadable(String),
    /// More than [`limits::NETWORKS`].
    #[error("{0} trusted networks; at most {max} are allowed: join neighbouring blocks", max = limits::NETWORKS)]
    TooMany(usize),
}

impl Networks {
    /// Reads addresses (`10.0.0.7`) and blocks (`10.0.0.0/8`; bits behind the prefix are ignored).
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, BadNetwork> {
        let read = |text: &str| {
            let block = IpNet::from_str(text).map(|block| block.trunc());
            block.or_else(|_| IpAddr::from_str(text).map(IpNet::from))
        };
        let all = networks
            .into_iter()
            .map(|text| read(text.trim()).map_err(|_| BadNetwork::Unreadable(text.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        if all.len() > limits::NETWORKS {
            return Err(BadNetwork::TooMany(all.len()));
        }
        Ok(Self(all))
    }

    /// Whether an address is in one of them. A v4-mapped address is the IPv4 address that it means.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.contains(&address))
    }

    /// Whether there is none: then no header is ever believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A connection whose header, if it had one, is read.
#[derive(Debug)]
pub struct Arrived<S> {
    /// The connection as the client sees it: what it sends first comes first.
    pub stream: Prefixed<S>,
    /// The client: from the header, or the peer itself (no header, the proxy's own check, an unknown family).
    pub source: SocketAddr,
    /// What the header said.
    pub header: Option<Header>,
}

/// Why a connection was refused. Close it; all but `Io` and `Closed` are worth a count each and a line at debug.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A header is required, and this peer may not send one.
    #[error("{peer} is in no trusted network; add it to the trusted networks if it is a load balancer")]
    Untrusted {
        /// Who connected.
        peer: IpAddr,
    },
    /// A header is required, and something else came.
    #[error(
        "no PROXY header from {peer}; switch it on at the load balancer (send-proxy-v2), or take mode optional"
    )]
    Missing {
        /// Who connected.
        peer: IpAddr,
    },
    /// A header that breaks the rules.
    #[error("{peer} sent {reason}")]
    Malformed {
        /// Who connected.
        peer: IpAddr,
        /// The rule.
        reason: Malformed,
    },
    /// The header (in mode optional: the first bytes) did not come in time.
    #[error("no PROXY header from {peer} within {deadline:?}")]
    Timeout {
        /// Who connected.
        peer: IpAddr,
        /// How long was waited.
        deadline: Duration,
    },
    /// The peer closed before its header was whole: a port check, mostly.
    #[error("{peer} closed the connection before its PROXY header")]
    Closed {
        /// Who connected.
        peer: IpAddr,
    },
    /// The connection broke.
    #[error("reading the PROXY header of {peer}")]
    Io {
        /// Who connected.
        peer: IpAddr,
        /// How.
        source: io::Error,
    },
}

impl Error {
    /// What to count it as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "untrusted",
            Self::Missing { .. } => "missing",
            Self::Malformed { .. } => "malformed",
            Self::Timeout { .. } => "timeout",
            Self::Closed { .. } => "closed",
            Self::Io { .. } => "io",
        }
    }
}

/// Reads the header of a connection from `peer`, if it may have one. Never waits beyond the deadline, never holds
/// more than the limit of version 2 and one small read.
pub async fn read_header<S: AsyncRead + Unpin>(
    stream: S,
    peer: SocketAddr,
    settings: &Settings,
) -> Result<Arrived<S>, Error> {
    let (ip, deadline) = (peer.ip(), settings.deadline);
    if !settings.trusted.contains(ip) {
        return match settings.mode {
            Mode::Required => Err(Error::Untrusted { peer: ip }),
            Mode::Optional => {
                Ok(Arrived { stream: Prefixed::new(Vec::new(), stream), source: peer, header: None })
            }
        };
    }
    match tokio::time::timeout(deadline, read(stream, peer, settings)).await {
        Ok(read) => read,
        Err(_) => Err(Error::Timeout { peer: ip, deadline }),
    }
}

async fn read<S: AsyncRead + Unpin>(
    mut stream: S,
    peer: SocketAddr,
    settings: &Settings,
) -> Result<Arrived<S>, Error> {
    let ip = peer.ip();
    let mut bytes = Vec::new();
    let mut chunk = [0; 256]; // a header with its TLVs mostly fits in one; the parser bounds how many are read
    loop {
        let got = match stream.read(&mut chunk).await {
            Ok(0) => return Err(Error::Closed { peer: ip }),
            Ok(got) => got,
            Err(source) => return Err(Error::Io { peer: ip, source }),
        };
        bytes.extend_from_slice(chunk.get(..got).unwrap_or_default());
        let parsed =
            parse(&bytes, settings.v2_bytes).map_err(|reason| Error::Malformed { peer: ip, reason })?;
        let (header, length) = match parsed {
            Parsed::Incomplete => continue,
            Parsed::Absent if settings.mode == Mode::Required => return Err(Error::Missing { peer: ip }),
            Parsed::Absent => (None, 0),
            Parsed::Complete(header, length) => (Some(header), length),
        };
        let said = header.as_ref().and_then(|header| header.addresses);
        bytes.drain(..length.min(bytes.len()));
        let source = said.map_or(peer, |(source, _)| source);
        return Ok(Arrived { stream: Prefixed::new(bytes, stream), source, header });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const LINE: &[u8] = b"PROXY TCP4 10.0.1.17 127.0.0.1 5000 9092\r\nhello";

    fn settings(mode: Mode) -> Settings {
        let trusted = Networks::parse(["127.0.0.0/8", "2001:db8::/32", "192.0.2.7"]).unwrap();
        Settings { deadline: Duration::from_secs(30), ..Settings::new(mode, trusted) }
    }

    /// What becomes of a connection from `peer` that sends `pieces` and then, if `close`, ends.
    async fn connection(
        mode: Mode,
        peer: &str,
        pieces: &[&[u8]],
        close: bool,
    ) -> Result<(String, String), Error> {
        let (near, mut far) = tokio::io::duplex(4096);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sender = tokio::spawn(async move {
            for piece in pieces {
                if far.write_all(&piece).await.is_err() {
                    break; // it was refused before all was sent
                }
                tokio::task::yield_now().await;
            }
            if close { None } else { Some(far) }
        });
        let arrived = read_header(near, peer.parse().unwrap(), &settings(mode)).await;
        let far = sender.await.unwrap();
        let Arrived { mut stream, source, .. } = arrived?;
        drop(far);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        Ok((source.to_string(), rest))
    }

    #[tokio::test]
    async fn a_trusted_peers_header_is_believed_in_any_pieces() {
        for mode in [Mode::Required, Mode::Optional] {
            let whole = connection(mode, "127.0.0.1:40000", &[LINE], false).await.unwrap();
            assert_eq!(whole, ("10.0.1.17:5000".to_owned(), "hello".to_owned()));
            let bytes: Vec<&[u8]> = LINE.chunks(1).collect();
            assert_eq!(connection(mode, "[::ffff:127.0.0.1]:40000", &bytes, false).await.unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn who_is_not_trusted_can_not_be_somebody_else() {
        let stranger = "198.51.100.9:40000";
        let refused = connection(Mode::Required, stranger, &[LINE], false).await.unwrap_err();
        assert_eq!(refused.kind(), "untrusted");
        let (source, rest) = connection(Mode::Optional, stranger, &[LINE], false).await.unwrap();
        assert_eq!((source.as_str(), rest.as_bytes()), (stranger, LINE), "its bytes are its own");
    }

    #[tokio::test]
    async fn a_direct_client_is_itself_where_that_is_allowed() {
        let kafka: &[u8] = b"\0\0\0\x06\0\x12\0\x04\0\0";
        let (source, rest) = connection(Mode::Optional, "127.0.0.1:40000", &[kafka], false).await.unwrap();
        assert_eq!((source.as_str(), rest.as_bytes()), ("127.0.0.1:40000", kafka));
        let refused = connection(Mode::Required, "127.0.0.1:40000", &[kafka], false).await.unwrap_err();
        assert_eq!(refused.kind(), "missing");
    }

    #[tokio::test]
    async fn bad_short_and_slow_headers_end_the_connection() {
        let bad: &[u8] = b"PROXY TCP4 10.0.1.17 127.0.0.1 5000\r\n";
        let start: &[u8] = b"PROXY TCP4";
        for (pieces, close, kind) in
            [(&[bad][..], false, "malformed"), (&[start][..], true, "closed"), (&[][..], true, "closed")]
        {
            let refused = connection(Mode::Optional, "127.0.0.1:1", pieces, close).await.unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(start).await.unwrap();
        let hasty = Settings { deadline: Duration::from_millis(50), ..settings(Mode::Optional) };
        let refused = read_header(near, "127.0.0.1:1".parse().unwrap(), &hasty).await.unwrap_err();
        assert_eq!(refused.kind(), "timeout", "{refused}");
    }

    #[test]
    fn networks_are_read_or_refused_by_name() {
        let networks = Networks::parse(["10.1.2.3/8", " ::1 "]).unwrap();
        for (address, inside) in
            [("10.255.0.1", true), ("11.0.0.1", false), ("::1", true), ("::ffff:10.0.0.1", true)]
        {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert_eq!(Networks::parse(["10.0.0.0/33"]), Err(BadNetwork::Unreadable("10.0.0.0/33".into())));
        assert!(matches!(Networks::parse(vec!["::1"; 2_000]), Err(BadNetwork::TooMany(2_000))));
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
    }
}
