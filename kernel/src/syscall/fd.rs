//! Descriptors: closing, duplicating, and what `fcntl(2)` and `ioctl(2)` do to any file.

use alloc::format;

use ::ipc::pipe::{Mode, PipeEnd};
use linux_abi::{
    Errno,
    file::{FcntlCommand, FdFlags, FileType, OpenFlags, Seals, TrimRange},
    tty::ioctl,
};
use vfs::{AccessMode, OpenFile};

use super::{Result, UserString, lock};
use crate::{
    fs::{self, descriptor, descriptors, namespace},
    net, refuse_once,
    user::UserPtr,
};

/// `close(2)`.
pub fn sys_close(fd: i32) -> Result {
    descriptors().close(fd as u32).map(|()| 0)
}

/// `close_range(2)`.
pub fn sys_close_range(first: u32, last: u32, flags: u32) -> Result {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    // All threads share the descriptors, and there is no other process to unshare them from.
    if flags & CLOEXEC != 0 {
        descriptors().set_close_on_exec_range(first, last);
    } else {
        descriptors().close_range(first, last);
    }
    Ok(0)
}

/// `dup(2)`.
pub fn sys_dup(fd: i32) -> Result {
    Ok(descriptors().duplicate(fd as u32, 0, FdFlags::empty())? as usize)
}

/// `dup2(2)`: onto itself it only checks.
pub fn sys_dup2(fd: i32, new: i32) -> Result {
    if fd == new {
        return descriptor(fd).map(|_| new as usize);
    }
    Ok(descriptors().duplicate_to(fd as u32, new as u32, FdFlags::empty())? as usize)
}

/// `dup3(2)`.
pub fn sys_dup3(fd: i32, new: i32, flags: u32) -> Result {
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || fd == new {
        return Err(Errno::EINVAL);
    }
    let flags = if flags == 0 { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(descriptors().duplicate_to(fd as u32, new as u32, flags)? as usize)
}

/// `fcntl(2)`.
pub fn sys_fcntl(fd: i32, command: u32, argument: u64) -> Result {
    let file = descriptor(fd)?;
    let command = FcntlCommand::from_raw(command).ok_or(Errno::EINVAL)?;
    let is_for_paths = matches!(
        command,
        FcntlCommand::DupFd
            | FcntlCommand::DupFdCloexec
            | FcntlCommand::GetFd
            | FcntlCommand::SetFd
            | FcntlCommand::GetFl
    );
    if !is_for_paths {
        file.require_not_path_only()?;
    }
    let duplicate = |flags| {
        let minimum = usize::try_from(argument as i32).map_err(|_| Errno::EINVAL)?;
        Ok(descriptors().duplicate(fd as u32, minimum, flags)? as usize)
    };
    match command {
        FcntlCommand::DupFd => duplicate(FdFlags::empty()),
        FcntlCommand::DupFdCloexec => duplicate(FdFlags::CLOEXEC),
        FcntlCommand::GetFd => Ok(descriptors().flags(fd as u32)?.bits() as usize),
        FcntlCommand::SetFd => {
            let flags = FdFlags::from_bits_truncate(argument as u32);
            descriptors().set_flags(fd as u32, flags).map(|()| 0)
        }
        FcntlCommand::GetFl => Ok(status_flags(&file) as usize),
        FcntlCommand::SetFl => {
            let flags = OpenFlags::of(argument as u32);
            file.set_status_flags(flags)?;
            if let Ok(pipe) = pipe_of(&file) {
                pipe.set_mode(if flags.contains(OpenFlags::DIRECT) { Mode::Packets } else { Mode::Stream });
            }
            Ok(0)
        }
        FcntlCommand::GetLk
        | FcntlCommand::SetLk
        | FcntlCommand::SetLkW
        | FcntlCommand::OfdGetLk
        | FcntlCommand::OfdSetLk
        | FcntlCommand::OfdSetLkW => lock::record_lock(&file, command, UserPtr::new(argument)),
        FcntlCommand::AddSeals => {
            let seals = Seals::from_raw(argument as u32)?;
            if !file.access().can_write() {
                return Err(Errno::EPERM);
            }
            file.inode()?.add_seals(seals).map(|()| 0)
        }
        FcntlCommand::GetSeals => Ok(file.inode()?.seals()?.bits() as usize),
        FcntlCommand::SetPipeSize => {
            let pipe = pipe_of(&file)?;
            pipe.set_capacity(argument as u32 as usize)
        }
        FcntlCommand::GetPipeSize => Ok(pipe_of(&file)?.capacity()),
        // Nobody is told of I/O by signals.
        FcntlCommand::GetOwn | FcntlCommand::GetSig => Ok(0),
        FcntlCommand::GetLease => Ok(linux_abi::file::LockType::Unlock as usize),
        FcntlCommand::SetOwn
        | FcntlCommand::SetSig
        | FcntlCommand::SetOwnEx
        | FcntlCommand::GetOwnEx
        | FcntlCommand::SetLease
        | FcntlCommand::Notify => {
            refuse_once!("fcntl {} is not offered: EINVAL", command.name());
            Err(Errno::EINVAL)
        }
    }
}

fn pipe_of(file: &OpenFile) -> core::result::Result<&PipeEnd, Errno> {
    file.file().as_any().downcast_ref().ok_or(Errno::EBADF)
}

/// Access mode and status flags, as `F_GETFL` shows them. Linux adds `O_LARGEFILE` to all files in its tree, but not where
/// `O_PATH` makes it ignore flags.
pub fn status_flags(file: &OpenFile) -> u32 {
    let is_large = file.path().is_some() && !file.flags().contains(OpenFlags::PATH);
    let large = if is_large { OpenFlags::LARGEFILE } else { OpenFlags::empty() };
    file.access() as u32 | (file.flags() | large).bits()
}

/// `ioctl(2)`: what every file has, and else what the file itself has.
pub fn sys_ioctl(fd: i32, request: u32, argument: u64) -> Result {
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    match request {
        ioctl::FIOCLEX => descriptors().set_flags(fd as u32, FdFlags::CLOEXEC).map(|()| 0),
        ioctl::FIONCLEX => descriptors().set_flags(fd as u32, FdFlags::empty()).map(|()| 0),
        ioctl::FIONBIO => {
            let is_on = UserPtr::<i32>::new(argument).read()? != 0;
            let flags = file.flags().difference(OpenFlags::NONBLOCK);
            let flags = if is_on { flags | OpenFlags::NONBLOCK } else { flags };
            file.set_status_flags(flags).map(|()| 0)
        }
        ioctl::FIONREAD => {
            let bytes = i32::try_from(readable_bytes(&file)?).unwrap_or(i32::MAX);
            UserPtr::<i32>::new(argument).write(bytes).map(|()| 0)
        }
        ioctl::FIOQSIZE if is_regular(&file) => {
            UserPtr::<i64>::new(argument).write(file.metadata()?.size as i64).map(|()| 0)
        }
        ioctl::FITRIM if file.path().is_some() => trim(&file, UserPtr::new(argument)),
        _ => match net::ioctl::request(&**file.file(), request, argument) {
            Some(result) => result,
            None => file.file().ioctl(request, argument as usize),
        },
    }
}

/// `FITRIM`: the file only says which file system.
fn trim(file: &OpenFile, argument: UserPtr<TrimRange>) -> Result {
    let file_system = file.inode()?.file_system();
    let mut range = argument.read()?;
    range.len = file_system.trim(range.start..range.start.saturating_add(range.len), range.minlen)?;
    argument.write(range).map(|()| 0)
}

/// How many bytes there are to read: of a stream what waits, of a regular file what lies ahead.
fn readable_bytes(file: &OpenFile) -> Result {
    match file.file().readable_bytes() {
        Err(Errno::ENOTTY) if is_regular(file) => {
            Ok(file.metadata()?.size.saturating_sub(file.offset()) as usize)
        }
        result => result,
    }
}

fn is_regular(file: &OpenFile) -> bool {
    file.inode().is_ok_and(|inode| inode.kind() == FileType::Regular)
}

/// `memfd_create(2)`.
pub fn sys_memfd_create(name: UserString, flags: u32) -> Result {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const HUGETLB: u32 = 4;
    /// `NAME_MAX` less the prefix.
    const MAX_NAME_BYTES: usize = 249;
    if flags & !(CLOEXEC | ALLOW_SEALING) != 0 {
        if flags & HUGETLB != 0 {
            refuse_once!("memfd_create with MFD_HUGETLB is not offered: EINVAL");
        }
        return Err(Errno::EINVAL);
    }
    let name = name.0.read_c_bytes(MAX_NAME_BYTES + 1).map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        error => error,
    })?;
    let seals = if flags & ALLOW_SEALING != 0 { Seals::empty() } else { Seals::SEAL };
    let inode = fs::unnamed().create_memfd(seals);
    let shown_as = format!("/memfd:{} (deleted)", alloc::string::String::from_utf8_lossy(&name));
    let open_flags = OpenFlags::LARGEFILE;
    let file =
        namespace().open_anonymous_inode(inode, shown_as.as_bytes(), AccessMode::ReadWrite, open_flags)?;
    fs::install(file, if flags & CLOEXEC != 0 { OpenFlags::CLOEXEC } else { OpenFlags::empty() })
}
