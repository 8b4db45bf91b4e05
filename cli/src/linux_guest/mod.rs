//! The Linux guest that Crema is compared with: Debian's cloud kernel and an init that does as little as
//! possible, on the same machine, with the same root image and the same run configuration.
//!
//! Responsible for getting the kernel from Debian ([`package`]), for the ELF file that boots through PVH as
//! Crema's own does ([`bzimage`]), and for the initramfs ([`initramfs`]) with the virtio modules
//! ([`modules`]) and the init, whose source is `benchmarks/linux_guest/init.c`. The init speaks the control
//! protocol, so a session runs this machine as it runs Crema. Nothing of it is ever installed or run on the
//! host.

mod bzimage;
mod initramfs;
mod modules;
mod package;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use run_config::RunConfig;

use self::{initramfs::Archive, package::KernelPackage};
use crate::{
    application,
    failure::{Failure, Result},
    machine::qemu::LinuxBoot,
    options::MachineKind,
    project::{Progress, Project},
    scratch::ScratchFolder,
};

/// `mitigations=off`, for Crema has no boundary inside that they would guard, and a comparison should not be
/// won by that. `tsc=reliable`, for without it Linux mistrusts an emulator's time stamp counter and reads a
/// slower clock, where Crema reads the counter. `panic=-1` ends the machine at once, with QEMU's
/// `-no-reboot`.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable";

/// Present in the initramfs: without it the init refuses to run.
const MARK: &str = "crema-linux-guest";

/// A kernel and an init, ready to boot.
pub struct LinuxGuest {
    package: KernelPackage,
    vmlinux: PathBuf,
    init: PathBuf,
}

impl LinuxGuest {
    /// Gets what is not there yet.
    pub fn prepare(project: &Project) -> Result<Self> {
        let progress = Progress::start("preparing the Linux guest".into());
        let prepared = Self::get(project);
        progress.finish();
        prepared
    }

    fn get(project: &Project) -> Result<Self> {
        let cache = project.cache("linux-guest")?;
        let package = KernelPackage::find_and_unpack(&cache)?;
        let vmlinux = package.folder().join("vmlinux");
        if !vmlinux.is_file() {
            let compressed = package.bzimage();
            let bytes = fs::read(&compressed).map_err(Failure::io("read", &compressed))?;
            let elf = bzimage::vmlinux(&bytes)
                .map_err(|error| Failure::new(format!("cannot unpack {}: {error}", compressed.display())))?;
            replace(&vmlinux, &elf)?;
        }
        let init = build_init(project, &cache)?;
        Ok(Self { package, vmlinux, init })
    }

    /// The kernel's ELF file.
    pub fn kernel(&self) -> &Path {
        &self.vmlinux
    }

    /// The kernel as Debian ships it, and as a boot loader would load it.
    pub fn compressed_kernel(&self) -> PathBuf {
        self.package.bzimage()
    }

    /// Name and version of the package.
    pub fn version(&self) -> String {
        format!("{} {}", self.package.name, self.package.version)
    }

    /// Writes the initramfs of one configuration into a folder.
    pub fn boot(&self, kind: MachineKind, config: &RunConfig, folder: &Path) -> Result<LinuxBoot> {
        let mut archive = Archive::default();
        for name in ["dev", "proc", "sys", "modules"] {
            archive.folder(name);
        }
        archive.file(MARK, 0o444, b"");
        let init = fs::read(&self.init).map_err(Failure::io("read", &self.init))?;
        archive.file("init", 0o755, &init);
        archive.file("run.conf", 0o444, &application::encode(config)?);
        let bus = match kind {
            MachineKind::Q35 => "virtio_pci",
            MachineKind::Microvm => "virtio_mmio",
        };
        let mut list = String::new();
        let mut drivers = vec![bus, "virtio_blk", "virtio_console", "virtio_rng"];
        // Without a network it does not count against Linux.
        if !config.net.addresses.is_empty() {
            drivers.push("virtio_net");
        }
        for module in modules::in_order(&self.package.modules(), &drivers)? {
            let path = format!("modules/{}.ko", module.name);
            archive.file(&path, 0o444, &module.bytes);
            list += &format!("/{path}\n");
        }
        archive.file("modules/list", 0o444, list.as_bytes());
        let initrd = folder.join("initramfs");
        fs::write(&initrd, archive.finish()).map_err(Failure::io("write", &initrd))?;
        Ok(LinuxBoot { initrd, command_line: COMMAND_LINE.into() })
    }
}

/// Compiles the init statically, unless that was done since its source changed.
fn build_init(project: &Project, cache: &Path) -> Result<PathBuf> {
    let source = project.root().join("benchmarks/linux_guest/init.c");
    let init = cache.join("init");
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if let (Ok(made), Ok(written)) = (changed(&init), changed(&source))
        && made > written
    {
        return Ok(init);
    }
    let scratch = ScratchFolder::new_in(cache)?;
    let fresh = scratch.path().join("init");
    let output = Command::new("gcc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
        .args([&fresh, &source])
        .output()
        .map_err(|error| Failure::new(format!("cannot start gcc ({error}): apt install gcc libc6-dev")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "the Linux guest's init does not build:\n{}",
            complaint.trim_end()
        )));
    }
    fs::rename(&fresh, &init).map_err(Failure::io("write", &init))?;
    Ok(init)
}

/// Writes a file so that nobody ever sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let scratch = ScratchFolder::new_in(path.parent().unwrap_or(Path::new(".")))?;
    let fresh = scratch.path().join("file");
    fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path)).map_err(Failure::io("write", path))
}
