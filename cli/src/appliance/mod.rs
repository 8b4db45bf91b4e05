//! Appliances: folders with a `crema.toml` that says what is run, and on what.
//!
//! Responsible for turning a manifest into what the user could have written as options: [`manifest`] reads it, [`lock`] has its jars
//! from the registry ([`maven`], [`coordinates`]), and its own sources are compiled here. What the user writes besides comes later and
//! so wins. Not responsible for what options mean (`application`, `network`, `machine`).

mod coordinates;
pub mod lock;
mod manifest;
mod maven;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

pub use self::manifest::Manifest;
use crate::{
    failure::{Failure, Result},
    image::jre::JAVA_HOME,
    options::{ApplicationOptions, MachineOptions, NetworkOptions},
    project::{Progress, Project},
};

impl Manifest {
    /// The manifest in the folder that the user names as what to run; `None` if that is nothing of the kind.
    pub fn of_target(target: Option<&Path>) -> Result<Option<Self>> {
        match target {
            Some(path) if path.is_dir() && Self::is_in(path) => Self::read(path).map(Some),
            // What is meant as an appliance gets another sentence than what is meant as a jar.
            Some(path)
                if !path.exists()
                    && path.extension().is_none()
                    && path.parent().is_some_and(has_appliances) =>
            {
                Err(Failure::new(format!("there is no appliance {}", path.display())))
            }
            _ => Ok(None),
        }
    }

    /// What the machine is to be like, unless the user says otherwise.
    pub fn complete_machine(&self, options: &mut MachineOptions) {
        options.memory = options.memory.or(self.memory);
        options.cpus = options.cpus.or(self.cpus);
    }

    /// Ports and name, unless the user gives others.
    pub fn complete_network(&self, options: &mut NetworkOptions) {
        options.complete(&self.ports, self.hostname.as_ref());
    }

    /// The jar to run, if it is one, with everything that goes into the image. The user's own options and arguments come after the
    /// manifest's.
    pub fn prepare(&self, user: &ApplicationOptions, project: &Project) -> Result<Prepared> {
        let mut class_path = Vec::new();
        let jars = lock::jars(self, project)?;
        if let Some(sources) = &self.sources {
            let libraries: Vec<&PathBuf> = jars.iter().chain(&self.class_path).collect();
            class_path.push(compile(&self.folder, sources, &libraries, project)?);
        }
        class_path.extend(self.class_path.iter().cloned());
        class_path.extend(jars);
        let shown = |path: &PathBuf| path.display().to_string();
        let mut options = ApplicationOptions {
            main: self.main.clone(),
            class_path: class_path.iter().map(shown).collect(),
            java_options: self.java_options.clone(),
            env: self.env.clone(),
            program: None,
            files: self.files.clone(),
        };
        options.main = user.main.clone().or(options.main);
        options.class_path.extend(user.class_path.iter().cloned());
        options.java_options.extend(user.java_options.iter().cloned());
        options.env.extend(user.env.iter().cloned());
        options.files.extend(user.files.iter().cloned());
        Ok(Prepared { jar: self.jar.clone(), options })
    }
}

/// An appliance whose jars are there and whose sources are compiled.
pub struct Prepared {
    pub jar: Option<PathBuf>,
    pub options: ApplicationOptions,
}

fn has_appliances(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| Manifest::is_in(&entry.path())))
}

/// Compiles an appliance's sources, unless that was done since one of them changed. Returns the folder with the classes.
fn compile(appliance: &Path, sources: &Path, libraries: &[&PathBuf], project: &Project) -> Result<PathBuf> {
    let mut files = Vec::new();
    find_sources(sources, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(format!("there is no Java source in {}", sources.display())));
    }
    let mut hash = Sha256::new();
    for file in &files {
        let bytes = fs::read(file).map_err(Failure::io("read", file))?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    // A jar's path has its checksum in it.
    libraries.iter().for_each(|path| hash.update(path.as_os_str().as_encoded_bytes()));
    let digest: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let name = appliance.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = project.cache("appliances")?;
    let classes = parent.join(format!("{name}-{digest}"));
    if classes.is_dir() {
        return Ok(classes);
    }
    let scratch = crate::scratch::ScratchFolder::new_in(&parent)?;
    let unfinished = scratch.path().join("classes");
    let progress = Progress::start(format!("compiling {}", appliance.display()));
    let mut javac = Command::new(format!("{JAVA_HOME}/bin/javac"));
    javac.args(["--release", "17", "-nowarn", "-d"]).arg(&unfinished);
    if !libraries.is_empty() {
        let class_path: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
        javac.args(["-cp", &class_path.join(":")]);
    }
    let output = javac.args(&files).output().map_err(|error| {
        Failure::new(format!("cannot start javac ({error}): apt install openjdk-17-jdk-headless"))
    });
    progress.finish();
    let output = output?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "{} does not compile:\n{}",
            appliance.display(),
            complaint.trim_end()
        )));
    }
    // Another tool may have been quicker; its classes are the same.
    match fs::rename(&unfinished, &classes) {
        Err(_) if classes.is_dir() => Ok(classes),
        renamed => renamed.map(|()| classes).map_err(Failure::io("move", &unfinished)),
    }
}

fn find_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Failure::io("read", folder))? {
        let path = entry.map_err(Failure::io("read", folder))?.path();
        if path.is_dir() {
            find_sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "java") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::link::Link, options::MemoryMib};

    fn manifest(text: &str) -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("crema.toml"), text).unwrap();
        let manifest = Manifest::read(folder.path()).unwrap();
        (folder, manifest)
    }

    #[test]
    fn the_user_has_the_last_word() {
        let (_folder, manifest) = manifest(
            "main = 'M'\nmemory = '256M'\ncpus = 2\nports = ['80:80']\nhostname = 'a'\njava-options = ['-Xa']\n[env]\nA = 'a'\n",
        );
        let mut machine = MachineOptions { cpus: Some(4), ..MachineOptions::default() };
        manifest.complete_machine(&mut machine);
        assert_eq!((machine.memory, machine.cpus), (Some(MemoryMib(256)), Some(4)));

        let completed = |mut options: NetworkOptions| {
            manifest.complete_network(&mut options);
            options
        };
        assert_eq!(completed(NetworkOptions::default()).forwards, manifest.ports);
        assert_eq!(completed(NetworkOptions::default()).hostname.as_deref(), Some("a"));
        let other = vec!["81:80".parse().unwrap()];
        let options = NetworkOptions { forwards: other.clone(), ..NetworkOptions::default() };
        assert_eq!(completed(options).forwards, other);
        let options = NetworkOptions { link: Some(Link::None), ..NetworkOptions::default() };
        assert!(completed(options).forwards.is_empty());
    }

    #[test]
    fn only_folders_with_a_manifest_are_appliances() {
        let (folder, manifest) = manifest("main = 'M'");
        assert_eq!(Manifest::of_target(Some(folder.path())), Ok(Some(manifest)));
        assert_eq!(Manifest::of_target(None), Ok(None));
        let apps = tempfile::tempdir().unwrap();
        let at = |name: &str| apps.path().join(name);
        assert_eq!(Manifest::of_target(Some(&at("none"))), Ok(None));
        fs::create_dir(at("x")).unwrap();
        fs::write(at("x/crema.toml"), "main = 'M'").unwrap();
        let sentence = Manifest::of_target(Some(&at("none"))).unwrap_err().to_string();
        assert!(sentence.contains("there is no appliance"), "{sentence}");
        assert_eq!(Manifest::of_target(Some(&at("none.jar"))), Ok(None));
    }
}
