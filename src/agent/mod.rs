//! The sidecar beside a broker: finds its zone, renews its lease.

pub mod detect;
