//! A signed message of any bytes, as a request and as a reply. The first two bytes say where its TSIG record begins.
#![no_main]

use fingerpost::dns::tsig::{Keys, Refusal, Signer, append};
use fingerpost_fuzz::TSIG_KEY;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

const NOW: u64 = 1_800_000_000;

static KEYS: LazyLock<Keys> = LazyLock::new(fingerpost_fuzz::keys);

fuzz_target!(|data: &[u8]| {
    let Some((at, packet)) = data.split_first_chunk() else { return };
    let at = usize::from(u16::from_be_bytes(*at));
    match KEYS.check(packet, at, NOW) {
        Ok(mut signer) | Err(Refusal::Signed { mut signer, .. }) => {
            let record = signer.sign(packet, NOW);
            assert!(record.len() <= signer.room());
        }
        Err(Refusal::Unsigned { record, .. }) => assert!(record.len() <= 600),
        Err(Refusal::Malformed) => {}
    }
    let key = KEYS.get(TSIG_KEY).unwrap();
    let asker = Signer::of_request(Arc::clone(key), 1, NOW);
    assert!(!asker.answers(packet, at, NOW), "nobody can guess a signature");

    // What is signed here holds here, and no more once a byte of it is another.
    if packet.len() < 12 {
        return;
    }
    let id = u16::from_be_bytes([packet[0], packet[1]]);
    let record = Signer::of_request(Arc::clone(key), id, NOW).sign(packet, NOW);
    let mut whole = [packet, &record].concat();
    let length = append(&mut whole, packet.len(), &record);
    // The count of additional records saturates, and then no longer is what was signed.
    if packet[10..12] != [255, 255] {
        assert!(KEYS.check(&whole[..length], packet.len(), NOW).is_ok());
    }
    let place = 2 + at % (packet.len() - 2);
    whole[place] ^= 1;
    // Without an additional record there is none to check: nobody asks then.
    if whole[10..12] != [0, 0] {
        assert!(KEYS.check(&whole, packet.len(), NOW).is_err(), "byte {place} is another");
    }
});
