//! Memory calls: each decodes and hands on to the address space.

use address_space::{MapRequest, MapSource, Permission};
use linux_abi::{
    Errno,
    file::Seals,
    memory::{MapFlags, MapType, MremapFlags, Prot},
};

use super::Result;
use crate::{fs, mm::space, user::UserPtr};

/// The bits of `mmap`'s flags that are the mapping's type.
const TYPE_MASK: u32 = 0xf;

/// `mmap(2)`.
pub fn sys_mmap(address: usize, len: usize, prot: u32, flags: u32, fd: i32, offset: u64) -> Result {
    if !offset.is_multiple_of(frames::PAGE_SIZE as u64) {
        // Before the descriptor is looked at, as on Linux.
        return Err(Errno::EINVAL);
    }
    let map_flags = MapFlags::from_bits_retain(flags & !TYPE_MASK);
    let prot = Prot::from_bits_truncate(prot); // Linux looks at these bits only
    let source =
        if map_flags.contains(MapFlags::ANONYMOUS) { None } else { source_of(fd, prot, flags & TYPE_MASK)? };
    space().mmap(MapRequest {
        address,
        len,
        prot,
        map_type: flags & TYPE_MASK,
        flags: map_flags,
        source,
        offset,
    })
}

/// What a descriptor lets be mapped; `None` if it is fresh memory. `EACCES` if it was not opened for reading,
/// `ENODEV` if it has no memory.
fn source_of(fd: i32, prot: Prot, map_type: u32) -> core::result::Result<Option<MapSource>, Errno> {
    let file = fs::descriptor(fd)?;
    file.require_not_path_only()?;
    if fs::is_zero_device(&file) {
        let writes_through = prot.contains(Prot::WRITE) && map_type != MapType::Private as u32;
        return match file.access().can_read() && (file.access().can_write() || !writes_through) {
            true => Ok(None),
            false => Err(Errno::EACCES),
        };
    }
    let granted = |yes| if yes { Permission::Granted } else { Permission::Denied };
    let seals = file.inode().and_then(|inode| inode.seals()).unwrap_or(Seals::empty());
    Ok(Some(MapSource {
        object: file.file().memory_object()?,
        told: Some(file.told().clone()),
        readable: granted(file.access().can_read()),
        writable: granted(file.access().can_write()),
        unsealed: granted(!seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE)),
        executable: Permission::Granted,
    }))
}

/// `munmap(2)`.
pub fn sys_munmap(address: usize, len: usize) -> Result {
    space().munmap(address, len).map(|()| 0)
}

/// `mprotect(2)`.
pub fn sys_mprotect(address: usize, len: usize, prot: u32) -> Result {
    space().mprotect(address, len, prot).map(|()| 0)
}

/// `mremap(2)`.
pub fn sys_mremap(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize) -> Result {
    space().mremap(old, old_len, new_len, MremapFlags::from_raw(flags)?, new)
}

/// `madvise(2)`.
pub fn sys_madvise(address: usize, len: usize, advice: u32) -> Result {
    space().madvise(address, len, advice).map(|()| 0)
}

/// `mincore(2)`.
pub fn sys_mincore(address: usize, len: usize, answers: UserPtr<u8>) -> Result {
    let mut done = 0;
    space().mincore(address, len, |part| {
        answers.add(done).write_slice(part)?;
        done += part.len();
        Ok(())
    })?;
    Ok(0)
}

/// `msync(2)`.
pub fn sys_msync(address: usize, len: usize, flags: u32) -> Result {
    space().msync(address, len, flags).map(|()| 0)
}

/// `mlock(2)`.
pub fn sys_mlock(address: usize, len: usize) -> Result {
    space().mlock(address, len, 0).map(|()| 0)
}

/// `mlock2(2)`.
pub fn sys_mlock2(address: usize, len: usize, flags: u32) -> Result {
    space().mlock(address, len, flags).map(|()| 0)
}

/// `munlock(2)`.
pub fn sys_munlock(address: usize, len: usize) -> Result {
    space().munlock(address, len).map(|()| 0)
}

/// `mlockall(2)`.
pub fn sys_mlockall(flags: u32) -> Result {
    space().mlockall(flags).map(|()| 0)
}

/// `munlockall(2)`.
pub fn sys_munlockall() -> Result {
    space().munlockall().map(|()| 0)
}

/// `brk(2)`: answers with the break, never with an error.
pub fn sys_brk(address: usize) -> Result {
    Ok(space().brk(address))
}
