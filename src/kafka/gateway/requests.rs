//! What must be known of a client's requests, and no more: the first bytes of each frame are looked at, the rest streams.
//! No I/O: bytes in, steps out.

use super::pending::{Expected, Handling};
use super::rewrite::{Asked, substitute};
use super::versions::{self, Discovery, Treatment, key};
use crate::kafka::frame::{self, LENGTH_BYTES, Start};
use crate::kafka::wire::{Malformed, Reader};
use crate::limits::gateway as limits;
use std::sync::Arc;

/// Length, api key, version and correlation id: what every request begins with.
const HEAD: usize = LENGTH_BYTES + 8;

/// A request that does not pass; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No frame of Kafka has this length.
    #[error("a frame of {0} bytes is no Kafka request")]
    Length(i32),
    /// A version that can't be rewritten and was not advertised, or an API that is not for clients.
    #[error("API key {0} version {1} does not pass here")]
    Version(i16, i16),
    /// What must be read of it can't be.
    #[error("the request can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// What must be read of it is larger than any honest one.
    #[error("the request's header is larger than allowed")]
    TooLarge,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// More bytes are needed; so many in all.
    More(usize),
    /// A request begins. Its bytes come with the next steps.
    Begin(Begin),
    /// So many bytes go on to the upstream.
    Forward(usize),
    /// So many bytes go nowhere.
    Discard(usize),
}

/// A request that begins.
#[derive(Debug)]
pub struct Begin {
    /// What to do with its reply, if anything.
    pub expected: Option<Expected>,
    /// Whether it has a reply at all: Produce with acks=0 has none.
    pub answered: bool,
    /// What is sent in its place.
    pub instead: Option<Vec<u8>>,
}

impl Begin {
    /// Whether it looks for brokers or coordinators, or is the heartbeat of a member that may be sent on to another: no
    /// agent in particular is needed for that.
    pub fn asks_the_way(&self) -> bool {
        matches!(&self.expected, Some(Expected { handling: Handling::Rewrite(_), .. }))
    }
}

/// The place within a client's stream of requests.
#[derive(Debug, Default)]
pub struct Requests {
    state: State,
    /// The last client id: connections rarely change theirs.
    client: Option<Arc<str>>,
    /// The agent leaves: the replies to heartbeats matter, too.
    leaving: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Forward(usize),
    Discard(usize),
}

impl Requests {
    /// Whether the stream stands between two requests.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether the agent leaves, from the next request on.
    pub fn set_leaving(&mut self, leaving: bool) {
        self.leaving = leaving;
    }

    /// The next step over `bytes`, which begin where the last step ended.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        match self.state {
            State::Head => self.begin(bytes),
            State::Forward(left) | State::Discard(left) => {
                if bytes.is_empty() {
                    return Ok(Step::More(1));
                }
                let here = left.min(bytes.len());
                let forward = matches!(self.state, State::Forward(_));
                self.state = match left - here {
                    0 => State::Head,
                    left if forward => State::Forward(left),
                    left => State::Discard(left),
                };
                Ok(if forward { Step::Forward(here) } else { Step::Discard(here) })
            }
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let Some((announced, _)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Step::More(HEAD));
        };
        let announced = i32::from_be_bytes(*announced);
        let length = usize::try_from(announced).map_err(|_| Refusal::Length(announced))?;
        if length < HEAD - LENGTH_BYTES {
            return Err(Refusal::Length(announced));
        }
        let end = LENGTH_BYTES + length;
        let frame = bytes.get(LENGTH_BYTES..end.min(bytes.len())).unwrap_or_default();
        if bytes.len() < HEAD {
            return Ok(Step::More(HEAD));
        }
        let (start, rest) = frame::start(frame)?;
        let whole = bytes.len() >= end;
        let begin = match self.look(start, rest) {
            // What is cut off may still come, as long as the frame has more of it.
            Err(Refusal::Malformed(_)) if !whole => {
                let wanted = end.min(limits::PEEK);
                if bytes.len() >= wanted {
                    return Err(Refusal::TooLarge);
                }
                // At least twice what is there, so that nobody makes us look a thousand times.
                return Ok(Step::More(wanted.min(bytes.len() * 2)));
            }
            looked => looked?,
        };
        self.state = if begin.instead.is_some() { State::Discard(end) } else { State::Forward(end) };
        Ok(Step::Begin(begin))
    }

    /// Reads as much of a request as its treatment asks for.
    fn look(&mut self, start: Start, rest: &[u8]) -> Result<Begin, Refusal> {
        let expect = |handling| Some(Expected { correlation: start.correlation, handling });
        let mut begin = Begin { expected: None, answered: true, instead: None };
        match versions::treat(start.api_key, start.version) {
            Treatment::Refuse => return Err(Refusal::Version(start.api_key, start.version)),
            Treatment::Pass if start.api_key == key::PRODUCE => {
                begin.answered = acks(start.version, rest)? != 0;
            }
            Treatment::Pass => {
                let heartbeat = versions::heartbeat(start.api_key, start.version);
                if let Some(api) = heartbeat.filter(|_| self.leaving) {
                    let asked = self.member(api, start.version, rest)?;
                    begin.expected = expect(Handling::Rewrite(asked));
                }
            }
            Treatment::Walk(_, _) if start.api_key == key::PRODUCE && acks(start.version, rest)? == 0 => {
                begin.answered = false;
            }
            Treatment::Walk(name, ops) => begin.expected = expect(Handling::Walk(name, ops)),
            Treatment::Substitute => {
                let asked = Asked { substitute: true, ..asked(Discovery::ApiVersions, 0) };
                begin.expected = expect(Handling::Rewrite(asked));
                begin.instead = Some(substitute(start.correlation));
            }
            Treatment::Rewrite(api) => {
                begin.expected = expect(Handling::Rewrite(self.asked(api, start.version, rest)?));
            }
        }
        Ok(begin)
    }

    fn asked(&mut self, api: Discovery, version: i16, rest: &[u8]) -> Result<Asked, Refusal> {
        let mut asked = asked(api, version);
        if api == Discovery::ApiVersions {
            return Ok(asked);
        }
        if api != Discovery::FindCoordinator {
            // The client id is all that is needed; what follows it may still be on its way.
            let (id, _) = frame::client_id(rest, false)?;
            asked.client = self.remember(id);
            return Ok(asked);
        }
        let flexible = api.flexible(version);
        let (id, body) = frame::client_id(rest, flexible)?;
        asked.client = self.remember(id);
        let mut body = Reader::new(body, flexible);
        if version < 4 {
            asked.key = Some(body.text()?.into());
        }
        if version >= 1 {
            asked.key_type = body.i8()?;
        }
        Ok(asked)
    }

    /// The group of a heartbeat, and what its member is.
    fn member(&mut self, api: Discovery, version: i16, rest: &[u8]) -> Result<Asked, Refusal> {
        let mut asked = asked(api, version);
        let flexible = api.flexible(version);
        let (id, body) = frame::client_id(rest, flexible)?;
        asked.client = self.remember(id);
        let mut body = Reader::new(body, flexible);
        asked.key = Some(body.text()?.into());
        if api != Discovery::Heartbeat {
            body.nullable_bytes()?; // member
            asked.epoch = body.i32()?;
        }
        Ok(asked)
    }

    /// The client id, shared with the last request if it is the same.
    fn remember(&mut self, id: Option<&str>) -> Option<Arc<str>> {
        if self.client.as_deref() != id {
            self.client = id.map(Arc::from);
        }
        self.client.clone()
    }
}

fn asked(api: Discovery, version: i16) -> Asked {
    Asked { api, version, client: None, key_type: 0, key: None, epoch: 0, substitute: false }
}

/// The acknowledgements that a Produce request asks for.
fn acks(version: i16, rest: &[u8]) -> Result<i16, Malformed> {
    let flexible = version >= 9;
    let (_, body) = frame::client_id(rest, flexible)?;
    let mut body = Reader::new(body, flexible);
    if version >= 3 {
        body.nullable_bytes()?; // transactional id
    }
    body.i16()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&api_key.to_be_bytes());
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&7i32.to_be_bytes());
        bytes.extend_from_slice(body);
        frame::end_reply(&mut bytes, 0);
        bytes
    }

    /// What becomes of `bytes` that come `chunk` at a time: what is forwarded, and what begins.
    fn run(bytes: &[u8], chunk: usize) -> Result<(Vec<u8>, Vec<Begin>), Refusal> {
        let (mut requests, mut sent, mut begun) = (Requests::default(), Vec::new(), Vec::new());
        let (mut at, mut have) = (0, 0);
        loop {
            match requests.next(&bytes[at..have])? {
                Step::More(_) if have == bytes.len() => return Ok((sent, begun)),
                Step::More(_) => have = (have + chunk).min(bytes.len()),
                Step::Begin(begin) => {
                    sent.extend_from_slice(begin.instead.as_deref().unwrap_or_default());
                    begun.push(begin);
                }
                Step::Forward(count) => {
                    sent.extend_from_slice(&bytes[at..at + count]);
                    at += count;
                }
                Step::Discard(count) => at += count,
            }
        }
    }

    #[test]
    fn requests_pass_unchanged_however_they_are_cut() {
        let unknown = request(999, 3, &[1; 100]);
        let metadata = request(3, 12, &[0, 2, b'm', b'e', 0, 0, 0, 0, 0]);
        let produce = request(0, 11, &[0, 1, b'p', 0, 0, 0, 0, 9, 9, 9]);
        let coordinator = request(10, 2, &[0, 1, b'p', 0, 1, b'g', 1]);
        let all = [unknown, metadata, produce, coordinator].concat();
        for chunk in [1, 2, 3, 5, 7, 11, 13, 1_000] {
            let (sent, begun) = run(&all, chunk).unwrap();
            assert_eq!(sent, all);
            assert_eq!(begun.len(), 4);
            assert!(begun[0].expected.is_none() && begun[0].answered);
            let Some(Expected { correlation: 7, handling: Handling::Rewrite(asked) }) = &begun[1].expected
            else {
                panic!("{begun:?}");
            };
            assert_eq!(asked.client.as_deref(), Some("me"));
            assert!(!begun[2].answered && begun[2].expected.is_none(), "acks=0 has no reply");
            let Some(Expected { handling: Handling::Rewrite(asked), .. }) = &begun[3].expected else {
                panic!("{begun:?}");
            };
            assert_eq!((asked.key.as_deref(), asked.key_type), (Some("g"), 1));
        }
    }

    #[test]
    fn what_cannot_be_rewritten_is_refused() {
        assert_eq!(run(&request(3, 14, &[]), 64).unwrap_err(), Refusal::Version(3, 14));
        assert_eq!(run(&request(17, 0, &[]), 64).unwrap_err(), Refusal::Version(17, 0));
        assert_eq!(run(&request(62, 0, &[]), 64).unwrap_err(), Refusal::Version(62, 0));
        assert_eq!(run(&[0xff; 12], 64).unwrap_err(), Refusal::Length(-1));
        assert_eq!(run(&[0, 0, 0, 7, 0, 0, 0, 0], 64).unwrap_err(), Refusal::Length(7));
        assert!(matches!(run(&request(3, 12, &[0x7f, 0xff]), 64), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_newer_api_versions_is_asked_in_a_version_that_nobody_knows() {
        let (sent, begun) = run(&[request(18, 5, &[1; 40]), request(19, 1, &[2; 9])].concat(), 3).unwrap();
        assert_eq!(sent, [request(18, i16::MAX, &[0xff, 0xff, 0]), request(19, 1, &[2; 9])].concat());
        assert_eq!(begun.len(), 2);
    }

    #[test]
    fn a_client_id_of_32_kib_is_read_and_a_header_that_never_ends_is_not() {
        let mut body = 32_767i16.to_be_bytes().to_vec();
        body.extend_from_slice(&[b'x'; 32_767]);
        body.extend_from_slice(&[0, 0]);
        let (_, begun) = run(&request(3, 12, &body), 512).unwrap();
        let Some(Handling::Rewrite(asked)) = begun[0].expected.as_ref().map(|expected| &expected.handling)
        else {
            panic!("{begun:?}");
        };
        assert_eq!(asked.client.as_ref().unwrap().len(), 32_767);
        // FindCoordinator v3 with a tagged header field of two MiB.
        let mut body = vec![0, 0, 1, 9, 0x80, 0x80, 0x80, 0x01];
        body.resize(3 << 20, 0);
        assert_eq!(run(&request(10, 3, &body), 4_096).unwrap_err(), Refusal::TooLarge);
    }
}
