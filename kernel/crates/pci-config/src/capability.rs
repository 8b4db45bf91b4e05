//! The list of capabilities (6.7), and virtio's among them.

use crate::{Bar, ConfigSpace, Function, register};

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is (PCI Code and ID Assignment Specification).
    pub id: u8,
    /// Where in configuration space it begins.
    pub offset: u16,
}

/// MSI-X.
pub const ID_MSIX: u8 = 0x11;
const ID_VENDOR: u8 = 0x09;

const HEADER_END: u8 = 0x40;
/// As many entries as fit between the header and the end of the conventional space.
const MAX_CAPABILITIES: usize = (256 - HEADER_END as usize) / 4;
const STATUS_CAPABILITIES_LIST: u32 = 1 << 20;

/// The capabilities of `function`. A list that loops ends.
pub fn capabilities(space: &dyn ConfigSpace, function: Function) -> impl Iterator<Item = Capability> {
    let has_list = space.read(function, register::COMMAND) & STATUS_CAPABILITIES_LIST != 0;
    let mut next = if has_list { space.read(function, register::CAPABILITIES) as u8 } else { 0 } & !3;
    core::iter::from_fn(move || {
        if next < HEADER_END {
            return None;
        }
        let offset = u16::from(next);
        let header = space.read(function, offset);
        next = (header >> 8) as u8 & !3;
        Some(Capability { id: header as u8, offset })
    })
    .take(MAX_CAPABILITIES)
}

/// A part of a memory BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRegion {
    /// Physical address.
    pub base: u64,
    /// Length in bytes.
    pub len: u32,
}

/// Where a virtio device has its registers (virtio 1.1, 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioCapabilities {
    /// Common configuration.
    pub common: BarRegion,
    /// Notifications, and the multiplier of a queue's offset in them.
    pub notify: (BarRegion, u32),
    /// The interrupt status, for INTx.
    pub isr: BarRegion,
    /// The device's own configuration, if it has any.
    pub device: Option<BarRegion>,
}

/// Finds the registers of a modern virtio device, or `None` if one of the kinds that must be there
/// is not, or lies outside its BAR.
pub fn virtio_capabilities(
    space: &dyn ConfigSpace,
    function: Function,
    bars: &[Option<Bar>; 6],
) -> Option<VirtioCapabilities> {
    const COMMON: u8 = 1;
    const NOTIFY: u8 = 2;
    const ISR: u8 = 3;
    const DEVICE: u8 = 4;
    const CAPABILITY_LEN: u8 = 16;
    const NOTIFY_CAPABILITY_LEN: u8 = 20;

    let (mut common, mut notify, mut isr, mut device) = (None, None, None, None);
    for capability in capabilities(space, function).filter(|capability| capability.id == ID_VENDOR) {
        let read = |at: u16| space.read(function, capability.offset + at);
        if usize::from(capability.offset) + usize::from(NOTIFY_CAPABILITY_LEN) > 256 {
            continue;
        }
        let [_, _, len, kind] = read(0).to_le_bytes();
        if len < CAPABILITY_LEN {
            continue;
        }
        let region = region(bars, read(4) as u8, read(8), read(12));
        // The first of each kind that we can use is the one to use (4.1.4.1).
        match kind {
            COMMON if common.is_none() => common = region,
            NOTIFY if notify.is_none() && len >= NOTIFY_CAPABILITY_LEN => {
                notify = region.map(|region| (region, read(16)));
            }
            ISR if isr.is_none() => isr = region,
            DEVICE if device.is_none() => device = region,
            _ => {}
        }
    }
    Some(VirtioCapabilities { common: common?, notify: notify?, isr: isr?, device })
}

/// The part `offset..offset + len` of BAR number `bar`, if it lies within that BAR.
pub(crate) fn region(bars: &[Option<Bar>; 6], bar: u8, offset: u32, len: u32) -> Option<BarRegion> {
    let Bar::Memory { base, len: bar_len, .. } = (*bars.get(usize::from(bar))?)? else { return None };
    let end = u64::from(offset) + u64::from(len);
    (base != 0 && len != 0 && end <= bar_len).then_some(BarRegion { base: base + u64::from(offset), len })
}
