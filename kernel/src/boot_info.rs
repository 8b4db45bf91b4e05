//! What the boot loader tells: memory map, ACPI root pointer, command line.
//!
//! PVH's `struct hvm_start_info` (Xen public/arch-x86/hvm/start_info.h). It, its tables and its strings lie
//! in memory below 4 GiB that the boot page tables map.

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::arch::layout;

const MAGIC: u32 = 0x336e_c578;
const MEMORY_TYPE_RAM: u32 = 1;
/// Most ranges of memory that are kept; PC firmware reports about ten.
const MAX_RANGES: usize = 64;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    // From version 1 on.
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// Ranges of usable memory, in bytes, page-aligned, ascending, not overlapping.
pub type MemoryRanges = ArrayVec<Range<u64>, MAX_RANGES>;

/// What the boot loader tells.
#[derive(Debug)]
pub struct BootInfo {
    /// Usable memory: without the first MiB and the kernel image.
    pub memory: MemoryRanges,
    /// Physical address of the ACPI root pointer, if the loader knows it.
    pub rsdp: Option<u64>,
    /// Physical address of the NUL-ended command line, or 0.
    command_line: u64,
}

impl BootInfo {
    /// Reads what the loader left at `start_info`.
    ///
    /// # Safety
    /// `start_info` is the physical address that a PVH loader gave, and nothing has been overwritten since.
    pub unsafe fn read(start_info: u64) -> Result<Self, &'static str> {
        // SAFETY: the caller's promise; below 4 GiB as the entry is 32-bit.
        let info = unsafe { &*layout::direct::<StartInfo>(start_info) };
        if info.magic != MAGIC {
            return Err("the boot loader is not a PVH loader");
        }
        if info.version < 1 || info.memory_map == 0 {
            return Err("the boot loader gives no memory map");
        }
        // SAFETY: as above.
        let entries = unsafe {
            core::slice::from_raw_parts(
                layout::direct::<MemoryMapEntry>(info.memory_map),
                info.memory_map_entries as usize,
            )
        };
        let mut memory = MemoryRanges::new();
        let image = layout::Image::physical();
        // The first MiB holds the trampoline and firmware data and is not worth the trouble.
        let keep_out = [0..1 << 20, image.start..image.end];
        for entry in entries.iter().filter(|entry| entry.kind == MEMORY_TYPE_RAM) {
            let whole = layout::page_up(entry.address)..(entry.address + entry.size) & !0xfff;
            add_without(&mut memory, whole, &keep_out);
        }
        memory.sort_unstable_by_key(|range| range.start);
        let rsdp = (info.rsdp != 0).then_some(info.rsdp);
        Ok(Self { memory, rsdp, command_line: info.command_line })
    }

    /// The kernel command line.
    pub fn command_line(&self) -> &'static str {
        if self.command_line == 0 {
            return "";
        }
        // SAFETY: the loader's NUL-ended string, in memory that is not given to the allocator before 1 MiB;
        // it is read before anything else is allocated.
        let text = unsafe { core::ffi::CStr::from_ptr(layout::direct(self.command_line)) };
        text.to_str().unwrap_or("")
    }

    /// Bytes of usable memory.
    pub fn total_memory(&self) -> u64 {
        self.memory.iter().map(|range| range.end - range.start).sum()
    }
}

/// Adds `range` without the parts in `keep_out`. More ranges than fit are left unused.
fn add_without(memory: &mut MemoryRanges, range: Range<u64>, keep_out: &[Range<u64>]) {
    if range.is_empty() {
        return;
    }
    match keep_out.split_first() {
        None => {
            let _ = memory.try_push(range);
        }
        Some((hole, rest)) => {
            add_without(memory, range.start..range.end.min(hole.start), rest);
            add_without(memory, range.start.max(hole.end)..range.end, rest);
        }
    }
}
