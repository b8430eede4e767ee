//! DNS over TLS and over HTTPS to real clients: kdig, curl, and a resolver (unbound) that forwards over TLS. And what
//! those do who mean no good.

use crate::support::{
    DEADLINE, Fingerpost, Process, dig, fingerpost, free_address, http_get, kdig, run, tool, wait_for,
};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NAME: &str = "www.kafka.example";

/// A server with all transports.
struct World {
    folder: TempDir,
    server: Fingerpost,
}

impl World {
    fn start(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned(), "localhost".to_owned()])
            .unwrap();
        std::fs::write(path("dns.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("dns.key"), made.signing_key.serialize_pem()).unwrap();
        let mut zone =
            "$TTL 60\n@ SOA ns1 h 1 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n"
                .to_owned();
        for n in 0..200 {
            zone.push_str(&format!("many A 198.51.100.{n}\n"));
        }
        std::fs::write(path("kafka.zone"), zone).unwrap();
        let text = format!(
            "[registry]\nurl = \"memory:\"\n[dns]\nlisten = [\"127.0.0.1:0\"]\n{more}\n\
             [dns.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"dns.pem\"\nkey = \"dns.key\"\n\
             [dns.https]\nlisten = [\"127.0.0.1:0\"]\n\
             [[dns.zone]]\napex = \"kafka.example\"\nfile = \"kafka.zone\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
        );
        std::fs::write(path("fingerpost.toml"), text).unwrap();
        let server = fingerpost(&["serve", "--config", &path("fingerpost.toml").to_string_lossy()]);
        let mut world = Self { folder, server };
        let admin = world.server.admin();
        wait_for("the start", DEADLINE, || http_get(admin, "/ready").0 == 200);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tls(&mut self) -> SocketAddr {
        self.server.addresses("dns-tls", 1)[0]
    }

    fn https(&mut self) -> SocketAddr {
        self.server.addresses("dns-https", 1)[0]
    }

    /// kdig over TLS or HTTPS, with the certificate verified.
    fn kdig(&self, server: SocketAddr, arguments: &[&str]) -> crate::support::Dig {
        let ca = format!("+tls-ca={}", self.path("dns.pem").display());
        kdig(server, &[&[ca.as_str(), "+tls-hostname=dns.example"], arguments].concat())
    }

    /// curl to the path, with more arguments: the status, and what came.
    fn curl(&mut self, path: &str, arguments: &[&str]) -> (String, Vec<u8>) {
        let url = format!("https://localhost:{}{path}", self.https().port());
        let out = self.path("answer");
        let _ = std::fs::remove_file(&out);
        let mut curl = tool("curl");
        curl.args([
            "-sS",
            "--http2",
            "-w",
            "%{http_code} %{http_version} %{content_type} %header{cache-control}",
        ]);
        curl.arg("--cacert").arg(self.path("dns.pem")).arg("-o").arg(&out).args(arguments).arg(url);
        let ran = run("curl", &mut curl);
        // 92: the stream was reset before curl had sent all that it had. The status is 000 then.
        assert!([0, 92].contains(&ran.code()), "{ran:?}");
        (ran.stdout, std::fs::read(out).unwrap_or_default())
    }

    fn metric(&mut self, start: &str) -> f64 {
        let (_, text) = http_get(self.server.admin(), "/metrics");
        text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// A query for the A records of a name.
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

#[test]
fn kdig_is_answered_over_tls_and_https_with_padding() {
    let mut world = World::start("");
    let (tls, https) = (world.tls(), world.https());
    for (server, over) in [(tls, "+tls"), (https, "+https"), (https, "+https-get")] {
        let answer = world.kdig(server, &[over, NAME, "A"]);
        assert_eq!((answer.status.as_str(), answer.answer.len()), ("NOERROR", 1), "{over}: {}", answer.text);
        assert_eq!(answer.answer[0].data, "192.0.2.1", "{over}");
        let many = world.kdig(server, &[over, "many.kafka.example", "A"]);
        assert_eq!(many.answer.len(), 200, "{over}: whole, without TC: {}", many.text);
        let padded = world.kdig(server, &[over, "+padding=128", NAME, "A"]);
        assert_eq!(padded.size % 468, 0, "{over}: {}", padded.text);
        let plain = world.kdig(server, &[over, "+nopadding", NAME, "A"]);
        assert!(plain.size < 100, "{over}: only if it was asked for: {}", plain.text);
    }
    assert!(world.metric("fingerpost_tls_handshakes_total{front=\"dns\",outcome=\"ok\"}") >= 12.0);
    let stranger = kdig(tls, &["+tls-ca", "+tls-hostname=dns.example", NAME, "A"]);
    assert!(stranger.answer.is_empty(), "the certificate is not one of the system's: {}", stranger.text);
}

#[test]
fn curl_is_answered_over_http2_and_what_is_no_query_is_refused() {
    let mut world = World::start("");
    std::fs::write(world.path("query"), query(NAME)).unwrap();
    let body = format!("@{}", world.path("query").display());
    let kind = "content-type: application/dns-message";
    let post = ["-H", kind, "--data-binary", &body];
    let (said, answer) = world.curl("/dns-query", &post);
    assert_eq!(said, "200 2 application/dns-message max-age=60");
    assert_eq!((answer[3] & 15, answer[7]), (0, 1));
    assert_eq!(answer[answer.len() - 4..], [192, 0, 2, 1]);
    // The same in GET: AAABAAAB... is base64url of the query.
    let (said, of_get) = world.curl("/dns-query?dns=AAAAAAABAAAAAAAAA3d3dwVrYWZrYQdleGFtcGxlAAABAAE", &[]);
    assert_eq!((said.as_str(), &of_get), ("200 2 application/dns-message max-age=60", &answer));

    let mut status = |path: &str, arguments: &[&str]| world.curl(path, arguments).0[..3].to_owned();
    assert_eq!(status("/other", &post), "404");
    assert_eq!(status("/dns-query", &[]), "400");
    assert_eq!(status("/dns-query?dns=!", &[]), "400");
    assert_eq!(status("/dns-query", &["--data-binary", &body]), "415");
    assert_eq!(status("/dns-query", &["-X", "DELETE"]), "405");
    for (size, wanted) in [(8_000, &["413"][..]), (3_000_000, &["413", "000"])] {
        let large = world.path("large");
        std::fs::write(&large, vec![0; size]).unwrap();
        let body = format!("@{}", large.display());
        let announced = world.curl("/dns-query", &["-H", kind, "--data-binary", &body]).0;
        assert!(wanted.contains(&&announced[..3]), "{size} bytes, told by the length: {announced}");
        let unannounced = ["-H", kind, "-H", "content-length:", "-T", &body[1..], "-X", "POST"];
        let found = world.curl("/dns-query", &unannounced).0;
        assert!(wanted.contains(&&found[..3]), "{size} bytes, found while it is read: {found}");
    }
    assert_eq!(world.curl("/dns-query", &post).0[..3], *"200", "nobody else is hurt");
}

#[test]
fn a_resolver_forwards_to_us_over_tls() {
    let mut world = World::start("");
    let (at, upstream) = (free_address(), world.tls());
    let text = format!(
        "server:\n interface: {}@{}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: \"{}\"\n \
         use-syslog: no\n logfile: \"\"\n module-config: \"iterator\"\n do-not-query-localhost: no\n \
         tls-cert-bundle: \"dns.pem\"\nremote-control:\n control-enable: no\nstub-zone:\n name: \"kafka.example\"\n \
         stub-addr: {}@{}#dns.example\n stub-tls-upstream: yes\n",
        at.ip(),
        at.port(),
        world.folder.path().display(),
        upstream.ip(),
        upstream.port()
    );
    std::fs::write(world.path("unbound.conf"), text).unwrap();
    let mut unbound = tool("unbound");
    unbound.arg("-d").arg("-c").arg(world.path("unbound.conf"));
    let mut unbound = Process::spawn("unbound", &mut unbound);
    unbound.wait_for_text("start of service");
    let answer = dig(at, &["+recurse", NAME, "A"]);
    assert_eq!(
        answer.answer.iter().map(|rr| rr.data.as_str()).collect::<Vec<_>>(),
        ["192.0.2.1"],
        "{}",
        answer.text
    );
    assert!(world.metric("fingerpost_tls_handshakes_total{front=\"dns\",outcome=\"ok\"}") >= 1.0);
}

#[test]
fn silence_and_crowds_at_the_door_are_bounded() {
    let mut world = World::start("tcp_per_source = 4");
    let (tls, plain) = (world.tls(), world.server.dns());
    let mut held: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(tls).unwrap()).collect();
    wait_for("the crowd to be cut", DEADLINE, || {
        let cut = "fingerpost_dns_tcp_connections_total{result=\"over_source_limit\"}";
        world.metric(cut) >= 8.0
    });
    assert_eq!(dig(plain, &[NAME, "A", "+tcp"]).answer.len(), 1, "plain DNS has its own places");
    // Who says nothing, or no TLS, loses the place within the time of a handshake.
    held[0].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    for stream in &mut held {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.read(&mut [0; 64]); // an error is an end, too
    }
    wait_for("three handshakes in vain", DEADLINE, || {
        world.metric("fingerpost_tls_handshakes_total{front=\"dns\",outcome=\"timeout\"}") == 3.0
    });
    assert_eq!(world.kdig(tls, &["+tls", NAME, "A"]).answer.len(), 1);
}

#[test]
fn without_a_certificate_nothing_starts() {
    let folder = TempDir::new().unwrap();
    let start = |more: &str| {
        let file: &Path = &folder.path().join("f.toml");
        std::fs::write(file, format!("[registry]\nurl = \"memory:\"\n{more}")).unwrap();
        crate::support::fingerpost_run(&["serve", "--config", &file.to_string_lossy()])
    };
    let none = start("[dns.https]\nlisten = [\"127.0.0.1:0\"]\n");
    assert!(
        none.code() == 78 && none.stderr.contains("set certificate and key under [dns.tls]"),
        "{}",
        none.stderr
    );
    let gone = start(
        "[dns]\nlisten = [\"127.0.0.1:0\"]\n[dns.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"gone.pem\"\n",
    );
    assert!(gone.code() != 0 && gone.stderr.contains("gone.pem: cannot be read"), "{}", gone.stderr);
}
