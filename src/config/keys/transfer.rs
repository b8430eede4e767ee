//! Keys about secondaries that copy zones.

use super::Fallback::{Absent, Required};
use super::{Key, key};
use crate::config::value::Kind;

/// `[[dns.tsig_key]]`.
pub(super) const TSIG_KEY: &[Key] = &[
    key("name", Kind::DnsName, Required("\"fp-xfer\""), "Its name; both sides must call it the same."),
    key(
        "algorithm",
        Kind::Word(&["hmac-sha256", "hmac-sha384", "hmac-sha512"]),
        super::Fallback::Is("\"hmac-sha256\""),
        "The keyed hash.",
    ),
    key(
        "secret_file",
        Kind::Path,
        Required("\"/run/secrets/fp-xfer\""),
        "File that holds the secret in base64, 16 bytes at least, as `tsig-keygen` and `keymgr -t` print it.",
    ),
];

/// `[[dns.secondary]]`.
pub(super) const SECONDARY: &[Key] = &[
    key(
        "key",
        Kind::DnsName,
        Required("\"fp-xfer\""),
        "The `[[dns.tsig_key]]` that it signs its queries with, and that NOTIFY to it is signed with.",
    ),
    key(
        "zones",
        Kind::DnsNames,
        Absent("[\"kafka.example\"]"),
        "The zones that it may copy; all if left out.",
    ),
    key(
        "networks",
        Kind::Networks,
        Absent("[\"192.0.2.53\"]"),
        "Where it asks from, beside having the key; anywhere if left out.",
    ),
    key(
        "notify",
        Kind::Addresses,
        Absent("[\"192.0.2.53:53\"]"),
        "Where it is told that a zone has changed (NOTIFY).",
    ),
    key(
        "all_groups",
        Kind::Flag,
        super::Fallback::Is("false"),
        "Whether it gets the groups, too, that only some networks may ask for: it answers anybody.",
    ),
];
