//! virtio devices (OASIS Virtual I/O Device specification 1.1): how they are reached, the queues
//! between driver and device, and drivers for disks, entropy sources, network cards and multiport serial
//! devices.
//!
//! Responsible for all that the specification says. Not responsible for finding devices, mapping
//! their registers or routing their interrupts: the kernel does that and hands over
//! [`RegisterBlock`]s and a [`DmaPlatform`]. So the drivers run on the host against a fake device.
//!
//! A device is not trusted: what it puts into used rings and configuration is checked, lengths are
//! clamped to what was offered, and a device that breaks the rules is reset and its requests fail
//! with `EIO`. Memory given to a device stays alive until the device has given it back or was reset.
//!
//! Why not the crate `virtio-drivers`, whose scope this is: at 0.13 it cannot set MSI-X vectors, a
//! notification is three register accesses (three exits to the hypervisor) rather than one, it
//! decides whether to notify without the full barrier that 2.6.13.4.1 asks for, so that a request
//! can be left lying, it panics at a bad `queue_notify_off` and indexes with the used ring's ids,
//! and a completion must present the same slices again, which an interrupt handler does not have.
//!
//! Locks: each driver names its own. All are `SpinLock`s taken by interrupt handlers, held for a
//! bounded number of ring operations, never while touching the application's memory.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod block;
mod dma;
pub mod entropy;
#[cfg(test)]
mod fake;
mod mmio;
pub mod net;
mod pci;
mod queue;
mod registers;
pub mod serial;
mod transport;

pub use dma::{DmaBuffer, DmaPlatform};
pub use mmio::{MmioTransport, parse_command_line_device};
pub use pci::{PciRegisters, PciTransport};
pub use queue::{Broken, Completion, Direction, QueueLayout, RingFeatures, Segment, SplitQueue, SubmitError};
pub use registers::{Doorbell, RegisterBlock};
pub use transport::{
    DeviceKind, InitError, InterruptCause, NO_VECTOR, Status, Transport, VERSION_1, begin, begin_with,
    finish, reset,
};
