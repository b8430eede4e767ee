//! The sidecar beside a broker: finds its zone, keeps its record in the registry, and runs the gateway that clients
//! come through, with what keeps the two in step.

pub mod detect;
pub mod heartbeat;
pub mod probe;
pub mod sidecar;

pub use heartbeat::Heartbeat;
pub use sidecar::{Settings, Sidecar};
