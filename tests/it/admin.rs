//! The admin HTTP interface over a real socket, through the built program.

use crate::support::{DEADLINE, fingerpost, fingerpost_run, wait_some};
use std::time::Duration;

#[test]
fn agents_shows_the_demo_and_ctrl_c_ends_it() {
    let mut demo =
        fingerpost(&["demo", "--dns", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let server = format!("http://{}", demo.admin());
    let table = wait_some("twelve agents in the table", DEADLINE, || {
        let ran = fingerpost_run(&["agents", "--server", &server]);
        (ran.code() == 0 && ran.stdout.matches(" ready ").count() == 12).then_some(ran.stdout)
    });
    assert!(table.starts_with("CLUSTER  GROUP  ZONE"), "{table}");
    let one = fingerpost_run(&["agents", "--server", &server, "--json", "--group", "vpc-2"]).ok();
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    let groups = one["clusters"][0]["groups"].as_array().unwrap();
    assert_eq!((groups.len(), groups[0]["name"].as_str()), (1, Some("vpc-2")));
    let none = fingerpost_run(&["agents", "--server", &server, "--cluster", "nobody"]).ok();
    assert!(none.starts_with("No agents."), "{none}");
    assert_eq!(demo.interrupt(Duration::from_secs(3)), 0);
}
