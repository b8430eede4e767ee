//! The sidecar: heartbeats of a real process in a real registry.
