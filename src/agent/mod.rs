//! What runs beside a broker: the heartbeat that keeps its record in the registry.

pub mod heartbeat;

pub use heartbeat::Heartbeat;
