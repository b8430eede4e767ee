//! The HTTP front: health, metrics, the fleet as JSON, heartbeats for those without a Redis client.
