//! The Kafka front.
