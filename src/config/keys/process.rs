//! Keys of `[process]`.

use super::super::value::Kind;
use super::Fallback::Is;
use super::{Key, key};
use crate::limits::reload;

pub(super) const KEYS: &[Key] = &[
    key(
        "watch",
        Kind::time(&reload::INTERVAL),
        Is("\"2s\""),
        "How often this file, zone files and token files are looked at; a change is taken as SIGHUP would. `\"0s\"`: by SIGHUP only.",
    ),
    key(
        "share_addresses",
        Kind::Flag,
        Is("false"),
        "Let another process of the same user listen at the same addresses, if it has this too: the next one can be started before this one is stopped. Two servers by mistake are then no error.",
    ),
];
