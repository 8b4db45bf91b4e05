//! Files about the process and its threads (`proc(5)`).

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::Errno;

use super::{
    PID,
    machine::{all_cpus, mask_text, ticks},
    memory::mapped_by_kind,
    put,
};
use crate::{
    info::{IoCounts, MountLine, ThreadInfo},
    node::{Context, shown_flags},
};

type Outcome = Result<(), Errno>;

/// One of: arguments, environment, auxiliary vector.
pub(super) fn start_data(context: &Context<'_>, out: &mut Vec<u8>, which: usize) -> Outcome {
    out.extend_from_slice(&context.info.start_data()[which]);
    Ok(())
}

fn thread(context: &Context<'_>, tid: u32) -> Result<ThreadInfo, Errno> {
    context.info.threads().into_iter().find(|thread| thread.tid == tid).ok_or(Errno::ESRCH)
}

pub(super) fn comm(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", thread(context, context.number)?.name);
    Ok(())
}

pub(super) fn set_comm(context: &Context<'_>, bytes: &[u8]) -> Outcome {
    let name = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    context.info.set_thread_name(context.number, name)
}

pub(super) fn schedstat(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let thread = thread(context, context.number)?;
    put!(out, "{} 0 {}\n", thread.cpu_ns, thread.switches[0] + thread.switches[1]);
    Ok(())
}

pub(super) fn stat(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    // The process's as seen from one of its threads, which `/proc/PID` and `/proc/TID` name.
    let thread = thread(context, context.number)?;
    put_stat(context, &thread, context.info.process_cpu_ns(), out);
    Ok(())
}

pub(super) fn thread_stat(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let thread = thread(context, context.number)?;
    put_stat(context, &thread, thread.cpu_ns, out);
    Ok(())
}

/// The 52 fields of `/proc/PID/stat`.
fn put_stat(context: &Context<'_>, thread: &ThreadInfo, cpu_ns: u64, out: &mut Vec<u8>) {
    let info = context.info;
    let memory = info.process_memory();
    let signals = info.signals();
    let resident = memory.resident.iter().sum::<u64>() / 4096;
    let [minor, major] = thread.faults;
    let thread_count = info.threads().len();
    let nice = i64::from(thread.nice);
    let ThreadInfo { tid, name, state, .. } = thread;
    // pid comm state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime
    put!(out, "{tid} ({name}) {state} 0 1 1 0 -1 4194304 {minor} 0 {major} 0 {} 0 0 0 ", ticks(cpu_ns));
    // priority nice num_threads itrealvalue starttime vsize rss rsslim
    put!(out, "{} {nice} {thread_count} 0 {} ", 20 + nice, ticks(thread.started_ns));
    put!(out, "{} {resident} {} ", memory.mapped, u64::MAX);
    // startcode endcode startstack kstkesp kstkeip signal blocked sigignore sigcatch wchan nswap cnswap
    let low = |set: u64| set & 0x7fff_ffff;
    put!(
        out,
        "1 1 {} 0 0 {} {} ",
        memory.stack_start,
        low(thread.pending | signals.pending),
        low(thread.blocked)
    );
    put!(out, "{} {} 0 0 0 ", low(signals.ignored), low(signals.caught));
    // exit_signal processor rt_priority policy delayacct_blkio guest_time cguest_time
    put!(out, "17 {} 0 0 0 0 0 ", thread.cpu);
    // start_data end_data start_brk arg_start arg_end env_start env_end exit_code
    put!(out, "0 0 {} 0 0 0 0 0\n", memory.heap[0]);
}

pub(super) fn status(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put_status(context, &thread(context, context.number)?, out);
    Ok(())
}

fn put_status(context: &Context<'_>, thread: &ThreadInfo, out: &mut Vec<u8>) {
    let info = context.info;
    let memory = info.process_memory();
    let signals = info.signals();
    let state = if thread.state == 'R' { "R (running)" } else { "S (sleeping)" };
    put!(out, "Name:\t{}\nUmask:\t{:04o}\nState:\t{state}\n", thread.name, info.umask());
    put!(out, "Tgid:\t{PID}\nNgid:\t0\nPid:\t{}\nPPid:\t0\nTracerPid:\t0\n", thread.tid);
    put!(out, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t{}\nGroups:\t0 \n", fd_size(context));
    put!(out, "NStgid:\t{PID}\nNSpid:\t{}\nNSpgid:\t1\nNSsid:\t1\n", thread.tid);
    let [anonymous, file, shared] = memory.resident;
    let resident = anonymous + file + shared;
    let [data, stack, program, libraries] = mapped_by_kind(context);
    let kib = [
        ("VmPeak", memory.peak_mapped.max(memory.mapped)),
        ("VmSize", memory.mapped),
        ("VmLck", memory.locked),
        ("VmPin", 0),
        ("VmHWM", memory.peak_resident.max(resident)),
        ("VmRSS", resident),
        ("RssAnon", anonymous),
        ("RssFile", file),
        ("RssShmem", shared),
        ("VmData", data),
        ("VmStk", stack),
        ("VmExe", program),
        ("VmLib", libraries),
        ("VmPTE", memory.page_tables),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in kib {
        put!(out, "{name}:\t{:>8} kB\n", bytes / 1024);
    }
    put!(out, "CoreDumping:\t0\nTHP_enabled:\t1\nThreads:\t{}\n", info.threads().len());
    put!(out, "SigQ:\t{}/{}\nSigPnd:\t{:016x}\n", signals.queued[0], signals.queued[1], thread.pending);
    put!(out, "ShdPnd:\t{:016x}\nSigBlk:\t{:016x}\n", signals.pending, thread.blocked);
    put!(out, "SigIgn:\t{:016x}\nSigCgt:\t{:016x}\n", signals.ignored, signals.caught);
    const ALL_CAPABILITIES: u64 = (1 << 41) - 1;
    put!(out, "CapInh:\t{:016x}\n", 0);
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        put!(out, "{name}:\t{ALL_CAPABILITIES:016x}\n");
    }
    put!(out, "CapAmb:\t{:016x}\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n", 0);
    let affinity = thread.affinity & all_cpus(info.cpu_count());
    put!(out, "Cpus_allowed:\t{}\nCpus_allowed_list:\t{}\n", mask_text(affinity), ranges(affinity));
    put!(out, "Mems_allowed:\t00000000,00000001\nMems_allowed_list:\t0\n");
    let [voluntary, forced] = thread.switches;
    put!(out, "voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{forced}\n");
}

/// Slots of the descriptor table, in steps of 64.
fn fd_size(context: &Context<'_>) -> u32 {
    context.info.descriptors().last().map_or(64, |last| (last + 1).next_multiple_of(64))
}

/// The bits of a mask as a list: `0-2,5`.
fn ranges(mask: u64) -> alloc::string::String {
    let mut parts = Vec::new();
    let mut bit = 0;
    while bit < 64 {
        let run = (mask >> bit).trailing_ones();
        match run {
            0 => bit += 1,
            1 => parts.push(alloc::format!("{bit}")),
            _ => parts.push(alloc::format!("{bit}-{}", bit + run - 1)),
        }
        bit += run;
    }
    parts.join(",")
}

pub(super) fn io(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let (counts, disk_bytes) = context.info.process_io();
    put_io(&counts, disk_bytes, out);
    Ok(())
}

pub(super) fn thread_io(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    // Which thread's read or write it was that reached a disk is not known, by way of the page cache.
    put_io(&thread(context, context.number)?.io, [0; 2], out);
    Ok(())
}

fn put_io(counts: &IoCounts, [disk_read_bytes, disk_written_bytes]: [u64; 2], out: &mut Vec<u8>) {
    let lines = [
        ("rchar", counts.read_bytes),
        ("wchar", counts.written_bytes),
        ("syscr", counts.reads),
        ("syscw", counts.writes),
        ("read_bytes", disk_read_bytes),
        ("write_bytes", disk_written_bytes),
        ("cancelled_write_bytes", 0),
    ];
    for (name, value) in lines {
        put!(out, "{name}: {value}\n");
    }
}

/// A number as programs write it to a setting: decimal, octal or hexadecimal by its prefix (`kstrtoint` with base 0).
fn parse_number(bytes: &[u8]) -> Result<i64, Errno> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?.trim_ascii();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let parsed = match (hexadecimal, digits) {
        (Some(digits), _) => u32::from_str_radix(digits, 16),
        (None, digits) if digits.len() > 1 && digits.starts_with('0') => u32::from_str_radix(digits, 8),
        (None, digits) => digits.parse(),
    };
    parsed.map(|number| sign * i64::from(number)).map_err(|_| Errno::EINVAL)
}

pub(super) fn core_dump_filter(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{:08x}\n", context.info.settings().core_dump_filter.load(Ordering::Relaxed));
    Ok(())
}

pub(super) fn set_core_dump_filter(context: &Context<'_>, bytes: &[u8]) -> Outcome {
    /// The bits that there are (`MMF_DUMP_FILTER_BITS`); others are dropped.
    const FILTER_BITS: u32 = (1 << 9) - 1;
    let bits = u32::try_from(parse_number(bytes)?).map_err(|_| Errno::EINVAL)?;
    context.info.settings().core_dump_filter.store(bits & FILTER_BITS, Ordering::Relaxed);
    Ok(())
}

fn oom_adjustment(context: &Context<'_>) -> i64 {
    context.info.settings().oom_score_adjustment.load(Ordering::Relaxed).into()
}

pub(super) fn oom_score_adj(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", oom_adjustment(context));
    Ok(())
}

pub(super) fn set_oom_score_adj(context: &Context<'_>, bytes: &[u8]) -> Outcome {
    let adjustment = parse_number(bytes)?;
    if !(-1000..=1000).contains(&adjustment) {
        return Err(Errno::EINVAL);
    }
    context.info.settings().oom_score_adjustment.store(adjustment as i32, Ordering::Relaxed);
    Ok(())
}

/// The older scale, -17 to 15 (`oom_adj_read`).
pub(super) fn oom_adj(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let adjustment = oom_adjustment(context);
    put!(out, "{}\n", if adjustment == 1000 { 15 } else { adjustment * 17 / 1000 });
    Ok(())
}

/// The share of memory that the process has, adjusted, from 0 to 2000 (`proc_oom_score`).
pub(super) fn oom_score(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let memory = context.info.process_memory();
    let total = context.info.memory().total.max(1) as i64;
    let used = memory.resident.iter().sum::<u64>() + memory.page_tables;
    let share = used as i64 * 1000 / total + oom_adjustment(context);
    put!(out, "{}\n", if oom_adjustment(context) == -1000 { 0 } else { (1000 + share) * 2 / 3 });
    Ok(())
}

pub(super) fn limits(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    /// Names and units, in the order of the resources' numbers (`fs/proc/base.c`).
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    put!(out, "{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let shown = |limit: u64| if limit == u64::MAX { "unlimited".into() } else { alloc::format!("{limit}") };
    for limit in context.info.limits() {
        if let Some((name, unit)) = NAMES.get(limit.resource as usize) {
            put!(out, "{name:<25} {:<20} {:<20} ", shown(limit.current), shown(limit.maximum));
            if unit.is_empty() { put!(out, "\n") } else { put!(out, "{unit:<10}\n") }
        }
    }
    Ok(())
}

/// A text as the mount tables show it: what would end a field is in octal.
fn escaped(text: &str) -> alloc::string::String {
    let mut shown = alloc::string::String::new();
    for character in text.chars() {
        match character {
            ' ' => shown.push_str("\\040"),
            '\t' => shown.push_str("\\011"),
            '\n' => shown.push_str("\\012"),
            '\\' => shown.push_str("\\134"),
            other => shown.push(other),
        }
    }
    shown
}

/// General options, and those of the file system after them.
fn all_options(mount: &MountLine) -> alloc::string::String {
    if mount.options.is_empty() {
        mount.flags.clone()
    } else {
        alloc::format!("{},{}", mount.flags, mount.options)
    }
}

pub(super) fn mounts(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for mount in context.info.mounts() {
        let (source, place) = (escaped(&mount.source), escaped(&mount.place));
        put!(out, "{source} {place} {} {} 0 0\n", mount.kind, all_options(&mount));
    }
    Ok(())
}

pub(super) fn mountinfo(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    for mount in context.info.mounts() {
        let device = linux_abi::file::DeviceNumber::decode(mount.device as u32);
        let (source, place) = (escaped(&mount.source), escaped(&mount.place));
        put!(
            out,
            "{} {} {}:{} / {place} {} - ",
            mount.id,
            mount.parent,
            device.major,
            device.minor,
            mount.flags
        );
        let access = if mount.flags.starts_with("ro") { "ro" } else { "rw" };
        let comma = if mount.options.is_empty() { "" } else { "," };
        put!(out, "{} {source} {access}{comma}{}\n", mount.kind, mount.options);
    }
    Ok(())
}

pub(super) fn fdinfo(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let state = context.info.descriptor_state(context.number)?;
    put!(out, "pos:\t{}\nflags:\t{}\n", state.offset, shown_flags(state.flags));
    put!(out, "mnt_id:\t{}\nino:\t{}\n", state.mount, state.inode);
    Ok(())
}
