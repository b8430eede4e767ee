//! Azure: the instance metadata service's `compute`, asked with `Metadata: true`. It needs no permission.
//!
//! A zone there is a number within its region, so the name is `<location>-<zone>` (`eastus-1`), as AKS writes it in
//! its node labels. A VM that was not created in a zone has an empty one: it is in no zone, and `eastus-` or `eastus`
//! would be names that nothing else uses. Who wants the region to count as a zone says so by `FINGERPOST_ZONE`.

use super::http::{Client, excerpt};
use super::{Outcome, Search};
use serde::Deserialize;

/// The version of the answer. It has both fields (since 2017-12-01) and not yet the VM's user data (2021-01-01), which
/// would make it large for nothing.
const VERSION: &str = "2020-06-01";

/// What matters of a VM.
#[derive(Deserialize)]
struct Compute {
    location: String,
    #[serde(default)]
    zone: String,
}

/// Asks for location and zone of the VM.
pub(super) fn ask(search: &Search) -> Outcome {
    let client = Client::plain(search.options.deadline);
    let base = &search.endpoints.azure;
    let url = format!("{base}/metadata/instance/compute?api-version={VERSION}&format=json");
    let reply = match client.get(&url, &[("Metadata", "true")]) {
        Ok(reply) => reply,
        Err(failure) => return Outcome::Failed(failure.to_string()),
    };
    match reply.status {
        200 => {}
        401 | 403 | 404 | 405 => {
            return Outcome::NotHere(format!("not Azure ({})", reply.surprise()));
        }
        _ => return Outcome::Failed(reply.surprise()),
    }
    match serde_json::from_str::<Compute>(&reply.body) {
        Ok(compute) => zone_of(&compute),
        // serde's own words would repeat what was sent, at any length.
        Err(_) => Outcome::Failed(format!("answered {}, which describes no VM", excerpt(&reply.body))),
    }
}

fn zone_of(compute: &Compute) -> Outcome {
    let (location, zone) = (compute.location.trim(), compute.zone.trim());
    match (location.is_empty(), zone.is_empty()) {
        (true, _) => Outcome::Failed("the VM's location is empty".to_owned()),
        (false, true) => Outcome::NoZone(format!(
            "this VM in {} is in no zone: create it in one, or set FINGERPOST_ZONE",
            excerpt(location)
        )),
        (false, false) => Outcome::of_zone_text(&format!("{location}-{zone}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(json: &str) -> Outcome {
        zone_of(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_zone_is_region_and_number_and_a_regional_vm_has_none() {
        assert_eq!(zone(r#"{"location":"EastUS","zone":"1"}"#).zone().unwrap().as_str(), "eastus-1");
        for zoneless in [r#"{"location":"westus","zone":""}"#, r#"{"location":"westus"}"#] {
            let Outcome::NoZone(why) = zone(zoneless) else { panic!("{zoneless}") };
            assert!(why.contains("\"westus\"") && why.contains("FINGERPOST_ZONE"), "{why}");
        }
        assert!(matches!(zone(r#"{"location":"","zone":"1"}"#), Outcome::Failed(_)));
    }
}
