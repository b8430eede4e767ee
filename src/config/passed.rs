//! Sockets that whoever started us passed along: systemd's socket activation, `sd_listen_fds(3)`.

use listenfd::ListenFd;
use std::net::{TcpListener, UdpSocket};

/// The sockets that `LISTEN_FDS` tells of, if `LISTEN_PID` says that they are for this process. What is neither UDP nor
/// TCP is left alone. To be called once, before there are threads: the variables are removed.
pub fn passed_sockets() -> (Vec<UdpSocket>, Vec<TcpListener>) {
    let mut passed = ListenFd::from_env();
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for at in 0..passed.len() {
        // An error says that it is of another kind, and leaves it where it is.
        if let Ok(Some(socket)) = passed.take_udp_socket(at) {
            udp.push(socket);
        } else if let Ok(Some(socket)) = passed.take_tcp_listener(at) {
            tcp.push(socket);
        }
    }
    (udp, tcp)
}
