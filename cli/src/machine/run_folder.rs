//! What is kept of a run: the kernel's log, QEMU's messages, and the files that the guest sent.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use crate::{
    failure::{Failure, Result},
    project::Project,
};

/// How many runs are kept: those of one whole crema test, so that each failure in it can be looked into.
const KEPT_RUNS: usize = 600;

/// Files that one guest can make us keep.
const FILES_LIMIT: usize = 64;

static RUNS: AtomicU32 = AtomicU32::new(0);

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub fn new(project: &Project) -> Result<Self> {
        let parent = project.cache("runs")?;
        trim(&parent);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{:013}-{}-{number}", now.as_millis(), process::id()));
        fs::create_dir(&path).map_err(Failure::io("make", &path))?;
        Ok(Self { path })
    }

    #[cfg(test)]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub fn kernel_log(&self) -> PathBuf {
        self.path.join("kernel.log")
    }

    pub fn qemu_log(&self) -> PathBuf {
        self.path.join("qemu.log")
    }

    /// The last lines of the kernel's log.
    pub fn last_log_lines(&self, count: usize) -> String {
        let bytes = fs::read(self.kernel_log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Makes a file for what the guest sends. `name` must be harmless already; a name that is taken gets a
    /// number. `None` if there are too many.
    pub fn guest_file(&self, name: &str) -> Option<(PathBuf, File)> {
        let folder = self.path.join("files");
        fs::create_dir_all(&folder).ok()?;
        (0..FILES_LIMIT).find_map(|number| {
            let name = if number == 0 { name.to_string() } else { format!("{name}.{number}") };
            let path = folder.join(name);
            Some((path.clone(), File::create_new(&path).ok()?))
        })
    }
}

/// Removes the oldest runs. Their names begin with the time.
fn trim(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    folders.sort();
    for folder in folders.iter().rev().skip(KEPT_RUNS) {
        // Another tool may be doing the same.
        let _ = fs::remove_dir_all(folder);
    }
}
