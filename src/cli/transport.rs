//! The flags of `fingerpost agent` about connections before their first byte: TLS and the PROXY protocol, in and out. They are
//! the keys of `[[kafka.listener]]` under names that fit a command line.

use super::failure::{Failure, USAGE};
use crate::config::{ClientAuth, TlsConfig};
use crate::kafka::gateway;
use crate::limits::tls::HANDSHAKE;
use crate::net::proxy::{self, Networks};
use crate::net::tls::{ClientSettings, Identity};
use crate::server::settings;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How clients come to a gateway, and how it goes to its broker.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS and PROXY protocol of the gateway")]
pub(super) struct Transport {
    /// Speak TLS to clients: a certificate chain (PEM), read again when it changes; may be repeated, clients get
    /// the one with the name they ask for
    #[arg(long, value_name = "FILE", requires = "listen")]
    tls_cert: Vec<PathBuf>,
    /// The key (PEM) of --tls-cert, in the same order; may be left out where each file holds both
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Vec<PathBuf>,
    /// Whether clients show certificates; whom one names is logged (debug) and grants nothing
    #[arg(long, value_enum, default_value_t = Demand::Off, requires = "client_ca")]
    client_auth: Demand,
    /// The authorities (PEM) whose client certificates are good
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Whether load balancers in front tell the client's address by the PROXY protocol (version 1 or 2)
    #[arg(long, value_enum, default_value_t = Demand::Off, requires_all = ["listen", "proxy_from"])]
    proxy_protocol: Demand,
    /// A network of those load balancers; may be repeated. Whoever is in it can be any client he likes
    #[arg(long, value_name = "CIDR", requires = "proxy_protocol")]
    proxy_from: Vec<String>,
    /// Speak TLS to the upstream, whose certificate must be of these authorities (PEM)
    #[arg(long, value_name = "CA_FILE", requires = "upstream")]
    upstream_tls: Option<PathBuf>,
    /// The name that the upstream's certificate must have; the host of --upstream if left out
    #[arg(long, value_name = "NAME", requires = "upstream_tls")]
    upstream_tls_name: Option<String>,
    /// The certificate (PEM) to show to the upstream
    #[arg(long, value_name = "FILE", requires = "upstream_tls")]
    upstream_tls_cert: Option<PathBuf>,
    /// The key (PEM) of --upstream-tls-cert; may be left out where that file holds both
    #[arg(long, value_name = "FILE", requires = "upstream_tls_cert")]
    upstream_tls_key: Option<PathBuf>,
    /// Tell the upstream the client's address by the PROXY protocol (version 2); Kafka's own brokers do not read it
    #[arg(long, requires = "upstream")]
    upstream_proxy: bool,
}

/// How much is asked of who connects: nothing, it may, it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Demand {
    Off,
    Optional,
    Required,
}

impl Transport {
    /// Puts what the flags say into a gateway's settings.
    pub(super) fn apply(&self, gateway: &mut gateway::Settings) -> Result<(), Failure> {
        gateway.tls = self.tls()?.as_ref().map(settings::tls);
        gateway.proxy = self.proxy()?;
        gateway.upstream_tls = self.upstream_tls.as_ref().map(|authorities| {
            let mut tls = ClientSettings::new(authorities);
            tls.server_name.clone_from(&self.upstream_tls_name);
            tls.identity = self.upstream_tls_cert.clone().map(|certificate| Identity {
                key: self.upstream_tls_key.clone().unwrap_or_else(|| certificate.clone()),
                certificate,
            });
            tls
        });
        gateway.upstream_proxy = self.upstream_proxy;
        Ok(())
    }

    fn tls(&self) -> Result<Option<TlsConfig>, Failure> {
        let (certificates, keys) = (&self.tls_cert, &self.tls_key);
        if certificates.is_empty() {
            return Ok(None);
        }
        if !keys.is_empty() && keys.len() != certificates.len() {
            let what = format!("{} of --tls-cert and {} of --tls-key", certificates.len(), keys.len());
            return Err(Failure::new(USAGE, what).next(
                "give a key for each certificate, in the same order, or none where each file holds both",
            ));
        }
        let keys = if keys.is_empty() { certificates } else { keys };
        let clients = match (self.client_auth, self.client_ca.clone()) {
            (Demand::Optional, Some(ca)) => ClientAuth::Optional(ca),
            (Demand::Required, Some(ca)) => ClientAuth::Required(ca),
            (_, None) => ClientAuth::Off,
            (Demand::Off, Some(_)) => {
                return Err(Failure::new(USAGE, "--client-ca, and no client is asked for a certificate")
                    .next("add --client-auth required (or optional)"));
            }
        };
        Ok(Some(TlsConfig {
            identities: certificates.iter().cloned().zip(keys.iter().cloned()).collect(),
            clients,
            handshake: HANDSHAKE.default,
        }))
    }

    fn proxy(&self) -> Result<Option<proxy::Settings>, Failure> {
        let mode = match self.proxy_protocol {
            Demand::Off if self.proxy_from.is_empty() => return Ok(None),
            Demand::Off => {
                return Err(Failure::new(USAGE, "--proxy-from, and --proxy-protocol is off")
                    .next("add --proxy-protocol required (or optional)"));
            }
            Demand::Optional => proxy::Mode::Optional,
            Demand::Required => proxy::Mode::Required,
        };
        let trusted = Networks::parse(self.proxy_from.iter().map(String::as_str))
            .map_err(|error| Failure::new(USAGE, format!("--proxy-from: {error}")))?;
        Ok(Some(proxy::Settings::new(mode, trusted)))
    }
}
