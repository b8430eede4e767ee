//! Keys of encrypted DNS: `[dns.tls]` and `[dns.https]`.

use super::super::value::Kind;
use super::Fallback::{Absent, Is};
use super::{Key, key};

pub(super) const TLS: &[Key] = &[
    key(
        "listen",
        Kind::Addresses,
        Is("[]"),
        "Addresses to answer at over TLS, usually port 853; none switches it off.",
    ),
    key(
        "certificate",
        Kind::Path,
        Absent("\"/etc/fingerpost/dns.pem\""),
        "Certificate chain (PEM) with the names or addresses of this server. Read again when it changes.",
    ),
    key(
        "key",
        Kind::Path,
        Absent("\"/etc/fingerpost/dns.key\""),
        "Its key (PEM); may be left out where `certificate` holds both.",
    ),
];

pub(super) const HTTPS: &[Key] = &[
    key(
        "listen",
        Kind::Addresses,
        Is("[]"),
        "Addresses to answer at over HTTPS (HTTP/2); none switches it off.",
    ),
    key("path", Kind::Text, Is("\"/dns-query\""), "The path that answers, by GET and POST."),
];
