//! Hostile and odd bytes: counts that abort other decoders, mutations, replies that would be too large.

use super::super::api::{self, Outcome};
use super::*;

#[test]
fn requests_that_abort_other_decoders_are_refused() {
    let (service, fleet) = (service(), small_fleet());
    let malformed = |api: u8, version: u8, flexible: bool, body: &[u8]| {
        let mut bytes = vec![0, api, 0, version, 0, 0, 0, 77, 0xff, 0xff];
        bytes.extend(flexible.then_some(0));
        bytes.extend_from_slice(body);
        match ask(&service, &fleet, &bytes) {
            Err(Stop::Malformed(why)) => why,
            other => panic!("{body:?} as {api} v{version}: {other:?}"),
        }
    };
    assert_eq!(malformed(3, 8, false, &[0x7f, 0xff, 0xff, 0xff]), Malformed::Count);
    assert_eq!(malformed(3, 0, false, &[0x7f, 0xff, 0xff, 0xff]), Malformed::Count);
    assert_eq!(malformed(3, 0, false, &[0xff, 0xff, 0xff, 0xff]), Malformed::Null);
    assert_eq!(malformed(3, 12, true, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), Malformed::Count);
    assert_eq!(malformed(3, 12, true, &[0xff, 0xff, 0xff, 0xff, 0x07, 0]), Malformed::Count);
    assert_eq!(malformed(10, 6, true, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]), Malformed::Count);
    assert_eq!(malformed(10, 4, true, &[0, 0, 0]), Malformed::Null);
    assert_eq!(malformed(60, 0, true, &[]), Malformed::Short);
    assert_eq!(ask(&service, &fleet, &[0, 3, 0]), Err(Stop::Malformed(Malformed::Short)));
    assert_eq!(ask(&service, &fleet, &[0, 3, 0, 14, 0, 0, 0, 1]), Err(Stop::UnknownVersion("Metadata", 14)));
    assert_eq!(ask(&service, &fleet, &[0, 0, 0, 9, 0, 0, 0, 1]), Err(Stop::UnknownApi(0)));
    assert_eq!(ask(&service, &fleet, &[0x7f, 0xff, 0, 9, 0, 0, 0, 1]), Err(Stop::UnknownApi(i16::MAX)));
    let many: Vec<String> = (0..=limits::REQUEST_TOPICS).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let bytes = request(ApiKey::Metadata, 9, "x", &metadata_request(9, Some(&many)));
    assert_eq!(ask(&service, &fleet, &bytes), Err(Stop::TooMany("Metadata", limits::REQUEST_TOPICS)));
    let keys = (0..=limits::REQUEST_KEYS).map(|i| text(&i.to_string())).collect();
    let bytes = request(
        ApiKey::FindCoordinator,
        4,
        "x",
        &FindCoordinatorRequest::default().with_coordinator_keys(keys),
    );
    assert_eq!(ask(&service, &fleet, &bytes), Err(Stop::TooMany("FindCoordinator", limits::REQUEST_KEYS)));
}

#[test]
fn stray_bytes_after_a_request_are_ignored() {
    let (service, fleet) = (service(), small_fleet());
    // What librdkafka 2.16.0 sends for "all topics": the count takes one byte of the four that it reserved.
    let seen = [0, 3, 0, 13, 0, 0, 0, 77, 0, 1, b'x', 0, 0, 0, 0, 0, 1, 0, 0];
    let reply: MetadataResponse = decoded(&ask(&service, &fleet, &seen).unwrap(), 13);
    assert_eq!(reply.topics.len(), 3);
}

#[test]
fn a_reply_never_outgrows_its_bound() {
    let service = service_of("vpc-1", &[("big", 100_000), ("small", 1)]);
    let fleet = small_fleet();
    let bytes = request(ApiKey::Metadata, 12, "x", &metadata_request(12, None));
    let mut out = Vec::new();
    let mut ask = |most| {
        out.clear();
        let source = [127, 0, 0, 1].into();
        let result =
            service.answer(Request { bytes: &bytes, source, fleet: &fleet, now: NOW, most }, &mut out);
        (result, out.len())
    };
    assert_eq!(ask(limits::SMALL_REPLY_BYTES), (Err(Stop::TooLarge), 0));
    let (result, length) = ask(limits::REPLY_BYTES);
    assert_eq!(result, Ok(Outcome::Answered));
    assert!(length > 26 * 100_000);
    assert_eq!(
        ask(length + 128).1,
        length,
        "what is reckoned beforehand is hardly more than what is written"
    );
    assert_eq!(ask(length - 1), (Err(Stop::TooLarge), 0));
}

#[test]
fn mutated_requests_neither_panic_nor_make_large_replies() {
    let (service, fleet) = (service(), small_fleet());
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for api in api::APIS {
        for version in api.min..=api.max {
            let names = Some(["orders", "nowhere"].as_slice());
            seeds.push(match api.key {
                3 => request(ApiKey::Metadata, version, "ws_az=z-a,x", &metadata_request(version, names)),
                10 if version < 4 => {
                    let body = FindCoordinatorRequest::default().with_key(text("g"));
                    request(ApiKey::FindCoordinator, version, "x", &body)
                }
                10 => {
                    let body = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"); 2]);
                    request(ApiKey::FindCoordinator, version, "x", &body)
                }
                18 => request(ApiKey::ApiVersions, version, "x", &ApiVersionsRequest::default()),
                _ => request(ApiKey::DescribeCluster, version, "x", &DescribeClusterRequest::default()),
            });
        }
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    let rounds = 1_000_000;
    let mut answered = 0;
    for _ in 0..rounds {
        let mut bytes = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..5) {
            let at = random.usize(..bytes.len());
            match random.u8(..5) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] ^= 1 << random.u8(..8),
                2 => bytes[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
                3 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.u8(..)),
            }
        }
        out.clear();
        let source = [127, 0, 0, 1].into();
        let request = Request { bytes: &bytes, source, fleet: &fleet, now: NOW, most: limits::REPLY_BYTES };
        answered += u32::from(service.answer(request, &mut out).is_ok());
        assert!(out.len() < 4_096, "{} bytes for {bytes:?}", out.len());
    }
    assert!(answered > rounds / 20 && answered < rounds, "{answered} of {rounds}");
}
