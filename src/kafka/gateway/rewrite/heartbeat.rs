//! Heartbeats of group members, while the agent leaves. No client leaves a coordinator by itself: its heartbeats stay as long
//! as the connection does. So the error code of their replies becomes NOT_COORDINATOR, upon which every client looks
//! for the coordinator anew and stays a member: what is known of a group lies behind each of its agents.
//!
//! Only where nothing is lost with the reply, and nobody is sent around in circles:
//! - the reply says nothing: no error, no assignment, the epoch that the member knows;
//! - the member is one already and stays (its epoch is above 0);
//! - the coordinator that every listener and gateway names for the group now is another agent.
//!
//! All else passes as it is, also what can't be read.

use super::Reply;
use crate::kafka::api::{Stop, error};
use crate::kafka::gateway::versions::Discovery;
use crate::kafka::wire::{Malformed, Reader, Writer};
use crate::placement::coordinator;

/// FindCoordinator's key type of groups, of every protocol.
const GROUP: i8 = 0;

/// Whether the reply was changed.
pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<bool, Stop> {
    let moves = says_nothing(&reply).unwrap_or(false) && is_anothers(&reply).unwrap_or(false);
    if moves {
        if has_throttle(&reply) {
            reply.copy(&mut out, Reader::i32)?;
        }
        reply.body.i16()?;
        out.i16(error::NOT_COORDINATOR);
    }
    out.raw(reply.body.rest());
    Ok(moves)
}

fn has_throttle(reply: &Reply<'_>) -> bool {
    reply.asked.api != Discovery::Heartbeat || reply.asked.version >= 1
}

fn says_nothing(reply: &Reply<'_>) -> Result<bool, Malformed> {
    let mut body = reply.body;
    if has_throttle(reply) {
        body.i32()?;
    }
    if body.i16()? != error::NONE {
        return Ok(false);
    }
    if reply.asked.api == Discovery::Heartbeat {
        return Ok(true);
    }
    body.nullable_bytes()?; // message
    body.nullable_bytes()?; // member
    let epoch = body.i32()?;
    body.i32()?; // interval
    let assignment = body.i8()?;
    Ok(assignment < 0 && epoch > 0 && epoch == reply.asked.epoch)
}

/// Whether the group's coordinator is another agent than this one.
fn is_anothers(reply: &Reply<'_>) -> Option<bool> {
    let (own, group) = (reply.place.leaving?, reply.asked.key.as_deref()?);
    let roster = reply.roster().ok()?;
    let shown = reply.show(&roster).ok()?;
    let chosen = coordinator::choose(&shown.coordinators(), GROUP, group.as_bytes())?;
    Some(chosen.agent.key.agent != *own)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, frame};
    use super::super::{Asked, Place, rewrite};
    use super::*;
    use crate::kafka::battery::{NOW, service, small_fleet, text};
    use crate::model::AgentId;
    use kafka_protocol::messages::{
        ConsumerGroupHeartbeatResponse, HeartbeatResponse, ShareGroupHeartbeatResponse,
        consumer_group_heartbeat_response as consumer, share_group_heartbeat_response as share,
    };

    /// The agent of the small fleet that coordinates this group for the client that all tests are.
    fn coordinator_of(group: &str) -> AgentId {
        let (service, fleet) = (service(), small_fleet());
        let roster = service.roster(&fleet).unwrap();
        let chosen = coordinator::choose(&roster.eligible(NOW), GROUP, group.as_bytes()).unwrap();
        chosen.agent.key.agent.clone()
    }

    /// The reply as it goes on from an agent that leaves, or stays, without its length; and whether it was changed.
    fn through(asked: &Asked, frame: &[u8], leaving: Option<&AgentId>) -> Result<(Vec<u8>, bool), Stop> {
        let (service, fleet) = (service(), small_fleet());
        let place =
            Place { service: &service, fleet: &fleet, now: NOW, source: [192, 0, 2, 1].into(), leaving };
        let mut out = Vec::new();
        rewrite(place, asked, frame, &mut out).map(|rewritten| (out.split_off(4), rewritten))
    }

    /// Each kind and version with its member's epoch and what the broker says, and where the error code stands.
    fn replies(code: i16, epoch: i32, assigned: bool) -> Vec<(Asked, Vec<u8>, usize)> {
        let mut all = Vec::new();
        for version in 0..=4 {
            let body = HeartbeatResponse::default().with_error_code(code);
            let at = [4, 8, 8, 8, 9][version as usize];
            let asked = asked(Discovery::Heartbeat, version);
            all.push((asked, frame(Discovery::Heartbeat, version, &body), at));
        }
        let consumer_body = ConsumerGroupHeartbeatResponse::default()
            .with_error_code(code)
            .with_member_id(Some(text("m")))
            .with_member_epoch(epoch)
            .with_assignment(assigned.then(consumer::Assignment::default));
        let share_body = ShareGroupHeartbeatResponse::default()
            .with_error_code(code)
            .with_member_id(Some(text("m")))
            .with_member_epoch(epoch)
            .with_assignment(assigned.then(share::Assignment::default));
        for version in 0..=1 {
            let api = Discovery::ConsumerGroupHeartbeat;
            all.push((Asked { epoch: 5, ..asked(api, version) }, frame(api, version, &consumer_body), 9));
        }
        let api = Discovery::ShareGroupHeartbeat;
        all.push((Asked { epoch: 5, ..asked(api, 1) }, frame(api, 1, &share_body), 9));
        all
    }

    #[test]
    fn only_what_says_nothing_is_sent_on_to_another_coordinator() {
        let own = AgentId::parse("agent-0").unwrap();
        let groups: Vec<String> = (0..40).map(|n| format!("group-{n}")).collect();
        let (here, there): (Vec<_>, Vec<_>) = groups.iter().partition(|group| coordinator_of(group) == own);
        assert!(!here.is_empty() && !there.is_empty());
        for group in &groups {
            for (asked, frame, at) in replies(0, 5, false) {
                let asked = Asked { key: Some(group.as_str().into()), ..asked };
                let (told, rewritten) = through(&asked, &frame, Some(&own)).unwrap();
                let mut expected = frame.clone();
                if there.contains(&group) {
                    expected[at..at + 2].copy_from_slice(&error::NOT_COORDINATOR.to_be_bytes());
                }
                assert_eq!((told, rewritten), (expected, there.contains(&group)), "{asked:?}");
                assert_eq!(through(&asked, &frame, None).unwrap(), (frame, false), "it stays: {asked:?}");
            }
        }
        let group = Some(there[0].as_str().into());
        for (code, epoch, assigned) in
            [(27, 5, false), (0, 6, false), (0, 0, false), (0, -1, false), (0, 5, true)]
        {
            for (asked, frame, _) in replies(code, epoch, assigned) {
                let asked = Asked { key: group.clone(), ..asked };
                let says = code != 0 || asked.api != Discovery::Heartbeat;
                let (told, rewritten) = through(&asked, &frame, Some(&own)).unwrap();
                assert!(!says || told == frame && !rewritten, "{code} {epoch} {assigned}: {asked:?}");
                // A member that joins or leaves is told what it waits for.
                let asked = Asked { epoch, ..asked };
                let (told, _) = through(&asked, &frame, Some(&own)).unwrap();
                assert!(told == frame || epoch > 0 && code == 0 && !assigned || !says);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_passes_as_it_is() {
        let own = AgentId::parse("nobody").unwrap();
        for (asked, frame, at) in replies(0, 5, false) {
            let asked = Asked { key: Some("group-1".into()), ..asked };
            assert!(through(&asked, &frame, Some(&own)).unwrap().1);
            for end in at..frame.len() {
                let (told, rewritten) = through(&asked, &frame[..end], Some(&own)).unwrap();
                assert!(told.len() == end && if rewritten { end >= at + 2 } else { told == frame[..end] });
            }
        }
    }
}
