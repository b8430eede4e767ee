//! TLS as others see it: real `openssl s_client`, `openssl s_server`, certificates of every kind that goes wrong, and
//! reloads under traffic.

pub mod certificates;
mod clients;
mod reload;
mod upstream;

use certificates::{Authority, Pair};
use fingerpost::clock;
use fingerpost::net::tls::{ClientCertificates, ServerSettings, ServerTls};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A TLS server that tells each client in one line what it learned of it, then echoes; and keeps why others failed.
struct Server {
    address: SocketAddr,
    tls: ServerTls,
    failures: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(settings: ServerSettings) -> Self {
        let tls = ServerTls::load(settings, clock::wall()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let (accepting, told) = (tls.clone(), Arc::clone(&failures));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(accepting.clone(), stream, Arc::clone(&told)));
            }
        });
        Self { address, tls, failures, task }
    }

    /// Waits for a handshake that failed, and says how.
    async fn failure(&self) -> String {
        let start = clock::stopwatch();
        loop {
            if let Some(first) = self.failures.lock().unwrap().pop() {
                return first;
            }
            assert!(start.elapsed() < super::support::DEADLINE, "no handshake failed");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn count(&self, kind: &str) -> u64 {
        self.tls.counts().failures().find(|(name, _)| *name == kind).unwrap().1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(tls: ServerTls, stream: tokio::net::TcpStream, failures: Arc<Mutex<Vec<String>>>) {
    let accepted = match tls.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => {
            failures.lock().unwrap().push(format!("{}: {error}", error.kind()));
            return;
        }
    };
    let principal = accepted.principal.map(|one| format!("{} {}", one.subject, one.names.join(" ")));
    let alpn = accepted.alpn.map(|protocol| protocol.escape_ascii().to_string());
    let line = format!("sni={:?} principal={principal:?} alpn={alpn:?}\n", accepted.sni);
    let mut stream = accepted.stream;
    if stream.write_all(line.as_bytes()).await.is_err() {
        return;
    }
    let mut bytes = [0; 1024];
    while let Ok(got) = stream.read(&mut bytes).await {
        if got == 0 || stream.write_all(&bytes[..got]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    let _ = stream.shutdown().await; // the client may be gone
}

/// A folder with an authority, and a certificate for `localhost` and `kafka.example` signed by it.
fn usual() -> (TempDir, Authority, Pair) {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("Test Authority");
    let pair = authority.server(folder.path(), "server", &["localhost", "kafka.example"]);
    (folder, authority, pair)
}

fn requiring(folder: &TempDir, authority: &Authority, pair: &Pair) -> ServerSettings {
    let mut settings = ServerSettings::new(vec![pair.identity()]);
    settings.clients = ClientCertificates::Required(authority.write(folder.path()));
    settings
}
