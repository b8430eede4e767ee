//! No request of zone detection goes through a proxy: what a proxy fetches is the zone of the proxy's machine.

use crate::detect_kubernetes::{Authority, api, service_account};
use crate::detect_service::{Service, azure, ec2, ecs, gcp, ok};
use fingerpost::agent::detect::{Endpoints, Environment, Options, detect};
use std::process::Command;
use std::time::Duration;

/// Tells the child from the parent, and where its service account is.
const CHILD: &str = "FINGERPOST_TEST_SERVICE_ACCOUNT";

/// The variables of a proxy are read from the process, so this test runs itself once more with them set.
#[tokio::test]
async fn no_request_goes_through_the_environments_proxy() {
    match std::env::var_os(CHILD) {
        Some(folder) => child(folder.into()).await,
        None => parent(),
    }
}

fn parent() {
    let authority = Authority::new();
    let folder = service_account(&authority);
    let proxy = Service::start(|_| ok("wrong-zone"));
    let cluster = Service::start_tls("127.0.0.1:0", authority.server("127.0.0.1"), api);
    let (task, instance, machine, vm) =
        (Service::start(ecs), Service::start(ec2), Service::start(gcp), Service::start(azure("3")));

    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", "detect_proxy::no_request_goes_through_the_environments_proxy"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, proxy.url());
    }
    for name in ["NO_PROXY", "no_proxy", "FINGERPOST_ZONE", "AWS_EC2_METADATA_DISABLED"] {
        child.env_remove(name);
    }
    child
        .env(CHILD, folder.path())
        .env("ECS_CONTAINER_METADATA_URI_V4", format!("{}/v4/abc-123", task.url()))
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url())
        .env("GCE_METADATA_HOST", machine.address.to_string())
        .env("FINGERPOST_AZURE_METADATA_ENDPOINT", vm.url())
        .env("KUBERNETES_SERVICE_HOST", cluster.address.ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", cluster.address.port().to_string())
        .env("NODE_NAME", "node-7");
    let output = child.output().expect("run this test once more");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(
        proxy.connections(),
        1,
        "only the request that shows that the variables work: {:?}",
        proxy.lines()
    );
}

async fn child(folder: std::path::PathBuf) {
    let environment = Environment::process();
    let endpoints = Endpoints { service_account: folder, ..Endpoints::of(&environment) };
    // That the variables are honoured by default is what makes the rest of this test worth something.
    let _ = ureq::get(&format!("{}/", endpoints.aws)).call();
    let options = Options { exhaustive: true, deadline: Duration::from_secs(10), ..Options::default() };
    let detected = detect(&environment, &endpoints, options).await.unwrap();
    let zones: Vec<&str> = detected
        .tried
        .iter()
        .map(|attempt| attempt.outcome.zone().map_or("none", |zone| zone.as_str()))
        .collect();
    assert_eq!(zones, ["us-west-2c", "eu-central-1a", "us-east-1a", "europe-west1-b", "westeurope-3"]);
}
