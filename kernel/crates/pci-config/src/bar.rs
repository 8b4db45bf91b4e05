//! Base address registers (6.2.5.1).

use crate::{Command, ConfigSpace, Device, Function, command, register, set_command};

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Memory at a physical address; 0 if it is not assigned.
    Memory {
        /// Physical address.
        base: u64,
        /// Length in bytes, a power of two.
        len: u64,
        /// Whether the register is 64 bits wide, and so takes the place of two.
        width: BarWidth,
    },
    /// I/O ports.
    Io {
        /// First port.
        base: u32,
        /// Number of ports.
        len: u32,
    },
}

/// Width of a memory BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarWidth {
    /// Below 4 GiB.
    Bits32,
    /// Anywhere.
    Bits64,
}

const IO: u32 = 1 << 0;
const TYPE_MASK: u32 = 0b110;
const TYPE_64: u32 = 0b100;
const MEMORY_FLAGS: u32 = 0xf;
const IO_FLAGS: u32 = 0x3;

/// Reads and sizes the BARs of `device`. Decoding is off meanwhile, as sizing moves the window.
pub fn read_bars(space: &dyn ConfigSpace, device: &Device) -> [Option<Bar>; 6] {
    let function = device.function;
    let before = command(space, function);
    set_command(space, function, before - Command::IO_SPACE - Command::MEMORY_SPACE);
    let mut bars = [None; 6];
    let count = usize::from(device.bar_count).min(bars.len());
    let mut index = 0;
    while index < count {
        bars[index] = read_bar(space, function, index, count);
        index += match bars[index] {
            Some(Bar::Memory { width: BarWidth::Bits64, .. }) => 2,
            _ => 1,
        };
    }
    set_command(space, function, before);
    bars
}

fn offset(index: usize) -> u16 {
    register::BAR0 + 4 * index as u16
}

/// What sticks of all ones: the bits of the address that can vary, and so the size.
fn probe(space: &dyn ConfigSpace, function: Function, offset: u16) -> (u32, u32) {
    let value = space.read(function, offset);
    space.write(function, offset, u32::MAX);
    let mask = space.read(function, offset);
    space.write(function, offset, value);
    (value, mask)
}

fn read_bar(space: &dyn ConfigSpace, function: Function, index: usize, count: usize) -> Option<Bar> {
    let (value, mask) = probe(space, function, offset(index));
    if value & IO != 0 {
        // The upper half may be hard-wired to zero: only 64 Ki ports exist.
        let mask = (mask & !IO_FLAGS) | 0xffff_0000;
        let len = (!mask).wrapping_add(1);
        return (mask & 0xffff != 0).then_some(Bar::Io { base: value & !IO_FLAGS, len });
    }
    let base = u64::from(value & !MEMORY_FLAGS);
    let mask_low = u64::from(mask & !MEMORY_FLAGS);
    if value & TYPE_MASK == TYPE_64 {
        if index + 1 >= count {
            return None;
        }
        let (high, mask_high) = probe(space, function, offset(index + 1));
        let mask = u64::from(mask_high) << 32 | mask_low;
        let len = (!mask).wrapping_add(1);
        return (mask != 0 && len.is_power_of_two()).then_some(Bar::Memory {
            base: u64::from(high) << 32 | base,
            len,
            width: BarWidth::Bits64,
        });
    }
    let len = (!(mask_low | 0xffff_ffff_0000_0000)).wrapping_add(1);
    (mask_low != 0 && len.is_power_of_two()).then_some(Bar::Memory { base, len, width: BarWidth::Bits32 })
}

/// A stretch of physical address space from which memory BARs are assigned, below 4 GiB so that it
/// suits BARs of both widths.
#[derive(Clone, Debug)]
pub struct MemoryWindow {
    next: u64,
    end: u64,
}

impl MemoryWindow {
    /// A window from `start` up to `end`, exclusive.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { next: start, end }
    }

    /// Takes `len` bytes, a power of two, aligned to their length as BARs are.
    pub fn take(&mut self, len: u64) -> Option<u64> {
        let base = self.next.checked_next_multiple_of(len)?;
        let end = base.checked_add(len)?;
        (end <= self.end).then(|| {
            self.next = end;
            base
        })
    }
}

/// Gives each memory BAR that has no address one from `window`. Returns how many were assigned, or
/// `None` if the window was too small. I/O BARs are left alone: nothing here uses them.
pub fn assign_bars(
    space: &dyn ConfigSpace,
    function: Function,
    bars: &mut [Option<Bar>; 6],
    window: &mut MemoryWindow,
) -> Option<usize> {
    let before = command(space, function);
    let mut assigned = 0;
    for (index, bar) in bars.iter_mut().enumerate() {
        if let Some(Bar::Memory { base: base @ 0, len, width }) = bar {
            *base = window.take(*len)?;
            if assigned == 0 {
                set_command(space, function, before - Command::IO_SPACE - Command::MEMORY_SPACE);
            }
            space.write(function, offset(index), *base as u32);
            if *width == BarWidth::Bits64 {
                space.write(function, offset(index + 1), (*base >> 32) as u32);
            }
            assigned += 1;
        }
    }
    if assigned > 0 {
        set_command(space, function, before);
    }
    Some(assigned)
}
