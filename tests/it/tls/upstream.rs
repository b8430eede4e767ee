//! TLS to a server that is not ours: a real `openssl s_server`.

use super::certificates::{Authority, Pair};
use super::{Server, requiring, usual};
use crate::support::{Process, free_port, tool};
use fingerpost::clock;
use fingerpost::net::tls::{ClientSettings, ClientTls, ConnectError, ServerSettings, alert};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An `openssl s_server` that sends lines back in reverse.
fn s_server(pair: &Pair, arguments: &[&str]) -> (Process, u16) {
    let port = free_port();
    let mut command = tool("openssl");
    command.args(["s_server", "-rev", "-accept", &format!("127.0.0.1:{port}")]);
    command.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key).args(arguments);
    let mut process = Process::spawn("openssl s_server", &mut command);
    process.wait_for_text("ACCEPT");
    (process, port)
}

/// Connects to `host` at `port` of loopback and has a line reversed.
async fn reversed(settings: &ClientSettings, port: u16, host: &str) -> Result<String, ConnectError> {
    let client = ClientTls::load(settings.clone(), clock::wall()).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = client.connect(tcp, host).await?;
    stream.write_all(b"abc\n").await.unwrap();
    let mut line = [0; 4];
    match stream.read_exact(&mut line).await {
        Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
        Err(error) => Ok(alert(&error).unwrap_or_else(|| error.to_string())),
    }
}

#[tokio::test]
async fn a_server_is_believed_only_with_the_right_authority_and_name() {
    let (folder, authority, pair) = usual();
    let good = ClientSettings::new(authority.write(folder.path()));
    for version in ["-tls1_2", "-tls1_3"] {
        let (_server, port) = s_server(&pair, &[version]);
        for host in ["localhost", "KAFKA.example", "kafka.example."] {
            assert_eq!(reversed(&good, port, host).await.unwrap(), "cba\n", "{host} {version}");
        }
        let refused = reversed(&good, port, "other.example").await.unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("other.example")
                && text.contains("\"localhost\"")
                && text.contains("set the server name")
        );
        assert_eq!(refused.kind(), "untrusted");
        assert_eq!(reversed(&good, port, "127.0.0.1").await.unwrap_err().kind(), "untrusted");
        let named = ClientSettings { server_name: Some("kafka.example".into()), ..good.clone() };
        assert_eq!(reversed(&named, port, "127.0.0.1").await.unwrap(), "cba\n");
        let elsewhere = folder.path().join("elsewhere.pem");
        std::fs::write(&elsewhere, Authority::new("Elsewhere").pem()).unwrap();
        let refused = reversed(&ClientSettings::new(elsewhere), port, "localhost").await.unwrap_err();
        assert!(refused.to_string().contains("its issuer is not in the file of authorities"), "{refused}");
    }
    assert_eq!(reversed(&good, s_server(&pair, &[]).1, "not a name").await.unwrap_err().kind(), "bad_name");
    let bad = ClientSettings { server_name: Some("no name".into()), ..good.clone() };
    assert!(ClientTls::load(bad, clock::wall()).is_err());
}

#[tokio::test]
async fn an_expired_server_and_one_without_names_are_refused_with_the_reason() {
    let (folder, authority, _) = usual();
    let settings = ClientSettings::new(authority.write(folder.path()));
    let expired = authority.made(folder.path(), "expired", &["localhost"], |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let nameless = authority.made(folder.path(), "localhost", &[], |_| ());
    for (pair, word) in [(&expired, "expired"), (&nameless, "no subject alternative names")] {
        let (_server, port) = s_server(pair, &[]);
        let refused = reversed(&settings, port, "localhost").await.unwrap_err();
        assert!(refused.kind() == "untrusted" && refused.to_string().contains(word), "{refused}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_asked_for_and_a_refusal_is_said_in_words() {
    let (folder, authority, pair) = usual();
    let roots = authority.write(folder.path());
    let without = ClientSettings::new(&roots);
    let mine = authority.client(folder.path(), "gateway");
    let with = ClientSettings { identity: Some(mine.identity()), ..without.clone() };
    let verify = ["-Verify", "1", "-verify_return_error", "-CAfile", roots.to_str().unwrap()];
    let (_server, port) = s_server(&pair, &[&verify[..], &["-tls1_3"]].concat());
    assert_eq!(reversed(&with, port, "localhost").await.unwrap(), "cba\n");
    let told = reversed(&without, port, "localhost").await.unwrap();
    assert_eq!(told, "the peer requires a client certificate", "known only at the first read of TLS 1.3");
    let (_server, port) = s_server(&pair, &[&verify[..], &["-tls1_2"]].concat());
    assert_eq!(reversed(&with, port, "localhost").await.unwrap(), "cba\n");
    let refused = reversed(&without, port, "localhost").await.unwrap_err();
    assert_eq!(refused.kind(), "refused", "{refused}");
}

#[tokio::test]
async fn a_server_without_tls_and_a_silent_one_are_told_apart() {
    let (folder, authority, _) = usual();
    let settings = ClientSettings {
        handshake: Duration::from_millis(100),
        ..ClientSettings::new(authority.write(folder.path()))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(reversed(&settings, port, "localhost").await.unwrap_err().kind(), "timeout");
    let _silent = listener.accept().await.unwrap();
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await; // the client's hello, or its end
    });
    let settings = ClientSettings { handshake: Duration::from_secs(10), ..settings };
    let refused = reversed(&settings, port, "localhost").await.unwrap_err();
    assert_eq!(refused.kind(), "not_tls", "{refused}");
    plain.await.unwrap();
}

/// Our own two sides, for what each counts and reads.
#[tokio::test(flavor = "multi_thread")]
async fn our_client_and_our_server_understand_each_other() {
    let (folder, authority, pair) = usual();
    let server = Server::start(requiring(&folder, &authority, &pair)).await;
    let mine = authority.client(folder.path(), "gateway");
    let settings = ClientSettings {
        identity: Some(mine.identity()),
        ..ClientSettings::new(folder.path().join("authority.pem"))
    };
    let client = ClientTls::load(settings, clock::wall()).unwrap();
    assert_eq!(client.status().certificates[0].1.subject, "CN=gateway,O=Example");
    let mut stream =
        client.connect(TcpStream::connect(server.address).await.unwrap(), "localhost").await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains("CN=gateway,O=Example") && line.contains("localhost"), "{line}");
    let big = vec![7; 1 << 20];
    let (mut from, mut to) = tokio::io::split(stream);
    let sent = big.clone();
    let sender = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.flush().await.unwrap();
        to
    });
    let mut back = vec![0; big.len()];
    from.read_exact(&mut back).await.unwrap();
    assert!(back == big, "a mebibyte comes back as it went");
    drop(sender.await.unwrap());
    let untrusting = ClientSettings::new({
        let file: &Path = &folder.path().join("elsewhere.pem");
        std::fs::write(file, Authority::new("Elsewhere").pem()).unwrap();
        file.to_owned()
    });
    let client = ClientTls::load(untrusting, clock::wall()).unwrap();
    assert!(client.connect(TcpStream::connect(server.address).await.unwrap(), "localhost").await.is_err());
    let failure = server.failure().await;
    assert!(failure.starts_with("refused_by_client") && failure.contains("does not trust"), "{failure}");
    assert!(ServerSettings::new(Vec::new()).alpn.is_empty());
}
