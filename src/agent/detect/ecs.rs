//! ECS and Fargate: the task metadata endpoint, version 4 (`$ECS_CONTAINER_METADATA_URI_V4/task`), which the ECS agent
//! (1.39.0 or later) or Fargate (platform 1.4.0 or later) puts into every container. It needs no permission.
//!
//! The zone is the task's `AvailabilityZone`. Its id is `AvailabilityZoneID`, which Fargate sends without documenting
//! it, so its absence is no surprise.

use super::env::ECS_URI;
use super::http::{Client, excerpt};
use super::{Outcome, Search};
use serde::Deserialize;

/// What matters of a task.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    availability_zone: Option<String>,
    #[serde(rename = "AvailabilityZoneID")]
    availability_zone_id: Option<String>,
}

/// Asks for the zone of the task.
pub(super) fn ask(search: &Search) -> Outcome {
    let Some(base) = search.environment.get(ECS_URI) else {
        return Outcome::NotHere(format!("not in ECS (no {ECS_URI})"));
    };
    let client = Client::plain(search.options.deadline);
    let reply = match client.get(&format!("{}/task", base.trim_end_matches('/')), &[]) {
        Ok(reply) => reply,
        Err(failure) => return Outcome::Failed(failure.to_string()),
    };
    if reply.status != 200 {
        return Outcome::Failed(reply.surprise());
    }
    match serde_json::from_str::<Task>(&reply.body) {
        Ok(task) => zone_of(task, search.options.zone_id),
        // serde's own words would repeat what was sent, at any length.
        Err(_) => Outcome::Failed(format!("answered {}, which is no task metadata", excerpt(&reply.body))),
    }
}

fn zone_of(task: Task, zone_id: bool) -> Outcome {
    let present = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    if zone_id {
        return match present(task.availability_zone_id) {
            Some(id) => Outcome::of_zone_text(&id),
            None => Outcome::NoZone(
                "the task metadata has no AvailabilityZoneID: set FINGERPOST_ZONE to the zone's id"
                    .to_owned(),
            ),
        };
    }
    match present(task.availability_zone) {
        Some(name) => Outcome::of_zone_text(&name),
        None => Outcome::NoZone(
            "the task metadata has no AvailabilityZone (Fargate has it from platform 1.4.0 on)".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(json: &str, zone_id: bool) -> Outcome {
        zone_of(serde_json::from_str(json).unwrap(), zone_id)
    }

    #[test]
    fn name_and_id_are_never_taken_for_each_other() {
        let task = r#"{"Cluster":"c","AvailabilityZone":"us-east-1a","AvailabilityZoneID":"use1-az2","Containers":[]}"#;
        assert_eq!(zone(task, false).zone().unwrap().as_str(), "us-east-1a");
        assert_eq!(zone(task, true).zone().unwrap().as_str(), "use1-az2");
        assert!(matches!(zone(r#"{"AvailabilityZone":"us-east-1a"}"#, true), Outcome::NoZone(_)));
        assert!(matches!(zone(r#"{"AvailabilityZone":""}"#, false), Outcome::NoZone(_)));
        assert!(matches!(zone(r#"{"AvailabilityZoneID":"use1-az2"}"#, false), Outcome::NoZone(_)));
    }
}
