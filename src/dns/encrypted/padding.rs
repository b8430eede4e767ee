//! Padding of encrypted answers (RFC 7830), to whole blocks of 468 bytes (RFC 8467 §4.1), for clients that padded their
//! query; and the TTL that an answer may be kept for. Both walk a message, with bounds, and change nothing they don't
//! understand.

use super::super::wire::rtype;

/// The option's code.
const PADDING: u16 = 12;
/// Answers are padded to a multiple of this.
const BLOCK: usize = 468;

/// A record of a message, by offsets.
struct Rr {
    kind: u16,
    ttl: u32,
    /// Where the record's two length bytes are.
    length_at: usize,
    end: usize,
}

/// Pads the first `len` bytes of `buffer`, an answer to `query`, in place if the query had padding; says how long the
/// answer is then. One that ends with something else than an OPT (a signature) stays as it is.
pub(in super::super) fn pad(query: &[u8], buffer: &mut [u8], len: usize) -> usize {
    if !asks(query) {
        return len;
    }
    let answer = buffer.get(..len).unwrap_or_default();
    let Some(opt) = records(answer).last().filter(|rr| rr.kind == rtype::OPT && rr.end == len) else {
        return len;
    };
    let padded = (len + 4).div_ceil(BLOCK).saturating_mul(BLOCK).min(buffer.len());
    let Some(zeros) = padded.checked_sub(len + 4) else { return len };
    let Some(length) = word(buffer, opt.length_at).and_then(|now| now.checked_add(zeros as u16 + 4)) else {
        return len;
    };
    let Some(room) = buffer.get_mut(len..padded) else { return len };
    room.fill(0);
    let (code, size) = (PADDING.to_be_bytes(), (zeros as u16).to_be_bytes());
    for (byte, value) in room.iter_mut().zip(code.into_iter().chain(size)) {
        *byte = value;
    }
    if let Some(bytes) = buffer.get_mut(opt.length_at..opt.length_at + 2) {
        bytes.copy_from_slice(&length.to_be_bytes());
    }
    padded
}

/// For how many seconds an answer may be kept (RFC 8484 §5.1): the least TTL of its answers, else of its SOA.
pub(super) fn keep_for(answer: &[u8]) -> u32 {
    let of = |count: usize, skip: usize| {
        records(answer).skip(skip).take(count).filter(|rr| rr.kind != rtype::OPT).map(|rr| rr.ttl).min()
    };
    let count = |at| word(answer, at).map_or(0, usize::from);
    let (answers, authorities) = (count(6), count(8));
    of(answers, 0).or(of(authorities, answers)).unwrap_or(0)
}

/// Whether a query has the option.
fn asks(query: &[u8]) -> bool {
    let Some(opt) = records(query).find(|rr| rr.kind == rtype::OPT) else { return false };
    let mut at = opt.length_at + 2;
    while at < opt.end {
        let (Some(code), Some(size)) = (word(query, at), word(query, at + 2)) else { return false };
        if code == PADDING {
            return true;
        }
        at += 4 + usize::from(size);
    }
    false
}

/// The records of a message, up to the first that can't be read.
fn records(message: &[u8]) -> impl Iterator<Item = Rr> + '_ {
    let count = |at| word(message, at).map_or(0, usize::from);
    let mut at = (0..count(4)).try_fold(12, |at, _| Some(name_end(message, at)? + 4));
    let all = count(6) + count(8) + count(10);
    (0..all).map_while(move |_| {
        let fixed = name_end(message, at?)?;
        let (kind, length) = (word(message, fixed)?, word(message, fixed + 8)?);
        let ttl = u32::from(word(message, fixed + 4)?) << 16 | u32::from(word(message, fixed + 6)?);
        let end = fixed + 10 + usize::from(length);
        at = (end <= message.len()).then_some(end);
        Some(Rr { kind, ttl, length_at: fixed + 8, end: at? })
    })
}

/// Where the name that begins at `at` ends.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length < 64 => at += 1 + usize::from(length),
            length if length >= 192 => return Some(at + 2),
            _ => return None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `a.` with an OPT that has these options.
    fn query(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1];
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8]);
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn answers_are_padded_to_whole_blocks_if_the_query_was() {
        let asked = query(&[0, 3, 0, 0, 0, 12, 0, 1, 0]);
        let answer = query(&[]);
        let mut buffer = vec![9; 1_000];
        buffer[..answer.len()].copy_from_slice(&answer);
        let len = pad(&asked, &mut buffer, answer.len());
        assert_eq!(len, BLOCK);
        let opt = records(&buffer[..len]).last().unwrap();
        assert_eq!((opt.kind, opt.end), (rtype::OPT, BLOCK));
        assert!(asks(&buffer[..len]), "the option is there");
        assert!(buffer[answer.len() + 4..len].iter().all(|byte| *byte == 0));
        for plain in
            [query(&[]), query(&[0, 3, 0, 0]), asked[..asked.len() - 3].to_vec(), vec![], vec![255; 40]]
        {
            assert_eq!(pad(&plain, &mut buffer, 30), 30);
        }
        assert_eq!(pad(&asked, &mut buffer[..answer.len()], answer.len()), answer.len(), "no room");
    }

    #[test]
    fn an_answer_is_kept_no_longer_than_its_least_ttl() {
        let mut answer = vec![0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0];
        for ttl in [9, 5] {
            answer.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 0]);
        }
        assert_eq!(keep_for(&answer), 5);
        assert_eq!(keep_for(&answer[..30]), 9, "what can be read");
        answer[7] = 0;
        answer[9] = 2;
        assert_eq!(keep_for(&answer), 5, "a negative answer's SOA");
        assert_eq!((keep_for(&[]), keep_for(&[255; 64])), (0, 0));
    }
}
