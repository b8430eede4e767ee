//! Certificates and keys from PEM files, with errors that name the file, what is wrong with it and what to do.

use super::certificate::{self, Certificate};
use super::{Error, Identity};
use crate::limits::tls as limits;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A certificate chain with its key, and what the certificate says.
#[derive(Debug)]
pub struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub certificate: Certificate,
    /// What is not an error but should be mended.
    pub warnings: Vec<String>,
}

/// Reads a chain and its key and checks that they belong together.
pub fn identity(identity: &Identity, provider: &CryptoProvider, now: SystemTime) -> Result<Loaded, Error> {
    let (certificate_file, key_file) = (&identity.certificate, &identity.key);
    let chain = certificates(certificate_file)?;
    let bad = |index: usize, reason: String| Error::BadCertificate {
        file: certificate_file.clone(),
        index,
        reason,
    };
    let leaf =
        chain.first().ok_or_else(|| Error::NoCertificate { file: certificate_file.clone(), found: "" })?;
    let certificate = certificate::read(leaf).map_err(|reason| bad(1, reason))?;
    let signing = provider
        .key_provider
        .load_private_key(private_key(key_file)?)
        .map_err(|error| Error::BadKey { file: key_file.clone(), reason: error.to_string() })?;
    let key = CertifiedKey::new(chain, signing);
    match key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(Error::KeyMismatch {
                certificate: certificate_file.clone(),
                key: key_file.clone(),
                hint: mismatch_hint(&key),
            });
        }
        Err(error) => return Err(bad(1, error.to_string())),
    }
    let mut warnings = Vec::new();
    warnings.extend(validity_warning(certificate_file, &certificate, now));
    warnings.extend(readable_by_all(key_file));
    Ok(Loaded { key: Arc::new(key), certificate, warnings })
}

/// The commonest mistake: the authority's certificate stands before the server's own.
fn mismatch_hint(key: &CertifiedKey) -> String {
    for (index, other) in key.cert.iter().enumerate().skip(1) {
        if CertifiedKey::new(vec![other.clone()], Arc::clone(&key.key)).keys_match().is_ok() {
            return format!("; certificate {} in the file does: put it first", index + 1);
        }
    }
    String::new()
}

/// The authorities of a file, none of which may be unreadable, with what is wrong with their dates.
pub fn authorities(file: &Path, now: SystemTime) -> Result<(RootCertStore, Vec<String>), Error> {
    let (mut roots, mut warnings) = (RootCertStore::empty(), Vec::new());
    let all = all_certificates(file)?;
    let alone = all.len() <= limits::CHAIN; // a bundle of all public authorities always has a few old ones
    for (index, der) in all.into_iter().enumerate() {
        let read = certificate::read(&der);
        match roots.add(der) {
            Ok(()) => {}
            // A distribution's bundle may hold one that webpki can't read; a file of one's own may not.
            Err(error) if !alone => {
                warnings.push(format!("{}: certificate {}: {error}", file.display(), index + 1))
            }
            Err(error) => {
                let reason = error.to_string();
                return Err(Error::BadCertificate { file: file.to_owned(), index: index + 1, reason });
            }
        }
        if alone {
            warnings.extend(read.ok().and_then(|read| validity_warning(file, &read, now)));
        }
    }
    if roots.is_empty() {
        return Err(Error::NoCertificate { file: file.to_owned(), found: "" });
    }
    Ok((roots, warnings))
}

/// A chain: the server's or client's own certificate first.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = all_certificates(file)?;
    if chain.len() > limits::CHAIN {
        return Err(Error::TooManyCertificates { file: file.to_owned(), count: chain.len() });
    }
    Ok(chain)
}

fn all_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = bytes(file)?;
    let all = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::BadPem { file: file.to_owned(), reason: error.to_string() })?;
    if all.is_empty() {
        return Err(Error::NoCertificate { file: file.to_owned(), found: what_is_in(&bytes) });
    }
    Ok(all)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = bytes(file)?;
    if holds(&bytes, "BEGIN ENCRYPTED PRIVATE KEY") || holds(&bytes, "Proc-Type: 4,ENCRYPTED") {
        return Err(Error::EncryptedKey { file: file.to_owned() });
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&bytes);
    let first =
        keys.next().ok_or_else(|| Error::NoKey { file: file.to_owned(), found: what_is_in(&bytes) })?;
    first.map_err(|error| Error::BadPem { file: file.to_owned(), reason: error.to_string() })
}

/// The file, if it is not absurdly large.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { file: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limits::FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limits::FILE_BYTES {
        return Err(Error::TooLarge { file: path.to_owned() });
    }
    Ok(bytes)
}

/// What a file holds instead of what was looked for.
fn what_is_in(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "; it is empty",
        _ if holds(bytes, "PRIVATE KEY-----") => "; it holds a private key",
        _ if holds(bytes, "BEGIN CERTIFICATE REQUEST") => "; it holds a certificate request, not yet signed",
        _ if holds(bytes, "BEGIN CERTIFICATE-") || holds(bytes, "BEGIN TRUSTED CERT") => {
            "; it holds a certificate"
        }
        _ if holds(bytes, "-----BEGIN ") => "; it holds something else in PEM",
        [0x30, ..] => "; it looks like DER or PKCS#12: convert it to PEM with openssl",
        [0xfe, 0xed, 0xfe, 0xed, ..] => {
            "; it is a Java key store: export PEM from it with keytool and openssl"
        }
        _ => "; it holds no PEM at all",
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether a certificate is valid at `now`, and if not, since or from when.
pub fn validity_warning(file: &Path, certificate: &Certificate, now: SystemTime) -> Option<String> {
    let now = unix(now);
    let (what, when) = if now > certificate.not_after {
        ("expired on", certificate.not_after)
    } else if now < certificate.not_before {
        ("is not valid before", certificate.not_before)
    } else {
        return None;
    };
    let (file, subject) = (file.display(), &certificate.subject);
    Some(format!("{file}: the certificate of {subject:?} {what} {}", date(when)))
}

/// A reload does not put a certificate that is not valid in the place of one that is.
pub fn keep_what_is_valid(
    old: &[(PathBuf, Certificate)],
    new: &[(PathBuf, Certificate)],
    now: SystemTime,
) -> Result<(), Error> {
    for ((file, new), (_, old)) in new.iter().zip(old) {
        if let Some(wrong) = validity_warning(file, new, now)
            && validity_warning(file, old, now).is_none()
        {
            return Err(Error::NotValidNow(wrong));
        }
    }
    Ok(())
}

/// Seconds since 1970 of a wall-clock time.
pub fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn date(unix: i64) -> String {
    let seconds = u64::try_from(unix).unwrap_or(0).min(253_402_300_799); // the last second of the year 9999
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
        .to_string()
}

/// A key that every account of the machine can read.
fn readable_by_all(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    let name = file.display();
    (mode & 0o004 != 0).then(|| {
        format!("{name}: everyone can read this private key (mode {:03o}): chmod 640 it", mode & 0o777)
    })
}
