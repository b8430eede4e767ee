//! SASL through the gateway: every mechanism of the broker, re-authentication in mid-connection (KIP-368), and what is
//! refused. The broker decides; what passed is counted between gateway and broker.

use crate::gateway::Gate;
use crate::support::{
    Broker, BrokerOptions, DEADLINE, Meter, SASL_PASSWORD, SASL_USER, alone, client, free_address, http_get,
    redis, wait_for,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// For so long the broker believes a login.
const SESSION_MS: &str = "3000";

/// A gateway before a broker's SASL listener, with a meter between the two.
struct Bed {
    meter: Meter,
    gate: Gate,
    broker: Broker,
    _redis: crate::support::Redis,
}

impl Bed {
    fn start(ip: &str) -> Self {
        let settings = vec![("connections.max.reauth.ms".to_owned(), SESSION_MS.to_owned())];
        let (redis, meter) = (redis(), Meter::start());
        let broker = Broker::with(BrokerOptions { settings, ..BrokerOptions::default() });
        let between: SocketAddr = free_address();
        meter.listen("upstream", between, Some(broker.sasl()));
        let gate = Gate::start(&redis, between, "vpc-1", "az-1", ip, "1s");
        wait_for("the gateway to be ready", DEADLINE, || gate.record(&redis).contains("ready"));
        wait_for("the gateway to know itself", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
        Self { meter, gate, broker, _redis: redis }
    }

    /// The most requests of an API on one connection of a client.
    fn most_on_one(&self, client_id: &str, api: i16) -> u64 {
        let met = self.meter.met();
        let of_it = met.iter().filter(|met| met.client_id == client_id);
        of_it.map(|met| met.requests.get(&api).copied().unwrap_or(0)).max().unwrap_or(0)
    }
}

#[test]
fn every_mechanism_passes_and_logins_are_renewed_on_the_same_connection() {
    let _alone = alone();
    let bed = Bed::start("127.0.36.1");
    let (plain, sasl) = (bed.broker.address().to_string(), bed.gate.kafka.to_string());
    let create = ["admin", "create-topic", "--partitions", "3", "--topic", "t", "--bootstrap", &plain];
    client("franz-go", &create).finish().ok();
    // Not kafkajs 2.2.4, which logs in before every request when less than ten seconds of a session are left, while
    // others are under way: without a gateway, too, the broker refuses that.
    let cases = [
        ("java", "scram"),
        ("java", "oauthbearer"),
        ("librdkafka", "scram"),
        ("librdkafka", "oauthbearer"),
        ("franz-go", "plain"),
        ("franz-go", "scram"),
        ("franz-go", "oauthbearer"),
    ];
    let ids = cases.map(|(name, mechanism)| format!("{name}-{mechanism}"));
    let running = cases.iter().zip(&ids).map(|((name, mechanism), id)| {
        // Longer than two sessions.
        let work = ["produce", "--topic", "t", "--count", "400", "--rate", "50", "--bootstrap", &sasl];
        let who = ["--client-id", id, "--sasl", mechanism, "--user", SASL_USER, "--password", SASL_PASSWORD];
        client(name, &[&work[..], &who[..]].concat())
    });
    for (running, id) in running.collect::<Vec<_>>().into_iter().zip(&ids) {
        let said = running.finish().ok();
        assert_eq!(said.acked().len(), 400, "{id}");
        let (logins, steps) = (bed.most_on_one(id, SASL_HANDSHAKE), bed.most_on_one(id, SASL_AUTHENTICATE));
        println!("{id}: at most {logins} handshakes and {steps} steps on one connection");
        assert!(logins >= 2 && steps >= logins, "{id}: {logins} logins in {steps} steps on one connection");
    }
    let consume = ["consume", "--topic", "t", "--group", "g", "--count", "2800", "--bootstrap", &plain];
    client("franz-go", &consume).finish().ok();
}

#[test]
fn what_the_broker_refuses_is_refused_and_handshakes_without_frames_never_reach_it() {
    let _alone = alone();
    let bed = Bed::start("127.0.36.2");
    let sasl = bed.gate.kafka.to_string();
    for (name, mechanism) in [("franz-go", "scram"), ("librdkafka", "scram"), ("java", "plain")] {
        let work = ["produce", "--topic", "t", "--count", "1", "--timeout", "5", "--bootstrap", &sasl];
        let who = ["--sasl", mechanism, "--user", SASL_USER, "--password", "wrong"];
        let said = client(name, &[&work[..], &who[..]].concat()).finish();
        assert!(said.code == 1 && !said.errors().is_empty() && said.acked().is_empty(), "{name}: {said:?}");
    }
    // Version 0 is followed by tokens without frames: length, API 17, version 0, correlation 1, client id, mechanism.
    let request = b"\0\0\0\x15\0\x11\0\0\0\0\0\x01\0\x04v0id\0\x05PLAIN";
    let mut stream = TcpStream::connect(bed.gate.kafka).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "no reply, the connection ends");
    let met = bed.meter.met();
    assert!(met.iter().all(|met| met.client_id != "v0id"), "{met:?}");
}
