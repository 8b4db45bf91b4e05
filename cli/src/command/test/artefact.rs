//! Files that tests need from a package registry: fetched by the registry's own client, checked, and kept.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::java_spec::{Artefact, Registry};
use crate::{
    failure::{Failure, Result},
    project::{Progress, Project},
    scratch::ScratchFolder,
};

/// The artefact's file, fetched now unless it is there already.
pub fn fetch(artefact: &Artefact, project: &Project) -> Result<PathBuf> {
    let start = artefact.sha256.get(..16).unwrap_or(&artefact.sha256);
    let folder = project.cache("artefacts")?.join(start);
    let kept = folder.join(&artefact.name);
    if kept.is_file() {
        return Ok(kept);
    }
    fs::create_dir_all(&folder).map_err(Failure::io("make", &folder))?;
    let progress = Progress::start(format!("fetching {} {}", artefact.package, artefact.version));
    let scratch = ScratchFolder::new_in(&folder)?;
    let served = match artefact.from {
        Registry::Npm => from_npm(artefact, scratch.path()),
        Registry::Maven => from_maven(artefact, scratch.path()),
    };
    progress.finish();
    let served = served?;
    let bytes = fs::read(&served).map_err(Failure::io("read", &served))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != artefact.sha256 {
        return Err(Failure::new(format!(
            "{} {} is not what it was: its sha256 is {digest}, not {}",
            artefact.package, artefact.version, artefact.sha256
        )));
    }
    let file = match &artefact.file {
        None => served,
        Some(file) => {
            let mut tar = Command::new("tar");
            tar.arg("--extract").arg("--file").arg(&served).arg("--directory").arg(scratch.path()).arg(file);
            run(tar, artefact)?;
            scratch.path().join(file)
        }
    };
    fs::rename(&file, &kept).map_err(Failure::io("move", &file))?;
    Ok(kept)
}

fn from_npm(artefact: &Artefact, scratch: &Path) -> Result<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("{}@{}", artefact.package, artefact.version)])
        .current_dir(scratch);
    let said = run(npm, artefact)?;
    let name = said.split_whitespace().last().unwrap_or_default();
    Ok(scratch.join(name))
}

fn from_maven(artefact: &Artefact, scratch: &Path) -> Result<PathBuf> {
    let Artefact { package, version, classifier, .. } = artefact;
    let (group, name) =
        package.split_once(':').ok_or_else(|| Failure::new(format!("{package} is not GROUP:ARTIFACT")))?;
    let classifier_of =
        |separator: &str| classifier.as_ref().map_or(String::new(), |c| format!("{separator}{c}"));
    let repository = scratch.join("repository");
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "dependency:get", "-Dtransitive=false"]);
    maven.arg(format!("-Dartifact={package}:{version}:jar{}", classifier_of(":")));
    maven.arg(format!("-Dmaven.repo.local={}", repository.display()));
    run(maven, artefact)?;
    let folder = repository.join(group.replace('.', "/")).join(name).join(version);
    Ok(folder.join(format!("{name}-{version}{}.jar", classifier_of("-"))))
}

/// Runs a client, and returns what it said.
fn run(mut command: Command, artefact: &Artefact) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |why: &str| {
        Failure::new(format!("{program} cannot get {} {}: {why}", artefact.package, artefact.version))
    };
    let output = command.output().map_err(|error| cannot(&error.to_string()))?;
    if !output.status.success() {
        return Err(cannot(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
