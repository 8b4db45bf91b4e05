//! Two facts of the DSDT, by a bounded scan for how they are encoded (ACPI 6.5, chapter 20).
//!
//! A scan can be misled by code that happens to contain the same bytes; it then yields a device
//! that answers with the wrong magic value, or a sleep type that does nothing, and both are
//! survivable. It cannot loop or read outside the table.

use alloc::vec::Vec;

use crate::{Polarity, Trigger, bytes};

/// The values of SLP_TYPa and SLP_TYPb that switch the machine off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftOff {
    /// For PM1a, or for the sleep control register.
    pub type_a: u8,
    /// For PM1b.
    pub type_b: u8,
}

/// A virtio-mmio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Physical address of its registers.
    pub base: u64,
    /// Length of its registers in bytes.
    pub len: u64,
    /// Its global system interrupt.
    pub gsi: u32,
    /// When that interrupt is requested.
    pub trigger: Trigger,
    /// Which level means a request.
    pub polarity: Polarity,
}

const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const NAME_OP: u8 = 0x08;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;
const STRING_PREFIX: u8 = 0x0d;
const BUFFER_OP: u8 = 0x11;
const PACKAGE_OP: u8 = 0x12;
const DEVICE_OP: [u8; 2] = [0x5b, 0x82];
const ROOT_CHAR: u8 = b'\\';

/// A cursor over AML.
#[derive(Clone, Copy)]
struct Aml<'a>(&'a [u8]);

impl<'a> Aml<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn tag(&mut self, tag: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(tag)?;
        Some(())
    }

    /// A PkgLength (20.2.4) and, of what follows, the bytes that it covers.
    fn package(&mut self) -> Option<Aml<'a>> {
        let start = self.0.len();
        let lead = self.byte()?;
        let follow = usize::from(lead >> 6);
        let mut len = usize::from(if follow == 0 { lead & 0x3f } else { lead & 0x0f });
        for index in 0..follow {
            len |= usize::from(self.byte()?) << (4 + 8 * index);
        }
        // The length counts its own bytes.
        let len = len.checked_sub(start - self.0.len())?;
        let (body, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Aml(body))
    }

    /// An integer constant (20.2.3).
    fn integer(&mut self) -> Option<u32> {
        match self.byte()? {
            ZERO_OP => Some(0),
            ONE_OP => Some(1),
            BYTE_PREFIX => self.byte().map(u32::from),
            WORD_PREFIX => Some(u32::from(self.byte()?) | u32::from(self.byte()?) << 8),
            DWORD_PREFIX => {
                let value = bytes::u32_at(self.0, 0)?;
                self.0 = &self.0[4..];
                Some(value)
            }
            _ => None,
        }
    }

    /// What follows each place where these bytes have `tag`.
    fn after_each(self, tag: &'static [u8]) -> impl Iterator<Item = Aml<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            loop {
                // First a search for one byte: tables are long, and read at every boot.
                let at = rest.iter().position(|byte| Some(byte) == tag.first())?;
                let here = &rest[at..];
                rest = &here[1..];
                if let Some(after) = here.strip_prefix(tag) {
                    return Some(Aml(after));
                }
            }
        })
    }

    /// What follows each `Name(name, ...)` in these bytes.
    fn names(self, name: &'static [u8; 4]) -> impl Iterator<Item = Aml<'a>> {
        self.after_each(&[NAME_OP]).filter_map(move |mut here| {
            if here.0.first() == Some(&ROOT_CHAR) {
                here.byte();
            }
            here.tag(name)?;
            Some(here)
        })
    }
}

/// Finds `Name(\_S5_, Package { SLP_TYPa, SLP_TYPb, ... })` (7.4.2).
pub fn find_soft_off(code: &[u8]) -> Option<SoftOff> {
    Aml(code).names(b"_S5_").find_map(|mut name| {
        name.tag(&[PACKAGE_OP])?;
        let mut package = name.package()?;
        let elements = package.byte()?;
        let type_a = package.integer()?;
        let type_b = if elements >= 2 { package.integer()? } else { 0 };
        // The field in the register has three bits.
        (type_a <= 7 && type_b <= 7).then_some(SoftOff { type_a: type_a as u8, type_b: type_b as u8 })
    })
}

/// Finds each `Device` with the `_HID` of virtio-mmio and a `_CRS` that names its registers and
/// interrupt.
pub fn find_virtio_mmio(code: &[u8], found: &mut Vec<VirtioMmio>) {
    let devices = Aml(code).after_each(&DEVICE_OP).filter_map(|mut here| {
        let body = here.package()?;
        // The names of a device stand before its children; a parent must not answer for a child.
        let child = body.after_each(&DEVICE_OP).next();
        let own = child.map_or(body.0.len(), |child| body.0.len() - child.0.len() - DEVICE_OP.len());
        virtio_device(Aml(&body.0[..own]))
    });
    found.extend(devices);
}

fn virtio_device(body: Aml<'_>) -> Option<VirtioMmio> {
    body.names(b"_HID")
        .any(|mut name| name.tag(&[STRING_PREFIX]).and_then(|()| name.tag(b"LNRO0005\0")).is_some())
        .then_some(())?;
    body.names(b"_CRS").find_map(|mut name| {
        name.tag(&[BUFFER_OP])?;
        let mut buffer = name.package()?;
        buffer.integer()?;
        resources(buffer.0)
    })
}

/// Resource descriptors (6.4): one stretch of memory and one interrupt are wanted.
fn resources(mut list: &[u8]) -> Option<VirtioMmio> {
    const LARGE: u8 = 0x80;
    const MEMORY32_FIXED: u8 = 0x86;
    const EXTENDED_INTERRUPT: u8 = 0x89;
    const SMALL_END_TAG: u8 = 0x0f;

    let mut memory = None;
    let mut interrupt = None;
    while let [tag, ..] = *list {
        let (header, len) = if tag & LARGE != 0 {
            (3, usize::from(bytes::u16_at(list, 1)?))
        } else {
            (1, usize::from(tag & 0x07))
        };
        let body = list.get(header..header + len)?;
        list = &list[header + len..];
        match tag {
            MEMORY32_FIXED => {
                memory = Some((bytes::u32_at(body, 1)?, bytes::u32_at(body, 5)?));
            }
            EXTENDED_INTERRUPT => {
                let flags = bytes::u8_at(body, 0)?;
                let trigger = if flags & 1 << 1 != 0 { Trigger::Edge } else { Trigger::Level };
                let polarity = if flags & 1 << 2 != 0 { Polarity::ActiveLow } else { Polarity::ActiveHigh };
                interrupt = Some((bytes::u32_at(body, 2)?, trigger, polarity));
            }
            tag if tag & LARGE == 0 && tag >> 3 == SMALL_END_TAG => break,
            _ => {}
        }
    }
    let (base, len) = memory?;
    let (gsi, trigger, polarity) = interrupt?;
    Some(VirtioMmio { base: base.into(), len: len.into(), gsi, trigger, polarity })
}
