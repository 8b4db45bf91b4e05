//! Debian's kernel package: found by name, downloaded by apt, unpacked by dpkg, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::{Failure, Result},
    scratch::ScratchFolder,
};

/// Always depends on the newest kernel for cloud machines: small, and with virtio.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// An unpacked package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPackage {
    pub name: String,
    pub version: String,
    folder: PathBuf,
}

impl KernelPackage {
    /// Unpacks the newest kernel that apt knows below `cache`, unless it is there.
    pub fn find_and_unpack(cache: &Path) -> Result<Self> {
        let known = run(Command::new("apt-cache").args(["show", "--no-all-versions", META_PACKAGE]))?;
        let (name, version) = newest(&known).ok_or_else(|| {
            Failure::new(format!("apt does not know the package {META_PACKAGE}: apt-get update"))
        })?;
        let folder = cache.join(format!("{name}_{version}"));
        if !folder.is_dir() {
            // Renamed when it is complete, so that the folder is either all there or not.
            let scratch = ScratchFolder::new_in(cache)?;
            // As the user that we are, not as _apt, which may not write here.
            run(Command::new("apt-get")
                .args(["-q", "-o", "APT::Sandbox::User=", "download", &format!("{name}={version}")])
                .current_dir(scratch.path()))?;
            let deb = only_file(scratch.path())?;
            let unpacked = scratch.path().join("unpacked");
            run(Command::new("dpkg-deb").arg("--extract").args([&deb, &unpacked]))?;
            fs::rename(&unpacked, &folder).map_err(Failure::io("write", &folder))?;
        }
        Ok(Self { name, version, folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The version in the names of the kernel's files, as uname(2) gives it.
    fn release(&self) -> &str {
        self.name.strip_prefix("linux-image-").unwrap_or(&self.name)
    }

    pub fn bzimage(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.release()))
    }

    /// The root of the modules.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(self.release()).join("kernel")
    }
}

/// Name and version of the package that the meta package depends on, from its record.
fn newest(record: &str) -> Option<(String, String)> {
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let first = depends.split(',').next()?.trim();
    let (name, rest) = first.split_once(" (= ")?;
    let version = rest.strip_suffix(')')?;
    name.starts_with("linux-image-").then(|| (name.to_string(), version.to_string()))
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Failure::io("read", folder))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::new("apt-get download made no file"))
}

/// Runs a command of Debian's and returns what it says.
fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C.UTF-8").output().map_err(|error| {
        Failure::new(format!("cannot start {name} ({error}): the Linux guest is made on Debian"))
    })?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{name} cannot get the Linux kernel: {}", complaint.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_meta_package_depends_on() {
        let record = "Package: linux-image-cloud-amd64\nVersion: 6.1.1-2\n\
                      Depends: linux-image-6.1.0-5-cloud-amd64 (= 6.1.1-2)\nSize: 1\n";
        assert_eq!(newest(record), Some(("linux-image-6.1.0-5-cloud-amd64".into(), "6.1.1-2".into())));
        assert_eq!(newest("Depends: something-else (= 1)\n"), None);
        assert_eq!(newest(""), None);
    }
}
