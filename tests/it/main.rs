//! The process-level tests, in one binary: linking is what takes the time. Each room has its module, and every
//! test talks to real programs (redis-server, dig, kcat, ...) over loopback; `support` starts and stops them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod admin;
mod agent;
mod cli;
mod clients;
mod compose;
mod config;
mod delegation;
mod detect;
mod detect_kubernetes;
mod detect_proxy;
mod detect_service;
mod dns;
mod dns_fleet;
mod dns_peers;
mod dns_policy;
mod dns_resolvers;
mod dns_scenarios;
mod dns_transfer;
mod dnssec;
mod encrypted;
mod gateway;
mod gateway_drain;
mod gateway_passes;
mod gateway_relay;
mod gateway_sasl;
mod gateway_tls;
mod interop;
mod kafka;
mod listener;
mod readme;
mod registry;
mod registry_redis;
mod registry_tls;
mod reload;
mod restart;
mod server;
mod support;
mod tls;
mod tls_proxy;
