//! Sockets without protocols: how we bind, accept, limit and stop. Knows nothing of DNS or Kafka.

pub mod tcp;
pub mod udp;
