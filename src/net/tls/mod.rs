//! TLS 1.2 and 1.3 for any listener and any outgoing connection: certificates from PEM files, chosen by server name,
//! replaced while connections run; client certificates on or off; failures by kind. Knows no protocol above.
//!
//! Choices that are not settings:
//! - *Trust is named.* Client certificates and upstream servers are verified against a file that the operator gives,
//!   never against what the machine happens to trust (for a public authority, name the distribution's bundle, such as
//!   `/etc/ssl/certs/ca-certificates.crt`). There is no way to switch verification off.
//! - *Resumption.* Without client certificates, tickets are sent and stay valid across reloads. With client
//!   certificates nothing is resumed: a ticket would outlive the certificate, and its authority, by half a day.
//! - *No early data*, which could be replayed.

mod certificate;
mod client;
mod files;
mod reload;
mod server;

pub use certificate::Certificate;
pub use client::{ClientSettings, ClientStream, ClientTls, ConnectError};
pub use reload::{Failure, Reloaded, Stamp, Status, stamps};
pub use server::{
    AcceptError, Accepted, ClientCertificates, Counts, FAILURES, Principal, ServerSettings, ServerStream,
    ServerTls,
};

use crate::limits::tls as limits;
use std::io;
use std::path::PathBuf;

/// A certificate chain and its key, two PEM files (or one that holds both).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain: one's own certificate first, then each one's issuer; the root may be left out.
    pub certificate: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1), not encrypted.
    pub key: PathBuf,
}

/// Why certificates can't be used. At start an error to stop at; at a reload the old ones stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{file}: cannot be read: check that it exists and that this user may read it", file = file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any certificate file.
    #[error("{file}: more than {max} bytes: is it a PEM file?", file = file.display(), max = limits::FILE_BYTES)]
    TooLarge {
        /// Which.
        file: PathBuf,
    },
    /// A file's PEM is broken.
    #[error("{file}: broken PEM: {reason}", file = file.display())]
    BadPem {
        /// Which.
        file: PathBuf,
        /// How.
        reason: String,
    },
    /// A file that should hold certificates holds none.
    #[error("{file}: no certificate in it{found}", file = file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
        /// What it holds instead, as the end of a sentence.
        found: &'static str,
    },
    /// A chain that no client would take.
    #[error("{file}: {count} certificates; a chain has at most {max}: is it a bundle of authorities?",
        file = file.display(), max = limits::CHAIN)]
    TooManyCertificates {
        /// Which.
        file: PathBuf,
        /// How many.
        count: usize,
    },
    /// A certificate can't be parsed.
    #[error("{file}: certificate {index} is broken: {reason}", file = file.display())]
    BadCertificate {
        /// Which file.
        file: PathBuf,
        /// Which certificate in it, from 1.
        index: usize,
        /// How.
        reason: String,
    },
    /// A file that should hold a private key holds none.
    #[error("{file}: no private key in it{found}", file = file.display())]
    NoKey {
        /// Which.
        file: PathBuf,
        /// What it holds instead, as the end of a sentence.
        found: &'static str,
    },
    /// A key that would need a password.
    #[error("{file}: the private key is encrypted: decrypt it with `openssl pkey -in KEY -out PLAIN` and protect \
        the file by its owner and mode", file = file.display())]
    EncryptedKey {
        /// Which.
        file: PathBuf,
    },
    /// A key of a kind that can't be used.
    #[error("{file}: the private key cannot be used: {reason}; take RSA of at least 2048 bits, P-256, P-384 or \
        Ed25519", file = file.display())]
    BadKey {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Key and certificate are of different pairs.
    #[error("{key}: not the key of the certificate in {certificate}{hint}",
        key = key.display(), certificate = certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Another certificate that the key does fit, as the end of a sentence.
        hint: String,
    },
    /// No certificate at all, or more than can be meant.
    #[error("{0} certificates for one listener; give 1 to {max}", max = limits::IDENTITIES)]
    Identities(usize),
    /// A reload would replace a valid certificate by one that is not.
    #[error("{0}; the one in use is still valid and stays")]
    NotValidNow(String),
    /// A server name to verify that is none.
    #[error("server name {0:?}: neither a host name nor an address")]
    BadServerName(String),
    /// rustls refused the whole.
    #[error("these TLS settings do not work together: {0}")]
    Refused(String),
}

/// What rustls said, if `error` carries it.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The TLS alert behind a failed read or write, in words: with TLS 1.3 a server refuses a client certificate only
/// after the client's handshake has succeeded, so the refusal shows at the first read.
pub fn alert(error: &io::Error) -> Option<String> {
    match rustls_error(error)? {
        rustls::Error::AlertReceived(alert) => Some(alert_words(*alert)),
        _ => None,
    }
}

fn alert_words(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as A;
    let words = match alert {
        A::UnknownCA => "the peer does not trust the authority of our certificate",
        A::BadCertificate => "the peer refuses our certificate as bad",
        A::CertificateUnknown => "the peer refuses our certificate (wrong host name, or not trusted)",
        A::CertificateExpired => "the peer finds our certificate expired",
        A::CertificateRequired => "the peer requires a client certificate",
        A::HandshakeFailure => {
            "the peer found no common ground (versions, ciphers, or a client certificate missing)"
        }
        A::ProtocolVersion => "the peer speaks no TLS version of ours (1.2 and 1.3)",
        A::UnrecognisedName => "the peer knows no such server name",
        A::NoApplicationProtocol => "the peer takes none of the application protocols offered",
        other => return format!("the peer sent the alert {other:?}"),
    };
    words.to_owned()
}

/// Makes ring's primitives the default of this process, for libraries that make their own TLS from URLs (a Redis client
/// with `rediss://`). For the start of the program; a second call changes nothing.
pub fn set_process_default() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is done already
}

/// The primitives: ring's.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}
