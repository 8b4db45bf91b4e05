//! The application's memory: the one address space, and what it needs of the machine.
//!
//! What is mapped, and how faults are served, is the crate `address-space`; TLBs are [`shootdown`]'s. The
//! lower half of the kernel's own page tables is the application's, so there is nothing to switch.

mod shootdown;

use alloc::{format, string::String, sync::Arc};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use address_space::{Access, AddressSpace, FaultError, FaultKind};
use address_space::{Config, MapRequest, MapSource, Permission};
use frames::PAGE_SIZE;
use linux_abi::{
    Errno,
    memory::{MapFlags, MapType, Prot},
};
use page_table::PageTable;
use spin::Once;
use vfs::MemoryObject;

pub use shootdown::{MachineTlb, flush_kernel_range, leave_idle, serve_requests};

use crate::{
    arch::{layout, paging},
    device::random,
    heap, task,
};

/// Lowest address that may be mapped (`/proc/sys/vm/mmap_min_addr`).
pub const MMAP_MIN_ADDR: usize = 0x1_0000;
/// How far the main thread's stack may grow: what `RLIMIT_STACK` says at start.
pub const STACK_LIMIT: usize = 8 << 20;
/// Space between the stack's top and the mappings below it, beyond its limit, as on Linux (`MIN_GAP`).
const MMAP_GAP: usize = 128 << 20;

static SPACE: Once<AddressSpace<MachineTlb>> = Once::new();
static PEAK_RESIDENT: AtomicUsize = AtomicUsize::new(0);

/// The application's address space.
pub fn space() -> &'static AddressSpace<MachineTlb> {
    SPACE.get().expect("the address space is made before the program")
}

/// Makes the address space, with its places shifted at random as on Linux.
///
/// Never inlined: it builds the space, 16 KiB, on the stack before it is moved to its place. As a part of its caller's frame
/// that would lie below all that the caller does next, and mounting the root needs most of a kernel stack.
#[inline(never)]
pub fn init() -> Result<(), frames::OutOfMemory> {
    let stack_top = stack_top();
    let config = Config {
        bounds: MMAP_MIN_ADDR..layout::USER_END as usize,
        mmap_base: stack_top - STACK_LIMIT - MMAP_GAP - random_pages(28),
        memory_bytes: frames::statistics().total * PAGE_SIZE,
        stack_limit_bytes: STACK_LIMIT,
    };
    // SAFETY: the root is the kernel's, whose lower half is empty and is left to the address space from here
    // on.
    let table = unsafe { PageTable::from_root(frames::PhysAddr::new(paging::root())) };
    let space = AddressSpace::new(config, table, MachineTlb)?;
    SPACE.call_once(|| space);
    frames::register_reclaimer(page_cache::evict);
    vfs::set_unmapper(|object, pages, copies| self::space().unmap_object_range(object, pages, copies));
    Ok(())
}

/// Where the main stack ends: below the end of the application's half, by up to 16 GiB.
fn stack_top() -> usize {
    static TOP: Once<usize> = Once::new();
    *TOP.call_once(|| layout::USER_END as usize - PAGE_SIZE - random_pages(22))
}

/// A random number of pages below 2^`bits`, in bytes.
fn random_pages(bits: u32) -> usize {
    (random::u64() as usize & ((1 << bits) - 1)) * PAGE_SIZE
}

/// Serves a page fault of the running thread.
pub fn fault(address: u64, access: Access) -> Result<(), FaultError> {
    let kind = space().fault(address as usize, access)?;
    let thread = task::current();
    match kind {
        FaultKind::Minor => thread.minor_faults.fetch_add(1, Ordering::Relaxed),
        FaultKind::Major => thread.major_faults.fetch_add(1, Ordering::Relaxed),
    };
    Ok(())
}

/// Finds free addresses for `len` bytes, for a caller that maps there at once; nothing else runs yet.
pub fn reserve(len: u64) -> Result<u64, Errno> {
    let address = space().mmap(MapRequest {
        address: 0,
        len: len as usize,
        prot: Prot::empty(),
        map_type: MapType::Private as u32,
        flags: MapFlags::ANONYMOUS | MapFlags::NORESERVE,
        source: None,
        offset: 0,
    })?;
    space().munmap(address, len as usize)?;
    Ok(address as u64)
}

/// Maps a part of an object privately at `address`.
pub fn map_file(
    address: u64,
    len: u64,
    prot: Prot,
    object: Arc<dyn MemoryObject>,
    offset: u64,
) -> Result<(), Errno> {
    let source = MapSource {
        object,
        told: None,
        readable: Permission::Granted,
        writable: Permission::Denied,
        unsealed: Permission::Granted,
        executable: Permission::Granted,
    };
    map_fixed(address, len, prot, MapFlags::empty(), Some(source), offset)
}

/// Maps fresh memory at `address`.
pub fn map_anonymous(address: u64, len: u64, prot: Prot) -> Result<(), Errno> {
    map_fixed(address, len, prot, MapFlags::ANONYMOUS, None, 0)
}

fn map_fixed(
    address: u64,
    len: u64,
    prot: Prot,
    flags: MapFlags,
    source: Option<MapSource>,
    offset: u64,
) -> Result<(), Errno> {
    let request = MapRequest {
        address: address as usize,
        len: len as usize,
        prot,
        map_type: MapType::Private as u32,
        flags: flags | MapFlags::FIXED,
        source,
        offset,
    };
    space().mmap(request).map(|_| ())
}

/// Maps the main thread's stack; returns the address above it.
pub fn map_main_stack(executable: bool) -> Result<u64, Errno> {
    let top = stack_top();
    space().map_stack(top)?;
    if executable {
        let prot = (Prot::READ | Prot::WRITE | Prot::EXEC | Prot::GROWSDOWN).bits();
        space().mprotect(top - PAGE_SIZE, PAGE_SIZE, prot)?;
    }
    Ok(top as u64)
}

/// Begins the heap of `brk(2)` after the program, a random distance on.
pub fn set_heap_start(end: u64) {
    space().set_heap_start((end as usize).next_multiple_of(PAGE_SIZE) + random_pages(13));
}

/// How an address of the application's code is shown: file and offset, for which a symbol can be found later.
pub fn describe_code(address: u64) -> String {
    let area = SPACE.get().and_then(|space| space.area_from(address as usize));
    match area {
        Some(area) if area.range.contains(&(address as usize)) => match area.object {
            Some((name, offset)) => {
                format!("{}+{:#x}", name.path, address - area.range.start as u64 + offset)
            }
            None => format!("{address:#x} (anonymous memory)"),
        },
        _ => format!("{address:#x} (not mapped)"),
    }
}

/// Most memory that the application had at any look at it, in bytes.
pub fn peak_resident_bytes() -> usize {
    let now = space().resident().total();
    PEAK_RESIDENT.fetch_max(now, Ordering::Relaxed).max(now)
}

/// Who has the machine's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryFigures {
    /// All that the kernel manages.
    pub total_bytes: u64,
    /// Free at once.
    pub free_bytes: u64,
    /// In tmpfs and shared mappings.
    pub shared_bytes: u64,
}

/// Who has the machine's memory now.
pub fn memory_figures() -> MemoryFigures {
    let statistics = frames::statistics();
    let bytes = |frames: usize| (frames * PAGE_SIZE) as u64;
    MemoryFigures {
        total_bytes: bytes(statistics.total),
        free_bytes: bytes(statistics.free + statistics.cached),
        shared_bytes: SPACE.get().map_or(0, |space| space.resident().shared_memory as u64),
    }
}

/// Logs, once, that memory has run out, and who has it.
pub fn report_shortage() {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    let figures = memory_figures();
    let resident = space().resident();
    let (cached_pages, dirty_pages) = page_cache::totals();
    log::error!(
        "out of memory: of {} MiB are free {}; the program has {} of its own, {} shared and {} of files; cached are {} \
         ({} not yet written); page tables have {}, threads' kernel stacks {}, the kernel's heap {}",
        mib(figures.total_bytes as usize),
        mib(figures.free_bytes as usize),
        mib(resident.anonymous),
        mib(resident.shared_memory),
        mib(resident.file),
        mib(cached_pages * PAGE_SIZE),
        mib(dirty_pages * PAGE_SIZE),
        mib(space().table_bytes()),
        mib(task::thread_count() * task::stack::STACK_SIZE as usize),
        mib(heap::taken_bytes()),
    );
    log::error!("the program is killed; more memory (-m), or a smaller heap (-Xmx), may help");
}
