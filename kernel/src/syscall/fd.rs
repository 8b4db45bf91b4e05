//! Descriptors: duplicating them, their flags, and what `fcntl(2)` and `ioctl(2)` do with a file.

use ipc::pipe::{Mode, PipeEnd};
use linux_abi::{
    Errno,
    file::{FcntlCommand, FileType, OpenFlags},
};
use vfs::{FdFlags, OpenFile};

use super::Result;
use crate::{fs, refuse_once, user::UserPtr};

/// Bytes that can be read (uapi `asm-generic/ioctls.h`).
const FIONREAD: u32 = 0x541b;

/// `dup(2)`.
pub fn sys_dup(fd: i32) -> Result {
    fs::descriptors().duplicate(fd as u32, 0, FdFlags::empty()).map(|fd| fd as usize)
}

/// `dup2(2)`: the same descriptor twice is nothing to do.
pub fn sys_dup2(fd: i32, new: i32) -> Result {
    if fd == new {
        return fs::descriptor(fd).map(|_| new as usize);
    }
    fs::descriptors().duplicate_to(fd as u32, new as u32, FdFlags::empty()).map(|fd| fd as usize)
}

/// `dup3(2)`.
pub fn sys_dup3(fd: i32, new: i32, flags: u32) -> Result {
    let flags = OpenFlags::from_bits_retain(flags);
    if fd == new || !(flags - OpenFlags::CLOEXEC).is_empty() {
        return Err(Errno::EINVAL);
    }
    let flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
    fs::descriptors().duplicate_to(fd as u32, new as u32, flags).map(|fd| fd as usize)
}

/// `close_range(2)`.
pub fn sys_close_range(first: u32, last: u32, flags: u32) -> Result {
    const UNSHARE: u32 = 1 << 1;
    const CLOEXEC: u32 = 1 << 2;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & CLOEXEC != 0 {
        fs::descriptors().set_close_on_exec_range(first, last);
    } else {
        fs::descriptors().close_range(first, last);
    }
    Ok(0)
}

/// `fcntl(2)`.
pub fn sys_fcntl(fd: i32, command: u32, argument: u64) -> Result {
    let file = fs::descriptor(fd)?;
    let command = FcntlCommand::from_raw(command).ok_or(Errno::EINVAL)?;
    let path_only = file.flags().contains(OpenFlags::PATH);
    match command {
        FcntlCommand::DupFd | FcntlCommand::DupFdCloexec => {
            let minimum = usize::try_from(argument as i32).map_err(|_| Errno::EINVAL)?;
            let flags =
                if command == FcntlCommand::DupFdCloexec { FdFlags::CLOEXEC } else { FdFlags::empty() };
            fs::descriptors().duplicate(fd as u32, minimum, flags).map(|fd| fd as usize)
        }
        FcntlCommand::GetFd => fs::descriptors().flags(fd as u32).map(|flags| flags.bits() as usize),
        FcntlCommand::SetFd => {
            let flags = FdFlags::from_bits_truncate(argument as u32);
            fs::descriptors().set_flags(fd as u32, flags).map(|()| 0)
        }
        FcntlCommand::GetFl => Ok(file.flags().bits() as usize | file.access() as usize),
        _ if path_only => Err(Errno::EBADF),
        FcntlCommand::SetFl => {
            let flags = OpenFlags::from_bits_retain(argument as u32);
            file.set_status_flags(flags)?;
            if let Ok(pipe) = pipe_end(&file) {
                pipe.set_mode(if flags.contains(OpenFlags::DIRECT) { Mode::Packets } else { Mode::Stream });
            }
            Ok(0)
        }
        FcntlCommand::GetPipeSize => Ok(pipe_end(&file)?.capacity()),
        FcntlCommand::SetPipeSize => pipe_end(&file)?.set_capacity(argument as u32 as usize),
        FcntlCommand::GetOwn | FcntlCommand::GetSig => Ok(0),
        _ => {
            refuse_once!("fcntl {command:?} is not offered: EINVAL");
            Err(Errno::EINVAL)
        }
    }
}

/// The pipe behind an open file; `EBADF` if it is something else (`pipe_fcntl` in Linux's `fs/pipe.c`).
fn pipe_end(file: &OpenFile) -> core::result::Result<&PipeEnd, Errno> {
    file.file().as_any().downcast_ref().ok_or(Errno::EBADF)
}

/// How many bytes there are to read (`FIONREAD`): of a stream what waits, of a regular file what lies ahead.
fn readable_bytes(file: &OpenFile) -> core::result::Result<usize, Errno> {
    match file.file().readable_bytes() {
        Err(Errno::ENOTTY) if file.inode().is_ok_and(|inode| inode.kind() == FileType::Regular) => {
            Ok(file.metadata()?.size.saturating_sub(file.offset()) as usize)
        }
        result => result,
    }
}

/// `ioctl(2)`.
pub fn sys_ioctl(fd: i32, request: u32, argument: usize) -> Result {
    let file = fs::descriptor(fd)?;
    file.require_not_path_only()?;
    match request {
        FIONREAD => {
            let bytes = i32::try_from(readable_bytes(&file)?).unwrap_or(i32::MAX);
            UserPtr::<i32>::new(argument as u64).write(bytes).map(|()| 0)
        }
        _ => file.file().ioctl(request, argument),
    }
}
