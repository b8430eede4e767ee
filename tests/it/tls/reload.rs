//! Certificates that change while clients come and go.

use super::certificates::{Authority, Pair, put};
use super::{Server, requiring, usual};
use crate::support::DEADLINE;
use fingerpost::clock;
use fingerpost::net::tls::{ClientSettings, ClientTls, Identity, Reloaded, ServerSettings};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Connects afresh (nothing is resumed) and returns the certificate that was shown, after an echo.
async fn shown(server: &Server, settings: &ClientSettings) -> Result<Vec<u8>, String> {
    let client = ClientTls::load(settings.clone(), clock::wall()).map_err(|error| error.to_string())?;
    let tcp = TcpStream::connect(server.address).await.map_err(|error| error.to_string())?;
    let mut stream = client.connect(tcp, "localhost").await.map_err(|error| error.to_string())?;
    let mut byte = [0];
    while stream.read_exact(&mut byte).await.map(|_| byte != *b"\n").map_err(|error| error.to_string())? {}
    stream.write_all(b"x").await.map_err(|error| error.to_string())?;
    stream.read_exact(&mut byte).await.map_err(|error| error.to_string())?;
    let chain = stream.get_ref().1.peer_certificates().ok_or("no certificate")?;
    Ok(chain[0].to_vec())
}

/// Puts another certificate for the same names into the files of `pair`.
fn renew(authority: &Authority, folder: &Path, pair: &Pair) {
    let new = authority.server(folder, "renewed", &["localhost"]);
    put(&pair.certificate, &std::fs::read_to_string(new.certificate).unwrap());
    put(&pair.key, &std::fs::read_to_string(new.key).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_under_traffic_without_a_failed_handshake() {
    let (folder, authority, pair) = usual();
    let server = Arc::new(Server::start(ServerSettings::new(vec![pair.identity()])).await);
    let settings = ClientSettings::new(authority.write(folder.path()));
    let stop = CancellationToken::new();
    let tls = server.tls.clone();
    let watch = tokio::spawn({
        let stop = stop.clone();
        async move { tls.watch(Duration::from_millis(30), clock::wall, stop).await }
    });
    let (seen, handshakes) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (server, settings, seen) = (Arc::clone(&server), settings.clone(), Arc::clone(&seen));
            let (done, handshakes) = (Arc::clone(&done), Arc::clone(&handshakes));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let certificate = shown(&server, &settings).await.expect("no handshake fails");
                    seen.lock().unwrap().insert(certificate);
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let client = ClientTls::load(settings, clock::wall()).unwrap();
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let mut long_lived = client.connect(tcp, "localhost").await.unwrap();
    for generation in 1..=3 {
        let start = clock::stopwatch();
        let enough = || {
            seen.lock().unwrap().len() >= generation && handshakes.load(Ordering::Relaxed) >= 10 * generation
        };
        while !enough() {
            assert!(
                start.elapsed() < DEADLINE,
                "generation {generation} is not shown: {:?}",
                server.tls.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        renew(&authority, folder.path(), &pair);
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    stop.cancel();
    watch.await.unwrap();
    assert_eq!(
        server.failures.lock().unwrap().as_slice(),
        [""; 0],
        "no handshake failed on the server's side"
    );
    long_lived.write_all(b"still here").await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"still here") {
        text.push(long_lived.read_u8().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_new_files_leave_the_old_certificate_and_show_in_the_status() {
    let (folder, authority, pair) = usual();
    let server = Server::start(ServerSettings::new(vec![pair.identity()])).await;
    let settings = ClientSettings::new(authority.write(folder.path()));
    let first = shown(&server, &settings).await.unwrap();
    let (tls, now) = (&server.tls, clock::wall());
    let before = tls.status();
    assert_eq!((before.reloads, before.failures, before.failure), (0, 0, None));
    assert_eq!(before.not_after, Some(3_786_912_000), "2090-01-01");
    assert_eq!(tls.poll(now), Reloaded::Unchanged);

    // Half of a renewal: the certificate is new, the key is not yet.
    let new = authority.server(folder.path(), "renewed", &["localhost"]);
    put(&pair.certificate, &std::fs::read_to_string(new.certificate).unwrap());
    assert_eq!(tls.poll(now), Reloaded::Kept);
    assert_eq!(shown(&server, &settings).await.as_ref(), Ok(&first));
    let failure = tls.status().failure.unwrap();
    assert!(failure.reason.contains("server.key: not the key of the certificate in"), "{}", failure.reason);
    assert_eq!(tls.poll(now), Reloaded::Kept, "told at the second look");
    assert_eq!(tls.poll(now), Reloaded::Unchanged, "and not tried for ever");
    put(&pair.key, &std::fs::read_to_string(new.key).unwrap());
    assert_eq!(tls.poll(now), Reloaded::Replaced);
    assert_ne!(shown(&server, &settings).await.unwrap(), first);
    let status = tls.status();
    assert_eq!((status.reloads, status.failures, status.failure), (1, 2, None));
    assert_eq!(status.certificates[0].1.subject, "CN=renewed");

    // A certificate that is over does not replace one that is not.
    let expired = authority.made(folder.path(), "expired", &["localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    put(&pair.certificate, &std::fs::read_to_string(expired.certificate).unwrap());
    put(&pair.key, &std::fs::read_to_string(expired.key).unwrap());
    let error = tls.reload(now).unwrap_err().to_string();
    assert!(error.contains("expired on 2021-01-01T00:00:00Z; the one in use is still valid"), "{error}");
    std::fs::remove_file(&pair.certificate).unwrap();
    assert_eq!(tls.poll(now), Reloaded::Kept);
    let reason = tls.status().failure.unwrap().reason;
    assert!(reason.contains("server.pem: cannot be read") && reason.contains("No such file"), "{reason}");
    assert!(shown(&server, &settings).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_replaced_is_no_longer_believed() {
    let (folder, authority, pair) = usual();
    let server = Server::start(requiring(&folder, &authority, &pair)).await;
    let roots = folder.path().join("roots.pem");
    put(&roots, &authority.pem());
    let with = |pair: &Pair| ClientSettings {
        identity: Some(Identity { certificate: pair.certificate.clone(), key: pair.key.clone() }),
        ..ClientSettings::new(&roots)
    };
    let (old, next) = (authority.client(folder.path(), "old"), Authority::new("Next"));
    let new = next.client(folder.path(), "new");
    assert!(shown(&server, &with(&old)).await.is_ok());
    assert!(shown(&server, &with(&new)).await.is_err());
    server.failure().await;
    next.write(folder.path());
    assert_eq!(server.tls.poll(clock::wall()), Reloaded::Replaced);
    assert!(shown(&server, &with(&new)).await.is_ok());
    let refused = shown(&server, &with(&old)).await.unwrap_err();
    assert!(refused.contains("UnknownCA") || refused.contains("DecryptError"), "{refused}");
    let failure = server.failure().await;
    assert!(failure.starts_with("bad_client_certificate"), "{failure}");
}
