//! The Kafka listener as real clients see it.
