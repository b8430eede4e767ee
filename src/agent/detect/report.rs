//! What a search found and what it tried: values that print as one log line.

use super::http::excerpt;
use crate::model::{LabelError, Zone};
use std::fmt;
use std::time::Duration;

/// Where a zone can be known from, in the order in which they are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `FINGERPOST_ZONE`.
    Named,
    /// The task metadata of ECS and Fargate.
    Ecs,
    /// The zone label of the pod's node.
    Kubernetes,
    /// EC2's instance metadata service.
    Ec2,
    /// Google's metadata server.
    Gcp,
    /// Azure's instance metadata service.
    Azure,
}

impl Source {
    /// Those that are asked over the network, most trusted first.
    pub const ASKED: [Self; 5] = [Self::Ecs, Self::Kubernetes, Self::Ec2, Self::Gcp, Self::Azure];

    /// One lower-case word, for labels and names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Ecs => "ecs",
            Self::Kubernetes => "kubernetes",
            Self::Ec2 => "ec2",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "FINGERPOST_ZONE",
            Self::Ecs => "ECS",
            Self::Kubernetes => "Kubernetes",
            Self::Ec2 => "EC2 (IMDSv2)",
            Self::Gcp => "GCP",
            Self::Azure => "Azure",
        })
    }
}

/// What came of asking one source. The texts are for the operator: what was seen, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It knows the zone.
    Found(Zone),
    /// This process does not run there, or no such service answers here.
    NotHere(String),
    /// It is there, but there is no zone to know: a regional VM, a node without the label.
    NoZone(String),
    /// It refused, failed, said nonsense or said nothing in time.
    Failed(String),
    /// A source that is believed before it had answered already.
    NotAwaited,
}

impl Outcome {
    /// The zone, if it was found.
    pub fn zone(&self) -> Option<&Zone> {
        match self {
            Self::Found(zone) => Some(zone),
            _ => None,
        }
    }

    /// What a source said its zone is, if it may be one.
    pub(super) fn of_zone_text(text: &str) -> Self {
        match Zone::parse(text.trim()) {
            Ok(zone) => Self::Found(zone),
            Err(error) => Self::Failed(format!("it says {}, which is no zone: {error}", excerpt(text))),
        }
    }
}

/// One source that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub source: Source,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, or how long it was waited for in vain.
    pub took: Duration,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        match &self.outcome {
            Outcome::Found(zone) => write!(f, "{zone} ({} ms)", self.took.as_millis()),
            Outcome::NotHere(why) => f.write_str(why),
            Outcome::NoZone(why) | Outcome::Failed(why) => {
                write!(f, "{why} ({} ms)", self.took.as_millis())
            }
            Outcome::NotAwaited => f.write_str("not waited for"),
        }
    }
}

/// A zone, and how it became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The zone.
    pub zone: Zone,
    /// Who is believed.
    pub source: Source,
    /// Every source that was asked, most trusted first; empty if the operator named the zone.
    pub tried: Vec<Attempt>,
}

impl Detected {
    /// Sources that name another zone than the one that is believed. Worth a warning: clients may be using that name,
    /// and an alias or `FINGERPOST_ZONE` is due.
    pub fn contradictions(&self) -> impl Iterator<Item = (Source, &Zone)> {
        let zones = self.tried.iter().filter_map(|attempt| Some((attempt.source, attempt.outcome.zone()?)));
        zones.filter(|(_, zone)| **zone != self.zone)
    }
}

impl fmt::Display for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {} from {}", self.zone, self.source)?;
        let (own, others): (Vec<_>, Vec<_>) =
            self.tried.iter().partition(|attempt| attempt.source == self.source);
        if let Some(own) = own.first() {
            write!(f, " in {} ms", own.took.as_millis())?;
        }
        if !others.is_empty() {
            f.write_str("; tried: ")?;
            list(f, others.into_iter())?;
        }
        Ok(())
    }
}

/// Why there is no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undetected {
    /// The operator named a zone that can't be one: start-up should stop, for the operator meant something.
    #[error(
        "FINGERPOST_ZONE is {}, which is no zone; write up to 60 of a-z, 0-9, '-' and '_', or unset it to have \
             the zone detected",
        excerpt(value)
    )]
    Named {
        /// What it is set to.
        value: String,
        /// What is wrong with that.
        #[source]
        error: LabelError,
    },
    /// No source knows a zone: go on without one, or stop, as the operator wants.
    #[error(
        "no availability zone was found; name it with --zone or FINGERPOST_ZONE, such as \
             FINGERPOST_ZONE=us-east-1a; tried: {}",
        Listed(tried)
    )]
    Nowhere {
        /// Every source, most trusted first.
        tried: Vec<Attempt>,
    },
}

impl Undetected {
    /// Every source that was asked, most trusted first.
    pub fn tried(&self) -> &[Attempt] {
        match self {
            Self::Named { .. } => &[],
            Self::Nowhere { tried } => tried,
        }
    }
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0.iter())
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, attempts: impl Iterator<Item = &'a Attempt>) -> fmt::Result {
    for (index, attempt) in attempts.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{attempt}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    fn attempt(source: Source, outcome: Outcome, millis: u64) -> Attempt {
        Attempt { source, outcome, took: Duration::from_millis(millis) }
    }

    #[test]
    fn a_result_is_one_line_that_says_it_all() {
        let zone = Zone::parse("us-east-1a").unwrap();
        let other = Zone::parse("rack-7").unwrap();
        let detected = Detected {
            zone: zone.clone(),
            source: Source::Ec2,
            tried: vec![
                attempt(Source::Ecs, Outcome::NotHere("not in ECS".to_owned()), 0),
                attempt(Source::Ec2, Outcome::Found(zone), 3),
                attempt(Source::Gcp, Outcome::Failed("no answer".to_owned()), 2000),
                attempt(Source::Azure, Outcome::Found(other.clone()), 4),
            ],
        };
        assert_eq!(
            detected.to_string(),
            "zone us-east-1a from EC2 (IMDSv2) in 3 ms; tried: ECS: not in ECS, GCP: no answer (2000 ms), \
             Azure: rack-7 (4 ms)"
        );
        assert_eq!(detected.contradictions().collect::<Vec<_>>(), [(Source::Azure, &other)]);
    }

    #[test]
    fn an_error_says_how_to_name_the_zone_by_hand_and_keeps_its_source_apart() {
        let tried = vec![
            attempt(Source::Ecs, Outcome::NotHere("not in ECS".to_owned()), 0),
            attempt(Source::Gcp, Outcome::NotAwaited, 0),
        ];
        let text = Undetected::Nowhere { tried }.to_string();
        assert_eq!(
            text,
            "no availability zone was found; name it with --zone or FINGERPOST_ZONE, such as \
             FINGERPOST_ZONE=us-east-1a; tried: ECS: not in ECS, GCP: not waited for"
        );
        let named = Undetected::Named { value: "eu.west".to_owned(), error: LabelError::Character('.') };
        assert!(named.to_string().starts_with("FINGERPOST_ZONE is \"eu.west\", which is no zone"), "{named}");
        assert_eq!(named.source().unwrap().to_string(), LabelError::Character('.').to_string());
        assert!(!named.to_string().contains("'.'"));
    }

    #[test]
    fn what_is_no_zone_is_shown_cut_and_on_one_line() {
        assert_eq!(Outcome::of_zone_text(" US-East-1A\n").zone().unwrap().as_str(), "us-east-1a");
        let Outcome::Failed(why) = Outcome::of_zone_text(&format!("<html>\n{}", "x".repeat(9000))) else {
            panic!("HTML is no zone")
        };
        assert!(why.starts_with(r#"it says "<html>\nxxx"#), "{why}");
        assert!(why.len() < 200 && !why.contains('\n'), "{why}");
        let Outcome::Failed(why) = Outcome::of_zone_text("") else { panic!("nothing is no zone") };
        assert_eq!(why, r#"it says "", which is no zone: it is empty"#);
    }
}
