//! The PROXY protocol as HAProxy sends it, with TLS behind it and without.

use crate::support::{DEADLINE, Process, free_port, tool};
use fingerpost::clock;
use fingerpost::net::proxy::{self, Mode, Networks, Settings};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server behind a proxy: says who it thinks the client is, and echoes.
async fn server(mode: Mode) -> (u16, Arc<Mutex<Vec<proxy::Header>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let headers = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&headers);
    let settings = Settings::new(mode, Networks::parse(["127.0.0.1"]).unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (settings, told) = (settings.clone(), Arc::clone(&told));
            tokio::spawn(async move {
                let Ok(arrived) = proxy::read_header(stream, peer, &settings).await else { return };
                told.lock().unwrap().extend(arrived.header);
                let mut stream = arrived.stream;
                let hello = format!("{}\n", arrived.source);
                if stream.write_all(hello.as_bytes()).await.is_err() {
                    return;
                }
                let mut bytes = [0; 64];
                while let Ok(got) = stream.read(&mut bytes).await {
                    if got == 0 || stream.write_all(&bytes[..got]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, headers)
}

/// HAProxy in TCP mode in front of `port`, with `option` on its server line.
fn haproxy(folder: &TempDir, bind: &str, port: u16, option: &str) -> Process {
    let file = folder.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen front\n bind {bind}\n server back 127.0.0.1:{port} {option}\n"
    );
    std::fs::write(&file, text).unwrap();
    Process::spawn("haproxy", tool("haproxy").arg("-db").arg("-f").arg(&file))
}

/// Connects as soon as HAProxy listens; the client's own address, what the server thinks it is, and an echo.
async fn client(address: std::net::SocketAddr) -> (String, String, String) {
    let start = clock::stopwatch();
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < DEADLINE, "haproxy does not listen: {error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(b"\0\0\0\x04ping").await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"ping") {
        all.push(stream.read_u8().await.unwrap());
    }
    let text = String::from_utf8(all).unwrap();
    let (said, echo) = text.split_once('\n').unwrap();
    (own, said.to_owned(), echo.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_tells_who_the_client_is() {
    for (option, version) in
        [("send-proxy", 1), ("send-proxy-v2", 2), ("send-proxy-v2 proxy-v2-options crc32c", 2)]
    {
        for mode in [Mode::Required, Mode::Optional] {
            let folder = TempDir::new().unwrap();
            let (port, headers) = server(mode).await;
            let front = free_port();
            for bind in ["127.0.0.1", "::1"] {
                let _haproxy = haproxy(&folder, &format!("{bind}:{front}"), port, option);
                let address = std::net::SocketAddr::new(bind.parse().unwrap(), front);
                let (own, said, echo) = client(address).await;
                assert_eq!((own, echo.as_str()), (said, "\0\0\0\x04ping"), "{option} on {bind}");
                assert_eq!(headers.lock().unwrap().pop().unwrap().version, version);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_own_checks_are_local_and_its_plain_connections_its_own() {
    let folder = TempDir::new().unwrap();
    let (port, headers) = server(Mode::Required).await;
    let option = "send-proxy-v2 check-send-proxy check inter 100";
    let _haproxy = haproxy(&folder, &format!("127.0.0.1:{}", free_port()), port, option);
    let start = clock::stopwatch();
    while !headers.lock().unwrap().iter().any(|header| header.local) {
        assert!(start.elapsed() < DEADLINE, "no check came: {:?}", headers.lock().unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    let folder = TempDir::new().unwrap();
    let (port, headers) = server(Mode::Optional).await;
    let front = free_port();
    let _haproxy = haproxy(&folder, &format!("127.0.0.1:{front}"), port, "");
    let (own, said, _) = client(([127, 0, 0, 1], front).into()).await;
    assert_ne!(own, said, "without a header the proxy is the client");
    assert!(headers.lock().unwrap().is_empty());
}

/// HAProxy ends TLS, and says which name was asked for and whose certificate it verified.
#[tokio::test(flavor = "multi_thread")]
async fn haproxy_that_ends_tls_passes_on_name_and_certificate() {
    use crate::tls::certificates::Authority;
    use fingerpost::net::tls::{ClientSettings, ClientTls};
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("Test Authority");
    let roots = authority.write(folder.path());
    let pair = authority.server(folder.path(), "server", &["vpc-1.prod.kafka.example"]);
    let mine = authority.client(folder.path(), "orders");
    let both = folder.path().join("both.pem");
    let text = [&pair.certificate, &pair.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    std::fs::write(&both, text).unwrap();
    let (port, headers) = server(Mode::Required).await;
    let front = free_port();
    let bind =
        format!("127.0.0.1:{front} ssl crt {} ca-file {} verify optional", both.display(), roots.display());
    let option = "send-proxy-v2 proxy-v2-options authority,ssl,cert-cn,crc32c";
    let _haproxy = haproxy(&folder, &bind, port, option);
    let settings = ClientSettings { identity: Some(mine.identity()), ..ClientSettings::new(roots) };
    let client = ClientTls::load(settings, clock::wall()).unwrap();
    let start = clock::stopwatch();
    let tcp = loop {
        if let Ok(tcp) = TcpStream::connect(("127.0.0.1", front)).await {
            break tcp;
        }
        assert!(start.elapsed() < DEADLINE, "haproxy does not listen");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let own = tcp.local_addr().unwrap();
    let mut stream = client.connect(tcp, "vpc-1.prod.kafka.example").await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    let header = headers.lock().unwrap().pop().unwrap();
    assert_eq!(header.addresses.unwrap().0, own);
    assert_eq!(header.authority.as_deref(), Some("vpc-1.prod.kafka.example"));
    let tls = header.tls.unwrap();
    assert_eq!((tls.verified, tls.common_name.as_deref()), (true, Some("orders")));
}
