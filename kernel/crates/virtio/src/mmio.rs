//! virtio over MMIO, version 2 (4.2).

use crate::{
    DeviceKind, Doorbell, InitError, InterruptCause, QueueLayout, RegisterBlock, Status, Transport,
    registers::DoorbellWidth,
};

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;

/// Offsets (4.2.2).
mod register {
    pub const MAGIC: usize = 0x000;
    pub const VERSION: usize = 0x004;
    pub const DEVICE_ID: usize = 0x008;
    pub const DEVICE_FEATURES: usize = 0x010;
    pub const DEVICE_FEATURES_SELECT: usize = 0x014;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SELECT: usize = 0x024;
    pub const QUEUE_SELECT: usize = 0x030;
    pub const QUEUE_SIZE_MAX: usize = 0x034;
    pub const QUEUE_SIZE: usize = 0x038;
    pub const QUEUE_READY: usize = 0x044;
    pub const QUEUE_NOTIFY: usize = 0x050;
    pub const INTERRUPT_STATUS: usize = 0x060;
    pub const INTERRUPT_ACKNOWLEDGE: usize = 0x064;
    pub const STATUS: usize = 0x070;
    pub const QUEUE_DESC: usize = 0x080;
    pub const QUEUE_DRIVER: usize = 0x090;
    pub const QUEUE_DEVICE: usize = 0x0a0;
    pub const CONFIG_GENERATION: usize = 0x0fc;
    pub const CONFIG: usize = 0x100;
}

/// A device behind memory-mapped registers.
#[derive(Debug)]
pub struct MmioTransport {
    kind: DeviceKind,
    registers: RegisterBlock,
}

impl MmioTransport {
    /// The device behind `registers`: `Ok(None)` if the slot is empty, an error if the device is
    /// not one of version 2.
    pub fn new(registers: RegisterBlock) -> Result<Option<Self>, InitError> {
        if registers.read_u32(register::MAGIC) != MAGIC {
            return Err(InitError::Configuration);
        }
        let id = registers.read_u32(register::DEVICE_ID);
        // An empty slot has ID 0, in whatever version it speaks (4.2.2).
        if id == 0 {
            return Ok(None);
        }
        if registers.read_u32(register::VERSION) != VERSION {
            return Err(InitError::Legacy);
        }
        Ok(Some(Self { kind: id.into(), registers }))
    }

    fn write_u64(&self, offset: usize, value: u64) {
        self.registers.write_u32(offset, value as u32);
        self.registers.write_u32(offset + 4, (value >> 32) as u32);
    }
}

impl Transport for MmioTransport {
    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.registers.read_u32(register::STATUS) as u8)
    }

    fn set_status(&self, status: Status) {
        self.registers.write_u32(register::STATUS, status.bits().into());
    }

    fn device_features(&self) -> u64 {
        let half = |select: u32| {
            self.registers.write_u32(register::DEVICE_FEATURES_SELECT, select);
            u64::from(self.registers.read_u32(register::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.registers.write_u32(register::DRIVER_FEATURES_SELECT, select);
            self.registers.write_u32(register::DRIVER_FEATURES, half);
        }
    }

    fn max_queue_size(&self, queue: u16) -> u16 {
        self.registers.write_u32(register::QUEUE_SELECT, queue.into());
        self.registers.read_u32(register::QUEUE_SIZE_MAX).min(1 << 15) as u16
    }

    fn enable_queue(&self, queue: u16, layout: &QueueLayout, _vector: u16) -> Result<Doorbell, InitError> {
        self.registers.write_u32(register::QUEUE_SELECT, queue.into());
        if self.registers.read_u32(register::QUEUE_READY) != 0 {
            return Err(InitError::Queue);
        }
        self.registers.write_u32(register::QUEUE_SIZE, layout.size.into());
        self.write_u64(register::QUEUE_DESC, layout.descriptors);
        self.write_u64(register::QUEUE_DRIVER, layout.available);
        self.write_u64(register::QUEUE_DEVICE, layout.used);
        self.registers.write_u32(register::QUEUE_READY, 1);
        Ok(Doorbell::new(self.registers, register::QUEUE_NOTIFY, queue, DoorbellWidth::Bits32))
    }

    fn set_configuration_vector(&self, _vector: u16) -> Result<(), InitError> {
        Ok(())
    }

    fn interrupt_cause(&self) -> InterruptCause {
        let cause = self.registers.read_u32(register::INTERRUPT_STATUS);
        self.registers.write_u32(register::INTERRUPT_ACKNOWLEDGE, cause);
        InterruptCause::from_bits_truncate(cause)
    }

    fn configuration_generation(&self) -> u32 {
        self.registers.read_u32(register::CONFIG_GENERATION)
    }

    fn configuration_u8(&self, offset: usize) -> u8 {
        self.registers.read_u8(register::CONFIG + offset)
    }

    fn configuration_u16(&self, offset: usize) -> u16 {
        self.registers.read_u16(register::CONFIG + offset)
    }

    fn configuration_u32(&self, offset: usize) -> u32 {
        self.registers.read_u32(register::CONFIG + offset)
    }
}

/// A device that the kernel command line names, `virtio_mmio.device=SIZE@ADDRESS:IRQ[:ID]` (Linux,
/// `Documentation/admin-guide/kernel-parameters.txt`): length and address of its registers, and its
/// interrupt. `None` if `word` is no such parameter, or a wrong one.
pub fn parse_command_line_device(word: &str) -> Option<(u64, u64, u32)> {
    let (size, place) = word.strip_prefix("virtio_mmio.device=")?.split_once('@')?;
    let mut place = place.split(':');
    let address = parse_number(place.next()?)?;
    let irq = u32::try_from(parse_number(place.next()?)?).ok()?;
    // A size may carry a suffix (memparse).
    let (digits, shift) = match size.as_bytes().last()? {
        b'k' | b'K' => (&size[..size.len() - 1], 10),
        b'm' | b'M' => (&size[..size.len() - 1], 20),
        _ => (size, 0),
    };
    let size = parse_number(digits)?;
    let size = size.checked_mul(1 << shift).filter(|size| *size > 0)?;
    Some((size, address, irq))
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_command_line_devices() {
        let parse = parse_command_line_device;
        assert_eq!(parse("virtio_mmio.device=512@0xfeb02e00:12"), Some((512, 0xfeb0_2e00, 12)));
        assert_eq!(parse("virtio_mmio.device=4K@0xd0000000:5:0"), Some((4096, 0xd000_0000, 5)));
        for wrong in [
            "virtio_mmio.device=",
            "virtio_mmio.device=512",
            "virtio_mmio.device=512@0xfeb02e00",
            "virtio_mmio.device=0@0xfeb02e00:1",
            "virtio_mmio.device=K@0xfeb02e00:1",
            "virtio_mmio.device=512@feb02e00:1",
            "virtio_mmio.device=99999999999999999999M@0x1:1",
            "virtio_mmio.device=18446744073709551615M@0x1:1",
            "quiet",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
