//! Whether every address can be bound, and if not, who is likely to have it.

use super::{Check, Outcome};
use crate::config::Config;
use crate::net::{files, tcp};
use crate::server::settings;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

/// Tries every address. Sockets are closed again at once.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for address in &config.dns.listen {
        checks.push(check("DNS over UDP", *address, UdpSocket::bind(address).map(drop)));
        checks.push(check("DNS over TCP", *address, try_tcp(*address)));
    }
    for listener in &config.kafka.listeners {
        let what = format!("Kafka for {}/{}", listener.cluster, listener.group);
        checks.push(check(&what, listener.listen, try_tcp(listener.listen)));
    }
    checks.push(check("admin API", config.admin.listen, try_tcp(config.admin.listen)));
    let needed = settings::open_files(config) as u64;
    checks.push(match files::raise_limit() {
        Some(limit) if limit < needed => Check {
            outcome: Outcome::Warning,
            ..Check::failed(
                "open files",
                format!("{limit} may be open, {needed} are needed if all connections are taken"),
            )
        }
        .hint("raise the limit (ulimit -n, systemd: LimitNOFILE), or lower the connection limits"),
        _ => Check::passed("open files are enough for all connections"),
    });
    checks
}

/// Binds as the server does. It needs a runtime, which registers the socket.
fn try_tcp(address: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    tcp::bind(address).map(drop)
}

fn check(what: &str, address: SocketAddr, outcome: io::Result<()>) -> Check {
    let description = format!("{what} at {address}");
    match outcome {
        Ok(()) => Check::passed(description),
        Err(error) => {
            let check = Check::failed(description, format!("it cannot be bound: {error}"));
            match hint(address, &error) {
                Some(hint) => check.hint(hint),
                None => check,
            }
        }
    }
}

fn hint(address: SocketAddr, error: &io::Error) -> Option<String> {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse if port == 53 => Some(
            "systemd-resolved often holds 127.0.0.53:53: listen at this host's own addresses instead of all, or set \
             DNSStubListener=no in /etc/systemd/resolved.conf.d/"
                .to_owned(),
        ),
        ErrorKind::AddrInUse => {
            Some(format!("`ss -lptun sport = :{port}` says who has it; is this server running already?"))
        }
        ErrorKind::PermissionDenied if port < 1024 => Some(format!(
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=), or listen at \
             another port than {port}"
        )),
        ErrorKind::AddrNotAvailable => Some("no interface of this host has this address".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_says_how_to_find_who_has_it() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = check("DNS over UDP", address, UdpSocket::bind(address).map(drop));
        assert_eq!(found.outcome, super::super::Outcome::Failed);
        assert!(found.hint.unwrap().contains(&format!("sport = :{}", address.port())));
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert!(hint("127.0.0.1:53".parse().unwrap(), &denied).unwrap().contains("CAP_NET_BIND_SERVICE"));
        let busy = io::Error::from(ErrorKind::AddrInUse);
        assert!(hint("0.0.0.0:53".parse().unwrap(), &busy).unwrap().contains("systemd-resolved"));
        assert!(try_tcp("192.0.2.1:1".parse().unwrap()).is_err());
    }
}
