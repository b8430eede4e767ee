//! Signing keys: ECDSA P-256 (RFC 6605) and Ed25519 (RFC 8080), their DNSKEY, tag and DS.

use super::times::Times;
use crate::dns::names::Name;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::fmt;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA P-256 with SHA-256: what every validator knows.
    EcdsaP256Sha256 = 13,
    /// Ed25519.
    Ed25519 = 15,
}

impl Algorithm {
    /// All that we sign with.
    pub const ALL: [Self; 2] = [Self::EcdsaP256Sha256, Self::Ed25519];

    /// By its number in DNSKEY records.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| *one as u8 == number)
    }

    /// Its name as key files have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }
}

/// Flags of a DNSKEY that signs zone data (RFC 4034 §2.1.1).
pub const ZSK: u16 = 256;
/// The same with the Secure Entry Point flag: the parent's DS points to it.
pub const KSK: u16 = 257;

/// A key could not be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Private and public part do not belong together, or are no key of the algorithm.
    #[error("the private part is no key of its algorithm, or not that of the public part")]
    Mismatch,
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// One key of a zone with its private part.
pub struct Key {
    /// The zone.
    pub zone: Name,
    /// How it signs.
    pub algorithm: Algorithm,
    /// [`ZSK`] or [`KSK`].
    pub flags: u16,
    /// When it is published, signs and goes.
    pub times: Times,
    /// The TTL that its file gives the DNSKEY.
    pub ttl: Option<u32>,
    public: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Ecdsa(Box<EcdsaKeyPair>, SystemRandom),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Key {
    /// Makes a new key; the second value is its private part, 32 bytes, to be kept.
    pub fn generate(
        zone: Name,
        algorithm: Algorithm,
        flags: u16,
        times: Times,
    ) -> Result<(Self, Vec<u8>), BadKey> {
        let random = SystemRandom::new();
        let (secret, public) = match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = vec![0; 32];
                random.fill(&mut seed).map_err(|_| BadKey::NoRandom)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| BadKey::Mismatch)?;
                (seed, pair.public_key().as_ref().to_vec())
            }
            Algorithm::EcdsaP256Sha256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(|_| BadKey::NoRandom)?;
                parts_of_pkcs8(made.as_ref()).ok_or(BadKey::Mismatch)?
            }
        };
        Ok((Self::new(zone, algorithm, flags, times, public, &secret)?, secret))
    }

    /// A key from its parts as key files hold them: `public` as in the DNSKEY, `secret` the scalar or the seed.
    pub fn new(
        zone: Name,
        algorithm: Algorithm,
        flags: u16,
        times: Times,
        public: Vec<u8>,
        secret: &[u8],
    ) -> Result<Self, BadKey> {
        let pair = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let (alg, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
                // ring wants the uncompressed point, which begins with a 4; the DNS leaves that out.
                let point = [&[4], public.as_slice()].concat();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(alg, secret, &point, &random);
                Pair::Ecdsa(Box::new(pair.map_err(|_| BadKey::Mismatch)?), random)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(secret, &public);
                Pair::Ed25519(Box::new(pair.map_err(|_| BadKey::Mismatch)?))
            }
        };
        Ok(Self { zone, algorithm, flags, times, ttl: None, public, pair })
    }

    /// Whether the parent's DS may point to it.
    pub fn is_entry_point(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The public part as the DNSKEY has it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The data of its DNSKEY record.
    pub fn dnskey(&self) -> Vec<u8> {
        let [f1, f2] = self.flags.to_be_bytes();
        [&[f1, f2, 3, self.algorithm as u8], self.public.as_slice()].concat()
    }

    /// Its tag (RFC 4034, appendix B).
    pub fn tag(&self) -> u16 {
        tag_of(&self.dnskey())
    }

    /// The data of its DS (and CDS) record: SHA-256 (RFC 4509).
    pub fn ds(&self) -> Vec<u8> {
        ds_of(&self.zone, &self.dnskey())
    }

    /// Signs: 64 bytes.
    pub fn sign(&self, data: &[u8]) -> Result<[u8; 64], BadKey> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair, random) => pair.sign(random, data).map_err(|_| BadKey::NoRandom)?,
            Pair::Ed25519(pair) => pair.sign(data),
        };
        signature.as_ref().try_into().map_err(|_| BadKey::Mismatch)
    }
}

impl fmt::Debug for Key {
    /// Without the private part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "K{}+{:03}+{:05} {:?}", self.zone, self.algorithm as u8, self.tag(), self.times)
    }
}

/// The data of the DS record (SHA-256, RFC 4509) that points to a DNSKEY of `zone` with this data.
pub fn ds_of(zone: &Name, dnskey: &[u8]) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    digest.update(zone.wire());
    digest.update(dnskey);
    let [t1, t2] = tag_of(dnskey).to_be_bytes();
    let algorithm = dnskey.get(3).copied().unwrap_or(0);
    [&[t1, t2, algorithm, 2], digest.finish().as_ref()].concat()
}

/// The tag of a DNSKEY record's data.
pub fn tag_of(dnskey: &[u8]) -> u16 {
    let sum = dnskey.chunks(2).fold(0u32, |sum, pair| {
        let pair = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
        sum.wrapping_add(u32::from(u16::from_be_bytes(pair)))
    });
    (sum + (sum >> 16)) as u16
}

/// Scalar and point of a P-256 key that was just made, out of its PKCS#8 form: the scalar stands behind the version of
/// the inner structure, the point is its end.
fn parts_of_pkcs8(document: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mark = [2, 1, 1, 4, 32];
    let at = document.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let public = document.get(document.len().checked_sub(64)?..)?;
    Some((document.get(at..at + 32)?.to_vec(), public.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::base64;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key(algorithm: Algorithm, secret: &str, public: &str) -> Key {
        let [secret, public] = [secret, public].map(|text| base64::decode(text).unwrap());
        let zone = Name::parse("example.net").unwrap();
        Key::new(zone, algorithm, KSK, Times::default(), public, &secret).unwrap()
    }

    /// RFC 6605 §6.1. Its signature is another at each signing.
    #[test]
    fn the_p256_key_of_rfc_6605_has_its_tag_and_ds() {
        let key = key(
            Algorithm::EcdsaP256Sha256,
            "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        );
        assert_eq!(key.tag(), 55648);
        let ds = "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17";
        assert_eq!(hex(&key.ds()), format!("{:04x}0d02{ds}", 55648));
        let (one, other) = (key.sign(b"x").unwrap(), key.sign(b"x").unwrap());
        assert_ne!(one, other);
    }

    /// RFC 8080 §6.1, with the RRSIG over its MX.
    #[test]
    fn the_ed25519_key_of_rfc_8080_signs_as_it_says() {
        let key = Key {
            zone: Name::parse("example.com").unwrap(),
            ..key(
                Algorithm::Ed25519,
                "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
                "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            )
        };
        assert_eq!(key.tag(), 3613);
        assert_eq!(hex(&key.ds())[8..], *"3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b");
        let rrsig = [
            &[0, 15, 15, 2, 0, 0, 14, 16][..],
            &1_440_021_600u32.to_be_bytes(),
            &1_438_207_200u32.to_be_bytes(),
            &3613u16.to_be_bytes(),
            b"\x07example\x03com\0",
        ]
        .concat();
        let mx = b"\x07example\x03com\0\0\x0f\0\x01\0\0\x0e\x10\0\x14\0\x0a\x04mail\x07example\x03com\0";
        let signature = key.sign(&[&rrsig[..], mx].concat()).unwrap();
        let wanted =
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==";
        assert_eq!(base64::encode(&signature), wanted);
    }

    #[test]
    fn made_keys_are_taken_back_and_foreign_halves_are_not() {
        for algorithm in Algorithm::ALL {
            let zone = Name::parse("k.example").unwrap();
            let make = || Key::generate(zone.clone(), algorithm, ZSK, Times::default()).unwrap();
            let ((key, secret), (other, _)) = (make(), make());
            let again = |public: &[u8]| {
                Key::new(zone.clone(), algorithm, ZSK, Times::default(), public.to_vec(), &secret)
            };
            assert_eq!(again(key.public()).unwrap().dnskey(), key.dnskey());
            assert_eq!(again(other.public()).unwrap_err(), BadKey::Mismatch);
            assert!(!format!("{key:?}").contains(&base64::encode(&secret)));
        }
    }
}
