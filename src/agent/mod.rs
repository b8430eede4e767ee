//! What runs beside a broker: the heartbeat that keeps its record in the registry, and the gateway that clients come
//! through, with what keeps the two in step.

pub mod heartbeat;
pub mod probe;
pub mod sidecar;

pub use heartbeat::Heartbeat;
pub use sidecar::{Settings, Sidecar};
