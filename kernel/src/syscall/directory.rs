//! Names: making, removing and renaming them, links, directories, the working directory.

use core::ops::ControlFlow;

use linux_abi::{
    Errno,
    file::{AT_FDCWD, AtFlags, FileType, RenameFlags, dirent64_record_length},
};
use vfs::{FinalLink, NewInode};

use super::{Result, UserString};
use crate::{fs, user::UserPtr};

/// `mkdir(2)`.
pub fn sys_mkdir(path: UserString, mode: u32) -> Result {
    sys_mkdirat(AT_FDCWD, path, mode)
}

/// `mkdirat(2)`.
pub fn sys_mkdirat(directory: i32, path: UserString, mode: u32) -> Result {
    let path = path.0.read_path()?;
    let permissions = mode as u16 & 0o1777 & !fs::umask();
    fs::namespace().create(&fs::base(directory, &path)?, &path, NewInode::Directory, permissions).map(|_| 0)
}

/// `rmdir(2)`.
pub fn sys_rmdir(path: UserString) -> Result {
    sys_unlinkat(AT_FDCWD, path, AtFlags::REMOVEDIR.bits())
}

/// `unlink(2)`.
pub fn sys_unlink(path: UserString) -> Result {
    sys_unlinkat(AT_FDCWD, path, 0)
}

/// `unlinkat(2)`.
pub fn sys_unlinkat(directory: i32, path: UserString, flags: u32) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::REMOVEDIR)?;
    let path = path.0.read_path()?;
    let base = fs::base(directory, &path)?;
    if flags.contains(AtFlags::REMOVEDIR) {
        fs::namespace().rmdir(&base, &path).map(|()| 0)
    } else {
        fs::namespace().unlink(&base, &path).map(|()| 0)
    }
}

/// `rename(2)`.
pub fn sys_rename(from: UserString, to: UserString) -> Result {
    sys_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0)
}

/// `renameat(2)`.
pub fn sys_renameat(from_directory: i32, from: UserString, to_directory: i32, to: UserString) -> Result {
    sys_renameat2(from_directory, from, to_directory, to, 0)
}

/// `renameat2(2)`.
pub fn sys_renameat2(
    from_directory: i32,
    from: UserString,
    to_directory: i32,
    to: UserString,
    flags: u32,
) -> Result {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let from = from.0.read_path()?;
    let to = to.0.read_path()?;
    let from_base = fs::base(from_directory, &from)?;
    let to_base = fs::base(to_directory, &to)?;
    fs::namespace().rename(&from_base, &from, &to_base, &to, flags).map(|()| 0)
}

/// `link(2)`.
pub fn sys_link(from: UserString, to: UserString) -> Result {
    sys_linkat(AT_FDCWD, from, AT_FDCWD, to, 0)
}

/// `linkat(2)`.
pub fn sys_linkat(
    from_directory: i32,
    from: UserString,
    to_directory: i32,
    to: UserString,
    flags: u32,
) -> Result {
    let flags = AtFlags::allowed(flags, AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH)?;
    let from = from.0.read_path()?;
    let to = to.0.read_path()?;
    let target = if from.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        fs::descriptor(from_directory)?.path().ok_or(Errno::EXDEV)?.clone()
    } else {
        let last = if flags.contains(AtFlags::SYMLINK_FOLLOW) { FinalLink::Follow } else { FinalLink::Stay };
        fs::namespace().resolve(&fs::base(from_directory, &from)?, &from, last)?
    };
    fs::namespace().link(&target, &fs::base(to_directory, &to)?, &to).map(|()| 0)
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
    let path = path.0.read_path()?;
    let base = fs::base(directory, &path)?;
    fs::namespace().create(&base, &path, NewInode::Symlink(&text), 0o777).map(|_| 0)
}

/// `readlink(2)`.
pub fn sys_readlink(path: UserString, buffer: UserPtr<u8>, size: i32) -> Result {
    sys_readlinkat(AT_FDCWD, path, buffer, size)
}

/// `readlinkat(2)`: an empty path is the link that was opened with `O_PATH | O_NOFOLLOW`.
pub fn sys_readlinkat(directory: i32, path: UserString, buffer: UserPtr<u8>, size: i32) -> Result {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.0.read_path()?;
    let found = if path.is_empty() && directory != AT_FDCWD {
        let file = fs::descriptor(directory)?;
        file.path().filter(|path| path.inode().kind() == FileType::Symlink).ok_or(Errno::ENOENT)?.clone()
    } else {
        fs::namespace().resolve(&fs::base(directory, &path)?, &path, FinalLink::Stay)?
    };
    if found.inode().kind() != FileType::Symlink {
        return Err(Errno::EINVAL);
    }
    let text = found.inode().read_link()?;
    let len = text.len().min(size as usize);
    buffer.write_slice(&text[..len])?;
    Ok(len)
}

/// `getdents64(2)`.
pub fn sys_getdents64(fd: i32, buffer: UserPtr<u8>, size: u32) -> Result {
    let file = fs::descriptor(fd)?;
    let mut records = alloc::vec::Vec::new();
    let mut full = false;
    file.read_directory(&mut |entry| {
        let length = dirent64_record_length(entry.name.len());
        if records.len() + length > size as usize {
            full = true;
            return ControlFlow::Break(());
        }
        let start = records.len();
        records.extend_from_slice(&entry.inode.to_le_bytes());
        records.extend_from_slice(&entry.next_cookie.to_le_bytes());
        records.extend_from_slice(&(length as u16).to_le_bytes());
        records.push(entry.kind.map_or(0, FileType::dirent_type));
        records.extend_from_slice(entry.name);
        records.resize(start + length, 0);
        ControlFlow::Continue(())
    })?;
    if records.is_empty() && full {
        return Err(Errno::EINVAL); // not even one fits
    }
    buffer.write_slice(&records)?;
    Ok(records.len())
}

/// `getcwd(2)`: returns the length with the NUL.
pub fn sys_getcwd(buffer: UserPtr<u8>, size: usize) -> Result {
    let mut text = fs::namespace().working_directory_text(&fs::working_directory())?;
    text.push(0);
    if text.len() > size {
        return Err(Errno::ERANGE);
    }
    buffer.write_slice(&text)?;
    Ok(text.len())
}

/// `chdir(2)`.
pub fn sys_chdir(path: UserString) -> Result {
    let path = path.0.read_path()?;
    let found = fs::namespace().resolve(&fs::working_directory(), &path, FinalLink::Follow)?;
    if !found.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    fs::set_working_directory_path(found);
    Ok(0)
}

/// `fchdir(2)`.
pub fn sys_fchdir(fd: i32) -> Result {
    let file = fs::descriptor(fd)?;
    let path = file.path().filter(|path| path.dentry.is_directory()).ok_or(Errno::ENOTDIR)?;
    fs::set_working_directory_path(path.clone());
    Ok(0)
}

/// `umask(2)`.
pub fn sys_umask(mask: u32) -> Result {
    Ok(fs::set_umask(mask as u16) as usize)
}
