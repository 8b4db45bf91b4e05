//! Where things are: the project's root, the cache, and what cargo builds from the project.
//!
//! Responsible for finding the root, for building the kernel and the JVM bridge, and for the folder in which
//! images and logs are kept. Not for what is in an image.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::failure::{Failure, Result};

/// The folder of the project, and its cache.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    cache: PathBuf,
}

impl Project {
    /// Finds the project: `CREMA_ROOT`, which the `crema` script sets, or else the folder that the tool was
    /// built in.
    pub fn find() -> Result<Self> {
        let is_root = |path: &Path| path.join("kernel/Cargo.toml").is_file();
        let root = match env::var_os("CREMA_ROOT") {
            Some(root) => PathBuf::from(root),
            None => env::current_exe()
                .ok()
                .and_then(|exe| exe.ancestors().find(|path| is_root(path)).map(Path::to_path_buf))
                .ok_or_else(|| Failure::new("cannot find the project's folder: start ./crema in it"))?,
        };
        if !is_root(&root) {
            return Err(Failure::new(format!("{} is not the folder of the project", root.display())));
        }
        let cache = cache_folder(&root)?;
        Ok(Self { root, cache })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder below the cache, made if it is not there.
    pub fn cache(&self, name: &str) -> Result<PathBuf> {
        let path = self.cache.join(name);
        fs::create_dir_all(&path).map_err(Failure::io("make", &path))?;
        Ok(path)
    }

    /// The ELF file of the kernel: the one that is asked for, or the project's own, built now.
    pub fn kernel(&self, asked_for: Option<&Path>) -> Result<PathBuf> {
        if let Some(kernel) = asked_for {
            return Ok(kernel.to_path_buf());
        }
        // In the kernel's own folder, for its flags are in its `.cargo/config.toml`. RUSTFLAGS would
        // displace them.
        let target = self.root.join("target/kernel");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--target-dir"]).arg(&target);
        cargo.current_dir(self.root.join("kernel"));
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        run_build(cargo, "the kernel")?;
        built(target.join("x86_64-unknown-linux-gnu/release/crema-kernel"))
    }

    /// Builds the program that hosts the JVM in the guest.
    pub fn jvm_bridge(&self) -> Result<PathBuf> {
        let target = self.root.join("target");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--package", "jvm-bridge", "--target-dir"]).arg(&target);
        cargo.current_dir(&self.root).env_remove("CARGO_BUILD_TARGET");
        run_build(cargo, "the JVM bridge")?;
        built(target.join("release/jvm-bridge"))
    }
}

/// `target/crema` of the project, or a folder of the user's where the project cannot be written.
fn cache_folder(root: &Path) -> Result<PathBuf> {
    let own = root.join("target/crema");
    if fs::create_dir_all(&own).is_ok() && tempfile::tempfile_in(&own).is_ok() {
        return Ok(own);
    }
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or_else(|| Failure::new(format!("cannot write to {}, and HOME is not set", own.display())))?;
    Ok(base.join("crema"))
}

/// Runs cargo. That something is built is told only if it is: that cargo looks at the sources, and finds
/// nothing to do, concerns nobody.
fn run_build(mut cargo: Command, what: &str) -> Result<()> {
    let cannot = |error: io::Error| {
        Failure::new(format!("cannot run cargo ({error}): install Rust, see https://rustup.rs"))
    };
    cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env("CARGO_TERM_COLOR", "never");
    let mut child = cargo.spawn().map_err(cannot)?;
    let mut told = false;
    let mut complaint = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.map_err(cannot)?;
        if line.starts_with("   Compiling ") {
            if !std::mem::replace(&mut told, true) {
                eprintln!("crema: building {what} ...");
            }
        } else {
            complaint.push_str(&line);
            complaint.push('\n');
        }
    }
    if child.wait().map_err(cannot)?.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{what} does not build:\n{}", complaint.trim_end())))
}

fn built(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(Failure::new(format!("cargo did not make {}", path.display())))
    }
}

/// One line on standard error, for work that takes longer than a moment.
pub struct Progress {
    done: mpsc::Sender<()>,
    printer: thread::JoinHandle<()>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_millis(300);

    pub fn start(what: String) -> Self {
        let (done, wait) = mpsc::channel();
        let printer = thread::spawn(move || {
            if wait.recv_timeout(Self::PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("crema: {what} ...");
            }
        });
        Self { done, printer }
    }

    pub fn finish(self) {
        drop(self.done);
        // The printer cannot fail in a way that matters: it prints or it does not.
        let _ = self.printer.join();
    }
}
