//! DescribeCluster (key 60), versions 0 to 2; admin clients ask it instead of Metadata.
//!
//! - v0 cluster id, controller, brokers; v1 endpoint type (1 brokers, 2 controllers; KIP-919); v2 fenced brokers
//!   (KIP-1073), of which we have none. All flexible.
//! - The same brokers and controller as in Metadata. Asked for controllers: MISMATCHED_ENDPOINT_TYPE, as a broker does.
//! - Authorised operations are never told (i32::MIN means unknown).

use super::{Api, Call, Outcome, Stop, error, host_text};
use crate::kafka::wire::Reader;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

/// The table's line.
pub const API: Api = Api {
    key: 60,
    name: "DescribeCluster",
    min: 0,
    max: 2,
    flexible_from: 0,
    flexible_reply_header: true,
    answer,
};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

fn answer(mut call: Call<'_>) -> Result<Outcome, Stop> {
    let mut body = Reader::new(call.body, call.flexible);
    let _include_operations = body.bool()?;
    let endpoint_type = if call.version >= 1 { body.i8()? } else { BROKERS };
    if call.version >= 2 {
        let _include_fenced = body.bool()?;
    }
    body.tags()?;
    if endpoint_type != BROKERS {
        let (code, why) = match endpoint_type {
            CONTROLLERS => (error::MISMATCHED_ENDPOINT_TYPE, "This is a broker: it knows no controllers."),
            _ => (error::UNSUPPORTED_ENDPOINT_TYPE, "There is no such endpoint type."),
        };
        let reply = DescribeClusterResponse::default()
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_static_str(why)));
        call.encode(API.name, &reply)?;
        return Ok(Outcome::Error);
    }
    let roster = call.live_roster()?;
    let shown = call.show(&roster)?;
    let brokers = shown
        .selection
        .listed
        .iter()
        .map(|broker| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.node_id))
                .with_host(host_text(&shown, broker))
                .with_port(i32::from(broker.port))
        })
        .collect();
    let reply = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(call.service.cluster_id.clone()))
        .with_controller_id(BrokerId(shown.controller()))
        .with_brokers(brokers);
    call.encode(API.name, &reply)?;
    Ok(Outcome::Answered)
}
