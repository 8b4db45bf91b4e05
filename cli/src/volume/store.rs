//! The folder of named volumes, and making new ones.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::request::{Name, Source, VolumeSize};
use crate::{
    failure::{Failure, Result},
    image::ext4,
    scratch::ScratchFolder,
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

    /// All there are, in the order of their names.
    pub fn names(&self) -> Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Failure::io("read", &self.folder)(error)),
        };
        let name_of = |entry: fs::DirEntry| -> Option<Name> {
            entry.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok()
        };
        let mut names: Vec<Name> = entries.filter_map(|entry| name_of(entry.ok()?)).collect();
        names.sort();
        Ok(names)
    }
}

/// Makes a sparse file with a file system, which `fill` may fill. It appears under its name when it is complete, so a run that is ended
/// meanwhile leaves none; if somebody else has made one by then, that one stays.
pub fn make(volume: &Source, size: VolumeSize, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let (path, label) = match volume {
        Source::Named(name) => {
            let store = Store::find()?;
            fs::create_dir_all(&store.folder).map_err(Failure::io("make", &store.folder))?;
            (store.path(name), name.as_str())
        }
        Source::File(path) => (path.clone(), ""),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = ScratchFolder::new_in(parent)?;
    let unfinished = scratch.path().join("volume");
    let file = File::options().read(true).write(true).create_new(true).open(&unfinished);
    let file = file.map_err(Failure::io("make", &unfinished))?;
    file.set_len(ext4::whole_groups(size.0)).map_err(Failure::io("make", &path))?;
    ext4::make_empty(&unfinished, label)?;
    fill(&file)?;
    // Not a rename, which would replace what is there.
    match fs::hard_link(&unfinished, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(Failure::io("make", &path)),
    }
}
