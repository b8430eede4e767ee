//! A stream whose first bytes were read already: it gives them out again, then reads on. For those who must look at
//! the first bytes to learn what a connection is (a PROXY header, TLS, neither) and then hand it on whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `stream` with `prefix` in front of what it still has to give.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Prefixed<S> {
    /// Puts `prefix` back in front of `stream`. An empty prefix costs nothing.
    pub fn new(prefix: Vec<u8>, stream: S) -> Self {
        Self { prefix, given: 0, stream }
    }

    /// The stream behind, for its addresses and socket options. Reading from it directly would lose the prefix.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// What of the prefix has not been read yet, and the stream behind: for copying in the kernel.
    pub fn into_parts(self) -> (Vec<u8>, S) {
        let mut prefix = self.prefix;
        prefix.drain(..self.given.min(prefix.len()));
        (prefix, self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.prefix.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let left = this.prefix.get(this.given..).unwrap_or_default();
        let now = left.get(..into.remaining()).unwrap_or(left);
        into.put_slice(now);
        this.given += now.len();
        if this.given >= this.prefix.len() {
            this.prefix = Vec::new(); // given back: an idle connection should hold nothing
            this.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_prefix_comes_first_in_pieces_of_any_size_then_the_stream() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"world").await.unwrap();
        far.shutdown().await.unwrap();
        let mut stream = Prefixed::new(b"hello ".to_vec(), near);
        let mut two = [0; 2];
        stream.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"he");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "llo world");
    }

    #[tokio::test]
    async fn parts_keep_what_was_not_read_and_writes_pass() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Prefixed::new(b"abc".to_vec(), near);
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        stream.write_all(b"out").await.unwrap();
        let mut out = [0; 3];
        far.read_exact(&mut out).await.unwrap();
        assert_eq!(&out, b"out");
        assert_eq!(stream.into_parts().0, b"bc");
    }
}
