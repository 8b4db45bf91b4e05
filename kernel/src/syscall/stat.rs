//! What is known of a file: `stat(2)` and its kin, access, attributes.

use linux_abi::{
    Errno,
    file::{
        AT_FDCWD, AccessModeBits, AtFlags, DeviceNumber, FileType, Stat, Statfs, Statx, StatxAttributes, StatxMask, StatxTimestamp,
    },
    time::{Timespec, UTIME_NOW, UTIME_OMIT},
};
use vfs::{AttributeChanges, FinalLink, Metadata, Path, Timestamp};

use super::{Result, UserString};
use crate::{fs, user::UserPtr};

fn to_stat(metadata: &Metadata) -> Stat {
    Stat {
        dev: metadata.id.device,
        ino: metadata.id.number,
        nlink: u64::from(metadata.links),
        mode: metadata.mode(),
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: metadata.device.encode(),
        size: metadata.size as i64,
        blksize: i64::from(metadata.block_bytes),
        blocks: metadata.blocks as i64,
        atime: metadata.accessed.seconds as u64,
        atime_nsec: u64::from(metadata.accessed.nanoseconds),
        mtime: metadata.modified.seconds as u64,
        mtime_nsec: u64::from(metadata.modified.nanoseconds),
        ctime: metadata.changed.seconds as u64,
        ctime_nsec: u64::from(metadata.changed.nanoseconds),
        ..Default::default()
    }
}

/// What an `*at` call means: a place in the tree, or with an empty path the descriptor's own object.
enum Target {
    Place(Path),
    Open(alloc::sync::Arc<vfs::OpenFile>),
}

impl Target {
    fn metadata(&self) -> core::result::Result<Metadata, Errno> {
        match self {
            Self::Place(path) => path.inode().metadata(),
            Self::Open(file) => file.metadata(),
        }
    }
}

fn target(directory: i32, path: &[u8], flags: AtFlags) -> core::result::Result<Target, Errno> {
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return Ok(match directory {
            AT_FDCWD => Target::Place(fs::working_directory()),
            fd => Target::Open(fs::descriptor(fd)?),
        });
    }
    let last = if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { FinalLink::Stay } else { FinalLink::Follow };
    fs::namespace().resolve(&fs::base(directory, path)?, path, last).map(Target::Place)
}

/// A path of an `*at` call. With `AT_EMPTY_PATH` Linux (6.11 on) also takes a null pointer; older ones do not, nor do we.
fn read_path(path: UserString) -> core::result::Result<alloc::vec::Vec<u8>, Errno> {
    path.0.read_path()
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
    into.write(to_stat(&fs::descriptor(fd)?.metadata()?)).map(|()| 0)
}

/// `newfstatat(2)`.
pub fn sys_newfstatat(directory: i32, path: UserString, into: UserPtr<Stat>, flags: u32) -> Result {
    let flags = AtFlags::allowed(
        flags,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH,
    )?;
    let metadata = target(directory, &read_path(path)?, flags)?.metadata()?;
    into.write(to_stat(&metadata)).map(|()| 0)
}

/// `statx(2)`.
pub fn sys_statx(directory: i32, path: UserString, flags: u32, mask: u32, into: UserPtr<Statx>) -> Result {
    let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
    let flags = AtFlags::allowed(
        flags,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH | sync,
    )?;
    const RESERVED: u32 = 1 << 31;
    if mask & RESERVED != 0 || flags.contains(sync) {
        return Err(Errno::EINVAL);
    }
    let target = target(directory, &read_path(path)?, flags)?;
    let metadata = target.metadata()?;
    let time = |time: Timestamp| StatxTimestamp { sec: time.seconds, nsec: time.nanoseconds, ..Default::default() };
    let device = |raw: u64| DeviceNumber::decode(raw as u32);
    let path = match &target {
        Target::Place(path) => Some(path.clone()),
        Target::Open(file) => file.path().cloned(),
    };
    let mount_root = path.as_ref().is_some_and(Path::is_mount_root);
    into.write(Statx {
        mask: StatxMask::BASIC_STATS
            | if metadata.born.is_some() { StatxMask::BTIME } else { StatxMask::empty() }
            | if path.is_some() { StatxMask::MNT_ID } else { StatxMask::empty() },
        blksize: metadata.block_bytes,
        attributes: if mount_root { StatxAttributes::MOUNT_ROOT } else { StatxAttributes::empty() },
        attributes_mask: StatxAttributes::MOUNT_ROOT,
        nlink: metadata.links,
        uid: metadata.uid,
        gid: metadata.gid,
        mode: metadata.mode() as u16,
        ino: metadata.id.number,
        size: metadata.size,
        blocks: metadata.blocks,
        atime: time(metadata.accessed),
        btime: metadata.born.map(time).unwrap_or_default(),
        ctime: time(metadata.changed),
        mtime: time(metadata.modified),
        rdev_major: metadata.device.major,
        rdev_minor: metadata.device.minor,
        dev_major: device(metadata.id.device).major,
        dev_minor: device(metadata.id.device).minor,
        mnt_id: path.map_or(0, |path| u64::from(path.mount.id)),
        ..Default::default()
    })
    .map(|()| 0)
}

/// `access(2)`.
pub fn sys_access(path: UserString, mode: u32) -> Result {
    sys_faccessat2(AT_FDCWD, path, mode, 0)
}

/// `faccessat(2)`, the call without flags.
pub fn sys_faccessat(directory: i32, path: UserString, mode: u32) -> Result {
    sys_faccessat2(directory, path, mode, 0)
}

/// `faccessat2(2)`: root may do all but execute what nobody may execute.
pub fn sys_faccessat2(directory: i32, path: UserString, mode: u32, flags: u32) -> Result {
    let mode = AccessModeBits::from_bits(mode).ok_or(Errno::EINVAL)?;
    let flags = AtFlags::allowed(flags, AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    let target = target(directory, &read_path(path)?, flags)?;
    let metadata = target.metadata()?;
    let regular = metadata.kind == FileType::Regular;
    if mode.contains(AccessModeBits::EXECUTE) && regular && metadata.permissions & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    if let Target::Place(path) = &target
        && mode.contains(AccessModeBits::WRITE)
        && path.is_read_only()
        && matches!(metadata.kind, FileType::Regular | FileType::Directory | FileType::Symlink)
    {
        return Err(Errno::EROFS);
    }
    Ok(0)
}

fn change(target: &Target, changes: &AttributeChanges) -> Result {
    match target {
        Target::Place(path) if path.is_read_only() => Err(Errno::EROFS),
        Target::Place(path) => path.inode().set_attributes(changes).map(|()| 0),
        Target::Open(file) => match file.path() {
            Some(path) if path.is_read_only() => Err(Errno::EROFS),
            Some(path) => path.inode().set_attributes(changes).map(|()| 0),
            // A pipe's or socket's attributes are its own; Linux changes them and nobody sees it.
            None => Ok(0),
        },
    }
}

fn permissions(mode: u32) -> AttributeChanges {
    AttributeChanges { permissions: Some(mode as u16 & 0o7777), ..Default::default() }
}

/// `chmod(2)`.
pub fn sys_chmod(path: UserString, mode: u32) -> Result {
    sys_fchmodat(AT_FDCWD, path, mode)
}

/// `fchmod(2)`.
pub fn sys_fchmod(fd: i32, mode: u32) -> Result {
    let file = fs::descriptor(fd)?;
    file.require_not_path_only()?;
    change(&Target::Open(file), &permissions(mode))
}

/// `fchmodat(2)`.
pub fn sys_fchmodat(directory: i32, path: UserString, mode: u32) -> Result {
    change(&target(directory, &read_path(path)?, AtFlags::empty())?, &permissions(mode))
}

/// `-1` leaves an id as it is.
fn owner(uid: u32, gid: u32) -> AttributeChanges {
    let some = |id: u32| (id != u32::MAX).then_some(id);
    AttributeChanges { uid: some(uid), gid: some(gid), ..Default::default() }
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
    let file = fs::descriptor(fd)?;
    file.require_not_path_only()?;
    change(&Target::Open(file), &owner(uid, gid))
}

/// `fchownat(2)`.
pub fn sys_fchownat(directory: i32, path: UserString, uid: u32, gid: u32, flags: u32) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    change(&target(directory, &read_path(path)?, flags)?, &owner(uid, gid))
}

/// `utimensat(2)`: a null path means the descriptor itself.
pub fn sys_utimensat(directory: i32, path: UserString, times: UserPtr<[Timespec; 2]>, flags: u32) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
    let now = Timestamp::now();
    let decode = |time: Timespec| match time.nsec {
        UTIME_NOW => Ok(Some(now)),
        UTIME_OMIT => Ok(None),
        nsec @ 0..1_000_000_000 => Ok(Some(Timestamp { seconds: time.sec, nanoseconds: nsec as u32 })),
        _ => Err(Errno::EINVAL),
    };
    let [accessed, modified] = match times.non_null() {
        None => [Some(now), Some(now)],
        Some(times) => {
            let [accessed, modified] = times.read()?;
            [decode(accessed)?, decode(modified)?]
        }
    };
    if accessed.is_none() && modified.is_none() && !times.is_null() {
        return Ok(0);
    }
    let target = if path.0.is_null() {
        if !flags.is_empty() {
            return Err(Errno::EINVAL);
        }
        Target::Open(fs::descriptor(directory)?)
    } else {
        target(directory, &read_path(path)?, flags)?
    };
    change(&target, &AttributeChanges { accessed, modified, ..Default::default() })
}

/// `statfs(2)`.
pub fn sys_statfs(path: UserString, into: UserPtr<Statfs>) -> Result {
    let path = read_path(path)?;
    let found = fs::namespace().resolve(&fs::working_directory(), &path, FinalLink::Follow)?;
    into.write(fs::namespace().statistics(&found)?).map(|()| 0)
}

/// `fstatfs(2)`.
pub fn sys_fstatfs(fd: i32, into: UserPtr<Statfs>) -> Result {
    let file = fs::descriptor(fd)?;
    let path = file.path().cloned().unwrap_or_else(|| fs::namespace().root().clone());
    into.write(fs::namespace().statistics(&path)?).map(|()| 0)
}
