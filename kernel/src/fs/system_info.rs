//! What `/proc`, `/sys` and the control groups show: the kernel's own state, asked when they are read.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use address_space::HugePagePolicy;
use frames::PAGE_SIZE;
use inet::Report;
use linux_abi::{
    Errno,
    file::{FdFlags, OpenFlags, StatfsFlags},
    process::Resource,
};
use proc_fs::{
    Area, CpuDescription, CpuTimes, DescriptorState, IoCounts, Limit, MemoryUse, MountLine, NetworkFile,
    ProcessMemory, ProcessSettings, ProcessSignals, SystemInfo, ThreadInfo, Usage,
};
use spin::{LazyLock, Once};
use vfs::{FileSystem, FinalLink, Mount, Path};
use vma::VmFlags;

use super::{cpu_flags, descriptor, descriptors, namespace, umask, unnamed, working_directory};
use crate::{
    arch::{clock, cpu},
    device::{self, random},
    heap,
    ipc::LOCAL_SOCKETS,
    mm,
    net::net,
    sched, signal,
    syscall::{fd::status_flags, info, process},
    task::{self, Thread, exec},
};

/// The kernel, as the generated files ask it.
pub(super) struct Kernel;

/// Mappings that there may be (`vm.max_map_count`): no limit of ours, but a number that programs expect.
const MAX_MAPPINGS: u64 = 1 << 20;
const MAX_DESCRIPTORS: u64 = 1 << 20;

impl SystemInfo for Kernel {
    fn memory(&self) -> MemoryUse {
        let figures = mm::memory_figures();
        let (cached, dirty) = page_cache::totals();
        let resident = mm::space().resident();
        let bytes = |pages: usize| (pages * PAGE_SIZE) as u64;
        MemoryUse {
            total: figures.total_bytes,
            free: figures.free_bytes,
            cached: bytes(cached),
            dirty: bytes(dirty),
            writeback: bytes(page_cache::writeback_pages()),
            shared: figures.shared_bytes,
            anonymous: resident.anonymous as u64,
            anonymous_huge: 0,
            mapped: resident.file as u64,
            page_tables: mm::space().table_bytes() as u64,
            kernel_stacks: task::stack::mapped_bytes(),
            kernel_heap: heap::taken_bytes() as u64,
            committed: mm::space().accounted_bytes() as u64,
        }
    }

    fn cpu_count(&self) -> u32 {
        cpu::count() as u32
    }

    fn cpu(&self, index: u32) -> CpuDescription {
        describe_cpu(index)
    }

    fn cpu_times(&self, index: u32) -> CpuTimes {
        let idle_ns = cpu::by_index(index as usize).map_or(0, |cpu| cpu.idle_ns.load(Relaxed));
        CpuTimes { idle_ns, busy_ns: clock::now_ns().saturating_sub(idle_ns) }
    }

    fn uptime_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn boot_time(&self) -> u64 {
        clock::realtime_offset_ns() / 1_000_000_000
    }

    fn load(&self) -> [u64; 3] {
        task::load_averages()
    }

    fn runnable(&self) -> usize {
        sched::runnable_count()
    }

    fn threads_made(&self) -> usize {
        task::created_count()
    }

    fn interrupts(&self) -> u64 {
        cpu::all().map(|cpu| cpu.interrupts.load(Relaxed)).sum()
    }

    fn network_channels(&self) -> String {
        crate::net::net().counters.to_string() + &crate::device::network::counts()
    }

    fn network_file(&self, file: NetworkFile) -> String {
        crate::net::proc_file(file)
    }

    fn context_switches(&self) -> u64 {
        cpu::all().map(|cpu| cpu.switches.load(Relaxed)).sum()
    }

    fn system_names(&self) -> [String; 3] {
        [info::RELEASE.into(), info::VERSION.into(), info::hostname()]
    }

    fn threads(&self) -> Vec<ThreadInfo> {
        task::threads().iter().map(describe_thread).collect()
    }

    fn process_cpu_ns(&self) -> u64 {
        task::ended_cpu_ns() + task::threads().iter().map(|thread| sched::cpu_time_ns(thread)).sum::<u64>()
    }

    fn current_thread(&self) -> u32 {
        task::current().tid
    }

    fn process_io(&self) -> (IoCounts, [u64; 2]) {
        // Whatever the disks do is done for the process.
        let disks = device::disks().map(|disk| disk.transferred_bytes());
        (task::io_counts::of_process(), disks.fold([0; 2], |sum, disk| [sum[0] + disk[0], sum[1] + disk[1]]))
    }

    fn settings(&self) -> &ProcessSettings {
        static SETTINGS: LazyLock<ProcessSettings> = LazyLock::new(ProcessSettings::default);
        &SETTINGS
    }

    fn signals(&self) -> ProcessSignals {
        let shared = signal::SHARED.lock();
        ProcessSignals {
            pending: shared.pending.set().bits(),
            ignored: shared.dispositions.ignored().bits(),
            caught: shared.dispositions.caught().bits(),
            queued: [signal::BUDGET.queued() as u64, signal::BUDGET.limit() as u64],
        }
    }

    fn process_memory(&self) -> ProcessMemory {
        let space = mm::space();
        let resident = space.resident();
        ProcessMemory {
            mapped: space.mapped_bytes() as u64,
            peak_mapped: space.peak_mapped_bytes() as u64,
            resident: [resident.anonymous, resident.file, resident.shared_memory].map(|bytes| bytes as u64),
            peak_resident: mm::peak_resident_bytes() as u64,
            page_tables: space.table_bytes() as u64,
            locked: 0,
            heap: [space.heap().start as u64, space.heap().end as u64],
            stack_start: exec::program().map_or(0, |program| program.stack_start),
        }
    }

    fn area_from(&self, address: u64) -> Option<Area> {
        let report = mm::space().area_from(usize::try_from(address).ok()?)?;
        let has = |flag| report.flags.contains(flag);
        let letter = |flag, letter| if has(flag) { letter } else { b'-' };
        let (name, offset) = report.object.unwrap_or_default();
        let label = if !name.path.is_empty() {
            name.path
        } else if report.is_heap {
            "[heap]".into()
        } else if has(VmFlags::GROWSDOWN) {
            "[stack]".into()
        } else {
            String::new()
        };
        Some(Area {
            range: report.range.start as u64..report.range.end as u64,
            permissions: [
                letter(VmFlags::READ, b'r'),
                letter(VmFlags::WRITE, b'w'),
                letter(VmFlags::EXEC, b'x'),
                if has(VmFlags::SHARED) { b's' } else { b'p' },
            ],
            offset,
            device: name.device,
            inode: name.inode,
            name: label,
            flags: flag_letters(report.flags),
        })
    }

    fn usage(&self, range: Range<u64>) -> Usage {
        let usage = mm::space().usage(range.start as usize..range.end as usize);
        Usage {
            resident: usage.resident as u64,
            private: [usage.private_clean as u64, usage.private_dirty as u64],
            referenced: usage.referenced as u64,
            anonymous: usage.anonymous as u64,
            anonymous_huge: usage.anonymous_huge as u64,
        }
    }

    fn start_data(&self) -> [Vec<u8>; 3] {
        exec::program().map_or_else(Default::default, |program| {
            [program.command_line.clone(), program.environment.clone(), program.auxiliary_vector.clone()]
        })
    }

    fn limits(&self) -> Vec<Limit> {
        (0..Resource::COUNT as u32)
            .filter_map(|resource| {
                let limit = process::limit(Resource::from_raw(resource)?);
                Some(Limit { resource, current: limit.current, maximum: limit.maximum })
            })
            .collect()
    }

    fn mounts(&self) -> Vec<MountLine> {
        namespace().mount_list().iter().map(describe_mount).collect()
    }

    fn executable(&self) -> Result<Path, Errno> {
        let program = exec::program().ok_or(Errno::ENOENT)?;
        namespace().resolve(namespace().root(), program.path.as_bytes(), FinalLink::Follow)
    }

    fn working_directory(&self) -> Path {
        working_directory()
    }

    fn root(&self) -> Path {
        namespace().root().clone()
    }

    fn descriptors(&self) -> Vec<u32> {
        descriptors().open_descriptors()
    }

    fn descriptor(&self, fd: u32) -> Result<Path, Errno> {
        let file_system: Arc<dyn FileSystem> = unnamed().clone();
        Ok(descriptor(fd as i32).map_err(|_| Errno::ENOENT)?.place(namespace(), &file_system))
    }

    fn descriptor_state(&self, fd: u32) -> Result<DescriptorState, Errno> {
        let file = descriptor(fd as i32).map_err(|_| Errno::ENOENT)?;
        let closes_on_exec = descriptors().flags(fd)?.contains(FdFlags::CLOEXEC);
        let cloexec = if closes_on_exec { OpenFlags::CLOEXEC } else { OpenFlags::empty() };
        Ok(DescriptorState {
            offset: file.offset(),
            flags: status_flags(&file) | cloexec.bits(),
            mount: file.path().map_or(0, |path| path.mount.id),
            inode: file.metadata().map_or(0, |metadata| metadata.id.number),
        })
    }

    fn path_text(&self, path: &Path) -> Vec<u8> {
        namespace().shown_path(path)
    }

    fn umask(&self) -> u16 {
        umask()
    }

    fn random(&self, bytes: &mut [u8]) {
        random::fill(bytes);
    }

    fn boot_id(&self) -> [u8; 16] {
        static BOOT_ID: Once<[u8; 16]> = Once::new();
        *BOOT_ID.call_once(|| {
            let mut bytes = [0; 16];
            random::fill(&mut bytes);
            bytes
        })
    }

    fn maxima(&self) -> [u64; 4] {
        [MAX_DESCRIPTORS, task::THREADS_MAX as u64, task::TID_LIMIT.into(), MAX_MAPPINGS]
    }

    fn lowest_address(&self) -> u64 {
        mm::MMAP_MIN_ADDR as u64
    }

    fn huge_page_policy(&self) -> usize {
        mm::space().huge_page_policy() as usize
    }

    fn set_huge_page_policy(&self, policy: usize) {
        mm::space().set_huge_page_policy(match policy {
            0 => HugePagePolicy::Always,
            1 => HugePagePolicy::Madvise,
            _ => HugePagePolicy::Never,
        });
    }

    fn set_thread_name(&self, tid: u32, name: &[u8]) -> Result<(), Errno> {
        let thread = task::thread(tid).ok_or(Errno::ESRCH)?;
        let mut bytes = [0; 16];
        let len = name.len().min(bytes.len() - 1);
        bytes[..len].copy_from_slice(&name[..len]);
        *thread.name.lock() = bytes;
        Ok(())
    }

    fn network_report(&self, name: &str) -> Result<String, Errno> {
        if name == "unix" {
            return Ok(LOCAL_SOCKETS.report());
        }
        Ok(net().report(Report::named(name).ok_or(Errno::ENOENT)?))
    }

    fn network_setting(&self, name: &str) -> Result<String, Errno> {
        net().setting(name).ok_or(Errno::ENOENT)
    }

    fn set_network_setting(&self, name: &str, value: &str) -> Result<(), Errno> {
        net().set_setting(name, value)
    }

    fn ethernet_count(&self) -> u32 {
        device::network::cards().count() as u32
    }

    fn interface_figure(&self, interface: &str, figure: &str) -> Result<String, Errno> {
        net().interface_figure(interface, figure)
    }
}

fn describe_thread(thread: &Arc<Thread>) -> ThreadInfo {
    let (voluntary, forced) = sched::switch_counts(thread);
    let (pending, blocked) = {
        let signals = thread.signals.lock();
        (signals.pending.set().bits(), signals.blocked.bits())
    };
    let load = |counter: &AtomicU64| counter.load(Relaxed);
    ThreadInfo {
        tid: thread.tid,
        name: thread.name_text(),
        state: if thread.ended.load(core::sync::atomic::Ordering::Relaxed) {
            'Z'
        } else if sched::is_running(thread) {
            'R'
        } else {
            'S'
        },
        cpu_ns: sched::cpu_time_ns(thread),
        faults: [load(&thread.minor_faults), load(&thread.major_faults)],
        cpu: sched::last_cpu(thread) as u32,
        nice: sched::nice(thread),
        started_ns: thread.started_ns,
        switches: [voluntary, forced],
        affinity: sched::affinity(thread),
        pending,
        blocked,
        io: thread.io.get(),
    }
}

fn describe_mount(mount: &Arc<Mount>) -> MountLine {
    let place = Path { mount: mount.clone(), dentry: mount.root.clone() };
    let words = [
        (StatfsFlags::NOSUID, "nosuid"),
        (StatfsFlags::NODEV, "nodev"),
        (StatfsFlags::NOEXEC, "noexec"),
        (StatfsFlags::NOATIME, "noatime"),
        (StatfsFlags::RELATIME, "relatime"),
    ];
    let access = if mount.flags.contains(StatfsFlags::RDONLY) { "ro" } else { "rw" };
    let set = words.iter().filter(|(flag, _)| mount.flags.contains(*flag)).map(|(_, word)| *word);
    MountLine {
        id: mount.id,
        parent: mount.mountpoint.as_ref().map_or(1, |place| place.mount.id),
        device: mount.file_system.device(),
        place: String::from_utf8_lossy(&namespace().path_text(&place).0).into_owned(),
        flags: core::iter::once(access).chain(set).collect::<Vec<_>>().join(","),
        kind: mount.file_system.name().into(),
        source: mount.source.to_string(),
        options: mount.options.to_string(),
    }
}

/// The letters of `VmFlags` in `/proc/self/smaps` (`show_smap_vma_flags` in `fs/proc/task_mmu.c`).
fn flag_letters(flags: VmFlags) -> String {
    let letters = [
        (VmFlags::READ, "rd "),
        (VmFlags::WRITE, "wr "),
        (VmFlags::EXEC, "ex "),
        (VmFlags::SHARED, "sh "),
        (VmFlags::MAYREAD, "mr "),
        (VmFlags::MAYWRITE, "mw "),
        (VmFlags::MAYEXEC, "me "),
        (VmFlags::GROWSDOWN, "gd "),
        (VmFlags::LOCKED, "lo "),
        (VmFlags::SEQ_READ, "sr "),
        (VmFlags::RAND_READ, "rr "),
        (VmFlags::DONTCOPY, "dc "),
        (VmFlags::NORESERVE, "nr "),
        (VmFlags::WIPEONFORK, "wf "),
        (VmFlags::DONTDUMP, "dd "),
        (VmFlags::HUGEPAGE, "hg "),
        (VmFlags::NOHUGEPAGE, "nh "),
        (VmFlags::MERGEABLE, "mg "),
        (VmFlags::ACCOUNT, "ac "),
    ];
    letters.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letters)| *letters).collect()
}

/// The bytes of registers as text.
fn register_text(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_le_bytes()).collect();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_matches('\0').trim().into()
}

fn describe_cpu(index: u32) -> CpuDescription {
    const EXTENDED: u32 = 0x8000_0000;
    let [_, ebx, ecx, edx] = cpu::cpuid(0, 0);
    let [signature, misc, ..] = cpu::cpuid(1, 0);
    let extended = cpu::cpuid(EXTENDED, 0)[0];
    // Family and model as Intel SDM volume 2, CPUID, "Version Information" puts them together.
    let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
    let shown_family = if family == 0xf { family + (signature >> 20 & 0xff) } else { family };
    let shown_model = if family == 6 || family == 0xf { model | (signature >> 16 & 0xf) << 4 } else { model };
    let name = if extended >= EXTENDED + 4 {
        let brand: Vec<u32> = (2..=4).flat_map(|leaf| cpu::cpuid(EXTENDED + leaf, 0)).collect();
        register_text(&brand)
    } else {
        format!("family {shown_family} model {shown_model}")
    };
    let cache_kib = if extended >= EXTENDED + 6 { cpu::cpuid(EXTENDED + 6, 0)[2] >> 16 } else { 0 };
    let sizes = if extended >= EXTENDED + 8 { cpu::cpuid(EXTENDED + 8, 0)[0] } else { 36 | 48 << 8 };
    CpuDescription {
        vendor: register_text(&[ebx, edx, ecx]),
        family: shown_family,
        model: shown_model,
        stepping: signature & 0xf,
        name,
        khz: clock::scale().map_or(0, |scale| scale.hz / 1000),
        cache_kib,
        apic_id: cpu::by_index(index as usize).map_or(index, |cpu| cpu.apic_id()),
        flags: cpu_flags::names(),
        clflush_bytes: (misc >> 8 & 0xff) * 8,
        address_bits: [sizes & 0xff, sizes >> 8 & 0xff],
    }
}
