//! A registry that can be followed but not written: what an agent's own admin API is given, so that whoever reaches it
//! can't write records with the agent's credentials.

use crate::model::AgentKey;
use crate::registry::{Boxed, Error, Keyspace, Problem, Registry, Session, Store, ZoneMark};
use std::time::Duration;

/// The registry that it stands in front of.
pub struct ReadOnly(pub Registry);

impl ReadOnly {
    fn refused<T>(&self) -> Result<T, Error> {
        Err(Error::Refused(self.0.name().to_owned(), "an agent's admin API only shows".to_owned()))
    }
}

impl Store for ReadOnly {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn keyspace(&self) -> &Keyspace {
        self.0.keyspace()
    }

    fn put<'a>(&'a self, _: &'a AgentKey, _: &'a str, _: Duration) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async { self.refused() })
    }

    fn remove<'a>(&'a self, _: &'a AgentKey) -> Boxed<'a, Result<bool, Error>> {
        Box::pin(async { self.refused() })
    }

    fn zone_mark<'a>(&'a self, apex: &'a str) -> Boxed<'a, Result<Option<ZoneMark>, Error>> {
        self.0.zone_mark(apex)
    }

    fn swap_zone_mark<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a ZoneMark>,
        _: &'a ZoneMark,
    ) -> Boxed<'a, Result<bool, Error>> {
        Box::pin(async { self.refused() })
    }

    fn session<'a>(&'a self) -> Boxed<'a, Result<Box<dyn Session>, Error>> {
        self.0.session()
    }

    fn probe<'a>(&'a self) -> Boxed<'a, Vec<Problem>> {
        self.0.probe()
    }
}
