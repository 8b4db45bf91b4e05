//! What files are: `stat(2)` and its family, attributes, space.

use linux_abi::{
    Errno,
    file::{
        AT_FDCWD, AccessModeBits, AtFlags, DeviceNumber, FallocateFlags, FileType, Stat, Statfs, Statx,
        StatxAttributes, StatxMask, StatxTimestamp,
    },
    time::{Timespec, Timeval, UTIME_NOW, UTIME_OMIT},
};
use vfs::{AttributeChanges, FinalLink, Metadata, OpenFile, Path, Timestamp};

use super::{Result, UserString};
use crate::{
    fs::{self, descriptor, namespace},
    user::UserPtr,
};

/// What a call that takes a directory, a path and flags is about.
enum Target {
    Path(Path),
    File(alloc::sync::Arc<OpenFile>),
}

impl Target {
    /// Follows the path, or takes the descriptor if the path is empty and that is allowed.
    fn find(
        directory: i32,
        path: &[u8],
        flags: AtFlags,
        final_link: FinalLink,
    ) -> core::result::Result<Self, Errno> {
        if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
            return Ok(match directory {
                AT_FDCWD => Self::Path(fs::working_directory()),
                fd => Self::File(descriptor(fd)?),
            });
        }
        let base = fs::base_of(directory, path)?;
        namespace().resolve(&base, path, final_link).map(Self::Path)
    }

    fn metadata(&self) -> core::result::Result<Metadata, Errno> {
        match self {
            Self::Path(path) => path.inode().metadata(),
            Self::File(file) => file.metadata(),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::File(file) => file.path(),
        }
    }

    fn change(&self, changes: &AttributeChanges) -> Result {
        // Objects without an inode have no attributes that last.
        let path = self.path().ok_or(Errno::EPERM)?;
        if path.is_read_only() {
            return Err(Errno::EROFS);
        }
        path.set_attributes(changes).map(|()| 0)
    }
}

fn final_link(flags: AtFlags) -> FinalLink {
    if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { FinalLink::Stay } else { FinalLink::Follow }
}

fn stat_of(metadata: &Metadata) -> Stat {
    Stat {
        dev: metadata.id.device,
        ino: metadata.id.number,
        nlink: metadata.links.into(),
        mode: metadata.mode(),
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: metadata.device.encode(),
        size: metadata.size as i64,
        blksize: metadata.block_bytes.into(),
        blocks: metadata.blocks as i64,
        atime: metadata.accessed.seconds as u64,
        atime_nsec: metadata.accessed.nanoseconds.into(),
        mtime: metadata.modified.seconds as u64,
        mtime_nsec: metadata.modified.nanoseconds.into(),
        ctime: metadata.changed.seconds as u64,
        ctime_nsec: metadata.changed.nanoseconds.into(),
        ..Stat::default()
    }
}

/// `stat(2)`.
pub fn sys_stat(path: UserString, into: UserPtr<Stat>) -> Result {
    sys_newfstatat(AT_FDCWD, path, into, 0)
}

/// `lstat(2)`.
pub fn sys_lstat(path: UserString, into: UserPtr<Stat>) -> Result {
    sys_newfstatat(AT_FDCWD, path, into, AtFlags::SYMLINK_NOFOLLOW.bits())
}

/// `fstat(2)`.
pub fn sys_fstat(fd: i32, into: UserPtr<Stat>) -> Result {
    into.write(stat_of(&descriptor(fd)?.metadata()?)).map(|()| 0)
}

/// `newfstatat(2)`.
pub fn sys_newfstatat(directory: i32, path: UserString, into: UserPtr<Stat>, flags: u32) -> Result {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    let flags = AtFlags::allowed(flags, allowed)?;
    let target = Target::find(directory, &path.0.read_path()?, flags, final_link(flags))?;
    into.write(stat_of(&target.metadata()?)).map(|()| 0)
}

/// `statx(2)`: what is known is told, whatever the mask asks for.
pub fn sys_statx(directory: i32, path: UserString, flags: u32, mask: u32, into: UserPtr<Statx>) -> Result {
    const RESERVED: u32 = 1 << 31;
    let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH | sync;
    let flags = AtFlags::allowed(flags, allowed)?;
    if mask & RESERVED != 0 || flags.contains(sync) {
        return Err(Errno::EINVAL);
    }
    let target = Target::find(directory, &path.0.read_path()?, flags, final_link(flags))?;
    let metadata = target.metadata()?;
    let time = |time: Timestamp| StatxTimestamp { sec: time.seconds, nsec: time.nanoseconds, reserved: 0 };
    let device = DeviceNumber::decode(metadata.id.device as u32);
    let mut told = StatxMask::BASIC_STATS;
    if metadata.born.is_some() {
        told |= StatxMask::BTIME;
    }
    let mut attributes = StatxAttributes::empty();
    let mut mount = 0;
    if let Some(path) = target.path() {
        told |= StatxMask::MNT_ID;
        mount = path.mount.id.into();
        if path.is_mount_root() {
            attributes |= StatxAttributes::MOUNT_ROOT;
        }
    }
    let statx = Statx {
        mask: told,
        blksize: metadata.block_bytes,
        attributes,
        attributes_mask: StatxAttributes::MOUNT_ROOT,
        nlink: metadata.links,
        uid: metadata.uid,
        gid: metadata.gid,
        mode: metadata.mode() as u16,
        ino: metadata.id.number,
        size: metadata.size,
        blocks: metadata.blocks,
        atime: time(metadata.accessed),
        btime: time(metadata.born.unwrap_or_default()),
        ctime: time(metadata.changed),
        mtime: time(metadata.modified),
        rdev_major: metadata.device.major,
        rdev_minor: metadata.device.minor,
        dev_major: device.major,
        dev_minor: device.minor,
        mnt_id: mount,
        ..Statx::default()
    };
    into.write(statx).map(|()| 0)
}

/// `access(2)`.
pub fn sys_access(path: UserString, mode: u32) -> Result {
    sys_faccessat2(AT_FDCWD, path, mode, 0)
}

/// `faccessat(2)`.
pub fn sys_faccessat(directory: i32, path: UserString, mode: u32) -> Result {
    sys_faccessat2(directory, path, mode, 0)
}

/// `faccessat2(2)`. Root may do everything but execute what nobody may execute.
pub fn sys_faccessat2(directory: i32, path: UserString, mode: u32, flags: u32) -> Result {
    let mode = AccessModeBits::from_raw(mode)?;
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EACCESS | AtFlags::EMPTY_PATH;
    let flags = AtFlags::allowed(flags, allowed)?;
    let target = Target::find(directory, &path.0.read_path()?, flags, final_link(flags))?;
    let metadata = target.metadata()?;
    let is_file = !matches!(metadata.kind, FileType::Directory | FileType::Symlink);
    if mode.contains(AccessModeBits::EXECUTE) && is_file && metadata.permissions & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    let is_stored = matches!(metadata.kind, FileType::Regular | FileType::Directory | FileType::Symlink);
    if mode.contains(AccessModeBits::WRITE) && is_stored && target.path().is_some_and(Path::is_read_only) {
        return Err(Errno::EROFS);
    }
    Ok(0)
}

fn permissions(mode: u32) -> AttributeChanges {
    AttributeChanges { permissions: Some((mode & 0o7777) as u16), ..AttributeChanges::default() }
}

/// `chmod(2)`.
pub fn sys_chmod(path: UserString, mode: u32) -> Result {
    sys_fchmodat(AT_FDCWD, path, mode)
}

/// `fchmod(2)`.
pub fn sys_fchmod(fd: i32, mode: u32) -> Result {
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    Target::File(file).change(&permissions(mode))
}

/// `fchmodat(2)`.
pub fn sys_fchmodat(directory: i32, path: UserString, mode: u32) -> Result {
    let path = path.0.read_path()?;
    Target::find(directory, &path, AtFlags::empty(), FinalLink::Follow)?.change(&permissions(mode))
}

/// Changes the owner; -1 leaves one as it is. The set-id bits of a program go with it (`chown(2)`).
fn change_owner(target: &Target, uid: u32, gid: u32) -> Result {
    const SET_UID: u16 = 0o4000;
    const SET_GID: u16 = 0o2000;
    const GROUP_EXECUTE: u16 = 0o010;
    let metadata = target.metadata()?;
    let mut bits = metadata.permissions;
    if metadata.kind != FileType::Directory {
        bits &= !SET_UID;
        if bits & GROUP_EXECUTE != 0 {
            bits &= !SET_GID;
        }
    }
    target.change(&AttributeChanges {
        uid: (uid != u32::MAX).then_some(uid),
        gid: (gid != u32::MAX).then_some(gid),
        permissions: (bits != metadata.permissions).then_some(bits),
        ..AttributeChanges::default()
    })
}

/// `chown(2)`.
pub fn sys_chown(path: UserString, uid: u32, gid: u32) -> Result {
    sys_fchownat(AT_FDCWD, path, uid, gid, 0)
}

/// `lchown(2)`.
pub fn sys_lchown(path: UserString, uid: u32, gid: u32) -> Result {
    sys_fchownat(AT_FDCWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW.bits())
}

/// `fchown(2)`.
pub fn sys_fchown(fd: i32, uid: u32, gid: u32) -> Result {
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    change_owner(&Target::File(file), uid, gid)
}

/// `fchownat(2)`.
pub fn sys_fchownat(directory: i32, path: UserString, uid: u32, gid: u32, flags: u32) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    let target = Target::find(directory, &path.0.read_path()?, flags, final_link(flags))?;
    change_owner(&target, uid, gid)
}

/// A time as `utimensat(2)` is given it: `None` leaves the file's as it is.
fn chosen_time(time: Timespec) -> core::result::Result<Option<Timestamp>, Errno> {
    match time.nsec {
        UTIME_NOW => Ok(Some(Timestamp::now())),
        UTIME_OMIT => Ok(None),
        0..=999_999_999 => Ok(Some(Timestamp { seconds: time.sec, nanoseconds: time.nsec as u32 })),
        _ => Err(Errno::EINVAL),
    }
}

fn set_times(target: &Target, times: Option<[Timespec; 2]>) -> Result {
    let now = Timespec { sec: 0, nsec: UTIME_NOW };
    let [accessed, modified] = times.unwrap_or([now, now]);
    let changes = AttributeChanges {
        accessed: chosen_time(accessed)?,
        modified: chosen_time(modified)?,
        ..AttributeChanges::default()
    };
    if changes == AttributeChanges::default() { Ok(0) } else { target.change(&changes) }
}

/// `utimensat(2)`: without a path, of the descriptor itself (`futimens(3)`).
pub fn sys_utimensat(directory: i32, path: UserString, times: UserPtr<[Timespec; 2]>, flags: u32) -> Result {
    let times = times.non_null().map(|times| read_pair(times.cast())).transpose()?;
    if times.is_some_and(|times| times.iter().all(|time| time.nsec == UTIME_OMIT)) {
        // "Nothing to do, we must not even check the path" (`fs/utimes.c`), nor the flags.
        return Ok(0);
    }
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    let target = if path.0.is_null() && directory != AT_FDCWD {
        if !flags.is_empty() {
            return Err(Errno::EINVAL);
        }
        Target::File(descriptor(directory)?)
    } else {
        Target::find(directory, &path.0.read_path()?, flags, final_link(flags))?
    };
    set_times(&target, times)
}

fn read_pair(times: UserPtr<Timespec>) -> core::result::Result<[Timespec; 2], Errno> {
    Ok([times.read()?, times.add(1).read()?])
}

/// `futimesat(2)`: in microseconds.
pub fn sys_futimesat(directory: i32, path: UserString, times: UserPtr<Timeval>) -> Result {
    let times = match times.non_null() {
        None => None,
        Some(times) => {
            let of = |time: Timeval| match time.usec {
                0..=999_999 => Ok(Timespec { sec: time.sec, nsec: time.usec * 1000 }),
                _ => Err(Errno::EINVAL),
            };
            Some([of(times.read()?)?, of(times.add(1).read()?)?])
        }
    };
    let target = if path.0.is_null() {
        Target::File(descriptor(directory)?)
    } else {
        Target::find(directory, &path.0.read_path()?, AtFlags::empty(), FinalLink::Follow)?
    };
    set_times(&target, times)
}

/// `utimes(2)`.
pub fn sys_utimes(path: UserString, times: UserPtr<Timeval>) -> Result {
    if path.0.is_null() { Err(Errno::EFAULT) } else { sys_futimesat(AT_FDCWD, path, times) }
}

/// `utime(2)`: in seconds.
pub fn sys_utime(path: UserString, times: UserPtr<[i64; 2]>) -> Result {
    let times = times.non_null().map(UserPtr::read).transpose()?;
    let times = times.map(|times| times.map(|sec| Timespec { sec, nsec: 0 }));
    set_times(&Target::find(AT_FDCWD, &path.0.read_path()?, AtFlags::empty(), FinalLink::Follow)?, times)
}

fn size_of(size: i64) -> core::result::Result<u64, Errno> {
    u64::try_from(size).map_err(|_| Errno::EINVAL)
}

/// `truncate(2)`.
pub fn sys_truncate(path: UserString, size: i64) -> Result {
    let size = size_of(size)?;
    let path = namespace().resolve(&fs::working_directory(), &path.0.read_path()?, FinalLink::Follow)?;
    match path.inode().kind() {
        FileType::Directory => Err(Errno::EISDIR),
        FileType::Regular if path.is_read_only() => Err(Errno::EROFS),
        FileType::Regular => {
            vfs::check_new_size(size, path.inode().metadata()?.size)?;
            path.truncate(size).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `ftruncate(2)`: `EINVAL` for what is no regular file or not open for writing.
pub fn sys_ftruncate(fd: i32, size: i64) -> Result {
    let size = size_of(size)?;
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    let path = file.path().ok_or(Errno::EINVAL)?;
    if path.inode().kind() != FileType::Regular || !file.access().can_write() {
        return Err(Errno::EINVAL);
    }
    vfs::check_new_size(size, path.inode().metadata()?.size)?;
    path.truncate(size).map(|()| 0)
}

/// `fallocate(2)`.
pub fn sys_fallocate(fd: i32, mode: u32, offset: i64, len: i64) -> Result {
    let file = descriptor(fd)?;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
    if flags.contains(FallocateFlags::PUNCH_HOLE) && !flags.contains(FallocateFlags::KEEP_SIZE) {
        return Err(Errno::EOPNOTSUPP);
    }
    file.require_writable()?;
    let inode = file.inode().map_err(|_| Errno::ESPIPE)?;
    match inode.kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE),
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    if offset.checked_add(len).is_none() {
        return Err(Errno::EFBIG);
    }
    if !flags.contains(FallocateFlags::KEEP_SIZE) {
        vfs::check_new_size((offset + len) as u64, inode.metadata()?.size)?;
    }
    inode.allocate(flags, offset as u64, len as u64)?;
    file.tell_allocated();
    Ok(0)
}

/// `statfs(2)`.
pub fn sys_statfs(path: UserString, into: UserPtr<Statfs>) -> Result {
    let path = namespace().resolve(&fs::working_directory(), &path.0.read_path()?, FinalLink::Follow)?;
    into.write(namespace().statistics(&path)?).map(|()| 0)
}

/// `fstatfs(2)`.
pub fn sys_fstatfs(fd: i32, into: UserPtr<Statfs>) -> Result {
    let file = descriptor(fd)?;
    let statistics = match file.path() {
        Some(path) => namespace().statistics(path)?,
        None => Statfs {
            kind: linux_abi::file::magic::ANON_INODE,
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
            ..Statfs::default()
        },
    };
    into.write(statistics).map(|()| 0)
}
