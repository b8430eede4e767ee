//! How we speak with those who ask, whatever they ask for: what we say of ourselves, who has proved its address, whom
//! we answer less, and for which zone a query speaks.

use super::answer::{Client, Rules};
use super::cookies::{Cookies, Judged};
use super::edns::{Reply, SubnetReply};
use super::limiter::{Limiter, Verdict};
use super::render::Transport;
use super::respond::Asked;
use super::subnet::Subnet;
use super::wire::{Query, Rcode, rtype};
use crate::clock;
use crate::net::proxy::Networks;
use crate::telemetry::dns::{Counters, Event};

/// What the operator decides about speaking DNS. The default says nothing of the server, makes no cookies and limits
/// nobody.
#[derive(Debug, Default)]
pub struct Policy {
    /// Which server this is: NSID (RFC 5001), `id.server` and `hostname.bind` (RFC 4892).
    pub server_id: Option<String>,
    /// What `version.bind` and `version.server` say.
    pub server_version: Option<String>,
    /// DNS cookies, if they are spoken.
    pub cookies: Option<Cookies>,
    /// Response rate limiting, if answers are limited.
    pub limiter: Option<Limiter>,
    /// Who is never limited.
    pub unlimited: Networks,
    /// Whether client subnets are heard.
    pub subnets: bool,
}

/// What the options of a query come to.
#[derive(Debug, Default)]
pub(super) struct Heard<'a> {
    /// The options of the answer.
    pub(super) reply: Reply<'a>,
    /// Whether the client has shown that it is where it says.
    proven: bool,
    /// The network that it asks for.
    subnet: Option<(Subnet, &'a [u8])>,
    /// Why there is no other answer.
    pub(super) refusal: Option<Rcode>,
}

impl Policy {
    /// Goes on with what `before` counted, and with its secret if neither was given one.
    pub(super) fn inherit(&mut self, before: &Self) {
        if let (Some(limiter), Some(before)) = (&mut self.limiter, &before.limiter) {
            limiter.inherit(before);
        }
        if let (Some(cookies), Some(before)) = (&mut self.cookies, &before.cookies) {
            cookies.inherit(before);
        }
    }

    /// Reads the options of a query. Without options, which is most often, nothing is done.
    #[inline]
    pub(super) fn hear<'a>(&'a self, asked: &Asked<'a>, query: &Query, counters: &Counters) -> Heard<'a> {
        match query.edns {
            Some(edns) if edns.options != super::edns::Options::default() => {
                self.hear_options(asked, edns.options, counters)
            }
            _ => Heard::default(),
        }
    }

    fn hear_options<'a>(
        &'a self,
        asked: &Asked<'a>,
        options: super::edns::Options,
        counters: &Counters,
    ) -> Heard<'a> {
        let mut heard = Heard::default();
        let packet = asked.packet;
        if options.nsid {
            heard.reply.nsid = self.server_id.as_deref().map(str::as_bytes);
        }
        if options.keepalive {
            // Over UDP the option has no meaning and is passed over (RFC 7828 §3.2.1).
            let tenths =
                |idle: std::time::Duration| u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
            heard.reply.keepalive = asked.idle.map(tenths);
        }
        if let (Some(cookies), Some(option)) = (&self.cookies, options.cookie) {
            let now = clock::unix_seconds() as u32; // seconds modulo 2^32, as the cookie has them
            let (event, cookie) = match cookies.judge(option.of(packet), asked.peer, now) {
                Judged::Malformed => {
                    heard.refusal = Some(Rcode::FormErr);
                    return heard;
                }
                Judged::First(cookie) => (Event::CookieFirst, cookie),
                Judged::Bad(cookie) => (Event::CookieBad, cookie),
                Judged::Good(cookie) => (Event::CookieGood, cookie),
            };
            counters.note(event);
            heard.reply.cookie = Some(cookie);
            heard.proven = event == Event::CookieGood;
            if cookies.strict && !heard.proven && asked.transport == Transport::Udp {
                heard.refusal = Some(Rcode::BadCookie);
            }
        }
        if let (true, Some(option)) = (self.subnets, options.subnet) {
            let data = option.of(packet);
            match Subnet::read(data) {
                Ok(subnet) => {
                    heard.subnet = Some((subnet, data));
                    heard.reply.subnet = Some(SubnetReply::new(data, 0));
                }
                Err(_) => heard.refusal = Some(Rcode::FormErr),
            }
        }
        heard
    }

    /// Whether an answer over UDP may go. A client that has proved its address may have as many as it likes.
    #[inline]
    pub(super) fn limit(&self, asked: &Asked<'_>, heard: &Heard<'_>) -> Verdict {
        match &self.limiter {
            Some(limiter) if asked.transport == Transport::Udp && !heard.proven => {
                if self.unlimited.contains(asked.peer) {
                    return Verdict::Pass;
                }
                limiter.judge(asked.peer, asked.now, asked.entropy)
            }
            _ => Verdict::Pass,
        }
    }

    /// What a question of class CH is answered; `None` if it is refused.
    pub(super) fn chaos(&self, query: &Query) -> Option<&str> {
        if !matches!(query.qtype, rtype::TXT | rtype::ANY) {
            return None;
        }
        match query.name.wire() {
            b"\x07version\x04bind\0" | b"\x07version\x06server\0" => self.server_version.as_deref(),
            b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => self.server_id.as_deref(),
            _ => None,
        }
    }
}

impl Heard<'_> {
    /// Who asks, and how long a prefix an answer that depends on its zone is good for.
    #[inline]
    pub(super) fn client<'r>(&self, asked: &Asked<'_>, rules: &'r Rules) -> (Client<'r>, u8) {
        let networks = &rules.client_zones.networks;
        if networks.is_empty() {
            return (Client { source: asked.peer, zone: None }, 0);
        }
        let (zone, scope) = match self.subnet {
            Some((Subnet { network: Some((address, prefix)) }, _)) => {
                networks.zone_of_network(address, prefix)
            }
            _ => (networks.zone_of(asked.peer), 0),
        };
        (Client { source: asked.peer, zone }, scope)
    }

    /// Says for how long a prefix the answer is good (RFC 7871 §7.2.1).
    pub(super) fn set_scope(&mut self, scope: u8) {
        if let Some((_, data)) = self.subnet {
            self.reply.subnet = Some(SubnetReply::new(data, scope));
        }
    }
}
