//! What queries are answered from, exchanged as a whole at a reload: one atomic pointer that every worker and
//! connection reads. A batch or message that is under way ends with what it began with.

use super::respond::Responder;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// The responder in use. Cheap to clone; all clones see a replacement at once.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Responder>>);

impl Live {
    /// Begins with this responder.
    pub fn new(responder: Responder) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(responder)))
    }

    /// The responder of this moment: wait-free, no lock, no allocation. Load it once per batch or message.
    pub fn load(&self) -> Guard<Arc<Responder>> {
        self.0.load()
    }

    /// From now on, queries are answered from `responder`, which goes on with what the one before learned while it ran.
    pub fn replace(&self, mut responder: Responder) {
        responder.inherit(&self.0.load());
        let before = self.0.swap(Arc::new(responder));
        // Only now, and on this thread: taking a large zone apart takes longer than all of the above.
        drop(before);
    }
}
