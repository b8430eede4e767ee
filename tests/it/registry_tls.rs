//! A registry over TLS: a real redis-server with certificates of every kind.

use crate::support::{DEADLINE, Redis, fingerpost, fingerpost_run_with, free_port, http_get, wait_for};
use crate::tls::certificates::{Authority, Pair};
use fingerpost::registry::{self, Options, TlsFiles};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const RIGHTS: &str = "resetkeys resetchannels -@all +ping +client|tracking +scan +pttl +getrange +hscan \
                      %R~fingerpost:agent:* %R~fingerpost:topics:*";

/// A redis-server that speaks TLS on a port of its own.
struct Secure {
    folder: TempDir,
    authority: Authority,
    redis: Redis,
    port: u16,
}

impl Secure {
    #[track_caller]
    fn start(client_certificates: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new("Redis Authority");
        let pair = authority.server(folder.path(), "redis", &["127.0.0.1"]);
        let ca = authority.write(folder.path());
        let port = free_port();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let redis = Redis::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &text(&pair.certificate),
            "--tls-key-file",
            &text(&pair.key),
            "--tls-ca-cert-file",
            &text(&ca),
            "--tls-auth-clients",
            client_certificates,
        ]);
        Self { folder, authority, redis, port }
    }

    fn ca(&self) -> PathBuf {
        self.authority.write(self.folder.path())
    }

    fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    /// A configuration file with these lines about the registry.
    fn config(&self, registry: &str) -> String {
        let file = self.folder.path().join("fingerpost.toml");
        let text = format!(
            "[registry]\n{registry}\nresync = \"1h\"\n[dns]\nlisten = [\"127.0.0.1:0\"]\n[[dns.zone]]\n\
             apex = \"kafka.example\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
        );
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_fleet_is_followed_over_tls_as_an_acl_user_by_push() {
    let secure = Secure::start("no");
    let mut user = vec!["ACL", "SETUSER", "follower", "on", ">follow-me"];
    user.extend(RIGHTS.split_whitespace());
    secure.redis.cli(&user);
    let config = secure.config(&format!(
        "url = \"rediss://follower:follow-me@127.0.0.1:{}\"\nca_file = \"{}\"",
        secure.port,
        secure.ca().display()
    ));
    let mut server = fingerpost(&["serve", "--config", &config]);
    let admin = server.admin();
    wait_for("the first read", DEADLINE, || http_get(admin, "/ready").0 == 200);
    let value = r#"{"addresses":["127.0.11.1"]}"#;
    secure.redis.cli(&["SET", "fingerpost:agent:{prod}:vpc-1:a1", value, "PX", "600000"]);
    wait_for("a push: the next scan is an hour away", DEADLINE, || {
        http_get(admin, "/v1/clusters/prod").1.contains("vpc-1")
    });
    let checked = fingerpost_run_with(&["check", "--config", &config], &[]);
    assert!(checked.stdout.contains("can be followed"), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.code(), 0, "{}", checked.stdout);
    assert!(!(checked.stdout + &checked.stderr).contains("follow-me"));
}

#[test]
fn what_is_wrong_with_the_certificates_is_said() {
    let secure = Secure::start("yes");
    let client = secure.authority.client(secure.folder.path(), "fingerpost");
    let stranger = Authority::new("Another");
    let other = TempDir::new().unwrap();
    let (wrong, not_mine) = (stranger.write(other.path()), stranger.client(other.path(), "stranger"));
    let identity = |pair: &Pair| Some((pair.certificate.clone(), pair.key.clone()));
    let probe = |ca: &Path, identity: Option<(PathBuf, PathBuf)>| {
        let tls = TlsFiles { ca: Some(ca.to_owned()), identity };
        let options = Options { tls, operation: Duration::from_secs(2), ..Options::default() };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let problems = runtime.block_on(registry::probe(&secure.url(), &options));
        problems.iter().map(|one| format!("{}: {} ({})\n", one.step, one.error, one.hint)).collect::<String>()
    };
    let ca = secure.ca();
    assert_eq!(probe(&ca, identity(&client)), "");
    let said = probe(&wrong, identity(&client));
    assert!(said.contains("UnknownIssuer") && said.contains("ca_file"), "{said}");
    let said = probe(&ca, None);
    assert!(said.starts_with("connect: "), "a client certificate is required: {said}");
    let said = probe(&ca, identity(&not_mine));
    assert!(said.starts_with("connect: "), "{said}");
    let said = probe(&secure.folder.path().join("absent.pem"), None);
    assert!(said.contains("absent.pem: cannot be read"), "{said}");
    let said = probe(&client.key, None);
    assert!(said.contains("fingerpost.key: no certificate in it"), "{said}");
    let other_name = format!("rediss://localhost:{}", secure.port);
    let options =
        Options { tls: TlsFiles { ca: Some(ca), identity: identity(&client) }, ..Options::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = format!("{:?}", runtime.block_on(registry::probe(&other_name, &options)));
    assert!(said.contains("not valid for name"), "{said}");
}

/// The system's authorities: used where no file is named, and read by the client library in any case.
#[test]
fn the_systems_authorities_count_where_no_file_is_named() {
    let secure = Secure::start("no");
    let ca = secure.ca();
    let check = |registry: &str, bundle: &str| {
        let config = secure.config(registry);
        let ran = fingerpost_run_with(&["check", "--config", &config], &[("SSL_CERT_FILE", bundle)]);
        (ran.code(), ran.stdout + &ran.stderr)
    };
    let url = format!("url = \"{}\"", secure.url());
    let (code, said) = check(&url, ca.to_str().unwrap());
    assert_eq!(code, 0, "{said}");
    let other = TempDir::new().unwrap();
    let stranger = Authority::new("Another").write(other.path());
    let (code, said) = check(&url, stranger.to_str().unwrap());
    assert!(code == 69 && said.contains("UnknownIssuer"), "{said}");
    let own = format!("{url}\nca_file = \"{}\"", ca.display());
    let (code, said) = check(&own, stranger.to_str().unwrap());
    assert_eq!(code, 0, "the file that is named counts: {said}");
    let wrong = format!("{url}\nca_file = \"{}\"", stranger.display());
    let (code, said) = check(&wrong, ca.to_str().unwrap());
    assert!(code == 69 && said.contains("UnknownIssuer"), "and it alone: {said}");
    let (code, said) = check(&own, "/nonexistent/bundle.pem");
    assert!(code == 69 && said.contains("SSL_CERT_FILE"), "documented in docs/registry.md: {said}");
}
