//! NOTIFY out (RFC 1996): a secondary is told that there is a new version, so that it need not wait for its refresh
//! timer. One message at a time for each of them, repeated with growing pauses until it is acknowledged.

use super::Version;
use crate::clock;
use crate::dns::names::Name;
use crate::dns::tsig::{Key, Signer, append};
use crate::dns::wire::{CLASS_IN, HEADER, Record, rtype};
use crate::limits::dns as limits;
use crate::telemetry::transfer::Metrics;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The opcode, in its place.
const NOTIFY: u8 = 4 << 3;

/// Tells one secondary of the versions of one zone.
pub(super) struct Notifier {
    pub(super) apex: Name,
    pub(super) to: SocketAddr,
    pub(super) key: Arc<Key>,
    pub(super) versions: watch::Receiver<Option<Arc<Version>>>,
    /// Shortest time between two of them.
    pub(super) interval: Duration,
    pub(super) metrics: Arc<Metrics>,
    /// The last one was not acknowledged, which was said.
    pub(super) in_trouble: bool,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Acknowledged,
    /// With this code.
    Refused(u8),
    /// Nothing in time, or nothing that the secondary signed.
    None,
}

impl Notifier {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&mut self) {
        // What was published before this task ran is news as well.
        self.versions.mark_changed();
        while self.versions.changed().await.is_ok() {
            self.tell().await;
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Tells of the newest version until it is acknowledged, refused, given up, or there is a newer one.
    async fn tell(&mut self) {
        let mut wait = limits::NOTIFY_WAIT;
        for _ in 0..limits::NOTIFY_TRIES {
            let Some(version) = self.versions.borrow_and_update().clone() else { return };
            self.metrics.notified("sent");
            let (mut versions, started) = (self.versions.clone(), clock::stopwatch());
            let reply = tokio::select! {
                reply = self.ask(&version, wait) => reply,
                // The next one says the same, and is up to date; not sooner than the interval allows.
                _ = versions.changed() => {
                    tokio::time::sleep(self.interval.saturating_sub(started.elapsed())).await;
                    continue;
                }
            };
            let (zone, secondary, serial) = (&self.apex, self.to, version.serial);
            match reply {
                Reply::Acknowledged => {
                    self.metrics.notified("acknowledged");
                    self.in_trouble = false;
                    tracing::debug!(%zone, %secondary, serial, "NOTIFY was acknowledged");
                    return;
                }
                Reply::Refused(rcode) => {
                    self.metrics.notified("refused");
                    if !self.in_trouble {
                        tracing::warn!(
                            %zone, %secondary, rcode,
                            "a secondary refuses NOTIFY: let it allow them from here, signed with its key"
                        );
                    }
                    self.in_trouble = true;
                    return;
                }
                Reply::None => wait = wait.saturating_mul(2),
            }
        }
        self.metrics.notified("unanswered");
        if !std::mem::replace(&mut self.in_trouble, true) {
            let (zone, secondary, tries) = (&self.apex, self.to, limits::NOTIFY_TRIES);
            tracing::warn!(%zone, %secondary, tries, "a secondary does not answer NOTIFY: it will see at its refresh");
        }
    }

    /// Sends one and waits for its reply.
    async fn ask(&self, version: &Version, wait: Duration) -> Reply {
        let started = clock::stopwatch();
        match timeout(wait, self.exchange(version)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                tracing::debug!(secondary = %self.to, %error, "sending NOTIFY");
                // Nobody listens there: the next try waits as if there had been silence.
                tokio::time::sleep(wait.saturating_sub(started.elapsed())).await;
                Reply::None
            }
            Err(_) => Reply::None,
        }
    }

    async fn exchange(&self, version: &Version) -> io::Result<Reply> {
        let any: SocketAddr = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        // Connected: what comes from elsewhere is not seen.
        socket.connect(self.to).await?;
        let id = fastrand::u16(..);
        let mut signer = Signer::of_request(Arc::clone(&self.key), id, clock::unix_seconds());
        socket.send(&request(&self.apex, id, version, &mut signer)).await?;
        let mut reply = vec![0; limits::UDP_QUERY];
        loop {
            let len = socket.recv(&mut reply).await?;
            let reply = reply.get(..len).unwrap_or_default();
            match judge(reply, id, &signer, clock::unix_seconds()) {
                Reply::None => {}
                reply => return Ok(reply),
            }
        }
    }
}

/// The message: the apex as question, the new SOA as a hint (RFC 1996 §3.7), and the signature.
fn request(apex: &Name, id: u16, version: &Version, signer: &mut Signer) -> Vec<u8> {
    let [i1, i2] = id.to_be_bytes();
    let mut message = vec![i1, i2, NOTIFY | 0x04, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    message.extend_from_slice(apex.wire());
    for number in [rtype::SOA, CLASS_IN, 0xc000 | HEADER as u16, rtype::SOA, CLASS_IN] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    let soa = version.contents.soa(version.serial);
    message.extend_from_slice(&version.contents.soa_ttl.to_be_bytes());
    message.extend_from_slice(&(soa.len() as u16).to_be_bytes());
    message.extend_from_slice(&soa);
    let record = signer.sign(&message, clock::unix_seconds());
    let len = message.len();
    message.resize(len + record.len(), 0);
    append(&mut message, len, &record);
    message
}

/// Whether a packet is the reply to the NOTIFY of this id, and what it says.
fn judge(reply: &[u8], id: u16, signer: &Signer, now: u64) -> Reply {
    let Some([i1, i2, flags, code, ..]) = reply.first_chunk::<HEADER>() else { return Reply::None };
    if u16::from_be_bytes([*i1, *i2]) != id || flags & 0xf8 != 0x80 | NOTIFY {
        return Reply::None;
    }
    match (code & 0x0f, signature(reply)) {
        (0, Some(at)) if signer.answers(reply, at, now) => Reply::Acknowledged,
        // Anyone could have sent an unsigned yes; a no only spares us from asking again.
        (0, _) => Reply::None,
        (rcode, _) => Reply::Refused(rcode),
    }
}

/// Where the TSIG record of a reply begins: its last record.
fn signature(reply: &[u8]) -> Option<usize> {
    let [_, _, _, _, q1, q2, a1, a2, n1, n2, r1, r2] = *reply.first_chunk::<HEADER>()?;
    let [questions, answers, authority, additional] =
        [[q1, q2], [a1, a2], [n1, n2], [r1, r2]].map(|count| u32::from(u16::from_be_bytes(count)));
    let mut at = HEADER;
    // As many as the packet holds, whatever the count says.
    for _ in 0..questions {
        at += Name::read(reply.get(at..)?).ok()?.1 + 4;
    }
    let mut last = None;
    for _ in 0..answers + authority + additional {
        let record = Record::read(reply, at)?;
        last = (record.rtype == rtype::TSIG).then_some(at);
        at = record.end;
    }
    last
}
