//! `inotify(7)`: instances and their watches. What is told, and when, is `vfs`'s.

use alloc::sync::Arc;

use linux_abi::{
    Errno,
    event::{InotifyInitFlags, InotifyMask},
    file::OpenFlags,
};
use vfs::{AccessMode, FinalLink, Inotify, WatchRequest};

use super::{Result, UserString};
use crate::{
    fs::{self, namespace},
    ipc::{install, open_file},
};

/// `inotify_init(2)`, the call without flags.
pub fn sys_inotify_init() -> Result {
    sys_inotify_init1(0)
}

/// `inotify_init1(2)`.
pub fn sys_inotify_init1(flags: u32) -> Result {
    let flags = InotifyInitFlags::from_raw(flags)?;
    let file = Arc::new(Inotify::new()?);
    Ok(install(file, AccessMode::ReadOnly, OpenFlags::from_bits_retain(flags.bits()))? as usize)
}

fn with_instance<T>(
    fd: i32,
    act: impl FnOnce(&Inotify) -> core::result::Result<T, Errno>,
) -> core::result::Result<T, Errno> {
    let open = open_file(fd)?;
    act(open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?)
}

/// `inotify_add_watch(2)`.
pub fn sys_inotify_add_watch(fd: i32, path: UserString, mask: u32) -> Result {
    let request = WatchRequest::new(mask)?;
    let descriptor = with_instance(fd, |instance| {
        request.require_consistent()?;
        let text = path.0.read_path()?;
        let stays = request.mask().contains(InotifyMask::DONT_FOLLOW);
        let final_link = if stays { FinalLink::Stay } else { FinalLink::Follow };
        let found = namespace().resolve(&fs::working_directory(), &text, final_link)?;
        if request.mask().contains(InotifyMask::ONLYDIR) && !found.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        instance.add_watch(&found, request)
    })?;
    Ok(descriptor as usize)
}

/// `inotify_rm_watch(2)`.
pub fn sys_inotify_rm_watch(fd: i32, descriptor: i32) -> Result {
    with_instance(fd, |instance| instance.remove_watch(descriptor)).map(|()| 0)
}
