//! Page faults.
//!
//! A fault takes the lock for reading, finds the area and puts a page into the leaf. What may wait (a page
//! that must be read, memory that must be reclaimed, a stack that grows) is done without the lock, and the
//! fault starts over with what it got in hand: the area is looked up again, and what it got is used only if
//! it is still what is mapped there.

use core::{ops::Range, sync::atomic::Ordering};

use frames::{Block, HUGE_PAGE_ORDER, HUGE_PAGE_SIZE, OutOfMemory, PAGE_SIZE, PageRef};
use linux_abi::Errno;
use page_table::{Entry, EntryCell, EntryFlags, LeafSize, Slot};
use vfs::PageAccess;
use vma::{Backing, VmFlags};

use crate::{
    AddressSpace, ObjectRef, Tlb,
    gather::Gather,
    space::{AreaVma, Layout, PageKind},
};

/// Pages that are mapped around a read fault if the object has them at hand (Linux's `fault_around_bytes`, 64
/// KiB).
const FAULT_AROUND_PAGES: usize = 16;
/// Free addresses that a growing stack leaves below it (Linux's `stack_guard_gap`, 256 pages).
const STACK_GUARD_GAP: usize = 256 * PAGE_SIZE;
/// How often memory is reclaimed for one fault before it fails.
const RECLAIM_ROUNDS: usize = 16;

/// What the access was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// How a fault was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// From memory.
    Minor,
    /// An object was asked for a page, which may have waited for I/O.
    Major,
}

/// Why a fault could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is mapped there: SIGSEGV, `SEGV_MAPERR`.
    NotMapped,
    /// The mapping does not allow it: SIGSEGV, `SEGV_ACCERR`.
    NoAccess,
    /// The object has no such page, or could not read it: SIGBUS, `BUS_ADRERR`.
    BeyondObject,
    /// No memory, and none to be reclaimed.
    OutOfMemory,
}

/// A page that was got without the lock.
struct InHand {
    object: ObjectRef,
    index: u64,
    access: PageAccess,
    page: PageRef,
    /// [`AddressSpace::object_epoch`] from before the object was asked.
    epoch: u64,
}

enum Step {
    Done,
    /// Something changed meanwhile; start over.
    Again,
    /// Ask the object.
    Fetch(ObjectRef, u64, PageAccess),
    /// Grow the area above down to the address.
    Grow,
    Reclaim,
}

impl From<OutOfMemory> for Step {
    fn from(_: OutOfMemory) -> Self {
        Self::Reclaim
    }
}

impl<T: Tlb> AddressSpace<T> {
    /// Serves a page fault: when it returns `Ok`, the access may be tried again.
    pub fn fault(&self, address: usize, access: Access) -> Result<FaultKind, FaultError> {
        let page_address = address & !(PAGE_SIZE - 1);
        let mut kind = FaultKind::Minor;
        let mut in_hand = None;
        let mut reclaimed = 0;
        loop {
            let step = {
                let layout = self.layout.read();
                let mut gather = Gather::new(self);
                let step = self.fault_step(&layout, page_address, access, &mut in_hand, &mut gather);
                gather.flush();
                step?
            };
            match step {
                Step::Done => return Ok(kind),
                Step::Again => {}
                Step::Grow => self.grow_down(page_address)?,
                Step::Reclaim => {
                    reclaimed += 1;
                    // A page that is allocated in the ordinary way has others reclaimed; back in this CPU's
                    // cache it is the one that the next attempt finds.
                    match PageRef::new_zeroed() {
                        Ok(page) if reclaimed <= RECLAIM_ROUNDS => drop(page),
                        _ => return Err(FaultError::OutOfMemory),
                    }
                }
                Step::Fetch(object, index, access) => {
                    kind = FaultKind::Major;
                    let epoch = self.object_epoch.load(Ordering::SeqCst);
                    match object.object().page(index, access) {
                        Ok(page) => in_hand = Some(InHand { object, index, access, page, epoch }),
                        Err(Errno::ENOMEM) => return Err(FaultError::OutOfMemory),
                        Err(_) => return Err(FaultError::BeyondObject),
                    }
                }
            }
        }
    }

    fn fault_step(
        &self,
        layout: &Layout,
        address: usize,
        access: Access,
        in_hand: &mut Option<InHand>,
        gather: &mut Gather<'_, T>,
    ) -> Result<Step, FaultError> {
        let Some((range, vma)) = layout.areas.find_from(address) else { return Err(FaultError::NotMapped) };
        if range.start > address {
            let may_grow = vma.flags.contains(VmFlags::GROWSDOWN);
            return if may_grow { Ok(Step::Grow) } else { Err(FaultError::NotMapped) };
        }
        let allowed = match access {
            Access::Write => vma.flags.contains(VmFlags::WRITE),
            Access::Execute => vma.flags.contains(VmFlags::EXEC),
            // As on Linux: x86 cannot allow less.
            Access::Read => vma.flags.intersects(VmFlags::ACCESS),
        };
        if !allowed {
            return Err(FaultError::NoAccess);
        }
        let step = match &vma.backing {
            None => self.fault_anonymous(range, vma.flags, address, access, gather),
            Some(backing) => {
                let index = backing.page_offset + ((address - range.start) / PAGE_SIZE) as u64;
                self.fault_object(range, vma, backing, index, address, access, in_hand, gather)
            }
        };
        Ok(step.unwrap_or_else(|step| step))
    }

    fn fault_anonymous(
        &self,
        range: Range<usize>,
        flags: VmFlags,
        address: usize,
        access: Access,
        gather: &mut Gather<'_, T>,
    ) -> Result<Step, Step> {
        let huge_start = address & !(HUGE_PAGE_SIZE - 1);
        if self.wants_huge_pages(flags)
            && range.start <= huge_start
            && range.end - huge_start >= HUGE_PAGE_SIZE
            && self.install_huge(huge_start, flags)?
        {
            return Ok(Step::Done);
        }
        let (cell, size) = match self.table.small_slot(address)? {
            Slot::Small(cell) => (cell, LeafSize::Small),
            Slot::Huge(cell) => (cell, LeafSize::Huge),
        };
        let found = cell.load();
        if found.is_empty() {
            return Ok(if size == LeafSize::Huge {
                Step::Again
            } else if access == Access::Write {
                self.install(cell, Self::anonymous_leaf(PageRef::try_new_zeroed()?, flags))
            } else {
                done(cell.replace(Entry::EMPTY, self.zero_leaf(flags)))
            });
        }
        if found.has(EntryFlags::ZERO_PAGE) && access == Access::Write {
            let page = PageRef::try_new_zeroed()?;
            return Ok(self.replace_leaf(cell, found, Self::anonymous_leaf(page, flags), address, gather));
        }
        Ok(self.adjust_leaf(cell, found, flags, access))
    }

    /// Puts a huge page at `start` if its second-level entry is empty and a block is free.
    fn install_huge(&self, start: usize, flags: VmFlags) -> Result<bool, OutOfMemory> {
        let cell = self.table.huge_slot(start)?;
        if !cell.load().is_empty() {
            return Ok(false);
        }
        let Ok(block) = Block::try_new_zeroed(HUGE_PAGE_ORDER) else { return Ok(false) };
        let leaf_flags = Self::read_flags(flags) | Self::write_flag(flags) | EntryFlags::ACCESSED;
        let leaf = Entry::new(block.phys(), leaf_flags | EntryFlags::HUGE | EntryFlags::ANONYMOUS);
        if cell.replace(Entry::EMPTY, leaf).is_err() {
            return Ok(false);
        }
        block.into_raw();
        self.resident.add(PageKind::Anonymous, (HUGE_PAGE_SIZE / PAGE_SIZE) as isize);
        Ok(true)
    }

    #[allow(clippy::too_many_arguments, reason = "one step of one function, cut out for its length")]
    fn fault_object(
        &self,
        range: Range<usize>,
        vma: &AreaVma,
        backing: &Backing<ObjectRef>,
        index: u64,
        address: usize,
        access: Access,
        in_hand: &mut Option<InHand>,
        gather: &mut Gather<'_, T>,
    ) -> Result<Step, Step> {
        let is_shared = vma.flags.contains(VmFlags::SHARED);
        let is_write = access == Access::Write;
        let Slot::Small(cell) = self.table.small_slot(address)? else { return Ok(Step::Again) };
        let found = cell.load();
        // Of a private area's pages only our own copies may be written; of a shared area's those that the
        // object knows to be dirty, whose leaves are writable. All else needs the object.
        let needs_object = found.is_empty()
            || (is_write && !found.has(EntryFlags::WRITABLE) && !found.has(EntryFlags::ANONYMOUS));
        if !needs_object {
            return Ok(self.adjust_leaf(cell, found, vma.flags, access));
        }
        let wanted = if is_shared && is_write { PageAccess::SharedWrite } else { PageAccess::Read };
        let ready = in_hand
            .take()
            .filter(|got| got.object == backing.object && got.index == index && got.access == wanted);
        let (page, epoch) = match ready {
            Some(got) => (got.page, got.epoch),
            None => {
                let epoch = self.object_epoch.load(Ordering::SeqCst);
                let at_hand = match wanted {
                    PageAccess::Read => backing.object.object().cached_page(index),
                    PageAccess::SharedWrite => None,
                };
                match at_hand {
                    Some(page) => (page, epoch),
                    None => return Ok(Step::Fetch(backing.object.clone(), index, wanted)),
                }
            }
        };
        if is_write && !is_shared {
            let copy = PageRef::try_new_zeroed()?;
            // SAFETY: two distinct whole frames; the copy is not mapped yet.
            unsafe { core::ptr::copy_nonoverlapping(page.as_ptr(), copy.as_ptr(), PAGE_SIZE) };
            let leaf = Self::anonymous_leaf(copy, vma.flags);
            return Ok(if found.is_empty() {
                self.install(cell, leaf)
            } else {
                self.replace_leaf(cell, found, leaf, address, gather)
            });
        }
        let mut leaf_flags = Self::read_flags(vma.flags) | EntryFlags::ACCESSED;
        leaf_flags |= Self::object_leaf_flags(backing.object.kind);
        if is_write {
            leaf_flags |= EntryFlags::WRITABLE | EntryFlags::DIRTY;
        }
        let leaf = NewLeaf { entry: Entry::new(page.phys(), leaf_flags), page };
        let entry = leaf.entry;
        let step = if found.is_empty() {
            self.install(cell, leaf)
        } else if found.address() == entry.address() {
            // The leaf has a reference already; ours goes.
            done(cell.replace(found, entry))
        } else {
            self.replace_leaf(cell, found, leaf, address, gather)
        };
        if !matches!(step, Step::Done) {
            return Ok(step);
        }
        // Did the object take the page back, or clean it, before it could see our leaf? See `reverse_map`.
        if self.object_epoch.load(Ordering::SeqCst) != epoch {
            Self::retract(cell, entry, address, gather);
            return Ok(Step::Again);
        }
        if !is_write {
            self.fault_around(range, vma, backing, address, epoch, gather);
        }
        Ok(Step::Done)
    }

    /// Maps the pages around a read fault that the object has at hand. What fails is left for a fault of its
    /// own.
    fn fault_around(
        &self,
        range: Range<usize>,
        vma: &AreaVma,
        backing: &Backing<ObjectRef>,
        address: usize,
        epoch: u64,
        gather: &mut Gather<'_, T>,
    ) {
        // An aligned window lies in one table, which exists.
        let window = address & !(FAULT_AROUND_PAGES * PAGE_SIZE - 1);
        let start = window.max(range.start);
        let end = (window + FAULT_AROUND_PAGES * PAGE_SIZE).min(range.end);
        let leaf_flags = Self::read_flags(vma.flags) | Self::object_leaf_flags(backing.object.kind);
        for around in (start..end).step_by(PAGE_SIZE) {
            let Ok(Slot::Small(cell)) = self.table.small_slot(around) else { return };
            if !cell.load().is_empty() {
                continue;
            }
            let index = backing.page_offset + ((around - range.start) / PAGE_SIZE) as u64;
            let Some(page) = backing.object.object().cached_page(index) else { continue };
            let entry = Entry::new(page.phys(), leaf_flags);
            let installed = matches!(self.install(cell, NewLeaf { entry, page }), Step::Done);
            if installed && self.object_epoch.load(Ordering::SeqCst) != epoch {
                Self::retract(cell, entry, around, gather);
                return;
            }
        }
    }

    /// The right to write that private anonymous memory of an area has.
    pub(crate) fn write_flag(flags: VmFlags) -> EntryFlags {
        if flags.contains(VmFlags::WRITE) {
            // Dirty too: it saves the processor a locked write, and nobody asks about anonymous memory unless
            // he has cleared the bit before.
            EntryFlags::WRITABLE | EntryFlags::DIRTY
        } else {
            EntryFlags::empty()
        }
    }

    fn anonymous_leaf(page: PageRef, flags: VmFlags) -> NewLeaf {
        let leaf_flags =
            Self::read_flags(flags) | Self::write_flag(flags) | EntryFlags::ACCESSED | EntryFlags::ANONYMOUS;
        NewLeaf { entry: Entry::new(page.phys(), leaf_flags), page }
    }

    /// Puts a leaf where none is.
    fn install(&self, cell: &EntryCell, leaf: NewLeaf) -> Step {
        if cell.replace(Entry::EMPTY, leaf.entry).is_err() {
            return Step::Again;
        }
        leaf.page.into_raw();
        if let Some(kind) = PageKind::of(leaf.entry) {
            self.resident.add(kind, 1);
        }
        Step::Done
    }

    /// Puts `leaf` in place of a leaf for another frame.
    ///
    /// By way of an empty leaf and a flush: otherwise one CPU could still read the old frame while another
    /// reads what was written to the new one.
    fn replace_leaf(
        &self,
        cell: &EntryCell,
        found: Entry,
        leaf: NewLeaf,
        address: usize,
        gather: &mut Gather<'_, T>,
    ) -> Step {
        if cell.replace(found, Entry::EMPTY).is_err() {
            return Step::Again;
        }
        gather.leaf(address, LeafSize::Small, found);
        gather.flush();
        self.install(cell, leaf)
    }

    /// Empties a leaf for the frame of `entry`, whatever rights and bits it has got since.
    fn retract(cell: &EntryCell, entry: Entry, address: usize, gather: &mut Gather<'_, T>) {
        let taken = cell.update(|now| (now.address() == entry.address()).then_some(Entry::EMPTY));
        if let Some(taken) = taken {
            gather.leaf(address, LeafSize::Small, taken);
        }
    }

    /// A leaf is there and the area allows the access: give it the rights that the area has.
    fn adjust_leaf(&self, cell: &EntryCell, found: Entry, flags: VmFlags, access: Access) -> Step {
        let mut wanted = found.without(EntryFlags::NO_EXECUTE).with(Self::read_flags(flags));
        if found.has(EntryFlags::ANONYMOUS) {
            wanted = match access {
                // Dirty at once, with the right to write: so a page that tracking had write-protected is noted as written.
                Access::Write => wanted.with(Self::write_flag(flags)),
                // Reading is not writing: dirty bits, and what is write-protected to find writes out, stay as they are.
                Access::Read | Access::Execute => wanted,
            };
            let is_trap = access == Access::Write && found.is_present() && !found.has(EntryFlags::WRITABLE);
            if is_trap {
                self.write_traps.fetch_add(1, Ordering::Relaxed);
            }
        }
        if wanted == found {
            // Another CPU was quicker, or the TLB held what was there before.
            debug_assert!(access != Access::Write || found.has(EntryFlags::WRITABLE));
            return Step::Done;
        }
        // Rights only grow here, so no TLB holds too much.
        done(cell.replace(found, wanted))
    }

    /// Grows the area above `address` down to it, as a stack.
    fn grow_down(&self, address: usize) -> Result<(), FaultError> {
        let mut layout = self.layout.write();
        let Some((range, vma)) = layout.areas.find_from(address) else { return Err(FaultError::NotMapped) };
        if range.start <= address {
            return Ok(());
        }
        if !vma.flags.contains(VmFlags::GROWSDOWN) || address < self.config.bounds.start {
            return Err(FaultError::NotMapped);
        }
        // As Linux counts it: the lowest area, if `mprotect` made several of the stack.
        if range.end - address > self.limits.stack_bytes.load(Ordering::Relaxed)
            || self.check_limits(&layout, vma.flags, range.start - address, 0).is_err()
        {
            return Err(FaultError::NotMapped);
        }
        if let Some((before, below)) = layout.areas.find_before(range.start)
            && below.flags.intersects(VmFlags::ACCESS)
            && !below.flags.contains(VmFlags::GROWSDOWN)
            && address < before.end + STACK_GUARD_GAP
        {
            return Err(FaultError::NotMapped);
        }
        let vma = vma.clone();
        layout.areas.insert(address..range.start, vma).map_err(|_| FaultError::OutOfMemory)
    }
}

/// A leaf to be installed, with the reference that it will own.
struct NewLeaf {
    entry: Entry,
    page: PageRef,
}

fn done(result: Result<(), Entry>) -> Step {
    if result.is_ok() { Step::Done } else { Step::Again }
}
