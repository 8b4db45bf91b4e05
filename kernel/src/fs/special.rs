//! Device files.

use alloc::sync::Arc;
use core::any::Any;

use linux_abi::{
    Errno,
    file::{DeviceNumber, FileType},
};
use vfs::{
    AccessMode, Blocking, File, Inode, NewInode, ReadDst, SpecialFiles, WriteSrc,
};

use super::namespace;
use crate::device;

/// The memory devices (Linux Documentation/admin-guide/devices.txt, major 1).
const MEMORY: u32 = 1;
const NULL: u32 = 3;
const ZERO: u32 = 5;
const FULL: u32 = 7;
const RANDOM: u32 = 8;
const URANDOM: u32 = 9;
/// The controlling terminal and the console (major 5).
const TTY: u32 = 5;

/// What is in /dev: name, major, minor, permissions.
const NODES: [(&str, u32, u32, u16); 7] = [
    ("null", MEMORY, NULL, 0o666),
    ("zero", MEMORY, ZERO, 0o666),
    ("full", MEMORY, FULL, 0o666),
    ("random", MEMORY, RANDOM, 0o666),
    ("urandom", MEMORY, URANDOM, 0o666),
    ("tty", TTY, 0, 0o666),
    ("console", TTY, 1, 0o600),
];

/// Links in /dev.
const LINKS: [(&str, &str); 4] =
    [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];

/// Makes the nodes, links and directories of /dev.
pub fn populate_dev() -> Result<(), Errno> {
    let root = namespace().root().clone();
    for (name, major, minor, permissions) in NODES {
        let path = alloc::format!("/dev/{name}");
        let node = NewInode::Device(FileType::CharDevice, DeviceNumber { major, minor });
        namespace().create(&root, path.as_bytes(), node, permissions)?;
    }
    for (name, target) in LINKS {
        let path = alloc::format!("/dev/{name}");
        namespace().create(&root, path.as_bytes(), NewInode::Symlink(target.as_bytes()), 0o777)?;
    }
    namespace().create(&root, b"/dev/shm", NewInode::Directory, 0o1777)?;
    Ok(())
}

/// Opens device files and named pipes.
pub struct Devices;

impl SpecialFiles for Devices {
    fn open_device(&self, kind: FileType, device: DeviceNumber, access: AccessMode) -> Result<Arc<dyn File>, Errno> {
        if kind != FileType::CharDevice {
            return Err(Errno::ENXIO);
        }
        let memory = match (device.major, device.minor) {
            (MEMORY, NULL) => Memory::Null,
            (MEMORY, ZERO) => Memory::Zero,
            (MEMORY, FULL) => Memory::Full,
            (MEMORY, RANDOM | URANDOM) => Memory::Random,
            (TTY, 0 | 1) => {
                let _ = access;
                return device::streams::terminal().ok_or(Errno::ENXIO);
            }
            _ => return Err(Errno::ENXIO),
        };
        Ok(Arc::new(memory))
    }

    fn open_fifo(
        &self,
        inode: &Arc<dyn Inode>,
        access: AccessMode,
        blocking: Blocking,
    ) -> Result<Arc<dyn File>, Errno> {
        let _ = (inode, access, blocking);
        Err(Errno::ENXIO)
    }
}

/// The memory devices (`null(4)`, `full(4)`, `random(4)`).
enum Memory {
    Null,
    Zero,
    Full,
    Random,
}

impl File for Memory {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        match self {
            Self::Null => Ok(0),
            Self::Zero | Self::Full => dst.put_zeros(dst.remaining()),
            Self::Random => {
                let mut done = 0;
                let mut bytes = [0; 256];
                while dst.remaining() > 0 {
                    let len = bytes.len().min(dst.remaining());
                    device::random::fill(&mut bytes[..len]);
                    match dst.put(&bytes[..len]) {
                        Ok(put) => done += put,
                        Err(error) if done == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(done)
            }
        }
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        match self {
            Self::Full => Err(Errno::ENOSPC),
            _ => Ok(src.remaining()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
