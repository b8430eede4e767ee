//! Domain names in wire form, lower case, without allocation: what questions are compared by.

use std::fmt;

/// Longest name in wire form, the root's zero byte included (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// Most labels of a name of 255 bytes, the root not counted.
const MAX_LABELS: usize = 127;

/// One name, lower case, with the places of its labels. Lives on the stack.
#[derive(Clone)]
pub struct Name {
    wire: [u8; MAX_NAME],
    len: usize,
    starts: [u8; MAX_LABELS],
    labels: usize,
}

/// The bytes are no name that a question may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl Name {
    /// The root.
    pub const ROOT: Self = Self { wire: [0; MAX_NAME], len: 1, starts: [0; MAX_LABELS], labels: 0 };

    /// Reads the uncompressed name at the start of `bytes`; the second value says how many bytes it took.
    /// Compression pointers are refused: nothing stands before a question that one could point at.
    pub fn read(bytes: &[u8]) -> Result<(Self, usize), BadName> {
        let mut name = Self::ROOT;
        let took = name.fill(bytes)?;
        Ok((name, took))
    }

    /// As [`Name::read`], into a name that stands where it is to stay: it is large to be moved about.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<usize, BadName> {
        let (mut at, mut labels) = (0, 0);
        let end = loop {
            match usize::from(*bytes.get(at).ok_or(BadName)?) {
                0 => break at + 1,
                len @ 1..=63 => {
                    *self.starts.get_mut(labels).ok_or(BadName)? = at as u8;
                    labels += 1;
                    at += 1 + len;
                }
                _ => return Err(BadName),
            }
        };
        let wire = self.wire.get_mut(..end).ok_or(BadName)?;
        wire.copy_from_slice(bytes.get(..end).ok_or(BadName)?);
        // A length byte is at most 63 and thus never a letter: it may be folded along.
        wire.make_ascii_lowercase();
        (self.len, self.labels) = (end, labels);
        Ok(end)
    }

    /// Reads dotted text such as `vpc-1.prod.kafka.example.`; no escapes. For settings and tests.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.').filter(|_| !text.trim_end_matches('.').is_empty())
        {
            if label.is_empty() || label.len() > 63 {
                return Err(BadName);
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self::read(&wire).map(|(name, _)| name)
    }

    /// This name with what stands behind its first `labels` labels replaced by the name `onto` in wire form, as a
    /// DNAME does it (RFC 6672 §2.2). `None` if that is longer than a name may be.
    pub fn moved(&self, labels: usize, onto: &[u8]) -> Option<Self> {
        let own = self.wire.get(..self.start(labels))?;
        let mut wire = [0; MAX_NAME];
        let (head, tail) = wire.get_mut(..own.len() + onto.len())?.split_at_mut_checked(own.len())?;
        head.copy_from_slice(own);
        tail.copy_from_slice(onto);
        Self::read(&wire).ok().map(|(name, _)| name)
    }

    /// The name `label` below this one. `None` if that is longer than a name may be.
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let mut wire = [0; 65]; // its length, 63 bytes, the root
        let (len, own) = wire.split_first_mut()?;
        *len = u8::try_from(label.len()).ok()?;
        own.get_mut(..label.len()).filter(|own| (1..=63).contains(&own.len()))?.copy_from_slice(label);
        Self::read(&wire).ok()?.0.moved(1, self.wire())
    }

    /// How many labels it has, the root not counted.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The whole name in wire form.
    pub fn wire(&self) -> &[u8] {
        self.wire.get(..self.len).unwrap_or_default()
    }

    /// The `index`-th label from the left, without its length byte; empty beyond the last.
    pub fn label(&self, index: usize) -> &[u8] {
        let rest = self.suffix(index);
        rest.split_first().and_then(|(len, rest)| rest.get(..usize::from(*len))).unwrap_or_default()
    }

    /// Where the `index`-th label begins in the wire form; the root's place beyond the last.
    pub fn start(&self, index: usize) -> usize {
        if index >= self.labels {
            return self.len.saturating_sub(1);
        }
        self.starts.get(index).map_or(0, |start| usize::from(*start))
    }

    /// The wire form from the `index`-th label on: the name without its first `index` labels.
    pub fn suffix(&self, index: usize) -> &[u8] {
        self.wire.get(self.start(index)..self.len).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_of(self.wire()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name's text with a final dot; bytes that no host name has are written `\DDD` (RFC 1035 §5.1).
pub fn text_of(wire: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = wire;
    while let Some((len, tail)) = rest.split_first() {
        if *len == 0 {
            break;
        }
        for byte in tail.iter().take(usize::from(*len)) {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    text.extend(['\\', char::from(*byte)])
                }
                0x21..=0x7e => text.push(char::from(*byte)),
                other => text.push_str(&format!("\\{other:03}")),
            }
        }
        text.push('.');
        rest = tail.get(usize::from(*len)..).unwrap_or_default();
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The wire form without its first `labels` labels.
pub fn skip_labels(wire: &[u8], labels: usize) -> &[u8] {
    (0..labels).fold(wire, |rest, _| match rest.first() {
        Some(0) | None => rest,
        Some(len) => rest.get(1 + usize::from(*len)..).unwrap_or_default(),
    })
}

/// A label as text, if it is one that we could have published; `None` for every other byte string.
pub fn label_text(label: &[u8]) -> Option<&str> {
    let ours = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if label.is_empty() || !label.iter().all(ours) {
        return None;
    }
    std::str::from_utf8(label).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_and_cut_into_labels() {
        let (name, took) = Name::read(b"\x03WwW\x07eXample\x00rest").unwrap();
        assert_eq!((took, name.labels()), (13, 2));
        assert_eq!(name.wire(), b"\x03www\x07example\x00");
        assert_eq!((name.label(0), name.label(1), name.label(2)), (&b"www"[..], &b"example"[..], &b""[..]));
        assert_eq!((name.suffix(1), name.suffix(2)), (&b"\x07example\x00"[..], &b"\x00"[..]));
        assert_eq!(name.to_string(), "www.example.");
        assert_eq!(Name::parse("WWW.example.").unwrap().wire(), name.wire());
        assert_eq!(Name::parse(".").unwrap().wire(), b"\0");
        assert_eq!(skip_labels(name.wire(), 1), b"\x07example\x00");
    }

    #[test]
    fn a_name_moves_below_another_unless_it_gets_too_long() {
        let name = Name::parse("a.b.old.example").unwrap();
        let to =
            |target: &str| name.moved(2, Name::parse(target).unwrap().wire()).map(|name| name.to_string());
        assert_eq!(to("New.test").as_deref(), Some("a.b.new.test."));
        assert_eq!(to(".").as_deref(), Some("a.b."));
        // 4 bytes of `a.b` and 251 of the target fill a name; one more is too many.
        let long = |last: usize| [[63; 64].repeat(3), vec![last as u8; 1 + last], vec![0]].concat();
        assert_eq!((long(57).len(), name.moved(2, &long(57)).unwrap().wire().len()), (251, 255));
        assert!(name.moved(2, &long(58)).is_none());
        assert_eq!(name.child(b"x").unwrap().to_string(), "x.a.b.old.example.");
        assert!(name.child(&[b'x'; 64]).is_none() && name.child(b"").is_none());
        assert_eq!(name.child(&[b'x'; 63]).unwrap().label(0), [b'x'; 63]);
    }

    #[test]
    fn what_no_question_may_hold_is_refused() {
        assert!(Name::read(b"\xc0\x0c").is_err(), "a compression pointer");
        assert!(Name::read(b"\x03ww").is_err(), "cut short");
        assert!(Name::read(b"").is_err());
        assert!(Name::read(&[1, b'a'].repeat(128)).is_err(), "no end");
        let long: Vec<u8> = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!((long.len(), Name::read(&long).unwrap().0.labels()), (255, 127));
        let too_long: Vec<u8> = [vec![2, b'a', b'a'], [1, b'a'].repeat(126), vec![0]].concat();
        assert!(too_long.len() == 256 && Name::read(&too_long).is_err());
    }
}
