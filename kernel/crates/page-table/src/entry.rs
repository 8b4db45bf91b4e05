//! Page-table entries (Intel SDM vol. 3, 4.5.4, tables 4-15 to 4-20).

use bitflags::bitflags;

use crate::primitive::{AtomicU64, Ordering, PhysAddr};

bitflags! {
    /// Bits of an entry beside the address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// P: the processor uses the entry. If it is clear, all other bits are ours (4.5.4, table 4-20).
        const PRESENT = 1 << 0;
        /// R/W: writes are allowed (in ring 0 too, as CR0.WP is set: 4.6.1).
        const WRITABLE = 1 << 1;
        /// U/S: ring 3 may use it. Never set: the application runs in ring 0.
        const USER = 1 << 2;
        /// PWT: memory type, with PCD and PAT (4.9.2).
        const WRITE_THROUGH = 1 << 3;
        /// PCD.
        const CACHE_DISABLE = 1 << 4;
        /// A: set by the processor when it uses the entry (4.8).
        const ACCESSED = 1 << 5;
        /// D: set by the processor when it writes through a leaf (4.8).
        const DIRTY = 1 << 6;
        /// PS in a second-level entry: it is a leaf of 2 MiB (4.5.4, table 4-18).
        const HUGE = 1 << 7;
        /// G: kept in the TLB when CR3 is loaded (4.10.2.4).
        const GLOBAL = 1 << 8;
        /// Ignored by the processor. Ours: private anonymous memory, which the leaf alone refers to.
        const ANONYMOUS = 1 << 9;
        /// Ignored by the processor. Ours: the shared page of zeros, which is not counted.
        const ZERO_PAGE = 1 << 10;
        /// Ignored by the processor. Ours: a page of shared anonymous memory.
        const SHARED_MEMORY = 1 << 11;
        /// XD: no instruction fetch (with IA32_EFER.NXE set).
        const NO_EXECUTE = 1 << 63;
    }
}

/// Bits 51:12; MAXPHYADDR is 52 at most, and bits above the CPU's own are reserved and must be 0,
/// which addresses of real frames respect.
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// The value of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// No page, no table.
    pub const EMPTY: Self = Self(0);

    /// An entry with this address, a multiple of the page size, and these flags.
    pub const fn new(address: PhysAddr, flags: EntryFlags) -> Self {
        debug_assert!(address.as_u64() & !ADDRESS_MASK == 0);
        Self(address.as_u64() | flags.bits())
    }

    /// The frame or table.
    pub const fn address(self) -> PhysAddr {
        PhysAddr::new(self.0 & ADDRESS_MASK)
    }

    /// The flags.
    pub const fn flags(self) -> EntryFlags {
        EntryFlags::from_bits_truncate(self.0)
    }

    /// Whether the entry names nothing. One that is not empty and not present names a page that must
    /// not be touched now (`PROT_NONE`).
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the processor uses it.
    pub const fn is_present(self) -> bool {
        self.0 & EntryFlags::PRESENT.bits() != 0
    }

    /// Whether it has all of `flags`.
    pub const fn has(self, flags: EntryFlags) -> bool {
        self.0 & flags.bits() == flags.bits()
    }

    /// The same with `flags` set.
    pub const fn with(self, flags: EntryFlags) -> Self {
        Self(self.0 | flags.bits())
    }

    /// The same with `flags` clear.
    pub const fn without(self, flags: EntryFlags) -> Self {
        Self(self.0 & !flags.bits())
    }
}

/// An entry in a table, shared with other CPUs' software and with their page walkers.
#[repr(transparent)]
pub struct EntryCell(AtomicU64);

impl EntryCell {
    /// An empty entry by itself.
    #[cfg(loom)]
    pub(crate) fn empty() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The value now.
    #[inline]
    pub fn load(&self) -> Entry {
        // Acquire: what a table points to was made before the pointer was stored.
        Entry(self.0.load(Ordering::Acquire))
    }

    /// Puts `new` in place of `current`, or gives what is there instead.
    #[inline]
    pub fn replace(&self, current: Entry, new: Entry) -> Result<(), Entry> {
        // Release: the page was filled, or the table zeroed, before it can be reached.
        match self.0.compare_exchange(current.0, new.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) => Err(Entry(found)),
        }
    }

    /// Empties the entry and gives what was there, with the accessed and dirty bits as of that moment.
    #[inline]
    pub fn take(&self) -> Entry {
        Entry(self.0.swap(0, Ordering::AcqRel))
    }

    /// Clears `flags` and gives the value before.
    #[inline]
    pub fn clear(&self, flags: EntryFlags) -> Entry {
        Entry(self.0.fetch_and(!flags.bits(), Ordering::AcqRel))
    }

    /// Changes the entry by `change` and gives the value before; `None` from `change` leaves it.
    pub fn update(&self, mut change: impl FnMut(Entry) -> Option<Entry>) -> Option<Entry> {
        let mut current = self.load();
        loop {
            match self.replace(current, change(current)?) {
                Ok(()) => return Some(current),
                Err(found) => current = found,
            }
        }
    }

    /// For entries of a table that nobody can reach yet.
    #[cfg(not(loom))]
    pub(crate) fn store(&self, entry: Entry) {
        self.0.store(entry.0, Ordering::Relaxed);
    }
}
