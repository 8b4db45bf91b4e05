//! The folder of named volumes, and making new ones.

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::request::{Name, VolumeSize};
use crate::{
    failure::{Failure, Result, reason},
    image::ext4,
};

/// Ending of a volume's file.
const SUFFIX: &str = ".img";

/// The user's volumes: files in `$XDG_DATA_HOME/crema/volumes` (XDG Base Directory Specification).
pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn find() -> Result<Self> {
        let data = env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
            .ok_or_else(|| Failure::new("volumes are kept in the home folder, and HOME is not set"))?;
        Ok(Self { folder: data.join("crema/volumes") })
    }

    /// Where a volume is, or would be.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }

    /// Makes a volume; another tool may have made it meanwhile.
    pub fn create(&self, name: &Name, size: VolumeSize) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Failure::io("make", &self.folder))?;
        make_file(&self.path(name), size, name.as_str())
    }
}

/// Makes a sparse file with an empty file system. It appears under its name when it is complete; what is there by then stays.
pub fn make_file(path: &Path, size: VolumeSize, label: &str) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new()
        .prefix(".crema-volume-")
        .tempfile_in(parent)
        .map_err(Failure::io("make a file in", parent))?;
    unfinished.as_file().set_len(size.0).map_err(Failure::io("make", path))?;
    ext4::make_empty(unfinished.path(), label)?;
    match unfinished.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot make {}: {}", path.display(), reason(&error.error)))),
    }
}
