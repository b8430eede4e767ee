//! What is printed once a server is up: every bound address, and lines to paste.
//!
//! A line that begins with `dns`, `kafka` or `admin` and an address is for scripts, too: they keep that form.

use crate::server::demo::{Demo, TOPICS};
use crate::server::{Addresses, DemoOptions};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What `serve` prints.
pub(super) fn serving(addresses: &Addresses) -> String {
    let mut text = String::new();
    for address in &addresses.dns {
        let _ = writeln!(text, "dns    {address}  udp, tcp");
    }
    for address in &addresses.dns_tls {
        let _ = writeln!(text, "dns-tls    {address}");
    }
    for address in &addresses.dns_https {
        let _ = writeln!(text, "dns-https  {address}");
    }
    for kafka in &addresses.kafka {
        let _ = writeln!(text, "kafka  {}  {}/{}", kafka.address, kafka.cluster, kafka.clients);
    }
    let _ = writeln!(text, "admin  http://{}", addresses.admin);
    text
}

/// What the demo prints: the same, and what to try.
pub(super) fn demo(demo: &Demo, options: &DemoOptions) -> String {
    let addresses = demo.addresses();
    let mut text = format!(
        "fingerpost DEMO: an embedded registry and {} simulated agents; all on loopback, nothing is kept\n\n",
        demo.agents()
    );
    text.push_str(&serving(addresses));
    if demo.displaced > 0 {
        let _ = writeln!(
            text,
            "\n{} agents listen on 127.0.0.1 with ports of their own: this machine has no 127.0.11.x addresses, or \
             their port is taken",
            demo.displaced
        );
    }
    if options.churn {
        text.push_str("\nagents come, drain and die: watch them in the log, by dig or in the admin API\n");
    }
    text.push_str("\ntry:\n");
    let apex = &options.apex;
    if let Some(dns) = addresses.dns.first() {
        let dig = format!("dig @{} -p {} +norecurse", dns.ip(), dns.port());
        let _ = writeln!(text, "  {dig} vpc-1.demo.{apex} A");
        let _ = writeln!(text, "  {dig} az-us-east-1a.vpc-2.demo.{apex} A");
        let _ = writeln!(text, "  {dig} _kafka._tcp.vpc-1.demo.{apex} SRV");
        let _ = writeln!(text, "  {dig} vpc-1.demo.{apex} TXT");
    }
    for kafka in &addresses.kafka {
        let topic = TOPICS.first().map_or("", |(name, _)| name);
        let _ = writeln!(text, "  kcat -b {} -X client.id=ws_az=us-east-1b,me -L -t {topic}", kafka.address);
    }
    let _ = writeln!(text, "  {}", agents_command(addresses.admin));
    let _ = writeln!(text, "  curl http://{}/v1/clusters", addresses.admin);
    text.push_str("\nCtrl-C ends it.\n");
    text
}

fn agents_command(admin: SocketAddr) -> String {
    // As it was called: after `cargo run` it is not on the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "fingerpost".to_owned());
    format!("{program} agents --server http://{admin}")
}
