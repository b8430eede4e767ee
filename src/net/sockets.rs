//! Where listening sockets come from: those that whoever started the process passed along (socket activation), else
//! new ones. What is passed outlives the process, its queue with it; what is new may share its address with another
//! process of the same user, so that the next one can take over before this one ends.

use super::{tcp, udp};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// A source of listening sockets. Clones share what was passed: each passed socket is given out once.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    passed: Arc<Mutex<Passed>>,
    shared: bool,
}

#[derive(Debug, Default)]
struct Passed {
    udp: Vec<UdpSocket>,
    tcp: Vec<StdListener>,
}

/// UDP sockets of one address, one for each worker.
#[derive(Debug)]
pub struct UdpSockets {
    /// The sockets.
    pub sockets: Vec<UdpSocket>,
    /// What becomes of their queues when the workers end.
    pub end: udp::End,
}

impl Sockets {
    /// Sockets that were passed; new ones are `shared` or not.
    pub fn new(udp: Vec<UdpSocket>, tcp: Vec<StdListener>, shared: bool) -> Self {
        Self { passed: Arc::new(Mutex::new(Passed { udp, tcp })), shared }
    }

    /// Whether another process may answer at our addresses, or questions wait for us there: then there is no hurry to
    /// answer before the registry was read.
    pub fn takes_over(&self) -> bool {
        let passed = self.lock();
        self.shared || !passed.udp.is_empty() || !passed.tcp.is_empty()
    }

    /// A TCP listener at this address. To be called within a tokio runtime.
    pub fn tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let mut passed = self.lock();
        let is_it = |socket: &StdListener| socket.local_addr().is_ok_and(|local| local == address);
        if let Some(at) = passed.tcp.iter().position(is_it) {
            let socket = passed.tcp.swap_remove(at);
            socket.set_nonblocking(true)?;
            return TcpListener::from_std(socket);
        }
        tcp::bind_as(address, self.shared)
    }

    /// UDP sockets at this address for so many workers.
    pub fn udp(&self, address: SocketAddr, workers: usize) -> io::Result<UdpSockets> {
        let mut passed = self.lock();
        let is_it = |socket: &UdpSocket| socket.local_addr().is_ok_and(|local| local == address);
        let (ours, others) = std::mem::take(&mut passed.udp).into_iter().partition::<Vec<_>, _>(is_it);
        passed.udp = others;
        if ours.is_empty() {
            let sockets =
                if self.shared { udp::bind_beside(address, workers) } else { udp::bind(address, workers) };
            return Ok(UdpSockets { sockets: sockets?, end: udp::End::Leave });
        }
        for socket in &ours {
            udp::prepare(&SockRef::from(socket), address)?;
            socket.set_nonblocking(false)?;
        }
        // More workers than sockets read from the same ones.
        let more = ours.iter().cycle().take(workers.saturating_sub(ours.len()));
        let more = more.map(UdpSocket::try_clone).collect::<io::Result<Vec<_>>>()?;
        Ok(UdpSockets { sockets: ours.into_iter().chain(more).collect(), end: udp::End::Keep })
    }

    /// Addresses of passed sockets that nobody asked for.
    pub fn unclaimed(&self) -> Vec<String> {
        let passed = self.lock();
        let shown = |what: &str, address: io::Result<SocketAddr>| match address {
            Ok(address) => format!("{address} ({what})"),
            Err(error) => format!("a {what} socket without an address ({error})"),
        };
        let udp = passed.udp.iter().map(|socket| shown("UDP", socket.local_addr()));
        udp.chain(passed.tcp.iter().map(|socket| shown("TCP", socket.local_addr()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner) // a list of sockets: any state is a good one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_passed_is_given_out_once_and_by_its_address() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = StdListener::bind("127.0.0.1:0").unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let sockets = Sockets::new(vec![udp], vec![tcp], false);
        assert!(sockets.takes_over());
        let other = sockets.udp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        assert_eq!(other.end, udp::End::Leave);
        assert_eq!(sockets.unclaimed(), [format!("{udp_at} (UDP)"), format!("{tcp_at} (TCP)")]);
        let passed = sockets.udp(udp_at, 3).unwrap();
        assert_eq!((passed.sockets.len(), passed.end), (3, udp::End::Keep));
        assert!(passed.sockets.iter().all(|socket| socket.local_addr().unwrap() == udp_at));
        let taken = sockets.tcp(tcp_at).unwrap();
        assert_eq!(taken.local_addr().unwrap(), tcp_at);
        assert!(sockets.unclaimed().is_empty() && !sockets.takes_over());
        assert_eq!(sockets.tcp(tcp_at).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn shared_addresses_can_be_bound_twice_by_those_who_all_share() {
        let shared = || Sockets::new(Vec::new(), Vec::new(), true);
        let first = shared().udp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first.sockets[0].local_addr().unwrap();
        assert_eq!(shared().udp(address, 2).unwrap().sockets[1].local_addr().unwrap(), address);
        let listener = shared().tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(shared().tcp(address).is_ok());
        assert!(Sockets::default().tcp(address).is_err());
    }
}
