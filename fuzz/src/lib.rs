//! What the fuzz targets share: one small fleet of two groups, and what answers from it.
//!
//! Nothing here starts a thread or opens a socket; the only files that it reads are the zone file of the examples and,
//! once, DNSSEC keys that it has just made.

use fingerpost::clock::Clock;
use fingerpost::dns::cookies::{Cookies, Secret};
use fingerpost::dns::dnssec::times::Times;
use fingerpost::dns::dnssec::{Algorithm, Key, SignedZone, Signer, files};
use fingerpost::dns::limiter::{Limiter, Rate};
use fingerpost::dns::names::Name;
use fingerpost::dns::tsig::{self, Keys};
use fingerpost::dns::{Policy, Responder, Rules, ZoneSettings, Zones};
use fingerpost::kafka::{Service, Topics, placement, static_catalog};
use fingerpost::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Label, Lease, Moment, Record, Source, State,
    Zone,
};
use fingerpost::telemetry::Telemetry;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The moment of every question.
pub const NOW: Moment = Moment::from_millis(1_000);
/// How the addresses of the other group's agents begin, as text: no Kafka client of `vpc-1` may be told one.
pub const OTHERS: &[u8] = b"10.66.77.";
/// The TSIG key of the tests.
pub const TSIG_KEY: &str = "fp-xfer";
/// Its secret.
const TSIG_SECRET: &str = "c2l4dGVlbiBieXRlcyBhdCBsZWFzdCwgb3IgbW9yZSE=";

/// Group `vpc-1` with agents of every state, and `vpc-2` beside it.
pub fn fleet() -> Fleet {
    let source = Source::new("fuzz", 0);
    let mut edit = Fleet::default().edit();
    edit.set_synced();
    for (version, name, network, agents) in [(1, "vpc-1", [10, 0, 1], 7), (2, "vpc-2", [10, 66, 77], 2)] {
        let (cluster, name) = (cluster(), GroupName::parse(name).unwrap());
        let agent = |number: u8| {
            let [a, b, c] = network;
            let mut record = Record {
                zone: Some(Zone::parse(["z-a", "z-b"][usize::from(number % 2)]).unwrap()),
                addresses: vec![
                    IpAddr::from([a, b, c, number]),
                    Ipv6Addr::new(0x2001, 0xdb8, c.into(), 0, 0, 0, 0, number.into()).into(),
                ],
                weight: 100,
                state: if number == 5 { State::Draining } else { State::Ready },
                ..Record::default()
            };
            record.ports.insert(Label::parse("kafka").unwrap(), 9092);
            let agent = AgentId::parse(&format!("agent-{number}")).unwrap();
            let key = AgentKey { cluster: cluster.clone(), group: name.clone(), agent };
            let until = if number == 6 { 999 } else { 60_000 };
            let lease = Lease::new(Moment::from_millis(until), Arc::clone(&source));
            Arc::new(Agent { key, record: Arc::new(record), lease })
        };
        let agents = (0..agents).map(agent).collect();
        edit.put_group(Arc::new(Group::build(cluster.clone(), name.clone(), version, agents, Vec::new())));
    }
    edit.finish()
}

fn cluster() -> Cluster {
    Cluster::parse("prod").unwrap()
}

/// What answers the Kafka clients of `vpc-1`.
pub fn service() -> Service {
    let topics = static_catalog(&cluster(), [("orders", 3), ("payments", 1)]).unwrap();
    let metrics = Telemetry::new().unwrap().kafka;
    let group = GroupName::parse("vpc-1").unwrap();
    Service::new(cluster(), group, Topics::Static(Arc::new(topics)), placement(), metrics)
}

/// DNS responders: one as it is without configuration, and one with all that can be switched on.
pub fn responders() -> [Responder; 2] {
    let plain = Responder::new(zones(), Rules::default());
    let mut rules = Rules { cluster_wide: [cluster()].into(), ..Rules::default() };
    rules.client_zones.networks = "z-a@192.0.2.0/24<>z-b@2001:db8::/32".parse().unwrap();
    let secret = Secret::parse("000102030405060708090a0b0c0d0e0f").unwrap();
    let policy = Policy {
        server_id: Some("fuzz".to_owned()),
        server_version: Some("fingerpost".to_owned()),
        cookies: Some(Cookies::new(vec![secret], false)),
        limiter: Some(Limiter::new(Rate { per_second: 1_000, slip: 2, dry_run: false }, 1)),
        subnets: true,
        ..Policy::default()
    };
    let full =
        Responder::new(zones(), rules).with_policy(policy).with_keys(keys()).with_signer(Some(signer()));
    [plain, full]
}

/// The keys that queries may be signed with.
pub fn keys() -> Keys {
    let key = |name, algorithm| tsig::Key::new(name, algorithm, TSIG_SECRET).unwrap();
    Keys::new(vec![key(TSIG_KEY, tsig::Algorithm::Sha256), key("long.example", tsig::Algorithm::Sha512)])
        .unwrap()
}

fn zones() -> Zones {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zones/kafka.example.zone");
    let addresses = vec![IpAddr::from([127, 0, 0, 1])];
    let settings = [
        ZoneSettings { file: Some(file), ..ZoneSettings::new("kafka.example") },
        ZoneSettings { addresses, ..ZoneSettings::new("k.test") },
        ZoneSettings::new("1.0.10.in-addr.arpa"),
    ];
    Zones::load(&settings, &[cluster()]).unwrap()
}

/// Signs `k.test` with a key made now.
fn signer() -> Arc<Signer> {
    let folder = std::env::temp_dir().join(format!("fingerpost-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let apex = Name::parse("k.test").unwrap();
    let times = Times { publish: Some(1), activate: Some(1), ..Times::default() };
    let (key, secret) = Key::generate(apex, Algorithm::Ed25519, 257, times).unwrap();
    files::save(&folder, &key, &secret, 3_600).unwrap();
    let (validity, dnskey_ttl) = (Duration::from_secs(86_400), 3_600);
    let zone = SignedZone { apex: "k.test".to_owned(), folder: folder.clone(), validity, dnskey_ttl };
    let signer = Signer::open(&[zone], Clock::machine()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    Arc::new(signer)
}

/// Cuts bytes into parts whose sizes `seed` decides, 1 to 64 bytes each.
pub fn cut(seed: u8, left: usize) -> usize {
    let size = [1, 2, 3, 5, 8, 17, 31, 64][usize::from(seed % 8)];
    size.min(left)
}
