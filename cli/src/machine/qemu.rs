//! QEMU: its command line, and its process.
//!
//! Responsible for which devices a machine has. The process ends with ours: [`Process`] kills it when
//! dropped, and the host's kernel kills it should we be killed ourselves.

use std::{
    io::{ErrorKind, Read},
    os::unix::{net::UnixListener, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use run_config::{FW_CFG_FILE, Root, VolumeAccess, port, volume::ROOT_SERIAL};

use super::choice::{Accelerator, Choice};
use crate::{
    failure::{Failure, Result},
    network::Network,
    options::MachineKind,
};

pub const QEMU: &str = "qemu-system-x86_64";

/// I/O port and value with which a kernel ends the machine when nothing else works any more.
const DEBUG_EXIT: &str = "isa-debug-exit,iobase=0xf4,iosize=4";

/// The channels between a guest and us: the UNIX sockets on which we listen, in a scratch folder.
pub struct Channels {
    listeners: [UnixListener; CHANNELS.len()],
}

/// Name of the socket's file and of QEMU's chardev, and of the virtio-serial port; COM1 has no port name.
const CHANNELS: [(&str, Option<&str>); 4] = [
    ("stdio", Some(port::STDIO)),
    ("stderr", Some(port::STDERR)),
    ("control", Some(port::CONTROL)),
    ("com1", None),
];

/// The connected channels.
pub struct Connections {
    pub stdio: UnixStream,
    pub stderr: UnixStream,
    pub control: UnixStream,
    pub kernel_log: UnixStream,
}

impl Channels {
    pub fn listen(folder: &Path) -> Result<Self> {
        let listen = |name: &str| {
            let path = folder.join(name);
            UnixListener::bind(&path).map_err(Failure::io("listen on", &path))
        };
        let [(stdio, _), (stderr, _), (control, _), (com1, _)] = CHANNELS;
        Ok(Self { listeners: [listen(stdio)?, listen(stderr)?, listen(control)?, listen(com1)?] })
    }

    /// Waits until QEMU has connected to all of them, or has ended.
    pub fn accept(self, qemu: &mut Process) -> Result<Connections> {
        let mut accept = |listener: UnixListener| -> Result<UnixStream> {
            let failed = |error| Failure::new(format!("cannot talk to QEMU: {error}"));
            listener.set_nonblocking(true).map_err(failed)?;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).map_err(failed)?;
                        return Ok(stream);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if let Some(status) = qemu.ended() {
                            return Err(Failure::new(format!(
                                "QEMU does not start ({status}): {}",
                                qemu.complaint()
                            )));
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        };
        let [stdio, stderr, control, com1] = self.listeners;
        Ok(Connections {
            stdio: accept(stdio)?,
            stderr: accept(stderr)?,
            control: accept(control)?,
            kernel_log: accept(com1)?,
        })
    }
}

/// What a Linux kernel gets besides, and Crema does not.
#[derive(Clone, Debug)]
pub struct LinuxBoot {
    pub initrd: PathBuf,
    pub command_line: String,
}

/// How a file is opened whose contents are kept. The host may hold writes back until the guest flushes; a flush is an fsync(2) here.
/// Never without: cache=unsafe is for what is thrown away. What the guest frees becomes a hole of the file.
const KEPT: &str = "cache=writeback,discard=unmap,detect-zeroes=unmap";

/// An error of the host's disk is the guest's to handle; by default a full one would stop the machine and tell nobody.
const ERRORS: &str = ",werror=report,rerror=report";

/// How the root's image is opened.
fn root_options(boot: &Boot) -> &'static str {
    match (boot.linux, boot.root) {
        // QEMU's lock keeps writers out, and any number of machines can read it.
        (None, Root::Overlay) => "readonly=on",
        (None, Root::Writable) => KEPT,
        // Linux writes to it. That goes to a temporary file that QEMU removes, so nothing has to reach the host's disk.
        (Some(_), _) => "snapshot=on,cache=unsafe",
    }
}

/// A disk beside the root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// By which the guest finds it.
    pub serial: String,
    pub source: DiskSource,
    pub access: VolumeAccess,
}

/// Where a disk's contents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// In a file, byte for byte.
    File(PathBuf),
    /// With an NBD server on this UNIX socket.
    Server(PathBuf),
}

impl Disk {
    /// The values of `-drive` and `-device`.
    fn words(&self, bus: &str) -> [String; 2] {
        let Self { serial, source, access } = self;
        let source = match source {
            DiskSource::File(path) => format!("file={}", quoted(path)),
            DiskSource::Server(socket) => {
                format!("file.driver=nbd,file.server.type=unix,file.server.path={}", quoted(socket))
            }
        };
        let read_only = if *access == VolumeAccess::ReadOnly { ",readonly=on" } else { "" };
        let drive = format!("if=none,id={serial},format=raw,{KEPT},{source}{read_only}");
        let device = format!("virtio-blk-{bus},drive={serial},serial={serial}{ERRORS}");
        [drive, device]
    }
}

/// What a machine is started with.
pub struct Boot<'a> {
    pub choice: &'a Choice,
    pub kernel: &'a Path,
    pub linux: Option<&'a LinuxBoot>,
    pub network: &'a Network,
    pub image: &'a Path,
    /// How the guest's kernel uses it.
    pub root: Root,
    pub disks: &'a [Disk],
    /// File with the encoded run configuration.
    pub config: &'a Path,
    /// Folder with the sockets.
    pub channels: &'a Path,
    /// Further words of the command line.
    pub extra: &'a [String],
}

/// The words of the command line after the program's name.
pub fn arguments(boot: &Boot) -> Vec<String> {
    let Boot { choice, .. } = boot;
    // virtio devices sit on PCI Express, or on microvm's memory-mapped transport.
    let (machine, bus) = match choice.kind {
        MachineKind::Q35 => ("q35,usb=off,vmport=off", "pci"),
        // The clock is off by default there, and the guest wants to know the date.
        MachineKind::Microvm => ("microvm,rtc=on", "device"),
    };
    let (accelerator, cpu) = accelerator_and_cpu(choice.accelerator);
    let mut words: Vec<String> = Vec::new();
    let mut add = |option: &str, value: &str| words.extend([option.to_string(), value.to_string()]);
    add("-machine", machine);
    add("-accel", accelerator);
    add("-cpu", cpu);
    add("-smp", &choice.cpus.to_string());
    add("-m", &format!("{}M", choice.memory.0));
    add("-display", "none");
    add("-kernel", &boot.kernel.display().to_string());
    if let Some(linux) = boot.linux {
        add("-initrd", &linux.initrd.display().to_string());
        add("-append", &linux.command_line);
    }
    add("-fw_cfg", &format!("name={FW_CFG_FILE},file={}", quoted(boot.config)));
    if choice.kind == MachineKind::Microvm {
        // The registers of virtio 1.x, in place of those from before the standard.
        add("-global", "virtio-mmio.force-legacy=false");
    }

    let file = quoted(boot.image);
    add("-drive", &format!("if=none,id=root,format=raw,{},file={file}", root_options(boot)));
    add("-device", &format!("virtio-blk-{bus},drive=root,serial={ROOT_SERIAL}{ERRORS}"));
    for disk in boot.disks {
        let [drive, device] = disk.words(bus);
        add("-drive", &drive);
        add("-device", &device);
    }
    add("-object", "rng-builtin,id=random");
    add("-device", &format!("virtio-rng-{bus},rng=random"));
    // Port 0 is kept for a console. Each port is two queues, which the guest sets up whether it is used or not.
    let ports = 1 + CHANNELS.iter().filter(|(_, port)| port.is_some()).count();
    add("-device", &format!("virtio-serial-{bus},id=serial,max_ports={ports}"));
    for (name, port) in CHANNELS {
        let path = quoted(&boot.channels.join(name));
        add("-chardev", &format!("socket,id={name},path={path},server=off"));
        match port {
            Some(port) => add("-device", &format!("virtserialport,bus=serial.0,chardev={name},name={port}")),
            None => add("-serial", &format!("chardev:{name}")),
        }
    }
    add("-device", DEBUG_EXIT);
    words.extend(boot.network.arguments(bus));
    words.extend_from_slice(boot.extra);
    words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(String::from));
    words
}

/// The values of `-accel` and `-cpu`.
pub fn accelerator_and_cpu(accelerator: Accelerator) -> (&'static str, &'static str) {
    match accelerator {
        // An invariant TSC is what lets the guest tell time without leaving it.
        Accelerator::Kvm => ("kvm", "max,migratable=off,+invtsc"),
        Accelerator::Tcg => ("tcg,thread=multi", "max"),
    }
}

/// The words with which QEMU's monitor listens on a UNIX socket.
pub fn monitor(socket: &Path) -> [String; 2] {
    ["-monitor".into(), format!("unix:{},server=on,wait=off", quoted(socket))]
}

/// A path as QEMU's option lists want it: a comma is doubled.
pub fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A running QEMU.
pub struct Process {
    child: Child,
    stderr: Option<ChildStderr>,
}

impl Process {
    pub fn start(arguments: &[String]) -> Result<Self> {
        // PR_SET_PDEATHSIG, prctl(2), without unsafe code: setpriv (util-linux, essential in Debian) sets it
        // and becomes QEMU. It counts from the thread that starts it, so that thread must outlive the
        // machine.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", QEMU]).args(arguments);
        // A group of its own, so that the terminal's Ctrl-C comes to us alone.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Failure::new(format!("cannot start setpriv: {error}")))?;
        let stderr = child.stderr.take();
        Ok(Self { child, stderr })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Gives it some time to end by itself, and kills it then.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.kill();
        None
    }

    /// Ends it now. To kill what has ended already does nothing.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said on standard error, without warnings. Only after it has ended.
    pub fn complaint(&mut self) -> String {
        /// As much as anybody would read.
        const LIMIT_BYTES: u64 = 16 << 10;
        let mut bytes = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.take(LIMIT_BYTES).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("warning: "))
            .map(|line| line.strip_prefix("qemu-system-x86_64: ").unwrap_or(line))
            .collect();
        lines.join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says so in a sentence if there is no QEMU.
pub fn check_installed() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(QEMU).is_file()) {
        return Ok(());
    }
    Err(Failure::new("there is no QEMU: apt install qemu-system-x86"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(quoted(Path::new("/a,b/c")), "/a,,b/c");
    }
}
