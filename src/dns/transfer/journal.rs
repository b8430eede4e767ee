//! Versions of a zone, and what changed from one to the next: as many steps as IXFR (RFC 1995) may need, bounded.

use super::contents::{Contents, Set};
use crate::limits::dns as limits;
use std::collections::VecDeque;
use std::sync::Arc;

/// One version of a zone, immutable: what a transfer reads from begin to end.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its serial, agreed on by all replicas.
    pub serial: u32,
    /// Its records.
    pub contents: Arc<Contents>,
    /// The last steps that led here, the oldest first; each begins where the one before ends.
    steps: VecDeque<Arc<Step>>,
}

/// What changed between two versions.
#[derive(Debug)]
pub struct Step {
    /// The serial before.
    pub from: u32,
    /// The SOA's data before.
    pub from_soa: Box<[u8]>,
    /// The SOA's data after.
    pub to_soa: Box<[u8]>,
    /// Records that went.
    pub removed: Vec<Change>,
    /// Records that came.
    pub added: Vec<Change>,
}

/// A record that came or went.
#[derive(Debug)]
pub struct Change {
    /// Owner in wire form.
    pub owner: Arc<[u8]>,
    /// Type.
    pub rtype: u16,
    /// TTL in seconds.
    pub ttl: u32,
    /// See [`Set::closed`].
    pub closed: bool,
    /// Data.
    pub data: Box<[u8]>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.owner.len() + self.data.len() + 12
    }
}

impl Step {
    /// Bytes that its records take, about.
    pub fn bytes(&self) -> usize {
        let soas = self.from_soa.len() + self.to_soa.len();
        self.removed.iter().chain(&self.added).map(Change::bytes).sum::<usize>() + soas
    }
}

impl Version {
    /// The first one that this process knows.
    pub fn first(serial: u32, contents: Arc<Contents>) -> Self {
        Self { serial, contents, steps: VecDeque::new() }
    }

    /// The one after this.
    pub fn next(&self, serial: u32, contents: Arc<Contents>) -> Self {
        let mut step = Step {
            from: self.serial,
            from_soa: self.contents.soa(self.serial),
            to_soa: contents.soa(serial),
            removed: Vec::new(),
            added: Vec::new(),
        };
        compare(&self.contents.sets, &contents.sets, &mut step);
        let mut steps = self.steps.clone();
        steps.push_back(Arc::new(step));
        let mut bytes: usize = steps.iter().map(|step| step.bytes()).sum();
        while bytes > limits::JOURNAL_BYTES || steps.len() > limits::JOURNAL_STEPS {
            bytes -= steps.pop_front().map_or(bytes, |step| step.bytes());
        }
        Self { serial, contents, steps }
    }

    /// The steps from `serial` to this version; `None` if they are not all known.
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<Step>>> {
        let first = self.steps.iter().position(|step| step.from == serial)?;
        Some(self.steps.iter().skip(first).map(Arc::clone).collect())
    }
}

/// Walks over both sorted lists at once.
fn compare(old: &[Arc<Set>], new: &[Arc<Set>], step: &mut Step) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let place = |set: &&Arc<Set>| (Arc::clone(&set.owner), set.rtype);
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => place(one).cmp(&place(other)),
        };
        let gone = if order.is_le() { old.next() } else { None };
        let come = if order.is_ge() { new.next() } else { None };
        if gone == come {
            continue;
        }
        // Records that stay as they are, are not told; a changed TTL is a change of each (RFC 2181 §5.2).
        let stays = |set: &Set, other: Option<&Arc<Set>>, data: &[u8]| {
            other.is_some_and(|other| {
                other.ttl == set.ttl
                    && other.closed == set.closed
                    && other.data.iter().any(|have| have == data)
            })
        };
        if let Some(set) = gone {
            let gone = set.data.iter().filter(|data| !stays(set, come, data));
            step.removed.extend(gone.map(|data| change(set, data)));
        }
        if let Some(set) = come {
            let come = set.data.iter().filter(|data| !stays(set, gone, data));
            step.added.extend(come.map(|data| change(set, data)));
        }
    }
}

fn change(set: &Set, data: &[u8]) -> Change {
    let Set { rtype, ttl, closed, .. } = *set;
    Change { owner: Arc::clone(&set.owner), rtype, ttl, closed, data: data.into() }
}
