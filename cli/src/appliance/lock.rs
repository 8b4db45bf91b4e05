//! `crema.lock`: the jars of an appliance that come from the Maven registry, each with its checksum.
//!
//! Responsible for the file, for making it, and for having the jars it names. What a jar needs in turn is resolved once, when the file
//! is made; from then on only what it lists is fetched, and only what has the checksum is taken.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    coordinates::Coordinates,
    manifest::Manifest,
    maven::{self, Dependencies},
};
use crate::{
    failure::{Failure, Result},
    project::{Progress, Project},
    scratch::ScratchFolder,
};

/// Name of the file in an appliance's folder.
const LOCK: &str = "crema.lock";

/// Classifiers of native code for machines that no guest is.
const OTHER_PLATFORMS: [&str; 6] = ["aarch_64", "aarch64", "osx", "windows", "ppc", "riscv"];

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The manifest's list that this was made of.
    maven: Vec<String>,
    /// Checksums (SHA-256) by coordinates.
    sha256: BTreeMap<String, String>,
}

/// One jar.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Jar {
    coordinates: Coordinates,
    sha256: String,
}

/// The jars of an appliance in the cache, fetched now if they are not there.
pub fn jars(manifest: &Manifest, project: &Project) -> Result<Vec<PathBuf>> {
    if manifest.maven.is_empty() {
        return Ok(vec![]);
    }
    let jars = read(manifest)?;
    let cache = project.cache("jars")?;
    let kept = |jar: &Jar| cache.join(&jar.sha256).join(jar.coordinates.file_name());
    let missing: Vec<&Jar> = jars.iter().filter(|jar| !kept(jar).is_file()).collect();
    if !missing.is_empty() {
        let what = match missing[..] {
            [jar] => jar.coordinates.to_string(),
            _ => format!("{} jars of {}", missing.len(), manifest.folder.display()),
        };
        let progress = Progress::start(format!("fetching {what}"));
        let scratch = ScratchFolder::new_in(&cache)?;
        let wanted: Vec<_> = missing.iter().map(|jar| jar.coordinates.clone()).collect();
        let served = maven::fetch(&wanted, Dependencies::LeaveOut, scratch.path());
        progress.finish();
        let served = served?;
        for jar in missing {
            let path = served.join(jar.coordinates.path());
            let digest = sha256(&path)?;
            if digest != jar.sha256 {
                return Err(Failure::new(format!(
                    "{} is not what it was: its sha256 is {digest}, and {} says {}",
                    jar.coordinates,
                    manifest.folder.join(LOCK).display(),
                    jar.sha256
                )));
            }
            let folder = cache.join(&jar.sha256);
            fs::create_dir_all(&folder).map_err(Failure::io("make", &folder))?;
            fs::rename(&path, kept(jar)).map_err(Failure::io("move", &path))?;
        }
    }
    Ok(jars.iter().map(kept).collect())
}

/// Resolves what the manifest asks for, and writes the file.
pub fn make(manifest: &Manifest, project: &Project) -> Result<usize> {
    if manifest.maven.is_empty() {
        return Err(Failure::new(format!(
            "{} asks for nothing from the Maven registry: there is nothing to lock",
            manifest.folder.display()
        )));
    }
    let scratch = ScratchFolder::new_in(&project.cache("jars")?)?;
    let progress = Progress::start(format!("resolving the jars of {}", manifest.folder.display()));
    let served = maven::fetch(&manifest.maven, Dependencies::Resolve, scratch.path());
    progress.finish();
    let served = served?;
    let mut paths = Vec::new();
    find(&served, &mut paths)?;
    let mut checksums = BTreeMap::new();
    for path in paths {
        let relative = path.strip_prefix(&served).unwrap_or(&path);
        let coordinates = Coordinates::of_path(relative).ok_or_else(|| {
            Failure::new(format!("Maven gave a file of no known name: {}", relative.display()))
        })?;
        let elsewhere = |classifier: &String| OTHER_PLATFORMS.iter().any(|other| classifier.contains(other));
        if !coordinates.classifier.as_ref().is_some_and(elsewhere) {
            checksums.insert(coordinates.to_string(), sha256(&path)?);
        }
    }
    let count = checksums.len();
    let file = File { maven: manifest.maven.iter().map(Coordinates::to_string).collect(), sha256: checksums };
    let path = manifest.folder.join(LOCK);
    let written = format!(
        "# Made by crema lock. The jars that crema.toml asks for and those that they need, with their checksums.\n{}",
        render(&file)
    );
    fs::write(&path, written).map_err(Failure::io("write", &path))?;
    Ok(count)
}

/// One line for each jar, so that a change is seen for what it is.
fn render(file: &File) -> String {
    let maven: String = file.maven.iter().map(|text| format!("    \"{text}\",\n")).collect();
    let jars: String =
        file.sha256.iter().map(|(name, sha256)| format!("\"{name}\" = \"{sha256}\"\n")).collect();
    format!("maven = [\n{maven}]\n\n[sha256]\n{jars}")
}

fn read(manifest: &Manifest) -> Result<Vec<Jar>> {
    let path = manifest.folder.join(LOCK);
    let shown = path.display();
    let again = format!("crema lock {}", manifest.folder.display());
    let text = fs::read_to_string(&path).map_err(|_| {
        Failure::new(format!("there is no {shown}, which names the jars' checksums: {again}"))
    })?;
    let damaged = |why: &str| Failure::new(format!("{shown}: {why}: make it again with {again}"));
    let file: File = toml::from_str(&text).map_err(|error| damaged(&error.message().replace('\n', " ")))?;
    let asked: Vec<String> = manifest.maven.iter().map(Coordinates::to_string).collect();
    if file.maven != asked {
        return Err(damaged("it is of another crema.toml"));
    }
    let jar = |(name, sha256): (String, String)| {
        let coordinates = name.parse().map_err(|why: String| damaged(&format!("{name:?}: {why}")))?;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(damaged(&format!("{sha256:?} is no SHA-256")));
        }
        Ok(Jar { coordinates, sha256 })
    };
    file.sha256.into_iter().map(jar).collect()
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Failure::io("read", path))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All jars below a folder.
fn find(folder: &Path, jars: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Failure::io("read", folder))? {
        let path = entry.map_err(Failure::io("read", folder))?.path();
        if path.is_dir() {
            find(&path, jars)?;
        } else if path.extension().is_some_and(|extension| extension == "jar") {
            jars.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(folder: &Path) -> Manifest {
        fs::write(folder.join("crema.toml"), "main = 'M'\nmaven = ['a:b:1', 'a:c:2']\n").unwrap();
        Manifest::read(folder).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(folder.path());
        let digest = "0123456789abcdef".repeat(4);
        let file = File {
            maven: vec!["a:b:1".into(), "a:c:2".into()],
            sha256: [("a:b:1", &digest), ("a:c:2:linux-x86_64", &digest)]
                .map(|(name, sha256)| (name.to_string(), sha256.clone()))
                .into(),
        };
        fs::write(folder.path().join(LOCK), render(&file)).unwrap();
        let jars = read(&manifest).unwrap();
        assert_eq!(jars.len(), 2);
        assert_eq!(jars[1].coordinates.to_string(), "a:c:2:linux-x86_64");
        assert_eq!(jars[1].sha256, digest);
    }

    #[test]
    fn mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(folder.path());
        let sentence = || read(&manifest).unwrap_err().to_string();
        assert!(sentence().contains("there is no"), "{}", sentence());
        let digest = "0".repeat(64);
        for (text, part) in [
            ("x".to_string(), "make it again"),
            ("maven = ['a:b:1']\n[sha256]\n".into(), "it is of another crema.toml"),
            ("maven = ['a:b:1', 'a:c:2']\n[sha256]\n'a:b' = 'x'\n".into(), "GROUP:ARTIFACT"),
            ("maven = ['a:b:1', 'a:c:2']\n[sha256]\n'a:b:1' = 'x'\n".into(), "is no SHA-256"),
            (
                format!("maven = ['a:b:1', 'a:c:2']\nmd5 = 1\n[sha256]\n'a:b:1' = '{digest}'\n"),
                "unknown field",
            ),
        ] {
            fs::write(folder.path().join(LOCK), text).unwrap();
            assert!(sentence().contains(part) && !sentence().contains('\n'), "{}", sentence());
        }
    }
}
