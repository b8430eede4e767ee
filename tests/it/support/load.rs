//! A steady load of DNS queries over UDP that counts what is lost: each socket asks a few questions and waits for all
//! answers, then a new socket (another port, so another place in the kernel's spreading) goes on.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Queries of one socket that are under way together.
const WINDOW: u16 = 16;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Outcome>>,
}

/// What became of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Queries sent.
    pub sent: u64,
    /// Answers with a record received.
    pub answered: u64,
    /// Addresses in the answers.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// What went wrong first, if anything did.
    pub trouble: Option<String>,
}

impl Load {
    /// Asks `server` for the A records of `name` from so many threads.
    pub fn start(server: SocketAddr, name: &str, threads: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let one = |_| {
            let (stop, answered, query) = (Arc::clone(&stop), Arc::clone(&answered), query(name));
            std::thread::spawn(move || {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::Relaxed) {
                    let before = outcome.answered;
                    if let Err(error) = burst(server, &query, &mut outcome) {
                        outcome.trouble.get_or_insert(format!("{error} after {before} answers"));
                    }
                    answered.fetch_add(outcome.answered - before, Ordering::Relaxed);
                }
                outcome
            })
        };
        let threads = (0..threads).map(one).collect();
        Self { stop, answered, threads }
    }

    /// How many answers came by now.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more answers came.
    #[track_caller]
    pub fn goes_on(&self, more: u64) {
        let wanted = self.answered() + more;
        super::wait_for("more answers", super::DEADLINE, || self.answered() >= wanted);
    }

    /// Ends it, when all answers came or are lost.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for thread in self.threads {
            let one = thread.join().expect("a load's thread");
            all.sent += one.sent;
            all.answered += one.answered;
            all.addresses.extend(one.addresses);
            all.trouble = all.trouble.or(one.trouble);
        }
        all
    }
}

/// One socket's questions, and their answers.
fn burst(server: SocketAddr, query: &[u8], outcome: &mut Outcome) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut query = query.to_vec();
    for id in 0..WINDOW {
        query[..2].copy_from_slice(&id.to_be_bytes());
        outcome.sent += 1;
        socket.send(&query)?;
    }
    let mut missing: BTreeSet<u16> = (0..WINDOW).collect();
    let mut answer = [0; 1_500];
    while !missing.is_empty() {
        let len = socket.recv(&mut answer)?;
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        let (rcode, records) = (answer[3] & 15, answer[7]);
        if missing.remove(&id) && rcode == 0 && records == 1 {
            outcome.answered += 1;
            // Behind the question: a pointer, type, class, TTL, length; then the address.
            let at = query.len() + 12;
            let address: [u8; 4] = answer[at..len.min(at + 4)].try_into().expect("an A record");
            outcome.addresses.insert(address.into());
        } else {
            outcome.trouble.get_or_insert(format!("rcode {rcode} with {records} records"));
        }
    }
    Ok(())
}

/// A query for the A records of a name, without EDNS.
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("a label's length"));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}
