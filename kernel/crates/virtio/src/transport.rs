//! What every transport offers, and how a device is brought up (3.1.1).

use core::fmt;

use bitflags::bitflags;

use crate::{Doorbell, QueueLayout, RingFeatures};

bitflags! {
    /// The device status field (2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The driver has noticed the device.
        const ACKNOWLEDGE = 1;
        /// The driver knows how to drive it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device cannot go on.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up.
        const FAILED = 128;
    }
}

bitflags! {
    /// Why a device interrupts (4.1.4.5, 4.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptCause: u32 {
        /// A used buffer.
        const QUEUE = 1;
        /// A change of configuration.
        const CONFIGURATION = 2;
    }
}

/// Devices that have drivers here (5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Network card.
    Network,
    /// Disk.
    Block,
    /// Console, or serial device with many ports.
    Console,
    /// Entropy source.
    Entropy,
    /// Traditional memory balloon.
    Balloon,
    /// Any other, by its number.
    Other(u32),
}

impl From<u32> for DeviceKind {
    fn from(id: u32) -> Self {
        match id {
            1 => Self::Network,
            2 => Self::Block,
            3 => Self::Console,
            4 => Self::Entropy,
            5 => Self::Balloon,
            id => Self::Other(id),
        }
    }
}

/// The feature that tells a modern device from a legacy one; it is always asked for (6.1).
pub const VERSION_1: u64 = 1 << 32;

/// In place of an MSI-X vector: none.
pub const NO_VECTOR: u16 = 0xffff;

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// It is legacy only.
    Legacy,
    /// It does not come out of reset.
    StuckInReset,
    /// It did not accept the features that were chosen from its own.
    FeaturesRefused,
    /// A queue that its kind must have is missing, or in use, or cannot be placed.
    Queue,
    /// It has no memory for the vector.
    Vector,
    /// There is no memory for its queues.
    OutOfMemory,
    /// Its configuration makes no sense.
    Configuration,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "the device is legacy only (virtio before 1.0)",
            Self::StuckInReset => "the device does not come out of reset",
            Self::FeaturesRefused => "the device refused its own features",
            Self::Queue => "a queue is missing or cannot be set up",
            Self::Vector => "the device cannot take an interrupt vector",
            Self::OutOfMemory => "no memory for the device's queues",
            Self::Configuration => "the device's configuration makes no sense",
        })
    }
}

impl core::error::Error for InitError {}

/// A way to reach a device's registers. Set-up is for one thread at a time, which owns the device
/// then; `interrupt_cause` and reading configuration are for any.
pub trait Transport: Send + Sync {
    /// What the device is.
    fn kind(&self) -> DeviceKind;

    /// The status field.
    fn status(&self) -> Status;

    /// Sets the status field; empty resets the device.
    fn set_status(&self, status: Status);

    /// What the device offers.
    fn device_features(&self) -> u64;

    /// What the driver accepts.
    fn set_driver_features(&self, features: u64);

    /// Most entries that a queue may have; 0 if there is no such queue.
    fn max_queue_size(&self, queue: u16) -> u16;

    /// Gives a queue its place, and its MSI-X vector if the transport has such.
    fn enable_queue(&self, queue: u16, layout: &QueueLayout, vector: u16) -> Result<Doorbell, InitError>;

    /// Sets the MSI-X vector for changes of configuration.
    fn set_configuration_vector(&self, vector: u16) -> Result<(), InitError>;

    /// Why the device interrupts, for wired interrupts, which this also acknowledges.
    fn interrupt_cause(&self) -> InterruptCause;

    /// Changes when the configuration does.
    fn configuration_generation(&self) -> u32;

    /// A byte of the device's configuration.
    fn configuration_u8(&self, offset: usize) -> u8;

    /// Two bytes of the device's configuration, at an even offset.
    fn configuration_u16(&self, offset: usize) -> u16;

    /// Four bytes of the device's configuration, at a multiple of 4.
    fn configuration_u32(&self, offset: usize) -> u32;

    /// Eight bytes of the device's configuration, read twice if they changed meanwhile (2.4.1).
    fn configuration_u64(&self, offset: usize) -> u64 {
        const ATTEMPTS: usize = 16;
        let read = || {
            u64::from(self.configuration_u32(offset)) | u64::from(self.configuration_u32(offset + 4)) << 32
        };
        for _ in 1..ATTEMPTS {
            let before = self.configuration_generation();
            let value = read();
            if self.configuration_generation() == before {
                return value;
            }
        }
        read()
    }
}

/// How often the status is read for the device to come out of reset. Every read is an exit to the
/// hypervisor, so this is a generous fraction of a second.
const RESET_POLLS: usize = 100_000;

/// Resets the device and waits until it is. After this it uses no memory of ours.
pub fn reset(transport: &dyn Transport) -> Result<(), InitError> {
    transport.set_status(Status::empty());
    for _ in 0..RESET_POLLS {
        if transport.status().is_empty() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(InitError::StuckInReset)
}

/// Resets the device and agrees on features: those of `wanted` that it has, and [`RingFeatures`]. What follows is
/// setting up the queues, which need to know the result, and [`finish`].
pub fn begin(transport: &dyn Transport, wanted: u64) -> Result<u64, InitError> {
    begin_with(transport, |offered| offered & wanted)
}

/// As [`begin`], for drivers whose wishes depend on what is offered. `choose` may read the configuration.
pub fn begin_with(transport: &dyn Transport, choose: impl FnOnce(u64) -> u64) -> Result<u64, InitError> {
    reset(transport)?;
    transport.set_status(Status::ACKNOWLEDGE);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    let offered = transport.device_features();
    if offered & VERSION_1 == 0 {
        transport.set_status(Status::FAILED);
        return Err(InitError::Legacy);
    }
    let features = offered & (choose(offered) | VERSION_1 | RingFeatures::all().bits());
    transport.set_driver_features(features);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
    if !transport.status().contains(Status::FEATURES_OK) {
        transport.set_status(Status::FAILED);
        return Err(InitError::FeaturesRefused);
    }
    Ok(features)
}

/// Sets the device going.
pub fn finish(transport: &dyn Transport) {
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK);
}
