//! A connection of a listener that relays: its first request is awaited, for it tells the client's zone and that the connection
//! is a client's at all; then it is led to an agent of its group by the gateway's relay.

use super::frame;
use super::gateway::agents::{Agents, For};
use super::gateway::requests::Refusal;
use super::gateway::{Close, Phase, Shared, relay};
use super::service::Service;
use crate::limits::gateway as limits;
use crate::net::entry::Stream;
use crate::net::prefixed::Prefixed;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What the connections of a listener that relays share.
#[derive(Debug)]
pub(super) struct Relaying {
    pub(super) agents: Agents,
    pub(super) shared: Arc<Shared>,
}

impl Relaying {
    /// At a stop: connections end at the first moment with nothing in flight.
    pub(super) async fn leave_at(&self, stop: CancellationToken) {
        stop.cancelled().await;
        self.shared.set_phase(Phase::Leaving);
    }

    /// Relays until there is a reason to close. `source` is the client's address, `own` the one that it came to.
    pub(super) async fn serve(
        &self,
        mut stream: Stream,
        (source, own): (SocketAddr, SocketAddr),
        service: Arc<Service>,
        stop: &CancellationToken,
    ) -> Close {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return Close::Stopping,
            first = timeout(self.shared.idle(), first_request(&mut stream)) => first,
        };
        let (first, client_id) = match first {
            Ok(Ok(first)) => first,
            Ok(Err(close)) => return close,
            Err(_) => return Close::Idle,
        };
        let client_id = client_id.as_deref();
        let client = For { service: &service, source: source.ip(), client_id, behalf: (source, own) };
        let link = tokio::select! {
            linked = Box::pin(self.agents.link(client, &self.shared)) => linked,
            () = stop.cancelled() => return Close::Stopping,
        };
        let link = match link {
            Ok(link) => link,
            Err(close) => return close,
        };
        let stream = Prefixed::new(first, stream);
        // The stop reaches a relay as a phase: what is in flight has its time.
        let never = CancellationToken::new();
        relay::relay(stream, source.ip(), link, service, Arc::clone(&self.shared), &never).await
    }
}

/// Reads until the client id of the first request is there: all that was read, and that.
async fn first_request(stream: &mut Stream) -> Result<(Vec<u8>, Option<String>), Close> {
    let mut bytes = Vec::new();
    loop {
        if let Some(client_id) = client_id(&bytes)? {
            return Ok((bytes, client_id));
        }
        bytes.reserve(limits::IDLE_BUFFER);
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err(Close::Client),
            Ok(_) => {}
            Err(error) => return Err(Close::ClientBroken(error)),
        }
    }
}

/// The client id of the request that `bytes` begin with, if it has one; `None` while too little has come. Asks for no
/// more bytes than a client id can have.
fn client_id(bytes: &[u8]) -> Result<Option<Option<String>>, Refusal> {
    let Some((announced, frame)) = bytes.split_first_chunk::<{ frame::LENGTH_BYTES }>() else {
        return Ok(None);
    };
    let announced = i32::from_be_bytes(*announced);
    let length = usize::try_from(announced).map_err(|_| Refusal::Length(announced))?;
    if length < crate::limits::kafka::FRAME_LEAST {
        return Err(Refusal::Length(announced));
    }
    let whole = frame.len() >= length;
    let frame = frame.get(..length).unwrap_or(frame);
    let read = frame::start(frame).and_then(|(_, rest)| frame::client_id(rest, false));
    match read {
        Ok((id, _)) => Ok(Some(id.map(str::to_owned))),
        Err(malformed) if whole => Err(malformed.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_id_is_read_from_however_little_has_come() {
        let request = b"\0\0\0\x10\0\x12\0\x03\0\0\0\x01\0\x04me-1\0\x01";
        for cut in 0..18 {
            assert_eq!(client_id(&request[..cut]).unwrap(), None, "{cut}");
        }
        for cut in 18..=request.len() {
            assert_eq!(client_id(&request[..cut]).unwrap(), Some(Some("me-1".to_owned())), "{cut}");
        }
        assert_eq!(client_id(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap(), Some(None));
        let cut_off = client_id(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\0\x01\xff");
        assert!(matches!(cut_off, Err(Refusal::Malformed(_))), "{cut_off:?}");
        assert_eq!(client_id(&[0xff; 4]).unwrap_err(), Refusal::Length(-1));
        assert_eq!(client_id(b"\0\0\0\x07").unwrap_err(), Refusal::Length(7));
    }
}
