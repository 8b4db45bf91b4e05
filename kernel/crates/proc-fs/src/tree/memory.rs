//! Files about memory, the machine's and the process's.

use alloc::vec::Vec;

use linux_abi::{Errno, file::DeviceNumber};

use super::put;
use crate::{
    info::{Area, MemoryUse, Usage},
    node::Context,
};

type Outcome = Result<(), Errno>;

const PAGE_BYTES: u64 = 4096;

/// What could be had without making anything slow: all that is free, and the page cache that need not be
/// written first.
fn available(memory: &MemoryUse) -> u64 {
    memory.free + memory.cached.saturating_sub(memory.dirty + memory.shared)
}

pub(super) fn meminfo(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let memory = context.info.memory();
    let cached = memory.cached + memory.shared;
    let lines = [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemAvailable", available(&memory)),
        ("Buffers", 0),
        ("Cached", cached),
        ("SwapCached", 0),
        ("Active", memory.anonymous + memory.mapped),
        ("Inactive", cached.saturating_sub(memory.mapped)),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", memory.dirty),
        ("Writeback", memory.writeback),
        ("AnonPages", memory.anonymous),
        ("Mapped", memory.mapped),
        ("Shmem", memory.shared),
        ("KReclaimable", 0),
        ("Slab", memory.kernel_heap),
        ("SReclaimable", 0),
        ("SUnreclaim", memory.kernel_heap),
        ("KernelStack", memory.kernel_stacks),
        ("PageTables", memory.page_tables),
        ("CommitLimit", memory.total / 2),
        ("Committed_AS", memory.committed),
        ("VmallocTotal", 1 << 45),
        ("VmallocUsed", 0),
        ("AnonHugePages", memory.anonymous_huge),
        ("ShmemHugePages", 0),
    ];
    for (name, bytes) in lines {
        put!(out, "{:<15} {:>8} kB\n", alloc::format!("{name}:"), bytes / 1024);
    }
    put!(out, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n");
    put!(out, "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    Ok(())
}

pub(super) fn node_meminfo(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let memory = context.info.memory();
    let lines = [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemUsed", memory.total - memory.free),
        ("Dirty", memory.dirty),
        ("FilePages", memory.cached + memory.shared),
        ("Mapped", memory.mapped),
        ("AnonPages", memory.anonymous),
        ("Shmem", memory.shared),
        ("KernelStack", memory.kernel_stacks),
        ("PageTables", memory.page_tables),
    ];
    for (name, bytes) in lines {
        put!(out, "Node 0 {:<15} {:>8} kB\n", alloc::format!("{name}:"), bytes / 1024);
    }
    Ok(())
}

/// Visits all mappings in order.
fn for_each_area(context: &Context<'_>, mut visit: impl FnMut(&Area)) {
    let mut address = 0;
    while let Some(area) = context.info.area_from(address) {
        // Also if mappings change meanwhile, this comes to an end.
        if area.range.end <= address {
            break;
        }
        address = area.range.end;
        visit(&area);
    }
}

/// A row of maps; a name begins in column 73, as Linux pads it.
fn put_row(area: &Area, out: &mut Vec<u8>) {
    let permissions = core::str::from_utf8(&area.permissions).unwrap_or("----");
    let device = DeviceNumber::decode(area.device as u32);
    let row = alloc::format!(
        "{:08x}-{:08x} {permissions} {:08x} {:02x}:{:02x} {} ",
        area.range.start,
        area.range.end,
        area.offset,
        device.major,
        device.minor,
        area.inode
    );
    if area.name.is_empty() {
        put!(out, "{row}\n");
    } else {
        // A newline in a name would look like another row.
        put!(out, "{row:<73}{}\n", area.name.replace('\n', "\\012"));
    }
}

/// What the process's mappings are for, in bytes: data, stack, the program's code, other code.
pub(super) fn mapped_by_kind(context: &Context<'_>) -> [u64; 4] {
    let program = context.info.executable().map(|path| context.info.path_text(&path)).unwrap_or_default();
    let mut bytes = [0; 4];
    for_each_area(context, |area| {
        let size = area.range.end - area.range.start;
        let [_, write, execute, sharing] = area.permissions;
        if area.name == "[stack]" {
            bytes[1] += size;
        } else if write == b'w' && sharing == b'p' {
            bytes[0] += size;
        } else if execute == b'x' && area.name.as_bytes() == program {
            bytes[2] += size;
        } else if execute == b'x' && area.inode != 0 {
            bytes[3] += size;
        }
    });
    bytes
}

pub(super) fn maps(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for_each_area(context, |area| put_row(area, out));
    Ok(())
}

fn put_usage(usage: &Usage, out: &mut Vec<u8>) {
    let shared = usage.resident.saturating_sub(usage.private[0] + usage.private[1]);
    let lines = [
        ("Rss", usage.resident),
        ("Pss", usage.resident),
        ("Pss_Dirty", usage.private[1]),
        ("Shared_Clean", shared),
        ("Shared_Dirty", 0),
        ("Private_Clean", usage.private[0]),
        ("Private_Dirty", usage.private[1]),
        ("Referenced", usage.referenced),
        ("Anonymous", usage.anonymous),
        ("LazyFree", 0),
        ("AnonHugePages", usage.anonymous_huge),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", 0),
    ];
    for (name, bytes) in lines {
        put!(out, "{:<15} {:>8} kB\n", alloc::format!("{name}:"), bytes / 1024);
    }
}

pub(super) fn smaps(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for_each_area(context, |area| {
        put_row(area, out);
        let size = (area.range.end - area.range.start) / 1024;
        put!(out, "{:<15} {size:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n", "Size:");
        put_usage(&context.info.usage(area.range.clone()), out);
        put!(out, "THPeligible:    0\nVmFlags: {}\n", area.flags);
    });
    Ok(())
}

pub(super) fn smaps_rollup(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let mut sum = Usage::default();
    let mut whole: Option<core::ops::Range<u64>> = None;
    for_each_area(context, |area| {
        let usage = context.info.usage(area.range.clone());
        whole = Some(whole.as_ref().map_or(area.range.start, |whole| whole.start)..area.range.end);
        sum.resident += usage.resident;
        sum.private[0] += usage.private[0];
        sum.private[1] += usage.private[1];
        sum.referenced += usage.referenced;
        sum.anonymous += usage.anonymous;
        sum.anonymous_huge += usage.anonymous_huge;
    });
    if let Some(range) = whole {
        let area = Area { range, permissions: *b"---p", name: "[rollup]".into(), ..Area::default() };
        put_row(&area, out);
        put_usage(&sum, out);
    }
    Ok(())
}

pub(super) fn statm(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let memory = context.info.process_memory();
    let [anonymous, file, shared] = memory.resident.map(|bytes| bytes / PAGE_BYTES);
    let size = memory.mapped / PAGE_BYTES;
    put!(out, "{size} {} {} 1 0 {size} 0\n", anonymous + file + shared, file + shared);
    Ok(())
}

const POLICIES: [&str; 3] = ["always", "madvise", "never"];

pub(super) fn huge_page_policy(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let chosen = context.info.huge_page_policy();
    let words = POLICIES
        .iter()
        .enumerate()
        .map(|(index, name)| if index == chosen { alloc::format!("[{name}]") } else { (*name).into() });
    put!(out, "{}\n", words.collect::<Vec<_>>().join(" "));
    Ok(())
}

pub(super) fn set_huge_page_policy(context: &Context<'_>, bytes: &[u8]) -> Outcome {
    let chosen =
        POLICIES.iter().position(|name| name.as_bytes() == bytes.trim_ascii()).ok_or(Errno::EINVAL)?;
    context.info.set_huge_page_policy(chosen);
    Ok(())
}
