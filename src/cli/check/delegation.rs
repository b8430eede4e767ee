//! Whether the world finds our zones: what the parent zone says of each, whether every server that it names answers,
//! and whether all of them say the same. It asks as resolvers do, from where it runs.

use super::{Check, Outcome};
use crate::config::Config;
use crate::dns::dnssec::key::ds_of;
use crate::dns::names::Name;
use crate::dns::wire::ask::{AskError, Data, Over, Reply, Said, ask, text};
use crate::dns::wire::{Rcode, rtype};
use crate::limits::dns as limits;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The port of every name server that a delegation can name.
const PORT: u16 = 53;

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// A resolver, to find the parent's servers and those that have no glue.
    pub(super) resolver: Option<SocketAddr>,
    /// Servers of the parent zone, where the resolver is not to find them.
    pub(super) parents: Vec<SocketAddr>,
}

impl World {
    /// The first resolver of this machine, unless another one is given.
    pub(super) fn new(resolver: Option<SocketAddr>, parents: Vec<SocketAddr>) -> Self {
        let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Self { resolver: resolver.or_else(|| first_resolver(&file)), parents }
    }

    /// What the resolver says to a question.
    fn resolve(&self, name: &str, qtype: u16) -> Result<Reply, String> {
        let Some(resolver) = self.resolver else {
            return Err("no resolver is known: /etc/resolv.conf names none".to_owned());
        };
        let told = |error: AskError| format!("the resolver {resolver} was asked for {name}: {error}");
        match ask(resolver, name, qtype, true, Over::Udp).map_err(told)? {
            reply if reply.truncated => ask(resolver, name, qtype, true, Over::Tcp).map_err(told),
            reply => Ok(reply),
        }
    }

    /// Addresses of a host, by the resolver.
    fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        let mut found = BTreeSet::new();
        for qtype in [rtype::A, rtype::AAAA] {
            found.extend(addresses_in(&self.resolve(host, qtype)?.answers, None));
        }
        Ok(found)
    }

    /// The parent zone of `apex` and its servers: the nearest name above that has an SOA of its own.
    fn parent(&self, apex: &str) -> Result<(String, Vec<SocketAddr>), String> {
        let mut name = apex;
        while let Some((_, above)) = name.split_once('.') {
            name = above;
            let shown = if name.is_empty() { "." } else { name };
            let reply = self.resolve(shown, rtype::SOA)?;
            if !reply.answers.iter().any(|said| said.owner == text(name) && said.rtype == rtype::SOA) {
                continue;
            }
            let mut servers = Vec::new();
            for host in servers_in(&self.resolve(shown, rtype::NS)?.answers).iter().take(limits::ASK_SERVERS)
            {
                servers.extend(self.addresses(host)?.into_iter().map(|ip| SocketAddr::new(ip, PORT)));
            }
            servers.truncate(limits::ASK_SERVERS);
            return Ok((text(name), servers));
        }
        Err(format!("no name above {apex} is a zone"))
    }
}

/// Checks the delegation of every zone.
pub(super) fn checks(config: &Config, world: &World) -> Vec<Check> {
    config.dns.zones.iter().flat_map(|zone| of_zone(&text(&zone.apex), world)).collect()
}

/// What the parent says of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Referral {
    servers: BTreeSet<String>,
    glue: BTreeMap<String, BTreeSet<IpAddr>>,
    /// The DS records' data.
    signers: BTreeSet<Vec<u8>>,
}

fn of_zone(apex: &str, world: &World) -> Vec<Check> {
    let found = format!("the parent of {apex} can be asked");
    let parents = match world.parents[..] {
        [] => world.parent(apex),
        _ => Ok(("the parent zone".to_owned(), world.parents.clone())),
    };
    let (parent, addresses) = match parents {
        Ok(found) => found,
        Err(error) => {
            let hint = "name its servers with --parent ADDRESS, or a resolver with --resolver ADDRESS";
            return vec![Check::failed(found, error).hint(hint)];
        }
    };
    let mut checks = Vec::new();
    let mut referrals = Vec::new();
    for address in &addresses {
        match referral(*address, apex) {
            Ok(referral) => referrals.push((*address, referral)),
            Err(error) => checks.push(
                Check::failed(format!("{address} of {parent} delegates {apex}"), error)
                    .hint(what_to_add(apex)),
            ),
        }
    }
    let Some((first, delegation)) = referrals.first() else {
        if addresses.is_empty() {
            checks.push(Check::failed(found, format!("no server of {parent} has an address")));
        }
        checks.push(Check::skipped(format!("the servers of {apex} answer"), "it is not delegated"));
        return checks;
    };
    let description = format!("{parent} delegates {apex}, all its servers alike");
    checks.push(match referrals.iter().find(|(_, other)| other != delegation) {
        None => Check::passed(description),
        Some((other, _)) => Check::failed(description, format!("{first} and {other} say different things"))
            .hint("the parent's secondaries may be behind: look at its serials"),
    });
    checks.extend(of_servers(apex, delegation, world));
    checks
}

/// What a server of the parent says of the zone.
fn referral(parent: SocketAddr, apex: &str) -> Result<Referral, String> {
    let told = |error: AskError| error.to_string();
    let mut reply = ask(parent, apex, rtype::NS, false, Over::Udp).map_err(told)?;
    if reply.truncated {
        reply = ask(parent, apex, rtype::NS, false, Over::Tcp).map_err(told)?;
    }
    if reply.rcode == Rcode::NxDomain as u16 {
        return Err("it says that the name does not exist".to_owned());
    }
    let both = || reply.authority.iter().chain(&reply.answers).filter(|said| said.owner == apex);
    let servers: BTreeSet<String> = both().filter_map(server).collect();
    if servers.is_empty() {
        return Err(format!("it answers with response code {} and no NS record", reply.rcode));
    }
    let mut glue: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for said in &reply.additional {
        if let Data::Address(address) = said.data {
            glue.entry(said.owner.clone()).or_default().insert(address);
        }
    }
    // Asked for by itself: not every server puts DS beside the NS of a referral.
    let signers = ask(parent, apex, rtype::DS, false, Over::Udp).map_err(told)?.answers;
    let signers = signers.iter().filter(|said| said.rtype == rtype::DS).filter_map(bytes).collect();
    Ok(Referral { servers, glue, signers })
}

/// What one address of a server said of the zone.
struct Told {
    serial: u32,
    servers: BTreeSet<String>,
}

fn of_servers(apex: &str, delegation: &Referral, world: &World) -> Vec<Check> {
    let (mut checks, mut told) = (Vec::new(), Vec::new());
    for host in delegation.servers.iter().take(limits::ASK_SERVERS) {
        let addresses = match addresses_of(host, apex, delegation, world) {
            Ok(addresses) => addresses,
            Err(check) => {
                checks.push(*check);
                continue;
            }
        };
        for address in addresses.iter().take(limits::ASK_SERVERS) {
            let address = SocketAddr::new(*address, PORT);
            for over in [Over::Udp, Over::Tcp] {
                let shown = if over == Over::Udp { "UDP" } else { "TCP" };
                let description = format!("{host} at {address} answers for {apex} over {shown}");
                checks.push(match authority(address, apex, over) {
                    Ok(said) => {
                        told.push((address, said));
                        Check::passed(description)
                    }
                    Err(error) => Check::failed(description, error).hint(format!(
                        "is fingerpost serving there (dns.listen), and does every firewall let {shown} port {PORT} pass?"
                    )),
                });
            }
            if let Some(check) = glue_of(host, apex, delegation, address) {
                checks.push(check);
            }
        }
    }
    checks.extend(agreement(apex, delegation, &told));
    if let Some((server, _)) = told.first() {
        checks.push(chain(apex, &delegation.signers, *server));
    }
    checks
}

/// Where to find a server: by glue below the zone's own name, else by the resolver.
fn addresses_of(
    host: &str,
    apex: &str,
    delegation: &Referral,
    world: &World,
) -> Result<BTreeSet<IpAddr>, Box<Check>> {
    let description = format!("the name server {host} has addresses");
    if is_below(host, apex) {
        let glue = delegation.glue.get(host).cloned();
        return glue.ok_or_else(|| {
            let detail =
                format!("it lies below {apex}, and the parent gives no address with it: nobody can find it");
            Box::new(
                Check::failed(description, detail).hint(format!("add {host} A ADDRESS to the parent zone")),
            )
        });
    }
    match world.addresses(host) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Box::new(Check::failed(description, "it resolves to nothing"))),
        Err(error) => Err(Box::new(Check::skipped(description, &error))),
    }
}

/// SOA and NS as one server tells them, if it speaks for the zone.
fn authority(address: SocketAddr, apex: &str, over: Over) -> Result<Told, String> {
    let reply = ask(address, apex, rtype::SOA, false, over).map_err(|error| error.to_string())?;
    if reply.rcode != Rcode::NoError as u16 {
        return Err(format!("it answers with response code {}", reply.rcode));
    }
    if !reply.authoritative {
        return Err("it answers, and not with authority: another server, or one without this zone".to_owned());
    }
    let serial = reply.answers.iter().find_map(|said| match said.data {
        Data::Serial(serial) => Some(serial),
        _ => None,
    });
    let serial = serial.ok_or("it has no SOA of the zone")?;
    let servers = ask(address, apex, rtype::NS, false, over).map_err(|error| error.to_string())?;
    Ok(Told { serial, servers: servers_in(&servers.answers) })
}

/// Whether the parent's address of a server is one that the zone itself gives it.
fn glue_of(host: &str, apex: &str, delegation: &Referral, server: SocketAddr) -> Option<Check> {
    let glue = delegation.glue.get(host).filter(|_| is_below(host, apex))?;
    let asked = [rtype::A, rtype::AAAA].map(|qtype| ask(server, host, qtype, false, Over::Udp));
    let mut own = BTreeSet::new();
    for reply in asked {
        own.extend(addresses_in(&reply.ok()?.answers, Some(host)));
    }
    let description = format!("the addresses of {host} at the parent are those in {apex}");
    if own == *glue {
        return Some(Check::passed(description));
    }
    let list = |set: &BTreeSet<IpAddr>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let detail = format!("the parent has {}; {server} has {}", list(glue), list(&own));
    let hint = "change the glue at the parent, or ns_addresses or the zone file here";
    Some(Check { outcome: Outcome::Warning, ..Check::failed(description, detail) }.hint(hint))
}

/// Whether the servers agree with the parent, and with each other.
fn agreement(apex: &str, delegation: &Referral, told: &[(SocketAddr, Told)]) -> Vec<Check> {
    let names = format!("the name servers at the parent are those in {apex}");
    let serials = format!("all servers of {apex} have the same serial");
    let Some((first, said)) = told.first() else {
        let none = "no server of the zone answers";
        return vec![Check::skipped(names, none), Check::skipped(serials, none)];
    };
    let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    let other_names = told.iter().find(|(_, said)| said.servers != delegation.servers);
    let other_serial = told.iter().find(|(_, other)| other.serial != said.serial);
    vec![
        match other_names {
            None => Check::passed(names),
            Some((at, other)) => Check::failed(
                names,
                format!("the parent has {}; {at} has {}", list(&delegation.servers), list(&other.servers)),
            )
            .hint("make the parent's NS records and those here (dns.zone ns, or the zone file) the same"),
        },
        match other_serial {
            None => Check::passed(format!("{serials} ({})", said.serial)),
            Some((at, other)) => {
                let detail = format!("{first} has {}, {at} has {}", said.serial, other.serial);
                let hint = "do all replicas have the same zone file and the same registry?";
                Check { outcome: Outcome::Warning, ..Check::failed(serials, detail) }.hint(hint)
            }
        },
    ]
}

/// Whether the parent's DS records lead to the zone's keys. Without any, resolvers take the zone for unsigned.
fn chain(apex: &str, signers: &BTreeSet<Vec<u8>>, server: SocketAddr) -> Check {
    let description = format!("the parent's DS of {apex} leads to its keys");
    let keys = match ask(server, apex, rtype::DNSKEY, false, Over::Tcp) {
        Ok(reply) => reply.answers,
        Err(error) => return Check::failed(description, format!("{server}: {error}")),
    };
    let keys: Vec<Vec<u8>> =
        keys.iter().filter(|said| said.rtype == rtype::DNSKEY).filter_map(bytes).collect();
    match (signers.is_empty(), keys.is_empty()) {
        (true, true) => {
            return Check::passed(format!("{apex} is not signed, and the parent has no DS for it"));
        }
        (true, false) => {
            let detail = "the zone is signed and the parent has no DS: nobody validates it";
            let hint = "give the parent what `fingerpost keys ds` prints";
            return Check { outcome: Outcome::Warning, ..Check::failed(description, detail) }.hint(hint);
        }
        (false, true) => {
            let detail =
                "the parent has DS and the zone has no keys: validating resolvers refuse every answer";
            return Check::failed(description, detail)
                .hint("take DS out of the parent, or sign the zone (dnssec_keys)");
        }
        (false, false) => {}
    }
    let zone = Name::parse(apex).unwrap_or(Name::ROOT);
    let made: BTreeSet<Vec<u8>> = keys.iter().map(|key| ds_of(&zone, key)).collect();
    // Digests other than SHA-256 are compared by tag and algorithm.
    let leads = |ds: &Vec<u8>| match ds.get(3) {
        Some(2) => made.contains(ds),
        _ => made.iter().any(|own| own.get(..3) == ds.get(..3)),
    };
    if signers.iter().any(leads) {
        return Check::passed(description);
    }
    Check::failed(description, "none of them fits any key: validating resolvers refuse every answer")
        .hint("give the parent what `fingerpost keys ds` prints; does every server have the same keys?")
}

fn what_to_add(apex: &str) -> String {
    format!(
        "add to the parent zone:\n  {apex} NS ns1.{apex}\n  ns1.{apex} A <the address that dns.listen is reached at>"
    )
}

fn server(said: &Said) -> Option<String> {
    match &said.data {
        Data::Server(name) => Some(name.clone()),
        _ => None,
    }
}

fn bytes(said: &Said) -> Option<Vec<u8>> {
    match &said.data {
        Data::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

fn servers_in(section: &[Said]) -> BTreeSet<String> {
    section.iter().filter_map(server).collect()
}

fn addresses_in(section: &[Said], owner: Option<&str>) -> impl Iterator<Item = IpAddr> {
    let ours = section.iter().filter(move |said| owner.is_none_or(|owner| said.owner == owner));
    ours.filter_map(|said| match said.data {
        Data::Address(address) => Some(address),
        _ => None,
    })
}

fn is_below(host: &str, apex: &str) -> bool {
    host == apex || host.strip_suffix(apex).is_some_and(|rest| rest.ends_with('.'))
}

/// The first resolver that a resolv.conf names.
fn first_resolver(file: &str) -> Option<SocketAddr> {
    file.lines().find_map(|line| {
        let address = line.trim().strip_prefix("nameserver")?.trim();
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_resolver_of_a_file_is_found() {
        let file = "# nameserver 192.0.2.9\nsearch x\n nameserver bad\nnameserver  192.0.2.1\nnameserver 192.0.2.2\n";
        assert_eq!(first_resolver(file), Some("192.0.2.1:53".parse().unwrap()));
        assert_eq!(first_resolver(""), None);
    }

    #[test]
    fn a_name_is_below_an_apex_by_whole_labels() {
        assert!(is_below("ns1.k.example.", "k.example.") && is_below("k.example.", "k.example."));
        assert!(!is_below("ns1.xk.example.", "k.example.") && !is_below("example.", "k.example."));
    }
}
