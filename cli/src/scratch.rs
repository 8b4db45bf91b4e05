//! Temporary folders that go away however the tool ends.
//!
//! A [`ScratchFolder`] removes itself when it is dropped. A signal that ends the tool drops nothing, so the
//! folders are also listed, and [`remove_all`] is called by whoever ends the process (`machine::interrupt`).
//! What even that misses (SIGKILL, a power cut) is found by the next folder made beside it: each has a file
//! that its owner holds a flock(2) on.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::failure::{Failure, Result};

const PREFIX: &str = "crema-scratch-";
const LOCK_FILE: &str = ".lock";

/// A folder younger than this may not have its lock yet.
const LEAST_AGE: Duration = Duration::from_secs(60);

static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths has no broken state to fear.
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary folder.
#[derive(Debug)]
pub struct ScratchFolder {
    folder: TempDir,
    _lock: File,
}

impl ScratchFolder {
    pub fn new_in(parent: &Path) -> Result<Self> {
        remove_abandoned(parent);
        let cannot = || Failure::io("make a folder in", parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(cannot())?;
        folders().insert(folder.path().to_path_buf());
        let lock = File::create(folder.path().join(LOCK_FILE)).map_err(cannot())?;
        lock.lock().map_err(cannot())?;
        Ok(Self { folder, _lock: lock })
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

/// Removes the folders in `parent` whose owners are gone. Whatever fails is left for another time.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let is_scratch = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_scratch
            && age().is_some_and(|age| age > LEAST_AGE)
            && File::open(entry.path().join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock().is_ok())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn abandoned_folders_are_removed_and_others_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            File::create(path.join(LOCK_FILE)).unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - LEAST_AGE * 2).unwrap();
            path
        };
        let abandoned = make(&format!("{PREFIX}a"));
        let foreign = make("other");
        let in_use = make(&format!("{PREFIX}b"));
        let lock = File::open(in_use.join(LOCK_FILE)).unwrap();
        lock.lock().unwrap();
        let _new = ScratchFolder::new_in(parent.path()).unwrap();
        assert_eq!((abandoned.exists(), foreign.exists(), in_use.exists()), (false, true, true));
    }

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
