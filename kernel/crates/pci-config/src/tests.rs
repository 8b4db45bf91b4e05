//! Against a model of configuration space with writable bits, as devices have them.

use std::{cell::RefCell, collections::BTreeMap};

use crate::{capability::ID_MSIX, *};

/// Registers of one function: value and writable bits.
#[derive(Clone, Default)]
struct Registers(BTreeMap<u16, (u32, u32)>);

#[derive(Default)]
struct Space(RefCell<BTreeMap<Function, Registers>>);

impl ConfigSpace for Space {
    fn read(&self, function: Function, offset: u16) -> u32 {
        assert_eq!(offset % 4, 0);
        match self.0.borrow().get(&function) {
            Some(registers) => registers.0.get(&offset).map_or(0, |register| register.0),
            None => u32::MAX,
        }
    }

    fn write(&self, function: Function, offset: u16, value: u32) {
        if let Some(registers) = self.0.borrow_mut().get_mut(&function)
            && let Some((old, writable)) = registers.0.get_mut(&offset)
        {
            *old = *old & !*writable | value & *writable;
        }
    }
}

const fn at(bus: u8, device: u8, function: u8) -> Function {
    Function { bus, device, function }
}

impl Space {
    fn with(self, function: Function, registers: &[(u16, u32, u32)]) -> Self {
        let map = registers.iter().map(|(offset, value, writable)| (*offset, (*value, *writable))).collect();
        self.0.borrow_mut().insert(function, Registers(map));
        self
    }

    fn set(&self, function: Function, offset: u16, value: u32) {
        self.0.borrow_mut().get_mut(&function).unwrap().0.insert(offset, (value, 0));
    }
}

const BLOCK: Function = at(0, 2, 0);

/// A virtio-blk-pci as QEMU makes it: an I/O BAR, MSI-X in BAR 1, registers in the 64-bit BAR 4.
fn virtio_block() -> Space {
    let vendor = |next: u32, kind: u32, len: u32| 0x09 | next << 8 | len << 16 | kind << 24;
    Space::default().with(
        BLOCK,
        &[
            (0x00, 0x1042_1af4, 0),
            (0x04, 0x0010_0000, 0x0407),
            (0x08, 0x0100_0001, 0),
            (0x10, 0x0000_6001, 0xffff_ff80),
            (0x14, 0xfebf_0000, 0xffff_f000),
            (0x20, 0x0000_400c, 0xffff_c000),
            (0x24, 0x0000_0080, 0xffff_ffff),
            (0x2c, 0x1100_1af4, 0),
            (0x34, 0x98, 0),
            (0x3c, 0x0100, 0xff),
            (0x98, 0x8001_8411, 0xc000_0000), // MSI-X, 2 vectors, enabled
            (0x9c, 0x0000_0001, 0),
            (0xa0, 0x0000_0801, 0),
            (0x84, vendor(0x70, 5, 20), 0),
            (0x70, vendor(0x60, 2, 20), 0),
            (0x74, 4, 0),
            (0x78, 0x3000, 0),
            (0x7c, 0x1000, 0),
            (0x80, 4, 0),
            (0x60, vendor(0x50, 4, 16), 0),
            (0x64, 4, 0),
            (0x68, 0x2000, 0),
            (0x6c, 0x1000, 0),
            (0x50, vendor(0x40, 3, 16), 0),
            (0x54, 4, 0),
            (0x58, 0x1000, 0),
            (0x5c, 0x1000, 0),
            (0x40, vendor(0, 1, 16), 0),
            (0x44, 4, 0),
            (0x48, 0, 0),
            (0x4c, 0x1000, 0),
        ],
    )
}

fn only_device(space: &Space) -> Device {
    let devices = enumerate(space, 0);
    assert_eq!(devices.len(), 1);
    devices[0]
}

#[test]
fn enumerates_functions_and_buses_behind_bridges_once() {
    let plain = |id: u32| [(0x00, id, 0), (0x0c, 0, 0)];
    let bridge = |id: u32, secondary: u32| [(0x00, id, 0), (0x0c, 0x0001_0000, 0), (0x18, secondary << 8, 0)];
    let space = Space::default()
        .with(at(0, 0, 0), &plain(0x1111_8086))
        .with(at(0, 0, 1), &plain(0x2222_8086)) // not multi-function: not looked at
        .with(at(0, 31, 0), &[(0x00, 0x3333_8086, 0), (0x0c, 0x0080_0000, 0)])
        .with(at(0, 31, 3), &plain(0x4444_8086))
        .with(at(0, 4, 0), &bridge(0x5555_8086, 1))
        .with(at(1, 0, 0), &bridge(0x6666_8086, 0)) // points back
        .with(at(1, 1, 0), &bridge(0x7777_8086, 1)); // points to itself
    let found: Vec<_> = enumerate(&space, 0).iter().map(|device| device.device).collect();
    assert_eq!(found, [0x1111, 0x5555, 0x3333, 0x4444, 0x6666, 0x7777]);
}

#[test]
fn sizes_bars_and_leaves_them_as_they_were() {
    let space = virtio_block();
    let device = only_device(&space);
    assert_eq!((device.vendor, device.device, device.class), (0x1af4, 0x1042, 0x01_0000));
    assert_eq!((device.interrupt_pin, device.subsystem), (1, (0x1af4, 0x1100)));
    let bars = read_bars(&space, &device);
    assert_eq!(bars[0], Some(Bar::Io { base: 0x6000, len: 0x80 }));
    assert_eq!(bars[1], Some(Bar::Memory { base: 0xfebf_0000, len: 0x1000, width: BarWidth::Bits32 }));
    assert_eq!(bars[4], Some(Bar::Memory { base: 0x80_0000_4000, len: 0x4000, width: BarWidth::Bits64 }));
    assert_eq!([bars[2], bars[3], bars[5]], [None; 3]);
    assert_eq!(space.read(BLOCK, 0x24), 0x80);
    assert_eq!(space.read(BLOCK, 0x14), 0xfebf_0000);
}

#[test]
fn assigns_only_what_has_no_address() {
    let space = virtio_block();
    space.0.borrow_mut().get_mut(&BLOCK).unwrap().0.insert(0x20, (0xc, 0xffff_c000));
    space.0.borrow_mut().get_mut(&BLOCK).unwrap().0.insert(0x24, (0, 0xffff_ffff));
    let device = only_device(&space);
    let mut bars = read_bars(&space, &device);
    let mut window = MemoryWindow::new(0xc000_1000, 0xc001_0000);
    assert_eq!(assign_bars(&space, BLOCK, &mut bars, &mut window), Some(1));
    assert_eq!(bars, read_bars(&space, &device));
    assert_eq!(bars[4], Some(Bar::Memory { base: 0xc000_4000, len: 0x4000, width: BarWidth::Bits64 }));
    assert_eq!(window.take(0x1_0000), None);
    assert_eq!(MemoryWindow::new(1, u64::MAX).take(1 << 63), None);
}

#[test]
fn finds_virtio_registers_and_msix() {
    let space = virtio_block();
    let bars = read_bars(&space, &only_device(&space));
    let base = 0x80_0000_4000;
    assert_eq!(
        virtio_capabilities(&space, BLOCK, &bars),
        Some(VirtioCapabilities {
            common: BarRegion { base, len: 0x1000 },
            notify: (BarRegion { base: base + 0x3000, len: 0x1000 }, 4),
            isr: BarRegion { base: base + 0x1000, len: 0x1000 },
            device: Some(BarRegion { base: base + 0x2000, len: 0x1000 }),
        })
    );
    let msix = msix_capability(&space, BLOCK, &bars).unwrap();
    assert_eq!(
        msix,
        MsixCapability { offset: 0x98, vectors: 2, table: BarRegion { base: 0xfebf_0000, len: 32 } }
    );
    set_msix_enable(&space, BLOCK, &msix, MsixEnable::Masked);
    assert_eq!(space.read(BLOCK, 0x98), 0xc001_8411);
    set_msix_enable(&space, BLOCK, &msix, MsixEnable::Off);
    assert_eq!(space.read(BLOCK, 0x98), 0x0001_8411);
}

#[test]
fn refuses_regions_outside_their_bar() {
    for (register, value) in
        [(0x48, 0x4000), (0x4c, 0xffff_ffff), (0x44, 0), (0x44, 2), (0x44, 5), (0x44, 9), (0x4c, 0)]
    {
        let space = virtio_block();
        let bars = read_bars(&space, &only_device(&space));
        space.set(BLOCK, register, value);
        assert_eq!(virtio_capabilities(&space, BLOCK, &bars), None, "{register:#x} = {value:#x}");
    }
    let space = virtio_block();
    let bars = read_bars(&space, &only_device(&space));
    space.set(BLOCK, 0x9c, 0xff1);
    assert_eq!(msix_capability(&space, BLOCK, &bars), None);
}

#[test]
fn a_capability_list_that_loops_ends() {
    let space = virtio_block();
    space.set(BLOCK, 0x40, 0x4009);
    assert!(capabilities(&space, BLOCK).count() <= 48);
    assert!(capabilities(&space, BLOCK).any(|capability| capability.id == ID_MSIX));
    // At the very end of the space nothing beyond it is read.
    space.set(BLOCK, 0x34, 0xfc);
    space.set(BLOCK, 0xfc, u32::from(ID_MSIX));
    let bars = [None; 6];
    assert_eq!(msix_capability(&space, BLOCK, &bars), None);
    assert_eq!(virtio_capabilities(&space, BLOCK, &bars), None);
}

#[test]
fn messages_name_a_cpu_and_a_vector() {
    let message = Message::fixed(3, 0x41).unwrap();
    assert_eq!(MsixEntry::new(message), MsixEntry([0xfee0_3000, 0, 0x41, 0]));
    assert_eq!(Message::fixed(256, 0x41), None);
}
