//! The process's view of files: the name space, its descriptors, working directory and umask.
//!
//! What file systems do is in the crates `vfs`, `ext4`, `tmpfs` and `page-cache`; here they are put together
//! on the devices, and given to the system calls. [`WORKING_DIRECTORY`] is a leaf lock.

mod cpu_flags;
mod special;
mod system_info;
mod volumes;

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{
    ops::ControlFlow,
    sync::atomic::{AtomicU16, Ordering},
};

use ext4::{Access, Condition, Ext4, Superblock};
use ksync::{Interruptible, RwLock, WaitQueue};
use linux_abi::{
    Errno,
    file::{AT_FDCWD, DeviceNumber, FileType, OpenFlags, StatfsFlags},
};
use proc_fs::PseudoFileSystem;
use run_config::{Root, RunConfig, Volume};
use spin::{LazyLock, Once};
use tmpfs::Tmpfs;
use vfs::{
    AccessMode, Blocking, FdFlags, FdTable, File, FileSystem, FinalLink, MountRequest, Namespace, NewInode,
    OpenFile, OpenRequest, Path, SliceSrc, WriteSrc, Writeback,
};

use crate::{device, mm, task};

pub use special::is_zero_device;

static NAMESPACE: Once<Namespace> = Once::new();
/// The file system of the root, if it is mounted for writing.
static WRITABLE_ROOT: Once<Arc<Ext4>> = Once::new();
/// Holds what has no name: memfds.
static UNNAMED: LazyLock<Arc<Tmpfs>> = LazyLock::new(|| Tmpfs::new("tmpfs", usize::MAX / 2, 0o700));
static WORKING_DIRECTORY: RwLock<Option<Path>> = RwLock::new(None);
static UMASK: AtomicU16 = AtomicU16::new(0o022);
/// The limit that Linux starts processes with; `setrlimit(2)` changes it.
const DESCRIPTOR_LIMIT: usize = 1024;
static DESCRIPTORS: LazyLock<FdTable> = LazyLock::new(|| FdTable::new(DESCRIPTOR_LIMIT));

/// The first virtio disk, as Linux numbers it.
const ROOT_DEVICE: DeviceNumber = DeviceNumber { major: 254, minor: 0 };
/// The share of memory that `/tmp`, `/run`, `/dev/shm` and changes of the root may each take, as systemd sets up the
/// first three.
const TMPFS_SHARE: usize = 2;
/// How long changes of contents stay in memory only, as on Linux (`dirty_expire_centisecs`).
const DIRTY_EXPIRE_NS: u64 = 30_000_000_000;
/// How often the writer thread looks (`dirty_writeback_centisecs`), and what else has changed is committed (ext4's
/// `commit=`).
const WRITEBACK_INTERVAL_NS: u64 = 5_000_000_000;
/// How long it rests after it could write nothing of what there was too much.
const FAILED_PAUSE_NS: u64 = 1_000_000_000;

/// Mounts the root file system and all others. The error says in a sentence what is wrong.
pub fn mount_root(root: Root) -> Result<(), String> {
    vfs::set_file_size_alarm(crate::ipc::raise_sigxfsz);
    frames::register_reclaimer(page_cache::evict);
    vfs::set_write_protector(|object, pages| {
        mm::space().write_protect_object_range(object, pages);
    });
    let limit_pages = frames::statistics().total / TMPFS_SHARE;
    let size_option = size_option(limit_pages);
    // Access times are not kept, and the mount says so.
    let flags = StatfsFlags::NOATIME;
    let request = match root {
        Root::Overlay => {
            let disk: Arc<dyn FileSystem> = mount_disk(Access::ReadOnly)?;
            let file_system = Tmpfs::over(&disk, limit_pages).map_err(unreadable_root)?;
            MountRequest { file_system, source: "overlay", flags, options: &size_option }
        }
        Root::Writable => {
            let file_system = mount_disk(Access::ReadWrite)?;
            WRITABLE_ROOT.call_once(|| file_system.clone());
            MountRequest { file_system, source: "/dev/vda", flags, options: "" }
        }
    };
    let namespace = Namespace::new(request, UNNAMED.clone(), Box::new(special::Devices));
    let namespace = namespace.map_err(unreadable_root)?;
    *WORKING_DIRECTORY.write() = Some(namespace.root().clone());
    let namespace = NAMESPACE.call_once(|| namespace);
    mount_others(namespace).map_err(|(place, error)| format!("{place} cannot be mounted: {error:?}"))
}

/// Starts the writer thread. The error says in a sentence what is wrong.
pub fn start_writing_back() -> Result<(), String> {
    task::spawn_kernel_thread("writeback", write_back, 0)
        .map_err(|error| format!("no thread for writing files back: {error:?}"))
}

/// Mounts the volumes of the run. The error says in a sentence what is wrong.
pub fn mount_volumes(volumes: &[Volume]) -> Result<(), String> {
    volumes::mount_all(namespace(), volumes)
}

/// Mounts the disk that the machine boots from.
fn mount_disk(access: Access) -> Result<Arc<Ext4>, String> {
    let sentence = |error| match error {
        Errno::EINVAL => "the disk has no ext4 file system".into(),
        Errno::EUCLEAN => "the file system on the disk is damaged".into(),
        Errno::EOPNOTSUPP => "the file system on the disk has features that are not known here".into(),
        error => format!("the disk cannot be mounted: {error:?}"),
    };
    let disk = device::root_disk().ok_or("there is no disk to boot from")?;
    let condition = Superblock::read(&*disk).map_err(sentence)?.condition();
    if condition == Condition::NeedsRecovery {
        volumes::notice(match access {
            Access::ReadOnly => {
                "the image was not left in order, and is read without its journal: what was written last may be \
                 missing; a run with --writable-root recovers it"
            }
            Access::ReadWrite => "the image was not left in order, and has been recovered",
        });
    }
    Ext4::mount(disk, ROOT_DEVICE, access).map_err(sentence)
}

fn unreadable_root(error: Errno) -> String {
    match error {
        Errno::EUCLEAN => "the file system on the disk is damaged".into(),
        error => format!("the disk's root directory cannot be read: {error:?}"),
    }
}

/// A limit as `/proc/mounts` shows it.
fn size_option(limit_pages: usize) -> String {
    format!("size={}k", limit_pages * (frames::PAGE_SIZE >> 10))
}

fn mount_others(namespace: &Namespace) -> Result<(), (&'static str, Errno)> {
    let limit_pages = frames::statistics().total / TMPFS_SHARE;
    let no_devices = StatfsFlags::NOSUID | StatfsFlags::NODEV | StatfsFlags::NOATIME;
    let no_programs = no_devices | StatfsFlags::NOEXEC;
    let mount = |place: &'static str, file_system: Arc<dyn FileSystem>, flags, options: &str| {
        ensure_directory(namespace, place).map_err(|error| (place, error))?;
        let source = file_system.name();
        let request = MountRequest { file_system, source, flags, options };
        namespace.mount(place.as_bytes(), request).map(drop).map_err(|error| (place, error))
    };
    let sized = |permissions| Tmpfs::new("tmpfs", limit_pages, permissions);
    let options = size_option(limit_pages);
    mount("/dev", Tmpfs::new("devtmpfs", limit_pages, 0o755), StatfsFlags::NOSUID, "mode=755")?;
    special::populate(namespace).map_err(|error| ("/dev", error))?;
    mount("/dev/shm", sized(0o1777), no_devices, &options)?;
    mount("/tmp", sized(0o1777), no_devices, &options)?;
    mount("/run", sized(0o755), no_devices, &format!("{options},mode=755"))?;
    let info = Arc::new(system_info::Kernel);
    mount("/proc", PseudoFileSystem::proc(info.clone()), no_programs, "")?;
    mount("/sys", PseudoFileSystem::sys(info.clone()), no_programs, "")?;
    mount("/sys/fs/cgroup", PseudoFileSystem::cgroup(info), no_programs, "")
}

fn ensure_directory(namespace: &Namespace, path: &str) -> Result<(), Errno> {
    match namespace.create(namespace.root(), path.as_bytes(), NewInode::Directory, 0o755) {
        // What is there already, or is made by the file system itself, is not made here.
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The writer thread: writes changes back when they are old, so that not all is lost with a machine that is switched
/// off, and when there are many.
extern "C" fn write_back(_: usize) -> ! {
    let never = WaitQueue::new();
    let mut next_look_ns = 0;
    loop {
        page_cache::wait_for_excess(next_look_ns);
        let dirty_before = page_cache::dirty_pages();
        if page_cache::has_excess() {
            namespace().write_back(Writeback::Excess, &|| match page_cache::has_excess() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            });
        }
        let now_ns = ksync::platform::now_ns();
        if now_ns >= next_look_ns {
            let deadline_ns = now_ns.saturating_sub(DIRTY_EXPIRE_NS);
            namespace().write_back(Writeback::OlderThan { deadline_ns }, &|| ControlFlow::Continue(()));
            next_look_ns = ksync::platform::now_ns() + WRITEBACK_INTERVAL_NS;
        }
        if page_cache::has_excess() && page_cache::dirty_pages() >= dirty_before {
            let _ = never.wait(Interruptible::No, Some(now_ns + FAILED_PAUSE_NS), || None::<()>);
        }
    }
}

/// The name space.
pub fn namespace() -> &'static Namespace {
    NAMESPACE.get().expect("the root is mounted before anything asks for files")
}

/// The file system of what has no name.
pub fn unnamed() -> &'static Arc<Tmpfs> {
    &UNNAMED
}

/// The process's descriptors.
pub fn descriptors() -> &'static FdTable {
    &DESCRIPTORS
}

/// The open file behind a descriptor, `EBADF` if there is none.
pub fn descriptor(fd: i32) -> Result<Arc<OpenFile>, Errno> {
    DESCRIPTORS.get(fd as u32)
}

/// Gives `file` the lowest free descriptor. Of `flags`, which are those of `open(2)`, only `O_CLOEXEC` counts
/// here.
pub fn install(file: Arc<OpenFile>, flags: OpenFlags) -> Result<usize, Errno> {
    let fd_flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
    Ok(DESCRIPTORS.insert(file, fd_flags)? as usize)
}

/// Follows RLIMIT_NOFILE.
pub fn set_descriptor_limit(limit: usize) {
    DESCRIPTORS.set_limit(limit);
}

/// The working directory.
pub fn working_directory() -> Path {
    WORKING_DIRECTORY.read().clone().unwrap_or_else(|| namespace().root().clone())
}

/// Changes to a directory; `ENOTDIR` if it is none.
pub fn change_directory(path: Path) -> Result<(), Errno> {
    if !path.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    let previous = WORKING_DIRECTORY.write().replace(path);
    drop(previous);
    Ok(())
}

/// Changes to the directory at `path`.
pub fn set_working_directory(path: &str) -> Result<(), Errno> {
    change_directory(namespace().resolve(&working_directory(), path.as_bytes(), FinalLink::Follow)?)
}

/// The permissions that new files do not get.
pub fn umask() -> u16 {
    UMASK.load(Ordering::Relaxed)
}

/// Sets them; returns what they were.
pub fn set_umask(mask: u16) -> u16 {
    UMASK.swap(mask & 0o777, Ordering::Relaxed)
}

/// Where a path that a call names relative to `directory` (a descriptor or `AT_FDCWD`) begins.
pub fn base_of(directory: i32, path: &[u8]) -> Result<Path, Errno> {
    if path.first() == Some(&b'/') {
        return Ok(namespace().root().clone());
    }
    if directory == AT_FDCWD {
        return Ok(working_directory());
    }
    descriptor(directory)?.path().cloned().ok_or(Errno::ENOTDIR)
}

/// Opens a file for the kernel's own use.
fn open_for_reading(path: &str) -> Result<Arc<OpenFile>, Errno> {
    let request = OpenRequest { access: AccessMode::ReadOnly, flags: OpenFlags::empty(), permissions: 0 };
    namespace().open(&working_directory(), path.as_bytes(), &request)
}

/// Opens a program: a regular file that may be executed, `EACCES` else.
pub fn open_executable(path: &str) -> Result<Arc<OpenFile>, Errno> {
    let file = open_for_reading(path)?;
    let metadata = file.metadata()?;
    if metadata.kind != FileType::Regular || metadata.permissions & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(file)
}

/// All of a file's contents.
pub fn read_file(path: &str) -> Result<Vec<u8>, Errno> {
    let file = open_for_reading(path)?;
    let mut bytes = Vec::new();
    let mut part = alloc::vec![0; 64 << 10];
    loop {
        match file.read(&mut &mut part[..], Blocking::Yes)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
}

/// Makes a file with these contents, or gives them to the file that is there.
pub fn replace_file(path: &str, contents: &[u8]) -> Result<(), Errno> {
    let request = OpenRequest {
        access: AccessMode::WriteOnly,
        flags: OpenFlags::CREAT | OpenFlags::TRUNC,
        permissions: 0o644,
    };
    let file = namespace().open(namespace().root(), path.as_bytes(), &request)?;
    let mut source = SliceSrc::new(contents);
    while source.remaining() > 0 {
        file.write(&mut source, Blocking::Yes)?;
    }
    Ok(())
}

/// Opens descriptors 0, 1 and 2 on the console.
pub fn open_standard_files(config: &RunConfig) -> Result<(), Errno> {
    let streams = device::streams::open(config);
    special::CONSOLE.call_once(|| streams.stdout.clone());
    let files: [(Arc<dyn File>, AccessMode); 3] = if config.tty {
        let both = AccessMode::ReadWrite;
        [(streams.stdin.clone(), both), (streams.stdout.clone(), both), (streams.stderr.clone(), both)]
    } else {
        let (read, write) = (AccessMode::ReadOnly, AccessMode::WriteOnly);
        [(streams.stdin.clone(), read), (streams.stdout.clone(), write), (streams.stderr.clone(), write)]
    };
    for (file, access) in files {
        DESCRIPTORS.insert(OpenFile::anonymous(file, access, OpenFlags::empty()), FdFlags::empty())?;
    }
    Ok(())
}

/// Makes everything durable, before the machine is switched off.
pub fn at_exit() {
    volumes::at_exit();
    let Some(root) = WRITABLE_ROOT.get() else { return };
    if let Err(error) = root.shut_down() {
        log::error!("the root file system was not left clean: {error:?}");
    }
}

/// The report that HotSpot writes when it crashes, if it has: name and contents.
pub fn crash_report() -> Option<(String, Vec<u8>)> {
    let name = format!("hs_err_pid{}.log", task::PID);
    let contents = read_file(&name).or_else(|_| read_file(&format!("/tmp/{name}"))).ok()?;
    Some((name, contents))
}
