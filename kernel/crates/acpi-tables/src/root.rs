//! The root pointer, the root table, and the header that every table has (ACPI 6.5, 5.2.5-5.2.8).

use alloc::vec::Vec;
use core::fmt;

use crate::{PhysMemory, bytes};

/// Length of the header that every table begins with.
pub const HEADER_LEN: usize = 36;

/// No table that a hypervisor makes comes near; a length beyond it is damage.
const MAX_TABLE_LEN: usize = 4 << 20;

const RSDP_SIGNATURE: &[u8; 8] = b"RSD PTR ";
const RSDP_V1_LEN: usize = 20;
const RSDP_V2_LEN: usize = 36;

/// Where firmware leaves the root pointer on a PC: the BIOS read-only memory space, and the first
/// KiB of the extended BIOS data area (5.2.5.1).
const BIOS_AREA: core::ops::Range<u64> = 0xe_0000..0x10_0000;
const EBDA_SEGMENT_AT: u64 = 0x40e;
const EBDA_SEARCH_LEN: u64 = 1024;

/// Why there is no platform description at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No root pointer with a right checksum.
    NoRootPointer,
    /// The root pointer leads to no table with a right checksum.
    NoRootTable,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRootPointer => "no ACPI root pointer",
            Self::NoRootTable => "no ACPI root table",
        })
    }
}

impl core::error::Error for Error {}

/// The root table's place.
#[derive(Debug)]
pub struct Root {
    rsdt: u64,
    xsdt: Option<u64>,
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// Finds the root pointer.
pub fn find(memory: &dyn PhysMemory, rsdp: Option<u64>) -> Result<Root, Error> {
    if let Some(root) = rsdp.and_then(|address| root_at(memory, address)) {
        return Ok(root);
    }
    let ebda = memory
        .bytes(EBDA_SEGMENT_AT, 2)
        .and_then(|segment| bytes::u16_at(segment, 0))
        .map_or(0, |segment| u64::from(segment) << 4);
    let ebda = if ebda == 0 { 0..0 } else { ebda..ebda + EBDA_SEARCH_LEN };
    ebda.step_by(16)
        .chain(BIOS_AREA.step_by(16))
        .find_map(|address| root_at(memory, address))
        .ok_or(Error::NoRootPointer)
}

fn root_at(memory: &dyn PhysMemory, address: u64) -> Option<Root> {
    let rsdp = memory.bytes(address, RSDP_V1_LEN)?;
    if !rsdp.starts_with(RSDP_SIGNATURE) || !sums_to_zero(rsdp) {
        return None;
    }
    let rsdt = u64::from(bytes::u32_at(rsdp, 16)?);
    let revision = bytes::u8_at(rsdp, 15)?;
    let xsdt = (revision >= 2)
        .then(|| memory.bytes(address, RSDP_V2_LEN))
        .flatten()
        .filter(|rsdp| sums_to_zero(rsdp))
        .and_then(|rsdp| bytes::u64_at(rsdp, 24))
        .filter(|address| *address != 0);
    Some(Root { rsdt, xsdt })
}

/// The addresses of the tables that the root table lists.
pub fn tables(memory: &dyn PhysMemory, root: &Root) -> Result<Vec<u64>, Error> {
    let entries = |table: &[u8], width: usize| {
        table[HEADER_LEN..]
            .chunks_exact(width)
            .map(|entry| entry.iter().rev().fold(0, |address, byte| address << 8 | u64::from(*byte)))
            .filter(|address| *address != 0)
            .collect()
    };
    if let Some(address) = root.xsdt
        && let Ok((signature, table)) = table(memory, address)
        && signature == *b"XSDT"
    {
        return Ok(entries(table, 8));
    }
    match table(memory, root.rsdt) {
        Ok((signature, table)) if signature == *b"RSDT" => Ok(entries(table, 4)),
        _ => Err(Error::NoRootTable),
    }
}

/// The table at `address`, or its signature if it is damaged.
pub fn table(memory: &dyn PhysMemory, address: u64) -> Result<([u8; 4], &[u8]), [u8; 4]> {
    let header = memory.bytes(address, HEADER_LEN).ok_or(*b"????")?;
    let signature = bytes::array_at(header, 0).ok_or(*b"????")?;
    let len = bytes::u32_at(header, 4).map_or(0, |len| len as usize);
    if !(HEADER_LEN..=MAX_TABLE_LEN).contains(&len) {
        return Err(signature);
    }
    let table = memory.bytes(address, len).ok_or(signature)?;
    if sums_to_zero(table) { Ok((signature, table)) } else { Err(signature) }
}
