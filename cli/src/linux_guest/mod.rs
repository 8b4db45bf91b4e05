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

use clap::ValueEnum;
use run_config::RunConfig;
use sha2::{Digest, Sha256};

use self::{initramfs::Archive, package::KernelPackage};
use crate::{
    application,
    failure::{Failure, Result},
    machine::qemu::LinuxBoot,
    options::MachineKind,
    project::{Progress, Project},
    scratch::ScratchFolder,
};

/// `tsc=reliable`, for without it Linux mistrusts an emulator's time stamp counter and reads a slower clock, where Crema reads the
/// counter. `no_timer_check`, for on a busy host an emulated timer may be late, which Linux takes for broken and panics; under KVM it decides
/// so by itself. `panic=-1` ends the machine at once, with QEMU's `-no-reboot`.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check";

/// What Linux does against attacks that processors' speculation makes possible: Documentation/admin-guide/kernel-parameters.txt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mitigations {
    /// Nothing: Crema has no boundary inside that they would guard, and a comparison should not be won by that
    #[default]
    Off,
    /// What Linux does by default on this processor
    Auto,
}

/// Present in the initramfs: without it the init refuses to run.
const MARK: &str = "crema-linux-guest";

/// A kernel and an init, ready to boot.
pub struct LinuxGuest {
    origin: Origin,
    vmlinux: PathBuf,
    init: PathBuf,
    command_line: String,
}

/// Where a kernel comes from.
enum Origin {
    Debian(KernelPackage),
    /// The file, and the folder with its modules if there is one beside it.
    File {
        kernel: PathBuf,
        modules: Option<PathBuf>,
    },
}

impl LinuxGuest {
    /// Gets what is not there yet.
    pub fn prepare(project: &Project, mitigations: Mitigations) -> Result<Self> {
        let progress = Progress::start("preparing the Linux guest".into());
        let prepared = Self::get(project, mitigations);
        progress.finish();
        prepared
    }

    /// Whether a file is a Linux kernel, compressed or not: each says so in its header, or in `linux_banner`.
    pub fn is_linux(kernel: &[u8]) -> bool {
        const BANNER: &[u8] = b"Linux version ";
        bzimage::is_bzimage(kernel) || kernel.windows(BANNER.len()).any(|bytes| bytes == BANNER)
    }

    /// Another kernel than Debian's. What it needs for virtio is built in, or is a module in the folder `modules` beside it.
    pub fn of_kernel(
        path: &Path,
        kernel: &[u8],
        project: &Project,
        mitigations: Mitigations,
    ) -> Result<Self> {
        let cache = project.cache("linux-guest")?;
        let vmlinux = if bzimage::is_bzimage(kernel) {
            let digest: String =
                Sha256::digest(kernel).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            let vmlinux = cache.join(format!("vmlinux-{digest}"));
            unpack(path, kernel, &vmlinux)?;
            vmlinux
        } else {
            path.to_path_buf()
        };
        let modules = path.parent().map(|folder| folder.join("modules")).filter(|folder| folder.is_dir());
        Ok(Self {
            origin: Origin::File { kernel: path.to_path_buf(), modules },
            vmlinux,
            init: build_init(project, &cache)?,
            command_line: command_line(mitigations),
        })
    }

    fn get(project: &Project, mitigations: Mitigations) -> Result<Self> {
        let cache = project.cache("linux-guest")?;
        let package = KernelPackage::find_and_unpack(&cache)?;
        let vmlinux = package.folder().join("vmlinux");
        if !vmlinux.is_file() {
            let compressed = package.bzimage();
            let bytes = fs::read(&compressed).map_err(Failure::io("read", &compressed))?;
            unpack(&compressed, &bytes, &vmlinux)?;
        }
        let init = build_init(project, &cache)?;
        Ok(Self { origin: Origin::Debian(package), vmlinux, init, command_line: command_line(mitigations) })
    }

    /// The kernel's ELF file.
    pub fn kernel(&self) -> &Path {
        &self.vmlinux
    }

    /// The kernel as it is shipped, and as a boot loader would load it.
    pub fn compressed_kernel(&self) -> PathBuf {
        match &self.origin {
            Origin::Debian(package) => package.bzimage(),
            Origin::File { kernel, .. } => kernel.clone(),
        }
    }

    /// Name and version of the package, or the file.
    pub fn version(&self) -> String {
        match &self.origin {
            Origin::Debian(package) => format!("{} {}", package.name, package.version),
            Origin::File { kernel, .. } => kernel.display().to_string(),
        }
    }

    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// The root of the modules.
    fn modules(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Debian(package) => Some(package.modules()),
            Origin::File { modules, .. } => modules.clone(),
        }
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
        let modules = match self.modules() {
            Some(root) => modules::in_order(&root, &drivers)?,
            None => vec![],
        };
        for module in modules {
            let path = format!("modules/{}.ko", module.name);
            archive.file(&path, 0o444, &module.bytes);
            list += &format!("/{path}\n");
        }
        archive.file("modules/list", 0o444, list.as_bytes());
        let initrd = folder.join("initramfs");
        fs::write(&initrd, archive.finish()).map_err(Failure::io("write", &initrd))?;
        Ok(LinuxBoot { initrd, command_line: self.command_line.clone() })
    }
}

fn command_line(mitigations: Mitigations) -> String {
    let mitigations = match mitigations {
        Mitigations::Off => "off",
        Mitigations::Auto => "auto",
    };
    format!("{COMMAND_LINE} mitigations={mitigations}")
}

/// Writes the kernel in a bzImage that was read from `path`, unless that was done.
fn unpack(path: &Path, bzimage: &[u8], vmlinux: &Path) -> Result<()> {
    if vmlinux.is_file() {
        return Ok(());
    }
    let elf = bzimage::vmlinux(bzimage)
        .map_err(|error| Failure::new(format!("cannot unpack {}: {error}", path.display())))?;
    replace(vmlinux, &elf)
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
