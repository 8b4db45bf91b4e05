//! Mounting: what is mounted is decided before the program starts, so these answer as Linux does to a process without
//! `CAP_SYS_ADMIN`: what is wrong with the arguments, and else `EPERM` (`fs/namespace.c`, `may_mount`).

use linux_abi::Errno;
use vfs::FinalLink;

use super::{Result, UserString};
use crate::{
    fs::{self, namespace},
    user::UserPtr,
};

/// The strings and the path are looked at before the caller's rights are.
fn refuse(path: UserString, final_link: FinalLink) -> Result {
    namespace().resolve(&fs::working_directory(), &path.0.read_path()?, final_link)?;
    Err(Errno::EPERM)
}

/// `mount(2)`.
pub fn sys_mount(source: u64, target: UserString, kind: u64, _flags: u64, data: u64) -> Result {
    /// `PATH_MAX` with its NUL, for both.
    const MAX_STRING_BYTES: usize = 4096;
    for string in [kind, source].into_iter().filter(|string| *string != 0) {
        UserPtr::<u8>::new(string).read_c_bytes(MAX_STRING_BYTES).map_err(|error| match error {
            Errno::ENAMETOOLONG => Errno::EINVAL,
            error => error,
        })?;
    }
    if data != 0 {
        UserPtr::<u8>::new(data).read()?;
    }
    refuse(target, FinalLink::Follow)
}

/// `umount2(2)`.
pub fn sys_umount2(target: UserString, flags: u32) -> Result {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NOFOLLOW: u32 = 8;
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    refuse(target, if flags & NOFOLLOW != 0 { FinalLink::Stay } else { FinalLink::Follow })
}
