//! DNS cookies (RFC 7873) in the form that servers of several makers share (RFC 9018): who sends a good server cookie
//! can be reached at its address, so nobody forged it. No state is kept; a check is one SipHash.

use super::edns::Cookie;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

/// Bytes of a client cookie (RFC 7873 §4.1).
const CLIENT: usize = 8;
/// Lengths that a client's option may have beside [`CLIENT`]: with a server cookie of 8 to 32 bytes.
const WITH_SERVER: std::ops::RangeInclusive<usize> = 16..=40;
/// The version that we make (RFC 9018 §4.1).
const VERSION: u8 = 1;
/// A cookie is good for so many seconds (RFC 9018 §4.3).
const GOOD_FOR: u32 = 3_600;
/// One that is older than this is replaced with the answer, though it is good yet.
const FRESH_FOR: u32 = 1_800;
/// How many seconds a cookie may come from the future: replicas' clocks differ.
const AHEAD: u32 = 300;

/// A key of the hash: 128 bits. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: &u8| char::from(*digit).to_digit(16);
            *byte = match pair {
                [high, low] => (value(high)? * 16 + value(low)?) as u8,
                _ => return None,
            };
        }
        (digits.len() == 32).then_some(Self(bytes))
    }

    /// One that nobody else has, for a server that shares its cookies with no other.
    pub fn random() -> Self {
        // std's keys come from the system's source of randomness; hashing nothing with two of them gives 128 bits.
        let half = || std::hash::BuildHasher::build_hasher(&std::hash::RandomState::new()).finish();
        let [low, high] = [half(), half()].map(u64::to_le_bytes);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(low.into_iter().chain(high)).for_each(|(place, byte)| *place = byte);
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How cookies are made and checked.
#[derive(Clone, Debug)]
pub struct Cookies {
    secrets: Vec<Secret>,
    /// Whether the secret was made here.
    own: bool,
    /// Whether a client that sends cookies must send a good one before it is answered over UDP.
    pub strict: bool,
}

/// What a client's option comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It has no length that RFC 7873 allows.
    Malformed,
    /// Only a client cookie, and what to send back.
    First(Cookie),
    /// With a server cookie that is not ours or too old, and what to send back.
    Bad(Cookie),
    /// With a good one, and what to send back.
    Good(Cookie),
}

impl Cookies {
    /// New cookies are made with the first secret and checked with all of them, so that a secret can be exchanged.
    /// Without any, one is made.
    pub fn new(mut secrets: Vec<Secret>, strict: bool) -> Self {
        let own = secrets.is_empty();
        if own {
            secrets.push(Secret::random());
        }
        Self { secrets, own, strict }
    }

    /// Goes on with another one's secret, if neither was given one.
    pub fn inherit(&mut self, before: &Self) {
        if self.own && before.own {
            self.secrets.clone_from(&before.secrets);
        }
    }

    /// Judges the option of a query from `source` at `now`, in seconds since 1970.
    pub fn judge(&self, option: &[u8], source: IpAddr, now: u32) -> Judged {
        let Some((client, server)) = option.split_first_chunk::<CLIENT>() else { return Judged::Malformed };
        if server.is_empty() {
            return Judged::First(self.make(client, source, now));
        }
        if !WITH_SERVER.contains(&option.len()) {
            return Judged::Malformed;
        }
        match option
            .first_chunk::<24>()
            .filter(|cookie| option.len() == 24 && self.is_good(cookie, source, now))
        {
            None => Judged::Bad(self.make(client, source, now)),
            Some(cookie) if self.is_fresh(cookie, source, now) => Judged::Good(*cookie),
            Some(_) => Judged::Good(self.make(client, source, now)),
        }
    }

    fn make(&self, client: &[u8; CLIENT], source: IpAddr, now: u32) -> Cookie {
        let mut cookie = [0; 24];
        let time = now.to_be_bytes();
        let all = client.iter().chain(&[VERSION, 0, 0, 0]).chain(&time);
        cookie.iter_mut().zip(all).for_each(|(place, byte)| *place = *byte);
        if let Some(secret) = self.secrets.first() {
            let hash = hash(secret, &cookie, source);
            cookie.iter_mut().skip(16).zip(hash).for_each(|(place, byte)| *place = byte);
        }
        cookie
    }

    fn is_good(&self, cookie: &Cookie, source: IpAddr, now: u32) -> bool {
        let age = age(cookie, now);
        let in_time = (-(AHEAD as i32)..=GOOD_FOR as i32).contains(&age);
        cookie[8] == VERSION && in_time && self.secrets.iter().any(|secret| matches(secret, cookie, source))
    }

    /// Whether a good cookie can be kept: made lately, and with the first secret.
    fn is_fresh(&self, cookie: &Cookie, source: IpAddr, now: u32) -> bool {
        age(cookie, now) <= FRESH_FOR as i32
            && self.secrets.first().is_some_and(|secret| matches(secret, cookie, source))
    }
}

/// Seconds since the cookie was made, in the arithmetic of serials (RFC 1982): 2106 is no end.
fn age(cookie: &Cookie, now: u32) -> i32 {
    let [.., a, b, c, d, _, _, _, _, _, _, _, _] = *cookie;
    now.wrapping_sub(u32::from_be_bytes([a, b, c, d])) as i32
}

/// Compares without telling by its time where the difference is.
fn matches(secret: &Secret, cookie: &Cookie, source: IpAddr) -> bool {
    let hash = hash(secret, cookie, source);
    cookie.iter().skip(16).zip(hash).fold(0, |differs, (have, want)| differs | (have ^ want)) == 0
}

/// Client cookie, version, reserved bytes, time and the client's address (RFC 9018 §4.4).
fn hash(secret: &Secret, cookie: &Cookie, source: IpAddr) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(cookie.get(..16).unwrap_or_default());
    match source.to_canonical() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn cookie(hex: &str) -> Cookie {
        bytes(hex).try_into().unwrap()
    }

    fn with(secrets: &[&str]) -> Cookies {
        Cookies::new(secrets.iter().map(|text| Secret::parse(text).unwrap()).collect(), false)
    }

    /// RFC 9018, appendix A.
    #[test]
    fn the_rfcs_own_examples_hold() {
        let ours = with(&["e5e973e5a6b2a43f48e7dc849e37bfcf"]);
        let v4 = "198.51.100.100".parse().unwrap();
        let learned = cookie("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        assert_eq!(ours.judge(&learned[..8], v4, 1_559_731_985), Judged::First(learned));
        let renewed = cookie("2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        assert_eq!(ours.judge(&learned, v4, 1_559_734_385), Judged::Good(renewed));
        let reserved = bytes("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let third = cookie("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        let other = "203.0.113.203".parse().unwrap();
        assert_eq!(ours.judge(&reserved, other, 1_559_734_700), Judged::Bad(third), "older than an hour");
        assert_eq!(
            ours.judge(&reserved, other, 1_559_728_000),
            Judged::Good(cookie(&reserved.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
            "the reserved bytes are hashed as they came"
        );
        let rolled = with(&["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"]);
        let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let old = cookie("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let new = cookie("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(rolled.judge(&old, v6, 1_559_741_961), Judged::Good(new), "made with the previous secret");
    }

    #[test]
    fn a_cookie_is_good_at_its_address_and_in_its_time_only() {
        let ours = with(&["000102030405060708090a0b0c0d0e0f"]);
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = u32::MAX - 100; // 2106, when the seconds begin anew
        let Judged::First(made) = ours.judge(b"12345678", here, now) else { panic!("no cookie") };
        let good = |source, now| matches!(ours.judge(&made, source, now), Judged::Good(_));
        assert!(good(here, now) && !good(there, now));
        assert!(good(here, now.wrapping_add(3_600)) && !good(here, now.wrapping_add(3_601)));
        assert!(good(here, now.wrapping_sub(300)) && !good(here, now.wrapping_sub(301)));
        assert!(good("::ffff:192.0.2.1".parse().unwrap(), now), "the same address in other clothes");
        for at in 0..24 {
            let mut changed = made;
            changed[at] ^= 1;
            assert!(matches!(ours.judge(&changed, here, now), Judged::Bad(_)), "byte {at}");
        }
        let mut another = Cookies::new(Vec::new(), false);
        another.inherit(&ours);
        assert!(matches!(another.judge(&made, here, now), Judged::Bad(_)));
        assert_ne!(Secret::random(), Secret::random());
    }

    #[test]
    fn lengths_are_checked() {
        let ours = with(&["000102030405060708090a0b0c0d0e0f"]);
        let judge = |len: usize| ours.judge(&vec![7; len], "::1".parse().unwrap(), 1);
        for len in (0..8).chain(9..16).chain(41..50) {
            assert_eq!(judge(len), Judged::Malformed, "{len}");
        }
        assert!(matches!(judge(8), Judged::First(_)));
        assert!((16..=40).all(|len| matches!(judge(len), Judged::Bad(_))), "others' cookies");
        assert!(Secret::parse("0001").is_none() && Secret::parse(&"g".repeat(32)).is_none());
        assert_eq!(format!("{ours:?}").matches("00").count(), 0, "no secret is printed");
    }
}
