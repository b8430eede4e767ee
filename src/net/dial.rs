//! Connections that go out: TCP, then a PROXY header if the other side wants to know on whose behalf, then TLS. Each
//! step may be absent. Knows no protocol above.

use super::proxy::write_v2;
use super::tcp;
use super::tls::{ClientStream, ClientTls, ConnectError};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, ToSocketAddrs};

/// A connection that went out, over TLS or not.
pub type Stream = super::stream::Stream<TcpStream, ClientStream<TcpStream>>;

/// How connections go out.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// TLS; without it, plain text.
    pub tls: Option<ClientTls>,
    /// Whether a PROXY header (version 2) says who the client is.
    pub proxy: bool,
    /// Silence after which the kernel asks whether the other side is still there.
    pub keep_alive: Duration,
}

/// On whose behalf a connection is made: the client's address, and ours that it came to.
pub type Behalf = (SocketAddr, SocketAddr);

impl Dial {
    /// Connects to one of the addresses of `to`. `host` is whom its certificate must name, where the TLS settings
    /// name nobody else. `behalf` is for the PROXY header; without it the connection is our own. Has no deadline.
    pub async fn connect(
        &self,
        to: impl ToSocketAddrs,
        host: &str,
        behalf: Option<Behalf>,
    ) -> io::Result<Stream> {
        let mut stream = TcpStream::connect(to).await?;
        tcp::keep_alive(&stream, self.keep_alive);
        if self.proxy {
            stream.write_all(&write_v2(behalf)).await?;
        }
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let stream = tls.connect(stream, host).await.map_err(|error| {
            let kind = match &error {
                ConnectError::Timeout { .. } => io::ErrorKind::TimedOut,
                ConnectError::Io { source, .. } => source.kind(),
                _ => io::ErrorKind::InvalidData,
            };
            io::Error::new(kind, error)
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}
