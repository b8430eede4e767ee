//! A client's requests and its upstream's replies, of any bytes, through a gateway. The first byte says in which parts they
//! come, the next two how many of the rest are requests. However the bytes are cut, the same bytes come out.
#![no_main]

use fingerpost::kafka::Service;
use fingerpost::kafka::gateway::pending::Pending;
use fingerpost::kafka::gateway::replies::{self, Replies};
use fingerpost::kafka::gateway::requests::{self, Requests};
use fingerpost::kafka::gateway::rewrite::{Asked, Place, rewrite};
use fingerpost::limits::gateway as limits;
use fingerpost::model::{AgentId, Fleet};
use fingerpost_fuzz::{NOW, OTHERS, cut};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Server {
    service: Service,
    fleet: Fleet,
    own: AgentId,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| Server {
    service: fingerpost_fuzz::service(),
    fleet: fingerpost_fuzz::fleet(),
    own: AgentId::parse("agent-0").unwrap(),
});

/// What came of a stream: the bytes that went on, and why it ended, if not at its end.
type Told = (Vec<u8>, Option<String>);

fuzz_target!(|data: &[u8]| {
    let Some(([how, high, low], rest)) = data.split_first_chunk() else { return };
    let leaving = how & 0x80 != 0;
    let (sent, answered) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
    // How much of a frame that never comes whole goes on depends on the parts.
    upstream(sent, &Pending::default(), leaving, |left| cut(*how, left));
    let sent = &sent[..whole_frames(sent)];
    let (whole, parts) = (Pending::default(), Pending::default());
    let at_once = upstream(sent, &whole, leaving, |left| left);
    assert_eq!(at_once, upstream(sent, &parts, leaving, |left| cut(*how, left)), "requests in parts");
    let at_once = client(answered, &whole, leaving, |left| left);
    let in_parts = client(answered, &parts, leaving, |left| cut(*how, left));
    assert_eq!(at_once.1, in_parts.1, "replies in parts");
    // Of a walk that fails, what went on before it failed depends on the parts; the rest may not.
    let both = at_once.0.len().min(in_parts.0.len());
    assert_eq!(at_once.0[..both], in_parts.0[..both], "replies in parts");
    assert!(at_once.1.is_some() || at_once.0.len() == in_parts.0.len(), "replies in parts");
});

/// How many bytes the frames take that are here whole; all, if a length is none.
fn whole_frames(sent: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = sent[at..].first_chunk() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return sent.len() };
        if length > sent.len() - at - 4 {
            break;
        }
        at += 4 + length;
    }
    at
}

/// What goes to the upstream of a client's bytes that come in parts.
fn upstream(sent: &[u8], pending: &Pending, leaving: bool, part: impl Fn(usize) -> usize) -> Told {
    let mut requests = Requests::default();
    requests.set_leaving(leaving);
    let (mut at, mut come) = (0, part(sent.len()));
    let mut told = Told::default();
    loop {
        let have = come - at;
        match requests.next(&sent[at..come]) {
            Ok(requests::Step::More(wanted)) => {
                assert!((have + 1..=limits::PEEK).contains(&wanted), "{have} bytes, {wanted} wanted");
                if come == sent.len() {
                    return told;
                }
                while come - at < wanted && come < sent.len() {
                    come += part(sent.len() - come);
                }
            }
            Ok(requests::Step::Forward(count)) => {
                assert!((1..=have).contains(&count));
                told.0.extend_from_slice(&sent[at..at + count]);
                at += count;
            }
            Ok(requests::Step::Discard(count)) => {
                assert!((1..=have).contains(&count));
                at += count;
            }
            Ok(requests::Step::Begin(begin)) => {
                told.0.extend(begin.instead.unwrap_or_default());
                match begin.expected.map_or(Ok(true), |expected| pending.note(&expected)) {
                    Ok(true) => pending.asked(),
                    Ok(false) => return (told.0, Some("no room".to_owned())),
                    Err(twice) => return (told.0, Some(twice.to_string())),
                }
            }
            Err(refusal) => return (told.0, Some(refusal.to_string())),
        }
    }
}

/// What goes to the client of its upstream's bytes that come in parts.
fn client(answered: &[u8], pending: &Pending, leaving: bool, part: impl Fn(usize) -> usize) -> Told {
    let mut replies = Replies::default();
    let mut bytes = answered.to_vec();
    let (mut at, mut come) = (0, part(bytes.len()));
    let mut told = Told::default();
    loop {
        let have = come - at;
        let mut wanted = 0;
        match replies.next(&mut bytes[at..come], pending, |_| ()) {
            Ok(replies::Step::More(more)) => {
                assert!((have + 1..=8).contains(&more), "{have} bytes, {more} wanted");
                wanted = more;
            }
            Ok(replies::Step::Forward(count)) => {
                assert!((1..=have).contains(&count));
                told.0.extend_from_slice(&bytes[at..at + count]);
                at += count;
            }
            Ok(replies::Step::Hold(length, asked)) => {
                // The relay takes no frame beyond its bound; here it ends where the bytes do.
                let Some(frame) = bytes.get(at + 4..at + 4 + length) else {
                    return (told.0, Some("cut".to_owned()));
                };
                match held(&asked, frame, leaving) {
                    Ok(reply) => told.0.extend(reply),
                    Err(stop) => return (told.0, Some(stop)),
                }
                pending.answered();
                at += 4 + length;
                come = come.max(at);
            }
            Err(unreadable) => return (told.0, Some(unreadable.to_string())),
        }
        if wanted > 0 && come == bytes.len() {
            return told;
        }
        while come - at < wanted && come < bytes.len() {
            come += part(bytes.len() - come);
        }
    }
}

/// A reply that was held back, rewritten.
fn held(asked: &Asked, frame: &[u8], leaving: bool) -> Result<Vec<u8>, String> {
    let Server { service, fleet, own } = &*SERVER;
    let leaving = leaving.then_some(own);
    let place = Place { service, fleet, now: NOW, source: [192, 0, 2, 1].into(), leaving };
    let mut out = Vec::new();
    rewrite(place, asked, frame, &mut out).map_err(|stop| stop.to_string())?;
    let (length, rest) = out.split_first_chunk().expect("a length");
    assert_eq!(i32::from_be_bytes(*length), rest.len() as i32);
    assert_eq!(rest[..4], frame[..4], "the correlation id");
    let told = |of: &[u8]| of.windows(OTHERS.len()).any(|part| part == OTHERS);
    let asked_for = asked.key.as_deref().is_some_and(|key| told(key.as_bytes()));
    assert!(!told(&out) || told(frame) || asked_for, "an agent of vpc-2");
    Ok(out)
}
