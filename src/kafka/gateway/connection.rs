//! One client of a gateway: in through what stands before the first request, away if it asked for another group, and on to
//! the broker.

use super::close::Close;
use super::{Gate, relay};
use crate::kafka::misplaced;
use crate::limits::gateway as limits;
use crate::net::entry::Entered;
use crate::net::prefixed::Prefixed;
use crate::net::tcp;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Serves one client until its connection ends, and counts why it did.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, gate: Arc<Gate>, stop: CancellationToken) {
    let metrics = &gate.shared.metrics;
    metrics.accepted.inc();
    metrics.open.inc();
    let _open = Open(&gate);
    let close = client(stream, peer, &gate, &stop).await;
    metrics.closed(close.as_str());
    if let Some(kind) = close.upstream_error() {
        metrics.upstream_error(kind);
        gate.upstream.poke();
    }
    let group = &gate.service.group;
    tracing::debug!(%peer, %group, reason = %close, "gateway connection closed");
}

/// Counts one open connection for as long as it lives, even if its task is cut.
struct Open<'a>(&'a Gate);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.shared.metrics.open.dec();
    }
}

async fn client(stream: TcpStream, peer: SocketAddr, gate: &Gate, stop: &CancellationToken) -> Close {
    tcp::keep_alive(&stream, limits::KEEP_ALIVE);
    let own = match stream.local_addr() {
        Ok(own) => own,
        Err(error) => return Close::ClientBroken(error),
    };
    // Boxed, so that the state of a handshake is given back when it is done and not kept as long as the connection.
    let entering = Box::pin(gate.entry.enter(stream, peer, &gate.shared.metrics.entry));
    let entered = tokio::select! {
        biased;
        () = stop.cancelled() => return Close::Stopping,
        entered = entering => entered,
    };
    let Entered { mut stream, source, sni, principal, share: _share } = match entered {
        Ok(entered) => entered,
        Err(error) => return Close::Entry(error),
    };
    let service = &gate.service;
    if let Some(name) = sni.as_deref()
        && misplaced::names_another(name, &gate.apexes, &service.cluster, &service.group)
    {
        Box::pin(misplaced::turn_away(&mut stream)).await;
        return Close::Misplaced(sni.unwrap_or_default());
    }
    let subject = principal.as_ref().map(|one| one.subject.as_str());
    tracing::debug!(%peer, %source, group = %service.group, sni, principal = subject, "gateway connection open");
    let link = tokio::select! {
        connected = Box::pin(gate.upstream.link(Some((source, own)))) => match connected {
            Ok(link) => link,
            Err(error) => return Close::Connect(error),
        },
        () = stop.cancelled() => return Close::Stopping,
    };
    let stream = Prefixed::new(Vec::new(), stream);
    relay::relay(stream, source.ip(), link, Arc::clone(service), Arc::clone(&gate.shared), stop).await
}
