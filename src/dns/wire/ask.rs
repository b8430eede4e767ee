//! Asks other name servers, for `fingerpost check`: one question, one reply, each with a deadline. What comes back is
//! decoded by hickory-proto, and only the reply to our own question is taken for one.

use super::super::names::Name;
use super::{CLASS_IN, HEADER};
use crate::limits::dns as limits;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The name can't be asked for.
    #[error("{0:?} is no domain name")]
    Name(String),
    /// The server can't be reached, or says nothing in time.
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    /// What it said is no reply.
    #[error("the answer can't be read: {0}")]
    Unreadable(String),
}

/// What a server said.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The response code.
    pub rcode: u16,
    /// AA: it speaks for the zone.
    pub authoritative: bool,
    /// TC: there is more over TCP.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<Said>,
    /// The authority section.
    pub authority: Vec<Said>,
    /// The additional section, without OPT.
    pub additional: Vec<Said>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its owner, lower case, with a final dot.
    pub owner: String,
    /// Its type.
    pub rtype: u16,
    /// What it says.
    pub data: Data,
}

/// What a record says, as far as anybody here wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A, AAAA.
    Address(IpAddr),
    /// NS: the server's name, lower case, with a final dot.
    Server(String),
    /// SOA: its serial.
    Serial(u32),
    /// A type that is no other's: its bytes.
    Bytes(Vec<u8>),
    /// Anything else.
    Other,
}

/// Asks `server` for `name` and `qtype`; with `recurse` it may ask others.
pub fn ask(server: SocketAddr, name: &str, qtype: u16, recurse: bool, over: Over) -> Result<Reply, AskError> {
    let name_wire = Name::parse(name).map_err(|_| AskError::Name(name.to_owned()))?;
    let id = fastrand::u16(..);
    let [t1, t2] = qtype.to_be_bytes();
    let [i1, i2] = id.to_be_bytes();
    let mut query = vec![i1, i2, u8::from(recurse), 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(name_wire.wire());
    query.extend_from_slice(&[t1, t2, 0, CLASS_IN as u8]);
    let [s1, s2] = (limits::UDP_ANSWER as u16).to_be_bytes();
    // DO, so that a parent tells of DS.
    query.extend_from_slice(&[0, 0, 41, s1, s2, 0, 0, 0x80, 0, 0, 0]);
    let is_ours = |message: &Message| {
        let asked = message.queries.first();
        message.metadata.id == id
            && asked.is_some_and(|asked| {
                u16::from(asked.query_type()) == qtype
                    && text(&asked.name().to_string()) == text(&name_wire.to_string())
            })
    };
    match over {
        Over::Udp => udp(server, &query, is_ours),
        Over::Tcp => tcp(server, &query, is_ours),
    }
}

fn udp(server: SocketAddr, query: &[u8], is_ours: impl Fn(&Message) -> bool) -> Result<Reply, AskError> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(limits::ASK_TRY))?;
    let mut reply = vec![0; limits::TCP_MESSAGE];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..limits::ASK_TRIES {
        socket.send(query)?;
        match socket.recv(&mut reply) {
            Ok(len) => match read(reply.get(..len).unwrap_or_default())? {
                message if is_ours(&message) => return Ok(message.into()),
                _ => last = io::Error::other("the answer is to another question"),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

fn tcp(server: SocketAddr, query: &[u8], is_ours: impl Fn(&Message) -> bool) -> Result<Reply, AskError> {
    let mut stream = TcpStream::connect_timeout(&server, limits::ASK_TRY)?;
    stream.set_read_timeout(Some(limits::ASK_TRY))?;
    stream.set_write_timeout(Some(limits::ASK_TRY))?;
    let length = u16::try_from(query.len()).unwrap_or_default().to_be_bytes();
    stream.write_all(&[&length, query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))]; // 64 KiB at most
    stream.read_exact(&mut reply)?;
    match read(&reply)? {
        message if is_ours(&message) => Ok(message.into()),
        _ => Err(AskError::Unreadable("it is to another question".to_owned())),
    }
}

fn read(bytes: &[u8]) -> Result<Message, AskError> {
    if bytes.len() < HEADER {
        return Err(AskError::Unreadable("it is shorter than a header".to_owned()));
    }
    Message::from_vec(bytes).map_err(|error| AskError::Unreadable(error.to_string()))
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        let section = |records: Vec<hickory_proto::rr::Record>| records.iter().map(said).collect();
        Self {
            rcode: message.metadata.response_code.into(),
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            answers: section(message.answers),
            authority: section(message.authorities),
            additional: section(message.additionals),
        }
    }
}

fn said(record: &hickory_proto::rr::Record) -> Said {
    let data = match &record.data {
        RData::A(address) => Data::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
        RData::NS(server) => Data::Server(text(&server.0.to_string())),
        RData::SOA(soa) => Data::Serial(soa.serial),
        RData::Unknown { rdata, .. } => Data::Bytes(rdata.anything.clone()),
        _ => Data::Other,
    };
    Said { owner: text(&record.name.to_string()), rtype: record.record_type().into(), data }
}

/// A name's text as names are compared here: lower case, one final dot.
pub fn text(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}
