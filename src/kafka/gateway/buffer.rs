//! One direction's buffer: small while nothing comes, larger while data flows. It grows by what has arrived, not by
//! what is announced.

use crate::limits::gateway as limits;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How much a full buffer grows by.
const GROWTH: usize = 8;
/// A buffer that was waiting for so long gives its memory back.
const SHRINK_AFTER: Duration = Duration::from_secs(1);

/// Bytes that were read: first those that shall be sent on, then those that nobody looked at yet.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    seen: usize,
    end: usize,
    /// The last read took all the room that there was: more may wait, and a larger buffer takes it with fewer calls.
    filled: bool,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; limits::IDLE_BUFFER], start: 0, seen: 0, end: 0, filled: false }
    }
}

impl Buffer {
    /// What nobody looked at yet.
    pub fn unseen(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.seen..self.end).unwrap_or_default()
    }

    /// `count` bytes were looked at and shall be sent on.
    pub fn forward(&mut self, count: usize) {
        self.seen = (self.seen + count).min(self.end);
    }

    /// What shall be sent on.
    pub fn ready(&self) -> &[u8] {
        self.bytes.get(self.start..self.seen).unwrap_or_default()
    }

    /// What was [`Buffer::ready`] has been sent.
    pub fn sent(&mut self) {
        self.start = self.seen;
    }

    /// `count` bytes are done with and not sent. What was ready must have been sent.
    pub fn discard(&mut self, count: usize) {
        self.forward(count);
        self.sent();
    }

    /// Takes up to `count` unseen bytes away, over into `to`.
    pub fn take(&mut self, count: usize, to: &mut Vec<u8>) {
        let taken = self.unseen();
        let count = count.min(taken.len());
        to.extend_from_slice(taken.get(..count).unwrap_or_default());
        self.discard(count);
    }

    /// Reads more behind the unseen bytes, of which there shall be room for `wanted`. All that was ready must have been
    /// sent. Returns how many bytes came; 0 is the end. Cutting it off loses nothing.
    pub async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin), wanted: usize) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            (self.start, self.seen) = (0, 0);
        }
        if self.end == self.bytes.len() || self.filled && self.bytes.len() < limits::BUFFER {
            let more = (self.bytes.len() * GROWTH).min(limits::BUFFER).max(self.end + limits::IDLE_BUFFER);
            // What is wanted is bounded by what is looked at of a request; it is only granted as bytes arrive.
            self.bytes.resize(more.min(wanted.max(limits::BUFFER)), 0);
        }
        let empty = self.end == 0 && self.bytes.len() > limits::IDLE_BUFFER;
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let count = if empty {
            match timeout(SHRINK_AFTER, reader.read(room)).await {
                Ok(count) => count?,
                Err(_) => {
                    *self = Self::default();
                    reader.read(&mut self.bytes).await?
                }
            }
        } else {
            reader.read(room).await?
        };
        self.end += count;
        self.filled = self.end == self.bytes.len();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_while_everything_is_sent_on_at_once() {
        let data = vec![7; 1024 * 1024];
        let (mut reader, mut buffer, mut reads) = (&data[..], Buffer::default(), 0);
        while buffer.fill(&mut reader, 1).await.unwrap() > 0 {
            let count = buffer.unseen().len();
            buffer.forward(count);
            buffer.sent();
            reads += 1;
        }
        assert!(reads < 25, "1 MiB took {reads} reads");
        assert_eq!(buffer.bytes.len(), limits::BUFFER);
    }
}
