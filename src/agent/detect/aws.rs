//! EC2: the instance metadata service, version 2. A token by PUT, then the zone with that token. It needs no IAM
//! permission and no instance profile.
//!
//! Never version 1. Every EC2 instance speaks version 2 (since 2019), so who refuses the token request is not EC2, or
//! is an EC2 instance whose owner closed the service; and the services of other clouds that imitate version 1 have
//! zones (`nova`) that mean nothing.

use super::env::AWS_DISABLED;
use super::http::{Client, Failure, Reply, excerpt};
use super::{Outcome, Search};
use crate::limits::detect as limits;

/// For how many seconds we want the token: one request follows at once.
const TOKEN_SECONDS: &str = "60";

/// Asks for the zone of the instance.
pub(super) fn ask(search: &Search) -> Outcome {
    if search.environment.get(AWS_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Outcome::NotHere(format!("not asked ({AWS_DISABLED} is true)"));
    }
    let client = Client::plain(search.options.deadline);
    let base = &search.endpoints.aws;
    let seconds = [("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)];
    let token = match client.put(&format!("{base}/latest/api/token"), &seconds) {
        Ok(reply) => match token_of(&reply) {
            Ok(token) => token,
            Err(outcome) => return outcome,
        },
        Err(failure) => return no_token(&failure),
    };
    let path = match search.options.zone_id {
        true => "placement/availability-zone-id",
        false => "placement/availability-zone",
    };
    match client.get(&format!("{base}/latest/meta-data/{path}"), &[("X-aws-ec2-metadata-token", &token)]) {
        Ok(reply) => zone_of(&reply, path),
        Err(failure) => Outcome::Failed(format!("the request for {path} failed: {failure}")),
    }
}

fn token_of(reply: &Reply) -> Result<String, Outcome> {
    if reply.flavor.as_deref() == Some("Google") {
        return Err(Outcome::NotHere("not EC2 (Google's metadata server answers here)".to_owned()));
    }
    match reply.status {
        200 => {}
        403 => {
            return Err(Outcome::Failed(
                "the token request is forbidden (HTTP 403): if this is EC2, its metadata service is switched off; \
                 `aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled` switches it on"
                    .to_owned(),
            ));
        }
        status @ (400 | 404 | 405) => {
            return Err(Outcome::NotHere(format!(
                "not EC2 (HTTP {status} to the token request; version 1 of its metadata service is not used)"
            )));
        }
        _ => return Err(Outcome::Failed(format!("{} to the token request", reply.surprise()))),
    }
    let token = reply.body.trim();
    let sound =
        (1..=limits::TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    match sound && !token.starts_with('<') {
        true => Ok(token.to_owned()),
        false => Err(Outcome::Failed(format!(
            "answered the token request with {}, which is no token: a proxy or login page answers here",
            excerpt(token)
        ))),
    }
}

/// The answer to the token request may travel one hop only unless told otherwise: it dies on the way into a container.
fn no_token(failure: &Failure) -> Outcome {
    match failure {
        Failure::Silent(_) => Outcome::Failed(format!(
            "{failure} to the token request: not EC2, or a container that the answer can't reach within its hop \
             limit of 1; `aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2` \
             lets it"
        )),
        _ => Outcome::Failed(format!("the token request failed: {failure}")),
    }
}

fn zone_of(reply: &Reply, path: &str) -> Outcome {
    match reply.status {
        200 => Outcome::of_zone_text(&reply.body),
        401 => Outcome::Failed(format!(
            "the token that it gave is refused (HTTP 401) for {path}: something between here and the service strips \
             or mixes up headers"
        )),
        403 => {
            Outcome::Failed(format!("{path} is forbidden (HTTP 403): the metadata service was switched off"))
        }
        404 => Outcome::NoZone(format!("this instance has no {path} (HTTP 404)")),
        _ => Outcome::Failed(format!("{} to the request for {path}", reply.surprise())),
    }
}
