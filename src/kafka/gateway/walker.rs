//! Walks a reply while it streams by, and blots out what would lead a client past the gateways, in place: the frame
//! keeps its length, so nothing has to be held back. Records are stepped over as so many bytes and never looked at.
//!
//! What can be blotted out:
//! - a number: overwritten with -1, which in Kafka's replies means that there is none;
//! - a tagged field: its number becomes 127, which nobody knows and everybody skips, and its contents become zeros;
//! - a list of endpoints that is the last field of its reply: it becomes an empty list, and the bytes that it took
//!   become one tagged field 127 of zeros.
//!
//! All three replace bytes one by one, so a field that is cut in two by a read is no special case.

use super::programs::Op;
use crate::kafka::wire::Malformed;

/// The tagged field that nobody knows.
const UNKNOWN_TAG: u8 = 127;
/// Deepest nesting of arrays in any program.
const DEPTH: usize = 3;
/// Fewest bytes that an endpoint and what stands around it take: count, node id, host, port, rack, tags, tags.
const LEAST_ENDPOINTS: u64 = 13;

/// A walk over the body of one reply.
#[derive(Debug)]
pub struct Walker {
    ops: &'static [Op],
    at: usize,
    state: State,
    loops: [Round; DEPTH],
    depth: usize,
    /// Tagged fields that are still to come here, and which of them are blotted out.
    tags: (u64, u32),
    /// Bytes of the frame that were not seen yet.
    left: u64,
    blotted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    start: usize,
    rest: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next operation begins.
    Next,
    /// So many bytes go by, or are overwritten.
    Pass(u64, Option<u8>),
    /// A big-endian number of so many more bytes.
    Fixed(u8, i64),
    /// An UNSIGNED_VARINT: shift and value so far.
    Varint(u32, u64),
    /// A tagged field's number.
    TagNumber(u32, u64),
    /// A tagged field's size, and whether the field is blotted out.
    TagSize(u32, u64, bool),
    /// Endpoints are covered up: how far the cover is.
    Cover { cover: [u8; 8], length: u8, at: u64 },
}

impl Walker {
    /// A walk over the next `left` bytes by these operations.
    pub fn new(ops: &'static [Op], left: u64) -> Self {
        let loops = [Round::default(); DEPTH];
        Self { ops, at: 0, state: State::Next, loops, depth: 0, tags: (0, 0), left, blotted: false }
    }

    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether anything had to be blotted out.
    pub fn blotted(&self) -> bool {
        self.blotted
    }

    /// Walks on over `bytes`, at most as many as are left. Fails if the reply isn't what its version says; the bytes
    /// must not be sent then. When the last byte was seen, so must be the last field.
    pub fn advance(&mut self, mut bytes: &mut [u8]) -> Result<(), Malformed> {
        debug_assert!(bytes.len() as u64 <= self.left, "the caller cuts at the frame's end");
        while !bytes.is_empty() {
            bytes = self.step(bytes)?;
        }
        if self.left == 0 {
            // What takes no bytes any more may still stand between here and the end.
            self.settle()?;
            if self.at < self.ops.len() || !matches!(self.state, State::Next) {
                return Err(Malformed::Short);
            }
        }
        Ok(())
    }

    /// One step; returns the bytes behind it.
    fn step<'a>(&mut self, bytes: &'a mut [u8]) -> Result<&'a mut [u8], Malformed> {
        self.settle()?;
        match self.state {
            State::Next => Err(Malformed::Count), // bytes behind the last field
            State::Pass(count, fill) => {
                let here = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
                let (passed, rest) = bytes.split_at_mut_checked(here).ok_or(Malformed::Short)?;
                if let Some(fill) = fill {
                    self.blotted = true;
                    passed.fill(fill);
                }
                self.left -= here as u64;
                self.state = State::Pass(count - here as u64, fill);
                Ok(rest)
            }
            State::Cover { cover, length, at } => {
                let mut at = at;
                for byte in bytes.iter_mut() {
                    *byte = match usize::try_from(at) {
                        Ok(place) if place < usize::from(length) => cover.get(place).copied().unwrap_or(0),
                        _ => 0,
                    };
                    at += 1;
                }
                self.left -= bytes.len() as u64;
                self.state = if self.left == 0 { State::Next } else { State::Cover { cover, length, at } };
                Ok(&mut [])
            }
            _ => {
                let (byte, rest) = bytes.split_first_mut().ok_or(Malformed::Short)?;
                self.byte(byte)?;
                Ok(rest)
            }
        }
    }

    /// Goes on as far as no byte is needed for it.
    fn settle(&mut self) -> Result<(), Malformed> {
        loop {
            match self.state {
                State::Pass(0, _) if self.tags.0 > 0 => self.state = State::TagNumber(0, 0),
                State::Pass(0, _) => self.state = State::Next,
                State::Next => {
                    let Some(op) = self.ops.get(self.at).copied() else { return Ok(()) };
                    self.begin(op)?;
                    if matches!(op, Op::Endpoints) {
                        return Ok(()); // its first byte decides
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Begins an operation; leaves `at` on it while its length is being read, else behind it.
    fn begin(&mut self, op: Op) -> Result<(), Malformed> {
        match op {
            Op::Skip(count) => self.pass(u64::from(count), None)?,
            Op::Blot(count) => self.pass(u64::from(count), Some(0xff))?,
            Op::Text16 => self.state = State::Fixed(2, 0),
            Op::Bytes32 | Op::Loop32 => self.state = State::Fixed(4, 0),
            Op::TextVar | Op::LoopVar | Op::Endpoints | Op::Tags(_) => self.state = State::Varint(0, 0),
            Op::End => {
                let round = self.depth.checked_sub(1).and_then(|inner| self.loops.get_mut(inner));
                let round = round.ok_or(Malformed::Count)?;
                round.rest -= 1;
                if round.rest > 0 {
                    self.at = round.start;
                } else {
                    self.depth -= 1;
                    self.at += 1;
                }
            }
        }
        Ok(())
    }

    /// Lets `count` bytes go by, which must be there.
    fn pass(&mut self, count: u64, fill: Option<u8>) -> Result<(), Malformed> {
        if count > self.left {
            return Err(Malformed::Count);
        }
        self.at += 1;
        self.state = State::Pass(count, fill);
        Ok(())
    }

    /// One byte of a number.
    fn byte(&mut self, byte: &mut u8) -> Result<(), Malformed> {
        let op = self.ops.get(self.at).copied();
        if matches!(op, Some(Op::Endpoints)) && matches!(self.state, State::Varint(0, _)) && *byte > 1 {
            return self.cover(byte);
        }
        self.left -= 1;
        match self.state {
            State::Fixed(more, value) if more > 1 => {
                self.state = State::Fixed(more - 1, value << 8 | i64::from(*byte));
                Ok(())
            }
            State::Fixed(_, value) => {
                let value = value << 8 | i64::from(*byte);
                // The sign is that of the width that was read; every negative length is a null.
                let value = if matches!(op, Some(Op::Text16)) {
                    i64::from(value as i16)
                } else {
                    i64::from(value as i32)
                };
                self.length(u64::try_from(value).unwrap_or(0))
            }
            State::Varint(shift, value) => match varint(shift, value, *byte)? {
                Err((shift, value)) => {
                    self.state = State::Varint(shift, value);
                    Ok(())
                }
                Ok(value) => match op {
                    Some(Op::Tags(mask)) => {
                        self.tags = (value, mask);
                        self.pass(0, None)
                    }
                    _ => self.length(value.saturating_sub(1)),
                },
            },
            State::TagNumber(shift, value) => {
                self.state = match varint(shift, value, *byte)? {
                    Err((shift, value)) => State::TagNumber(shift, value),
                    Ok(number) => {
                        let blot = number < 32 && self.tags.1 >> number & 1 == 1;
                        if blot {
                            *byte = UNKNOWN_TAG; // the last byte of the number, however many it has
                            self.blotted = true;
                        }
                        State::TagSize(0, 0, blot)
                    }
                };
                Ok(())
            }
            State::TagSize(shift, value, blot) => {
                self.state = match varint(shift, value, *byte)? {
                    Err((shift, value)) => State::TagSize(shift, value, blot),
                    Ok(size) if size > self.left => return Err(Malformed::Count),
                    Ok(size) => {
                        self.tags.0 -= 1;
                        State::Pass(size, blot.then_some(0))
                    }
                };
                Ok(())
            }
            State::Next | State::Pass(..) | State::Cover { .. } => Err(Malformed::Count),
        }
    }

    /// The length of a text, of bytes or of an array was read.
    fn length(&mut self, length: u64) -> Result<(), Malformed> {
        if length > self.left {
            return Err(Malformed::Count); // every element has at least a byte
        }
        if !matches!(self.ops.get(self.at), Some(Op::Loop32 | Op::LoopVar)) {
            return self.pass(length, None);
        }
        self.state = State::Next;
        if length == 0 {
            self.at = self.behind_loop();
            return Ok(());
        }
        self.at += 1;
        let round = self.loops.get_mut(self.depth).ok_or(Malformed::Count)?;
        *round = Round { start: self.at, rest: length };
        self.depth += 1;
        Ok(())
    }

    /// Behind the end of the loop that begins here.
    fn behind_loop(&self) -> usize {
        let mut open = 0;
        for (at, op) in self.ops.iter().enumerate().skip(self.at) {
            match op {
                Op::Loop32 | Op::LoopVar => open += 1,
                Op::End => open -= 1,
                _ => {}
            }
            if open == 0 {
                return at + 1;
            }
        }
        self.ops.len()
    }

    /// Covers up the endpoints that begin at `byte` and end with the frame.
    fn cover(&mut self, byte: &mut u8) -> Result<(), Malformed> {
        if self.left < LEAST_ENDPOINTS {
            return Err(Malformed::Count);
        }
        let (cover, length) = cover(self.left);
        *byte = cover[0];
        self.left -= 1;
        self.blotted = true;
        self.at = self.ops.len();
        self.state = State::Cover { cover, length, at: 1 };
        Ok(())
    }
}

/// One more byte of an UNSIGNED_VARINT: the whole value, or (as the error) shift and value to go on with.
fn varint(shift: u32, value: u64, byte: u8) -> Result<Result<u64, (u32, u64)>, Malformed> {
    let value = value | u64::from(byte & 0x7f) << shift;
    match byte & 0x80 {
        0 if value > u64::from(u32::MAX) => Err(Malformed::Count),
        0 => Ok(Ok(value)),
        _ if shift >= 28 => Err(Malformed::Count),
        _ => Ok(Err((shift + 7, value))),
    }
}

/// What stands over `total` bytes of endpoints and the tagged fields behind them: an empty array, one tagged field, its
/// number, and its size in as many bytes as make it come out even. Returns how many of the bytes count.
fn cover(total: u64) -> ([u8; 8], u8) {
    let mut bytes = [1, 1, UNKNOWN_TAG, 0, 0, 0, 0, 0];
    for width in 1..=5u8 {
        let mut size = total - 3 - u64::from(width);
        if size >> (7 * u32::from(width)) > 0 {
            continue;
        }
        for place in 0..width {
            let more = if place + 1 < width { 0x80 } else { 0 };
            if let Some(byte) = bytes.get_mut(3 + usize::from(place)) {
                *byte = (size & 0x7f) as u8 | more;
            }
            size >>= 7;
        }
        return (bytes, 3 + width);
    }
    (bytes, 8) // frames are below 2 GiB, so that five bytes always do
}
