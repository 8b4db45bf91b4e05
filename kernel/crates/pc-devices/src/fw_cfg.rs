//! QEMU's firmware configuration device: named blobs from the host (QEMU `docs/specs/fw_cfg.rst`).

use alloc::vec::Vec;
use core::fmt;

/// Access to the device's items, by DMA or byte by byte.
pub trait Items {
    /// Selects an item and reads its first `bytes.len()` bytes; beyond its end there are zeros.
    fn read(&self, key: u16, bytes: &mut [u8]);
}

const KEY_SIGNATURE: u16 = 0x0000;
const KEY_ID: u16 = 0x0001;
const KEY_DIRECTORY: u16 = 0x0019;

const SIGNATURE: &[u8; 4] = b"QEMU";
const ID_DMA: u32 = 1 << 1;

const ENTRY_LEN: usize = 64;
const NAME_AT: usize = 8;
/// QEMU has room for a few hundred; a count beyond is no directory.
const MAX_ENTRIES: u32 = 4096;

/// Why an item cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The directory makes no sense.
    Directory,
    /// The item is larger than the caller allows.
    TooLarge {
        /// Its length in bytes.
        len: u32,
    },
    /// There is no memory for it.
    OutOfMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("fw_cfg has no sensible directory"),
            Self::TooLarge { len } => write!(f, "the fw_cfg item is too large ({len} bytes)"),
            Self::OutOfMemory => f.write_str("no memory for the fw_cfg item"),
        }
    }
}

impl core::error::Error for Error {}

/// Whether the device is there.
pub fn is_present(items: &dyn Items) -> bool {
    let mut signature = [0; 4];
    items.read(KEY_SIGNATURE, &mut signature);
    signature == *SIGNATURE
}

/// Whether the device, which is there, can do DMA.
pub fn has_dma(items: &dyn Items) -> bool {
    let mut id = [0; 4];
    items.read(KEY_ID, &mut id);
    u32::from_le_bytes(id) & ID_DMA != 0
}

fn zeros(len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// The item called `name`, if there is one, of at most `max_len` bytes.
pub fn read_file(items: &dyn Items, name: &str, max_len: u32) -> Result<Option<Vec<u8>>, Error> {
    let mut count = [0; 4];
    items.read(KEY_DIRECTORY, &mut count);
    let count = u32::from_be_bytes(count);
    if count > MAX_ENTRIES {
        return Err(Error::Directory);
    }
    let mut directory = zeros(4 + ENTRY_LEN * count as usize)?;
    items.read(KEY_DIRECTORY, &mut directory);
    let found = directory[4..].chunks_exact(ENTRY_LEN).find_map(|entry| {
        let entry_name = entry[NAME_AT..].split(|byte| *byte == 0).next()?;
        let (len, rest) = entry.split_first_chunk()?;
        let key = rest.first_chunk()?;
        (entry_name == name.as_bytes()).then_some((u32::from_be_bytes(*len), u16::from_be_bytes(*key)))
    });
    let Some((len, key)) = found else { return Ok(None) };
    if len > max_len {
        return Err(Error::TooLarge { len });
    }
    let mut bytes = zeros(len as usize)?;
    items.read(key, &mut bytes);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Device(BTreeMap<u16, Vec<u8>>);

    impl Items for Device {
        fn read(&self, key: u16, bytes: &mut [u8]) {
            let item = self.0.get(&key).map_or(&[][..], Vec::as_slice);
            bytes.fill(0);
            let len = item.len().min(bytes.len());
            bytes[..len].copy_from_slice(&item[..len]);
        }
    }

    fn device(files: &[(&str, &[u8])]) -> Device {
        let mut device = Device::default();
        device.0.insert(0, b"QEMU".to_vec());
        device.0.insert(1, 3u32.to_le_bytes().to_vec());
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (index, (name, content)) in files.iter().enumerate() {
            let key = 0x20 + index as u16;
            directory.extend((content.len() as u32).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut padded = name.as_bytes().to_vec();
            padded.resize(56, 0);
            directory.extend(padded);
            device.0.insert(key, content.to_vec());
        }
        device.0.insert(KEY_DIRECTORY, directory);
        device
    }

    #[test]
    fn finds_files_by_their_whole_name() {
        let device = device(&[
            ("etc/acpi/tables", b"t"),
            ("opt/org.crema/run2", b"no"),
            ("opt/org.crema/run", b"yes"),
        ]);
        assert!(is_present(&device) && has_dma(&device));
        assert_eq!(read_file(&device, "opt/org.crema/run", 100), Ok(Some(b"yes".to_vec())));
        assert_eq!(read_file(&device, "opt/org.crema", 100), Ok(None));
        assert_eq!(read_file(&device, "opt/org.crema/run", 2), Err(Error::TooLarge { len: 3 }));
    }

    #[test]
    fn an_absent_or_mad_device_is_survived() {
        let mut device = Device::default();
        assert!(!is_present(&device) && !has_dma(&device));
        assert_eq!(read_file(&device, "x", 100), Ok(None));
        device.0.insert(KEY_DIRECTORY, vec![0xff; 100]);
        assert_eq!(read_file(&device, "x", 100), Err(Error::Directory));
        // A directory shorter than it says.
        device.0.insert(KEY_DIRECTORY, vec![0, 0, 1, 0, 1]);
        assert_eq!(read_file(&device, "x", 100), Ok(None));
    }
}
