//! Write tracking (crate `mmu-gc`) over leaves: what their dirty bits say.
//!
//! Only private anonymous memory is tracked. A file's or shared memory's page belongs to an object that uses the same
//! bits for write-back; one that may be written counts as written, and stays as it is.

use mmu_gc::{Armed, Engine, Leaf};

use crate::{EntryCell, EntryFlags};

impl Leaf for EntryCell {
    #[inline]
    fn is_dirty(&self) -> bool {
        let entry = self.load();
        if entry.has(EntryFlags::ANONYMOUS) {
            entry.has(EntryFlags::DIRTY)
        } else {
            entry.flags().intersects(EntryFlags::DIRTY | EntryFlags::WRITABLE)
        }
    }

    #[inline]
    fn arm(&self, engine: Engine) -> Armed {
        let bits = match engine {
            Engine::Dirty => EntryFlags::DIRTY,
            Engine::Trap => EntryFlags::DIRTY | EntryFlags::WRITABLE,
        };
        // Most leaves are clean already, and looking costs less than a locked operation. If another leaf comes in between,
        // or this one becomes dirty, that happens while arming runs and may be told or not. It stays a leaf of the same
        // area, as the owner's lock is held, so one of anonymous memory or of none.
        let entry = self.load();
        if !entry.has(EntryFlags::ANONYMOUS) || !entry.flags().intersects(bits) {
            return Armed::Unchanged;
        }
        self.clear(bits);
        Armed::Stale
    }
}
