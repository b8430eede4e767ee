//! Google Cloud: the metadata server's `instance/zone`. Request and reply both carry `Metadata-Flavor: Google`; a reply
//! without it is from somebody else, for three clouds share the address. It needs no permission. In GKE the pod's
//! requests are answered by GKE's own metadata server, which knows the zone as well.

use super::http::{Client, Reply, excerpt};
use super::{Outcome, Search};

/// Asks for the zone of the instance.
pub(super) fn ask(search: &Search) -> Outcome {
    let client = Client::plain(search.options.deadline);
    let url = format!("{}/computeMetadata/v1/instance/zone", search.endpoints.gcp);
    match client.get(&url, &[("Metadata-Flavor", "Google")]) {
        Ok(reply) => zone_of(&reply),
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}

fn zone_of(reply: &Reply) -> Outcome {
    if reply.flavor.as_deref() != Some("Google") {
        return Outcome::NotHere(format!("not GCP ({} without Metadata-Flavor: Google)", reply.surprise()));
    }
    if reply.status != 200 {
        return Outcome::Failed(reply.surprise());
    }
    // projects/PROJECT-NUMBER/zones/ZONE
    let parts: Vec<&str> = reply.body.trim().split('/').collect();
    match parts.as_slice() {
        ["projects", _, "zones", zone] => Outcome::of_zone_text(zone),
        _ => Outcome::Failed(format!("answered {}, not projects/…/zones/…", excerpt(&reply.body))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(body: &str) -> Outcome {
        zone_of(&Reply { status: 200, flavor: Some("Google".to_owned()), body: body.to_owned() })
    }

    #[test]
    fn only_a_zone_path_is_a_zone() {
        assert_eq!(zone("projects/1234/zones/us-central1-a\n").zone().unwrap().as_str(), "us-central1-a");
        for junk in ["us-central1-a", "projects/1/zones/", "projects/1/zones/a/b", "projects/1/regions/a", ""]
        {
            assert!(matches!(zone(junk), Outcome::Failed(_)), "{junk}");
        }
    }
}
