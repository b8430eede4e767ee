//! UDP sockets: one SO_REUSEPORT socket per worker, packets received and sent in batches, and each answer leaves
//! from the address that was asked. Linux has system calls for all three; elsewhere packets go one by one.

use crate::limits::dns as limits;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// One packet and the answer to it. The buffers live as long as the worker.
#[derive(Debug)]
pub struct Exchange {
    query: Box<[u8]>,
    query_len: usize,
    answer: Box<[u8]>,
    answer_len: usize,
    peer: SocketAddr,
    /// The address that was asked, where the socket is bound to a wildcard.
    local: Option<Local>,
}

/// A local address, and for a link-local one its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Local {
    address: IpAddr,
    interface: u32,
}

impl Exchange {
    fn new(sizes: Sizes) -> Self {
        Self {
            query: vec![0; sizes.query].into(),
            query_len: 0,
            answer: vec![0; sizes.answer].into(),
            answer_len: 0,
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            local: None,
        }
    }

    /// Who asked.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The packet, and the buffer that the answer goes to. Say with [`Exchange::reply`] how long it is.
    pub fn parts(&mut self) -> (&[u8], &mut [u8]) {
        (self.query.get(..self.query_len).unwrap_or_default(), &mut self.answer)
    }

    /// Sends the first `len` bytes of the answer's buffer; with 0 nothing is sent.
    pub fn reply(&mut self, len: usize) {
        self.answer_len = len.min(self.answer.len());
    }

    fn answer(&self) -> &[u8] {
        self.answer.get(..self.answer_len).unwrap_or_default()
    }
}

/// Sizes of an exchange's buffers in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The longest packet that is read whole.
    pub query: usize,
    /// The longest answer.
    pub answer: usize,
}

/// What answers packets.
pub trait Service {
    /// Answers a batch, 1 to [`limits::UDP_BATCH`] packets that came together.
    fn batch(&mut self, exchanges: &mut [Exchange]);
    /// Receiving failed.
    fn receive_failed(&mut self, error: &io::Error);
    /// So many answers were not taken by the system.
    fn not_sent(&mut self, answers: u64);
}

/// Binds as many sockets to one address as there are workers; the kernel spreads the packets over them. Fails if
/// anybody else has the address, even with SO_REUSEPORT: half of the packets would be theirs.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..workers.max(1)).map(|_| bind_one(address)).collect()
}

/// The same beside whoever of this user has the address by SO_REUSEPORT: the kernel spreads packets over all.
pub fn bind_beside(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let more = (1..workers.max(1)).map(|_| bind_one(address)).collect::<io::Result<Vec<_>>>()?;
    Ok([first].into_iter().chain(more).collect())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    prepare(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Sets what workers need of a socket of this address.
pub(super) fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // More than the system allows is cut to what it allows; refusing to start for that would help nobody.
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER);
    let _ = socket.set_send_buffer_size(limits::UDP_BUFFER);
    socket.set_read_timeout(Some(limits::UDP_WAKE))?;
    #[cfg(target_os = "linux")]
    batched::ask_for_local_address(socket, address)?;
    #[cfg(not(target_os = "linux"))]
    let _ = address;
    Ok(())
}

/// What becomes of the packets that wait in a socket when its worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They are answered: nobody else could. The socket leaves those that share its port first, so that new packets
    /// go to the others.
    Leave,
    /// They stay for whoever reads the socket next: it is not ours alone.
    Keep,
}

/// Takes a socket out of those that share its port, with its queue. The kernel gives packets to unconnected sockets of
/// a group only, so one that is connected to itself gets none any more; and what waits in it can still be read and
/// answered. Closing it instead would lose what waits (measured: docs/reload.md).
fn leave(socket: &UdpSocket) -> io::Result<()> {
    let mut own = socket.local_addr()?;
    match own {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => own.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => own.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    socket.connect(own)
}

/// How a worker ends: called before each receive, it says when that was the last.
struct Ending {
    end: End,
    /// How often it may still receive; `None` while it works.
    left: Option<usize>,
}

impl Ending {
    fn new(end: End) -> Self {
        Self { end, left: None }
    }

    /// Whether the worker is done.
    fn is_over(&mut self, socket: &UdpSocket, stop: &AtomicBool) -> bool {
        match &mut self.left {
            None if !stop.load(Ordering::Relaxed) => false,
            // Without a way out (no route to ourselves), what waits is answered as far as it goes.
            None if self.end == End::Leave => {
                if let Err(error) = leave(socket) {
                    tracing::debug!(%error, "a UDP socket cannot leave its group");
                }
                self.left = Some(limits::UDP_LAST_BATCHES);
                false
            }
            None => true,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// Nothing waits any more.
    fn quiet(&mut self) {
        if let Some(left) = &mut self.left {
            *left = 0;
        }
    }
}

/// Serves one socket on this thread until `stop`, which it notices within [`limits::UDP_WAKE`], and then to its `end`.
pub fn serve(
    socket: &UdpSocket,
    sizes: Sizes,
    stop: &AtomicBool,
    end: End,
    service: &mut impl Service,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return match socket.local_addr()? {
        SocketAddr::V4(_) => {
            batched::serve::<nix::sys::socket::SockaddrIn>(socket, sizes, stop, end, service)
        }
        SocketAddr::V6(_) => {
            batched::serve::<nix::sys::socket::SockaddrIn6>(socket, sizes, stop, end, service)
        }
    };
    #[cfg(not(target_os = "linux"))]
    one_by_one(socket, sizes, stop, end, service)
}

/// A packet a call: for systems without the batched calls.
#[cfg_attr(target_os = "linux", allow(dead_code))]
fn one_by_one(
    socket: &UdpSocket,
    sizes: Sizes,
    stop: &AtomicBool,
    end: End,
    service: &mut impl Service,
) -> io::Result<()> {
    let mut exchange = Exchange::new(sizes);
    let mut ending = Ending::new(end);
    while !ending.is_over(socket, stop) {
        match socket.recv_from(&mut exchange.query) {
            Ok((len, peer)) => {
                (exchange.query_len, exchange.peer, exchange.answer_len) = (len, peer, 0);
                service.batch(std::slice::from_mut(&mut exchange));
                if exchange.answer_len > 0 && socket.send_to(exchange.answer(), peer).is_err() {
                    service.not_sent(1);
                }
            }
            Err(error) if is_quiet(&error) => ending.quiet(),
            Err(error) => pause_after(&error, service),
        }
    }
    Ok(())
}

/// Nothing came, or a signal did.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// An error that a peer caused (ICMP unreachable) is noted and gone; any other could repeat at once for ever.
fn pause_after(error: &io::Error, service: &mut impl Service) {
    service.receive_failed(error);
    if error.kind() != io::ErrorKind::ConnectionRefused {
        std::thread::sleep(limits::UDP_WAKE);
    }
}

/// Batches by recvmmsg and sendmmsg.
#[cfg(target_os = "linux")]
mod batched {
    use super::{End, Ending, Exchange, Local, Service, Sizes, is_quiet, limits, pause_after};
    use nix::libc;
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
        recvmmsg, sendmmsg, setsockopt, sockopt,
    };
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::sync::atomic::AtomicBool;

    const BATCH: usize = limits::UDP_BATCH;

    /// A socket address of one family as the system has it.
    pub(super) trait Family: SockaddrLike + Copy {
        fn to_std(self) -> SocketAddr;
        /// A buffer for one control message with a local address.
        fn control_space() -> Vec<u8>;
    }

    impl Family for SockaddrIn {
        fn to_std(self) -> SocketAddr {
            self.into()
        }
        fn control_space() -> Vec<u8> {
            nix::cmsg_space!(libc::in_pktinfo)
        }
    }

    impl Family for SockaddrIn6 {
        fn to_std(self) -> SocketAddr {
            self.into()
        }
        fn control_space() -> Vec<u8> {
            nix::cmsg_space!(libc::in6_pktinfo)
        }
    }

    /// Bound to a wildcard, a socket must be told with each packet which of our addresses was asked.
    pub(super) fn ask_for_local_address(socket: &socket2::Socket, address: SocketAddr) -> io::Result<()> {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn serve<S: Family>(
        socket: &UdpSocket,
        sizes: Sizes,
        stop: &AtomicBool,
        end: End,
        service: &mut impl Service,
    ) -> io::Result<()> {
        let mut ending = Ending::new(end);
        let is_wildcard = socket.local_addr()?.ip().is_unspecified();
        let space = || is_wildcard.then(S::control_space);
        let mut exchanges: Vec<Exchange> = (0..BATCH).map(|_| Exchange::new(sizes)).collect();
        let mut peers: [Option<S>; BATCH] = [None; BATCH];
        let mut incoming = MultiHeaders::<S>::preallocate(BATCH, space());
        let mut plain = MultiHeaders::<S>::preallocate(BATCH, None);
        let mut from_local = MultiHeaders::<S>::preallocate(BATCH, space());
        while !ending.is_over(socket, stop) {
            let got = match receive(socket, &mut incoming, &mut exchanges, &mut peers) {
                Ok(got) => got,
                Err(error) => {
                    if is_quiet(&error) {
                        ending.quiet();
                    } else {
                        pause_after(&error, service);
                    }
                    continue;
                }
            };
            let filled = exchanges.get_mut(..got).unwrap_or_default();
            if is_wildcard && filled.iter().any(|exchange| exchange.local.is_none()) {
                // The kernel shortens a header's control buffer to what it wrote: start from whole ones again.
                incoming = MultiHeaders::preallocate(BATCH, space());
            }
            service.batch(filled);
            let mut rest: &[Exchange] = filled;
            let mut peers: &[Option<S>] = &peers;
            while let Some(first) = rest.first() {
                // One call sends one run of answers that leave from the same address: nearly always all of them.
                let run = rest.iter().take_while(|exchange| exchange.local == first.local).count();
                let headers = if first.local.is_some() { &mut from_local } else { &mut plain };
                let unsent = send(socket, headers, rest.get(..run).unwrap_or_default(), peers, first.local);
                if unsent > 0 {
                    service.not_sent(unsent);
                }
                rest = rest.get(run..).unwrap_or_default();
                peers = peers.get(run..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Waits for packets (no longer than the socket's time-out) and takes as many as there are.
    fn receive<S: Family>(
        socket: &UdpSocket,
        headers: &mut MultiHeaders<S>,
        exchanges: &mut [Exchange],
        peers: &mut [Option<S>; BATCH],
    ) -> io::Result<usize> {
        let mut heads: [(usize, Option<S>, Option<Local>); BATCH] = [(0, None, None); BATCH];
        let mut got = 0;
        {
            let mut buffers = exchanges.iter_mut();
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
                [IoSliceMut::new(buffers.next().map_or(&mut [], |exchange| &mut exchange.query))]
            });
            let flags = MsgFlags::MSG_WAITFORONE;
            let messages = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
            for (message, head) in messages.zip(heads.iter_mut()) {
                let local = message.cmsgs().ok().and_then(|mut all| all.find_map(|one| local_of(&one)));
                *head = (message.bytes, message.address, local);
                got += 1;
            }
        }
        for ((exchange, peer), (len, address, local)) in exchanges.iter_mut().zip(peers).zip(heads).take(got)
        {
            (exchange.query_len, exchange.answer_len, exchange.local) = (len, 0, local);
            if let Some(address) = address {
                exchange.peer = address.to_std();
            }
            *peer = address;
        }
        Ok(got)
    }

    /// Sends the answers of a run; says how many the system did not take. One that it refuses is left out.
    fn send<S: Family>(
        socket: &UdpSocket,
        headers: &mut MultiHeaders<S>,
        run: &[Exchange],
        peers: &[Option<S>],
        local: Option<Local>,
    ) -> u64 {
        let mut addresses: [Option<S>; BATCH] = [None; BATCH];
        let mut slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|_| [IoSlice::new(&[])]);
        let mut count = 0;
        let answered = run.iter().zip(peers).filter(|(exchange, _)| exchange.answer_len > 0);
        for ((exchange, peer), (slice, address)) in answered.zip(slices.iter_mut().zip(addresses.iter_mut()))
        {
            *slice = [IoSlice::new(exchange.answer())];
            *address = *peer;
            count += 1;
        }
        let v4 = local.and_then(in_pktinfo);
        let v6 = local.and_then(in6_pktinfo);
        let control = match (&v4, &v6) {
            (Some(info), _) => Some(ControlMessage::Ipv4PacketInfo(info)),
            (_, Some(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            _ => None,
        };
        let (mut from, mut unsent) = (0, 0);
        while from < count {
            let (Some(slices), Some(addresses)) = (slices.get(from..count), addresses.get(from..count))
            else {
                break;
            };
            let flags = MsgFlags::empty();
            let sent = sendmmsg(socket.as_raw_fd(), headers, slices, addresses, control.as_slice(), flags);
            match sent.map(Iterator::count) {
                Ok(sent) if sent > 0 => from += sent,
                Err(nix::errno::Errno::EINTR) => {}
                // The first of them is refused (no route, a firewall): the others may well go.
                Ok(_) | Err(_) => {
                    from += 1;
                    unsent += 1;
                }
            }
        }
        unsent
    }

    fn local_of(message: &ControlMessageOwned) -> Option<Local> {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                Some(Local { address: address.into(), interface: 0 })
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // Only a link-local address needs its interface; for others the route decides.
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                Some(Local { address: address.into(), interface })
            }
            _ => None,
        }
    }

    fn in_pktinfo(local: Local) -> Option<libc::in_pktinfo> {
        let IpAddr::V4(address) = local.address else { return None };
        let any = libc::in_addr { s_addr: 0 };
        let from = libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
        Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: any })
    }

    fn in6_pktinfo(local: Local) -> Option<libc::in6_pktinfo> {
        let IpAddr::V6(address) = local.address else { return None };
        let from = libc::in6_addr { s6_addr: address.octets() };
        Some(libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: local.interface })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// Sends each packet back, and nothing for an empty one.
    struct Echo;

    impl Service for Echo {
        fn batch(&mut self, exchanges: &mut [Exchange]) {
            for exchange in exchanges {
                let (query, answer) = exchange.parts();
                let len = query.len();
                answer[..len].copy_from_slice(query);
                exchange.reply(len);
            }
        }
        fn receive_failed(&mut self, _: &io::Error) {}
        fn not_sent(&mut self, _: u64) {}
    }

    fn echo_on(
        bind_to: &str,
        ask_at: &[&str],
        serve: fn(&UdpSocket, Sizes, &AtomicBool, End, &mut Echo) -> io::Result<()>,
    ) {
        let socket = bind(bind_to.parse().unwrap(), 1).unwrap().remove(0);
        let port = socket.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            serve(&socket, Sizes { query: 512, answer: 512 }, &stopped, End::Leave, &mut Echo).unwrap();
        });
        for (round, ask) in ask_at.iter().cycle().take(3 * ask_at.len()).enumerate() {
            let to: SocketAddr = format!("{ask}:{port}").parse().unwrap();
            let client = UdpSocket::bind((to.ip(), 0)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for n in 0..200u8 {
                client.send_to(&[round as u8 + 1, n], to).unwrap();
            }
            for n in 0..200u8 {
                let mut back = [0; 16];
                let (len, from) = client.recv_from(&mut back).unwrap();
                assert_eq!((&back[..len], from), (&[round as u8 + 1, n][..], to), "from the address asked");
            }
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    }

    #[test]
    fn answers_leave_from_the_address_that_was_asked() {
        echo_on("127.0.0.1:0", &["127.0.0.1"], serve);
        echo_on("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.0.0.9"], serve);
    }

    #[test]
    fn ipv6_is_served_alike() {
        if UdpSocket::bind("[::1]:0").is_err() {
            return; // a machine without IPv6
        }
        echo_on("[::1]:0", &["[::1]"], serve);
        echo_on("[::]:0", &["[::1]"], serve);
    }

    #[test]
    fn systems_without_batches_are_served_packet_by_packet() {
        echo_on("127.0.0.1:0", &["127.0.0.1"], one_by_one);
    }

    #[test]
    fn workers_share_a_port_and_nobody_else_may() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
