//! Tables: finding, making, walking, splitting and freeing.

use core::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use frames::{HUGE_PAGE_SIZE, OutOfMemory, PAGE_SIZE, PageRef, PhysAddr};
use mmu_gc::Run;

use crate::{Entry, EntryCell, EntryFlags, LOWER_HALF_END};

const ENTRIES: usize = 512;
type Table = [EntryCell; ENTRIES];

/// Levels as distances from the leaves of 4 KiB: a level-0 table's entries map 4 KiB each.
const ROOT_LEVEL: usize = 3;
const HUGE_LEVEL: usize = 1;

/// Bytes that an entry of a table at `level` covers.
const fn span(level: usize) -> usize {
    PAGE_SIZE << (9 * level)
}

const fn index(address: usize, level: usize) -> usize {
    address / span(level) % ENTRIES
}

/// An entry that refers to a table. Rights are checked at the leaves alone: everything is allowed
/// here (4.6 combines the levels), but for ring 3.
const TABLE_FLAGS: EntryFlags = EntryFlags::PRESENT.union(EntryFlags::WRITABLE).union(EntryFlags::ACCESSED);

/// How much a leaf maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafSize {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Huge,
}

impl LeafSize {
    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => PAGE_SIZE,
            Self::Huge => HUGE_PAGE_SIZE,
        }
    }
}

/// The entry that decides about an address.
pub enum Slot<'a> {
    /// Of a 4 KiB page; it may be empty.
    Small(&'a EntryCell),
    /// A 2 MiB leaf (present, or kept without access), or a second-level entry that was empty.
    Huge(&'a EntryCell),
}

/// The page tables of an address space's lower half.
pub struct PageTable {
    root: PhysAddr,
    /// Tables below the root.
    tables: AtomicUsize,
}

impl PageTable {
    /// Tables of their own, empty.
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { root: PageRef::new_zeroed()?.into_raw(), tables: AtomicUsize::new(0) })
    }

    /// The lower half under an existing root, where nothing is mapped yet.
    ///
    /// # Safety
    /// `root` is a root table, visible in the direct map for as long as this exists, whose lower 256
    /// entries are empty and from now on changed by this alone.
    pub const unsafe fn from_root(root: PhysAddr) -> Self {
        Self { root, tables: AtomicUsize::new(0) }
    }

    /// What CR3 takes.
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// Bytes that the tables below the root take (`VmPTE` in `/proc/self/status`).
    pub fn table_bytes(&self) -> usize {
        self.tables.load(Ordering::Relaxed) * PAGE_SIZE
    }

    fn table(&self, address: PhysAddr) -> &Table {
        // SAFETY: tables come from the frame allocator (or the caller of `from_root`), are zeroed before
        // they can be found, hold atomics only, and are freed with the owner's lock held for writing, when
        // no borrow like this one exists elsewhere.
        unsafe { &*address.as_ptr().cast() }
    }

    /// The table that the entry refers to, made if there is none; `None` if it is a huge leaf.
    fn child(&self, cell: &EntryCell) -> Result<Option<&Table>, OutOfMemory> {
        let mut entry = cell.load();
        if entry.is_empty() {
            let table = PageRef::try_new_zeroed()?;
            let new = Entry::new(table.phys(), TABLE_FLAGS);
            match cell.replace(Entry::EMPTY, new) {
                Ok(()) => {
                    self.tables.fetch_add(1, Ordering::Relaxed);
                    let _ = table.into_raw();
                    entry = new;
                }
                // Another CPU was quicker; ours goes back.
                Err(found) => entry = found,
            }
        }
        Ok((!entry.has(EntryFlags::HUGE)).then(|| self.table(entry.address())))
    }

    /// The second-level entry of `address`, with the tables above it made.
    pub fn huge_slot(&self, address: usize) -> Result<&EntryCell, OutOfMemory> {
        debug_assert!(address < LOWER_HALF_END);
        let mut table = self.table(self.root);
        for level in (HUGE_LEVEL + 1..=ROOT_LEVEL).rev() {
            let below = self.child(&table[index(address, level)])?;
            table = below.expect("1 GiB leaves are not used in the lower half");
        }
        Ok(&table[index(address, HUGE_LEVEL)])
    }

    /// The entry of the 4 KiB page at `address`, with the tables above it made; or the 2 MiB leaf that
    /// maps the address.
    pub fn small_slot(&self, address: usize) -> Result<Slot<'_>, OutOfMemory> {
        let cell = self.huge_slot(address)?;
        Ok(match self.child(cell)? {
            Some(table) => Slot::Small(&table[index(address, 0)]),
            None => Slot::Huge(cell),
        })
    }

    /// The leaf that maps `address`, if one does, present or not.
    pub fn query(&self, address: usize) -> Option<(Entry, LeafSize)> {
        let mut table = self.table(self.root);
        for level in (0..=ROOT_LEVEL).rev() {
            let entry = table[index(address, level)].load();
            if entry.is_empty() {
                return None;
            }
            if level == 0 {
                return Some((entry, LeafSize::Small));
            }
            if entry.has(EntryFlags::HUGE) {
                return Some((entry, LeafSize::Huge));
            }
            table = self.table(entry.address());
        }
        unreachable!("level 0 returns")
    }

    /// Gives `each` every leaf that maps some of `range`, in order of address, with the first address that
    /// the leaf maps. What is not there costs nothing: empty entries of any level are stepped over.
    pub fn for_each_leaf(&self, range: Range<usize>, mut each: impl FnMut(usize, LeafSize, &EntryCell)) {
        debug_assert!(range.end <= LOWER_HALF_END);
        self.walk(self.table(self.root), ROOT_LEVEL, range, &mut each);
    }

    /// Gives `each` the leaves that map some of `range`, in order of address, a table at a time: what looks at every leaf
    /// of gigabytes has a loop over a slice, not a call for each.
    pub fn for_each_run(&self, range: Range<usize>, mut each: impl FnMut(Run<'_, EntryCell>)) {
        debug_assert!(range.end <= LOWER_HALF_END);
        let mut at = range.start;
        while at < range.end {
            let first = at & !(HUGE_PAGE_SIZE - 1);
            let end = range.end.min(first + HUGE_PAGE_SIZE);
            match self.second_level(at) {
                Ok(cell) => {
                    let entry = cell.load();
                    if entry.has(EntryFlags::HUGE) {
                        each(Run::Huge { start: first, leaf: cell });
                    } else if !entry.is_empty() {
                        let table = self.table(entry.address());
                        let leaves = &table[index(at, 0)..=index(end - 1, 0)];
                        each(Run::Small { start: at & !(PAGE_SIZE - 1), leaves });
                    }
                    at = end;
                }
                Err(next) => at = next,
            }
        }
    }

    /// The second-level entry of `address`; or the next address that has one of another table, if there is none.
    fn second_level(&self, address: usize) -> Result<&EntryCell, usize> {
        let mut table = self.table(self.root);
        for level in (HUGE_LEVEL + 1..=ROOT_LEVEL).rev() {
            let entry = table[index(address, level)].load();
            if entry.is_empty() {
                return Err((address & !(span(level) - 1)) + span(level));
            }
            table = self.table(entry.address());
        }
        Ok(&table[index(address, HUGE_LEVEL)])
    }

    fn walk(
        &self,
        table: &Table,
        level: usize,
        range: Range<usize>,
        each: &mut dyn FnMut(usize, LeafSize, &EntryCell),
    ) {
        let mut at = range.start;
        while at < range.end {
            let first = at & !(span(level) - 1);
            let end = range.end.min(first + span(level));
            let cell = &table[index(at, level)];
            let entry = cell.load();
            if entry.is_empty() {
            } else if level == 0 {
                each(first, LeafSize::Small, cell);
            } else if entry.has(EntryFlags::HUGE) {
                each(first, LeafSize::Huge, cell);
            } else {
                self.walk(self.table(entry.address()), level - 1, at..end, each);
            }
            at = end;
        }
    }

    /// Makes a table of 512 small leaves of the huge leaf that maps `address`, if one does.
    ///
    /// While it is at work the leaf is not present; `flush` flushes its 2 MiB from all TLBs. Only then
    /// does the table appear: a processor must not see both sizes at a time (4.10.2.3; mixed sizes
    /// are also a known cause of machine checks). The owner's lock is held for writing.
    pub fn split_huge(&self, address: usize, flush: impl FnOnce()) -> Result<(), OutOfMemory> {
        let Some((_, LeafSize::Huge)) = self.query(address) else { return Ok(()) };
        let cell = self.huge_slot(address)?;
        let page = PageRef::try_new_zeroed()?;
        let before = cell.clear(EntryFlags::PRESENT);
        if before.is_present() {
            flush();
        }
        // No processor uses the entry now, so what it says of accessed and dirty is final.
        let last = cell.load();
        let leaf_flags =
            last.flags().difference(EntryFlags::HUGE) | before.flags().intersection(EntryFlags::PRESENT);
        let table = self.table(page.phys());
        for (n, small) in table.iter().enumerate() {
            let frame = PhysAddr::new(last.address().as_u64() + (n * PAGE_SIZE) as u64);
            small.store(Entry::new(frame, leaf_flags));
        }
        let result = cell.replace(last, Entry::new(page.phys(), TABLE_FLAGS));
        assert_eq!(result, Ok(()), "the leaf changed under the owner's lock");
        let _ = page.into_raw();
        self.tables.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes out the tables that map some of `range` and nothing outside `free`, around it, in which
    /// nothing is mapped any more; gives each to `each`.
    ///
    /// # Safety
    /// The owner's lock is held for writing, no leaf exists in `free`, and the tables are not reused before
    /// every TLB has been flushed: processors cache entries that refer to tables too (4.10.3).
    pub unsafe fn take_tables(&self, range: Range<usize>, free: Range<usize>, mut each: impl FnMut(PageRef)) {
        self.take_below(self.table(self.root), ROOT_LEVEL, range, &free, &mut each);
    }

    fn take_below(
        &self,
        table: &Table,
        level: usize,
        range: Range<usize>,
        free: &Range<usize>,
        each: &mut dyn FnMut(PageRef),
    ) {
        let mut at = range.start;
        while at < range.end {
            let first = at & !(span(level) - 1);
            let end = first + span(level);
            let cell = &table[index(at, level)];
            let entry = cell.load();
            if !entry.is_empty() && !entry.has(EntryFlags::HUGE) {
                let child = self.table(entry.address());
                if level > 1 {
                    self.take_below(child, level - 1, at..range.end.min(end), free, each);
                }
                if free.start <= first && end <= free.end {
                    debug_assert!(child.iter().all(|cell| cell.load().is_empty()));
                    cell.take();
                    self.tables.fetch_sub(1, Ordering::Relaxed);
                    // SAFETY: the table was made by `child` or `split_huge`, whose `into_raw` this undoes.
                    each(unsafe { PageRef::from_raw(entry.address()) });
                }
            }
            at = end;
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
