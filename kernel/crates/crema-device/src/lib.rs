//! What the kernel and the JVM bridge say to each other through [`PATH`].
//!
//! Responsible for the numbers of the `ioctl` requests and the layout of their arguments, which both sides
//! compile in from here. Not for what a request does: that is in the kernel's `device/crema.rs` and the
//! modules of its families.
//!
//! The device exists in Crema only. On Linux opening it fails with `ENOENT`, and the bridge goes on without.
//!
//! Requests come in families, one module each, with the family's number in the high nibble of the request's
//! number: [`device`] 0x0., [`write_tracking`] 0x1., memory 0x2. A request that the device does not know is
//! `ENOTTY`. Requests are encoded as all of Linux's are (`include/uapi/asm-generic/ioctl.h`), with the
//! argument's size in them, so that a structure that has changed is another request.

#![no_std]

pub mod device;
pub mod write_tracking;

/// Where the device is.
pub const PATH: &str = "/dev/crema";

/// The type byte of all requests. Linux's register of these (`Documentation/userspace-api/ioctl/ioctl-number.rst`) has
/// nobody at 0xCE, and nothing but this device is ever asked.
pub const MAGIC: u32 = 0xce;

const WRITE: u32 = 1;
const READ: u32 = 2;

const fn request(direction: u32, number: u32, argument_bytes: usize) -> u32 {
    assert!(argument_bytes < 1 << 14, "the field for the size has 14 bits");
    direction << 30 | (argument_bytes as u32) << 16 | MAGIC << 8 | number
}

/// A request without an argument (`_IO`).
pub const fn plain(number: u32) -> u32 {
    request(0, number, 0)
}

/// A request whose argument the kernel reads (`_IOW`).
pub const fn reads<T>(number: u32) -> u32 {
    request(WRITE, number, size_of::<T>())
}

/// A request whose argument the kernel fills in (`_IOR`).
pub const fn fills<T>(number: u32) -> u32 {
    request(READ, number, size_of::<T>())
}

/// A request whose argument the kernel reads and fills in (`_IOWR`).
pub const fn exchanges<T>(number: u32) -> u32 {
    request(READ | WRITE, number, size_of::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a C compiler says of `<sys/ioctl.h>` with structures of these sizes.
    #[test]
    fn requests_are_encoded_as_linux_does() {
        assert_eq!(plain(0x01), 0x0000_ce01);
        assert_eq!(reads::<[u64; 3]>(0x10), 0x4018_ce10);
        assert_eq!(fills::<[u64; 2]>(0x00), 0x8010_ce00);
        assert_eq!(exchanges::<[u64; 4]>(0x11), 0xc020_ce11);
    }

    #[test]
    fn no_two_requests_are_the_same() {
        let all = [
            device::INFO,
            write_tracking::ARM,
            write_tracking::COLLECT,
            write_tracking::DISARM,
            write_tracking::COUNTERS,
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| one & 0xff != other & 0xff), "{one:#x}");
        }
    }
}
