//! Who the process is: user, groups, capabilities.
//!
//! The program is root in its machine, with all capabilities, and nothing checks access by them: there is
//! nobody to be kept out. So calls that would give rights up are refused with `EPERM` rather than obeyed in
//! name only. The supplementary groups are kept, since a program may set and read them; [`GROUPS`] is a leaf
//! lock.

use alloc::vec::Vec;

use ksync::RwLock;
use linux_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Result, process::check_pid};
use crate::{refuse_once, task, user::UserPtr};

/// Supplementary groups. The first process of a Linux has none.
static GROUPS: RwLock<Vec<u32>> = RwLock::new(Vec::new());
/// The most that there can be (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;
/// No user and no group: in the calls that set several ids it leaves one as it is.
const NO_ID: u32 = u32::MAX;

/// `getuid(2)`.
pub fn sys_getuid() -> Result {
    Ok(0)
}

/// `getgid(2)`.
pub fn sys_getgid() -> Result {
    Ok(0)
}

/// `geteuid(2)`.
pub fn sys_geteuid() -> Result {
    Ok(0)
}

/// `getegid(2)`.
pub fn sys_getegid() -> Result {
    Ok(0)
}

/// Root stays root.
fn set_ids(ids: &[u32]) -> Result {
    match ids.iter().find(|id| !matches!(**id, 0 | NO_ID)) {
        None => Ok(0),
        Some(id) => {
            refuse_once!("the program tried to become user or group {id}; there is only root: EPERM");
            Err(Errno::EPERM)
        }
    }
}

/// `setuid(2)`.
pub fn sys_setuid(id: u32) -> Result {
    if id == NO_ID { Err(Errno::EINVAL) } else { set_ids(&[id]) }
}

/// `setgid(2)`.
pub fn sys_setgid(id: u32) -> Result {
    sys_setuid(id)
}

/// `setreuid(2)`.
pub fn sys_setreuid(real: u32, effective: u32) -> Result {
    set_ids(&[real, effective])
}

/// `setregid(2)`.
pub fn sys_setregid(real: u32, effective: u32) -> Result {
    set_ids(&[real, effective])
}

/// `setresuid(2)`.
pub fn sys_setresuid(real: u32, effective: u32, saved: u32) -> Result {
    set_ids(&[real, effective, saved])
}

/// `setresgid(2)`.
pub fn sys_setresgid(real: u32, effective: u32, saved: u32) -> Result {
    set_ids(&[real, effective, saved])
}

/// `setfsuid(2)`: answers with the id from before, whether it could be changed or not.
pub fn sys_setfsuid(id: u32) -> Result {
    set_ids(&[id]).or(Ok(0))
}

/// `setfsgid(2)`.
pub fn sys_setfsgid(id: u32) -> Result {
    sys_setfsuid(id)
}

/// `getresuid(2)`.
pub fn sys_getresuid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> Result {
    real.write(0)?;
    effective.write(0)?;
    saved.write(0)?;
    Ok(0)
}

/// `getresgid(2)`.
pub fn sys_getresgid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> Result {
    sys_getresuid(real, effective, saved)
}

/// `getgroups(2)`: with a count of 0 only how many there are.
pub fn sys_getgroups(count: i32, into: UserPtr<u32>) -> Result {
    let room = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let groups = GROUPS.read().clone();
    if room > 0 {
        if groups.len() > room {
            return Err(Errno::EINVAL);
        }
        into.write_slice(&groups)?;
    }
    Ok(groups.len())
}

/// `setgroups(2)`.
pub fn sys_setgroups(count: i32, groups: UserPtr<u32>) -> Result {
    let count = usize::try_from(count).ok().filter(|count| *count <= GROUPS_MAX).ok_or(Errno::EINVAL)?;
    let mut groups = groups.read_vec(count)?;
    if groups.contains(&NO_ID) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    let previous = core::mem::replace(&mut *GROUPS.write(), groups);
    drop(previous);
    Ok(0)
}

/// `struct __user_cap_header_struct` (uapi `linux/capability.h`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities of each of the three sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_1: u32 = 0x1998_0330;
const CAPABILITY_VERSION_2: u32 = 0x2007_1026;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// All up to `CAP_CHECKPOINT_RESTORE`, number 40.
const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

/// The process's capabilities: the first word, and for versions with 64 of them the second.
fn capabilities() -> [CapabilityWord; 2] {
    [ALL_CAPABILITIES as u32, (ALL_CAPABILITIES >> 32) as u32].map(|word| CapabilityWord {
        effective: word,
        permitted: word,
        inheritable: 0,
    })
}

/// How many words the version of a call has. `EINVAL` for an unknown one, after the header was told the
/// newest.
fn word_count(at: UserPtr<CapabilityHeader>, header: CapabilityHeader) -> Result {
    match header.version {
        CAPABILITY_VERSION_1 => Ok(1),
        CAPABILITY_VERSION_2 | CAPABILITY_VERSION_3 => Ok(2),
        _ => {
            at.cast::<u32>().write(CAPABILITY_VERSION_3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// `capget(2)`: without data it only checks the version.
pub fn sys_capget(header: UserPtr<CapabilityHeader>, data: UserPtr<CapabilityWord>) -> Result {
    let asked = header.read()?;
    let count = match word_count(header, asked) {
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        count => count?,
    };
    if data.is_null() {
        return Ok(0);
    }
    if asked.pid < 0 {
        return Err(Errno::EINVAL);
    }
    if task::thread(asked.pid as u32).is_none() {
        check_pid(asked.pid)?;
    }
    data.write_slice(&capabilities()[..count]).map(|()| 0)
}

/// `capset(2)`: only to what they are.
pub fn sys_capset(header: UserPtr<CapabilityHeader>, data: UserPtr<CapabilityWord>) -> Result {
    let asked = header.read()?;
    let count = word_count(header, asked)?;
    if asked.pid != 0 && asked.pid as u32 != task::current().tid {
        return Err(Errno::EPERM);
    }
    if data.read_vec(count)? == capabilities()[..count] {
        return Ok(0);
    }
    refuse_once!("the program tried to change its capabilities, which cannot be given up: EPERM");
    Err(Errno::EPERM)
}
