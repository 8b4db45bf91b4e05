//! A recipe: which files a guest's file system holds, and where on the host each comes from.
//!
//! Responsible for a consistent tree (parents exist, nothing is a file and a folder at once, no path leaves
//! the root) and for a fingerprint of everything that goes in. Not for reading or copying file contents.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::failure::{Failure, Result};

/// Symbolic links followed in one path before it counts as a loop: Linux's own limit (path_resolution(7)).
const SYMLINK_LIMIT: usize = 40;

/// A file system to be.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// By absolute, normalised guest path. The root itself is not listed.
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Directory { mode: u32 },
    File { source: Source, mode: u32 },
    Symlink { target: PathBuf },
}

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Host(PathBuf),
    Bytes(Vec<u8>),
}

impl Recipe {
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    pub fn contains(&self, guest: impl AsRef<Path>) -> bool {
        self.resolve(guest.as_ref()).is_ok_and(|path| self.entries.contains_key(&path))
    }

    /// Adds everything of another recipe.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        other.entries.iter().try_for_each(|(guest, entry)| self.insert(guest, entry.clone()))
    }

    /// Adds a folder, and those above it.
    pub fn directory(&mut self, guest: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.insert(guest.as_ref(), Entry::Directory { mode })
    }

    /// Adds a file with these bytes.
    pub fn bytes(&mut self, guest: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.insert(guest.as_ref(), Entry::File { source: Source::Bytes(bytes.into()), mode: 0o644 })
    }

    /// Adds a file of the host, with the host's permission bits. Symbolic links are followed.
    pub fn file(&mut self, guest: impl AsRef<Path>, host: impl AsRef<Path>) -> Result<()> {
        let host = host.as_ref();
        let data = fs::metadata(host).map_err(Failure::io("read", host))?;
        if !data.is_file() {
            return Err(Failure::new(format!("{} is not a file", host.display())));
        }
        // Whoever packs must be able to read it, and in the guest everything belongs to root anyway.
        let mode = (data.mode() & 0o777) | 0o400;
        self.insert(guest.as_ref(), Entry::File { source: Source::Host(host.to_path_buf()), mode })
    }

    pub fn symlink(&mut self, guest: impl AsRef<Path>, target: impl Into<PathBuf>) -> Result<()> {
        self.insert(guest.as_ref(), Entry::Symlink { target: target.into() })
    }

    /// Adds a file of the host at the same path in the guest; where a symbolic link leads to it, the links
    /// too.
    pub fn same_path(&mut self, host: impl AsRef<Path>) -> Result<()> {
        let mut path = canonical_parent(host.as_ref())?;
        for _ in 0..SYMLINK_LIMIT {
            let data = fs::symlink_metadata(&path).map_err(Failure::io("read", &path))?;
            if !data.is_symlink() {
                return self.file(&path, &path);
            }
            let target = fs::read_link(&path).map_err(Failure::io("read", &path))?;
            self.symlink(&path, &target)?;
            let parent = path.parent().unwrap_or(Path::new("/"));
            path = canonical_parent(&parent.join(target))?;
        }
        Err(Failure::new(format!("{} has too many levels of symbolic links", host.as_ref().display())))
    }

    /// Adds everything in a folder of the host, as `guest`. Symbolic links stay links if they stay within the
    /// folder. A link out of it brings what it points to along: at its own path, if the folder has the same
    /// path on both sides, or else in the link's place. A dangling link is left out. `keep` sees each path
    /// relative to the folder.
    pub fn tree(
        &mut self,
        guest: impl AsRef<Path>,
        host: impl AsRef<Path>,
        keep: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        let (guest, host) = (guest.as_ref(), host.as_ref());
        self.directory(guest, 0o755)?;
        self.subtree(guest, host, Path::new(""), keep)
    }

    fn subtree(
        &mut self,
        guest: &Path,
        host: &Path,
        inner: &Path,
        keep: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        let folder = host.join(inner);
        let mut names: Vec<_> = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
            .map_err(Failure::io("read", &folder))?;
        names.sort();
        for name in names {
            let inner = inner.join(name);
            if !keep(&inner) {
                continue;
            }
            let (from, to) = (host.join(&inner), guest.join(&inner));
            let data = fs::symlink_metadata(&from).map_err(Failure::io("read", &from))?;
            if data.is_symlink() {
                let target = fs::read_link(&from).map_err(Failure::io("read", &from))?;
                if stays_within(&inner, &target) {
                    self.symlink(&to, target)?;
                } else if from.is_file() {
                    if to == from { self.same_path(&from)? } else { self.file(&to, &from)? }
                }
            } else if data.is_dir() {
                self.directory(&to, data.mode() & 0o777 | 0o700)?;
                self.subtree(guest, host, &inner, keep)?;
            } else if data.is_file() {
                self.file(&to, &from)?;
            }
            // Sockets, FIFOs and device files have no meaning in an image.
        }
        Ok(())
    }

    /// Bytes of file content, each file rounded up to whole blocks.
    pub fn content_bytes(&self, block_bytes: u64) -> Result<u64> {
        let mut total = 0;
        for entry in self.entries.values() {
            let bytes = match entry {
                Entry::File { source: Source::Host(host), .. } => {
                    fs::metadata(host).map_err(Failure::io("read", host))?.len()
                }
                Entry::File { source: Source::Bytes(bytes), .. } => bytes.len() as u64,
                Entry::Directory { .. } | Entry::Symlink { .. } => 1,
            };
            total += bytes.next_multiple_of(block_bytes);
        }
        Ok(total)
    }

    /// A number that changes whenever the image would. A host file is known by its path, size, inode and time
    /// of change, as make would, and not by its content: hashing 200 MB costs more than a run should.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (path, entry) in &self.entries {
            field(path.as_os_str().as_bytes());
            match entry {
                Entry::Directory { mode } => field(format!("d{mode:o}").as_bytes()),
                Entry::Symlink { target } => {
                    field(b"l");
                    field(target.as_os_str().as_bytes());
                }
                Entry::File { source, mode } => {
                    field(format!("f{mode:o}").as_bytes());
                    match source {
                        Source::Bytes(bytes) => field(bytes),
                        Source::Host(host) => {
                            let data = fs::metadata(host).map_err(Failure::io("read", host))?;
                            field(host.as_os_str().as_bytes());
                            let numbers = [
                                data.len() as i64,
                                data.mtime(),
                                data.mtime_nsec(),
                                data.ino() as i64,
                                data.dev() as i64,
                            ];
                            field(format!("{numbers:?}").as_bytes());
                        }
                    }
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn insert(&mut self, guest: &Path, entry: Entry) -> Result<()> {
        let guest = self.resolve(guest)?;
        if let Some(parent) = guest.parent().filter(|parent| parent.parent().is_some()) {
            match self.entries.get(parent) {
                Some(Entry::Directory { .. }) => {}
                Some(_) => {
                    return Err(Failure::new(format!(
                        "{} would be a file and a folder in the image",
                        parent.display()
                    )));
                }
                None => self.insert(parent, Entry::Directory { mode: 0o755 })?,
            }
        }
        match (self.entries.get(&guest), &entry) {
            (None, _) => {}
            (Some(old), new) if old == new => {}
            (Some(Entry::Directory { .. }), Entry::Directory { .. }) => {}
            (Some(Entry::File { .. }), Entry::File { .. }) => {}
            _ => {
                return Err(Failure::new(format!(
                    "{} would be two things at once in the image",
                    guest.display()
                )));
            }
        }
        if guest.parent().is_some() {
            self.entries.insert(guest, entry);
        }
        Ok(())
    }

    /// Normalises a guest path, and follows the symbolic links that its folders go through.
    fn resolve(&self, guest: &Path) -> Result<PathBuf> {
        if !guest.is_absolute() || guest.as_os_str().as_bytes().contains(&0) {
            return Err(Failure::new(format!("{:?} is not an absolute path", guest)));
        }
        let mut todo: Vec<PathBuf> = parts(guest);
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == Path::new("..") {
                done.pop();
                continue;
            }
            done.push(&part);
            if let (Some(Entry::Symlink { target }), false) = (self.entries.get(&done), todo.is_empty()) {
                links += 1;
                if links > SYMLINK_LIMIT {
                    return Err(Failure::new(format!(
                        "{} has too many levels of symbolic links",
                        guest.display()
                    )));
                }
                done.pop();
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                todo.extend(parts(target));
            }
        }
        Ok(done)
    }
}

/// The components of a path, last first; the root and `.` are left out.
fn parts(path: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect();
    parts.reverse();
    parts
}

/// Whether a link at `inner` (relative to a folder) with this target points into the same folder.
fn stays_within(inner: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return false;
    }
    let mut depth = inner.components().count() - 1;
    for part in target.components() {
        match part {
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    true
}

/// The path with its folders' links followed, but not a link at its very end: on Debian `/lib` is `/usr/lib`.
fn canonical_parent(path: &Path) -> Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(format!("{} is not a file", path.display())));
    };
    Ok(fs::canonicalize(parent).map_err(Failure::io("read", parent))?.join(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(recipe: &Recipe) -> Vec<String> {
        recipe.entries().map(|(path, _)| path.display().to_string()).collect()
    }

    #[test]
    fn parents_are_made_and_links_among_them_followed() {
        let mut recipe = Recipe::default();
        recipe.symlink("/lib", "usr/lib").unwrap();
        recipe.bytes("/lib/x/y", "z").unwrap();
        recipe.bytes("/usr/../etc/./passwd", "").unwrap();
        assert_eq!(
            paths(&recipe),
            ["/etc", "/etc/passwd", "/lib", "/usr", "/usr/lib", "/usr/lib/x", "/usr/lib/x/y"]
        );
        assert!(recipe.contains("/lib/x/y"));
    }

    #[test]
    fn no_path_leaves_the_root_or_is_two_things() {
        let mut recipe = Recipe::default();
        recipe.bytes("/../../a", "1").unwrap();
        assert_eq!(paths(&recipe), ["/a"]);
        assert!(recipe.bytes("/a/b", "").is_err());
        assert!(recipe.directory("/a", 0o755).is_err());
        assert!(recipe.bytes("a", "").is_err());
        assert!(recipe.bytes("/a\0b", "").is_err());
        recipe.symlink("/p", "q").unwrap();
        recipe.symlink("/q", "p").unwrap();
        assert!(recipe.bytes("/p/x", "").is_err());
    }

    #[test]
    fn a_tree_keeps_inner_links_and_flattens_outer_ones() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/f"), "1").unwrap();
        fs::write(dir.path().join("outside"), "2").unwrap();
        std::os::unix::fs::symlink("sub/f", root.join("inner")).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("outer")).unwrap();
        std::os::unix::fs::symlink("nowhere/../../gone", root.join("dangling")).unwrap();
        let mut recipe = Recipe::default();
        recipe.tree("/g", &root, &|path| !path.ends_with("skip")).unwrap();
        assert_eq!(paths(&recipe), ["/g", "/g/inner", "/g/outer", "/g/sub", "/g/sub/f"]);
        assert!(matches!(&recipe.entries[Path::new("/g/inner")], Entry::Symlink { .. }));
        assert!(matches!(&recipe.entries[Path::new("/g/outer")], Entry::File { .. }));
    }

    #[test]
    fn the_fingerprint_changes_with_what_goes_in() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("f");
        fs::write(&host, "one").unwrap();
        let mut recipe = Recipe::default();
        recipe.file("/f", &host).unwrap();
        let first = recipe.fingerprint().unwrap();
        assert_eq!(recipe.fingerprint().unwrap(), first);
        fs::write(&host, "three").unwrap();
        assert_ne!(recipe.fingerprint().unwrap(), first);
        recipe.symlink("/g", "f").unwrap();
        let linked = recipe.fingerprint().unwrap();
        recipe.bytes("/h", "").unwrap();
        assert_ne!(recipe.fingerprint().unwrap(), linked);
    }

    proptest! {
        #[test]
        fn any_path_ends_up_inside_and_normal(path in "(/|\\.\\.?|[a-c]{1,2}){0,12}") {
            let mut recipe = Recipe::default();
            recipe.symlink("/a", "b/c").unwrap();
            recipe.symlink("/b", "..").unwrap();
            let _ = recipe.bytes(format!("/{path}"), "");
            for (path, _) in recipe.entries() {
                prop_assert!(path.is_absolute());
                prop_assert!(path.components().skip(1).all(|part| matches!(part, Component::Normal(_))));
                let parent = path.parent().unwrap();
                let is_folder = matches!(recipe.entries.get(parent), Some(Entry::Directory { .. }));
                prop_assert!(parent == Path::new("/") || is_folder);
            }
        }
    }
}
