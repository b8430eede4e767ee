//! What runs beside a broker: it finds its zone, keeps its record in the registry, and is the gateway that clients come
//! through.

pub mod detect;
pub mod heartbeat;
pub mod probe;
pub mod read_only;
pub mod sidecar;

pub use heartbeat::Heartbeat;
pub use sidecar::{Settings, Sidecar};
