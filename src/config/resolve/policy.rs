//! How DNS is spoken: `[dns]` in part, `[dns.rate_limit]`, `[[group]]`.

use super::super::policy::{CookieMode, GroupConfig, PolicyConfig, RateLimitConfig};
use super::super::problem::{Origin, Problems, nearest};
use super::super::read::{Document, Instance};
use super::find_file;
use crate::config::ClusterConfig;
use crate::limits::dns as limits;
use std::path::Path;

/// Resolves the policy; the groups that it names exist from the start.
pub(super) fn policy(
    document: &Document,
    folder: &Path,
    clusters: &mut [(Origin, ClusterConfig)],
    problems: &mut Problems,
) -> Option<PolicyConfig> {
    let section = document.all("dns").first()?;
    let rate = document.all("dns.rate_limit").first()?;
    let secrets = section.texts("cookie_secret_files");
    if secrets.len() > limits::COOKIE_SECRETS {
        let hint = Some("the one in use, the one before it, and one that is to come".to_owned());
        let most = limits::COOKIE_SECRETS;
        let what = format!("dns.cookie_secret_files: {} files; at most {most} are used", secrets.len());
        problems.error(section.origin("cookie_secret_files"), what, hint);
    }
    Some(PolicyConfig {
        ecs: section.flag("ecs")?,
        server_id: short_text(section, "server_id", problems),
        server_version: short_text(section, "server_version", problems),
        cookies: match section.text("cookies")? {
            "off" => CookieMode::Off,
            "strict" => CookieMode::Strict,
            _ => CookieMode::On,
        },
        cookie_secrets: secrets.iter().map(|file| find_file(folder, Path::new(file))).collect(),
        rate_limit: RateLimitConfig {
            per_second: rate.number("per_second")?,
            slip: rate.number("slip")?,
            exempt: rate.texts("exempt"),
            dry_run: rate.flag("dry_run")?,
        },
        groups: groups(document, clusters, problems),
    })
}

fn short_text(section: &Instance, key: &str, problems: &mut Problems) -> Option<String> {
    let text = section.text(key)?;
    if text.len() > limits::IDENTITY {
        let what = format!("dns.{key}: {} bytes; at most {} are sent", text.len(), limits::IDENTITY);
        problems.error(section.origin(key), what, None);
    }
    Some(text.to_owned())
}

fn groups(
    document: &Document,
    clusters: &mut [(Origin, ClusterConfig)],
    problems: &mut Problems,
) -> Vec<GroupConfig> {
    let mut groups: Vec<GroupConfig> = Vec::new();
    for section in document.all("group") {
        let (Some(cluster), [name]) = (section.cluster("cluster"), &section.groups("name")[..]) else {
            continue;
        };
        let known = clusters.iter_mut().find(|(_, have)| have.name == cluster);
        match known {
            Some((_, have)) => _ = have.groups.insert(name.clone()),
            None => {
                let names = clusters.iter().map(|(_, have)| have.name.as_str());
                let hint = nearest(cluster.as_str(), names)
                    .unwrap_or_else(|| format!("add [[cluster]] with name = \"{cluster}\""));
                let what = format!("group: there is no cluster {cluster}");
                problems.error(section.origin("cluster"), what, Some(hint));
            }
        }
        if groups.iter().any(|have| have.cluster == cluster && have.name == *name) {
            let hint = Some("put all its networks into one allow_query".to_owned());
            problems.error(section.origin("name"), format!("group {name} of {cluster} is there twice"), hint);
        }
        let allow_query = section.texts("allow_query");
        if section.is_given("allow_query") && !section.is_refused("allow_query") && allow_query.is_empty() {
            let what = format!("group {name} of {cluster}: nobody may ask for it");
            problems.warning(section.origin("allow_query"), what, None);
        }
        groups.push(GroupConfig { cluster, name: name.clone(), allow_query });
    }
    groups
}
