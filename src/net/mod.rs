//! Sockets without protocols: how we bind, accept, limit and stop. Knows nothing of DNS or Kafka.

pub mod dial;
pub mod entry;
pub mod files;
pub mod prefixed;
pub mod proxy;
mod sockets;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod udp;

pub use sockets::{Sockets, UdpSockets};
