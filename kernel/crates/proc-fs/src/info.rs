//! What the files are made of.

use alloc::{string::String, vec::Vec};
use core::{
    ops::Range,
    sync::atomic::{AtomicI32, AtomicU32},
};

use linux_abi::Errno;
use vfs::Path;

/// Who has the machine's memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryUse {
    /// All that is managed.
    pub total: u64,
    /// Free.
    pub free: u64,
    /// In page caches.
    pub cached: u64,
    /// Of that, not yet written back.
    pub dirty: u64,
    /// Pages that are being written to their storage.
    pub writeback: u64,
    /// In RAM file systems and shared mappings.
    pub shared: u64,
    /// The application's anonymous memory.
    pub anonymous: u64,
    /// Of that, in huge pages.
    pub anonymous_huge: u64,
    /// Mapped from files.
    pub mapped: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Kernel stacks.
    pub kernel_stacks: u64,
    /// The kernel's heap.
    pub kernel_heap: u64,
    /// Promised to the application.
    pub committed: u64,
}

/// What a CPU is.
#[derive(Clone, Debug, Default)]
pub struct CpuDescription {
    /// Vendor, as CPUID has it.
    pub vendor: String,
    /// Display family.
    pub family: u32,
    /// Display model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Brand string.
    pub name: String,
    /// TSC frequency in kHz.
    pub khz: u64,
    /// Size of the last-level cache in KiB.
    pub cache_kib: u32,
    /// APIC id.
    pub apic_id: u32,
    /// Features by Linux's names, with spaces between.
    pub flags: String,
    /// Bytes that CLFLUSH works on.
    pub clflush_bytes: u32,
    /// Bits of physical and linear addresses.
    pub address_bits: [u32; 2],
}

/// What a CPU has done, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimes {
    /// Running the application, calls of the kernel included.
    pub busy_ns: u64,
    /// Nothing.
    pub idle_ns: u64,
}

/// What went through calls that read and write, whatever the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Calls that read.
    pub reads: u64,
    /// Calls that wrote.
    pub writes: u64,
}

/// What can be set for the process and is only kept, since nothing here acts on it: no core is ever dumped, and no
/// process is killed for another's sake.
#[derive(Debug)]
pub struct ProcessSettings {
    /// Bits of `coredump_filter`.
    pub core_dump_filter: AtomicU32,
    /// `oom_score_adj`, -1000 to 1000.
    pub oom_score_adjustment: AtomicI32,
}

impl Default for ProcessSettings {
    /// What Linux starts the first process with.
    fn default() -> Self {
        Self { core_dump_filter: AtomicU32::new(0x33), oom_score_adjustment: AtomicI32::new(0) }
    }
}

/// What `/proc/self/fdinfo` tells of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorState {
    /// The open file's offset.
    pub offset: u64,
    /// Access mode, status flags, and `O_CLOEXEC` of the descriptor.
    pub flags: u32,
    /// Number of the mount.
    pub mount: u32,
    /// Number of the inode.
    pub inode: u64,
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub struct ThreadInfo {
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// `R` or `S`.
    pub state: char,
    /// Processor time.
    pub cpu_ns: u64,
    /// Page faults without and with I/O.
    pub faults: [u64; 2],
    /// The CPU that it ran on last.
    pub cpu: u32,
    /// Nice value.
    pub nice: i32,
    /// When it started, since the kernel did.
    pub started_ns: u64,
    /// Context switches that it asked for, and others.
    pub switches: [u64; 2],
    /// CPUs that it may run on.
    pub affinity: u64,
    /// Signals that wait for it, and that it blocks.
    pub pending: u64,
    /// See above.
    pub blocked: u64,
    /// What it read and wrote.
    pub io: IoCounts,
}

/// Signals of the process, as sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessSignals {
    /// Waiting.
    pub pending: u64,
    /// Ignored.
    pub ignored: u64,
    /// With a handler.
    pub caught: u64,
    /// How many wait, and may.
    pub queued: [u64; 2],
}

/// The process's memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMemory {
    /// Mapped.
    pub mapped: u64,
    /// Most that ever was mapped.
    pub peak_mapped: u64,
    /// In memory: anonymous, of files, shared.
    pub resident: [u64; 3],
    /// Most that ever was in memory.
    pub peak_resident: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Locked.
    pub locked: u64,
    /// The heap of `brk(2)`.
    pub heap: [u64; 2],
    /// Where the main stack began.
    pub stack_start: u64,
}

/// A mapping.
#[derive(Clone, Debug, Default)]
pub struct Area {
    /// Addresses.
    pub range: Range<u64>,
    /// `rwxp`.
    pub permissions: [u8; 4],
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Device and inode number of the file, or 0.
    pub device: u64,
    /// See above.
    pub inode: u64,
    /// Path of the file, or a name in brackets, or nothing.
    pub name: String,
    /// The letters of `VmFlags` in smaps, each followed by a space.
    pub flags: String,
}

/// What a mapping takes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In memory.
    pub resident: u64,
    /// Of that, private and unchanged, and private and changed.
    pub private: [u64; 2],
    /// Accessed lately.
    pub referenced: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Of that, in huge pages.
    pub anonymous_huge: u64,
}

/// A resource limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Number of the resource (`RLIMIT_*`).
    pub resource: u32,
    /// Soft.
    pub current: u64,
    /// Hard.
    pub maximum: u64,
}

/// A mount.
#[derive(Clone, Debug)]
pub struct MountLine {
    /// Its number.
    pub id: u32,
    /// That of the mount that it is on.
    pub parent: u32,
    /// Device number.
    pub device: u64,
    /// Where.
    pub place: String,
    /// General options.
    pub flags: String,
    /// Kind of file system.
    pub kind: String,
    /// From what.
    pub source: String,
    /// Options of the file system.
    pub options: String,
}

/// A file of `/proc/net` whose text the network knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFile {
    /// Neighbours of IPv4.
    Arp,
    /// Interfaces and what they count.
    Dev,
    /// Addresses of IPv6.
    IfInet6,
    /// Groups of IPv4.
    Igmp,
    /// Groups of IPv6.
    Igmp6,
    /// Routes of IPv6.
    Ipv6Route,
    /// More counters of TCP.
    Netstat,
    /// Routes of IPv4.
    Route,
    /// Counters.
    Snmp,
    /// Counters of IPv6.
    Snmp6,
}

/// What the kernel tells. Everything is asked anew for each text.
pub trait SystemInfo: Send + Sync {
    /// Memory of the machine.
    fn memory(&self) -> MemoryUse;
    /// How many CPUs there are.
    fn cpu_count(&self) -> u32;
    /// What a CPU is.
    fn cpu(&self, index: u32) -> CpuDescription;
    /// What it has done.
    fn cpu_times(&self, index: u32) -> CpuTimes;
    /// Since the kernel started.
    fn uptime_ns(&self) -> u64;
    /// When that was, in seconds since the epoch.
    fn boot_time(&self) -> u64;
    /// Averages over 1, 5 and 15 minutes, in hundredths.
    fn load(&self) -> [u64; 3];
    /// Threads that can run now.
    fn runnable(&self) -> usize;
    /// Threads made since the start.
    fn threads_made(&self) -> usize;
    /// Interrupts since the start.
    fn interrupts(&self) -> u64;
    /// What the network channels have counted, a line for each.
    fn network_channels(&self) -> String;
    /// The text of a file of `/proc/net`.
    fn network_file(&self, file: NetworkFile) -> String;
    /// Context switches since the start.
    fn context_switches(&self) -> u64;
    /// `uname -r`, `uname -v` and the host name.
    fn system_names(&self) -> [String; 3];
    /// The process's threads, the first one first.
    fn threads(&self) -> Vec<ThreadInfo>;
    /// Processor time of the whole process, also of threads that ended.
    fn process_cpu_ns(&self) -> u64;
    /// The thread that asks.
    fn current_thread(&self) -> u32;
    /// What the whole process read and wrote, also threads that ended; and the bytes that its disks did.
    fn process_io(&self) -> (IoCounts, [u64; 2]);
    /// What is set for it.
    fn settings(&self) -> &ProcessSettings;
    /// Its signals.
    fn signals(&self) -> ProcessSignals;
    /// Its memory.
    fn process_memory(&self) -> ProcessMemory;
    /// The first mapping that ends after an address.
    fn area_from(&self, address: u64) -> Option<Area>;
    /// What a range of addresses takes.
    fn usage(&self, range: Range<u64>) -> Usage;
    /// Its arguments, NUL-ended each; its environment; its auxiliary vector.
    fn start_data(&self) -> [Vec<u8>; 3];
    /// Its limits.
    fn limits(&self) -> Vec<Limit>;
    /// All mounts.
    fn mounts(&self) -> Vec<MountLine>;
    /// Places of the program's file, the working directory, and the root.
    fn executable(&self) -> Result<Path, Errno>;
    /// See above.
    fn working_directory(&self) -> Path;
    /// See above.
    fn root(&self) -> Path;
    /// Open descriptors.
    fn descriptors(&self) -> Vec<u32>;
    /// What is behind a descriptor.
    fn descriptor(&self, fd: u32) -> Result<Path, Errno>;
    /// More about it.
    fn descriptor_state(&self, fd: u32) -> Result<DescriptorState, Errno>;
    /// The text of a place.
    fn path_text(&self, path: &Path) -> Vec<u8>;
    /// The umask.
    fn umask(&self) -> u16;
    /// Random bytes.
    fn random(&self, bytes: &mut [u8]);
    /// A random number chosen at boot.
    fn boot_id(&self) -> [u8; 16];
    /// Most descriptors, threads, thread ids and mappings.
    fn maxima(&self) -> [u64; 4];
    /// Lowest address that may be mapped.
    fn lowest_address(&self) -> u64;
    /// Which of `always`, `madvise` and `never` huge pages follow: its index.
    fn huge_page_policy(&self) -> usize;
    /// Sets it.
    fn set_huge_page_policy(&self, policy: usize);
    /// Sets a thread's name.
    fn set_thread_name(&self, tid: u32, name: &[u8]) -> Result<(), Errno>;
    /// A list of sockets, by the name of its file in `/proc/net`.
    fn network_report(&self, name: &str) -> Result<String, Errno>;
    /// A setting of the network, by the name of its file.
    fn network_setting(&self, name: &str) -> Result<String, Errno>;
    /// Sets it.
    fn set_network_setting(&self, name: &str, value: &str) -> Result<(), Errno>;
    /// How many Ethernet interfaces there are: `eth0` and so on.
    fn ethernet_count(&self) -> u32;
    /// A figure of an interface, by the name of its file in `/sys/class/net`.
    fn interface_figure(&self, interface: &str, figure: &str) -> Result<String, Errno>;
}
