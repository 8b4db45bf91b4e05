//! The image cache: an image is made once, and used as long as nothing that went into it changes.
//!
//! An image is in use as long as its [`CachedImage`] lives, which holds a shared flock(2) on it; the cache is
//! trimmed only by whoever gets an exclusive one. Two tools that want the same image make it one after the
//! other: each makes it under an exclusive lock on `FINGERPRINT.lock`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{ext4, recipe::Recipe};
use crate::{
    failure::{Failure, Result},
    project::{Progress, Project},
    scratch::ScratchFolder,
};

/// Part of each fingerprint: to be raised when this tool makes other images of the same recipe.
const FORMAT: &str = "1";

/// How many images are kept. One takes about 220 MB on the disk.
const KEPT_IMAGES: usize = 12;

/// An image in the cache, kept from being removed.
#[derive(Debug)]
pub struct CachedImage {
    path: PathBuf,
    _lock: File,
}

impl CachedImage {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image of this recipe, made now if it is not in the cache.
    pub fn of(recipe: &Recipe, project: &Project) -> Result<Self> {
        let folder = project.cache("images")?;
        let name = format!("{}-{FORMAT}", &recipe.fingerprint()?[..32]);
        let path = folder.join(format!("{name}.img"));
        if let Some(image) = Self::open(&path)? {
            return Ok(image);
        }
        let lock_path = folder.join(format!("{name}.lock"));
        let making = File::create(&lock_path).map_err(Failure::io("make", &lock_path))?;
        making.lock().map_err(Failure::io("lock", &lock_path))?;
        if let Some(image) = Self::open(&path)? {
            return Ok(image);
        }
        let progress = Progress::start("making the image".into());
        // On the same file system as the cache, so that the image only needs another name when it is
        // finished.
        let scratch = ScratchFolder::new_in(&folder)?;
        let unfinished = scratch.path().join("image");
        let made = ext4::make(recipe, &unfinished, scratch.path())
            .and_then(|()| fs::rename(&unfinished, &path).map_err(Failure::io("make", &path)));
        progress.finish();
        made?;
        let image =
            Self::open(&path)?.ok_or_else(|| Failure::new(format!("{} has gone again", path.display())))?;
        trim(&folder);
        Ok(image)
    }

    /// Opens and locks an image, and marks it as used just now. `None` if it is not there (any more).
    fn open(path: &Path) -> Result<Option<Self>> {
        let Ok(lock) = File::open(path) else { return Ok(None) };
        lock.lock_shared().map_err(Failure::io("lock", path))?;
        if !path.exists() {
            return Ok(None);
        }
        // Only the order of removal hangs on it.
        let _ = lock.set_modified(SystemTime::now());
        Ok(Some(Self { path: path.to_path_buf(), _lock: lock }))
    }
}

/// Removes the images that were not used for longest. Failures are left for the next time.
fn trim(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut images: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "img"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    images.sort_by(|one, other| other.cmp(one));
    for (_, path) in images.iter().skip(KEPT_IMAGES) {
        if File::open(path).is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(path).is_ok()) {
            let _ = fs::remove_file(path.with_extension("lock"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_spares_the_newest_and_those_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let image = |number: usize| dir.path().join(format!("{number:02}.img"));
        for number in 0..KEPT_IMAGES + 3 {
            let file = File::create(image(number)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64))
                .unwrap();
        }
        let in_use = File::open(image(1)).unwrap();
        in_use.lock_shared().unwrap();
        trim(dir.path());
        let left: Vec<bool> = (0..KEPT_IMAGES + 3).map(|number| image(number).exists()).collect();
        assert_eq!(left[..4], [false, true, false, true]);
        assert!(left[4..].iter().all(|exists| *exists));
    }
}
