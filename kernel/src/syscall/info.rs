//! What the system says of itself.

use alloc::string::String;

use ksync::SpinLock;
use linux_abi::{
    Errno,
    process::{Sysinfo, UTSNAME_LENGTH, Utsname},
};

use super::Result;
use crate::{arch::clock, mm, task, user::UserPtr};

/// The Linux release whose system calls these are; glibc and the JDK parse it.
pub const RELEASE: &str = concat!("6.1.0-crema-", env!("CARGO_PKG_VERSION"));
/// The build, as `uname -v` prints it.
pub const VERSION: &str = concat!("#1 SMP Crema ", env!("CARGO_PKG_VERSION"));

static HOSTNAME: SpinLock<String> = SpinLock::new(String::new());

/// The host name.
pub fn hostname() -> String {
    HOSTNAME.lock().clone()
}

/// Sets the host name.
pub fn set_hostname(name: &str) {
    *HOSTNAME.lock() = name.into();
}

/// `uname(2)`.
pub fn sys_uname(into: UserPtr<Utsname>) -> Result {
    let names = Utsname {
        sysname: Utsname::field("Linux"),
        nodename: Utsname::field(&hostname()),
        release: Utsname::field(RELEASE),
        version: Utsname::field(VERSION),
        machine: Utsname::field("x86_64"),
        domainname: Utsname::field("(none)"),
    };
    into.write(names).map(|()| 0)
}

/// `sethostname(2)`.
pub fn sys_sethostname(name: UserPtr<u8>, len: usize) -> Result {
    if len >= UTSNAME_LENGTH {
        return Err(Errno::EINVAL);
    }
    let name = String::from_utf8(name.read_vec(len)?).map_err(|_| Errno::EINVAL)?;
    set_hostname(&name);
    Ok(0)
}

/// `sysinfo(2)`.
pub fn sys_sysinfo(into: UserPtr<Sysinfo>) -> Result {
    let memory = mm::memory_figures();
    let load = task::load_averages();
    let info = Sysinfo {
        uptime: clock::now_ns().div_ceil(1_000_000_000) as i64,
        // Fixed point with 16 bits behind it.
        loads: load.map(|hundredths| hundredths * 65536 / 100),
        totalram: memory.total_bytes,
        freeram: memory.free_bytes,
        sharedram: memory.shared_bytes,
        procs: task::thread_count().min(u16::MAX as usize) as u16,
        mem_unit: 1,
        ..Default::default()
    };
    into.write(info).map(|()| 0)
}
