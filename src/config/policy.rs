//! What the configuration says of speaking DNS, whatever is asked.

use crate::model::{Cluster, GroupName};
use std::path::PathBuf;

/// The part of `[dns]` that is about speaking, with `[dns.rate_limit]` and every `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Whether EDNS Client Subnet is heard.
    pub ecs: bool,
    /// What NSID, `id.server` and `hostname.bind` say.
    pub server_id: Option<String>,
    /// What `version.bind` and `version.server` say.
    pub server_version: Option<String>,
    /// DNS cookies.
    pub cookies: CookieMode,
    /// Files of their secrets, the one in use first; without any, this server has one of its own.
    pub cookie_secrets: Vec<PathBuf>,
    /// Rate limiting.
    pub rate_limit: RateLimitConfig,
    /// Groups that not everybody may ask for.
    pub groups: Vec<GroupConfig>,
}

/// How much DNS cookies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CookieMode {
    /// The option is passed over.
    Off,
    /// Who sends a good one is not limited.
    #[default]
    On,
    /// And who sends one that is not good is answered BADCOOKIE over UDP.
    Strict,
}

/// `[dns.rate_limit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// UDP answers a second to one address; 0 for no limit.
    pub per_second: usize,
    /// Every so-manieth of what is held back is answered with TC; 0 for none.
    pub slip: usize,
    /// Networks that are never limited.
    pub exempt: Vec<String>,
    /// Whether it is only counted.
    pub dry_run: bool,
}

/// One `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Its cluster.
    pub cluster: Cluster,
    /// Its name.
    pub name: GroupName,
    /// Networks that may ask for it.
    pub allow_query: Vec<String>,
}
