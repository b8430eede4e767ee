//! hickory-server as a peer of `scripts/bench-dns`: one zone in memory, one UDP socket, one thread.
//!
//! `hickory-peer PORT ADDRESS...`: serves A records of `vpc-1.prod.kafka.example` on 127.0.0.1.

use hickory_server::Server;
use hickory_server::proto::rr::rdata::{A, NS, SOA};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::UdpSocket;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: hickory-peer PORT ADDRESS...")?.parse()?;
    let apex = Name::from_ascii("kafka.example.")?;
    let server = Name::from_ascii("ns1.kafka.example.")?;
    let group = Name::from_ascii("vpc-1.prod.kafka.example.")?;
    let soa = SOA::new(server.clone(), Name::from_ascii("hostmaster.kafka.example.")?, 1, 3600, 600, 86400, 2);
    let mut zone: InMemoryZoneHandler = InMemoryZoneHandler::empty(apex.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    zone.upsert_mut(Record::from_rdata(apex.clone(), 5, RData::SOA(soa)), 1);
    zone.upsert_mut(Record::from_rdata(apex.clone(), 5, RData::NS(NS(server.clone()))), 1);
    zone.upsert_mut(Record::from_rdata(server, 5, RData::A(A(Ipv4Addr::LOCALHOST))), 1);
    for address in arguments {
        zone.upsert_mut(Record::from_rdata(group.clone(), 5, RData::A(A(address.parse()?))), 1);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(apex.into(), vec![Arc::new(zone)]);
    let mut server = Server::new(catalog);
    server.register_socket(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?);
    Ok(server.block_until_done().await?)
}
