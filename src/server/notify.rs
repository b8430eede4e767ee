//! Tells the service manager what the process is doing (`sd_notify(3)`): a datagram of `KEY=VALUE` lines to the socket
//! that it named. Without one, nothing is told.

use crate::config::Environment;
use std::io;
use std::os::unix::net::UnixDatagram;

/// Where the service manager listens, if one does.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<String>,
}

impl Notifier {
    /// To whom the environment says (`NOTIFY_SOCKET`).
    pub fn of(environment: &Environment) -> Self {
        Self { socket: environment.notify_socket().map(str::to_owned) }
    }

    /// Everything is bound and answers, or does so again after a reload.
    pub fn ready(&self) {
        self.tell("READY=1\n");
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        self.tell("RELOADING=1\n");
    }

    /// The process is draining.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, what) {
            tracing::warn!(%error, socket, "the service manager cannot be told: it may take us for hung");
        }
    }
}

#[cfg(target_os = "linux")]
fn send(socket: &str, what: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &str, what: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to(what.as_bytes(), socket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let heard = |manager: &UnixDatagram| {
            let mut text = [0; 64];
            let len = manager.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..len]).into_owned()
        };
        let environment = |socket: &str| Environment::of([("NOTIFY_SOCKET".to_owned(), socket.to_owned())]);
        let notifier = Notifier::of(&environment(path.to_str().unwrap()));
        notifier.ready();
        assert_eq!(heard(&manager), "READY=1\n");
        notifier.reloading();
        assert_eq!(heard(&manager), "RELOADING=1\n");
        Notifier::of(&Environment::default()).stopping(); // nobody to tell
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("fingerpost-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            Notifier::of(&environment(&format!("@{name}"))).stopping();
            assert_eq!(heard(&manager), "STOPPING=1\n");
        }
    }
}
