//! Base64 (RFC 4648 §4), as keys are written in files of the DNS.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let value = (0..3).fold(0u32, |sum, at| sum << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit)) as usize & 63;
            let shown = DIGITS.get(index).copied().filter(|_| digit <= chunk.len());
            text.push(char::from(shown.unwrap_or(b'=')));
        }
    }
    text
}

/// Reads text, padded or not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut value = 0u32;
        for byte in chunk {
            value = value << 6 | DIGITS.iter().position(|digit| digit == byte)? as u32;
        }
        let [_, all @ ..] = (value << (6 * (4 - chunk.len()))).to_be_bytes();
        // One digit alone says less than a byte.
        bytes.extend_from_slice(all.get(..chunk.len().checked_sub(1).filter(|len| *len > 0)?)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_go_both_ways() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in vectors {
            assert_eq!((encode(plain.as_bytes()).as_str(), decode(text).unwrap()), (text, plain.into()));
        }
        assert_eq!(decode(" Zm9vYg\n"), Some(b"foob".to_vec()));
        for wrong in ["Z", "Zm9vY", "Zm9?", "Z=9v", "Zm 9v"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
