//! The sides of a comparison: kernels, and what goes with each.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use run_config::RunConfig;

use crate::{
    failure::{Failure, Result},
    linux_guest::LinuxGuest,
    options::{BenchOpponent, BenchOptions, NetChannelsChoice},
    project::Project,
};

/// Switches off what the JVM bridge does for Crema alone: on Linux the JVM has the JDK's own defaults.
const JDK_DEFAULTS: &str = "CREMA_HEAP_POLICY=off";

/// One kernel with its settings.
#[derive(Clone)]
pub struct Side {
    pub name: String,
    kernel: PathBuf,
    linux: Option<Arc<LinuxGuest>>,
    pub channels: NetChannelsChoice,
    /// Options for the JVM that this side has and others have not.
    pub java_options: Vec<String>,
}

impl Side {
    fn new(name: &str, kernel: PathBuf, linux: Option<LinuxGuest>) -> Self {
        Self {
            name: name.into(),
            kernel,
            linux: linux.map(Arc::new),
            channels: NetChannelsChoice::On,
            java_options: vec![],
        }
    }

    /// The same kernel with other settings, under another name.
    pub fn variant(&self, name: impl Into<String>, change: impl FnOnce(&mut Self)) -> Self {
        let mut side = Self { name: name.into(), ..self.clone() };
        change(&mut side);
        side
    }

    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    pub fn linux(&self) -> Option<&LinuxGuest> {
        self.linux.as_deref()
    }

    /// For the list of versions.
    pub fn description(&self) -> String {
        match &self.linux {
            Some(linux) => format!("{}, booted with \"{}\"", linux.version(), linux.command_line()),
            None => self.kernel.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// What is different for this side in how a program is started.
    pub fn configure(&self, config: &mut RunConfig) {
        if self.linux.is_some() {
            config.env.push(JDK_DEFAULTS.into());
        }
        if !self.java_options.is_empty() && !config.args.is_empty() {
            config.args.splice(1..1, self.java_options.iter().cloned());
        }
    }
}

/// The sides that the user wants: Crema first.
pub fn sides(options: &BenchOptions, project: &Project) -> Result<Vec<Side>> {
    let mut sides = Vec::new();
    if options.against != BenchOpponent::LinuxAlone {
        sides.push(Side::new("Crema", project.kernel(options.machine.kernel.as_deref())?, None));
    }
    match &options.against {
        BenchOpponent::None => {}
        BenchOpponent::Linux | BenchOpponent::LinuxAlone => {
            let linux = LinuxGuest::prepare(project, options.mitigations)?;
            sides.push(Side::new("Linux", linux.kernel().to_path_buf(), Some(linux)));
        }
        BenchOpponent::Kernel(path) => sides.push(other_kernel(path, options, project)?),
    }
    Ok(sides)
}

/// Another Linux kernel, or another build of Crema's.
fn other_kernel(path: &Path, options: &BenchOptions, project: &Project) -> Result<Side> {
    let bytes = fs::read(path).map_err(Failure::io("read", path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if LinuxGuest::is_linux(&bytes) {
        let linux = LinuxGuest::of_kernel(path, &bytes, project, options.mitigations)?;
        return Ok(Side::new(&name, linux.kernel().to_path_buf(), Some(linux)));
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Failure::new(format!(
            "{} is neither a Linux kernel nor a build of Crema's, to compare with (--against)",
            path.display()
        )));
    }
    let name = if name == "Crema" { "other Crema".into() } else { name };
    Ok(Side::new(&name, path.to_path_buf(), None))
}
