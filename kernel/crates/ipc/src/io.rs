//! Whole values from and to the application.

use linux_abi::Errno;
use vfs::{ReadDst, WriteSrc};

/// Copies all of `bytes`, or fails with `EFAULT`.
pub fn put_exact(dst: &mut dyn ReadDst, bytes: &[u8]) -> Result<usize, Errno> {
    match dst.put(bytes)? {
        done if done == bytes.len() => Ok(done),
        _ => Err(Errno::EFAULT),
    }
}

/// Takes `N` bytes, or fails with `EFAULT`.
pub fn take_exact<const N: usize>(src: &mut dyn WriteSrc) -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    match src.take(&mut bytes)? {
        done if done == N => Ok(bytes),
        _ => Err(Errno::EFAULT),
    }
}
