//! The process's view of files: the tree of names, the descriptors, the working directory.
//!
//! The tree and its rules are the crate `vfs`; what is mounted there are the crates `ext4` and `tmpfs`, and what the modules here
//! make of the kernel's own state.

mod special;

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::sync::atomic::{AtomicU16, Ordering};

use ksync::SpinLock;
use linux_abi::{
    Errno,
    file::{AT_FDCWD, DeviceNumber, OpenFlags, StatfsFlags},

};
use run_config::RunConfig;
use spin::Once;
use vfs::{AccessMode, Blocking, FdFlags, FdTable, FinalLink, MountRequest, Namespace, OpenFile, OpenRequest, Path};

use crate::device;

static NAMESPACE: Once<Namespace> = Once::new();
static DESCRIPTORS: Once<FdTable> = Once::new();
static WORKING_DIRECTORY: SpinLock<Option<Path>> = SpinLock::new(None);
static UMASK: AtomicU16 = AtomicU16::new(0o022);

/// Soft limit of descriptors at the start, as on Linux.
const DESCRIPTOR_LIMIT: usize = 1024;
/// The major number that Linux gives virtio disks as a rule.
const VIRTIO_BLOCK_MAJOR: u32 = 254;

/// The tree of names.
pub fn namespace() -> &'static Namespace {
    NAMESPACE.get().expect("the root is mounted before the program starts")
}

/// The table of descriptors.
pub fn descriptors() -> &'static FdTable {
    DESCRIPTORS.call_once(|| FdTable::new(DESCRIPTOR_LIMIT))
}

/// The open file behind a descriptor.
pub fn descriptor(fd: i32) -> Result<Arc<OpenFile>, Errno> {
    descriptors().get(fd as u32)
}

/// Gives `file` the lowest free descriptor.
pub fn install(file: Arc<OpenFile>, close_on_exec: bool) -> Result<usize, Errno> {
    let flags = if close_on_exec { FdFlags::CLOEXEC } else { FdFlags::empty() };
    descriptors().insert(file, flags).map(|fd| fd as usize)
}

/// Sets `RLIMIT_NOFILE`'s soft limit.
pub fn set_descriptor_limit(limit: usize) {
    descriptors().set_limit(limit);
}

/// The working directory.
pub fn working_directory() -> Path {
    WORKING_DIRECTORY.lock().clone().unwrap_or_else(|| namespace().root().clone())
}

/// Makes `path`, a directory, the working directory.
pub fn set_working_directory_path(path: Path) {
    let former = WORKING_DIRECTORY.lock().replace(path);
    // Dropped with the lock released: it may be the last reference.
    drop(former);
}

/// Makes the directory at `path` the working directory.
pub fn set_working_directory(path: &str) -> Result<(), Errno> {
    let found = namespace().resolve(&working_directory(), path.as_bytes(), FinalLink::Follow)?;
    if !found.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    set_working_directory_path(found);
    Ok(())
}

/// The file mode creation mask.
pub fn umask() -> u16 {
    UMASK.load(Ordering::Relaxed)
}

/// Sets it; returns the former.
pub fn set_umask(mask: u16) -> u16 {
    UMASK.swap(mask & 0o777, Ordering::Relaxed)
}

/// Where a path begins that a call names by a directory's descriptor. An absolute path does not look at it.
pub fn base(directory: i32, path: &[u8]) -> Result<Path, Errno> {
    if directory == AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(working_directory());
    }
    let file = descriptor(directory)?;
    let place = file.path().ok_or(Errno::ENOTDIR)?;
    if place.dentry.is_directory() { Ok(place.clone()) } else { Err(Errno::ENOTDIR) }
}

/// Mounts the root file system from the first disk, and what every program expects below it.
pub fn mount_root() -> Result<(), String> {
    let disk = device::disks().next().ok_or("the machine has no disk to start from")?;
    let number = DeviceNumber { major: VIRTIO_BLOCK_MAJOR, minor: 0 };
    let root = ext4::Ext4::mount(disk, number, ext4::Access::ReadWrite)
        .map_err(|error| format!("the disk holds no ext4 file system that can be mounted: {error:?}"))?;
    let request = MountRequest {
        file_system: root,
        source: "/dev/vda",
        flags: StatfsFlags::RELATIME,
        options: "",
    };
    let unnamed = tmpfs::Tmpfs::new("anon_inodefs", usize::MAX, 0o755);
    let namespace = Namespace::new(request, unnamed, Box::new(special::Devices))
        .map_err(|error| format!("the root file system cannot be read: {error:?}"))?;
    NAMESPACE.call_once(|| namespace);
    // Half of memory at most, as on Linux; what is there takes memory, what is free does not.
    let half = frames::statistics().total / 2;
    for (mountpoint, permissions, options) in
        [("/tmp", 0o1777, ""), ("/run", 0o755, "mode=755"), ("/dev", 0o755, "mode=755"), ("/dev/shm", 0o1777, "")]
    {
        let request = MountRequest {
            file_system: tmpfs::Tmpfs::new("tmpfs", half, permissions),
            source: "tmpfs",
            flags: StatfsFlags::NOSUID | StatfsFlags::NODEV,
            options,
        };
        mount(mountpoint, request)?;
        if mountpoint == "/dev" {
            special::populate_dev().map_err(|error| format!("cannot fill /dev: {error:?}"))?;
        }
    }
    Ok(())
}

fn mount(mountpoint: &str, request: MountRequest<'_>) -> Result<(), String> {
    namespace()
        .mount(mountpoint.as_bytes(), request)
        .map(|_| ())
        .map_err(|error| format!("cannot mount on {mountpoint}: {error:?} (is the directory in the image?)"))
}

/// Opens standard input, output and error.
pub fn open_standard_files(config: &RunConfig) -> Result<(), Errno> {
    let streams = device::streams::open(config);
    for file in [&streams.stdin, &streams.stdout, &streams.stderr] {
        let file = OpenFile::anonymous(file.clone(), AccessMode::ReadWrite, OpenFlags::empty());
        descriptors().insert(file, FdFlags::empty())?;
    }
    Ok(())
}

/// Opens a program's file.
pub fn open_executable(path: &str) -> Result<Arc<OpenFile>, Errno> {
    let request = OpenRequest { access: AccessMode::ReadOnly, flags: OpenFlags::empty(), permissions: 0 };
    namespace().open(&working_directory(), path.as_bytes(), &request)
}

/// All of a small file.
pub fn read_file(path: &str) -> Result<Vec<u8>, Errno> {
    const LIMIT: u64 = 16 << 20;
    let file = open_executable(path)?;
    let size = file.metadata()?.size;
    if size > LIMIT {
        return Err(Errno::EFBIG);
    }
    let mut bytes = alloc::vec![0; size as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(done as u64, &mut &mut bytes[done..], Blocking::Yes)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Makes durable what was written, at the end.
pub fn at_exit() {
    if let Some(namespace) = NAMESPACE.get()
        && let Err(error) = namespace.sync_all()
    {
        log::error!("what was written could not be made durable: {error:?}");
    }
}

/// The report that HotSpot writes when it crashes, if it has: name and contents.
pub fn crash_report() -> Option<(String, Vec<u8>)> {
    let name = format!("hs_err_pid{}.log", crate::task::PID);
    let contents = read_file(&name).or_else(|_| read_file(&format!("/tmp/{name}"))).ok()?;
    Some((name.to_string(), contents))
}
