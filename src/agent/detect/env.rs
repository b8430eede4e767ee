//! What the environment says: the operator's own word for the zone, where the platforms put their services, and who
//! this pod is. The one place besides `config` that reads environment variables.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The operator's word for the zone; it ends the search before it begins.
pub const ZONE: &str = "FINGERPOST_ZONE";
/// Set by the ECS agent and by Fargate in every container of a task.
pub const ECS_URI: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// Set by the kubelet in every container: where the API is.
pub const KUBERNETES_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// Set by the kubelet beside [`KUBERNETES_HOST`].
pub const KUBERNETES_PORT: &str = "KUBERNETES_SERVICE_PORT";
/// The node's name, from the downward API (`spec.nodeName`).
pub const NODE_NAME: &str = "NODE_NAME";
/// The pod's name, from the downward API (`metadata.name`).
pub const POD_NAME: &str = "POD_NAME";
/// The pod's namespace, from the downward API (`metadata.namespace`).
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// The host's name: in a pod its own name, unless the pod says otherwise.
pub const HOSTNAME: &str = "HOSTNAME";
/// AWS' own variable for another address of the instance metadata service (`http://[fd00:ec2::254]` for IPv6).
pub const AWS_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// AWS' own variable that switches the instance metadata service off for a process.
pub const AWS_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// Google's own variable for another `host:port` of the metadata server.
pub const GCP_HOST: &str = "GCE_METADATA_HOST";
/// Another address of Azure's metadata service; Azure has no variable of its own for it.
pub const AZURE_ENDPOINT: &str = "FINGERPOST_AZURE_METADATA_ENDPOINT";

/// Every variable that is read.
const READ: [&str; 12] = [
    ZONE,
    ECS_URI,
    KUBERNETES_HOST,
    KUBERNETES_PORT,
    NODE_NAME,
    POD_NAME,
    POD_NAMESPACE,
    HOSTNAME,
    AWS_ENDPOINT,
    AWS_DISABLED,
    GCP_HOST,
    AZURE_ENDPOINT,
];

/// The link-local address that EC2, GCP and Azure all serve metadata at.
const LINK_LOCAL: &str = "http://169.254.169.254";
/// Where Kubernetes mounts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The environment variables that matter here, as plain values: tests make their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A value that is no UTF-8 counts as not set.
    pub fn process() -> Self {
        READ.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect()
    }

    /// A variable's value without the white space around it; `None` if nothing is left. A value may well be empty:
    /// compose files and the downward API write `NAME=` for what they don't know.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The zone that the operator names, unparsed.
    pub fn zone(&self) -> Option<&str> {
        self.get(ZONE)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Where the services are. ECS and Kubernetes say so in the environment; the others have well-known addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Base URL of EC2's instance metadata service, without a path.
    pub aws: String,
    /// Base URL of Google's metadata server, without a path.
    pub gcp: String,
    /// Base URL of Azure's instance metadata service, without a path.
    pub azure: String,
    /// The folder with `token`, `ca.crt` and `namespace` of the pod's service account.
    pub service_account: PathBuf,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            aws: LINK_LOCAL.to_owned(),
            gcp: LINK_LOCAL.to_owned(),
            azure: LINK_LOCAL.to_owned(),
            service_account: PathBuf::from(SERVICE_ACCOUNT),
        }
    }
}

impl Endpoints {
    /// The well-known ones, but where the vendors' own variables say otherwise.
    pub fn of(environment: &Environment) -> Self {
        let usual = Self::default();
        let base = |name: &str, usual: String| {
            environment.get(name).map_or(usual, |base| base.trim_end_matches('/').to_owned())
        };
        Self {
            aws: base(AWS_ENDPOINT, usual.aws),
            gcp: environment.get(GCP_HOST).map_or(usual.gcp, |host| format!("http://{host}")),
            azure: base(AZURE_ENDPOINT, usual.azure),
            service_account: usual.service_account,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let environment: Environment = [(ZONE, "  \n"), (POD_NAME, " broker-0\n")].into_iter().collect();
        assert_eq!(environment.zone(), None);
        assert_eq!(environment.get(POD_NAME), Some("broker-0"));
        assert_eq!(environment.get("HOME"), None);
    }

    #[test]
    fn the_vendors_own_variables_move_their_services() {
        let environment: Environment =
            [(AWS_ENDPOINT, "http://[fd00:ec2::254]/"), (GCP_HOST, "metadata.internal:8080")]
                .into_iter()
                .collect();
        let endpoints = Endpoints::of(&environment);
        assert_eq!(endpoints.aws, "http://[fd00:ec2::254]");
        assert_eq!(endpoints.gcp, "http://metadata.internal:8080");
        assert_eq!(endpoints.azure, LINK_LOCAL);
        assert_eq!(Endpoints::of(&Environment::default()), Endpoints::default());
    }
}
