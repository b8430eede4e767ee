//! Who may do what. Rights are decided here and nowhere else, before a handler does anything.
//!
//! With tokens, `/v1` needs one (RFC 6750 bearer), unless reading is public. Without tokens the server listens on
//! loopback only and trusts whoever reaches it; what a web page makes a browser send must not count as such: the
//! `Host` of a request without a token must be an address, `localhost` or a configured name (DNS rebinding), and
//! writes that a browser says come from another site are refused.

use super::answer::Refusal;
use crate::model::{Cluster, GroupName};
use arc_swap::{ArcSwap, Guard};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A token and what it allows.
#[derive(Clone)]
pub struct Token {
    /// What logs and refusals call it.
    pub name: String,
    /// The token itself.
    pub secret: String,
    /// What of the fleet it reaches.
    pub scope: Scope,
    /// Whether it may write and remove records, not only read.
    pub write: bool,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, {}, write: {})", self.name, self.scope, self.write)
    }
}

/// A part of the fleet: everything, one cluster, or one group of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// Everything.
    #[default]
    All,
    /// One cluster.
    Cluster(Cluster),
    /// One group of one cluster.
    Group(Cluster, GroupName),
}

impl Scope {
    /// Whether a cluster, or with `group` that group of it, lies within.
    pub(super) fn sees(&self, cluster: &str, group: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Cluster(mine) => mine.as_str() == cluster,
            Self::Group(mine, my_group) => {
                mine.as_str() == cluster && group.is_none_or(|group| group == my_group.as_str())
            }
        }
    }

    pub(super) fn is_all(&self) -> bool {
        *self == Self::All
    }

    pub(super) fn parts(&self) -> (Option<&Cluster>, Option<&GroupName>) {
        match self {
            Self::All => (None, None),
            Self::Cluster(cluster) => (Some(cluster), None),
            Self::Group(cluster, group) => (Some(cluster), Some(group)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Cluster(cluster) => write!(f, "cluster {cluster}"),
            Self::Group(cluster, group) => write!(f, "group {cluster}/{group}"),
        }
    }
}

/// The gate in use; a reload replaces it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access(Arc<ArcSwap<Gate>>);

impl Access {
    /// Begins with this gate.
    pub fn new(gate: Gate) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(gate)))
    }

    pub(super) fn load(&self) -> Guard<Arc<Gate>> {
        self.0.load()
    }

    /// From now on, requests pass this gate.
    pub fn replace(&self, gate: Gate) {
        self.0.store(Arc::new(gate));
    }
}

/// Decides over requests.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) tokens: Vec<Token>,
    pub(super) public_read: bool,
    pub(super) hosts: Vec<String>,
}

/// Who a request is from, as far as it was shown.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The token's name, or `anonymous`.
    pub(super) name: String,
    pub(super) scope: Scope,
}

impl Gate {
    /// May this request read? The answer says what.
    pub(super) fn read(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Refusal> {
        let anonymous = self.tokens.is_empty() || self.public_read;
        match self.token(headers)? {
            Some(token) => Ok(Caller { name: token.name.clone(), scope: token.scope.clone() }),
            None if anonymous => self.anonymous(headers, uri),
            None => Err(needs_token("read the fleet")),
        }
    }

    /// May this request read of this cluster, or of this group of it?
    pub(super) fn read_of(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        cluster: &str,
        group: Option<&str>,
    ) -> Result<Caller, Refusal> {
        let caller = self.read(headers, uri)?;
        match caller.scope.sees(cluster, group) {
            true => Ok(caller),
            false => Err(lacks(&caller.name, &caller.scope, "read", cluster, group)),
        }
    }

    /// May this request write agents of this group?
    pub(super) fn write(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        cluster: &str,
        group: &str,
    ) -> Result<Caller, Refusal> {
        match self.token(headers)? {
            Some(token) if token.write && token.scope.sees(cluster, Some(group)) => {
                Ok(Caller { name: token.name.clone(), scope: token.scope.clone() })
            }
            Some(token) if token.write => {
                Err(lacks(&token.name, &token.scope, "write", cluster, Some(group)))
            }
            Some(token) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "read_only",
                format!("token {:?} may read and not write", token.name),
            )
            .hint("give it write = true in the server's configuration, or use another token")),
            None if self.tokens.is_empty() => {
                not_from_another_site(headers)?;
                self.anonymous(headers, uri)
            }
            None => Err(needs_token("write agents")),
        }
    }

    /// The token that a request shows, if it shows one. One that is not known is an error even where none is needed:
    /// whoever sends it believes that it counts.
    fn token(&self, headers: &HeaderMap) -> Result<Option<&Token>, Refusal> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let shown = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let Some(shown) = shown else {
            return Err(unauthorized("the Authorization header is no bearer token")
                .hint("send Authorization: Bearer TOKEN"));
        };
        // Every token is compared in full, so that the time tells nothing of which one was nearly right.
        let mut found = None;
        for token in &self.tokens {
            if same(token.secret.as_bytes(), shown.as_bytes()) {
                found = Some(token);
            }
        }
        match found {
            Some(token) => Ok(Some(token)),
            None if self.tokens.is_empty() => Ok(None),
            None => Err(unauthorized("this token is not known here")
                .hint("see [admin] and [[admin.tokens]] in the server's configuration")),
        }
    }

    fn anonymous(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Refusal> {
        let host = match headers.get(header::HOST) {
            Some(value) => Some(value.to_str().unwrap_or("?")),
            None => uri.authority().map(|authority| authority.as_str()),
        };
        // Browsers always name a host; a client that does not is none.
        let allowed = host.is_none_or(|host| self.is_own_name(host_name(host)));
        match allowed {
            true => Ok(Caller { name: "anonymous".to_owned(), scope: Scope::All }),
            false => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "unknown_host",
                "this server does not go by the name in the Host header",
            )
            .hint("use an address or localhost, send a token, or list the name under hosts in [admin]")),
        }
    }

    fn is_own_name(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(&name))
    }
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Browsers say where a request comes from; nobody else sends these headers.
fn not_from_another_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let foreign_site = site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let foreign_origin = headers.contains_key(header::ORIGIN)
        && origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host) != host;
    if foreign_site || foreign_origin {
        let message = "a browser sent this request from another site";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "cross_site", message)
            .hint("heartbeats come from agents; configure a token to write from a page"));
    }
    Ok(())
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn needs_token(what: &str) -> Refusal {
    unauthorized(&format!("a token is needed to {what}")).hint("send Authorization: Bearer TOKEN")
}

fn lacks(name: &str, scope: &Scope, right: &str, cluster: &str, group: Option<&str>) -> Refusal {
    let what = group.map_or(format!("cluster {cluster}"), |group| format!("group {cluster}/{group}"));
    let message = format!("token {name:?} lacks the right to {right} {what}");
    Refusal::new(StatusCode::FORBIDDEN, "out_of_scope", message).hint(format!("it reaches {scope}"))
}

/// Compares without telling by its time how much was equal. The length may be learned, the content not.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0u8, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    differing == 0 && a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(tokens: bool) -> Gate {
        let token = |name: &str, scope, write| Token {
            name: name.to_owned(),
            secret: format!("{name}-0123456789abcdef"),
            scope,
            write,
        };
        let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
        let all = vec![
            token("all", Scope::All, true),
            token("reader", Scope::All, false),
            token("cluster", Scope::Cluster(cluster.clone()), true),
            token("group", Scope::Group(cluster, group), true),
        ];
        Gate { tokens: if tokens { all } else { vec![] }, public_read: false, hosts: vec!["fp.corp".into()] }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn rights_are_those_of_the_token_and_no_others() {
        let gate = gate(true);
        let uri = Uri::from_static("/v1");
        let code =
            |result: Result<Caller, Refusal>| result.map_or_else(|refusal| refusal.status.as_u16(), |_| 200);
        let bearer = |name: &str| headers(&[("authorization", &format!("Bearer {name}-0123456789abcdef"))]);
        let matrix = |name: &str| {
            let headers = if name.is_empty() { HeaderMap::new() } else { bearer(name) };
            [
                code(gate.read(&headers, &uri)),
                code(gate.read_of(&headers, &uri, "prod", None)),
                code(gate.read_of(&headers, &uri, "prod", Some("vpc-2"))),
                code(gate.read_of(&headers, &uri, "dev", None)),
                code(gate.write(&headers, &uri, "prod", "vpc-1")),
                code(gate.write(&headers, &uri, "prod", "vpc-2")),
                code(gate.write(&headers, &uri, "dev", "vpc-1")),
            ]
        };
        assert_eq!(matrix(""), [401; 7]);
        assert_eq!(matrix("nobody"), [401; 7]);
        assert_eq!(matrix("all"), [200; 7]);
        assert_eq!(matrix("reader"), [200, 200, 200, 200, 403, 403, 403]);
        assert_eq!(matrix("cluster"), [200, 200, 200, 403, 200, 200, 403]);
        assert_eq!(matrix("group"), [200, 200, 403, 403, 200, 403, 403]);
        let basic = headers(&[("authorization", "Basic YTpi")]);
        assert_eq!(code(gate.read(&basic, &uri)), 401);
        let refusal = gate.write(&bearer("group"), &uri, "prod", "vpc-2").unwrap_err();
        assert_eq!(refusal.message, "token \"group\" lacks the right to write group prod/vpc-2");
    }

    #[test]
    fn without_tokens_a_page_of_another_site_gets_nothing() {
        let gate = gate(false);
        let uri = Uri::from_static("/v1");
        let read = |host: &str| gate.read(&headers(&[("host", host)]), &uri).is_ok();
        for host in [
            "127.0.0.1:8053",
            "[::1]:8053",
            "[::1]",
            "localhost",
            "LocalHost:8053",
            "a.localhost",
            "fp.corp:1",
        ] {
            assert!(read(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8053", "127.0.0.1.evil.example", "localhost.evil", ":8053", ""]
        {
            assert!(!read(host), "{host}");
        }
        let write =
            |pairs: &[(&'static str, &str)]| gate.write(&headers(pairs), &uri, "prod", "vpc-1").is_ok();
        let host = ("host", "127.0.0.1:8053");
        assert!(write(&[]));
        assert!(write(&[host]));
        assert!(write(&[host, ("origin", "http://127.0.0.1:8053"), ("sec-fetch-site", "same-origin")]));
        assert!(!write(&[("host", "evil.example:8053")]));
        assert!(!write(&[host, ("origin", "http://evil.example")]));
        assert!(!write(&[host, ("origin", "null")]));
        assert!(!write(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!write(&[host, ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn texts_are_compared_in_full() {
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
