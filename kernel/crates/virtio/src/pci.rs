//! virtio over PCI, modern (4.1).

use crate::{
    DeviceKind, Doorbell, InitError, InterruptCause, NO_VECTOR, QueueLayout, RegisterBlock, Status,
    Transport, registers::DoorbellWidth,
};

/// The parts of the BARs that the vendor capabilities name, mapped.
#[derive(Clone, Copy, Debug)]
pub struct PciRegisters {
    /// Common configuration.
    pub common: RegisterBlock,
    /// Doorbells.
    pub notify: RegisterBlock,
    /// Bytes between doorbells of consecutive notify offsets.
    pub notify_multiplier: u32,
    /// Interrupt status.
    pub isr: RegisterBlock,
    /// The device's own configuration.
    pub device: Option<RegisterBlock>,
}

/// Offsets in the common configuration (4.1.4.3).
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub const DEVICE_FEATURE: usize = 0x04;
    pub const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub const DRIVER_FEATURE: usize = 0x0c;
    pub const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub const DEVICE_STATUS: usize = 0x14;
    pub const CONFIG_GENERATION: usize = 0x15;
    pub const QUEUE_SELECT: usize = 0x16;
    pub const QUEUE_SIZE: usize = 0x18;
    pub const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub const QUEUE_ENABLE: usize = 0x1c;
    pub const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub const QUEUE_DESC: usize = 0x20;
    pub const QUEUE_DRIVER: usize = 0x28;
    pub const QUEUE_DEVICE: usize = 0x30;
}

/// A device on PCI.
#[derive(Debug)]
pub struct PciTransport {
    kind: DeviceKind,
    registers: PciRegisters,
}

impl PciTransport {
    /// The kind of device that a PCI device ID of virtio's vendor (0x1af4) stands for (4.1.2).
    pub fn kind_of(device_id: u16) -> Option<DeviceKind> {
        const MODERN: core::ops::RangeInclusive<u16> = 0x1040..=0x107f;
        match device_id {
            0x1000 => Some(DeviceKind::Network),
            0x1001 => Some(DeviceKind::Block),
            0x1002 => Some(DeviceKind::Balloon),
            0x1003 => Some(DeviceKind::Console),
            0x1005 => Some(DeviceKind::Entropy),
            id if MODERN.contains(&id) => Some(DeviceKind::from(u32::from(id - MODERN.start()))),
            _ => None,
        }
    }

    /// A device whose registers are mapped, and which may access memory (bus master).
    pub fn new(kind: DeviceKind, registers: PciRegisters) -> Self {
        Self { kind, registers }
    }

    fn write_u64(&self, offset: usize, value: u64) {
        // Two halves (4.1.3.1); a device takes the address when the queue is enabled.
        self.registers.common.write_u32(offset, value as u32);
        self.registers.common.write_u32(offset + 4, (value >> 32) as u32);
    }
}

impl Transport for PciTransport {
    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.registers.common.read_u8(common::DEVICE_STATUS))
    }

    fn set_status(&self, status: Status) {
        self.registers.common.write_u8(common::DEVICE_STATUS, status.bits());
    }

    fn device_features(&self) -> u64 {
        let registers = &self.registers.common;
        let half = |select: u32| {
            registers.write_u32(common::DEVICE_FEATURE_SELECT, select);
            u64::from(registers.read_u32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        let registers = &self.registers.common;
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            registers.write_u32(common::DRIVER_FEATURE_SELECT, select);
            registers.write_u32(common::DRIVER_FEATURE, half);
        }
    }

    fn max_queue_size(&self, queue: u16) -> u16 {
        self.registers.common.write_u16(common::QUEUE_SELECT, queue);
        self.registers.common.read_u16(common::QUEUE_SIZE)
    }

    fn enable_queue(&self, queue: u16, layout: &QueueLayout, vector: u16) -> Result<Doorbell, InitError> {
        let registers = &self.registers.common;
        registers.write_u16(common::QUEUE_SELECT, queue);
        if registers.read_u16(common::QUEUE_ENABLE) != 0 {
            return Err(InitError::Queue);
        }
        let index = registers.read_u16(common::QUEUE_NOTIFY_OFF);
        let offset = usize::from(index)
            .checked_mul(self.registers.notify_multiplier as usize)
            .filter(|offset| offset.is_multiple_of(2))
            .filter(|offset| offset.checked_add(2).is_some_and(|end| end <= self.registers.notify.len()))
            .ok_or(InitError::Queue)?;
        registers.write_u16(common::QUEUE_SIZE, layout.size);
        registers.write_u16(common::QUEUE_MSIX_VECTOR, vector);
        // A device that has no memory for the vector says so here (4.1.5.1.2).
        if vector != NO_VECTOR && registers.read_u16(common::QUEUE_MSIX_VECTOR) != vector {
            return Err(InitError::Vector);
        }
        self.write_u64(common::QUEUE_DESC, layout.descriptors);
        self.write_u64(common::QUEUE_DRIVER, layout.available);
        self.write_u64(common::QUEUE_DEVICE, layout.used);
        registers.write_u16(common::QUEUE_ENABLE, 1);
        Ok(Doorbell::new(self.registers.notify, offset, queue, DoorbellWidth::Bits16))
    }

    fn set_configuration_vector(&self, vector: u16) -> Result<(), InitError> {
        let registers = &self.registers.common;
        registers.write_u16(common::CONFIG_MSIX_VECTOR, vector);
        if vector != NO_VECTOR && registers.read_u16(common::CONFIG_MSIX_VECTOR) != vector {
            return Err(InitError::Vector);
        }
        Ok(())
    }

    fn interrupt_cause(&self) -> InterruptCause {
        // Reading acknowledges (4.1.4.5).
        InterruptCause::from_bits_truncate(self.registers.isr.read_u8(0).into())
    }

    fn configuration_generation(&self) -> u32 {
        self.registers.common.read_u8(common::CONFIG_GENERATION).into()
    }

    fn configuration_u8(&self, offset: usize) -> u8 {
        self.registers.device.map_or(0, |registers| registers.read_u8(offset))
    }

    fn configuration_u16(&self, offset: usize) -> u16 {
        self.registers.device.map_or(0, |registers| registers.read_u16(offset))
    }

    fn configuration_u32(&self, offset: usize) -> u32 {
        self.registers.device.map_or(0, |registers| registers.read_u32(offset))
    }
}
