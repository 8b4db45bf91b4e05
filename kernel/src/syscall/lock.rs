//! Advisory locks.

use linux_abi::{
    Errno,
    file::{FcntlCommand, Flock, FlockOperation, LockType, Whence},
};
use vfs::{LockKind, LockOwner, LockRange, LockTable, LockWait, OpenFile};

use super::Result;
use crate::{fs::descriptor, task, user::UserPtr};

/// The last byte there can be: a lock up to it goes to infinity.
const LAST_BYTE: u64 = i64::MAX as u64;

/// `flock(2)`.
pub fn sys_flock(fd: i32, operation: u32) -> Result {
    let file = descriptor(fd)?;
    let operation = FlockOperation::from_raw(operation)?;
    let wait = if operation.contains(FlockOperation::NB) { LockWait::No } else { LockWait::Yes };
    file.require_not_path_only()?;
    // Sockets and pipes have no inode to lock here; Linux would give them one of their own each.
    let inode = file.inode().map_err(|_| Errno::EBADF)?.id();
    let owner = file.lock_owner();
    let table = LockTable::global();
    match operation.difference(FlockOperation::NB) {
        FlockOperation::SH => table.lock_file(inode, owner, LockKind::Shared, wait)?,
        FlockOperation::EX => table.lock_file(inode, owner, LockKind::Exclusive, wait)?,
        FlockOperation::UN => table.unlock_file(inode, owner),
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// The bytes that a `struct flock` means (`flock_to_posix_lock` in `fs/locks.c`).
fn range_of(file: &OpenFile, flock: &Flock) -> core::result::Result<LockRange, Errno> {
    let origin = match Whence::from_raw(flock.whence.into()) {
        Some(Whence::Set) => 0,
        Some(Whence::Current) => file.offset(),
        Some(Whence::End) => file.metadata()?.size,
        _ => return Err(Errno::EINVAL),
    };
    let origin = i64::try_from(origin).map_err(|_| Errno::EOVERFLOW)?;
    let start = origin.checked_add(flock.start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match flock.length {
        0 => (start, i64::MAX),
        length if length > 0 => (start, start.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?),
        length => (start.checked_add(length).ok_or(Errno::EINVAL)?, start - 1),
    };
    if first < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(LockRange { first: first as u64, last: last as u64 })
}

/// The commands of `fcntl(2)` that are about record locks.
pub(super) fn record_lock(file: &OpenFile, command: FcntlCommand, argument: UserPtr<Flock>) -> Result {
    let flock = argument.read()?;
    let is_open_files =
        matches!(command, FcntlCommand::OfdGetLk | FcntlCommand::OfdSetLk | FcntlCommand::OfdSetLkW);
    if is_open_files && flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = match LockType::from_raw(flock.kind).ok_or(Errno::EINVAL)? {
        LockType::Read => Some(LockKind::Shared),
        LockType::Write => Some(LockKind::Exclusive),
        LockType::Unlock => None,
    };
    let range = range_of(file, &flock)?;
    let inode = file.inode().map_err(|_| Errno::EBADF)?.id();
    let owner = if is_open_files { file.lock_owner() } else { LockOwner::THIS_PROCESS };
    let table = LockTable::global();
    let wait = match command {
        FcntlCommand::GetLk | FcntlCommand::OfdGetLk => {
            let kind = kind.ok_or(Errno::EINVAL)?;
            let Some(held) = table.record_conflict(inode, owner, kind, range) else {
                return argument.write(Flock { kind: LockType::Unlock as u16, ..flock }).map(|()| 0);
            };
            let length =
                if held.range.last >= LAST_BYTE { 0 } else { held.range.last - held.range.first + 1 };
            let answer = Flock {
                kind: match held.kind {
                    LockKind::Shared => LockType::Read as u16,
                    LockKind::Exclusive => LockType::Write as u16,
                },
                whence: Whence::Set as u16,
                start: held.range.first as i64,
                length: length as i64,
                pid: if matches!(held.owner, LockOwner::Process(_)) { task::PID as i32 } else { -1 },
                ..flock
            };
            return argument.write(answer).map(|()| 0);
        }
        FcntlCommand::SetLkW | FcntlCommand::OfdSetLkW => LockWait::Yes,
        _ => LockWait::No,
    };
    match kind {
        None => table.unlock_record(inode, owner, range),
        Some(kind) => {
            match kind {
                LockKind::Shared => file.require_readable()?,
                LockKind::Exclusive => file.require_writable()?,
            }
            table.lock_record(inode, owner, kind, range, wait)?;
        }
    }
    Ok(0)
}
