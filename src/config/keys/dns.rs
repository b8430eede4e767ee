//! Keys of `[dns]` and `[[dns.zone]]`.

use super::Fallback::{Absent, Is, Required};
use super::{Key, Kind, from, key};
use crate::limits::{dns, dnssec, tcp};

pub(super) const DNS: &[Key] = &[
    from(
        key(
            "listen",
            Kind::Addresses,
            Is("[\"127.0.0.1:5353\"]"),
            "Addresses to answer at, each over UDP and TCP. Port 0 takes a free one.",
        ),
        "FINGERPOST_DNS_LISTEN",
    ),
    key("workers", Kind::number(&dns::WORKERS), Is("0"), "UDP workers per address; 0 is one per core."),
    key(
        "ttl",
        Kind::seconds(&dns::TTL),
        Is("\"5s\""),
        "Most seconds that an answer about agents may be kept; a shorter lease shortens it.",
    ),
    key(
        "negative_ttl",
        Kind::seconds(&dns::NEGATIVE_TTL),
        Is("\"2s\""),
        "How long NXDOMAIN and NODATA may be kept, in zones without a zone file.",
    ),
    key(
        "sample",
        Kind::number(&dns::SAMPLE),
        Is("8"),
        "Most addresses in one answer: a random sample, because a complete list does not spread clients.",
    ),
    key(
        "empty",
        Kind::Word(&["nodata", "last-known", "servfail"]),
        Is("\"nodata\""),
        "What a known group without a live agent answers.",
    ),
    key("txt", Kind::Flag, Is("true"), "Answer TXT at group and agent names, for debugging with dig."),
    key("tcp_connections", Kind::number(&tcp::CONNECTIONS), Is("4096"), "Open TCP connections per address."),
    key(
        "tcp_per_source",
        Kind::number(&tcp::PER_SOURCE),
        Is("1024"),
        "Open TCP connections of one source (IPv6: of one /64).",
    ),
    key(
        "tcp_idle",
        Kind::time(&dns::TCP_IDLE),
        Is("\"10s\""),
        "An idle TCP connection is closed after this.",
    ),
    key(
        "serial_interval",
        Kind::time(&dns::SERIAL_INTERVAL),
        Is("\"1s\""),
        "Shortest time between two serials of a zone that secondaries copy, and between two NOTIFY of one of them.",
    ),
    key(
        "ecs",
        Kind::Flag,
        Is("false"),
        "Take the client's network from EDNS Client Subnet, where a resolver sends it: it tells the zone (see `zones.networks`) and nothing else.",
    ),
    key(
        "server_id",
        Kind::Text,
        Absent("\"ns1-a\""),
        "Which server this is, for those who ask by NSID, `id.server` or `hostname.bind`; without it they are not told.",
    ),
    key(
        "server_version",
        Kind::Text,
        Absent("\"fingerpost\""),
        "What `version.bind` and `version.server` say; without it they are refused.",
    ),
    key(
        "cookies",
        Kind::Word(&["off", "on", "strict"]),
        Is("\"on\""),
        "DNS cookies: a client that sends a good one is not limited. `strict`: one that sends another is told a good one instead of the answer (BADCOOKIE, over UDP).",
    ),
    key(
        "cookie_secret_files",
        Kind::Paths,
        Absent("[\"/etc/fingerpost/cookie-secret\", \"/etc/fingerpost/cookie-secret.old\"]"),
        "Secrets of the cookies, 32 hexadecimal digits in each file; servers that answer at one address share them. Cookies are made with the first and good by any. Without files the server makes one at its start.",
    ),
];

pub(super) const ZONE: &[Key] = &[
    key(
        "apex",
        Kind::DnsName,
        Required("\"kafka.example\""),
        "The zone's name: what the parent zone delegates. Below in-addr.arpa or ip6.arpa (1.0.10.in-addr.arpa is 10.0.1.0/24) it is a reverse zone: PTR of the agents' addresses.",
    ),
    key(
        "file",
        Kind::Path,
        Absent("\"zones/kafka.example.zone\""),
        "Zone file (RFC 1035) with SOA, NS and static records. Without it SOA and NS are made from the keys below.",
    ),
    key(
        "ns",
        Kind::DnsNames,
        Absent("[\"ns1.kafka.example\"]"),
        "Name servers, where there is no zone file; `ns1.<apex>` if left out.",
    ),
    key(
        "ns_addresses",
        Kind::Ips,
        Absent("[\"192.0.2.1\"]"),
        "Addresses of those name servers that lie within the zone; the listening addresses if left out.",
    ),
    key(
        "dnssec_keys",
        Kind::Path,
        Absent("\"keys\""),
        "Sign the zone (DNSSEC) with the keys of this folder, which `fingerpost keys generate` makes.",
    ),
    key(
        "dnssec_validity",
        Kind::time(&dnssec::VALIDITY),
        Absent("\"7days\""),
        "How long a signature is valid, 7 days if left out. It is renewed when a quarter of that is left.",
    ),
    key(
        "dnssec_key_ttl",
        Kind::seconds(&dnssec::DNSKEY_TTL),
        Absent("\"1h\""),
        "How long resolvers may keep the zone's keys, one hour if left out: a rollover waits that long.",
    ),
];
