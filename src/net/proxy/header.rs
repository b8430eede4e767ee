//! The PROXY protocol's header as bytes: an exact, pure parser of versions 1 and 2, and a writer of version 2.
//! After HAProxy's specification (`doc/proxy-protocol.txt`, 2020/03/05); section numbers are of that document.
//!
//! Our own, because the two crates that exist (`ppp`, `proxy-header`) want the whole header at once without a bound on
//! version 2, take ports such as `+80`, and check no CRC: what is left of the work is less than their interface.

use crate::limits::proxy as limits;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The twelve bytes that begin version 2 (section 2.2). No Kafka frame begins so: as a length they are 218 MB, and
/// behind it stands request version 2,641. No TLS record does (0x16), and no version 1 header (`P`).
pub const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What begins version 1 (section 2.1). As a Kafka frame's length it is 1.3 GB.
pub const V1_SIGNATURE: [u8; 6] = *b"PROXY ";
/// The part of a version 2 header that says how long the rest is.
const V2_FIXED: usize = 16;

/// TLV types (section 2.2).
const TLV_AUTHORITY: u8 = 0x02;
const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
const TLV_SSL_CN: u8 = 0x22;

/// What a proxy said of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2.
    pub version: u8,
    /// The proxy's own connection (a health check), not a client's.
    pub local: bool,
    /// The client's address and the one it connected to; none of `local` and of families other than TCP over IP.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The host name that the client asked for (SNI), lower-cased, if the proxy ended TLS and passes it on.
    pub authority: Option<String>,
    /// What the proxy says of the client's TLS, if the client used TLS.
    pub tls: Option<ClientTls>,
}

/// A client's TLS as its proxy tells it (`PP2_TYPE_SSL`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The client showed a certificate and the proxy verified it.
    pub verified: bool,
    /// The common name of that certificate.
    pub common_name: Option<String>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They may become a header; more must be read.
    Incomplete,
    /// They are no header and will not become one.
    Absent,
    /// A header of so many bytes; what follows belongs to the client.
    Complete(Header, usize),
}

/// A header that breaks the rules: close the connection, for who speaks it means to and can't.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A version 1 line without its end within 107 bytes.
    #[error("a PROXY v1 line without CRLF within 107 bytes")]
    V1TooLong,
    /// A version 1 line that is not as section 2.1 has it.
    #[error("a PROXY v1 line with a bad {0}")]
    V1(&'static str),
    /// A version 2 header longer than the limit.
    #[error("a PROXY v2 header of {length} bytes; the limit is {limit}")]
    V2TooLong {
        /// What it says of itself.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A version 2 header that is not as section 2.2 has it.
    #[error("a PROXY v2 header with a bad {0}")]
    V2(&'static str),
}

/// Looks at the first bytes of a connection. `limit` bounds what a version 2 header may announce behind its first
/// 16 bytes. Pure; asked again with more bytes after [`Parsed::Incomplete`].
pub fn parse(bytes: &[u8], limit: usize) -> Result<Parsed, Malformed> {
    if begins(bytes, &V2_SIGNATURE) {
        return v2(bytes, limit);
    }
    if begins(bytes, &V1_SIGNATURE) {
        return v1(bytes);
    }
    Ok(Parsed::Absent)
}

/// Whether `bytes` begin with `signature`, as far as both go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n`
fn v1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let window = bytes.get(..limits::V1_BYTES).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        if window.len() >= limits::V1_BYTES {
            return Err(Malformed::V1TooLong);
        }
        return match window.get(V1_SIGNATURE.len()..).unwrap_or_default() {
            // A lone CR may get its LF yet; anything else that no line has is refused without waiting for the rest.
            rest if rest.iter().any(|&byte| byte == b'\n' || byte == 0) => Err(Malformed::V1("line end")),
            _ => Ok(Parsed::Incomplete),
        };
    };
    let line = window.get(V1_SIGNATURE.len()..end).ok_or(Malformed::V1("line end"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::V1("character"))?;
    let mut parts = line.split(' ');
    let addresses = match parts.next() {
        // Whatever stands behind UNKNOWN is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(v1_addresses(parts, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?),
        Some("TCP6") => Some(v1_addresses(parts, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?),
        _ => return Err(Malformed::V1("protocol")),
    };
    Ok(Parsed::Complete(Header { version: 1, addresses, ..Header::default() }, end + 2))
}

fn v1_addresses<'a>(
    mut parts: impl Iterator<Item = &'a str>,
    address: impl Fn(&str) -> Option<IpAddr>,
) -> Result<(SocketAddr, SocketAddr), Malformed> {
    let source = parts.next().and_then(&address).ok_or(Malformed::V1("source address"))?;
    let destination = parts.next().and_then(&address).ok_or(Malformed::V1("destination address"))?;
    let source_port = parts.next().and_then(v1_port).ok_or(Malformed::V1("source port"))?;
    let destination_port = parts.next().and_then(v1_port).ok_or(Malformed::V1("destination port"))?;
    if parts.next().is_some() {
        return Err(Malformed::V1("line end"));
    }
    Ok((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)))
}

/// Digits without sign or leading zero: the standard parser would take `+80` and `080`.
fn v1_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn v2(bytes: &[u8], limit: usize) -> Result<Parsed, Malformed> {
    if bytes.len() < V2_FIXED {
        return Ok(Parsed::Incomplete);
    }
    let (Some(&command), Some(&family), Some(length)) =
        (bytes.get(12), bytes.get(13), bytes.get(14..16).and_then(be16))
    else {
        return Ok(Parsed::Incomplete);
    };
    if command >> 4 != 2 {
        return Err(Malformed::V2("version"));
    }
    if command & 0x0f > 1 {
        return Err(Malformed::V2("command"));
    }
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Err(Malformed::V2("address family"));
    }
    if length > limit {
        return Err(Malformed::V2TooLong { length, limit });
    }
    let total = V2_FIXED + length;
    let Some(body) = bytes.get(V2_FIXED..total) else { return Ok(Parsed::Incomplete) };
    let mut header = Header { version: 2, local: command & 0x0f == 0, ..Header::default() };
    if header.local {
        // The proxy's own connection: the rest must be skipped unread.
        return Ok(Parsed::Complete(header, total));
    }
    let block = v2_block(family);
    let (addresses, tlvs) = body.split_at_checked(block).ok_or(Malformed::V2("address length"))?;
    header.addresses = v2_addresses(family, addresses);
    // Behind AF_UNSPEC nothing says where addresses end and TLVs begin.
    if family >> 4 != 0 {
        v2_tlvs(tlvs, bytes.get(..total).unwrap_or_default(), &mut header)?;
    }
    Ok(Parsed::Complete(header, total))
}

/// Bytes of the address block of a family (section 2.2).
fn v2_block(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

/// The addresses of TCP over IPv4 or IPv6. What else there is (UDP, Unix sockets) says nothing of a TCP client and is
/// treated as unspecified, as section 2.2 asks.
fn v2_addresses(family: u8, block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |from: usize, length: usize| -> Option<IpAddr> {
        let bytes = block.get(from..from + length)?;
        match length {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        }
    };
    let port = |at: usize| block.get(at..at + 2).and_then(be16).and_then(|port| u16::try_from(port).ok());
    let length = match family {
        0x11 => 4,
        0x21 => 16,
        _ => return None,
    };
    let source = SocketAddr::new(ip(0, length)?, port(2 * length)?);
    let destination = SocketAddr::new(ip(length, length)?, port(2 * length + 2)?);
    Some((source, destination))
}

/// Walks the type-length-values: each must end within the header.
fn v2_tlvs(tlvs: &[u8], whole: &[u8], header: &mut Header) -> Result<(), Malformed> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (kind, value, behind) = tlv(rest)?;
        match kind {
            TLV_AUTHORITY if header.authority.is_none() => {
                let name = std::str::from_utf8(value).map_err(|_| Malformed::V2("authority"))?;
                header.authority = Some(name.to_ascii_lowercase());
            }
            TLV_SSL if header.tls.is_none() => header.tls = v2_ssl(value)?,
            TLV_CRC32C => check_crc(value, whole, whole.len() - behind.len() - 4)?,
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

/// The first TLV: its type, its value, and what is behind.
fn tlv(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Malformed> {
    let bad = Malformed::V2("TLV");
    let (head, behind) = bytes.split_at_checked(3).ok_or(bad.clone())?;
    let [kind, high, low] = *head else { return Err(bad) };
    let (value, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).ok_or(bad)?;
    Ok((kind, value, behind))
}

/// `client` (a bit field), `verify` (0 is success), TLVs.
fn v2_ssl(value: &[u8]) -> Result<Option<ClientTls>, Malformed> {
    let (head, mut rest) = value.split_at_checked(5).ok_or(Malformed::V2("TLS TLV"))?;
    let [client, verify @ ..] = head else { return Err(Malformed::V2("TLS TLV")) };
    let over_tls = client & 0x01 != 0;
    let showed_certificate = client & 0x06 != 0;
    let verified = showed_certificate && verify.iter().all(|&byte| byte == 0);
    let mut tls = ClientTls { verified, common_name: None };
    while !rest.is_empty() {
        let (kind, value, behind) = tlv(rest)?;
        if kind == TLV_SSL_CN {
            tls.common_name =
                Some(std::str::from_utf8(value).map_err(|_| Malformed::V2("common name"))?.to_owned());
        }
        rest = behind;
    }
    Ok(over_tls.then_some(tls))
}

/// The checksum is over the whole header with the checksum's own four bytes, at `at`, as zeros.
fn check_crc(value: &[u8], whole: &[u8], at: usize) -> Result<(), Malformed> {
    let wanted = <[u8; 4]>::try_from(value).map_err(|_| Malformed::V2("checksum"))?;
    let zeroed = whole.iter().enumerate().map(|(i, &byte)| if (at..at + 4).contains(&i) { 0 } else { byte });
    if crc32c(zeroed) == u32::from_be_bytes(wanted) { Ok(()) } else { Err(Malformed::V2("checksum")) }
}

/// CRC-32C (RFC 4960 appendix B), bit by bit: a header has a hundred bytes and few senders add one.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

fn be16(bytes: &[u8]) -> Option<usize> {
    <[u8; 2]>::try_from(bytes).ok().map(|pair| usize::from(u16::from_be_bytes(pair)))
}

/// A version 2 header for an outgoing connection: on whose behalf it is made. `None` is our own (a probe): LOCAL.
/// Where the families differ, the IPv4 address is written as v4-mapped.
pub fn write_v2(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    match client.map(|(source, destination)| (canonical(source), canonical(destination))) {
        None => bytes.extend([0x20, 0x00, 0, 0]),
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(source.ip().octets());
            bytes.extend(destination.ip().octets());
            bytes.extend(source.port().to_be_bytes());
            bytes.extend(destination.port().to_be_bytes());
        }
        Some((source, destination)) => {
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(v6(source).octets());
            bytes.extend(v6(destination).octets());
            bytes.extend(source.port().to_be_bytes());
            bytes.extend(destination.port().to_be_bytes());
        }
    }
    bytes
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn v6(address: SocketAddr) -> Ipv6Addr {
    match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = limits::V2_BYTES.default;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A version 2 header with `body` behind its first 16 bytes.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
        bytes
    }

    const TCP4: [u8; 12] = [10, 0, 1, 17, 127, 0, 0, 1, 0xdc, 0x04, 0x23, 0x84];

    fn complete(bytes: &[u8]) -> Header {
        match parse(bytes, LIMIT) {
            Ok(Parsed::Complete(header, length)) => {
                assert_eq!(length, bytes.len());
                header
            }
            other => panic!("{other:?} of {bytes:?}"),
        }
    }

    #[test]
    fn the_lines_of_the_specification() {
        let longest = "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"
            .replace("f...f", "ffff:ffff:ffff:ffff:ffff:ffff");
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::17 ::1 1 9092\r\n", Some("[2001:db8::17]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:: what ever 65535\r\n", None),
            (&longest, Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ] {
            let header = complete(line.as_bytes());
            assert_eq!(header.addresses.map(|pair| pair.0), source.map(address), "{line:?}");
            assert_eq!((header.version, header.local), (1, false));
        }
        assert_eq!(longest.len(), 104, "the longest line with addresses fits");
    }

    #[test]
    fn lines_that_are_nearly_right_are_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        ] {
            assert!(matches!(parse(line.as_bytes(), LIMIT), Err(Malformed::V1(_))), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(endless.as_bytes(), LIMIT), Err(Malformed::V1TooLong));
        let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!((late.len(), parse(late.as_bytes(), LIMIT)), (108, Err(Malformed::V1TooLong)));
        assert!(matches!(parse(late.replacen('x', "", 1).as_bytes(), LIMIT), Ok(Parsed::Complete(_, 107))));
    }

    #[test]
    fn what_a_client_sends_first_is_never_taken_for_a_header() {
        let kafka = |length: u32| [&length.to_be_bytes()[..], &[0, 18, 0, 4, 0, 0, 0, 1]].concat();
        let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
        for first in [kafka(40), kafka(0), kafka(100 << 20), kafka(0x0d0a_0d0a), kafka(0x5052_4f58), tls] {
            assert_eq!(parse(&first, LIMIT), Ok(Parsed::Absent), "{first:?}");
        }
        for first in ["PROXX", "PROXYTCP4", "proxy TCP4", "\r\n\r\n\0\r\nQUIT\r", "GET / HTTP/1.1\r\n"] {
            assert_eq!(parse(first.as_bytes(), LIMIT), Ok(Parsed::Absent), "{first:?}");
        }
    }

    #[test]
    fn binary_headers_of_each_family() {
        let header = complete(&v2(0x21, 0x11, &TCP4));
        assert_eq!(header.addresses, Some((address("10.0.1.17:56324"), address("127.0.0.1:9092"))));
        let six = write_v2(Some((address("[2001:db8::1]:7"), address("10.0.0.1:9"))));
        let addresses = complete(&six).addresses.unwrap();
        assert_eq!(addresses, (address("[2001:db8::1]:7"), address("[::ffff:10.0.0.1]:9")));
        for (family, block) in [(0x00, 0), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
            let header = complete(&v2(0x21, family, &vec![7; block]));
            assert_eq!((header.addresses, header.local), (None, false), "family {family:#x}");
        }
        // Behind AF_UNSPEC and LOCAL anything may stand, and nothing of it is read.
        assert_eq!(complete(&v2(0x21, 0x00, &[0xff; 9])).addresses, None);
        assert!(complete(&v2(0x20, 0x11, &[0xff; 5])).local);
        assert!(complete(&write_v2(None)).local);
    }

    #[test]
    fn binary_headers_that_are_nearly_right_are_refused() {
        for (command, family, length) in [
            (0x11, 0x11, 12),
            (0x31, 0x11, 12),
            (0x22, 0x11, 12),
            (0x2f, 0x11, 12),
            (0x21, 0x41, 36),
            (0x21, 0x13, 12),
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x31, 215),
        ] {
            let bytes = v2(command, family, &vec![0; length]);
            assert!(
                matches!(parse(&bytes, LIMIT), Err(Malformed::V2(_))),
                "{command:#x} {family:#x} {length}"
            );
        }
        let bytes = v2(0x21, 0x11, &[0; 300]);
        let short = parse(bytes.get(..16).unwrap(), 256);
        assert_eq!(
            short,
            Err(Malformed::V2TooLong { length: 300, limit: 256 }),
            "before its body is awaited"
        );
    }

    #[test]
    fn authority_and_client_certificate_are_read_and_unknown_values_skipped() {
        let ssl = [&[0x05, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(TLV_SSL_CN, b"orders")].concat();
        let all = [
            &TCP4[..],
            &tlv(0x04, &[0; 7]),
            &tlv(TLV_AUTHORITY, b"VPC-1.prod.kafka.example"),
            &tlv(0xea, b"\x01vpce-08d2bf15fac5001c9"),
            &tlv(TLV_SSL, &ssl),
        ]
        .concat();
        let header = complete(&v2(0x21, 0x11, &all));
        assert_eq!(header.authority.as_deref(), Some("vpc-1.prod.kafka.example"));
        assert_eq!(header.tls, Some(ClientTls { verified: true, common_name: Some("orders".into()) }));
        let failed = [&TCP4[..], &tlv(TLV_SSL, &[0x05, 0, 0, 0, 1])].concat();
        assert!(!complete(&v2(0x21, 0x11, &failed)).tls.unwrap().verified, "verify is not 0");
        let none = [&TCP4[..], &tlv(TLV_SSL, &[0x01, 0, 0, 0, 0])].concat();
        assert!(!complete(&v2(0x21, 0x11, &none)).tls.unwrap().verified, "no certificate was shown");
        for bad in [&[1][..], &[1, 0], &[1, 0, 5, 0], &tlv(TLV_SSL, &[1]), &tlv(TLV_AUTHORITY, &[0xff])] {
            let bytes = v2(0x21, 0x11, &[&TCP4[..], bad].concat());
            assert!(matches!(parse(&bytes, LIMIT), Err(Malformed::V2(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_checksum_is_verified_when_there_is_one() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283, "the check value of CRC-32C");
        let mut bytes = v2(0x21, 0x11, &[&TCP4[..], &tlv(TLV_CRC32C, &[0; 4]), &tlv(4, b"x")].concat());
        let at = 16 + 12 + 3;
        let sum = crc32c(bytes.iter().copied());
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert!(complete(&bytes).addresses.is_some());
        for index in (16..bytes.len()).filter(|&index| index != at - 3) {
            // (all but the type of the checksum itself, without which there is none)
            let mut wrong = bytes.clone();
            wrong[index] ^= 0x10;
            assert!(parse(&wrong, LIMIT).is_err(), "byte {index}");
        }
    }

    /// Every beginning of a header asks for more, and what follows a header changes nothing.
    #[test]
    fn a_header_in_any_pieces_is_the_same_header() {
        let headers = [
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
            v2(0x21, 0x11, &[&TCP4[..], &tlv(TLV_AUTHORITY, b"a.example")].concat()),
            write_v2(None),
        ];
        for bytes in headers {
            let whole = complete(&bytes);
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length], LIMIT), Ok(Parsed::Incomplete), "{length} of {bytes:?}");
            }
            let more = [&bytes[..], b"\0\0\0\x1f\0\x12"].concat();
            assert_eq!(parse(&more, LIMIT), Ok(Parsed::Complete(whole, bytes.len())));
        }
    }

    /// Mutations of good headers and random bytes: no panic, no length beyond the input, the same answer for more.
    #[test]
    fn no_bytes_break_it() {
        let mut random = fastrand::Rng::with_seed(20_26);
        let seeds = [
            b"PROXY TCP6 2001:db8::17 ::1 1 9092\r\n".to_vec(),
            v2(
                0x21,
                0x11,
                &[&TCP4[..], &tlv(TLV_SSL, &[5, 0, 0, 0, 0, 0x22, 0, 1, b'x']), &tlv(3, &[0; 4])].concat(),
            ),
            v2(0x21, 0x21, &[9; 60]),
        ];
        let (mut complete, mut refused) = (0, 0);
        for round in 0..200_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.usize(0..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes[at] ^= 1 << random.u8(..8),
                    2 => bytes.insert(at, random.u8(..)),
                    _ => drop(bytes.remove(at)),
                }
            }
            match parse(&bytes, LIMIT) {
                Ok(Parsed::Complete(_, length)) => {
                    assert!(length <= bytes.len());
                    let alone = parse(&bytes[..length], LIMIT);
                    assert_eq!(alone, parse(&bytes, LIMIT), "what follows a header is not looked at");
                    complete += 1;
                }
                Ok(Parsed::Incomplete) => assert!(bytes.len() < V2_FIXED + LIMIT),
                Ok(Parsed::Absent) => {}
                Err(_) => refused += 1,
            }
        }
        assert!(complete > 10_000 && refused > 10_000, "{complete} complete, {refused} refused");
    }
}
