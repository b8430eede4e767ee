//! The registry as the keeper of serials: the DNS front asks for what it needs, and never sees a registry.

use crate::dns::transfer::{Asked, Mark, Serials};
use crate::registry::{Error, Registry, ZoneMark};
use std::error::Error as _;
use std::fmt;

/// Keeps serials in this registry.
pub(super) struct Kept(pub(super) Registry);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Serials for Kept {
    fn read<'a>(&'a self, apex: &'a str) -> Asked<'a, Option<Mark>> {
        Box::pin(async move {
            let found = self.0.zone_mark(apex).await.map_err(|error| in_words(&error))?;
            Ok(found.map(|ZoneMark { serial, digest }| Mark { serial, digest }))
        })
    }

    fn swap<'a>(&'a self, apex: &'a str, expected: Option<&'a Mark>, new: &'a Mark) -> Asked<'a, bool> {
        Box::pin(async move {
            let kept = |mark: &Mark| ZoneMark { serial: mark.serial, digest: mark.digest.clone() };
            let (expected, new) = (expected.map(kept), kept(new));
            self.0.swap_zone_mark(apex, expected.as_ref(), &new).await.map_err(|error| in_words(&error))
        })
    }
}

fn in_words(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
