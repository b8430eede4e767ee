//! The upstream's stream of replies, cut into frames: most stream through, some are walked over, and discovery's are held
//! back. No I/O: bytes in (and changed in place), steps out.

use super::pending::{Handling, Pending};
use super::rewrite::Asked;
use super::walker::Walker;
use crate::kafka::frame::LENGTH_BYTES;
use crate::kafka::wire::Malformed;

/// Length and correlation id: what every reply begins with.
const HEAD: usize = LENGTH_BYTES + 4;

/// A stream that is none of a Kafka broker's. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No frame of Kafka has this length.
    #[error("the upstream sent a frame of {0} bytes")]
    Length(i32),
    /// A reply isn't what its version says.
    #[error("the upstream's {0} reply can't be read: {1}")]
    Reply(&'static str, #[source] Malformed),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// More bytes are needed; so many in all.
    More(usize),
    /// So many bytes go on to the client.
    Forward(usize),
    /// A frame of so many bytes (without its length, which the next four bytes repeat) is to be held back whole.
    Hold(usize, Asked),
}

/// The place within an upstream's stream of replies.
#[derive(Debug, Default)]
pub struct Replies {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Stream(usize),
    Walk(&'static str, Box<Walker>),
}

impl Replies {
    /// Whether the stream stands between two replies.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// The next step over `bytes`, which begin where the last step ended. After [`Step::Hold`] they begin behind that
    /// frame. `walked` is told the name of each API of which something was blotted out.
    pub fn next(
        &mut self,
        bytes: &mut [u8],
        pending: &Pending,
        walked: impl Fn(&'static str),
    ) -> Result<Step, Unreadable> {
        match &mut self.state {
            State::Head => self.begin(bytes, pending),
            State::Stream(left) => {
                if bytes.is_empty() {
                    return Ok(Step::More(1));
                }
                let here = (*left).min(bytes.len());
                *left -= here;
                if *left == 0 {
                    self.end(pending);
                }
                Ok(Step::Forward(here))
            }
            State::Walk(name, walker) => {
                if bytes.is_empty() {
                    return Ok(Step::More(1));
                }
                let name = *name;
                let here = usize::try_from(walker.left()).unwrap_or(usize::MAX).min(bytes.len());
                let part = bytes.get_mut(..here).unwrap_or_default();
                walker.advance(part).map_err(|error| Unreadable::Reply(name, error))?;
                if walker.left() == 0 {
                    if walker.blotted() {
                        walked(name);
                    }
                    self.end(pending);
                }
                Ok(Step::Forward(here))
            }
        }
    }

    fn end(&mut self, pending: &Pending) {
        self.state = State::Head;
        pending.answered();
    }

    fn begin(&mut self, bytes: &[u8], pending: &Pending) -> Result<Step, Unreadable> {
        let Some((announced, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Step::More(HEAD));
        };
        let announced = i32::from_be_bytes(*announced);
        let length = usize::try_from(announced).map_err(|_| Unreadable::Length(announced))?;
        if length < HEAD - LENGTH_BYTES {
            return Err(Unreadable::Length(announced));
        }
        let Some((correlation, _)) = rest.split_first_chunk::<4>() else { return Ok(Step::More(HEAD)) };
        match pending.take(i32::from_be_bytes(*correlation)) {
            Some(Handling::Rewrite(asked)) => return Ok(Step::Hold(length, asked)),
            Some(Handling::Walk(name, ops)) => {
                let body = length - (HEAD - LENGTH_BYTES);
                if body == 0 {
                    return Err(Unreadable::Reply(name, Malformed::Short));
                }
                self.state = State::Walk(name, Box::new(Walker::new(ops, body as u64)));
                return Ok(Step::Forward(HEAD));
            }
            None => {}
        }
        self.state = State::Stream(LENGTH_BYTES + length - HEAD);
        if length == HEAD - LENGTH_BYTES {
            self.end(pending);
        }
        Ok(Step::Forward(HEAD))
    }
}
