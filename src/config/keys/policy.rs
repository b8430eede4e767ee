//! Keys about how DNS is spoken, whatever is asked: those of `[dns.rate_limit]` and `[[group]]`.

use super::Fallback::{Is, Required};
use super::{Key, Kind, key};
use crate::limits::dns;

pub(super) const RATE_LIMIT: &[Key] = &[
    key(
        "per_second",
        Kind::number(&dns::RATE),
        Is("1000"),
        "UDP answers a second to one address; its /24 gets 32 times as many, its /20 256 times, its /18 768 times (IPv6: the /64 2, /56 3, /48 4, /32 64 times). Clients with a valid DNS cookie are not limited. 0 switches limiting off.",
    ),
    key(
        "slip",
        Kind::number(&dns::SLIP),
        Is("1"),
        "Of what is held back every so-manieth is answered with TC, so that a real client comes back over TCP; the rest is dropped. 1: all are answered so. 0: none.",
    ),
    key("exempt", Kind::Networks, Is("[\"127.0.0.0/8\", \"::1/128\"]"), "Networks that are never limited."),
    key("dry_run", Kind::Flag, Is("false"), "Count what would be held back, and hold nothing back."),
];

pub(super) const GROUP: &[Key] = &[
    key("cluster", Kind::Cluster, Required("\"prod\""), "Its cluster: the name of a `[[cluster]]`."),
    key("name", Kind::Group, Required("\"vpc-1\""), "Its name. It exists from the start."),
    key(
        "allow_query",
        Kind::Networks,
        Required("[\"10.1.0.0/16\", \"2001:db8:1::/48\"]"),
        "Networks that may ask for the group's names. To all others every name at and below the group's is REFUSED, by whatever name they come to it, and `<cluster>` is answered without the group.",
    ),
];
