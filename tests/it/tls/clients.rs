//! Clients of a TLS server: good ones, strangers, those that speak something else or nothing.

use super::certificates::Authority;
use super::{Server, requiring, usual};
use crate::support::{DEADLINE, Process, run, tool, wait_for};
use fingerpost::clock;
use fingerpost::net::tls::{ClientCertificates, Identity, ServerSettings, ServerTls};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Both outputs of `openssl s_client` with `arguments`, until it has the server's line or ends by itself.
async fn s_client(server: &Server, arguments: &[&str]) -> String {
    let mut command = tool("openssl");
    command.args(["s_client", "-connect", &server.address.to_string(), "-verify_return_error", "-ign_eof"]);
    command.args(arguments);
    let talk = move || {
        let mut process = Process::spawn("openssl s_client", &mut command);
        wait_for("the server's line or the end of openssl s_client", DEADLINE, || {
            !process.is_running() || process.stdout().contains("alpn=")
        });
        process.kill();
        process.stdout() + &process.stderr()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_connects_by_tls_1_2_and_1_3_and_is_told_its_server_name() {
    let (folder, authority, pair) = usual();
    let roots = authority.write(folder.path());
    let settings =
        ServerSettings { alpn: vec![b"dot".to_vec()], ..ServerSettings::new(vec![pair.identity()]) };
    let server = Server::start(settings).await;
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments =
            [version, "-CAfile", roots.to_str().unwrap(), "-servername", "KAFKA.example", "-alpn", "dot"];
        let ran = s_client(&server, &[&arguments[..], &["-verify_hostname", "kafka.example"]].concat()).await;
        let out = &ran;
        assert!(out.contains("Verify return code: 0 (ok)"), "{out}");
        assert!(out.contains(shown), "{out}");
        assert!(out.contains(r#"sni=Some("kafka.example") principal=None alpn=Some("dot")"#), "{out}");
    }
    let ran = s_client(&server, &["-CAfile", roots.to_str().unwrap(), "-noservername"]).await;
    assert!(ran.contains("sni=None"), "{}", ran);
    let old = s_client(&server, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).await;
    assert!(old.contains("alert"), "{}", old);
    assert!(server.failure().await.starts_with("nothing_in_common"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_asked_for_and_names_the_client() {
    let (folder, authority, pair) = usual();
    let roots = authority.write(folder.path());
    let roots = ["-CAfile", roots.to_str().unwrap()];
    let orders = authority.client(folder.path(), "orders");
    let shown = |pair: &super::Pair| {
        ["-cert".to_owned(), text(&pair.certificate), "-key".to_owned(), text(&pair.key)]
    };
    let server = Server::start(requiring(&folder, &authority, &pair)).await;
    let mine = shown(&orders);
    let mine: Vec<&str> = mine.iter().map(String::as_str).collect();
    for version in ["-tls1_2", "-tls1_3"] {
        let out = s_client(&server, &[&roots[..], &mine, &[version]].concat()).await;
        assert!(out.contains(r#"principal=Some("CN=orders,O=Example DNS:client.example")"#), "{out}");
        let out = s_client(&server, &[&roots[..], &[version]].concat()).await;
        assert!(!out.contains("principal="), "{out}");
        assert!(server.failure().await.starts_with("no_client_certificate"));
    }
    let stranger = shown(&Authority::new("Another").client(folder.path(), "stranger"));
    let stranger: Vec<&str> = stranger.iter().map(String::as_str).collect();
    let out = s_client(&server, &[&roots[..], &stranger].concat()).await;
    assert!(!out.contains("principal="), "{out}");
    assert!(server.failure().await.starts_with("bad_client_certificate"));
    let expired = authority.made(folder.path(), "expired", &[], |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let expired = shown(&expired);
    let expired: Vec<&str> = expired.iter().map(String::as_str).collect();
    s_client(&server, &[&roots[..], &expired].concat()).await;
    let failure = server.failure().await;
    assert!(failure.starts_with("bad_client_certificate") && failure.contains("expired"), "{failure}");
    assert_eq!((server.count("no_client_certificate"), server.count("bad_client_certificate")), (2, 2));

    let file = authority.write(folder.path());
    let optional = ServerSettings {
        clients: ClientCertificates::Optional(file),
        ..ServerSettings::new(vec![pair.identity()])
    };
    let server = Server::start(optional).await;
    assert!(s_client(&server, &roots).await.contains("principal=None"));
    assert!(s_client(&server, &[&roots[..], &mine].concat()).await.contains("principal=Some"));
    s_client(&server, &[&roots[..], &stranger].concat()).await;
    assert!(server.failure().await.starts_with("bad_client_certificate"), "one that is shown must be good");
}

/// A ticket would outlive the certificate that it was given for.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_only_where_no_client_certificate_is_asked_for() {
    let (folder, authority, pair) = usual();
    let orders = authority.client(folder.path(), "orders");
    let roots = text(&authority.write(folder.path()));
    let session = text(&folder.path().join("session"));
    let own = [text(&orders.certificate), text(&orders.key)];
    let mine = ["-CAfile", &roots, "-cert", &own[0], "-key", &own[1]];
    for (settings, resumed) in
        [(ServerSettings::new(vec![pair.identity()]), true), (requiring(&folder, &authority, &pair), false)]
    {
        let server = Server::start(settings).await;
        for version in ["-tls1_2", "-tls1_3"] {
            let out = s_client(&server, &[&mine[..], &[version, "-sess_out", &session]].concat()).await;
            assert!(out.contains("New, TLSv1"), "{out}");
            if !Path::new(&session).exists() {
                assert!(!resumed, "no session was given: {out}");
                continue;
            }
            server.tls.reload(clock::wall()).unwrap();
            let out = s_client(&server, &[&mine[..], &[version, "-sess_in", &session]].concat()).await;
            assert_eq!(out.contains("Reused, TLSv1"), resumed, "{out}");
            assert!(out.contains("principal="), "{out}");
            std::fs::remove_file(&session).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let (folder, authority, default) = usual();
    let exact = authority.server(folder.path(), "exact", &["vpc-1.prod.example"]);
    let wild = authority.server(folder.path(), "wild", &["*.vpc-1.prod.example", "VPC-2.prod.example"]);
    let special = authority.server(folder.path(), "special", &["agent-7.vpc-1.prod.example"]);
    let all = [&default, &exact, &wild, &special].map(|pair| pair.identity());
    let server = Server::start(ServerSettings::new(all.to_vec())).await;
    for (asked, common_name) in [
        ("vpc-1.prod.example", "exact"),
        ("agent-1.vpc-1.prod.example", "wild"),
        ("AGENT-1.vpc-1.PROD.example", "wild"),
        ("agent_1.vpc-1.prod.example", "wild"),
        ("agent-7.vpc-1.prod.example", "special"),
        ("vpc-2.prod.example", "wild"),
        ("a.b.vpc-1.prod.example", "server"),
        ("elsewhere.example", "server"),
        ("example", "server"),
    ] {
        let out =
            s_client(&server, &["-servername", asked, "-CAfile", &text(&authority.write(folder.path()))])
                .await;
        let wanted = format!("subject=CN = {common_name}\n");
        assert!(out.contains(&wanted), "{asked}: {}", out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_recognised() {
    let (_folder, _, pair) = usual();
    let server = Server::start(ServerSettings::new(vec![pair.identity()])).await;
    for (first, kind, word) in [
        (&b"\0\0\0\x1a\0\x12\0\x04\0\0\0\x01\0\x07console"[..], "not_tls", "plain text"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_tls", "HTTP"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "not_tls", "PROXY"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "not_tls", "PROXY"),
        (b"SSH-2.0-x\r\n", "not_tls", "something else"),
        (b"\x16\x02\0\0", "not_tls", "old SSL"),
        (b"\x16\x03\x01\0\x05hello", "protocol", ""),
        (b"\x16\x03\x01\xff\xff\xff", "protocol", ""),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await; // closed, with or without an alert
        let failure = server.failure().await;
        assert!(failure.starts_with(kind) && failure.contains(word), "{first:?}: {failure}");
    }
    drop(TcpStream::connect(server.address).await.unwrap());
    assert!(server.failure().await.contains("without a word"));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\0\x01").await.unwrap();
    drop(stream);
    assert!(server.failure().await.contains("during"));
    assert_eq!((server.count("not_tls"), server.count("closed"), server.count("protocol")), (6, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_that_is_none_is_refused_and_an_address_is_no_name() {
    let (_folder, _, pair) = usual();
    let server = Server::start(ServerSettings::new(vec![pair.identity()])).await;
    let label = format!("{}.example", "x".repeat(64));
    for name in ["a b.example", "-a.example", "a..example", "pr\u{f6}d.example", &label] {
        let out = s_client(&server, &["-servername", name]).await;
        assert!(!out.contains("sni="), "{name}: {out}");
        assert!(server.failure().await.starts_with("bad_server_name"), "{name}");
    }
    let out = s_client(&server, &["-servername", "127.0.0.1"]).await;
    assert!(!out.contains("sni=Some"), "{out}");
    assert_eq!(server.count("bad_server_name"), 5);
}

/// Bytes at random behind a plausible start: every connection ends, and the next client is served.
#[tokio::test(flavor = "multi_thread")]
async fn junk_ends_only_its_own_connection() {
    let (folder, authority, pair) = usual();
    let server = Server::start(ServerSettings::new(vec![pair.identity()])).await;
    let mut random = fastrand::Rng::with_seed(26);
    for round in 0..300 {
        let length = random.usize(1..600);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        if round % 3 != 0 {
            let record = u16::try_from(length).unwrap();
            bytes.splice(0..0, [0x16, 3, 1, (record >> 8) as u8, record as u8, 1, 0]);
        }
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(&bytes).await; // it may have been closed already
        drop(stream);
        server.failure().await;
    }
    let failed: u64 = server.tls.counts().failures().map(|(_, count)| count).sum();
    assert_eq!(failed, 300);
    let roots = text(&authority.write(folder.path()));
    assert!(
        s_client(&server, &["-CAfile", &roots]).await.contains("sni=None"),
        "an address is no server name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handshake_ends_at_its_deadline() {
    let (_folder, _, pair) = usual();
    let mut settings = ServerSettings::new(vec![pair.identity()]);
    settings.handshake = Duration::from_millis(100);
    let server = Server::start(settings).await;
    for first in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01\0"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
        assert!(server.failure().await.starts_with("timeout"), "after {first:?}");
    }
}

#[test]
fn files_that_can_not_be_used_are_named_with_the_reason() {
    let (folder, authority, pair) = usual();
    let other = authority.server(folder.path(), "other", &["other.example"]);
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(at(name), text).unwrap();
        at(name)
    };
    let openssl = |arguments: &[&str]| run("openssl", tool("openssl").args(arguments)).ok();
    openssl(&[
        "pkey",
        "-in",
        &text(&pair.key),
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        &text(&at("locked")),
    ]);
    openssl(&["pkey", "-in", &text(&pair.key), "-outform", "DER", "-out", &text(&at("der"))]);
    openssl(&["genrsa", "-traditional", "-aes128", "-passout", "pass:x", "-out", &text(&at("old-locked"))]);
    let pem = std::fs::read_to_string(&pair.certificate).unwrap();
    let upside_down = write("upside-down", &(authority.pem() + &pem));
    let cut = write("cut", &pem[..pem.len() / 2]);
    let hollow = write("hollow", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let empty = write("empty", "");
    let many = write("many", &pem.repeat(17));
    let large = write("large", &"x".repeat(5 << 20));
    let good = |file: &PathBuf| file.clone();
    for (certificate, key, file, words) in [
        (at("absent"), good(&pair.key), "absent", "cannot be read"),
        (good(&pair.key), good(&pair.key), "server.key", "no certificate in it; it holds a private key"),
        (
            good(&pair.certificate),
            good(&pair.certificate),
            "server.pem",
            "no private key in it; it holds a certificate",
        ),
        (good(&pair.certificate), good(&other.key), "other.key", "not the key of the certificate in"),
        (upside_down, good(&pair.key), "server.key", "certificate 2 in the file does: put it first"),
        (good(&pair.certificate), at("locked"), "locked", "is encrypted"),
        (good(&pair.certificate), at("old-locked"), "old-locked", "is encrypted"),
        (good(&pair.certificate), at("der"), "der", "looks like DER"),
        (cut, good(&pair.key), "cut", "broken PEM"),
        (hollow, good(&pair.key), "hollow", "certificate 1 is broken"),
        (empty, good(&pair.key), "empty", "it is empty"),
        (many, good(&pair.key), "many", "17 certificates"),
        (large, good(&pair.key), "large", "more than 4194304 bytes"),
    ] {
        let settings = ServerSettings::new(vec![Identity { certificate, key }]);
        let error = ServerTls::load(settings, clock::wall()).unwrap_err().to_string();
        assert!(error.contains(&format!("/{file}: ")) && error.contains(words), "{error}");
    }
    let mut settings = ServerSettings::new(vec![pair.identity()]);
    settings.clients = ClientCertificates::Required(pair.key.clone());
    let error = ServerTls::load(settings, clock::wall()).unwrap_err().to_string();
    assert!(error.contains("server.key: no certificate in it"), "{error}");
    assert!(ServerTls::load(ServerSettings::new(Vec::new()), clock::wall()).is_err());
}

#[test]
fn dates_and_modes_that_should_be_mended_are_warned_of() {
    let (folder, authority, good) = usual();
    let expired = authority.made(folder.path(), "expired", &["a.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    });
    let early = authority.made(folder.path(), "early", &["b.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2080, 2, 3);
    });
    for pair in [&expired, &early, &good] {
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let warnings = |pair: &super::Pair| {
        ServerTls::load(ServerSettings::new(vec![pair.identity()]), clock::wall()).unwrap().status().warnings
    };
    assert_eq!(warnings(&good), [""; 0]);
    assert!(
        warnings(&expired)[0]
            .contains("expired.pem: the certificate of \"CN=expired\" expired on 2021-02-03")
    );
    assert!(warnings(&early)[0].contains("is not valid before 2080-02-03"));
    std::fs::set_permissions(&good.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warnings(&good)[0].contains("everyone can read this private key (mode 644)"));
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
