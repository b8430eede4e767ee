//! `fingerpost agent`: how its gateway places clients. The flags mean what `[kafka]` and `[zones]` of a server's
//! configuration mean, are read by the same code, and are wrong in the same words.

use super::arguments::within;
use crate::config;
use crate::kafka::gateway;
use crate::limits::kafka as limits;
use crate::model::Zone;
use crate::placement::{Balance, CidrMap, Rules, Scope, Strategy, ZoneRules, client_zone};
use clap::Args;
use std::sync::Arc;
use std::time::Duration;

/// How a gateway places its clients.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the gateway places clients")]
pub(super) struct Placing {
    /// Who leads partitions: single_agent, equal_spread or consistent
    #[arg(long, value_name = "WORD", default_value = "single_agent", requires = "listen", value_parser = strategy)]
    strategy: Strategy,
    /// Which is the single agent: the next one at each refresh (round_robin), or the one that a client keeps (sticky)
    #[arg(long, value_name = "WORD", default_value = "round_robin", requires = "listen", value_parser = balance)]
    balance: Balance,
    /// Which agents are listed: all of the group (group), or those of the client's zone (zone)
    #[arg(long, value_name = "WORD", default_value = "group", requires = "listen", value_parser = scope)]
    scope: Scope,
    /// Requests of one client within this time get the same agent of the round robin
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "listen", value_parser = same_client)]
    pub(super) same_client: Duration,
    /// Zones by source address, for clients that name none: zone@network,network<>zone@network
    #[arg(long, value_name = "MAP", requires = "listen")]
    zone_cidrs: Option<CidrMap>,
    /// Two names of one zone, such as us-east-1a=use1-az2; may be repeated
    #[arg(long, value_name = "ZONE=ZONE", requires = "listen", value_parser = client_zone::alias)]
    zone_alias: Vec<(Zone, Zone)>,
    /// The zone of clients that name none and lie in no known network
    #[arg(long, value_name = "NAME", requires = "listen")]
    client_zone: Option<Zone>,
    /// Count placements by agent (1000 agents at most), not only by zone
    #[arg(long, requires = "listen")]
    pub(super) agent_metrics: bool,
}

impl Placing {
    /// Puts what the flags say into a gateway's settings.
    pub(super) fn apply(&self, gateway: &mut gateway::Settings) {
        gateway.rules = Rules { strategy: self.strategy, balance: self.balance, scope: self.scope };
        gateway.zone.clone_from(&self.client_zone);
        gateway.zones = Arc::new(ZoneRules {
            networks: self.zone_cidrs.clone().unwrap_or_default(),
            aliases: self.zone_alias.clone(),
        });
    }
}

fn strategy(text: &str) -> Result<Strategy, String> {
    word("strategy", text, &Strategy::ALL, Strategy::as_str)
}

fn balance(text: &str) -> Result<Balance, String> {
    word("balance", text, &Balance::ALL, Balance::as_str)
}

fn scope(text: &str) -> Result<Scope, String> {
    word("scope", text, &Scope::ALL, Scope::as_str)
}

fn same_client(text: &str) -> Result<Duration, String> {
    within(text, limits::SAME_CLIENT)
}

/// The word that a key of `[kafka]` takes.
fn word<T: Copy + Default>(
    key: &str,
    text: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let word = config::word("kafka", key, text)?;
    Ok(all.iter().copied().find(|have| as_str(*have) == word).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::arguments::{Arguments, Command};
    use super::*;
    use crate::model::{Cluster, GroupName};
    use clap::Parser;

    /// The settings of a gateway with these flags.
    fn settings(flags: &[&str]) -> gateway::Settings {
        let common = ["fingerpost", "agent", "--cluster", "prod", "--group", "vpc-1"];
        let gate = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"];
        let arguments = Arguments::try_parse_from([&common[..], &gate, flags].concat()).unwrap();
        let Command::Agent(agent) = arguments.command else { panic!("{arguments:?}") };
        let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
        let mut gateway =
            gateway::Settings::new(agent.listen.unwrap(), agent.upstream.unwrap(), cluster, group);
        agent.placing.apply(&mut gateway);
        gateway
    }

    #[test]
    fn every_flag_reaches_the_gateway() {
        let usual = settings(&[]);
        assert_eq!((usual.rules, usual.zone, &*usual.zones), (Rules::default(), None, &ZoneRules::default()));
        for (strategy, balance, scope) in [
            (Strategy::EqualSpread, Balance::Sticky, Scope::Zone),
            (Strategy::Consistent, Balance::RoundRobin, Scope::Group),
        ] {
            let words = ["--strategy", strategy.as_str(), "--balance", balance.as_str(), "--scope"];
            let told = settings(&[&words[..], &[scope.as_str(), "--client-zone", "z9"]].concat());
            assert_eq!(told.rules, Rules { strategy, balance, scope });
            assert_eq!(told.zone.unwrap().as_str(), "z9");
        }
        let map = "us-east-1a@10.0.0.0/19,2001:db8:a::/48<>us-east-1b@10.0.64.0/19";
        let zones = settings(&["--zone-cidrs", map, "--zone-alias", "a=b", "--zone-alias", "c=d"]).zones;
        assert_eq!(zones.networks, map.parse().unwrap());
        assert_eq!(zones.aliases, [client_zone::alias("a=b").unwrap(), client_zone::alias("c=d").unwrap()]);
    }
}
