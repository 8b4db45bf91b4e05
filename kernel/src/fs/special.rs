//! Device files and named pipes.

use alloc::{boxed::Box, sync::Arc};
use core::any::Any;

use ::ipc::pipe::{self, Pipe};
use csprng::Stream;
use hashbrown::HashMap;
use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{DeviceNumber, FileType},
    tty::ioctl,
};
use spin::{LazyLock, Once};
use vfs::{
    AccessMode, Blocking, File, Inode, InodeId, Namespace, NewInode, OpenFile, Part, ReadDst, Seekable,
    SpecialFiles, WriteSrc,
};

use crate::device;

/// Character devices by their Linux numbers (`Documentation/admin-guide/devices.txt`), with what opens them.
const DEVICES: [(&str, DeviceNumber, u16); 9] = [
    ("null", number(1, 3), 0o666),
    ("zero", number(1, 5), 0o666),
    ("full", number(1, 7), 0o666),
    ("random", number(1, 8), 0o666),
    ("urandom", number(1, 9), 0o666),
    ("kmsg", number(1, 11), 0o644),
    ("tty", number(5, 0), 0o666),
    ("console", number(5, 1), 0o600),
    // Ours alone: see `device::crema`.
    ("crema", number(device::crema::MAJOR, device::crema::MINOR), 0o600),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

const fn number(major: u32, minor: u32) -> DeviceNumber {
    DeviceNumber { major, minor }
}

/// Makes the files in `/dev`.
pub(super) fn populate(namespace: &Namespace) -> Result<(), Errno> {
    let create = |name: &str, new, permissions| {
        let path = alloc::format!("/dev/{name}");
        namespace.create(namespace.root(), path.as_bytes(), new, permissions).map(drop)
    };
    for (name, device, permissions) in DEVICES {
        create(name, NewInode::Device(FileType::CharDevice, device), permissions)?;
    }
    for (name, text) in LINKS {
        create(name, NewInode::Symlink(text.as_bytes()), 0o777)?;
    }
    create("shm", NewInode::Directory, 0o755)
}

/// What `/dev/console` opens.
pub(super) static CONSOLE: Once<Arc<dyn File>> = Once::new();
/// Opens device files and named pipes.
pub(super) struct Devices;

/// Pipes behind the inodes of named pipes, while somebody has them open.
static FIFOS: LazyLock<Mutex<HashMap<InodeId, alloc::sync::Weak<Pipe>>>> = LazyLock::new(Mutex::default);

impl SpecialFiles for Devices {
    fn open_device(
        &self,
        kind: FileType,
        device: DeviceNumber,
        _access: AccessMode,
    ) -> Result<Arc<dyn File>, Errno> {
        if kind != FileType::CharDevice {
            return Err(Errno::ENXIO);
        }
        Ok(match (device.major, device.minor) {
            (1, 3) => Arc::new(Void::Null),
            (1, 5) => Arc::new(Void::Zero),
            (1, 7) => Arc::new(Void::Full),
            (1, 8 | 9) => Arc::new(Random),
            (1, 11) => Arc::new(KernelLog),
            // The controlling terminal is the console, if it is one.
            (5, 0) => device::streams::terminal().ok_or(Errno::ENXIO)?,
            (device::crema::MAJOR, device::crema::MINOR) => device::crema::open(),
            (5, 1) => CONSOLE.get().cloned().ok_or(Errno::ENXIO)?,
            _ => return Err(Errno::ENXIO),
        })
    }

    fn open_fifo(
        &self,
        inode: &Arc<dyn Inode>,
        access: AccessMode,
        blocking: Blocking,
    ) -> Result<Arc<dyn File>, Errno> {
        let access = match access {
            AccessMode::ReadOnly => pipe::Access::Read,
            AccessMode::WriteOnly => pipe::Access::Write,
            AccessMode::ReadWrite => pipe::Access::ReadWrite,
            AccessMode::Ioctl => return Err(Errno::EINVAL),
        };
        let pipe = {
            let mut fifos = FIFOS.lock();
            fifos.retain(|_, pipe| pipe.strong_count() > 0);
            let existing = fifos.get(&inode.id()).and_then(alloc::sync::Weak::upgrade);
            existing.unwrap_or_else(|| {
                let pipe = Pipe::new();
                fifos.insert(inode.id(), Arc::downgrade(&pipe));
                pipe
            })
        };
        Ok(pipe.open(access, blocking)?)
    }
}

/// Takes everything that `src` has.
fn discard(src: &mut dyn WriteSrc) -> Result<usize, Errno> {
    let mut bytes = [0; 512];
    vfs::transfer_parts(|_| {
        let wanted = bytes.len().min(src.remaining());
        Ok(Part { wanted, done: src.take(&mut bytes[..wanted])? })
    })
}

/// The devices that hold nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Void {
    /// `/dev/null`.
    Null,
    /// `/dev/zero`.
    Zero,
    /// `/dev/full`.
    Full,
}

impl File for Void {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        match self {
            Self::Null => Ok(0),
            Self::Zero | Self::Full => dst.put_zeros(dst.remaining()),
        }
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        match self {
            // Linux does not even look at the bytes (`write_null`).
            Self::Null | Self::Zero => Ok(src.remaining()),
            Self::Full => Err(Errno::ENOSPC),
        }
    }

    fn seekable(&self) -> Seekable {
        Seekable::StaysAtStart
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether a file is `/dev/zero`, whose mappings are anonymous memory.
pub fn is_zero_device(file: &OpenFile) -> bool {
    file.file().as_any().downcast_ref() == Some(&Void::Zero)
}

/// `/dev/random` and `/dev/urandom`, which are the same: the generator is seeded before the program starts.
struct Random;

impl File for Random {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        let mut stream: Box<Stream> = Box::new(device::random::stream());
        let mut bytes = [0; 256];
        vfs::transfer_parts(|_| {
            let wanted = bytes.len().min(dst.remaining());
            stream.fill(&mut bytes[..wanted]);
            Ok(Part { wanted, done: dst.put(&bytes[..wanted])? })
        })
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        // It may be mixed in, but counts for nothing; the generator needs none of it.
        discard(src)
    }

    fn seekable(&self) -> Seekable {
        Seekable::StaysAtStart
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        const POOL_BITS: u32 = 256;
        match request {
            RNDGETENTCNT => crate::user::UserPtr::<u32>::new(argument as u64).write(POOL_BITS).map(|()| 0),
            ioctl::FIONREAD => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `/dev/kmsg`: what is written goes to the kernel's log.
struct KernelLog;

impl File for KernelLog {
    fn read_at(&self, _offset: u64, _dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        // The log goes to the host and is not kept.
        Err(Errno::EAGAIN)
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        let mut line = [0; 512];
        let len = src.take(&mut line)?;
        let text = alloc::string::String::from_utf8_lossy(&line[..len]);
        log::info!("{}", text.trim_end());
        Ok(len)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
