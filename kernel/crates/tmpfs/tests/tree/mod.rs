//! A name space of one file system, with calls that take strings.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::{ops::ControlFlow, sync::Arc};

use linux_abi::{
    Errno,
    file::{AccessMode, DeviceNumber, FileType, OpenFlags, RenameFlags, StatfsFlags},
};
use tmpfs::Tmpfs;
use vfs::{
    Blocking, File, FileSystem, FinalLink, Inode, MountRequest, Namespace, NewInode, OpenFile, OpenRequest,
    Path, SliceSrc, SpecialFiles,
};

struct NoSpecialFiles;

impl SpecialFiles for NoSpecialFiles {
    fn open_device(&self, _: FileType, _: DeviceNumber, _: AccessMode) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    fn open_fifo(&self, _: &Arc<dyn Inode>, _: AccessMode, _: Blocking) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
}

pub struct Tree {
    pub names: Namespace,
    pub file_system: Arc<Tmpfs>,
}

impl Tree {
    pub fn new(file_system: Arc<Tmpfs>) -> Self {
        let root = MountRequest {
            file_system: file_system.clone(),
            source: "none",
            flags: StatfsFlags::empty(),
            options: "",
        };
        let unnamed = Tmpfs::new("tmpfs", 1000, 0o755);
        Self { names: Namespace::new(root, unnamed, Box::new(NoSpecialFiles)).unwrap(), file_system }
    }

    /// An empty RAM file system.
    pub fn plain() -> Self {
        frames::host::init();
        Self::new(Tmpfs::new("tmpfs", 10_000, 0o755))
    }

    /// A layer of at most `limit_pages` over what is in `lower`.
    pub fn over(lower: &Self, limit_pages: usize) -> Self {
        let lower: Arc<dyn FileSystem> = lower.file_system.clone();
        Self::new(Tmpfs::over(&lower, limit_pages).unwrap())
    }

    pub fn root(&self) -> &Path {
        self.names.root()
    }

    pub fn make(&self, path: &str, new: NewInode<'_>) -> Result<Path, Errno> {
        self.names.create(self.root(), path.as_bytes(), new, 0o755)
    }

    pub fn find(&self, path: &str) -> Result<Path, Errno> {
        self.names.resolve(self.root(), path.as_bytes(), FinalLink::Stay)
    }

    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
        let request = OpenRequest { access: AccessMode::ReadWrite, flags, permissions: 0o644 };
        self.names.open(self.root(), path.as_bytes(), &request)
    }

    pub fn directory(&self, path: &str) -> Result<Arc<OpenFile>, Errno> {
        let request =
            OpenRequest { access: AccessMode::ReadOnly, flags: OpenFlags::DIRECTORY, permissions: 0 };
        self.names.open(self.root(), path.as_bytes(), &request)
    }

    pub fn rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        self.names.rename(self.root(), old.as_bytes(), self.root(), new.as_bytes(), flags)
    }

    pub fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        self.names.link(&self.find(old)?, self.root(), new.as_bytes())
    }

    pub fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.names.unlink(self.root(), path.as_bytes())
    }

    pub fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.names.rmdir(self.root(), path.as_bytes())
    }

    /// Makes a file, or overwrites its beginning.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<usize, Errno> {
        let file = self.open(path, OpenFlags::CREAT)?;
        write(&file, 0, bytes)
    }

    /// All of a file.
    pub fn text(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, OpenFlags::empty())?;
        let size = file.metadata()?.size as usize;
        read(&file, 0, size + 1)
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.directory(path).map(|directory| entries(&directory)).unwrap().into_iter().collect();
        names.sort();
        names
    }

    /// Pages and names that are in use.
    pub fn in_use(&self) -> (u64, u64) {
        let statistics = self.file_system.statistics().unwrap();
        (statistics.blocks - statistics.bfree, statistics.files - statistics.ffree)
    }
}

/// What is left to read of a directory, without `.` and `..`.
pub fn entries(directory: &OpenFile) -> Vec<String> {
    let mut names = Vec::new();
    directory
        .read_directory(&mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    names.retain(|name| name != "." && name != "..");
    names
}

pub fn write(file: &OpenFile, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(offset, &mut SliceSrc::new(bytes), Blocking::Yes)
}

pub fn read(file: &OpenFile, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0xee; len];
    let done = file.read_at(offset, &mut &mut bytes[..], Blocking::Yes)?;
    bytes.truncate(done);
    Ok(bytes)
}
