//! What can be known about a jar before it is booted.
//!
//! Responsible for finding the mistakes that would otherwise show as a stack trace a boot later: no such
//! file, not a jar, no main class, class files of a later Java. Not for packing (`application`), nor for
//! anything that the JVM judges better than we could (verification, signatures, module resolution).

mod class_file;
mod manifest;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use zip::{ZipArchive, result::ZipError};

use self::manifest::Manifest;
use crate::failure::{Failure, Result, reason};

/// Largest manifest that is read. The JDK itself has no limit; a real one is a few KiB, and this one bounds
/// what a made-up jar can make us allocate.
const MANIFEST_LIMIT_BYTES: u64 = 16 << 20;

/// An opened jar.
pub struct Jar {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    manifest: Manifest,
}

impl Jar {
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("there is no file {shown}")),
            _ => Failure::new(format!("cannot read {shown}: {}", reason(&error))),
        })?;
        if file.metadata().is_ok_and(|data| data.is_dir()) {
            return Err(Failure::new(format!(
                "{shown} is a folder, not a jar: an appliance has a crema.toml, and a folder of classes is run with --classpath {shown} --main CLASS"
            )));
        }
        if class_file::has_magic(&mut file) {
            return Err(Failure::new(format!(
                "{shown} is a class file, not a jar: it is run with --classpath FOLDER --main CLASS"
            )));
        }
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| not_a_jar(&shown, &error))?;
        let manifest = match archive.by_name("META-INF/MANIFEST.MF") {
            Ok(entry) => {
                let mut bytes = Vec::new();
                entry.take(MANIFEST_LIMIT_BYTES).read_to_end(&mut bytes).map_err(|error| {
                    Failure::new(format!("{shown} is damaged: its manifest cannot be read: {error}"))
                })?;
                Manifest::parse(&bytes)
            }
            Err(_) => Manifest::default(),
        };
        Ok(Self { path: path.to_path_buf(), archive, manifest })
    }

    /// The class that the manifest names.
    pub fn main_class(&self) -> Result<String> {
        self.manifest.get("Main-Class").map(str::to_string).ok_or_else(|| {
            Failure::new(format!(
                "{} has no main class: its manifest has no Main-Class; name one with --main CLASS",
                self.path.display()
            ))
        })
    }

    /// The entries of the manifest's `Class-Path` that are files, relative to the jar's folder or absolute.
    pub fn class_path(&self) -> Vec<PathBuf> {
        self.manifest
            .get("Class-Path")
            .map(|value| value.split_ascii_whitespace().filter_map(manifest::class_path_file).collect())
            .unwrap_or_default()
    }

    /// The class file version of a class in this jar, or `None` if the jar does not hold the class.
    ///
    /// In a multi-release jar the newest variant that the JDK would take is the one that counts.
    fn class_version(&mut self, class: &str, jdk: JavaRelease) -> Result<Option<ClassVersion>> {
        let name = format!("{}.class", class.replace('.', "/"));
        let mut candidates = vec![name.clone()];
        if self.manifest.get("Multi-Release").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            candidates.extend((9..=jdk.0).map(|release| format!("META-INF/versions/{release}/{name}")));
        }
        for candidate in candidates.iter().rev() {
            let Ok(mut entry) = self.archive.by_name(candidate) else { continue };
            return class_file::version(&mut entry).map(Some).map_err(|problem| {
                Failure::new(format!("class {class} in {} {problem}", self.path.display()))
            });
        }
        Ok(None)
    }
}

/// A release of Java, such as 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JavaRelease(pub u32);

/// The version of a class file: its major number. JVMS 4.1, table 4.1-A: Java N has major 44 + N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassVersion(pub u16);

impl ClassVersion {
    fn release(self) -> JavaRelease {
        JavaRelease(u32::from(self.0).saturating_sub(44))
    }
}

/// What is said of a file that cannot be read as a zip archive.
fn not_a_jar(shown: &impl std::fmt::Display, error: &ZipError) -> Failure {
    Failure::new(match error {
        // The words of the zip crate are about places in the format (APPNOTE.TXT), not about files.
        ZipError::InvalidArchive(_) => {
            format!("{shown} is not a jar or an image, or it is damaged or cut off")
        }
        error => format!("{shown} is not a jar that can be read: {error}"),
    })
}

/// Looks for `class` in `class_path` (jars and folders, in order) as the JVM will, and judges what it finds.
pub fn check_main_class(class: &str, class_path: &[PathBuf], jdk: JavaRelease) -> Result<()> {
    // `--main module/class` is what a module path takes; there is no class file to look for by that name.
    let file_name = format!("{}.class", class.replace('.', "/"));
    for entry in class_path {
        let version = if entry.is_dir() {
            match File::open(entry.join(&file_name)) {
                Ok(mut file) => class_file::version(&mut file).map(Some).map_err(|problem| {
                    Failure::new(format!("{} {problem}", entry.join(&file_name).display()))
                })?,
                Err(_) => None,
            }
        } else {
            Jar::open(entry)?.class_version(class, jdk)?
        };
        if let Some(version) = version {
            return if version.release() <= jdk {
                Ok(())
            } else {
                Err(Failure::new(format!(
                    "class {class} was compiled for Java {}, and the JDK in the image is {}: compile it with --release {}",
                    version.release().0,
                    jdk.0,
                    jdk.0
                )))
            };
        }
    }
    let places: Vec<_> = class_path.iter().map(|path| path.display().to_string()).collect();
    Err(Failure::new(format!("there is no class {class} in {}", places.join(", "))))
}

/// Reads the `KEY="value"` lines of a JDK's `release` file.
pub fn parse_release_file(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use super::*;

    /// Writes a jar with these entries.
    pub fn make_jar(path: &Path, entries: &[(&str, &[u8])]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// The first bytes of a class file for Java `release`.
    pub fn class_bytes(release: u16) -> Vec<u8> {
        let mut bytes = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0];
        bytes.extend_from_slice(&(44 + release).to_be_bytes());
        bytes
    }

    fn sentence<T>(result: Result<T>) -> String {
        result.err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_good_jar_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jar");
        let manifest =
            b"Manifest-Version: 1.0\r\nMain-Class: p.Main\r\nClass-Path: lib/b.jar c%20d.jar\r\n\r\n";
        make_jar(&path, &[("META-INF/MANIFEST.MF", manifest), ("p/Main.class", &class_bytes(17))]);
        let jar = Jar::open(&path).unwrap();
        assert_eq!(jar.main_class().unwrap(), "p.Main");
        assert_eq!(jar.class_path(), [PathBuf::from("lib/b.jar"), "c d.jar".into()]);
        assert_eq!(check_main_class("p.Main", &[path], JavaRelease(17)), Ok(()));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(sentence(Jar::open(&at("none.jar"))).contains("there is no file"));
        assert!(sentence(Jar::open(dir.path())).contains("is a folder"));

        std::fs::write(at("text.jar"), "hello").unwrap();
        assert!(sentence(Jar::open(&at("text.jar"))).contains("is not a jar"));
        std::fs::write(at("empty.jar"), "").unwrap();
        assert!(sentence(Jar::open(&at("empty.jar"))).contains("is not a jar"));
        std::fs::write(at("M.class"), class_bytes(17)).unwrap();
        assert!(sentence(Jar::open(&at("M.class"))).contains("is a class file"));

        make_jar(&at("a.jar"), &[("M.class", &class_bytes(21)), ("N.class", b"junk"), ("O.class", b"")]);
        let jar = Jar::open(&at("a.jar")).unwrap();
        assert!(sentence(jar.main_class()).contains("has no main class"));
        let check = |class: &str| sentence(check_main_class(class, &[at("a.jar")], JavaRelease(17)));
        assert!(check("M").contains("was compiled for Java 21, and the JDK in the image is 17"));
        assert!(check("N").contains("is not a class file"));
        assert!(check("O").contains("is not a class file"));
        assert!(check("x.Y").contains("there is no class x.Y in"));
    }

    #[test]
    fn a_multi_release_jar_is_judged_by_the_variant_that_the_jdk_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jar");
        make_jar(
            &path,
            &[
                ("META-INF/MANIFEST.MF", b"Main-Class: M\nMulti-Release: true\n"),
                ("M.class", &class_bytes(8)),
                ("META-INF/versions/21/M.class", &class_bytes(21)),
            ],
        );
        assert_eq!(check_main_class("M", std::slice::from_ref(&path), JavaRelease(17)), Ok(()));
        assert_eq!(check_main_class("M", &[path], JavaRelease(21)), Ok(()));
    }

    #[test]
    fn truncated_and_flipped_jars_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jar");
        make_jar(&path, &[("META-INF/MANIFEST.MF", b"Main-Class: M\n"), ("M.class", &class_bytes(17))]);
        let good = std::fs::read(&path).unwrap();
        let bad = dir.path().join("bad.jar");
        for at in 0..good.len() {
            for bytes in [good[..at].to_vec(), {
                let mut flipped = good.clone();
                flipped[at] ^= 0xff;
                flipped
            }] {
                std::fs::write(&bad, bytes).unwrap();
                if let Ok(jar) = Jar::open(&bad) {
                    let _ = jar.main_class();
                    let _ = check_main_class("M", std::slice::from_ref(&bad), JavaRelease(17));
                }
            }
        }
    }

    #[test]
    fn a_release_file_is_read() {
        let release = parse_release_file("IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.21\"\njunk\n");
        assert_eq!(release.get("JAVA_VERSION"), Some(&"17.0.21"));
    }
}
