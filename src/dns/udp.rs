//! DNS over UDP: what a worker does with a batch of packets. The responder, the snapshot and the time are taken
//! once per batch.

use super::live::Live;
use super::render::Transport;
use super::respond::Asked;
use crate::clock::Clock;
use crate::limits::dns as limits;
use crate::net::udp::{Exchange, Service, Sizes};
use crate::telemetry::dns::{Counters, Event};
use crate::view::View;
use fastrand::Rng;
use std::io;
use std::sync::Arc;

/// Sizes of a worker's buffers.
pub const SIZES: Sizes = Sizes { query: limits::UDP_QUERY, answer: limits::UDP_ANSWER };

/// One worker: owned by one thread, shares only what is read.
#[derive(Debug)]
pub struct Worker {
    live: Live,
    view: View,
    clock: Clock,
    counters: Arc<Counters>,
    random: Rng,
}

impl Worker {
    /// A worker whose samples are drawn by `random`: seeded by the system in production, by a number in tests.
    pub fn new(live: Live, view: View, clock: Clock, counters: Arc<Counters>, random: Rng) -> Self {
        Self { live, view, clock, counters, random }
    }
}

impl Service for Worker {
    fn batch(&mut self, exchanges: &mut [Exchange]) {
        let (responder, fleet) = (self.live.load(), self.view.load());
        let now = self.clock.now();
        for exchange in exchanges {
            let peer = exchange.peer();
            if peer.port() == 0 {
                self.counters.note(Event::DroppedSource);
                continue;
            }
            let (transport, peer, idle, entropy) = (Transport::Udp, peer.ip(), None, self.random.u64(..));
            let (packet, out) = exchange.parts();
            let asked = Asked { packet, peer, transport, idle, fleet: &fleet, now, entropy };
            let len = responder.respond(asked, &self.counters, out);
            exchange.reply(len);
        }
    }

    fn receive_failed(&mut self, error: &io::Error) {
        self.counters.note(Event::ReceiveError);
        tracing::debug!(%error, "receiving DNS packets");
    }

    fn not_sent(&mut self, answers: u64) {
        self.counters.note_many(Event::SendError, answers);
    }
}
