//! The address space itself, and what all its operations share.

use alloc::collections::BTreeSet;
use core::{
    ops::Range,
    sync::atomic::{AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

use frames::{HUGE_PAGE_SIZE, MAX_CPUS, OutOfMemory, PAGE_SIZE, PageRef, PhysAddr};
use ksync::{RwLock, SpinLock, platform};
use linux_abi::Errno;
use page_table::{Entry, EntryFlags, LeafSize, PageTable};
use vma::{VmFlags, Vma, VmaMap};

use crate::{ObjectRef, Tlb, gather::Gather, object::ObjectKind};

/// Where things may be mapped.
#[derive(Clone, Debug)]
pub struct Config {
    /// All that may be mapped. The page of address 0 must not be: the JVM's null checks rely on faults there.
    pub bounds: Range<usize>,
    /// Mappings whose place is free go below this, downwards (`mmap_base`).
    pub mmap_base: usize,
    /// Memory of the machine in bytes, for overcommit.
    pub memory_bytes: usize,
    /// How far a stack may grow at first, in bytes; see [`Limits`].
    pub stack_limit_bytes: usize,
}

/// What `setrlimit(2)` allows, in bytes; `usize::MAX` is no limit. Looked at when something is to be mapped; what is
/// mapped stays.
#[derive(Debug)]
pub struct Limits {
    /// `RLIMIT_STACK`: size of a mapping that grows down at faults.
    pub stack_bytes: AtomicUsize,
    /// `RLIMIT_AS`: all that is mapped.
    pub address_space_bytes: AtomicUsize,
    /// `RLIMIT_DATA`: private writable memory.
    pub data_bytes: AtomicUsize,
}

/// Who gets huge pages (`/sys/kernel/mm/transparent_hugepage/enabled`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HugePagePolicy {
    /// Every area but those with `MADV_NOHUGEPAGE`.
    Always,
    /// Areas with `MADV_HUGEPAGE`.
    Madvise,
    /// None.
    Never,
}

/// Bytes in memory, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentBytes {
    /// Private anonymous (`RssAnon`).
    pub anonymous: usize,
    /// Of files (`RssFile`).
    pub file: usize,
    /// Shared anonymous (`RssShmem`).
    pub shared_memory: usize,
}

impl ResidentBytes {
    /// All of it (`VmRSS`).
    pub const fn total(self) -> usize {
        self.anonymous + self.file + self.shared_memory
    }
}

#[derive(Clone, Copy)]
pub(crate) enum PageKind {
    Anonymous,
    File,
    SharedMemory,
}

impl PageKind {
    /// What a leaf counts as; the page of zeros counts as nothing.
    pub fn of(entry: Entry) -> Option<Self> {
        if entry.has(EntryFlags::ZERO_PAGE) {
            None
        } else if entry.has(EntryFlags::ANONYMOUS) {
            Some(Self::Anonymous)
        } else if entry.has(EntryFlags::SHARED_MEMORY) {
            Some(Self::SharedMemory)
        } else {
            Some(Self::File)
        }
    }
}

/// Pages by kind, counted on each CPU, so that faults on 64 of them do not share a cache line. A page may
/// be counted here and uncounted there: only the sum means anything.
pub(crate) struct Resident([CpuPages; MAX_CPUS]);

#[repr(align(64))]
struct CpuPages([AtomicIsize; 3]);

impl Resident {
    const fn new() -> Self {
        Self([const { CpuPages([const { AtomicIsize::new(0) }; 3]) }; MAX_CPUS])
    }

    pub fn add(&self, kind: PageKind, pages: isize) {
        self.0[platform::cpu_index() % MAX_CPUS].0[kind as usize].fetch_add(pages, Ordering::Relaxed);
    }

    fn bytes(&self, kind: PageKind) -> usize {
        let sum: isize = self.0.iter().map(|cpu| cpu.0[kind as usize].load(Ordering::Relaxed)).sum();
        sum.max(0) as usize * PAGE_SIZE
    }
}

pub(crate) type Areas = VmaMap<ObjectRef>;
pub(crate) type AreaVma = Vma<ObjectRef>;

/// What the lock guards.
pub(crate) struct Layout {
    pub areas: Areas,
    /// From the start of the heap to the break.
    pub heap: Range<usize>,
    /// Flags that new areas get (`mlockall(MCL_FUTURE)`).
    pub future_flags: VmFlags,
}

/// The application's half of the address space.
pub struct AddressSpace<T: Tlb> {
    pub(crate) layout: RwLock<Layout>,
    pub(crate) table: PageTable,
    pub(crate) tlb: T,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) resident: Resident,
    /// Grows before pages of an object are unmapped or write-protected (see `reverse_map`).
    pub(crate) object_epoch: AtomicU64,
    pub(crate) mapped_objects: SpinLock<BTreeSet<usize>>,
    /// Write faults on pages that tracking had write-protected.
    pub(crate) write_traps: AtomicU64,
    zero_page: PhysAddr,
    huge_page_policy: AtomicU8,
}

impl<T: Tlb> AddressSpace<T> {
    /// An address space in which nothing is mapped.
    pub fn new(config: Config, table: PageTable, tlb: T) -> Result<Self, OutOfMemory> {
        assert!(config.bounds.start >= PAGE_SIZE && config.bounds.end <= page_table::LOWER_HALF_END);
        let heap = config.bounds.start..config.bounds.start;
        Ok(Self {
            layout: RwLock::new(Layout { areas: VmaMap::new(), heap, future_flags: VmFlags::empty() }),
            table,
            tlb,
            limits: Limits {
                stack_bytes: AtomicUsize::new(config.stack_limit_bytes),
                address_space_bytes: AtomicUsize::new(usize::MAX),
                data_bytes: AtomicUsize::new(usize::MAX),
            },
            config,
            resident: Resident::new(),
            object_epoch: AtomicU64::new(0),
            mapped_objects: SpinLock::new(BTreeSet::new()),
            write_traps: AtomicU64::new(0),
            zero_page: PageRef::new_zeroed()?.into_raw(),
            huge_page_policy: AtomicU8::new(HugePagePolicy::Madvise as u8),
        })
    }

    /// The process's limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who gets huge pages from now on.
    pub fn set_huge_page_policy(&self, policy: HugePagePolicy) {
        self.huge_page_policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Who gets huge pages.
    pub fn huge_page_policy(&self) -> HugePagePolicy {
        match self.huge_page_policy.load(Ordering::Relaxed) {
            0 => HugePagePolicy::Always,
            1 => HugePagePolicy::Madvise,
            _ => HugePagePolicy::Never,
        }
    }

    /// What is in memory now.
    pub fn resident(&self) -> ResidentBytes {
        ResidentBytes {
            anonymous: self.resident.bytes(PageKind::Anonymous),
            file: self.resident.bytes(PageKind::File),
            shared_memory: self.resident.bytes(PageKind::SharedMemory),
        }
    }

    /// Bytes mapped (`VmSize`).
    pub fn mapped_bytes(&self) -> usize {
        self.layout.read().areas.total_bytes()
    }

    /// The most that was ever mapped (`VmPeak`).
    pub fn peak_mapped_bytes(&self) -> usize {
        self.layout.read().areas.peak_bytes()
    }

    /// Bytes that are promised (`Committed_AS`).
    pub fn accounted_bytes(&self) -> usize {
        let layout = self.layout.read();
        let mut bytes = 0;
        let mut at = 0;
        while let Some((range, vma)) = layout.areas.find_from(at) {
            at = range.end;
            if vma.flags.contains(VmFlags::ACCOUNT) {
                bytes += range.len();
            }
        }
        bytes
    }

    /// Bytes of page tables (`VmPTE`).
    pub fn table_bytes(&self) -> usize {
        self.table.table_bytes()
    }

    /// What CR3 takes.
    pub fn page_table_root(&self) -> PhysAddr {
        self.table.root()
    }

    pub(crate) fn wants_huge_pages(&self, flags: VmFlags) -> bool {
        match self.huge_page_policy() {
            HugePagePolicy::Always => !flags.contains(VmFlags::NOHUGEPAGE),
            HugePagePolicy::Madvise => flags.contains(VmFlags::HUGEPAGE),
            HugePagePolicy::Never => false,
        }
    }

    /// The leaf flags for access to an area, without the right to write, which depends on the page.
    pub(crate) fn read_flags(flags: VmFlags) -> EntryFlags {
        let mut leaf = EntryFlags::empty();
        // x86 cannot allow writing or executing without reading, so any right gives this one.
        if flags.intersects(VmFlags::ACCESS) {
            leaf |= EntryFlags::PRESENT;
        }
        if !flags.contains(VmFlags::EXEC) {
            leaf |= EntryFlags::NO_EXECUTE;
        }
        leaf
    }

    /// A leaf for the page of zeros.
    pub(crate) fn zero_leaf(&self, flags: VmFlags) -> Entry {
        Entry::new(self.zero_page, Self::read_flags(flags) | EntryFlags::ZERO_PAGE | EntryFlags::ACCESSED)
    }

    /// How a leaf for a page of an object is marked.
    pub(crate) fn object_leaf_flags(kind: ObjectKind) -> EntryFlags {
        match kind {
            ObjectKind::File => EntryFlags::empty(),
            ObjectKind::SharedMemory => EntryFlags::SHARED_MEMORY,
        }
    }

    /// Splits huge leaves that `range` begins or ends inside of, so that no leaf maps addresses of two areas. The
    /// lock is held for writing.
    pub(crate) fn split_at_edges(&self, range: &Range<usize>) -> Result<(), Errno> {
        for edge in [range.start, range.end] {
            if !edge.is_multiple_of(HUGE_PAGE_SIZE) {
                let first = edge & !(HUGE_PAGE_SIZE - 1);
                if let Some((entry, LeafSize::Huge)) = self.table.query(edge) {
                    self.table
                        .split_huge(edge, || self.tlb.flush_range(first..first + HUGE_PAGE_SIZE))
                        .map_err(|_| Errno::ENOMEM)?;
                    // SAFETY: the huge leaf owned the block; the 512 leaves in its place own its pages.
                    let block = unsafe { frames::Block::from_raw(entry.address(), frames::HUGE_PAGE_ORDER) };
                    block.into_pages().for_each(|page| {
                        page.into_raw();
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a huge leaf maps addresses on both sides of an edge of `range`.
    pub(crate) fn cuts_huge_leaf(&self, range: &Range<usize>) -> bool {
        [range.start, range.end].into_iter().any(|edge| {
            !edge.is_multiple_of(HUGE_PAGE_SIZE)
                && matches!(self.table.query(edge), Some((_, LeafSize::Huge)))
        })
    }

    /// Empties the leaves of `range`, at whose edges no huge leaf is cut.
    pub(crate) fn zap(&self, range: Range<usize>, gather: &mut Gather<'_, T>) {
        self.table.for_each_leaf(range, |address, size, cell| gather.leaf(address, size, cell.take()));
    }

    /// Unmaps `range`: areas, leaves, tables. The lock is held for writing.
    pub(crate) fn unmap_locked(
        &self,
        layout: &mut Layout,
        range: Range<usize>,
        gather: &mut Gather<'_, T>,
    ) -> Result<(), Errno> {
        self.split_at_edges(&range)?;
        let mut any = false;
        layout
            .areas
            .remove(range.clone(), |area| {
                any = true;
                self.zap(area.range, gather);
                if let Some(backing) = area.vma.backing {
                    gather.object(backing.object);
                }
            })
            .map_err(|_| Errno::ENOMEM)?;
        if any {
            self.free_tables(layout, range, gather);
        }
        gather.flush();
        Ok(())
    }

    /// Frees the tables in which nothing is mapped any more after `range` was unmapped.
    fn free_tables(&self, layout: &Layout, range: Range<usize>, gather: &mut Gather<'_, T>) {
        let floor = layout.areas.find_before(range.start).map_or(0, |(before, _)| before.end);
        let ceiling =
            layout.areas.find_from(range.end).map_or(page_table::LOWER_HALF_END, |(next, _)| next.start);
        // SAFETY: the lock is held for writing; between the neighbouring areas there is nothing, and leaves
        // exist in areas only; `gather` keeps the tables until the flush.
        unsafe {
            self.table.take_tables(range.clone(), floor..ceiling, |table| gather.table(range.start, table));
        }
    }

    /// Clears the accessed or dirty bits (or both) of present leaves in `range`, telling `each` of those that had
    /// any of them set, in order of address; then flushes. Until the flush has ended a CPU may write through
    /// an entry whose dirty bit it cached as set, so `each` has the truth only if nothing runs meanwhile or is asked again.
    pub fn harvest(
        &self,
        range: Range<usize>,
        bits: EntryFlags,
        mut each: impl FnMut(usize, LeafSize, EntryFlags),
    ) {
        let bits = bits & (EntryFlags::ACCESSED | EntryFlags::DIRTY);
        let _layout = self.layout.read();
        let mut stale: Option<Range<usize>> = None;
        self.table.for_each_leaf(range, |address, size, cell| {
            let found = cell.load();
            if found.is_present() && found.flags().intersects(bits) {
                let found = cell.clear(bits);
                let start = stale.as_ref().map_or(address, |stale| stale.start);
                stale = Some(start..address + size.bytes());
                each(address, size, found.flags() & bits);
            }
        });
        if let Some(stale) = stale {
            self.tlb.flush_range(stale);
        }
    }
}

impl<T: Tlb> Drop for AddressSpace<T> {
    fn drop(&mut self) {
        let all = self.config.bounds.clone();
        let mut gather = Gather::new(self);
        let _ = self.unmap_locked(&mut self.layout.write(), all, &mut gather);
        drop(gather);
        // SAFETY: `new` gave the reference away, and no leaf names the page any more.
        drop(unsafe { PageRef::from_raw(self.zero_page) });
    }
}
