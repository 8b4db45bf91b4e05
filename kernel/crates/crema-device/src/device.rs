//! Family 0x0.: the device itself.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Fills in [`Info`].
pub const INFO: u32 = crate::fills::<Info>(0x00);

/// The version of this interface. It grows with every change that a bridge could stumble over; kernel and
/// bridge of one release have the same.
pub const VERSION: u32 = 1;

/// What the device is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Info {
    /// [`VERSION`] of the kernel.
    pub version: u32,
    /// CPUs that run.
    pub cpus: u32,
}
