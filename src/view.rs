//! The only shared mutable cell: fronts [`View::load`] the current [`Fleet`], one [`Publisher`] swaps it.

use crate::model::Fleet;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use tokio::sync::watch;

/// A cheap clone through which fronts read the current snapshot: wait-free, no lock, no allocation.
#[derive(Clone, Debug)]
pub struct View {
    cell: Arc<ArcSwap<Fleet>>,
    changed: watch::Receiver<u64>,
}

/// The one side that may publish.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<ArcSwap<Fleet>>,
    changed: watch::Sender<u64>,
}

/// A view of an empty, unsynced fleet, and its publisher.
pub fn channel() -> (Publisher, View) {
    let cell = Arc::new(ArcSwap::from_pointee(Fleet::default()));
    let (sender, receiver) = watch::channel(0);
    (Publisher { cell: Arc::clone(&cell), changed: sender }, View { cell, changed: receiver })
}

impl View {
    /// The snapshot of this moment. Load it once per batch or request and use that one throughout.
    pub fn load(&self) -> Guard<Arc<Fleet>> {
        self.cell.load()
    }

    /// The snapshot of this moment, to keep.
    pub fn load_full(&self) -> Arc<Fleet> {
        self.cell.load_full()
    }

    /// Waits until `wanted` holds of the published snapshot and returns it; `None` when the publisher is gone.
    /// A lease that merely runs out publishes nothing.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Fleet) -> bool) -> Option<Arc<Fleet>> {
        let mut changed = self.changed.clone();
        changed.wait_for(|_| wanted(&self.cell.load())).await.ok()?;
        Some(self.cell.load_full())
    }

    /// A receiver that is told each new generation.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

impl Publisher {
    /// The snapshot of this moment, to edit.
    pub fn current(&self) -> Arc<Fleet> {
        self.cell.load_full()
    }

    /// Makes `fleet` the snapshot that every front reads from now on.
    pub fn publish(&self, fleet: Fleet) {
        let generation = fleet.generation();
        let before = self.cell.swap(Arc::new(fleet));
        self.changed.send_replace(generation);
        // Only now: taking apart what the new snapshot does not share may take longer than all of the above.
        drop(before);
    }
}
