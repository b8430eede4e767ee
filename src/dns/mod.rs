//! The DNS front.
