//! Opening, reading, writing and positioning files.

use linux_abi::{
    Errno,
    file::{AccessMode, FallocateFlags, OpenFlags, RwFlags, Whence},
};
use vfs::{Blocking, OpenRequest, SyncKind};

use super::{Result, UserString};
use crate::{
    fs,
    user::{UserBuffers, UserPtr},
};

/// `open(2)`.
pub fn sys_open(path: UserString, flags: u32, mode: u32) -> Result {
    sys_openat(linux_abi::file::AT_FDCWD, path, flags, mode)
}

/// `creat(2)`.
pub fn sys_creat(path: UserString, mode: u32) -> Result {
    let flags = OpenFlags::CREAT | OpenFlags::TRUNC;
    sys_open(path, flags.bits() | AccessMode::WriteOnly as u32, mode)
}

/// `openat(2)`.
pub fn sys_openat(directory: i32, path: UserString, raw: u32, mode: u32) -> Result {
    let path = path.0.read_path()?;
    let flags = OpenFlags::of(raw);
    let base = fs::base(directory, &path)?;
    let request = OpenRequest {
        access: AccessMode::of(raw),
        flags,
        permissions: mode as u16 & 0o7777 & !fs::umask(),
    };
    let file = fs::namespace().open(&base, &path, &request)?;
    fs::install(file, flags.contains(OpenFlags::CLOEXEC))
}

/// `close(2)`.
pub fn sys_close(fd: i32) -> Result {
    fs::descriptors().close(fd as u32).map(|()| 0)
}

/// `read(2)`.
pub fn sys_read(fd: i32, buffer: u64, count: usize) -> Result {
    let file = fs::descriptor(fd)?;
    file.read(&mut UserBuffers::single(buffer, count)?, file.blocking())
}

/// `write(2)`.
pub fn sys_write(fd: i32, buffer: u64, count: usize) -> Result {
    let file = fs::descriptor(fd)?;
    broken_pipe(file.write(&mut UserBuffers::single(buffer, count)?, file.blocking()))
}

/// A write that nobody can read any more is a signal as well.
pub fn broken_pipe(result: Result) -> Result {
    if result == Err(Errno::EPIPE) {
        crate::ipc::raise_sigpipe();
    }
    result
}

fn offset(offset: i64) -> core::result::Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno::EINVAL)
}

/// `pread64(2)`.
pub fn sys_pread64(fd: i32, buffer: u64, count: usize, at: i64) -> Result {
    let at = offset(at)?;
    let file = fs::descriptor(fd)?;
    file.read_at(at, &mut UserBuffers::single(buffer, count)?, file.blocking())
}

/// `pwrite64(2)`.
pub fn sys_pwrite64(fd: i32, buffer: u64, count: usize, at: i64) -> Result {
    let at = offset(at)?;
    let file = fs::descriptor(fd)?;
    file.write_at(at, &mut UserBuffers::single(buffer, count)?, file.blocking())
}

/// `readv(2)`.
pub fn sys_readv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize) -> Result {
    let file = fs::descriptor(fd)?;
    file.require_readable()?;
    file.read(&mut UserBuffers::from_iovec(vector, count)?, file.blocking())
}

/// `writev(2)`.
pub fn sys_writev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize) -> Result {
    let file = fs::descriptor(fd)?;
    file.require_writable()?;
    broken_pipe(file.write(&mut UserBuffers::from_iovec(vector, count)?, file.blocking()))
}

/// `preadv(2)`. The upper half of the offset comes in a register of its own, which 64-bit programs leave out.
pub fn sys_preadv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, at: i64, _high: u64) -> Result {
    let at = offset(at)?;
    let file = fs::descriptor(fd)?;
    file.read_at(at, &mut UserBuffers::from_iovec(vector, count)?, file.blocking())
}

/// `pwritev(2)`.
pub fn sys_pwritev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, at: i64, _high: u64) -> Result {
    let at = offset(at)?;
    let file = fs::descriptor(fd)?;
    file.write_at(at, &mut UserBuffers::from_iovec(vector, count)?, file.blocking())
}

/// The flags of `preadv2(2)` that change how the transfer is made.
fn rw_flags(raw: u32) -> core::result::Result<RwFlags, Errno> {
    RwFlags::from_bits(raw).ok_or(Errno::EOPNOTSUPP)
}

/// `preadv2(2)`: -1 as offset is the file's own.
pub fn sys_preadv2(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, at: i64, _high: u64, flags: u32) -> Result {
    let flags = rw_flags(flags)?;
    let file = fs::descriptor(fd)?;
    let blocking = if flags.contains(RwFlags::NOWAIT) { Blocking::No } else { file.blocking() };
    let mut buffers = UserBuffers::from_iovec(vector, count)?;
    if at == -1 { file.read(&mut buffers, blocking) } else { file.read_at(offset(at)?, &mut buffers, blocking) }
}

/// `pwritev2(2)`.
pub fn sys_pwritev2(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, at: i64, _high: u64, flags: u32) -> Result {
    let flags = rw_flags(flags)?;
    if flags.contains(RwFlags::APPEND) {
        crate::refuse_once!("pwritev2 with RWF_APPEND is not offered: EOPNOTSUPP");
        return Err(Errno::EOPNOTSUPP);
    }
    let file = fs::descriptor(fd)?;
    let blocking = if flags.contains(RwFlags::NOWAIT) { Blocking::No } else { file.blocking() };
    let mut buffers = UserBuffers::from_iovec(vector, count)?;
    let written = if at == -1 {
        file.write(&mut buffers, blocking)
    } else {
        file.write_at(offset(at)?, &mut buffers, blocking)
    };
    let written = broken_pipe(written)?;
    if flags.contains(RwFlags::SYNC) {
        file.sync(SyncKind::Everything)?;
    } else if flags.contains(RwFlags::DSYNC) {
        file.sync(SyncKind::Data)?;
    }
    Ok(written)
}

/// `lseek(2)`.
pub fn sys_lseek(fd: i32, distance: i64, whence: u32) -> Result {
    let file = fs::descriptor(fd)?;
    let whence = Whence::from_raw(whence).ok_or(Errno::EINVAL)?;
    file.seek(distance, whence).map(|offset| offset as usize)
}

/// `ftruncate(2)`.
pub fn sys_ftruncate(fd: i32, size: i64) -> Result {
    let size = offset(size)?;
    let file = fs::descriptor(fd)?;
    file.require_writable().map_err(|_| if file.require_not_path_only().is_err() { Errno::EBADF } else { Errno::EINVAL })?;
    let inode = file.inode()?;
    if inode.kind() != linux_abi::file::FileType::Regular {
        return Err(Errno::EINVAL);
    }
    inode.truncate(size).map(|()| 0)
}

/// `truncate(2)`.
pub fn sys_truncate(path: UserString, size: i64) -> Result {
    let size = offset(size)?;
    let path = path.0.read_path()?;
    let found = fs::namespace().resolve(&fs::working_directory(), &path, vfs::FinalLink::Follow)?;
    match found.inode().kind() {
        linux_abi::file::FileType::Directory => Err(Errno::EISDIR),
        linux_abi::file::FileType::Regular if found.is_read_only() => Err(Errno::EROFS),
        linux_abi::file::FileType::Regular => found.inode().truncate(size).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// `fallocate(2)`.
pub fn sys_fallocate(fd: i32, mode: u32, at: i64, length: i64) -> Result {
    let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
    let (Ok(at), Ok(length)) = (u64::try_from(at), u64::try_from(length)) else { return Err(Errno::EINVAL) };
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    let file = fs::descriptor(fd)?;
    file.require_writable()?;
    if at.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Errno::EFBIG);
    }
    let inode = file.inode().map_err(|_| Errno::ESPIPE)?;
    match inode.kind() {
        linux_abi::file::FileType::Regular => inode.allocate(flags, at, length).map(|()| 0),
        linux_abi::file::FileType::Directory => Err(Errno::EISDIR),
        linux_abi::file::FileType::Fifo => Err(Errno::ESPIPE),
        _ => Err(Errno::ENODEV),
    }
}

/// `fsync(2)`.
pub fn sys_fsync(fd: i32) -> Result {
    fs::descriptor(fd)?.sync(SyncKind::Everything).map(|()| 0)
}

/// `fdatasync(2)`.
pub fn sys_fdatasync(fd: i32) -> Result {
    fs::descriptor(fd)?.sync(SyncKind::Data).map(|()| 0)
}

/// `sync(2)`.
pub fn sys_sync() -> Result {
    let _ = fs::namespace().sync_all();
    Ok(0)
}

/// `syncfs(2)`.
pub fn sys_syncfs(fd: i32) -> Result {
    let file = fs::descriptor(fd)?;
    file.require_not_path_only()?;
    match file.path() {
        Some(path) => path.mount.file_system.sync().map(|()| 0),
        None => Ok(0),
    }
}
