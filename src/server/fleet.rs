//! The demo's simulated fleet: agents that really heartbeat through the registry and whose Kafka ports really
//! listen and answer, so that what one tries on the demo is what one gets from `serve`.

use super::Error;
use crate::model::{AgentId, AgentKey, Cluster, GroupName, Zone};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The cluster of the demo.
pub const CLUSTER: &str = "demo";
/// Its groups, and the third octet of their agents' loopback addresses.
pub const GROUPS: [(&str, u8); 2] = [("vpc-1", 11), ("vpc-2", 12)];
/// Its zones, and the letter that agents of it carry in their id.
pub const ZONES: [(&str, char); 3] = [("us-east-1a", 'a'), ("us-east-1b", 'b'), ("us-east-1c", 'c')];
/// Most agents of one zone and group: three zones of 80 fit the last octet of one group's addresses.
pub const MOST_PER_ZONE: usize = 80;

/// One agent that is to be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Who it is.
    pub key: AgentKey,
    /// Where it is.
    pub zone: Zone,
    /// The loopback address that it would like to have, without a port.
    pub address: IpAddr,
}

/// The whole fleet: `per_zone` agents in each zone of each group, `a1`, `a2`, … in zone `us-east-1a`.
pub fn plan(per_zone: usize) -> Result<Vec<Planned>, Error> {
    let invalid = |error| Error::Config(format!("the demo's names: {error}"), None);
    let cluster = Cluster::parse(CLUSTER).map_err(invalid)?;
    let mut fleet = Vec::new();
    for (group, octet) in GROUPS {
        let mut last = 0u8;
        let group = GroupName::parse(group).map_err(invalid)?;
        for (zone, letter) in ZONES {
            let zone = Zone::parse(zone).map_err(invalid)?;
            for n in 1..=per_zone.min(MOST_PER_ZONE) {
                last += 1;
                let agent = AgentId::parse(&format!("{letter}{n}")).map_err(invalid)?;
                fleet.push(Planned {
                    key: AgentKey { cluster: cluster.clone(), group: group.clone(), agent },
                    zone: zone.clone(),
                    address: Ipv4Addr::new(127, 0, octet, last).into(),
                });
            }
        }
    }
    Ok(fleet)
}

/// Where an agent could listen, in order of preference: its own loopback address, else any port of 127.0.0.1
/// (macOS has no loopback addresses but that one).
pub fn candidates(planned: &Planned, port: u16) -> [SocketAddr; 2] {
    [SocketAddr::new(planned.address, port), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]
}
