//! ApiVersions (key 18), versions 0 to 4.
//!
//! - v0 list of keys; v1 throttle time; v3 flexible, the client's software name and version (KIP-511); v4 no change that
//!   we send.
//! - The reply's header is always version 0, whatever the request's: a client can't know more before it has the reply.
//! - v5 and later (KIP-1242 adds a cluster and node id): the body is not read, and the reply is that of v0 with error 35
//!   and one entry, this API with its range; clients ask again with its highest version.
//! - No tagged field is ever sent: librdkafka before 2.2 fails on those it does not know.

use super::{API_VERSIONS, APIS, Api, Call, Outcome, Stop, error};
use crate::kafka::wire::{Reader, Writer};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

/// The table's line.
pub const API: Api = Api {
    key: API_VERSIONS,
    name: "ApiVersions",
    min: 0,
    max: 4,
    flexible_from: 3,
    flexible_reply_header: false,
    answer,
};

fn answer(call: Call<'_>) -> Result<Outcome, Stop> {
    write(call.body, call.version, call.out)
}

/// Answers the request of that body in a version of the table: appends the reply's body.
pub fn write(body: &[u8], version: i16, out: &mut Vec<u8>) -> Result<Outcome, Stop> {
    let mut body = Reader::new(body, version >= API.flexible_from);
    let mut honest = true;
    if version >= 3 {
        honest = is_software(body.text()?) & is_software(body.text()?);
        body.tags()?;
    }
    let mut reply = ApiVersionsResponse::default();
    if honest {
        reply = reply.with_api_keys(
            APIS.iter()
                .map(|api| {
                    ApiVersion::default()
                        .with_api_key(api.key)
                        .with_min_version(api.min)
                        .with_max_version(api.max)
                })
                .collect(),
        );
    } else {
        reply = reply.with_error_code(error::INVALID_REQUEST);
    }
    super::encode(API.name, version, &reply, out)?;
    Ok(if honest { Outcome::Answered } else { Outcome::Error })
}

/// Appends the body for a version that we don't have.
pub fn unsupported(out: &mut Vec<u8>) {
    let mut writer = Writer::new(out, false);
    writer.i16(error::UNSUPPORTED_VERSION);
    writer.count(1);
    writer.i16(API.key);
    writer.i16(API.min);
    writer.i16(API.max);
}

/// KIP-511's `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    outer(text.as_bytes().first()) && outer(text.as_bytes().last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["a", "librdkafka", "confluent-kafka-python", "2.10.0-rdkafka", "1"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", "é", ".", "a\0"] {
            assert!(!is_software(bad), "{bad}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_within_what_the_protocol_library_has() {
        use kafka_protocol::messages::*;
        use kafka_protocol::protocol::Message;
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in APIS {
            let known = ApiKey::try_from(api.key).unwrap();
            let range = known.valid_versions();
            assert_eq!((api.min, api.max), (range.min, range.max), "{}", api.name);
            for version in api.min..=api.max {
                assert_eq!(known.request_header_version(version) == 2, version >= api.flexible_from);
                let flexible = version >= api.flexible_from && api.flexible_reply_header;
                assert_eq!(known.response_header_version(version) == 1, flexible);
            }
        }
        assert_eq!(MetadataRequest::VERSIONS.max, 13);
    }
}
