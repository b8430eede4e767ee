//! A Kafka request of any bytes. The reply is a whole frame with the request's correlation id, names no agent of another
//! group, and is small: the catalog is. What is not answered leaves nothing behind.
#![no_main]

use fingerpost::kafka::Service;
use fingerpost::kafka::service::Request;
use fingerpost::limits::kafka as limits;
use fingerpost::model::Fleet;
use fingerpost_fuzz::{NOW, OTHERS};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A request can make a reply longer by the names that it repeats and by what is said of each: by no more than so much.
const FIXED: usize = 4_096;
/// Room for hardly any reply.
const LITTLE: usize = 200;
/// Most bytes of a reply for each byte of the request.
const PER_BYTE: usize = 100;

static SERVER: LazyLock<(Service, Fleet)> =
    LazyLock::new(|| (fingerpost_fuzz::service(), fingerpost_fuzz::fleet()));

fuzz_target!(|bytes: &[u8]| {
    let (service, fleet) = &*SERVER;
    let ask = |most: usize| {
        let mut out = b"before".to_vec();
        let request = Request { bytes, source: [192, 0, 2, 1].into(), fleet, now: NOW, most };
        let result = service.answer(request, &mut out);
        assert_eq!(&out[..6], b"before");
        (result, out.split_off(6))
    };
    let (result, reply) = ask(limits::SMALL_REPLY_BYTES);
    match result {
        Ok(_) => {
            assert!(
                reply.len() <= FIXED + PER_BYTE * bytes.len(),
                "{} bytes for {}",
                reply.len(),
                bytes.len()
            );
            let (length, rest) = reply.split_first_chunk().expect("a length");
            assert_eq!(i32::from_be_bytes(*length), rest.len() as i32);
            assert_eq!(rest[..4], bytes[4..8], "the correlation id");
            let told = |wanted: &[u8], of: &[u8]| of.windows(wanted.len()).any(|part| part == wanted);
            assert!(!told(OTHERS, &reply) || told(OTHERS, bytes), "an agent of vpc-2");
        }
        Err(_) => assert!(reply.is_empty()),
    }
    let (result, reply) = ask(LITTLE);
    assert!(reply.len() <= LITTLE && result.is_ok() != reply.is_empty(), "{result:?}, {} bytes", reply.len());
});
