//! What programs read, over a made-up machine.

use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex},
};

use linux_abi::{
    Errno,
    file::{AccessMode, DeviceNumber, FileType, OpenFlags, StatfsFlags, magic},
};
use proc_fs::{
    Area, CpuDescription, CpuTimes, DescriptorState, IoCounts, Limit, MemoryUse, MountLine, NetworkFile,
    ProcessMemory, ProcessSettings, ProcessSignals, PseudoFileSystem, SystemInfo, ThreadInfo, Usage,
};
use tmpfs::Tmpfs;
use vfs::{
    Blocking, File, FileSystem, FinalLink, Inode, MountRequest, Namespace, NewInode, OpenFile, OpenRequest,
    Path, SliceSrc, SpecialFiles,
};

/// Two CPUs, two threads, two mappings, three descriptors.
struct Machine {
    place: Path,
    policy: Mutex<usize>,
    settings: ProcessSettings,
    renamed: Mutex<Vec<(u32, Vec<u8>)>>,
}

impl SystemInfo for Machine {
    fn memory(&self) -> MemoryUse {
        MemoryUse { total: 1 << 30, free: 1 << 29, cached: 1 << 26, ..MemoryUse::default() }
    }
    fn cpu_count(&self) -> u32 {
        2
    }
    fn cpu(&self, index: u32) -> CpuDescription {
        CpuDescription {
            vendor: "Vendor".into(),
            khz: 2_345_678,
            apic_id: index,
            ..CpuDescription::default()
        }
    }
    fn cpu_times(&self, _: u32) -> CpuTimes {
        CpuTimes { busy_ns: 1_500_000_000, idle_ns: 500_000_000 }
    }
    fn uptime_ns(&self) -> u64 {
        12_345_678_901
    }
    fn boot_time(&self) -> u64 {
        1_700_000_000
    }
    fn load(&self) -> [u64; 3] {
        [123, 5, 0]
    }
    fn runnable(&self) -> usize {
        1
    }
    fn threads_made(&self) -> usize {
        2
    }
    fn network_channels(&self) -> String {
        "channel_packets 3\n".into()
    }

    fn network_file(&self, file: NetworkFile) -> String {
        format!("{file:?}\n")
    }
    fn interrupts(&self) -> u64 {
        77
    }
    fn context_switches(&self) -> u64 {
        99
    }
    fn system_names(&self) -> [String; 3] {
        ["6.1.0".into(), "#1".into(), "host".into()]
    }
    fn threads(&self) -> Vec<ThreadInfo> {
        let thread = |tid, name: &str| ThreadInfo {
            tid,
            name: name.into(),
            state: 'S',
            cpu_ns: 20_000_000,
            affinity: u64::MAX,
            ..ThreadInfo::default()
        };
        vec![thread(1, "java"), thread(7, "GC Thread#0")]
    }
    fn process_cpu_ns(&self) -> u64 {
        50_000_000
    }
    fn current_thread(&self) -> u32 {
        7
    }
    fn process_io(&self) -> (IoCounts, [u64; 2]) {
        (IoCounts { read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 }, [5, 6])
    }
    fn settings(&self) -> &ProcessSettings {
        &self.settings
    }
    fn signals(&self) -> ProcessSignals {
        ProcessSignals { caught: 0x8000, ..ProcessSignals::default() }
    }
    fn process_memory(&self) -> ProcessMemory {
        ProcessMemory { mapped: 81920, resident: [8192, 4096, 0], ..ProcessMemory::default() }
    }
    fn area_from(&self, address: u64) -> Option<Area> {
        let areas = [
            Area {
                range: 0x40_0000..0x40_2000,
                permissions: *b"r-xp",
                offset: 0x1000,
                device: DeviceNumber { major: 254, minor: 0 }.encode(),
                inode: 12,
                name: "/usr/bin/a b".into(),
                flags: "rd ex ".into(),
            },
            Area { range: 0x7fff_0000_0000..0x7fff_0000_1000, permissions: *b"rw-p", ..Area::default() },
        ];
        areas.into_iter().find(|area| area.range.end > address)
    }
    fn usage(&self, range: Range<u64>) -> Usage {
        Usage { resident: range.end - range.start, private: [4096, 0], ..Usage::default() }
    }
    fn start_data(&self) -> [Vec<u8>; 3] {
        [b"java\0-jar\0".to_vec(), b"A=1\0".to_vec(), vec![0; 16]]
    }
    fn limits(&self) -> Vec<Limit> {
        vec![Limit { resource: 7, current: 1024, maximum: u64::MAX }]
    }
    fn mounts(&self) -> Vec<MountLine> {
        vec![MountLine {
            id: 20,
            parent: 1,
            device: DeviceNumber { major: 254, minor: 0 }.encode(),
            place: "/a b".into(),
            flags: "rw,noatime".into(),
            kind: "ext4".into(),
            source: "/dev/vda".into(),
            options: String::new(),
        }]
    }
    fn executable(&self) -> Result<Path, Errno> {
        Ok(self.place.clone())
    }
    fn working_directory(&self) -> Path {
        self.place.clone()
    }
    fn root(&self) -> Path {
        self.place.clone()
    }
    fn descriptors(&self) -> Vec<u32> {
        vec![0, 1, 5]
    }
    fn descriptor(&self, fd: u32) -> Result<Path, Errno> {
        if fd == 5 { Ok(self.place.clone()) } else { Err(Errno::ENOENT) }
    }
    fn descriptor_state(&self, _: u32) -> Result<DescriptorState, Errno> {
        Ok(DescriptorState { offset: 17, flags: 0o2100002, mount: 20, inode: 9 })
    }
    fn path_text(&self, _: &Path) -> Vec<u8> {
        b"/the/place".to_vec()
    }
    fn umask(&self) -> u16 {
        0o22
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
    fn boot_id(&self) -> [u8; 16] {
        [0x11; 16]
    }
    fn maxima(&self) -> [u64; 4] {
        [1, 2, 3, 4]
    }
    fn lowest_address(&self) -> u64 {
        65536
    }
    fn huge_page_policy(&self) -> usize {
        *self.policy.lock().unwrap()
    }
    fn set_huge_page_policy(&self, policy: usize) {
        *self.policy.lock().unwrap() = policy;
    }
    fn set_thread_name(&self, tid: u32, name: &[u8]) -> Result<(), Errno> {
        self.renamed.lock().unwrap().push((tid, name.to_vec()));
        Ok(())
    }
    fn network_report(&self, name: &str) -> Result<String, Errno> {
        Ok(format!("report {name}\n"))
    }
    fn network_setting(&self, name: &str) -> Result<String, Errno> {
        Ok(format!("setting {name}\n"))
    }
    fn set_network_setting(&self, name: &str, value: &str) -> Result<(), Errno> {
        if name == "somaxconn" && value == "7\n" { Ok(()) } else { Err(Errno::EINVAL) }
    }
    fn ethernet_count(&self) -> u32 {
        2
    }
    fn interface_figure(&self, interface: &str, figure: &str) -> Result<String, Errno> {
        Ok(format!("{interface} {figure}\n"))
    }
}

struct NoSpecialFiles;

impl SpecialFiles for NoSpecialFiles {
    fn open_device(&self, _: FileType, _: DeviceNumber, _: AccessMode) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
    fn open_fifo(&self, _: &Arc<dyn Inode>, _: AccessMode, _: Blocking) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
}

struct Tree {
    names: Namespace,
    machine: Arc<Machine>,
}

impl Tree {
    fn new() -> Self {
        frames::host::init();
        let request = |file_system: Arc<dyn FileSystem>| MountRequest {
            file_system,
            source: "none",
            flags: StatfsFlags::empty(),
            options: "",
        };
        let root = Tmpfs::new("tmpfs", 100, 0o755);
        let names =
            Namespace::new(request(root), Tmpfs::new("tmpfs", 1, 0o755), Box::new(NoSpecialFiles)).unwrap();
        for directory in ["proc", "sys"] {
            names.create(names.root(), directory.as_bytes(), NewInode::Directory, 0o755).unwrap();
        }
        let place = names.create(names.root(), b"place", NewInode::Regular, 0o644).unwrap();
        let machine = Arc::new(Machine {
            place,
            policy: Mutex::new(1),
            settings: ProcessSettings::default(),
            renamed: Mutex::default(),
        });
        names.mount(b"/proc", request(PseudoFileSystem::proc(machine.clone()))).unwrap();
        names.mount(b"/sys", request(PseudoFileSystem::sys(machine.clone()))).unwrap();
        names.mount(b"/sys/fs/cgroup", request(PseudoFileSystem::cgroup(machine.clone()))).unwrap();
        Self { names, machine }
    }

    fn open(&self, path: &str, access: AccessMode) -> Result<Arc<OpenFile>, Errno> {
        let request = OpenRequest { access, flags: OpenFlags::empty(), permissions: 0 };
        self.names.open(self.names.root(), path.as_bytes(), &request)
    }

    fn text(&self, path: &str) -> String {
        let file = self.open(path, AccessMode::ReadOnly).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let mut bytes = Vec::new();
        let mut part = [0; 100];
        loop {
            match file.read(&mut &mut part[..], Blocking::Yes).unwrap() {
                0 => return String::from_utf8(bytes).unwrap(),
                read => bytes.extend_from_slice(&part[..read]),
            }
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.open(path, AccessMode::ReadOnly)
            .unwrap()
            .read_directory(&mut |entry| {
                names.push(String::from_utf8(entry.name.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        names.split_off(2)
    }
}

#[test]
fn formats_are_linuxs() {
    let tree = Tree::new();
    for (path, expected) in [
        ("/proc/uptime", "12.34 1.00\n"),
        ("/proc/loadavg", "1.23 0.05 0.00 1/2 7\n"),
        ("/proc/self/comm", "java\n"),
        ("/proc/self/task/7/comm", "GC Thread#0\n"),
        ("/proc/self/cmdline", "java\0-jar\0"),
        ("/proc/7/comm", "GC Thread#0\n"),
        ("/proc/thread-self/comm", "GC Thread#0\n"),
        ("/proc/self/coredump_filter", "00000033\n"),
        ("/proc/self/oom_score_adj", "0\n"),
        (
            "/proc/self/io",
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 0\n",
        ),
        ("/proc/self/cgroup", "0::/\n"),
        ("/proc/self/statm", "20 3 1 1 0 20 0\n"),
        ("/proc/self/mountinfo", "20 1 254:0 / /a\\040b rw,noatime - ext4 /dev/vda rw\n"),
        ("/proc/mounts", "/dev/vda /a\\040b ext4 rw,noatime 0 0\n"),
        ("/proc/self/fdinfo/5", "pos:\t17\nflags:\t02100002\nmnt_id:\t20\nino:\t9\n"),
        ("/proc/sys/kernel/random/uuid", "ffffffff-ffff-4fff-bfff-ffffffffffff\n"),
        ("/proc/sys/kernel/random/boot_id", "11111111-1111-4111-9111-111111111111\n"),
        ("/proc/sys/vm/max_map_count", "4\n"),
        ("/proc/sys/kernel/osrelease", "6.1.0\n"),
        ("/sys/devices/system/cpu/online", "0-1\n"),
        ("/sys/devices/system/cpu/cpu1/topology/core_id", "1\n"),
        ("/sys/devices/system/node/node0/cpumap", "00000000,00000003\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("/sys/fs/cgroup/memory.max", "max\n"),
        ("/sys/fs/cgroup/memory.current", "536870912\n"),
        (
            "/proc/self/maps",
            "00400000-00402000 r-xp 00001000 fe:00 12                                 /usr/bin/a b\n\
             7fff00000000-7fff00001000 rw-p 00000000 00:00 0 \n",
        ),
    ] {
        assert_eq!(tree.text(path), expected, "{path}");
    }
    let meminfo = tree.text("/proc/meminfo");
    assert!(meminfo.starts_with("MemTotal:        1048576 kB\nMemFree:          524288 kB\n"), "{meminfo}");
    let limits = tree.text("/proc/self/limits");
    assert!(
        limits.contains("Max open files            1024                 unlimited            files     \n")
    );
    assert_eq!(tree.text("/proc/crema/net"), "channel_packets 3\n");
    assert_eq!(tree.text("/proc/net/if_inet6"), "IfInet6\n");
    assert_eq!(tree.text("/proc/net/snmp"), "Snmp\n");
    let cpuinfo = tree.text("/proc/cpuinfo");
    assert_eq!(cpuinfo.matches("processor\t: ").count(), 2);
    assert!(cpuinfo.contains("cpu MHz\t\t: 2345.678\n"));
    assert_eq!(tree.text("/proc/self/stat").split_ascii_whitespace().count(), 52);
    assert!(tree.text("/proc/stat").starts_with("cpu  300 0 0 100 0 0 0 0 0 0\ncpu0 150 0 0 50 "));
    assert!(tree.text("/proc/self/status").contains("\nSigCgt:\t0000000000008000\n"));
    assert!(tree.text("/proc/self/status").contains("\nCpus_allowed_list:\t0-1\n"));
}

#[test]
fn every_file_can_be_read_and_every_directory_listed() {
    let tree = Tree::new();
    let mut pending = vec!["/proc".to_owned(), "/sys".to_owned()];
    let mut files = 0;
    while let Some(path) = pending.pop() {
        for name in tree.list(&path) {
            let child = format!("{path}/{name}");
            match tree
                .names
                .resolve(tree.names.root(), child.as_bytes(), FinalLink::Stay)
                .unwrap()
                .inode()
                .kind()
            {
                FileType::Directory => pending.push(child),
                FileType::Symlink => {}
                _ => {
                    if !child.ends_with("auxv") {
                        tree.text(&child);
                    }
                    files += 1;
                }
            }
        }
    }
    assert!(files > 120, "only {files} files");
}

#[test]
fn numbers_come_and_go_and_links_lead_to_objects() {
    let tree = Tree::new();
    assert_eq!(tree.list("/proc/self/fd"), ["0", "1", "5"]);
    assert_eq!(tree.list("/proc/self/task"), ["1", "7"]);
    for absent in
        ["/proc/2", "/proc/01", "/proc/self/fd/2", "/proc/self/task/x", "/sys/devices/system/cpu/cpu2"]
    {
        assert_eq!(tree.open(absent, AccessMode::ReadOnly).err(), Some(Errno::ENOENT), "{absent}");
    }
    let link = tree.names.resolve(tree.names.root(), b"/proc/self/exe", FinalLink::Stay).unwrap();
    assert_eq!(link.inode().read_link().unwrap(), b"/the/place");
    let target = tree.names.resolve(tree.names.root(), b"/proc/self/fd/5", FinalLink::Follow).unwrap();
    assert_eq!(target.inode().id(), tree.machine.place.inode().id());
    let group = tree.names.resolve(tree.names.root(), b"/sys/fs/cgroup", FinalLink::Follow).unwrap();
    assert_eq!(tree.names.statistics(&group).unwrap().kind, magic::CGROUP2);
}

#[test]
fn only_settings_are_written() {
    let tree = Tree::new();
    let write = |path: &str, text: &str| {
        tree.open(path, AccessMode::WriteOnly)?.write(&mut SliceSrc::new(text.as_bytes()), Blocking::Yes)
    };
    assert_eq!(write("/sys/kernel/mm/transparent_hugepage/enabled", "always\n"), Ok(7));
    assert_eq!(write("/sys/kernel/mm/transparent_hugepage/enabled", "often"), Err(Errno::EINVAL));
    assert_eq!(*tree.machine.policy.lock().unwrap(), 0);
    assert_eq!(write("/proc/self/task/7/comm", "worker\n"), Ok(7));
    assert_eq!(*tree.machine.renamed.lock().unwrap(), [(7, b"worker".to_vec())]);
    assert_eq!(write("/proc/meminfo", "x"), Err(Errno::EIO));
    let root = tree.names.root();
    assert_eq!(tree.names.create(root, b"/proc/x", NewInode::Regular, 0o644).err(), Some(Errno::ENOENT));
    assert_eq!(tree.names.create(root, b"/sys/x", NewInode::Regular, 0o644).err(), Some(Errno::EPERM));
    assert!(tree.names.unlink(root, b"/proc/meminfo").is_err());
}
