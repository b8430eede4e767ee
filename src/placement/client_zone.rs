//! In which zone a client is. First hit wins: its client.id, the network of its source address, the zone of the
//! listener it came through, unknown. A client.id is a hint and never an authorisation; nothing in it is an error.
//!
//! | keys | pairs are separated by | who writes them |
//! | --- | --- | --- |
//! | `ws_az`, `warpstream_az` | `,` | WarpStream clients |
//! | `zone` | `,` `;` | Bufstream clients |
//! | `diskless_az`, `inkless_az` | space `,` `\|` | Inkless clients |
//! | `automq_az` | `&`, values URL-encoded | AutoMQ clients |
//!
//! Frameworks append to client.id (`-StreamThread-1-consumer`, `|source->target|...`), so a value that is no known zone
//! is cut at its last `-` or separator until it is one.

use super::cidr::CidrMap;
use crate::model::{LabelError, Zone};
use std::borrow::Cow;
use std::net::IpAddr;

/// How one family of clients writes its zone into client.id.
struct Dialect {
    keys: &'static [&'static str],
    separators: &'static [char],
    url_encoded: bool,
}

/// Earlier lines go before later ones.
const DIALECTS: &[Dialect] = &[
    Dialect { keys: &["ws_az", "warpstream_az"], separators: &[','], url_encoded: false },
    Dialect { keys: &["zone"], separators: &[',', ';'], url_encoded: false },
    Dialect { keys: &["diskless_az", "inkless_az"], separators: &[' ', ',', '|'], url_encoded: false },
    Dialect { keys: &["automq_az"], separators: &['&'], url_encoded: true },
];

/// Where a value may be cut, to undo what frameworks appended.
pub(super) const CUTS: &[char] = &['-', ',', ';', '|', '&', ' ', '.', ':', '/', '#'];

/// Longest zone in bytes (`az-<zone>` is a DNS label): no longer beginning of a value needs to be tried.
const MAX_ZONE: usize = 60;

/// What tells the zone of clients that don't, or names it differently. The same for all listeners of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneRules {
    /// Zones by source address.
    pub networks: CidrMap,
    /// Pairs of names for one zone (`us-east-1a`, `use1-az2`): either is understood where the other is known.
    pub aliases: Vec<(Zone, Zone)>,
}

/// Why a text is no pair of names for one zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// No `=` between the two.
    #[error("{0:?} has no '=': write \"us-east-1a=use1-az2\"")]
    NoPair(String),
    /// One of them is no zone.
    #[error("{0:?}: {1:?}: {2}")]
    Zone(String, String, LabelError),
}

/// Two names of one zone, written `us-east-1a=use1-az2`.
pub fn alias(pair: &str) -> Result<(Zone, Zone), AliasError> {
    let (one, other) = pair.split_once('=').ok_or_else(|| AliasError::NoPair(pair.to_owned()))?;
    let name = |text: &str| {
        Zone::parse(text.trim()).map_err(|error| AliasError::Zone(pair.to_owned(), text.to_owned(), error))
    };
    Ok((name(one)?, name(other)?))
}

/// Which rule told a client's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its client.id.
    ClientId,
    /// The network of its source address.
    Network,
    /// The listener that it came through.
    Listener,
}

/// The zone of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientZone {
    /// A zone that agents of its group name.
    Known(Zone, Origin),
    /// It named a zone (or a rule did) that no agent of its group names.
    Foreign(Origin),
    /// Nothing told a zone.
    Unaware,
}

impl ZoneRules {
    /// The zone of a client. `known` finds a zone among those of its group.
    pub fn zone_of<'a>(
        &self,
        client_id: Option<&str>,
        source: IpAddr,
        listener: Option<&Zone>,
        known: impl Fn(&str) -> Option<&'a Zone>,
    ) -> ClientZone {
        let known = |name: &str| known(name).or_else(|| self.alias(name, &known));
        if let Some(said) = client_id.and_then(said_in) {
            return match cut_to_known(&said, known) {
                Some(zone) => ClientZone::Known(zone.clone(), Origin::ClientId),
                None => ClientZone::Foreign(Origin::ClientId),
            };
        }
        let told = match (self.networks.zone_of(source), listener) {
            (Some(zone), _) => (zone, Origin::Network),
            (None, Some(zone)) => (zone, Origin::Listener),
            (None, None) => return ClientZone::Unaware,
        };
        match known(told.0.as_str()) {
            Some(zone) => ClientZone::Known(zone.clone(), told.1),
            None => ClientZone::Foreign(told.1),
        }
    }

    /// Every name of a zone, its own first.
    pub fn names<'a>(&'a self, zone: &'a Zone) -> impl Iterator<Item = &'a str> {
        let others = self.aliases.iter().filter_map(move |(one, other)| match () {
            () if one == zone => Some(other),
            () if other == zone => Some(one),
            () => None,
        });
        std::iter::once(zone).chain(others).map(Zone::as_str)
    }

    fn alias<'a>(&self, name: &str, known: &impl Fn(&str) -> Option<&'a Zone>) -> Option<&'a Zone> {
        self.aliases.iter().find_map(|(one, other)| {
            if one.as_str() == name {
                known(other.as_str())
            } else if other.as_str() == name {
                known(one.as_str())
            } else {
                None
            }
        })
    }
}

/// The zone value of a client.id, as it is written there; `None` if it names none.
pub fn said_in(client_id: &str) -> Option<Cow<'_, str>> {
    DIALECTS.iter().find_map(|dialect| {
        client_id.split(dialect.separators).find_map(|token| {
            let (key, value) = token.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            if value.is_empty() || !dialect.keys.iter().any(|have| key.eq_ignore_ascii_case(have)) {
                return None;
            }
            Some(if dialect.url_encoded { url_decoded(value) } else { Cow::Borrowed(value) })
        })
    })
}

/// The known zone that `said` is, or begins with before a cut: the longest one.
fn cut_to_known<'a>(said: &str, known: impl Fn(&str) -> Option<&'a Zone>) -> Option<&'a Zone> {
    let folded: String = said.chars().take(MAX_ZONE + 1).map(|c| c.to_ascii_lowercase()).collect();
    let mut rest = folded.as_str();
    let mut cut_already = said.len() > folded.len(); // a beginning must be cut before it may count
    loop {
        if !cut_already && let Some(zone) = known(rest) {
            return Some(zone);
        }
        cut_already = false;
        rest = rest.get(..rest.rfind(CUTS)?)?;
    }
}

/// `%41` as `A` and `+` as space; what is no escape, or no text, stays as it is.
fn url_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Vec<Zone> {
        ["us-east-1a", "us-east-1", "use1-az2", "b"].iter().map(|zone| Zone::parse(zone).unwrap()).collect()
    }

    fn zone_with(rules: &ZoneRules, client_id: Option<&str>, source: &str, listener: Option<&str>) -> String {
        let zones = zones();
        let listener = listener.map(|zone| Zone::parse(zone).unwrap());
        let find = |name: &str| zones.iter().find(|zone| zone.as_str() == name);
        match rules.zone_of(client_id, source.parse().unwrap(), listener.as_ref(), find) {
            ClientZone::Known(zone, _) => zone.to_string(),
            ClientZone::Foreign(_) => "foreign".into(),
            ClientZone::Unaware => "unaware".into(),
        }
    }

    fn zone(client_id: &str) -> String {
        zone_with(&ZoneRules::default(), Some(client_id), "127.0.0.1", None)
    }

    #[test]
    fn every_dialect_says_its_zone() {
        for id in [
            "ws_az=us-east-1a,orders",
            "orders,ws_az=us-east-1a",
            "orders, WS_AZ = US-East-1a ,x=y",
            "warpstream_az=us-east-1a",
            "ws_pt=proxy-produce,ws_az=us-east-1a,pod-1",
            "orders;zone=us-east-1a",
            "zone=us-east-1a,orders",
            "a=b;zone=us-east-1a;broker_count=1",
            "diskless_az=us-east-1a orders",
            "x|inkless_az=us-east-1a|y",
            "orders diskless_az=us-east-1a",
            "automq_az=us-east-1a&orders",
            "automq_az=us%2Deast%2d1a&automq_type=x",
        ] {
            assert_eq!(zone(id), "us-east-1a", "{id}");
        }
        assert_eq!(zone("ws_az=b,ws_az=us-east-1a"), "b", "the first value counts");
        assert_eq!(zone("zone=b,ws_az=us-east-1a"), "us-east-1a", "earlier dialects go first");
    }

    #[test]
    fn what_frameworks_append_is_cut_off() {
        for suffix in [
            "-StreamThread-1-consumer",
            "-StreamThread-12-restore-consumer",
            "|src->dst|MirrorSourceConnector-0|offset-syncs-target-producer",
            "-configs",
            "-575969bf-1111-2222-3333-444455556666-configs",
            ";admin",
            "-",
        ] {
            assert_eq!(zone(&format!("ws_az=us-east-1a{suffix}")), "us-east-1a", "{suffix}");
            assert_eq!(zone(&format!("zone=use1-az2{suffix}")), "use1-az2", "{suffix}");
        }
        let long = format!("ws_az=us-east-1a-{}", "x".repeat(5_000));
        assert_eq!(zone(&long), "us-east-1a");
        assert_eq!(zone("ws_az=us-east-1ab"), "foreign", "a beginning without a cut is no zone");
    }

    #[test]
    fn junk_is_never_an_error() {
        for id in ["", "=", ",,,", "ws_az", "ws_az=", "ws_az=,zone=", "plain-id", "zoned=b", "=b"] {
            assert_eq!(zone(id), "unaware", "{id}");
        }
        for id in ["ws_az=nowhere", "ws_az==b", "zone=\u{fffd}\u{1F980}", "automq_az=%", "automq_az=%ff%zz"] {
            assert_eq!(zone(id), "foreign", "{id}");
        }
        assert_eq!(zone(&format!("ws_az={}", "-".repeat(32 * 1024))), "foreign");
        assert_eq!(zone(&"=,".repeat(16 * 1024)), "unaware");
        assert_eq!(zone(&"é".repeat(16 * 1024)), "unaware");
        assert_eq!(zone(&format!("ws_az={}", "é".repeat(16 * 1024))), "foreign");
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let alphabet =
                ['w', 's', '_', 'a', 'z', '=', ',', ';', '&', '%', ' ', '|', '-', 'b', '\u{e9}', '+'];
            let id: String = (0..random.usize(..40)).map(|_| alphabet[random.usize(..16)]).collect();
            zone(&id);
        }
    }

    #[test]
    fn the_client_goes_before_its_network_and_that_before_the_listener() {
        let rules = ZoneRules {
            networks: "b@10.0.0.0/8<>elsewhere@10.9.0.0/16".parse().unwrap(),
            aliases: vec![(Zone::parse("euw1-az9").unwrap(), Zone::parse("b").unwrap())],
        };
        let zone = |id, source, listener| zone_with(&rules, id, source, listener);
        assert_eq!(zone(Some("ws_az=us-east-1a"), "10.0.0.1", Some("use1-az2")), "us-east-1a");
        assert_eq!(zone(Some("x"), "10.0.0.1", Some("use1-az2")), "b");
        assert_eq!(zone(None, "::ffff:10.0.0.1", None), "b");
        assert_eq!(zone(None, "10.9.0.1", Some("b")), "foreign");
        assert_eq!(zone(None, "192.0.2.1", Some("use1-az2")), "use1-az2");
        assert_eq!(zone(None, "192.0.2.1", None), "unaware");
        assert_eq!(zone(Some("ws_az=euw1-az9-StreamThread-1"), "192.0.2.1", None), "b", "by its other name");
    }
}
