//! What one client is shown of its group, and who leads for it: the one path by which the bootstrap listener's own
//! replies and those that a gateway rewrites name agents. Whatever a client asks for in its client.id, and whatever the rules
//! say, both tell it the same brokers, controller, coordinators and leaders.

use super::api::Stop;
use super::service::Service;
use super::wire::Writer;
use crate::model::{Fleet, Moment};
use crate::placement::{self, Broker, Client, ClientZone, Hints, Leaders, Roster, Selection};
use crate::telemetry::kafka::Metrics;
use std::sync::Arc;

/// What one client is shown of its group at one moment.
#[derive(Debug)]
pub struct Shown<'a, 'r> {
    /// The agents.
    pub selection: Selection<'r>,
    /// The zone that it is in.
    pub zone: ClientZone,
    /// What its client.id asks for.
    pub hints: Hints<'a>,
    service: &'a Service,
    client: Client<'a>,
    now: Moment,
}

impl Service {
    /// The group's agents, of which at least one lives. Without one there is no reply that would not mislead: clients
    /// forget the brokers that an empty list lacks, so the connection is closed and they come again.
    pub fn live_roster(&self, fleet: &Fleet, now: Moment) -> Result<Arc<Roster>, Stop> {
        match self.roster(fleet) {
            Some(roster) if roster.live(now).next().is_some() => Ok(roster),
            None if !fleet.is_synced() => Err(Stop::NotSynced),
            _ => Err(Stop::NoAgent),
        }
    }

    /// What the client is shown of a roster, and in which zone it is.
    pub fn show<'a, 'r>(
        &'a self,
        roster: &'r Roster,
        client: Client<'a>,
        now: Moment,
    ) -> Result<Shown<'a, 'r>, Stop> {
        let known = |name: &str| roster.zone(name);
        let zone = self.zones.zone_of(client.id, client.source, self.zone.as_ref(), known);
        let hints = Hints::of(client.id);
        let selection = Selection::of(roster, &zone, client, &hints, self.rules.scope, now);
        let selection = selection.ok_or(Stop::NoAgent)?;
        Ok(Shown { selection, zone, hints, service: self, client, now })
    }
}

impl<'r> Shown<'_, 'r> {
    /// Who leads what for the client. Takes a turn, where leaders go by turns.
    pub fn leaders(&self) -> Result<Leaders, Stop> {
        let (placement, rules) = (&self.service.placement, self.service.rules);
        let leaders = placement.leaders(&self.selection, rules, &self.hints, self.client, self.now);
        leaders.ok_or(Stop::NoAgent)
    }

    /// The agents that may coordinate, among which a key's coordinator is chosen.
    pub fn coordinators(&self) -> Vec<&'r Broker> {
        self.selection.coordinators(self.now)
    }

    /// The node id of the controller: always one of those listed.
    pub fn controller(&self) -> i32 {
        self.selection.controller(self.now).map_or(-1, |broker| broker.node_id)
    }

    /// The host that this client is told of an agent.
    pub fn host_of<'b>(&'b self, broker: &'b Broker) -> &'b str {
        self.hints.host.unwrap_or(&broker.host)
    }

    /// Writes an agent's node id, host and port.
    pub fn endpoint(&self, out: &mut Writer<'_>, broker: &Broker) {
        out.i32(broker.node_id);
        out.text(self.host_of(broker));
        out.i32(i32::from(broker.port));
    }

    /// Counts how the client fared, under the name of its zone if an agent of the group bears it.
    pub fn count(&self, leaders: &Leaders) {
        let metrics: &Metrics = &self.service.metrics;
        let zone = match &self.zone {
            ClientZone::Known(zone, _) => Some(zone.as_str()),
            ClientZone::Foreign(_) | ClientZone::Unaware => None,
        };
        let outcome = match self.selection.outcome {
            placement::Outcome::Hit => "hit",
            placement::Outcome::Miss => "miss",
            placement::Outcome::Unaware => "unaware",
        };
        metrics.placement(zone, outcome);
        let fallbacks = self.selection.fallbacks;
        for (fell, reason) in
            [(fallbacks.zone, "zone"), (fallbacks.role, "role"), (fallbacks.draining, "draining")]
        {
            if fell {
                metrics.fallback(zone, reason);
            }
        }
        if let Some(led) = leaders.only().filter(|_| metrics.names_agents()) {
            let broker = self.selection.candidates.iter().find(|broker| broker.node_id == led);
            if let Some(key) = broker.map(|broker| &broker.agent.key) {
                metrics.led(key.cluster.as_str(), key.group.as_str(), key.agent.as_str());
            }
        }
    }
}
