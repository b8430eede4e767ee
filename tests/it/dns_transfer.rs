//! Zones copied by others: what dig is given with and without a key, NSD, Knot and BIND as secondaries that follow the
//! fleet, and the serial that replicas agree on.

mod rig;
mod secondaries;
mod serials;

use crate::support::{DEADLINE, Rr, dig, kdig, redis, run, tool, wait_for};
use rig::{APEX, KEY, OTHER_SECRET, Replica, SECRET, asked, heartbeat, leave, transferred};

/// A key as dig takes it.
fn signed(name: &str, secret: &str) -> String {
    format!("hmac-sha256:{name}:{secret}")
}

#[test]
fn only_who_shows_the_key_gets_a_zone_and_nobody_else_a_single_record() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    let server = replica.dns();
    replica.wait_for_serial();

    let all = transferred(server, "AXFR");
    let has = |name: &str, kind: &str, data: &str| {
        assert!(
            all.iter().any(|rr| rr.name == format!("{name}.{APEX}.") && rr.kind == kind && rr.data == data),
            "{name} {kind} {data} is missing in {all:#?}"
        );
    };
    has("vpc-1.prod", "A", "127.0.11.1");
    has("az-us-east-1a.vpc-1.prod", "A", "127.0.11.1");
    has("a.vpc-1.prod", "A", "127.0.11.1");
    has("_kafka._tcp.vpc-1.prod", "SRV", &format!("0 100 9092 a.vpc-1.prod.{APEX}."));
    has("prod", "TXT", "\"cluster=prod\"");
    assert_eq!(
        all.first().map(|rr| &rr.kind),
        all.last().map(|rr| &rr.kind),
        "it begins and ends with the SOA"
    );

    for (what, key, status) in [
        ("no key", None, "REFUSED"),
        ("an unknown key", Some(signed("stranger", SECRET)), "NOTAUTH"),
        ("a wrong secret", Some(signed(KEY, OTHER_SECRET)), "NOTAUTH"),
        ("another algorithm", Some(format!("hmac-sha512:{KEY}:{SECRET}")), "NOTAUTH"),
        ("a key without rights", Some(signed("reader", SECRET)), "REFUSED"),
    ] {
        for kind in ["AXFR", "IXFR=1"] {
            let (records, text) = asked(server, kind, key.as_deref());
            assert!(records.is_empty(), "{what}: {text}");
            assert!(text.contains("Transfer failed"), "{what}: {text}");
            let mut ask = vec![APEX, kind, "+tcp"];
            ask.extend(key.iter().flat_map(|key| ["-y", key.as_str()]));
            let said = kdig(server, &ask).text;
            assert!(
                said.contains(status) || said.contains("BADKEY") || said.contains("BADSIG"),
                "{what}: {said}"
            );
        }
    }
    let metrics = replica.metrics();
    for error in ["badkey", "badsig"] {
        let line = format!("fingerpost_dns_tsig_refused_total{{error=\"{error}\"}} ");
        assert!(
            metrics.lines().any(|one| one.starts_with(&line) && !one.ends_with(" 0")),
            "{line}\n{metrics}"
        );
    }
}

#[test]
fn a_signed_query_is_answered_signed_over_both_transports() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    let server = replica.dns();
    replica.wait_for_serial();
    let name = format!("vpc-1.prod.{APEX}");
    for transport in ["+notcp", "+tcp"] {
        // dig verifies the answer's signature and complains if it does not hold.
        let key = signed(KEY, SECRET);
        let said = dig(server, &[&name, "A", transport, "-y", &key]);
        assert_eq!(said.data("A"), ["127.0.11.1"], "{}", said.text);
        assert!(said.text.contains("TSIG PSEUDOSECTION") && !said.text.contains("verify"), "{}", said.text);
        let soa = dig(server, &[APEX, "IXFR=0", "+notcp", "-y", &key]);
        assert!(soa.answer.iter().all(|rr| rr.kind == "SOA"), "IXFR over UDP is the SOA: {}", soa.text);
        for (key, error) in [(signed(KEY, OTHER_SECRET), "BADSIG"), (signed("stranger", SECRET), "BADKEY")] {
            let said = dig(server, &[&name, "A", transport, "-y", &key]);
            assert_eq!((said.status.as_str(), said.answer.len()), ("NOTAUTH", 0), "{}", said.text);
            assert!(said.text.contains(error), "{error}: {}", said.text);
        }
        let tsig = format!("hmac-sha256:{KEY}:{SECRET}");
        let said = kdig(server, &[&name, "A", transport, "-y", &tsig]);
        assert_eq!(said.data("A"), ["127.0.11.1"], "{}", said.text);
    }
}

#[test]
fn ixfr_tells_what_changed_and_falls_back_to_the_whole_zone() {
    let redis = redis();
    // Enough of them that what one changes is less than the whole.
    for n in 1..=60 {
        heartbeat(&redis, "vpc-1", &format!("agent-{n}"), &format!("127.0.11.{n}"));
    }
    let mut replica = Replica::start(&redis, &[]);
    let first = replica.wait_for_serial();
    heartbeat(&redis, "vpc-2", "b", "127.0.12.1");
    let second = replica.wait_for_serial_after(first);
    leave(&redis, "vpc-2", "b");
    let third = replica.wait_for_serial_after(second);
    let server = replica.dns();
    let ask = |serial: u32| {
        let answer = transferred(server, &format!("IXFR={serial}"));
        answer.iter().map(|rr| (rr.kind.clone(), rr.name.clone(), rr.data.clone())).collect::<Vec<_>>()
    };
    let soas = |answer: &[(String, String, String)]| {
        let data = answer.iter().filter(|(kind, ..)| kind == "SOA").map(|(_, _, data)| data);
        data.map(|data| data.split(' ').nth(2).unwrap().parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(soas(&ask(third)), [third], "no news");
    let one = ask(second);
    assert_eq!(soas(&one), [third, second, third, third]);
    let removed = one.iter().filter(|(kind, ..)| kind != "SOA").count();
    // A of the group, the zone and the agent, and SRV; vpc-2's az- name goes with its last agent nowhere: vpc-1 keeps the zone.
    assert!((3..12).contains(&removed), "{one:#?}");
    assert_eq!(soas(&ask(first)), [third, first, second, second, third, third], "two steps");
    let whole = ask(first.wrapping_sub(1));
    assert_eq!(soas(&whole), [third, third], "what is not known any more is sent in full");
    assert!(whole.len() > 100);
    let metrics = replica.metrics();
    for kind in ["ixfr", "ixfr_current", "ixfr_whole"] {
        let line = format!("fingerpost_dns_transfers_total{{kind=\"{kind}\",result=\"done\"}}");
        assert!(metrics.contains(&line), "{line} is missing in {metrics}");
    }
}

#[test]
fn thousands_of_agents_go_out_in_many_messages_and_are_a_valid_zone() {
    let redis = redis();
    let agents = 3_000;
    rig::heartbeats(&redis, "vpc-1", agents);
    let mut replica = Replica::start(&redis, &[]);
    replica.wait_for_serial();
    let (server, key) = (replica.dns(), signed(KEY, SECRET));
    wait_for("all of them", DEADLINE, || {
        let all = transferred(server, "AXFR");
        let own = |rr: &&Rr| rr.kind == "A" && rr.name.starts_with("agent-");
        all.iter().filter(own).count() == agents
    });
    let mut command = tool("dig");
    let port = server.port().to_string();
    command.args(["@127.0.0.1", "-p", &port, "-y", &key, APEX, "AXFR", "+tcp"]);
    let text = run("dig", &mut command).ok();
    // ";; XFR size: 9014 records (messages 14, bytes 218318)"
    let messages =
        text.split("(messages ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
    assert!(messages.is_some_and(|count| count > 5), "{:?}", text.lines().last());
    let of_group = text
        .lines()
        .filter(|line| line.starts_with(&format!("vpc-1.prod.{APEX}.")) && line.contains("\tA\t"));
    assert_eq!(of_group.count(), 1_000, "a group's own name has as many as one answer can hold");
    // The closing SOA is the transfer's, not the zone's.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(';') && !line.contains("\tTSIG\t"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    std::fs::write(&file, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let mut check = tool("named-checkzone");
    check.args(["-i", "full", APEX]).arg(&file);
    let said = run("named-checkzone", &mut check);
    assert!(said.status.success() && said.stdout.contains("OK"), "{}{}", said.stdout, said.stderr);
}

#[test]
fn a_reload_changes_the_zone_and_who_may_copy_it() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    let first = replica.wait_for_serial();
    replica.reconfigure(|text| format!("{text}[[cluster]]\nname = \"later\"\n"));
    replica.wait_for_record("later", "TXT", Some("\"cluster=later\""));
    let second = replica.wait_for_serial_after(first);
    let steps = transferred(replica.dns(), &format!("IXFR={first}"));
    assert!(
        steps.iter().filter(|rr| rr.kind != "SOA").all(|rr| rr.kind == "TXT"),
        "the journal is kept: {steps:#?}"
    );
    replica.reconfigure(|text| {
        text.replace("zones = [\"kafka.example\"]", "zones = []\nnetworks = [\"192.0.2.1\"]")
            .replace("networks = [\"127.0.0.1\"]\n", "")
    });
    let server = replica.dns();
    wait_for("the right to end", DEADLINE, || {
        let (records, text) = asked(server, "AXFR", Some(&signed(KEY, SECRET)));
        assert!(records.is_empty() || records.len() > 3, "all or nothing: {text}");
        records.is_empty()
    });
    assert_eq!(rig::serial(server), Some(second), "the serial stays");
}
