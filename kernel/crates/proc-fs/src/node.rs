//! From the tables to inodes.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::any::Any;

use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{FileType, NAME_MAX, OpenFlags, Statfs},
};
use vfs::{
    AccessMode, AttributeChanges, Blocking, DirectoryEntry, EntrySink, File, FileSystem, Inode, InodeId,
    LinkTarget, Metadata, NameCaching, NewInode, Path, ReadDst, Seekable, WriteSrc,
};

use crate::{SystemInfo, tree};

/// What a generator is given.
pub(crate) struct Context<'a> {
    pub(crate) info: &'a dyn SystemInfo,
    /// The number in the name of the file or of a directory above: a thread, descriptor or CPU.
    pub(crate) number: u32,
}

/// Writes a file's text.
pub(crate) type Generate = fn(&Context<'_>, &mut Vec<u8>) -> Result<(), Errno>;
/// Takes what was written to a file.
pub(crate) type Store = fn(&Context<'_>, &[u8]) -> Result<(), Errno>;

/// An entry of a table.
pub(crate) enum Node {
    Directory(Directory),
    /// A file that is read.
    File(Generate),
    /// A file that its owner only reads.
    Private(Generate),
    /// A file that is written, too.
    Setting(Generate, Store),
    /// A link by its text.
    Link(fn(&Context<'_>) -> Result<Vec<u8>, Errno>),
    /// A link straight to something.
    Jump(fn(&Context<'_>) -> Result<Path, Errno>),
}

pub(crate) struct Directory {
    pub(crate) entries: &'static [(&'static str, Node)],
    /// Entries that come and go: one for each number.
    pub(crate) each: Option<&'static Each>,
}

/// Entries that are alike but for a number in their names.
pub(crate) struct Each {
    pub(crate) prefix: &'static str,
    pub(crate) numbers: fn(&Context<'_>) -> Vec<u32>,
    /// Those that are there but not listed: `/proc/TID`.
    pub(crate) unlisted: Option<fn(&Context<'_>) -> Vec<u32>>,
    pub(crate) node: Node,
}

/// A file system of generated files.
pub struct PseudoFileSystem {
    name: &'static str,
    magic: i64,
    device: u64,
    root: &'static Node,
    info: Arc<dyn SystemInfo>,
}

impl PseudoFileSystem {
    fn new(name: &'static str, magic: i64, root: &'static Node, info: Arc<dyn SystemInfo>) -> Arc<Self> {
        Arc::new(Self { name, magic, device: vfs::next_anonymous_device(), root, info })
    }

    /// `/proc`.
    pub fn proc(info: Arc<dyn SystemInfo>) -> Arc<Self> {
        Self::new("proc", linux_abi::file::magic::PROC, &tree::PROC, info)
    }

    /// `/sys`.
    pub fn sys(info: Arc<dyn SystemInfo>) -> Arc<Self> {
        Self::new("sysfs", linux_abi::file::magic::SYSFS, &tree::SYS, info)
    }

    /// `/sys/fs/cgroup`.
    pub fn cgroup(info: Arc<dyn SystemInfo>) -> Arc<Self> {
        Self::new("cgroup2", linux_abi::file::magic::CGROUP2, &tree::CGROUP, info)
    }
}

impl FileSystem for PseudoFileSystem {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device(&self) -> u64 {
        self.device
    }

    fn root(self: Arc<Self>) -> Result<Arc<dyn Inode>, Errno> {
        let node = self.root;
        Ok(Arc::new(PseudoInode { file_system: self, node, context_number: 0, number: 1 }))
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        Ok(Statfs {
            kind: self.magic,
            bsize: 4096,
            frsize: 4096,
            fsid: [self.device as i32, 0],
            namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }
}

struct PseudoInode {
    file_system: Arc<PseudoFileSystem>,
    node: &'static Node,
    context_number: u32,
    number: u64,
}

/// The inode number of a name in a directory: the same for as long as the machine runs (FNV-1a).
fn inode_number(directory: u64, name: &[u8]) -> u64 {
    let mut hash = directory ^ 0xcbf2_9ce4_8422_2325;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // Below 2^48: some programs keep inode numbers in floating point.
    (hash >> 16) | 2
}

impl PseudoInode {
    fn context(&self) -> Context<'_> {
        Context { info: &*self.file_system.info, number: self.context_number }
    }

    fn directory(&self) -> Result<&'static Directory, Errno> {
        match self.node {
            Node::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn child(&self, name: &[u8], node: &'static Node, context_number: u32) -> Arc<dyn Inode> {
        let number = inode_number(self.number, name);
        Arc::new(Self { file_system: self.file_system.clone(), node, context_number, number })
    }
}

fn kind_of(node: &Node) -> FileType {
    match node {
        Node::Directory(_) => FileType::Directory,
        Node::File(_) | Node::Private(_) | Node::Setting(..) => FileType::Regular,
        Node::Link(_) | Node::Jump(_) => FileType::Symlink,
    }
}

impl Inode for PseudoInode {
    fn id(&self) -> InodeId {
        InodeId { device: self.file_system.device, number: self.number }
    }

    fn kind(&self) -> FileType {
        kind_of(self.node)
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let permissions = match self.node {
            Node::Directory(_) => 0o555,
            Node::File(_) => 0o444,
            Node::Private(_) => 0o400,
            Node::Setting(..) => 0o644,
            Node::Link(_) | Node::Jump(_) => 0o777,
        };
        let mut metadata = Metadata::anonymous(self.id(), self.kind(), permissions);
        metadata.block_bytes = 1024;
        if self.kind() == FileType::Directory {
            metadata.links = 2;
        }
        Ok(metadata)
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.file_system.clone()
    }

    fn set_attributes(&self, _changes: &AttributeChanges) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn name_caching(&self) -> NameCaching {
        match self.node {
            Node::Directory(Directory { each: None, .. }) => NameCaching::Allowed,
            _ => NameCaching::Forbidden,
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let directory = self.directory()?;
        if let Some((_, node)) = directory.entries.iter().find(|entry| entry.0.as_bytes() == name) {
            return Ok(self.child(name, node, self.context_number));
        }
        let each = directory.each.ok_or(Errno::ENOENT)?;
        let number: u32 = core::str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix(each.prefix))
            // Numbers are written in one way only.
            .filter(|digits| {
                digits.bytes().all(|b| b.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'))
            })
            .and_then(|digits| digits.parse().ok())
            .ok_or(Errno::ENOENT)?;
        let has = |numbers: fn(&Context<'_>) -> Vec<u32>| numbers(&self.context()).contains(&number);
        if !has(each.numbers) && !each.unlisted.is_some_and(has) {
            return Err(Errno::ENOENT);
        }
        Ok(self.child(name, &each.node, number))
    }

    fn create(&self, _name: &[u8], _new: NewInode<'_>, _permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        // As Linux: nothing can be made in /proc at all, in /sys it is not permitted.
        Err(if self.file_system.name == "proc" { Errno::ENOENT } else { Errno::EPERM })
    }

    fn read_directory(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        const FIRST: u64 = 3;
        let directory = self.directory()?;
        let mut emit = |name: &str, node: &Node, next_cookie| {
            let inode = inode_number(self.number, name.as_bytes());
            sink(DirectoryEntry { name: name.as_bytes(), inode, kind: Some(kind_of(node)), next_cookie })
        };
        let fixed = directory.entries.len() as u64;
        for (at, (name, node)) in (FIRST..).zip(directory.entries) {
            if at > cookie && emit(name, node, at).is_break() {
                return Ok(());
            }
        }
        if let Some(each) = directory.each {
            // A number's own place, so that those that come and go do not shift the others.
            for number in (each.numbers)(&self.context()) {
                let at = FIRST + fixed + u64::from(number);
                if at > cookie && emit(&format!("{}{number}", each.prefix), &each.node, at).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        match self.node {
            Node::Link(text) => text(&self.context()),
            Node::Jump(target) => Ok(self.file_system.info.path_text(&target(&self.context())?)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn follow(&self) -> Result<LinkTarget, Errno> {
        match self.node {
            Node::Jump(target) => target(&self.context()).map(LinkTarget::Object),
            _ => self.read_link().map(LinkTarget::Text),
        }
    }

    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        // `echo value > /proc/sys/...` opens with O_TRUNC, which means nothing here.
        Ok(())
    }

    fn open(self: Arc<Self>, _access: AccessMode) -> Option<Result<Arc<dyn File>, Errno>> {
        match self.node {
            Node::File(_) | Node::Private(_) | Node::Setting(..) => {
                Some(Ok(Arc::new(PseudoFile { inode: self, text: Mutex::new(None) })))
            }
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open generated file.
struct PseudoFile {
    inode: Arc<PseudoInode>,
    text: Mutex<Option<Vec<u8>>>,
}

impl File for PseudoFile {
    fn read_at(&self, offset: u64, dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        let generate = match self.inode.node {
            Node::File(generate) | Node::Private(generate) | Node::Setting(generate, _) => generate,
            _ => return Err(Errno::EINVAL),
        };
        let part = {
            let mut text = self.text.lock();
            if offset == 0 || text.is_none() {
                let mut fresh = Vec::new();
                generate(&self.inode.context(), &mut fresh)?;
                *text = Some(fresh);
            }
            let text = text.as_deref().unwrap_or_default();
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            let end = text.len().min(start.saturating_add(dst.remaining()));
            // A copy, so that the lock is not held while the application's memory is written.
            text[start..end].to_vec()
        };
        if part.is_empty() { Ok(0) } else { dst.put(&part) }
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        const MAX_SETTING_BYTES: usize = 4096;
        let Node::Setting(_, store) = self.inode.node else { return Err(Errno::EIO) };
        let mut bytes = alloc::vec![0; src.remaining().min(MAX_SETTING_BYTES)];
        let taken = src.take(&mut bytes)?;
        store(&self.inode.context(), &bytes[..taken])?;
        Ok(taken)
    }

    fn seekable(&self) -> Seekable {
        Seekable::Yes
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        self.inode.metadata()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `flags` of `/proc/self/fdinfo`: in octal, with only `O_CLOEXEC` of those that make a file.
pub(crate) fn shown_flags(flags: u32) -> String {
    let hidden = OpenFlags::CREATION.difference(OpenFlags::CLOEXEC);
    format!("0{:o}", flags & !hidden.bits())
}
