//! Files about the machine (`proc(5)`).

use alloc::{string::String, vec::Vec};

use linux_abi::{Errno, auxv::USER_HZ};

use super::put;
use crate::node::Context;

type Outcome = Result<(), Errno>;

/// Nanoseconds as clock ticks of `sysconf(_SC_CLK_TCK)`.
pub(super) fn ticks(ns: u64) -> u64 {
    ns / (1_000_000_000 / USER_HZ)
}

/// Crema's own: docs/networking.md.
pub(super) fn network_channels(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    out.extend_from_slice(context.info.network_channels().as_bytes());
    Ok(())
}

pub(super) fn cpuinfo(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let count = context.info.cpu_count();
    for index in 0..count {
        let cpu = context.info.cpu(index);
        let mhz = [cpu.khz / 1000, cpu.khz % 1000];
        put!(out, "processor\t: {index}\nvendor_id\t: {}\ncpu family\t: {}\n", cpu.vendor, cpu.family);
        put!(out, "model\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n", cpu.model, cpu.name, cpu.stepping);
        put!(out, "cpu MHz\t\t: {}.{:03}\ncache size\t: {} KB\n", mhz[0], mhz[1], cpu.cache_kib);
        put!(out, "physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {index}\ncpu cores\t: {count}\n");
        put!(out, "apicid\t\t: {0}\ninitial apicid\t: {0}\n", cpu.apic_id);
        put!(out, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\n");
        put!(out, "flags\t\t: {}\nbugs\t\t:\n", cpu.flags);
        // Twice the frequency in MHz, as Linux has it where it did not measure.
        let bogomips = cpu.khz * 2 / 10;
        put!(out, "bogomips\t: {}.{:02}\n", bogomips / 100, bogomips % 100);
        put!(out, "clflush size\t: {0}\ncache_alignment\t: {0}\n", cpu.clflush_bytes);
        let [physical, linear] = cpu.address_bits;
        put!(out, "address sizes\t: {physical} bits physical, {linear} bits virtual\npower management:\n\n");
    }
    Ok(())
}

pub(super) fn filesystems(_: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for name in ["sysfs", "tmpfs", "devtmpfs", "proc", "cgroup2"] {
        put!(out, "nodev\t{name}\n");
    }
    put!(out, "\text4\n");
    Ok(())
}

pub(super) fn loadavg(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for load in context.info.load() {
        put!(out, "{}.{:02} ", load / 100, load % 100);
    }
    let threads = context.info.threads();
    let last = threads.iter().map(|thread| thread.tid).max().unwrap_or(super::PID);
    put!(out, "{}/{} {last}\n", context.info.runnable(), threads.len());
    Ok(())
}

pub(super) fn stat(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let info = context.info;
    let times: Vec<_> = (0..info.cpu_count()).map(|index| info.cpu_times(index)).collect();
    let line = |name: &str, busy_ns: u64, idle_ns: u64| {
        alloc::format!("{name} {} 0 0 {} 0 0 0 0 0 0\n", ticks(busy_ns), ticks(idle_ns))
    };
    let (busy, idle) = times.iter().fold((0, 0), |sum, cpu| (sum.0 + cpu.busy_ns, sum.1 + cpu.idle_ns));
    out.extend_from_slice(line("cpu ", busy, idle).as_bytes());
    for (index, cpu) in times.iter().enumerate() {
        out.extend_from_slice(line(&alloc::format!("cpu{index}"), cpu.busy_ns, cpu.idle_ns).as_bytes());
    }
    // The sum only: vectors are not interrupt lines, of which Linux lists each after it.
    put!(out, "intr {}\nctxt {}\n", info.interrupts(), info.context_switches());
    put!(out, "btime {}\n", info.boot_time());
    put!(out, "processes {}\nprocs_running {}\n", info.threads_made(), info.runnable().max(1));
    put!(out, "procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n");
    Ok(())
}

pub(super) fn uptime(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let idle: u64 = (0..context.info.cpu_count()).map(|index| context.info.cpu_times(index).idle_ns).sum();
    let seconds = |ns: u64| alloc::format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100);
    put!(out, "{} {}\n", seconds(context.info.uptime_ns()), seconds(idle));
    Ok(())
}

pub(super) fn version(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let [release, version, _] = context.info.system_names();
    put!(out, "Linux version {release} (crema@crema) (rustc) {version}\n");
    Ok(())
}

fn list(count: u32) -> String {
    if count == 1 { "0".into() } else { alloc::format!("0-{}", count - 1) }
}

pub(super) fn cpu_list(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", list(context.info.cpu_count()));
    Ok(())
}

pub(super) fn own_cpu(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", context.number);
    Ok(())
}

/// A mask in groups of 32 bits, the highest first.
pub(super) fn mask_text(mask: u64) -> String {
    alloc::format!("{:08x},{:08x}", mask >> 32, mask & 0xffff_ffff)
}

/// The mask of all CPUs.
pub(super) fn all_cpus(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

pub(super) fn cpu_map(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", mask_text(all_cpus(context.info.cpu_count())));
    Ok(())
}
