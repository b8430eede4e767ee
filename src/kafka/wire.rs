//! Kafka's primitive types over untrusted bytes. Requests are read here and never by a general decoder: each count is
//! compared with the bytes that are left before anything is made of it, and text is borrowed, not copied.
//! (kafka-protocol allocates what a request's count asks for: four bytes can abort the process.)
//!
//! Bytes after the last field are ignored, as Kafka ignores them: librdkafka 2.16.0 asks for all topics in Metadata v9 and
//! later with three stray bytes (it reserves four for a count that takes one).

/// Why a request could not be read. Each closes the connection, as Kafka does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends in the middle of a field.
    #[error("it ends in the middle of a field")]
    Short,
    /// A count or length that the rest of the request can't hold, or a negative one.
    #[error("a count or length is larger than what is left")]
    Count,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A null where the version knows none.
    #[error("a null that this version does not know")]
    Null,
}

/// Reads one request. `flexible` (KIP-482) decides how lengths are written and whether tagged fields follow.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { rest: bytes, flexible }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Steps over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        self.take(count).map(|_| ())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// INT8.
    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// BOOLEAN: anything but 0 is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? != 0)
    }

    /// INT16.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// INT32.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// UNSIGNED_VARINT, at most five bytes and 32 bits.
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed::Count);
            }
        }
        Err(Malformed::Count)
    }

    /// The length of an array whose elements have at least `least` bytes each; `None` is null.
    pub fn count(&mut self, least: usize) -> Result<Option<usize>, Malformed> {
        let count = if self.flexible {
            match self.varint()?.checked_sub(1) {
                None => return Ok(None),
                Some(count) => count as usize,
            }
        } else {
            match self.i32()? {
                -1 => return Ok(None),
                count => usize::try_from(count).map_err(|_| Malformed::Count)?,
            }
        };
        if count > self.rest.len() / least.max(1) { Err(Malformed::Count) } else { Ok(Some(count)) }
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING as bytes.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = if self.flexible {
            match self.varint()?.checked_sub(1) {
                None => return Ok(None),
                Some(length) => length as usize,
            }
        } else {
            match self.i16()? {
                -1 => return Ok(None),
                length => usize::try_from(length).map_err(|_| Malformed::Count)?,
            }
        };
        if length > self.rest.len() {
            return Err(Malformed::Count);
        }
        self.take(length).map(Some)
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    pub fn nullable_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.nullable_bytes()? {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed::Text),
        }
    }

    /// STRING or COMPACT_STRING.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_text()?.ok_or(Malformed::Null)
    }

    /// Skips the tagged fields that end each flexible structure; nothing else has any.
    pub fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.varint()? as usize;
        if count > self.rest.len() / 2 {
            return Err(Malformed::Count);
        }
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()? as usize;
            if size > self.rest.len() {
                return Err(Malformed::Count);
            }
            self.take(size)?;
        }
        Ok(())
    }
}

/// Writes a reply's fields at the end of a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    flexible: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, flexible: bool) -> Self {
        Self { out, flexible }
    }

    /// Whether lengths are compact and tagged fields follow.
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// How many bytes the buffer has by now.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes as they are, to be changed where they now stand.
    pub fn raw_mut(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = self.out.len();
        self.out.extend_from_slice(bytes);
        self.out.get_mut(start..).unwrap_or_default()
    }

    /// Makes room for `bytes` more at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// `block` as many times as `count` says, with 0, 1, 2… as an INT32 at `at` in each. Copies what is there in doubling
    /// strides and then numbers it, which is several times as fast as block after block.
    pub fn repeat_numbered(&mut self, block: &[u8], count: usize, at: usize) -> Blocks<'_> {
        let start = self.out.len();
        if count == 0 || block.is_empty() {
            return Blocks { bytes: &mut [], each: 1 };
        }
        let wanted = block.len() * count;
        self.out.reserve(wanted);
        self.out.extend_from_slice(block);
        while self.out.len() - start < wanted {
            let have = self.out.len() - start;
            self.out.extend_from_within(start..start + have.min(wanted - have));
        }
        let blocks = self.out.get_mut(start..).unwrap_or_default().chunks_exact_mut(block.len());
        for (index, block) in (0i32..).zip(blocks) {
            if let Some(place) = block.get_mut(at..at + 4) {
                place.copy_from_slice(&index.to_be_bytes());
            }
        }
        Blocks { bytes: self.out.get_mut(start..).unwrap_or_default(), each: block.len() }
    }

    /// BOOLEAN.
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// INT16.
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// INT32.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// The length of an array.
    pub fn count(&mut self, count: usize) {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if self.flexible {
            self.varint(count.unsigned_abs() + 1);
        } else {
            self.i32(count);
        }
    }

    /// STRING or COMPACT_STRING; cut at 32,767 bytes, which nothing of ours has.
    pub fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let bytes = bytes.get(..i16::MAX as usize).unwrap_or(bytes);
        if self.flexible {
            self.varint(bytes.len() as u32 + 1);
        } else {
            self.i16(bytes.len() as i16);
        }
        self.raw(bytes);
    }

    /// A null string.
    pub fn null(&mut self) {
        if self.flexible {
            self.out.push(0);
        } else {
            self.i16(-1);
        }
    }

    /// No tagged fields: we never send one (old librdkafka fails on those it does not know).
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.out.push(0);
        }
    }
}

/// Blocks of one length that were just written.
#[derive(Debug)]
pub struct Blocks<'a> {
    bytes: &'a mut [u8],
    each: usize,
}

impl Blocks<'_> {
    /// Puts an INT32 that depends on the block's number at each of `places` in every block.
    pub fn patch(self, value: impl Fn(u32) -> i32, places: &[usize]) {
        for (number, block) in (0..).zip(self.bytes.chunks_exact_mut(self.each.max(1))) {
            let value = value(number).to_be_bytes();
            for at in places {
                if let Some(place) = block.get_mut(*at..*at + 4) {
                    place.copy_from_slice(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_beyond_the_request_are_refused_before_anything_is_made_of_them() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff], false).count(2), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff], false).count(2), Ok(None));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfe], false).count(2), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], true).count(1), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f], true).varint(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0x80; 6], true).varint(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 0, 0, 0], false).count(2), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0, 0, 0], false).count(2), Ok(Some(1)));
        assert_eq!(Reader::new(&[0xff, 0xff], true).tags(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[9, 0, 0], true).tags(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[1, 0, 3, 0], true).tags(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0, 5, b'a'], false).text(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0x80, 0], false).text(), Err(Malformed::Count));
        assert_eq!(Reader::new(&[0, 1, 0xff], false).text(), Err(Malformed::Text));
    }

    #[test]
    fn blocks_are_repeated_and_numbered() {
        for count in 0..20 {
            let mut out = vec![9];
            Writer::new(&mut out, false).repeat_numbered(&[7, 0, 0, 0, 0, 8], count, 1);
            let expected = (0..count as u8).flat_map(|index| [7, 0, 0, 0, index, 8]);
            assert_eq!(out, [9].into_iter().chain(expected).collect::<Vec<u8>>());
            let mut out = vec![9];
            Writer::new(&mut out, false)
                .repeat_numbered(&[7, 0, 0, 0, 0, 8, 8, 8, 8], count, 1)
                .patch(|number| -(number as i32), &[5]);
            let expected =
                (0..count as i32).flat_map(|n| [&[7][..], &n.to_be_bytes(), &(-n).to_be_bytes()].concat());
            assert_eq!(out, [9].into_iter().chain(expected).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for flexible in [false, true] {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, flexible);
            let long = "x".repeat(300);
            writer.count(200);
            writer.text(&long);
            writer.null();
            writer.i32(-7);
            writer.bool(true);
            writer.no_tags();
            let mut reader = Reader::new(&out, flexible);
            assert_eq!(reader.count(1), Ok(Some(200)));
            assert_eq!(reader.text(), Ok(long.as_str()));
            assert_eq!(reader.nullable_text(), Ok(None));
            assert_eq!(reader.i32(), Ok(-7));
            assert_eq!(reader.bool(), Ok(true));
            reader.tags().unwrap();
            assert!(reader.rest().is_empty());
        }
    }
}
