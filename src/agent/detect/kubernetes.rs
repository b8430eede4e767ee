//! Kubernetes: the zone label of the node that this pod runs on, from the API of its own cluster.
//!
//! The node is `$NODE_NAME` (downward API), else what the pod `$POD_NAME` in `$POD_NAMESPACE` says; the host name and
//! the mounted namespace stand in for those two. Since Kubernetes 1.35 (KEP-4742) the pod itself carries the label, and
//! then the node is not asked. Reading nodes needs a ClusterRole: docs/zones.md has it.
//!
//! The service account's token goes nowhere but to a server that the cluster's own CA vouches for.

use super::env::{HOSTNAME, KUBERNETES_HOST, KUBERNETES_PORT, NODE_NAME, POD_NAME, POD_NAMESPACE};
use super::http::{Client, Reply, excerpt};
use super::{Environment, Outcome, Search};
use crate::limits::detect as limits;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::Path;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where nodes say their zone: the label, and its name before Kubernetes 1.17.
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
/// Where nodes in AWS say their zone's id (EKS from 1.30 on, Karpenter).
const ZONE_ID_LABELS: [&str; 1] = ["topology.k8s.aws/zone-id"];

/// What matters of a pod or node.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// Of a pod: where it was scheduled.
    node_name: Option<String>,
    /// Of a node: which machine of which cloud it is.
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

/// Asks for the zone label of the pod's node.
pub(super) fn ask(search: &Search) -> Outcome {
    let Some(host) = search.environment.get(KUBERNETES_HOST) else {
        return Outcome::NotHere(format!("not in Kubernetes (no {KUBERNETES_HOST})"));
    };
    match Api::new(search, host).and_then(|api| api.zone(search)) {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

/// The cluster's API as this pod may use it. An `Err` of its functions is the outcome that ends the search.
struct Api<'a> {
    client: Client,
    base: String,
    token: String,
    folder: &'a Path,
}

impl<'a> Api<'a> {
    fn new(search: &'a Search, host: &str) -> Result<Self, Outcome> {
        let folder = search.endpoints.service_account.as_path();
        let token = read(folder, "token")?.trim().to_owned();
        if token.is_empty()
            || token.len() > limits::TOKEN
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Outcome::Failed(format!("{} holds no token", folder.join("token").display())));
        }
        let authorities = authorities(&read(folder, "ca.crt")?);
        if authorities.is_empty() {
            return Err(Outcome::Failed(format!("{} holds no certificate", folder.join("ca.crt").display())));
        }
        let port = search.environment.get(KUBERNETES_PORT).unwrap_or("443");
        let base = match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("https://[{address}]:{port}"),
            Err(_) => format!("https://{host}:{port}"),
        };
        let client = Client::trusting(authorities, search.options.deadline);
        Ok(Self { client, base, token, folder })
    }

    fn zone(&self, search: &Search) -> Result<Outcome, Outcome> {
        let labels: &[&str] = if search.options.zone_id { &ZONE_ID_LABELS } else { &ZONE_LABELS };
        let node = match search.environment.get(NODE_NAME) {
            Some(node) => named(NODE_NAME, node)?.to_owned(),
            None => {
                let pod = self.pod(&search.environment)?;
                // AKS labels of a machine without a zone are plain numbers; only the node tells whether this is one.
                match label(&pod, labels).filter(|value| !is_number(value)) {
                    Some(zone) => return Ok(Outcome::of_zone_text(zone)),
                    None => self.node_of(pod)?,
                }
            }
        };
        let object: Object = self.get(&format!("nodes/{node}"), &format!("node {node}"), &["nodes"])?;
        Ok(zone_of(&node, &object, labels))
    }

    /// The pod that we are.
    fn pod(&self, environment: &Environment) -> Result<Object, Outcome> {
        let name = environment.get(POD_NAME).or_else(|| environment.get(HOSTNAME)).ok_or_else(|| {
            Outcome::Failed(format!(
                "this pod's name is not known: set {NODE_NAME} or {POD_NAME} by the downward API"
            ))
        })?;
        let name = named(POD_NAME, name)?;
        let mounted = match environment.get(POD_NAMESPACE) {
            Some(_) => String::new(),
            None => read(self.folder, "namespace")?,
        };
        let namespace = named(POD_NAMESPACE, environment.get(POD_NAMESPACE).unwrap_or(mounted.trim()))?;
        let what = format!("pod {name} in namespace {namespace}");
        self.get(&format!("namespaces/{namespace}/pods/{name}"), &what, &["pods", "nodes"])
    }

    fn node_of(&self, pod: Object) -> Result<String, Outcome> {
        let node = pod.spec.node_name.ok_or_else(|| {
            Outcome::Failed(format!("the pod names no node yet: set {NODE_NAME} by the downward API"))
        })?;
        named("spec.nodeName", &node).map(str::to_owned)
    }

    /// Reads one object; `needs` are the resources that the role must let it get.
    fn get<T: DeserializeOwned>(&self, path: &str, what: &str, needs: &[&str]) -> Result<T, Outcome> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str()), ("Accept", "application/json")];
        let reply =
            self.client.get(&format!("{}/api/v1/{path}", self.base), &headers).map_err(|failure| {
                Outcome::Failed(format!("{what} could not be read from the API at {}: {failure}", self.base))
            })?;
        if reply.status != 200 {
            return Err(refusal(&reply, what, needs));
        }
        // serde's own words would repeat what was sent, at any length.
        serde_json::from_str(&reply.body).map_err(|_| {
            Outcome::Failed(format!("the API answered {} for {what}, which is none", excerpt(&reply.body)))
        })
    }
}

/// What the node's labels say.
fn zone_of(node: &str, object: &Object, labels: &[&str]) -> Outcome {
    let Some(zone) = label(object, labels) else {
        return Outcome::NoZone(format!(
            "node {node} has no label {}: label it, or set FINGERPOST_ZONE",
            labels.first().unwrap_or(&"")
        ));
    };
    // cloud-provider-azure writes the fault domain into the zone label of machines that are in no zone.
    let azure = object.spec.provider_id.as_deref().is_some_and(|id| id.starts_with("azure:"));
    if azure && is_number(zone) {
        return Outcome::NoZone(format!(
            "node {node} is in no zone of Azure ({zone} in its label is a fault domain): use a zonal node pool, or \
             set FINGERPOST_ZONE"
        ));
    }
    Outcome::of_zone_text(zone)
}

fn refusal(reply: &Reply, what: &str, needs: &[&str]) -> Outcome {
    Outcome::Failed(match reply.status {
        401 => format!("the API refuses this pod's service account token (HTTP 401) to get {what}"),
        403 => format!(
            "the service account may not get {what} (HTTP 403): bind it to a ClusterRole with the verb get on {} \
             (docs/zones.md has one), or set FINGERPOST_ZONE",
            needs.join(" and ")
        ),
        404 => format!(
            "the API knows no {what} (HTTP 404): set {NODE_NAME}, or {POD_NAME} and {POD_NAMESPACE}, by the downward \
             API"
        ),
        _ => format!("the API {} for {what}", reply.surprise()),
    })
}

fn label<'a>(object: &'a Object, names: &[&str]) -> Option<&'a str> {
    let values = names.iter().filter_map(|name| object.metadata.labels.get(*name));
    values.map(|value| value.trim()).find(|value| !value.is_empty())
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name of an object (RFC 1123 subdomain): what else stands in a variable must not become part of a path.
fn named<'a>(variable: &str, name: &'a str) -> Result<&'a str, Outcome> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match starts && name.len() <= 253 && name.bytes().all(sound) {
        true => Ok(name),
        false => Err(Outcome::Failed(format!("{variable} is {}, which names no object", excerpt(name)))),
    }
}

/// The certificates of a PEM file; what else is in it is left alone.
fn authorities(pem: &str) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem.as_bytes()).filter_map(certificate).collect()
}

/// A file of the mounted service account.
fn read(folder: &Path, name: &str) -> Result<String, Outcome> {
    let path = folder.join(name);
    let mut text = String::new();
    let result = File::open(&path).and_then(|file| file.take(limits::FILE).read_to_string(&mut text));
    match result {
        Ok(_) => Ok(text),
        Err(error) => Err(Outcome::Failed(format!(
            "the service account's {} can't be read ({error}): is automountServiceAccountToken off?",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_label_counts_then_its_old_name() {
        let node = object(
            r#"{"kind":"Node","metadata":{"name":"n","labels":{"topology.kubernetes.io/zone":"eu-1a",
                "failure-domain.beta.kubernetes.io/zone":"old","topology.k8s.aws/zone-id":"euw1-az3"}}}"#,
        );
        assert_eq!(zone_of("n", &node, &ZONE_LABELS).zone().unwrap().as_str(), "eu-1a");
        assert_eq!(zone_of("n", &node, &ZONE_ID_LABELS).zone().unwrap().as_str(), "euw1-az3");
        let old = object(r#"{"metadata":{"labels":{"failure-domain.beta.kubernetes.io/zone":"old"}}}"#);
        assert_eq!(zone_of("n", &old, &ZONE_LABELS).zone().unwrap().as_str(), "old");
        let Outcome::NoZone(why) = zone_of("n-7", &object(r#"{"metadata":{}}"#), &ZONE_LABELS) else {
            panic!()
        };
        assert!(why.contains("n-7") && why.contains("topology.kubernetes.io/zone"), "{why}");
    }

    #[test]
    fn a_fault_domain_of_azure_is_no_zone_but_a_number_elsewhere_is() {
        let node = |provider: &str| {
            object(&format!(
                r#"{{"metadata":{{"labels":{{"topology.kubernetes.io/zone":"0"}}}},"spec":{{"providerID":"{provider}"}}}}"#
            ))
        };
        assert!(matches!(zone_of("n", &node("azure:///subscriptions/x"), &ZONE_LABELS), Outcome::NoZone(_)));
        assert_eq!(zone_of("n", &node("metal://7"), &ZONE_LABELS).zone().unwrap().as_str(), "0");
    }

    #[test]
    fn what_names_no_object_never_becomes_a_path() {
        for name in ["", "../secrets", "a/b", "a?x=y", "A", "-a", ".."] {
            assert!(named(POD_NAME, name).is_err(), "{name}");
        }
        assert_eq!(named(NODE_NAME, "ip-10-0-1-17.ec2.internal").unwrap(), "ip-10-0-1-17.ec2.internal");
    }
}
