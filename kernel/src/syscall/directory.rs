//! Names: making, removing, renaming and reading them; the working directory.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use linux_abi::{
    Errno,
    file::{
        AT_FDCWD, AtFlags, DeviceNumber, Dirent64, FileType, PATH_MAX, RenameFlags, S_IFMT,
        dirent64_record_length,
    },
};
use vfs::{FinalLink, NewInode};
use zerocopy::IntoBytes;

use super::{Result, UserString};
use crate::{
    fs::{self, descriptor, namespace},
    user::UserPtr,
};

fn masked(mode: u32) -> u16 {
    (mode & 0o7777) as u16 & !fs::umask()
}

fn create(directory: i32, path: UserString, new: NewInode<'_>, permissions: u16) -> Result {
    let path = path.0.read_path()?;
    let base = fs::base_of(directory, &path)?;
    namespace().create(&base, &path, new, permissions).map(|_| 0)
}

/// `mkdir(2)`.
pub fn sys_mkdir(path: UserString, mode: u32) -> Result {
    sys_mkdirat(AT_FDCWD, path, mode)
}

/// `mkdirat(2)`.
pub fn sys_mkdirat(directory: i32, path: UserString, mode: u32) -> Result {
    // Of the special bits only the sticky one can be given (mkdir(2)).
    create(directory, path, NewInode::Directory, masked(mode) & 0o1777)
}

/// `mknod(2)`.
pub fn sys_mknod(path: UserString, mode: u32, device: u32) -> Result {
    sys_mknodat(AT_FDCWD, path, mode, device)
}

/// `mknodat(2)`. No type at all means a regular file.
pub fn sys_mknodat(directory: i32, path: UserString, mode: u32, device: u32) -> Result {
    let kind = match mode & S_IFMT {
        0 => FileType::Regular,
        _ => FileType::of_mode(mode).ok_or(Errno::EINVAL)?,
    };
    let new = match kind {
        FileType::Regular => NewInode::Regular,
        FileType::Fifo => NewInode::Fifo,
        FileType::Socket => NewInode::Socket,
        FileType::CharDevice | FileType::BlockDevice => NewInode::Device(kind, DeviceNumber::decode(device)),
        FileType::Directory => return Err(Errno::EPERM),
        FileType::Symlink => return Err(Errno::EINVAL),
    };
    create(directory, path, new, masked(mode))
}

/// `symlink(2)`.
pub fn sys_symlink(text: UserString, path: UserString) -> Result {
    sys_symlinkat(text, AT_FDCWD, path)
}

/// `symlinkat(2)`.
pub fn sys_symlinkat(text: UserString, directory: i32, path: UserString) -> Result {
    let text = text.0.read_path()?;
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    create(directory, path, NewInode::Symlink(&text), 0o777)
}

/// `link(2)`.
pub fn sys_link(old: UserString, new: UserString) -> Result {
    sys_linkat(AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// `linkat(2)`.
pub fn sys_linkat(
    old_directory: i32,
    old: UserString,
    new_directory: i32,
    new: UserString,
    flags: u32,
) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH)?;
    let (old, new) = (old.0.read_path()?, new.0.read_path()?);
    let target = if old.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        descriptor(old_directory)?.path().cloned().ok_or(Errno::EXDEV)?
    } else {
        let final_link =
            if flags.contains(AtFlags::SYMLINK_FOLLOW) { FinalLink::Follow } else { FinalLink::Stay };
        namespace().resolve(&fs::base_of(old_directory, &old)?, &old, final_link)?
    };
    namespace().link(&target, &fs::base_of(new_directory, &new)?, &new).map(|()| 0)
}

/// `unlink(2)`.
pub fn sys_unlink(path: UserString) -> Result {
    sys_unlinkat(AT_FDCWD, path, 0)
}

/// `rmdir(2)`.
pub fn sys_rmdir(path: UserString) -> Result {
    sys_unlinkat(AT_FDCWD, path, AtFlags::REMOVEDIR.bits())
}

/// `unlinkat(2)`.
pub fn sys_unlinkat(directory: i32, path: UserString, flags: u32) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::REMOVEDIR)?;
    let path = path.0.read_path()?;
    let base = fs::base_of(directory, &path)?;
    let result = if flags.contains(AtFlags::REMOVEDIR) {
        namespace().rmdir(&base, &path)
    } else {
        namespace().unlink(&base, &path)
    };
    result.map(|()| 0)
}

/// `rename(2)`.
pub fn sys_rename(old: UserString, new: UserString) -> Result {
    sys_renameat2(AT_FDCWD, old, AT_FDCWD, new, 0)
}

/// `renameat(2)`.
pub fn sys_renameat(old_directory: i32, old: UserString, new_directory: i32, new: UserString) -> Result {
    sys_renameat2(old_directory, old, new_directory, new, 0)
}

/// `renameat2(2)`.
pub fn sys_renameat2(
    old_directory: i32,
    old: UserString,
    new_directory: i32,
    new: UserString,
    flags: u32,
) -> Result {
    let flags = RenameFlags::from_raw(flags)?;
    let (old, new) = (old.0.read_path()?, new.0.read_path()?);
    let old_base = fs::base_of(old_directory, &old)?;
    let new_base = fs::base_of(new_directory, &new)?;
    namespace().rename(&old_base, &old, &new_base, &new, flags).map(|()| 0)
}

/// `readlink(2)`.
pub fn sys_readlink(path: UserString, buffer: UserPtr<u8>, len: i32) -> Result {
    sys_readlinkat(AT_FDCWD, path, buffer, len)
}

/// `readlinkat(2)`: cuts what does not fit, without an error.
pub fn sys_readlinkat(directory: i32, path: UserString, buffer: UserPtr<u8>, len: i32) -> Result {
    if len <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.0.read_path()?;
    let link = if path.is_empty() {
        // Of a link opened with O_PATH and O_NOFOLLOW (readlink(2)).
        descriptor(directory)?.path().cloned().ok_or(Errno::ENOENT)?
    } else {
        namespace().resolve(&fs::base_of(directory, &path)?, &path, FinalLink::Stay)?
    };
    if link.inode().kind() != FileType::Symlink {
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    let text = link.inode().read_link()?;
    let len = text.len().min(len as usize);
    buffer.write_slice(&text[..len]).map(|()| len)
}

/// Bytes of entries that one call gives at most: what C libraries ask for.
const MAX_ENTRY_BYTES: usize = 64 << 10;

/// `getdents64(2)`.
pub fn sys_getdents64(fd: i32, buffer: UserPtr<u8>, len: u32) -> Result {
    let file = descriptor(fd)?;
    let room = (len as usize).min(MAX_ENTRY_BYTES);
    let mut bytes: Vec<u8> = Vec::with_capacity(room.min(4096));
    let mut is_too_small = false;
    file.read_directory(&mut |entry| {
        let length = dirent64_record_length(entry.name.len());
        if bytes.len() + length > room {
            is_too_small = bytes.is_empty();
            return ControlFlow::Break(());
        }
        let head = Dirent64 {
            ino: entry.inode,
            offset: entry.next_cookie as i64,
            record_length: length as u16,
            kind: entry.kind.map_or(0, FileType::dirent_type),
        };
        let end = bytes.len() + length;
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(entry.name);
        bytes.resize(end, 0);
        ControlFlow::Continue(())
    })?;
    if is_too_small {
        return Err(Errno::EINVAL);
    }
    buffer.write_slice(&bytes).map(|()| bytes.len())
}

/// `getcwd(2)`: the length with the NUL.
pub fn sys_getcwd(buffer: UserPtr<u8>, len: usize) -> Result {
    let mut text = namespace().working_directory_text(&fs::working_directory())?;
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.len() > len {
        return Err(Errno::ERANGE);
    }
    buffer.write_slice(&text).map(|()| text.len())
}

/// `chdir(2)`.
pub fn sys_chdir(path: UserString) -> Result {
    let path = path.0.read_path()?;
    let base = fs::base_of(AT_FDCWD, &path)?;
    fs::change_directory(namespace().resolve(&base, &path, FinalLink::Follow)?).map(|()| 0)
}

/// `fchdir(2)`.
pub fn sys_fchdir(fd: i32) -> Result {
    let path = descriptor(fd)?.path().cloned().ok_or(Errno::ENOTDIR)?;
    fs::change_directory(path).map(|()| 0)
}

/// `umask(2)`.
pub fn sys_umask(mask: u32) -> Result {
    Ok(fs::set_umask(mask as u16).into())
}
