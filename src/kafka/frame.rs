//! Frames and request headers. A frame is a big-endian INT32 length and that many bytes; a request begins with api key,
//! version, correlation id and (but for the oldest) client id, whatever its body is.

use super::wire::{Malformed, Reader};
use crate::limits::kafka as limits;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// What every request begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which API, as a number: it need not be one that anybody knows.
    pub api_key: i16,
    /// In which version.
    pub version: i16,
    /// What the reply repeats.
    pub correlation: i32,
}

/// Why a frame's length is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLength {
    /// Shorter than any request, or negative.
    #[error("the frame of {0} bytes is shorter than any request")]
    Short(i32),
    /// Longer than allowed: bytes announced, bytes allowed.
    #[error("the frame announces {0} bytes, {1} are allowed")]
    Long(i32, usize),
}

/// The length of the frame that `buffer` begins with; `None` while too little has arrived to tell.
pub fn length(buffer: &[u8], most: usize) -> Result<Option<usize>, BadLength> {
    let Some((announced, _)) = buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let announced = i32::from_be_bytes(*announced);
    match usize::try_from(announced) {
        Ok(length) if length > most => Err(BadLength::Long(announced, most)),
        Ok(length) if length >= limits::FRAME_LEAST => Ok(Some(length)),
        _ => Err(BadLength::Short(announced)),
    }
}

/// The first eight bytes of a request, and what follows them.
pub fn start(request: &[u8]) -> Result<(Start, &[u8]), Malformed> {
    let mut reader = Reader::new(request, false);
    let start = Start { api_key: reader.i16()?, version: reader.i16()?, correlation: reader.i32()? };
    Ok((start, reader.rest()))
}

/// The rest of a request header of version 1, or of version 2 if `flexible`, and the body after it. The client id has
/// the old form of a string in both. One that is not UTF-8 counts as none: a hint is never worth an error.
pub fn client_id(after_start: &[u8], flexible: bool) -> Result<(Option<&str>, &[u8]), Malformed> {
    let mut reader = Reader::new(after_start, false);
    let id = reader.nullable_bytes()?.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let mut reader = Reader::new(reader.rest(), flexible);
    reader.tags()?;
    Ok((id, reader.rest()))
}

/// Begins a reply: room for its length, the correlation id and, in header version 1, no tagged fields.
pub fn begin_reply(out: &mut Vec<u8>, correlation: i32, flexible_header: bool) {
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(&correlation.to_be_bytes());
    if flexible_header {
        out.push(0);
    }
}

/// Ends a reply that began at `start`: writes its length. Replies are bounded far below 2 GiB.
pub fn end_reply(out: &mut [u8], start: usize) {
    let length = i32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_judged_before_anything_is_read_for_it() {
        assert_eq!(length(&[0, 0, 1], 1024), Ok(None));
        assert_eq!(length(&[0, 0, 4, 0], 1024), Ok(Some(1024)));
        assert_eq!(length(&[0, 0, 4, 1], 1024), Err(BadLength::Long(1025, 1024)));
        assert_eq!(length(&[0x7f, 0xff, 0xff, 0xff], 1024), Err(BadLength::Long(i32::MAX, 1024)));
        assert_eq!(length(&[0, 0, 0, 7], 1024), Err(BadLength::Short(7)));
        assert_eq!(length(&[0xff, 0, 0, 0], 1024), Err(BadLength::Short(-16_777_216)));
        assert_eq!(
            length(b"GET ", 1 << 24),
            Err(BadLength::Long(0x4745_5420, 1 << 24)),
            "HTTP to the Kafka port"
        );
    }

    #[test]
    fn a_client_id_that_is_no_text_counts_as_none() {
        assert_eq!(client_id(&[0, 2, b'a', b'b', 9], false), Ok((Some("ab"), [9].as_slice())));
        assert_eq!(client_id(&[0, 1, b'a', 0, 9], true), Ok((Some("a"), [9].as_slice())));
        assert_eq!(client_id(&[0, 1, 0xff], false), Ok((None, [].as_slice())));
        assert_eq!(client_id(&[0xff, 0xff], false), Ok((None, [].as_slice())));
        assert_eq!(client_id(&[0x7f, 0xff, 1], false), Err(Malformed::Count));
        assert_eq!(client_id(&[], false), Err(Malformed::Short));
    }
}
