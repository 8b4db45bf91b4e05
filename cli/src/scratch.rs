//! Temporary folders that go away however the tool ends.
//!
//! A [`ScratchFolder`] removes itself when it is dropped. A signal that ends the tool drops nothing, so the
//! folders are also listed, and [`remove_all`] is called by whoever ends the process (`machine::interrupt`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

use crate::failure::{Failure, Result};

static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths has no broken state to fear.
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary folder.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: TempDir,
}

impl ScratchFolder {
    pub fn new_in(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("crema-")
            .tempdir_in(parent)
            .map_err(Failure::io("make a folder in", parent))?;
        folders().insert(folder.path().to_path_buf());
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        folders().remove(self.folder.path());
    }
}

/// Removes every scratch folder there is. For the moment before the process ends.
pub fn remove_all() {
    for folder in folders().iter() {
        // Nothing can be done about a failure this late.
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = ScratchFolder::new_in(parent.path()).unwrap();
        let path = folder.path().to_path_buf();
        fs::write(path.join("x"), "x").unwrap();
        assert!(folders().contains(&path));
        drop(folder);
        assert!(!path.exists() && !folders().contains(&path));
    }
}
