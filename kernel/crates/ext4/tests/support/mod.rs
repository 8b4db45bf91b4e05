//! Images, and the tools of e2fsprogs.

#![allow(dead_code, reason = "each test uses some of it")]

#[path = "../../../../../tests/storage/e2fsck.rs"]
pub mod e2fsck;
pub mod power;

use std::{
    fs,
    path::{Path as HostPath, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use block::BlockDevice;
use ext4::{Access, Discard, Ext4};
use linux_abi::{
    Errno,
    file::{AccessMode, DeviceNumber, FileType, OpenFlags, StatfsFlags},
};
use tmpfs::Tmpfs;
use vfs::{
    Blocking, File, FinalLink, Inode, MountRequest, Namespace, NewInode, OpenFile, OpenRequest, Path,
    SliceSrc, SpecialFiles,
};

use e2fsck::Flaw;

pub const DISK: DeviceNumber = DeviceNumber { major: 254, minor: 0 };

/// A tool of e2fsprogs, which Debian keeps off a user's PATH.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/sbin".into(), "/usr/sbin".into()]);
    let found = directories.map(|directory| directory.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {name} (package e2fsprogs) is not installed");
    }
    found
}

/// A directory for a test's files, removed in the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("crema-ext4-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An image of `size` (as mke2fs takes it) with the contents of a directory.
pub fn make_image(mke2fs: &HostPath, contents: Option<&HostPath>, size: &str, options: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0"]).args(options);
    if let Some(contents) = contents {
        command.arg("-d").arg(contents);
    }
    let output = command.arg(&image).arg(size).output().unwrap();
    assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(&image).unwrap()
}

/// What e2fsck, if installed, complains of in an image, beside the flaws that may show in it.
pub fn complaints(image: &[u8], flaws: &[Flaw]) -> Vec<String> {
    let Some(e2fsck) = tool("e2fsck") else { return Vec::new() };
    let scratch = Scratch::new();
    let path = scratch.path("image");
    fs::write(&path, image).unwrap();
    let output = Command::new(e2fsck).arg("-fn").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    e2fsck::complaints(output.status.code().unwrap_or(-1), &said, flaws)
}

/// Asserts that e2fsck finds nothing to complain of.
pub fn assert_clean(image: &[u8]) {
    assert_clean_but(image, &[]);
}

/// Asserts that e2fsck finds nothing to complain of beside these flaws.
pub fn assert_clean_but(image: &[u8], flaws: &[Flaw]) {
    assert_eq!(complaints(image, flaws), Vec::<String>::new());
}

struct NoSpecialFiles;

impl SpecialFiles for NoSpecialFiles {
    fn open_device(&self, _: FileType, _: DeviceNumber, _: AccessMode) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    fn open_fifo(&self, _: &Arc<dyn Inode>, _: AccessMode, _: Blocking) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
}

/// A mounted image.
pub struct Tree {
    pub file_system: Arc<Ext4>,
    pub names: Namespace,
}

impl Tree {
    pub fn mount(device: Arc<dyn BlockDevice>) -> Result<Self, Errno> {
        frames::host::init();
        log_to_stderr();
        let file_system = Ext4::mount(device, DISK, Access::ReadWrite)?;
        // Of use to those devices only that discard.
        file_system.set_discard(Discard::Online);
        let request = MountRequest {
            file_system: file_system.clone(),
            source: "/dev/vda",
            flags: StatfsFlags::empty(),
            options: "",
        };
        let unnamed = Tmpfs::new("tmpfs", 1, 0o755);
        Ok(Self { names: Namespace::new(request, unnamed, Box::new(NoSpecialFiles))?, file_system })
    }

    pub fn root(&self) -> &Path {
        self.names.root()
    }

    pub fn find(&self, path: &str) -> Result<Path, Errno> {
        self.names.resolve(self.root(), path.as_bytes(), FinalLink::Stay)
    }

    pub fn make(&self, path: &str, new: NewInode<'_>) -> Result<Path, Errno> {
        self.names.create(self.root(), path.as_bytes(), new, 0o755)
    }

    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
        let request = OpenRequest { access: AccessMode::ReadWrite, flags, permissions: 0o644 };
        self.names.open(self.root(), path.as_bytes(), &request)
    }

    pub fn rename(&self, old: &str, new: &str) -> Result<(), Errno> {
        let flags = linux_abi::file::RenameFlags::empty();
        self.names.rename(self.root(), old.as_bytes(), self.root(), new.as_bytes(), flags)
    }

    pub fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.names.unlink(self.root(), path.as_bytes())
    }

    pub fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let file = self.open(path, OpenFlags::CREAT)?;
        assert_eq!(file.write_at(offset, &mut SliceSrc::new(bytes), Blocking::Yes)?, bytes.len());
        Ok(())
    }

    /// Like [`write_at`](Self::write_at), where it may be that not all can be written.
    pub fn write_at_most(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let file = self.open(path, OpenFlags::CREAT)?;
        file.write_at(offset, &mut SliceSrc::new(bytes), Blocking::Yes)
    }

    pub fn contents(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 100_000];
        loop {
            match path.inode().read_at(bytes.len() as u64, &mut &mut buffer[..])? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        self.contents(&self.find(path)?)
    }
}

struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}", record.args());
    }

    fn flush(&self) {}
}

/// Shows what the file system logs when a test fails.
fn log_to_stderr() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// How many rounds a test makes that usually makes so many: `CREMA_EXT4_FACTOR` times as many, if that is set.
pub fn rounds(usual: u64) -> u64 {
    usual * variable("CREMA_EXT4_FACTOR", 1)
}

/// Where the seeds begin: `CREMA_EXT4_SEED`, or 1.
pub fn first_seed() -> u64 {
    variable("CREMA_EXT4_SEED", 1)
}

/// A small random number generator (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
