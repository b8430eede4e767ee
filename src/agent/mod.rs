//! The sidecar beside a broker: finds its zone, and keeps its record in the registry.

pub mod detect;
pub mod heartbeat;

pub use heartbeat::Heartbeat;
