//! What clients ask for in client.id beside their zone. All of it is a wish: what can't be read or can't be had is passed
//! over and never fails a request, and nothing of it ever leads out of the client's group.
//!
//! | keys | pairs are separated by | value |
//! | --- | --- | --- |
//! | `ws_host_override` | `,` | host that all agents are advertised under |
//! | `ws_pt`, `ws_proxy_target`, `warpstream_proxy_target` | `,` | role of the agents that lead |
//! | `ws_pas`, `warpstream_partition_assignment_strategy` | `,` | strategy |
//! | `host_override` | `,` `;` | as `ws_host_override` |
//! | `broker_count` | `,` `;` | most agents that are listed |
//!
//! The first pair of a key that can be read counts, and WarpStream's keys go before Bufstream's. What frameworks append
//! to the last value (`-StreamThread-1-consumer`, `|source->target|...`) is cut off where the value's form tells it.

use super::strategy::Strategy;
use std::net::IpAddr;

/// What one client.id asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// The host that all agents shall be advertised under: an IP address or a host name.
    pub host: Option<&'a str>,
    /// Most agents that shall be listed; at least 1.
    pub broker_count: Option<usize>,
    /// The role of the agents that shall lead, perhaps with something appended (see [`super::Roster::role`]).
    pub role: Option<&'a str>,
    /// The strategy.
    pub strategy: Option<Strategy>,
}

/// A wish and the keys that say it.
struct Wish {
    keys: &'static [&'static str],
    separators: &'static [char],
    take: for<'a> fn(&mut Hints<'a>, &'a str),
}

const WARPSTREAM: &[char] = &[','];
const BUFSTREAM: &[char] = &[',', ';'];

/// Earlier lines go before later ones.
const WISHES: &[Wish] = &[
    Wish { keys: &["ws_host_override"], separators: WARPSTREAM, take: take_host },
    Wish {
        keys: &["ws_pt", "ws_proxy_target", "warpstream_proxy_target"],
        separators: WARPSTREAM,
        take: |hints, value| hints.role = hints.role.or(Some(value)),
    },
    Wish {
        keys: &["ws_pas", "warpstream_partition_assignment_strategy"],
        separators: WARPSTREAM,
        take: |hints, value| hints.strategy = hints.strategy.or_else(|| strategy(value)),
    },
    Wish { keys: &["host_override"], separators: BUFSTREAM, take: take_host },
    Wish {
        keys: &["broker_count"],
        separators: BUFSTREAM,
        take: |hints, value| hints.broker_count = hints.broker_count.or_else(|| count(value)),
    },
];

impl<'a> Hints<'a> {
    /// The wishes in `client_id`.
    pub fn of(client_id: Option<&'a str>) -> Self {
        let mut hints = Self::default();
        let Some(id) = client_id.filter(|id| id.contains('=')) else { return hints };
        for separators in [WARPSTREAM, BUFSTREAM] {
            for token in id.split(separators) {
                let Some((key, value)) = token.split_once('=') else { continue };
                let (key, value) = (key.trim(), value.trim());
                if value.is_empty() {
                    continue;
                }
                let wish = WISHES.iter().find(|wish| {
                    wish.separators == separators
                        && wish.keys.iter().any(|have| key.eq_ignore_ascii_case(have))
                });
                if let Some(wish) = wish {
                    (wish.take)(&mut hints, value);
                }
            }
        }
        hints
    }
}

fn take_host<'a>(hints: &mut Hints<'a>, value: &'a str) {
    // No host has a '|', but MirrorMaker appends one.
    let value = value.split('|').next().unwrap_or(value);
    hints.host = hints.host.or_else(|| is_host(value).then_some(value));
}

/// Whether clients can be told this host: an IP address that can be connected to, or a name of labels.
fn is_host(text: &str) -> bool {
    if let Ok(address) = text.parse::<IpAddr>() {
        return !address.is_unspecified() && !address.is_multicast();
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    // A name that ends in a number is a mistyped address.
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

/// A number from 1, with nothing after it but what frameworks append.
fn count(value: &str) -> Option<usize> {
    let end = value.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let (digits, rest) = value.split_at_checked(end)?;
    let appended = rest.is_empty() || rest.starts_with(['-', '|', ' ', '.']);
    // What is beyond every count is as good as none.
    let count = digits.parse::<u32>().ok().filter(|count| *count > 0 && appended)?;
    usize::try_from(count).ok()
}

fn strategy(value: &str) -> Option<Strategy> {
    let name = value.split(['-', '|', ' ']).next().unwrap_or(value);
    let is = |have: &str| name.eq_ignore_ascii_case(have);
    if is("consistent_random_jump") {
        return Some(Strategy::Consistent); // the nearest of ours
    }
    Strategy::ALL.into_iter().find(|strategy| is(strategy.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Hints<'_> {
        Hints::of(Some(id))
    }

    #[test]
    fn real_ids_say_what_they_mean() {
        let none = Hints::default();
        let host = |host| Hints { host: Some(host), ..none };
        let count = |count| Hints { broker_count: Some(count), ..none };
        let role = |role| Hints { role: Some(role), ..none };
        let strategy = |strategy| Hints { strategy: Some(strategy), ..none };
        let table: &[(&str, Hints<'_>)] = &[
            // Plain defaults of librdkafka, Java, Streams, Connect, MirrorMaker 2 and Spring.
            ("rdkafka", none),
            ("producer-1", none),
            ("consumer-orders-1", none),
            ("orders-9a1c6f0e-7f43-4f0e-8f6e-1f2f3a4b5c6d-StreamThread-1-consumer", none),
            ("connector-producer-jdbc-source-0", none),
            ("src->dst|MirrorSourceConnector-0|source-consumer", none),
            ("listener-0-consumer-spring", none),
            // What WarpStream's and Bufstream's documents and users write.
            ("dev,ws_host_override=localhost", host("localhost")),
            ("ws_host_override=lb.example.com,rdkafka", host("lb.example.com")),
            ("ws_host_override=127.0.0.1|src->dst|MirrorSourceConnector-0|c", host("127.0.0.1")),
            ("WS_HOST_OVERRIDE = ::1 , x", host("::1")),
            ("akhq;broker_count=1;host_override=bufstream", Hints { host: Some("bufstream"), ..count(1) }),
            (
                "my-client-id;host_override=local.dev;broker_count=1",
                Hints { host: Some("local.dev"), ..count(1) },
            ),
            ("broker_count=3,zone=us-west-2b", count(3)),
            ("zone=us-west-2b;broker_count=2-StreamThread-4-restore-consumer", count(2)),
            ("broker_count=2|src->dst|MirrorHeartbeatConnector|p", count(2)),
            ("ws_az=use1-az2,ws_proxy_target=proxy-produce,my-pod-1", role("proxy-produce")),
            ("ws_pt=proxy-consume,x", role("proxy-consume")),
            (
                "warpstream_proxy_target=proxy-consume-StreamThread-1-consumer",
                role("proxy-consume-StreamThread-1-consumer"),
            ),
            (
                "ws_pas=equal_spread,ws_pt=proxy-produce",
                Hints { role: Some("proxy-produce"), ..strategy(Strategy::EqualSpread) },
            ),
            (
                "warpstream_partition_assignment_strategy=consistent_random_jump",
                strategy(Strategy::Consistent),
            ),
            ("ws_pas=single_agent-StreamThread-1-producer", strategy(Strategy::SingleAgent)),
            ("ws_pas=consistent-0", strategy(Strategy::Consistent)),
            // The first that can be read counts.
            ("ws_host_override=-,ws_host_override=a,ws_host_override=b", host("a")),
            ("host_override=b;x,ws_host_override=a", host("a")),
            ("broker_count=0,broker_count=4,broker_count=5", count(4)),
            // Other dialects' separators and what can't be read.
            ("x;ws_pt=proxy-produce", none),
            ("automq_az=a&broker_count=1", none),
            ("ws_host_override=not a host", none),
            ("ws_host_override=1.2.3", none),
            ("ws_host_override=0.0.0.0,host_override=224.0.0.1", none),
            ("ws_host_override=a..b,host_override=.", none),
            ("broker_count=-1;broker_count=1x;broker_count=99999999999999999999", none),
            ("ws_pas=best,ws_pt=,ws_pt", none),
        ];
        for (id, expected) in table {
            assert_eq!(of(id), *expected, "{id}");
        }
        assert_eq!(Hints::of(None), none);
    }

    #[test]
    fn junk_of_any_length_is_passed_over() {
        for long in ["=,", "ws_pt==,", "é=;", "broker_count=9", "ws_host_override=a.", ";,=|"] {
            of(&long.repeat(32 * 1024 / long.len()));
        }
        let host = format!("ws_host_override={}", "a".repeat(32 * 1024));
        assert_eq!(of(&host).host, None, "no label is that long");
        let mut random = fastrand::Rng::with_seed(11);
        let pieces = [
            "ws_pt",
            "ws_pas",
            "broker_count",
            "host_override",
            "=",
            ",",
            ";",
            "-",
            "|",
            "7",
            "\u{1F980}",
            " ",
        ];
        for _ in 0..20_000 {
            let id: String = (0..random.usize(..12)).map(|_| pieces[random.usize(..pieces.len())]).collect();
            let hints = of(&id);
            assert!(hints.broker_count != Some(0) && hints.host.is_none_or(is_host), "{id}");
        }
    }
}
