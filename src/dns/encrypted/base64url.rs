//! base64url without padding (RFC 4648 §5), as DNS over HTTPS has queries in GET.

/// Decodes; `None` for what is no base64url or more than `most` bytes.
pub(super) fn decode(text: &str, most: usize) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() / 4 > most / 3 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // What is left over belongs to no byte and must be nothing.
    (held < 6 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_rfc_and_broken_ones() {
        for (text, bytes) in [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
            assert_eq!(decode(text, 9).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("-_8", 9), Some(vec![0xfb, 0xff]));
        for wrong in ["Z", "Zh", "Zm9v!", "+/8", "Zm 9v"] {
            assert_eq!(decode(wrong, 9), None, "{wrong}");
        }
        assert_eq!(decode(&"A".repeat(100), 9), None);
    }
}
