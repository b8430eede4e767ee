//! FindCoordinator (key 10), versions 0 to 6.
//!
//! - v0 group key only; v1 key type (0 group, 1 transaction) and throttle time; v3 flexible; v4 batched keys, results in
//!   the order of the keys with an error each (KIP-699); v5 no change here (KIP-890); v6 key type 2, share (KIP-932).
//! - The coordinator is chosen by rendezvous hashing over the ready agents of Metadata's broker list for this client
//!   ([`crate::placement::coordinator`]), so it is the same on every replica, moves only when it must, and is always listed.
//! - Key type share before v6, a share key that is not `group:topic-id:partition`, or an unknown type: INVALID_REQUEST.
//! - No agent alive, or the registry not read yet: COORDINATOR_NOT_AVAILABLE with node -1, which every client retries.

use super::{Api, Call, Outcome, Stop, error, host_text};
use crate::kafka::shown::Shown;
use crate::kafka::wire::{Malformed, Reader};
use crate::limits::kafka as limits;
use crate::placement::{Broker, coordinator};
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

/// The table's line.
pub const API: Api = Api {
    key: 10,
    name: "FindCoordinator",
    min: 0,
    max: 6,
    flexible_from: 3,
    flexible_reply_header: true,
    answer,
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

fn answer(mut call: Call<'_>) -> Result<Outcome, Stop> {
    let (key_type, keys) = read(&call)?;
    let roster = call.service.roster(call.fleet);
    let shown = roster.as_ref().and_then(|roster| call.show(roster).ok());
    let eligible = shown.as_ref().map(Shown::coordinators).unwrap_or_default();
    let found = |key: &str| -> Result<&Broker, i16> {
        check(call.version, key_type, key)?;
        coordinator::choose(&eligible, key_type, key.as_bytes()).ok_or(error::COORDINATOR_NOT_AVAILABLE)
    };
    let mut outcome = Outcome::Answered;
    let results: Vec<Coordinator> = keys
        .iter()
        .map(|key| {
            let found = found(key);
            if found.is_err() {
                outcome = Outcome::Error;
            }
            result_of(key, found, shown.as_ref())
        })
        .collect();
    let mut reply = FindCoordinatorResponse::default().with_error_message(None);
    if call.version >= 4 {
        reply = reply.with_coordinators(results);
    } else if let Some(only) = results.into_iter().next() {
        reply = reply
            .with_error_code(only.error_code)
            .with_error_message(only.error_message)
            .with_node_id(only.node_id)
            .with_host(only.host)
            .with_port(only.port);
    }
    call.encode(API.name, &reply)?;
    Ok(outcome)
}

/// The key type and the keys.
fn read<'a>(call: &Call<'a>) -> Result<(i8, Vec<&'a str>), Stop> {
    let mut body = Reader::new(call.body, call.flexible);
    if call.version < 4 {
        let key = body.text()?;
        let key_type = if call.version >= 1 { body.i8()? } else { GROUP };
        body.tags()?;
        return Ok((key_type, vec![key]));
    }
    let key_type = body.i8()?;
    let count = body.count(1)?.ok_or(Malformed::Null)?;
    if count > limits::REQUEST_KEYS {
        return Err(Stop::TooMany(API.name, limits::REQUEST_KEYS));
    }
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(body.text()?);
    }
    body.tags()?;
    Ok((key_type, keys))
}

/// Whether a key of that type can have a coordinator at all.
fn check(version: i16, key_type: i8, key: &str) -> Result<(), i16> {
    match key_type {
        GROUP | TRANSACTION => Ok(()),
        SHARE if version >= 6 && is_share_key(key) => Ok(()),
        _ => Err(error::INVALID_REQUEST),
    }
}

/// `group:topic-id:partition`.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (partition, topic, group) = (parts.next(), parts.next(), parts.next());
    partition.is_some_and(|number| number.parse::<i32>().is_ok_and(|number| number >= 0))
        && topic.is_some_and(|id| !id.is_empty())
        && group.is_some_and(|group| !group.is_empty())
}

fn result_of(key: &str, found: Result<&Broker, i16>, shown: Option<&Shown<'_, '_>>) -> Coordinator {
    let result = Coordinator::default().with_key(StrBytes::from_string(key.to_owned()));
    match found {
        Ok(broker) => result
            .with_node_id(BrokerId(broker.node_id))
            .with_host(shown.map(|shown| host_text(shown, broker)).unwrap_or_default())
            .with_port(i32::from(broker.port))
            .with_error_message(None),
        Err(code) => {
            let why = match code {
                error::COORDINATOR_NOT_AVAILABLE => "The coordinator is not available.",
                _ => "The key type and key make no sense in this version.",
            };
            result
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code)
                .with_error_message(Some(StrBytes::from_static_str(why)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_keys_have_three_parts_and_come_with_version_6() {
        assert_eq!(check(6, SHARE, "g:0lMXyAFbTHuEfCM8x9wJmQ:3"), Ok(()));
        assert_eq!(check(6, SHARE, "a:b:0lMXyAFbTHuEfCM8x9wJmQ:3"), Ok(()), "a group may hold colons");
        for bad in ["", "g", "g:t", "g:t:", "g:t:-1", "::3", "g::3"] {
            assert_eq!(check(6, SHARE, bad), Err(error::INVALID_REQUEST), "{bad}");
        }
        assert_eq!(check(5, SHARE, "g:t:3"), Err(error::INVALID_REQUEST));
        assert_eq!(check(6, 3, "g"), Err(error::INVALID_REQUEST));
        assert_eq!(check(1, TRANSACTION, "t"), Ok(()));
    }
}
