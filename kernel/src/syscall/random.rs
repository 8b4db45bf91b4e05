//! `getrandom(2)`.

use linux_abi::Errno;
use vfs::ReadDst;

use super::Result;
use crate::{
    device::random,
    user::{UserBuffers, UserPtr},
};

bitflags::bitflags! {
    /// Flags of `getrandom(2)` (uapi `linux/random.h`).
    #[derive(Clone, Copy)]
    struct GetrandomFlags: u32 {
        /// Fail rather than wait for entropy.
        const NONBLOCK = 0x1;
        /// From the pool of `/dev/random`; since Linux 5.6 the same bytes.
        const RANDOM = 0x2;
        /// Also without entropy.
        const INSECURE = 0x4;
    }
}

/// Up to so many bytes a call is not ended by a signal (`getrandom(2)`).
const UNINTERRUPTED: usize = 256;
/// Bytes between looks at signals.
const INTERVAL: usize = 4096;

/// Fills the buffer with random bytes.
pub fn sys_getrandom(buffer: UserPtr<u8>, len: usize, flags: u32) -> Result {
    let flags = GetrandomFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(GetrandomFlags::RANDOM | GetrandomFlags::INSECURE) {
        return Err(Errno::EINVAL);
    }
    if !random::is_seeded() && !flags.contains(GetrandomFlags::INSECURE) {
        // The boot seeds the generator, from timing if need be, before the application runs.
        return Err(Errno::EAGAIN);
    }
    let mut dst = UserBuffers::single(buffer.address(), len)?;
    let mut stream = random::stream();
    let mut bytes = [0; UNINTERRUPTED];
    let mut done = 0;
    while dst.remaining() > 0 {
        if done >= UNINTERRUPTED && done.is_multiple_of(INTERVAL) && ksync::platform::current().interrupted()
        {
            break;
        }
        let part = &mut bytes[..UNINTERRUPTED.min(dst.remaining())];
        stream.fill(part);
        match dst.put(part) {
            Ok(copied) => {
                done += copied;
                if copied < part.len() {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}
