//! fingerpost: a discovery server for leaderless Kafka-compatible brokers ("agents").
//!
//! Heartbeats come in at the [`registry`], one immutable snapshot ([`model::Fleet`]) stands in the middle behind
//! a [`view::View`], answers go out at the fronts: [`dns`], [`kafka`] and [`admin`]. What decides an answer does
//! no I/O and takes the time as an argument: read [`dns::answer`] and [`placement`] first.

pub mod model;
pub mod placement;

pub mod clock;
pub mod limits;
pub mod view;

pub mod config;
pub mod net;
pub mod telemetry;

pub mod admin;
pub mod agent;
pub mod dns;
pub mod kafka;
pub mod registry;

pub mod cli;
pub mod server;
