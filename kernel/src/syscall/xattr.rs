//! Extended attributes (`xattr(7)`).

use alloc::{sync::Arc, vec::Vec};

use linux_abi::{
    Errno,
    file::{FileType, XATTR_CREATE, XATTR_REPLACE},
};
use vfs::{FinalLink, Inode, Path, XattrMode};

use super::{Result, UserString};
use crate::{
    fs::{self, descriptor, namespace},
    user::UserPtr,
};

/// Longest name (`XATTR_NAME_MAX`) and value (`XATTR_SIZE_MAX`) in bytes, from uapi `linux/limits.h`.
const MAX_NAME_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 65_536;

fn at(path: UserString, final_link: FinalLink) -> core::result::Result<Path, Errno> {
    namespace().resolve(&fs::working_directory(), &path.0.read_path()?, final_link)
}

fn of_descriptor(fd: i32) -> core::result::Result<Path, Errno> {
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    file.path().cloned().ok_or(Errno::EOPNOTSUPP)
}

/// A name: `ERANGE` if it is empty or too long, `EOPNOTSUPP` without a name space.
fn read_name(name: UserString) -> core::result::Result<Vec<u8>, Errno> {
    let name = name.0.read_c_bytes(MAX_NAME_BYTES + 1).map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::ERANGE,
        error => error,
    })?;
    if name.is_empty() {
        return Err(Errno::ERANGE);
    }
    const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    let space = SPACES.iter().find(|space| name.starts_with(space)).ok_or(Errno::EOPNOTSUPP)?;
    if name.len() == space.len() { Err(Errno::EINVAL) } else { Ok(name) }
}

/// Only files and directories have attributes of users (`xattr(7)`).
fn check_kind(inode: &Arc<dyn Inode>, name: &[u8], refusal: Errno) -> core::result::Result<(), Errno> {
    let has_users = matches!(inode.kind(), FileType::Regular | FileType::Directory);
    if name.starts_with(b"user.") && !has_users { Err(refusal) } else { Ok(()) }
}

/// Hands bytes out, or their number if there is no room for any; `ERANGE` if there is too little.
fn give(bytes: &[u8], into: UserPtr<u8>, room: usize) -> Result {
    match room {
        0 => Ok(bytes.len()),
        room if room < bytes.len() => Err(Errno::ERANGE),
        _ => into.write_slice(bytes).map(|()| bytes.len()),
    }
}

fn set(
    path: core::result::Result<Path, Errno>,
    name: UserString,
    value: UserPtr<u8>,
    len: usize,
    flags: u32,
) -> Result {
    let mode = match flags {
        0 => XattrMode::Any,
        XATTR_CREATE => XattrMode::Create,
        XATTR_REPLACE => XattrMode::Replace,
        _ => return Err(Errno::EINVAL),
    };
    let path = path?;
    let name = read_name(name)?;
    if len > MAX_VALUE_BYTES {
        return Err(Errno::E2BIG);
    }
    let value = value.read_vec(len)?;
    if path.is_read_only() {
        return Err(Errno::EROFS);
    }
    check_kind(path.inode(), &name, Errno::EPERM)?;
    path.set_xattr(&name, &value, mode).map(|()| 0)
}

fn get(path: core::result::Result<Path, Errno>, name: UserString, into: UserPtr<u8>, room: usize) -> Result {
    let path = path?;
    let name = read_name(name)?;
    check_kind(path.inode(), &name, Errno::ENODATA)?;
    give(&path.inode().xattr(&name)?, into, room)
}

fn list(path: core::result::Result<Path, Errno>, into: UserPtr<u8>, room: usize) -> Result {
    let names = match path?.inode().xattr_names() {
        // Without any support there are none, which is no error (`vfs_listxattr`).
        Err(Errno::EOPNOTSUPP) => Vec::new(),
        names => names?,
    };
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&name);
        bytes.push(0);
    }
    give(&bytes, into, room)
}

fn remove(path: core::result::Result<Path, Errno>, name: UserString) -> Result {
    let path = path?;
    let name = read_name(name)?;
    if path.is_read_only() {
        return Err(Errno::EROFS);
    }
    check_kind(path.inode(), &name, Errno::EPERM)?;
    path.remove_xattr(&name).map(|()| 0)
}

/// `setxattr(2)`.
pub fn sys_setxattr(
    path: UserString,
    name: UserString,
    value: UserPtr<u8>,
    len: usize,
    flags: u32,
) -> Result {
    set(at(path, FinalLink::Follow), name, value, len, flags)
}

/// `lsetxattr(2)`.
pub fn sys_lsetxattr(
    path: UserString,
    name: UserString,
    value: UserPtr<u8>,
    len: usize,
    flags: u32,
) -> Result {
    set(at(path, FinalLink::Stay), name, value, len, flags)
}

/// `fsetxattr(2)`.
pub fn sys_fsetxattr(fd: i32, name: UserString, value: UserPtr<u8>, len: usize, flags: u32) -> Result {
    set(of_descriptor(fd), name, value, len, flags)
}

/// `getxattr(2)`.
pub fn sys_getxattr(path: UserString, name: UserString, into: UserPtr<u8>, room: usize) -> Result {
    get(at(path, FinalLink::Follow), name, into, room)
}

/// `lgetxattr(2)`.
pub fn sys_lgetxattr(path: UserString, name: UserString, into: UserPtr<u8>, room: usize) -> Result {
    get(at(path, FinalLink::Stay), name, into, room)
}

/// `fgetxattr(2)`.
pub fn sys_fgetxattr(fd: i32, name: UserString, into: UserPtr<u8>, room: usize) -> Result {
    get(of_descriptor(fd), name, into, room)
}

/// `listxattr(2)`.
pub fn sys_listxattr(path: UserString, into: UserPtr<u8>, room: usize) -> Result {
    list(at(path, FinalLink::Follow), into, room)
}

/// `llistxattr(2)`.
pub fn sys_llistxattr(path: UserString, into: UserPtr<u8>, room: usize) -> Result {
    list(at(path, FinalLink::Stay), into, room)
}

/// `flistxattr(2)`.
pub fn sys_flistxattr(fd: i32, into: UserPtr<u8>, room: usize) -> Result {
    list(of_descriptor(fd), into, room)
}

/// `removexattr(2)`.
pub fn sys_removexattr(path: UserString, name: UserString) -> Result {
    remove(at(path, FinalLink::Follow), name)
}

/// `lremovexattr(2)`.
pub fn sys_lremovexattr(path: UserString, name: UserString) -> Result {
    remove(at(path, FinalLink::Stay), name)
}

/// `fremovexattr(2)`.
pub fn sys_fremovexattr(fd: i32, name: UserString) -> Result {
    remove(of_descriptor(fd), name)
}
