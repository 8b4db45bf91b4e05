//! `open(2)`: from a path and flags to an [`OpenFile`].

use alloc::{boxed::Box, format, sync::Arc};

use linux_abi::{
    Errno,
    file::{FileType, OpenFlags, ResolveFlags},
};

use crate::{
    AccessMode, Blocking, Dentry, Ending, FinalLink, Last, Namespace, NewInode, OpenFile, Path, notify,
    regular::PathFile, walk::Walk,
};

/// How to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// What for.
    pub access: AccessMode,
    /// All other flags.
    pub flags: OpenFlags,
    /// Permissions of a file that is made, umask taken off.
    pub permissions: u16,
}

/// Whether the file was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Existing,
    Created,
}

impl Namespace {
    /// Opens what `path` leads to from `base`, and makes it if asked to.
    pub fn open(&self, base: &Path, path: &[u8], request: &OpenRequest) -> Result<Arc<OpenFile>, Errno> {
        self.open_within(base, path, request, ResolveFlags::empty())
    }

    /// The same, by a walk that is limited (`openat2(2)`).
    pub fn open_within(
        &self,
        base: &Path,
        path: &[u8],
        request: &OpenRequest,
        limits: ResolveFlags,
    ) -> Result<Arc<OpenFile>, Errno> {
        let flags = request.flags;
        if flags.contains(OpenFlags::TMPFILE_ALONE) && !flags.contains(OpenFlags::PATH) {
            return self.open_unnamed(base, path, request, limits);
        }
        if flags.contains(OpenFlags::CREAT) && !flags.contains(OpenFlags::PATH) {
            return self.open_or_create(base, path, request, limits);
        }
        let final_link =
            if flags.contains(OpenFlags::NOFOLLOW) { FinalLink::Stay } else { FinalLink::Follow };
        let found = self.resolve_within(base, path, final_link, limits)?;
        if flags.contains(OpenFlags::PATH) {
            return Self::open_path_only(found, flags);
        }
        self.open_found(found, request, Found::Existing)
    }

    fn open_path_only(found: Path, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
        if flags.contains(OpenFlags::DIRECTORY) && !found.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        // "When O_PATH is specified in flags, flag bits other than O_CLOEXEC, O_DIRECTORY, and
        // O_NOFOLLOW are ignored" (open(2)).
        let kept = flags & (OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW);
        Ok(OpenFile::at_path(Arc::new(PathFile), found, AccessMode::ReadOnly, kept))
    }

    fn open_unnamed(
        &self,
        base: &Path,
        path: &[u8],
        request: &OpenRequest,
        limits: ResolveFlags,
    ) -> Result<Arc<OpenFile>, Errno> {
        if !request.flags.contains(OpenFlags::TMPFILE) || !request.access.can_write() {
            return Err(Errno::EINVAL);
        }
        let directory = self.resolve_within(base, path, FinalLink::Follow, limits)?;
        if !directory.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if directory.is_read_only() {
            return Err(Errno::EROFS);
        }
        let inode = directory.inode().create_unnamed(request.permissions)?;
        let mut shown = self.path_text(&directory).0;
        if shown != b"/" {
            shown.push(b'/');
        }
        shown.extend_from_slice(format!("#{}", inode.id().number).as_bytes());
        let dentry = if request.flags.contains(OpenFlags::EXCL) {
            Dentry::never_named(inode, &shown)
        } else {
            // It may get a name (`linkat(2)`), and is shown as deleted even then.
            shown.extend_from_slice(b" (deleted)");
            Dentry::unnamed(inode, &shown)
        };
        let found = Path { mount: directory.mount, dentry };
        let request = OpenRequest { flags: request.flags.difference(OpenFlags::TMPFILE), ..*request };
        self.open_found(found, &request, Found::Created)
    }

    fn open_or_create(
        &self,
        base: &Path,
        path: &[u8],
        request: &OpenRequest,
        limits: ResolveFlags,
    ) -> Result<Arc<OpenFile>, Errno> {
        let flags = request.flags;
        if flags.contains(OpenFlags::DIRECTORY) {
            // As since Linux 6.4; before, it could make a regular file and then fail.
            return Err(Errno::EINVAL);
        }
        self.dentries().trim();
        let mut walk = Walk::new(self, base, path, limits)?;
        let mut last = walk.last()?;
        loop {
            let (directory, name): (Path, Box<[u8]>) = match last {
                Last::Name { ending: Ending::Slashes, .. } => return Err(Errno::EISDIR),
                Last::Name { directory, name, .. } => (directory, name),
                Last::Special(found, _) if flags.contains(OpenFlags::EXCL) || found.dentry.is_directory() => {
                    return Err(if flags.contains(OpenFlags::EXCL) { Errno::EEXIST } else { Errno::EISDIR });
                }
                // A link such as /proc/self/fd/1 led straight to an object.
                Last::Special(found, _) => return self.open_found(found, request, Found::Existing),
            };
            match walk.child(&directory, &name) {
                Ok(_) if flags.contains(OpenFlags::EXCL) => return Err(Errno::EEXIST),
                Ok(found) if found.inode().kind() == FileType::Symlink => {
                    if flags.contains(OpenFlags::NOFOLLOW) {
                        return Err(Errno::ELOOP);
                    }
                    walk.follow(&found)?;
                    last = walk.last()?;
                }
                Ok(found) => return self.open_found(found, request, Found::Existing),
                Err(Errno::ENOENT) => {
                    match self.create_in(&directory, &name, NewInode::Regular, request.permissions) {
                        Ok(created) => return self.open_found(created, request, Found::Created),
                        // Somebody else was faster: then it is opened, unless that is an error.
                        Err(Errno::EEXIST) if !flags.contains(OpenFlags::EXCL) => {
                            last = Last::Name { directory, name, ending: Ending::Plain };
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open_found(&self, path: Path, request: &OpenRequest, found: Found) -> Result<Arc<OpenFile>, Errno> {
        let OpenRequest { access, flags, .. } = *request;
        let kind = path.inode().kind();
        if flags.contains(OpenFlags::DIRECTORY) && kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if kind == FileType::Symlink {
            return Err(Errno::ELOOP);
        }
        let truncates = flags.contains(OpenFlags::TRUNC);
        let writes = access.can_write() || access == AccessMode::Ioctl || truncates;
        if kind == FileType::Directory && (writes || flags.contains(OpenFlags::CREAT)) {
            return Err(Errno::EISDIR);
        }
        if kind == FileType::Regular && writes && path.is_read_only() {
            return Err(Errno::EROFS);
        }
        if flags.contains(OpenFlags::DIRECT)
            && kind == FileType::Regular
            && path.inode().direct_alignment().is_none()
        {
            return Err(Errno::EINVAL);
        }
        let blocking = if flags.contains(OpenFlags::NONBLOCK) { Blocking::No } else { Blocking::Yes };
        let file = self.open_inode(&path, access, blocking)?;
        // The order of Linux since 6.5: opened, then truncated.
        notify::opened(&path);
        if truncates && kind == FileType::Regular && found == Found::Existing {
            path.truncate(0)?;
        }
        Ok(OpenFile::at_path(file, path, access, flags))
    }

    /// Opens an inode that has no name, shown as `shown_as` (`memfd_create(2)`).
    pub fn open_anonymous_inode(
        &self,
        inode: Arc<dyn crate::Inode>,
        shown_as: &[u8],
        access: AccessMode,
        flags: OpenFlags,
    ) -> Result<Arc<OpenFile>, Errno> {
        let path = self.unnamed(inode, shown_as);
        let file = self.open_inode(&path, access, Blocking::Yes)?;
        Ok(OpenFile::at_path(file, path, access, flags))
    }
}
