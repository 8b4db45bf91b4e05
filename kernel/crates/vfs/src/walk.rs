//! Path walk (`path_resolution(7)`): from a path's text to a place in the tree.
//!
//! A walk is a loop over components with a stack of texts still to be walked: following a symbolic
//! link pushes its text. Nothing recurses, and the number of links is limited, so neither depth nor
//! loops of links can exhaust anything.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use linux_abi::{
    Errno,
    file::{FileType, NAME_MAX, PATH_MAX, ResolveFlags},
};

use crate::{LinkTarget, Namespace, Path};

/// Symbolic links followed in one walk before `ELOOP` (`MAXSYMLINKS` in `linux/namei.h`).
const MAX_LINKS: u32 = 40;

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalLink {
    /// Go where it leads.
    Follow,
    /// The link itself is meant (`AT_SYMLINK_NOFOLLOW`).
    Stay,
}

/// The end of a path whose last component need not exist.
pub enum Last {
    /// A name in a directory.
    Name {
        /// The directory.
        directory: Path,
        /// The name.
        name: Box<[u8]>,
        /// Whether slashes follow it, so that only a directory can be meant.
        ending: Ending,
    },
    /// No name: the path ends in `/`, `.` or `..`.
    Special(Path, SpecialComponent),
}

/// Whether slashes follow a path's last name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// None do.
    Plain,
    /// They do.
    Slashes,
}

/// A last component that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialComponent {
    /// The path is nothing but slashes.
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
}

/// What a walk is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// The object at the end.
    Object(FinalLink),
    /// The directory of the last name.
    Directory,
}

/// A walk under way. [`follow`](Self::follow) lets a caller that stopped at the last name go on
/// through a link found there, within the same limit.
pub(crate) struct Walk<'a> {
    namespace: &'a Namespace,
    root: &'a Path,
    limits: ResolveFlags,
    at: Path,
    /// Texts to walk, the innermost last, each with the offset of what is left of it.
    texts: Vec<(Box<[u8]>, usize)>,
    links: u32,
    ending: Ending,
    special: SpecialComponent,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        namespace: &'a Namespace,
        base: &'a Path,
        path: &[u8],
        limits: ResolveFlags,
    ) -> Result<Self, Errno> {
        let root = if limits.intersects(ResolveFlags::SCOPED) { base } else { namespace.root() };
        let mut walk = Self {
            namespace,
            root,
            limits,
            at: base.clone(),
            texts: Vec::new(),
            links: 0,
            ending: Ending::Plain,
            special: SpecialComponent::Dot,
        };
        if path.first() == Some(&b'/') && !limits.contains(ResolveFlags::BENEATH) {
            // The path itself may begin at a root on another mount, though no link on it may.
            walk.at = root.clone();
        }
        walk.push(path)?;
        Ok(walk)
    }

    fn push(&mut self, text: &[u8]) -> Result<(), Errno> {
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        if text.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if text[0] == b'/' {
            if self.limits.contains(ResolveFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            self.go(self.root.clone())?;
            self.special = SpecialComponent::Root;
        }
        self.texts.push((text.into(), 0));
        Ok(())
    }

    /// The next component, and whether it is the last one.
    fn next_component(&mut self) -> Option<(Box<[u8]>, bool)> {
        let component: Box<[u8]> = loop {
            let (text, offset) = self.texts.last_mut()?;
            let rest = &text[*offset..];
            let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
            if start == rest.len() {
                self.texts.pop();
                continue;
            }
            let name = &rest[start..];
            let length = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            let component = name[..length].into();
            *offset += start + length;
            break component;
        };
        let mut last = true;
        let mut slashes = false;
        for (text, offset) in &self.texts {
            let rest = &text[*offset..];
            last &= rest.iter().all(|byte| *byte == b'/');
            slashes |= !rest.is_empty();
        }
        if last && slashes {
            self.ending = Ending::Slashes;
        }
        Some((component, last))
    }

    fn require_directory(&self) -> Result<(), Errno> {
        if self.at.dentry.is_directory() { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    fn walk(&mut self, goal: Goal) -> Result<Last, Errno> {
        while let Some((name, last)) = self.next_component() {
            self.require_directory()?;
            if &*name == b"." {
                self.special = SpecialComponent::Dot;
                continue;
            }
            if &*name == b".." {
                if self.limits.contains(ResolveFlags::BENEATH) && self.at.is(self.root) {
                    return Err(Errno::EXDEV);
                }
                self.go(self.namespace.mounts().parent(self.at.clone(), self.root))?;
                self.special = SpecialComponent::DotDot;
                continue;
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            if last && goal == Goal::Directory {
                return Ok(Last::Name { directory: self.at.clone(), name, ending: self.ending });
            }
            let child = self.child(&self.at, &name)?;
            if child.inode().kind() == FileType::Symlink
                && (!last || goal == Goal::Object(FinalLink::Follow) || self.ending == Ending::Slashes)
            {
                self.follow(&child)?;
            } else {
                self.at = child;
            }
        }
        if self.ending == Ending::Slashes {
            self.require_directory()?;
        }
        Ok(Last::Special(self.at.clone(), self.special))
    }

    /// Moves to another place, unless that is on another mount and the walk has to stay on one.
    fn go(&mut self, to: Path) -> Result<(), Errno> {
        self.check_mount(&self.at, &to)?;
        self.at = to;
        Ok(())
    }

    fn check_mount(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let crosses = !Arc::ptr_eq(&from.mount, &to.mount);
        if crosses && self.limits.contains(ResolveFlags::NO_XDEV) { Err(Errno::EXDEV) } else { Ok(()) }
    }

    /// What `name` names in a directory that the walk came to.
    pub(crate) fn child(&self, directory: &Path, name: &[u8]) -> Result<Path, Errno> {
        let child = self.namespace.child(directory, name)?;
        self.check_mount(directory, &child)?;
        Ok(child)
    }

    /// Goes on through `link`, which was found in the directory where the walk stands.
    pub(crate) fn follow(&mut self, link: &Path) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS || self.limits.contains(ResolveFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        match link.inode().follow()? {
            LinkTarget::Text(text) => self.push(&text),
            LinkTarget::Object(_) if self.limits.contains(ResolveFlags::NO_MAGICLINKS) => Err(Errno::ELOOP),
            // Where the object is cannot be told, as Linux says of it (`nd_jump_link`).
            LinkTarget::Object(_) if self.limits.intersects(ResolveFlags::SCOPED) => Err(Errno::EXDEV),
            LinkTarget::Object(path) => self.go(path),
        }
    }

    /// Walks to the object at the end of the path.
    pub(crate) fn object(mut self, final_link: FinalLink) -> Result<Path, Errno> {
        match self.walk(Goal::Object(final_link))? {
            Last::Special(path, _) => Ok(path),
            Last::Name { .. } => unreachable!("only a walk for a directory stops at a name"),
        }
    }

    /// Walks to the directory of the last name.
    pub(crate) fn last(&mut self) -> Result<Last, Errno> {
        self.walk(Goal::Directory)
    }
}
