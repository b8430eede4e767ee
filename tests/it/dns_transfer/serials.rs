//! The serial that replicas agree on: the same for the same content, growing, over restarts and losses.

use super::rig::{APEX, Replica, heartbeat, leave, serial, transferred};
use crate::support::{DEADLINE, dig, redis, wait_for};
use std::time::{Duration, Instant};

/// A zone as two replicas must show it alike: without the order and with the serial.
fn content(replica: &mut Replica) -> (Option<u32>, Vec<String>) {
    let server = replica.dns();
    let all = transferred(server, "AXFR");
    let own = all.iter().filter(|rr| rr.kind != "SOA" && rr.kind != "NS");
    let mut lines: Vec<String> = own
        .filter(|rr| !rr.name.starts_with("ns1."))
        .map(|rr| format!("{} {} {}", rr.name, rr.kind, rr.data))
        .collect();
    lines.sort();
    let serial = all.first().and_then(|soa| soa.data.split(' ').nth(2)?.parse().ok());
    (serial, lines)
}

#[test]
fn replicas_show_one_serial_for_one_content_and_it_only_grows() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replicas = [Replica::start(&redis, &[]), Replica::start(&redis, &[])];
    let mut last: Option<u32> = None;
    for round in 0..4u8 {
        match round {
            0 => {}
            1 => heartbeat(&redis, "vpc-1", "b", "127.0.11.2"),
            2 => leave(&redis, "vpc-1", "b"),
            _ => heartbeat(&redis, "vpc-2", "c", "127.0.12.1"),
        }
        wait_for("both to have the same new serial", DEADLINE, || {
            let [one, other] = replicas.each_mut().map(|replica| serial(replica.dns()));
            for serial in [one, other].into_iter().flatten() {
                assert!(
                    last.is_none_or(|last| serial.wrapping_sub(last) < 1 << 31),
                    "{serial} is before {last:?}"
                );
            }
            one.is_some() && one == other && one != last
        });
        let [one, other] = replicas.each_mut().map(content);
        assert_eq!(one, other);
        assert_eq!(u64::from(one.0.unwrap()), replicas[0].serial_of_metrics());
        last = one.0;
    }
    // Renewals of leases are no news.
    let before = replicas[0].metric("fingerpost_registry_reads_total ");
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    heartbeat(&redis, "vpc-2", "c", "127.0.12.1");
    wait_for("the renewals to be read", DEADLINE, || {
        replicas[0].metric("fingerpost_registry_reads_total ") >= before + 2
    });
    let started = Instant::now();
    wait_for("more than a look at the registry", DEADLINE, || {
        assert_eq!(serial(replicas[0].dns()), last);
        started.elapsed() > Duration::from_millis(2_500)
    });
    // The SOA of a negative answer is the same one.
    let negative = dig(replicas[1].dns(), &[&format!("nobody.{APEX}"), "A"]).clean();
    let soa = negative.authority.iter().find(|rr| rr.kind == "SOA").unwrap();
    assert_eq!(soa.data.split(' ').nth(2).unwrap().parse().ok(), last);
}

#[test]
fn a_restart_goes_on_from_the_same_serial_and_a_lost_registry_moves_nothing() {
    let mut redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    replica.wait_for_record("a.vpc-1.prod", "A", Some("127.0.11.1"));
    let first = replica.wait_for_serial();
    replica.stop();
    let mut replica = Replica::start(&redis, &[]);
    assert_eq!(replica.wait_for_serial(), first, "nothing changed");

    redis.kill();
    wait_for("the loss to be noticed", DEADLINE, || replica.metric("fingerpost_registry_connected ") == 0);
    assert_eq!(serial(replica.dns()), Some(first));
    replica.wait_for_record("a.vpc-1.prod", "A", Some("127.0.11.1"));

    // It comes back empty: the serial that it kept is lost, and the replica goes on from what it showed.
    redis.restart();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    heartbeat(&redis, "vpc-1", "b", "127.0.11.2");
    replica.wait_for_serial_after(first);
    replica.wait_for_record("b.vpc-1.prod", "A", Some("127.0.11.2"));
    // The two agents may have come in one step or in two: what is shown in the end is what the registry keeps.
    let key = format!("fingerpost:zone:{{{APEX}}}");
    wait_for("the registry to keep the serial that is shown", DEADLINE, || {
        serial(replica.dns()).map(|shown| shown.to_string()) == Some(redis.cli(&["HGET", &key, "serial"]))
    });
    let second = replica.wait_for_serial_after(first);

    // Everything is lost, the replica included: what begins anew is later than what was.
    replica.stop();
    redis.restart();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    let third = replica.wait_for_serial();
    assert!(third != second && third.wrapping_sub(second) < 1 << 31, "{third} after {second}");
}

/// The rights of docs/registry.md, as they stand there, are enough.
#[test]
fn the_serial_needs_no_more_rights_than_the_documentation_says() {
    let redis = redis();
    let docs = std::fs::read_to_string(crate::support::root().join("docs/registry.md")).unwrap();
    let line = |start: &str| docs.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
    let words = format!("{} {}", line("ACL SETUSER fingerpost "), line("+watch "));
    assert_eq!(redis.cli(&words.split(' ').collect::<Vec<_>>()), "OK");
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let url = redis.url().replace("redis://", "redis://fingerpost:follow-me@");
    let mut replica = Replica::on(&url, &[], "");
    let first = replica.wait_for_serial();
    heartbeat(&redis, "vpc-1", "b", "127.0.11.2");
    replica.wait_for_serial_after(first);
    assert_eq!(replica.metric("fingerpost_dns_serial_errors_total "), 0);
}

#[test]
fn an_operator_can_raise_the_serial_and_replicas_go_on_from_there() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut replica = Replica::start(&redis, &[]);
    let first = replica.wait_for_serial();
    let raised = first.wrapping_add(1_000_000);
    redis.cli(&["HSET", &format!("fingerpost:zone:{{{APEX}}}"), "serial", &raised.to_string()]);
    assert_eq!(replica.wait_for_serial_after(first), raised);
    heartbeat(&redis, "vpc-1", "b", "127.0.11.2");
    assert_eq!(replica.wait_for_serial_after(raised), raised + 1);
}

#[test]
fn replicas_that_see_different_zones_slow_down_and_never_share_a_serial() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let mut one = Replica::start(&redis, &[]);
    let mut other = Replica::with(&redis, &[], "[[cluster]]\nname = \"only-here\"\n");
    let (at_one, at_other) = (one.dns(), other.dns());
    wait_for("them to overrule each other", DEADLINE * 2, || {
        let (a, b) = (serial(at_one), serial(at_other));
        assert!(a.is_none() || a != b, "one serial for two contents: {a:?}");
        let disputes = |replica: &mut Replica| replica.metric("fingerpost_dns_serial_disputes_total ");
        disputes(&mut one) >= 1 && disputes(&mut other) >= 1
    });
}
