//! Control groups, version 2: one group, the root, with no limits but the machine's own size. The files of
//! limits, which Linux leaves out of the root group, are there for the sake of programs that expect to run in
//! a container.

use alloc::vec::Vec;

use linux_abi::Errno;

use super::{file, fixed, put};
use crate::node::{Context, Node};

pub(super) const ENTRIES: &[(&str, Node)] = &[
    ("cgroup.controllers", fixed!(b"cpuset cpu memory pids\n")),
    ("cgroup.events", fixed!(b"populated 1\nfrozen 0\n")),
    ("cgroup.procs", fixed!(b"1\n")),
    ("cgroup.subtree_control", fixed!(b"")),
    ("cgroup.threads", file(threads)),
    ("cgroup.type", fixed!(b"domain\n")),
    ("cpu.max", fixed!(b"max 100000\n")),
    ("cpu.stat", file(cpu_stat)),
    ("cpu.weight", fixed!(b"100\n")),
    ("cpuset.cpus", fixed!(b"\n")),
    ("cpuset.cpus.effective", file(super::machine::cpu_list)),
    ("cpuset.mems", fixed!(b"\n")),
    ("cpuset.mems.effective", fixed!(b"0\n")),
    ("memory.current", file(memory_current)),
    ("memory.events", fixed!(b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n")),
    ("memory.high", fixed!(b"max\n")),
    ("memory.low", fixed!(b"0\n")),
    ("memory.max", fixed!(b"max\n")),
    ("memory.stat", file(memory_stat)),
    ("memory.swap.current", fixed!(b"0\n")),
    ("memory.swap.max", fixed!(b"max\n")),
    ("pids.current", file(pids_current)),
    ("pids.max", fixed!(b"max\n")),
];

/// `/proc/cgroups`: hierarchy 0 says that a controller is version 2's.
pub(super) fn controllers_v1(_: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    put!(out, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    for name in ["cpuset", "cpu", "cpuacct", "memory", "pids"] {
        put!(out, "{name}\t0\t1\t1\n");
    }
    Ok(())
}

fn threads(context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    for thread in context.info.threads() {
        put!(out, "{}\n", thread.tid);
    }
    Ok(())
}

fn cpu_stat(context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    let usec = context.info.process_cpu_ns() / 1000;
    put!(out, "usage_usec {usec}\nuser_usec {usec}\nsystem_usec 0\n");
    put!(out, "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n");
    Ok(())
}

fn memory_current(context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    let memory = context.info.memory();
    put!(out, "{}\n", memory.total - memory.free);
    Ok(())
}

fn memory_stat(context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    let memory = context.info.memory();
    put!(out, "anon {}\nfile {}\n", memory.anonymous, memory.cached);
    put!(out, "kernel {}\nkernel_stack {}\n", memory.kernel_heap, memory.kernel_stacks);
    put!(out, "pagetables {}\nshmem {}\n", memory.page_tables, memory.shared);
    put!(out, "file_mapped {}\nfile_dirty {}\n", memory.mapped, memory.dirty);
    Ok(())
}

fn pids_current(context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), Errno> {
    put!(out, "{}\n", context.info.threads().len());
    Ok(())
}
