//! Zone detection in Kubernetes against an API server on loopback: HTTPS with the cluster's own CA, a mounted service
//! account, and roles that allow it or don't.

use crate::detect_service::{Reaction, Request, Service, nobody, ok, status};
use fingerpost::agent::detect::{
    Detected, Endpoints, Environment, Options, Outcome, Source, Undetected, detect,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";
/// What a service does with every request.
type Handler = fn(&Request) -> Reaction;

const DEADLINE: Duration = Duration::from_secs(10);

/// A cluster's certificate authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// What a server of this name presents.
    pub fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

/// The folder that a pod has mounted.
pub fn service_account(authority: &Authority) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("token", TOKEN), ("ca.crt", &authority.pem), ("namespace", "kafka")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The API as documented, for one pod and its node, with a role that may get both.
pub fn api(request: &Request) -> Reaction {
    if request.header("authorization") != format!("Bearer {TOKEN}") {
        return failure(401, "Unauthorized");
    }
    match request.line().as_str() {
        "GET /api/v1/namespaces/kafka/pods/broker-0" => ok(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"broker-0","namespace":"kafka","labels":{"app":"broker"}},
                "spec":{"nodeName":"node-7","containers":[]},"status":{"phase":"Running"}}"#,
        ),
        "GET /api/v1/namespaces/kafka/pods/labelled-0" => ok(
            r#"{"kind":"Pod","metadata":{"name":"labelled-0","labels":{"topology.kubernetes.io/zone":"eu-central-1b"}},
                "spec":{"nodeName":"node-7"}}"#,
        ),
        "GET /api/v1/nodes/node-7" => ok(
            r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"node-7","labels":{"kubernetes.io/os":"linux",
                "topology.kubernetes.io/zone":"eu-central-1a","topology.k8s.aws/zone-id":"euc1-az2"}},
                "spec":{"providerID":"aws:///eu-central-1a/i-0123"}}"#,
        ),
        "GET /api/v1/nodes/aks-1" => {
            ok(r#"{"kind":"Node","metadata":{"name":"aks-1","labels":{"topology.kubernetes.io/zone":"0"}},
                "spec":{"providerID":"azure:///subscriptions/1/virtualMachines/0"}}"#)
        }
        "GET /api/v1/nodes/bare" => ok(r#"{"kind":"Node","metadata":{"name":"bare"},"spec":{}}"#),
        _ => failure(404, "NotFound"),
    }
}

fn failure(code: u16, reason: &str) -> Reaction {
    let body = format!(r#"{{"kind":"Status","status":"Failure","reason":"{reason}","code":{code}}}"#);
    Reaction::Reply(code, vec![("Content-Type", "application/json".to_owned())], body)
}

/// One search in a pod of this environment beside the API's address.
async fn search(
    service: &Service,
    folder: &TempDir,
    pairs: &[(&str, &str)],
    options: Options,
) -> Result<Detected, Undetected> {
    let (host, port) = (service.address.ip().to_string(), service.address.port().to_string());
    let api = [("KUBERNETES_SERVICE_HOST", host.as_str()), ("KUBERNETES_SERVICE_PORT", port.as_str())];
    let environment: Environment = api.into_iter().chain(pairs.iter().copied()).collect();
    let endpoints = Endpoints {
        aws: nobody(),
        gcp: nobody(),
        azure: nobody(),
        service_account: folder.path().to_owned(),
    };
    detect(&environment, &endpoints, options).await
}

fn patient() -> Options {
    Options { deadline: DEADLINE, ..Options::default() }
}

fn why(result: Result<Detected, Undetected>) -> String {
    let error = result.expect_err("no zone");
    let attempt = error.tried().iter().find(|attempt| attempt.source == Source::Kubernetes).unwrap();
    match &attempt.outcome {
        Outcome::NotHere(why) | Outcome::NoZone(why) | Outcome::Failed(why) => why.clone(),
        other => panic!("{other:?}"),
    }
}

fn zone(result: Result<Detected, Undetected>) -> String {
    let detected = result.expect("a zone");
    assert_eq!(detected.source, Source::Kubernetes);
    detected.zone.to_string()
}

#[tokio::test]
async fn from_the_pod_to_its_node_to_the_nodes_label() {
    let authority = Authority::new();
    let (service, folder) =
        (Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), api), service_account(&authority));
    let pod = [("POD_NAME", "broker-0"), ("POD_NAMESPACE", "kafka")];
    assert_eq!(zone(search(&service, &folder, &pod, patient()).await), "eu-central-1a");
    assert_eq!(service.lines(), ["GET /api/v1/namespaces/kafka/pods/broker-0", "GET /api/v1/nodes/node-7"]);

    // Without the downward API: the host name and the mounted namespace.
    assert_eq!(
        zone(search(&service, &folder, &[("HOSTNAME", "broker-0")], patient()).await),
        "eu-central-1a"
    );

    let options = Options { zone_id: true, ..patient() };
    assert_eq!(zone(search(&service, &folder, &pod, options).await), "euc1-az2");

    // The node's name spares the question for the pod, the pod's own label that for the node.
    let before = service.lines().len();
    assert_eq!(zone(search(&service, &folder, &[("NODE_NAME", "node-7")], patient()).await), "eu-central-1a");
    assert_eq!(service.lines()[before..], ["GET /api/v1/nodes/node-7"]);
    let before = service.lines().len();
    assert_eq!(
        zone(search(&service, &folder, &[("POD_NAME", "labelled-0")], patient()).await),
        "eu-central-1b"
    );
    assert_eq!(service.lines()[before..], ["GET /api/v1/namespaces/kafka/pods/labelled-0"]);
}

#[tokio::test]
async fn over_ipv6_too() {
    let authority = Authority::new();
    let (service, folder) =
        (Service::start_tls("[::1]:0", authority.server("::1"), api), service_account(&authority));
    assert_eq!(zone(search(&service, &folder, &[("NODE_NAME", "node-7")], patient()).await), "eu-central-1a");
}

#[tokio::test]
async fn the_token_goes_to_none_but_the_clusters_own_server() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let folder = service_account(&authority);
    for tls in [foreign.server("127.0.0.1"), authority.server("kubernetes.example")] {
        let service = Service::start_tls("127.0.0.1:0", tls, api);
        let why = why(search(&service, &folder, &[("NODE_NAME", "node-7")], patient()).await);
        assert!(why.contains("TLS failed (invalid peer certificate"), "{why}");
        assert_eq!((service.connections(), service.requests().len()), (1, 0));
    }
    let plain = Service::start(api);
    // It takes our TLS for the beginning of a request and waits for the rest.
    let options = Options { deadline: Duration::from_millis(400), ..Options::default() };
    let why = why(search(&plain, &folder, &[("NODE_NAME", "node-7")], options).await);
    assert!(why.contains("node node-7"), "{why}");
    assert!(plain.requests().is_empty());

    let elsewhere = Service::start(api);
    let location = format!("{}/api/v1/nodes/node-7", elsewhere.url());
    let redirecting = Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), move |_| {
        Reaction::Reply(307, vec![("Location", location.clone())], String::new())
    });
    let why = super::detect_kubernetes::why(
        search(&redirecting, &folder, &[("NODE_NAME", "node-7")], patient()).await,
    );
    assert!(why.contains("HTTP 307 to send us elsewhere"), "{why}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let authority = Authority::new();
    let folder = service_account(&authority);
    let start = |handler: fn(&Request) -> Reaction| {
        Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), handler)
    };
    let forbidding = start(|_| failure(403, "Forbidden"));
    let told = why(search(&forbidding, &folder, &[("POD_NAME", "broker-0")], patient()).await);
    for part in [
        "pod broker-0 in namespace kafka (HTTP 403)",
        "ClusterRole",
        "get on pods and nodes",
        "docs/zones.md",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = why(search(&forbidding, &folder, &[("NODE_NAME", "node-7")], patient()).await);
    assert!(told.contains("get on nodes (docs"), "{told}");

    let refusing = start(|_| failure(401, "Unauthorized"));
    let told = why(search(&refusing, &folder, &[("NODE_NAME", "node-7")], patient()).await);
    assert!(told.contains("service account token (HTTP 401)"), "{told}");

    let service = start(api);
    for (pairs, part) in [
        (("POD_NAME", "gone-0"), "knows no pod gone-0 in namespace kafka (HTTP 404): set NODE_NAME"),
        (("NODE_NAME", "bare"), "node bare has no label topology.kubernetes.io/zone"),
        (("NODE_NAME", "aks-1"), "node aks-1 is in no zone of Azure"),
        (("NODE_NAME", "../../secrets"), "NODE_NAME is \"../../secrets\", which names no object"),
        (("UNRELATED", "x"), "this pod's name is not known: set NODE_NAME or POD_NAME"),
    ] {
        let told = why(search(&service, &folder, &[pairs], patient()).await);
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn a_pod_without_a_service_account_is_told_so() {
    let authority = Authority::new();
    let service = Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), api);
    let empty = tempfile::tempdir().unwrap();
    let told = why(search(&service, &empty, &[("NODE_NAME", "node-7")], patient()).await);
    assert!(told.contains("automountServiceAccountToken"), "{told}");

    for (file, text, part) in [
        ("ca.crt", "no PEM at all", "ca.crt holds no certificate"),
        ("token", "a\nb", "token holds no token"),
    ] {
        let folder = service_account(&authority);
        std::fs::write(folder.path().join(file), text).unwrap();
        let told = why(search(&service, &folder, &[("NODE_NAME", "node-7")], patient()).await);
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn a_bad_api_costs_no_more_than_the_deadline() {
    let authority = Authority::new();
    let folder = service_account(&authority);
    let deadline = Duration::from_millis(400);
    let reactions: [(&str, Handler); 7] = [
        ("no answer in 400ms", |_| Reaction::Silent),
        ("no answer in 400ms", |_| Reaction::Drip),
        ("larger than 1048576 bytes", |_| Reaction::Flood),
        ("was cut", |_| Reaction::Reset),
        ("which is none", |_| ok("<html>")),
        ("which is none", |_| ok(&format!("{:?}", "x".repeat(100_000)))),
        ("HTTP 503", |_| status(503)),
    ];
    for (part, reaction) in reactions {
        let service = Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), reaction);
        // What is answered at once needs no short deadline, which a busy machine might not keep.
        let deadline = if part.contains("no answer") { deadline } else { DEADLINE };
        let begun = std::time::Instant::now();
        let options = Options { deadline, ..Options::default() };
        let told = why(search(&service, &folder, &[("NODE_NAME", "node-7")], options).await);
        assert!(begun.elapsed() < deadline + Duration::from_secs(2), "{told}: {:?}", begun.elapsed());
        assert!(
            told.contains("node node-7") && told.contains(part) && told.len() < 400 && !told.contains(TOKEN),
            "{told}"
        );
    }
    // A server that accepts and then says nothing, not even TLS.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port().to_string();
    let environment: Environment = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port),
        ("NODE_NAME", "node-7"),
    ]
    .into_iter()
    .collect();
    let endpoints = Endpoints {
        aws: nobody(),
        gcp: nobody(),
        azure: nobody(),
        service_account: folder.path().to_owned(),
    };
    let options = Options { deadline, ..Options::default() };
    let told = why(detect(&environment, &endpoints, options).await);
    assert!(told.ends_with(": no answer in 400ms"), "{told}");
}
