//! The command line: what can be asked of the tool, and what the words mean.
//!
//! Responsible for syntax and for checks that need nothing but the words themselves. Not for defaults that
//! depend on the host (memory, CPUs, accelerator): those are `machine::choice`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use run_config::{InterfaceAddress, NetChannels};

use crate::{
    linux_guest::Mitigations,
    machine::faulty_disk::FailingRequest,
    network::{self, faulty_link::End, forward::PortForward, link::Link},
    volume::request::{self, Name, Request, Server, Source, VolumeSize},
};

/// Boots a jar inside the Crema unikernel.
#[derive(Debug, Parser)]
#[command(name = "crema", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a jar, an appliance, or an image made by `crema build`, and exit with the program's exit status
    Run(Box<RunOptions>),
    /// Make a bootable image of a jar or an appliance
    Build(BuildOptions),
    /// Resolve the jars that an appliance has from the Maven registry, and note their checksums
    Lock(LockOptions),
    /// List, make, remove, check, export and import volumes
    Volume {
        #[command(subcommand)]
        command: VolumeCommand,
    },
    /// Run the tests of the project
    Test(TestOptions),
    /// Measure Crema beside a Linux VM, or compare two such measurements
    Bench(BenchOptions),
    /// Connect two guests by a link that loses, repeats, reorders and damages frames
    #[command(hide = true)]
    FaultyLink(FaultyLinkOptions),
    /// Serve a disk that loses power
    #[command(hide = true)]
    FaultyDisk(FaultyDiskOptions),
}

/// A guest has it with `crema run --volume-server SOCKET:/data`.
#[derive(Debug, Args)]
pub struct FaultyDiskOptions {
    /// The file with the disk's contents, and, after Ctrl-C, with what a power cut left of them
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to listen, with the NBD protocol
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Cut the power with this write, flush or discard
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub cut_after: Option<u64>,
    /// Fail a request with EIO, such as write:3, the third; may be given again
    #[arg(long = "fail", value_name = "read|write|flush:NUMBER")]
    pub failing: Vec<FailingRequest>,
}

/// A VOLUME is the name of one that the tool keeps, or the path of a file (with a slash, or ending with .img).
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Show the volumes, how large they are, what they take on the host's disk, and their state
    Ls,
    /// Make an empty volume
    Create {
        volume: Source,
        /// What it can grow to, such as 500M, 10G or 1T
        #[arg(long)]
        size: Option<VolumeSize>,
    },
    /// Remove volumes, and all that is in them
    Rm {
        #[arg(required = true, value_name = "NAME")]
        volumes: Vec<Name>,
    },
    /// Make a volume larger, which no run uses
    Resize {
        volume: Source,
        /// What it can grow to from now on, such as 20G
        size: VolumeSize,
    },
    /// Check a volume: exit status 0 if it is sound, 1 if it is damaged
    Fsck {
        volume: Source,
        /// Repair what can be repaired
        #[arg(long)]
        repair: bool,
    },
    /// Write all that is in a volume as a tar archive to standard output
    Export {
        volume: Source,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put all that is in a tar archive into a volume, which is made if it does not exist
    Import {
        volume: Source,
        /// The archive, in place of standard input
        archive: Option<PathBuf>,
        /// What a new volume can grow to
        #[arg(long)]
        size: Option<VolumeSize>,
    },
}

/// Rates are of frames, in percent.
#[derive(Debug, Args)]
pub struct FaultyLinkOptions {
    /// One end, of two: where the link is, and where the guest is, for which `crema run` has
    /// --net socket:dgram=HERE,local=GUEST
    #[arg(long = "end", value_name = "HERE,GUEST", required = true, value_parser = link_end)]
    pub ends: Vec<End>,
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    pub drop: f64,
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    pub duplicate: f64,
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    pub reorder: f64,
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage)]
    pub corrupt: f64,
    /// How long each frame is under way
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub delay: u64,
    /// Lose everything from a time on, for a time
    #[arg(long = "outage", value_name = "START:LENGTH", value_parser = outage)]
    pub outages: Vec<(Duration, Duration)>,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

fn link_end(text: &str) -> Result<End, String> {
    let (here, guest) = text.split_once(',').ok_or("it must be two addresses: HERE,GUEST")?;
    Ok(End { here: here.parse()?, guest: guest.parse()? })
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("it must be a number from 0 to 100".into()),
    }
}

/// Seconds after the start, and how many.
fn outage(text: &str) -> Result<(Duration, Duration), String> {
    let seconds =
        |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    text.split_once(':')
        .and_then(|(start, len)| Some((seconds(start)?, seconds(len)?)))
        .ok_or_else(|| "it must be two numbers of seconds: START:LENGTH".into())
}

#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// A jar, a folder with a crema.toml, or an image made by `crema build`
    #[arg(value_name = "JAR|APP|IMAGE", required_unless_present_any = ["class_path", "program"])]
    pub target: Option<PathBuf>,
    #[command(flatten)]
    pub application: ApplicationOptions,
    #[command(flatten)]
    pub machine: MachineOptions,
    #[command(flatten)]
    pub network: NetworkOptions,
    #[command(flatten)]
    pub log: LogOptions,
    /// Mount a volume, which outlives the run: one of the tool's by its name, or a file. One that does not exist is made. Without a
    /// place it is mounted where the appliance wants it. May be given again
    #[arg(long = "volume", value_name = "NAME|PATH[:PLACE][:ro][,size=SIZE]")]
    pub volumes: Vec<Request>,
    /// Mount a volume that a server has, with the NBD protocol, such as crema faulty-disk; may be given again
    #[arg(long = "volume-server", hide = true, value_name = "SOCKET:PLACE", value_parser = request::parse_server)]
    pub volume_servers: Vec<Server>,
    /// Write the program's changes to the image itself, which must be one made by `crema build`, in place of memory
    #[arg(long, conflicts_with = "linux")]
    pub writable_root: bool,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BuildOptions {
    /// A jar, or a folder with a crema.toml
    #[arg(value_name = "JAR|APP", required_unless_present_any = ["class_path", "program"])]
    pub target: Option<PathBuf>,
    /// Where to write the image
    #[arg(short, long, value_name = "IMAGE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub application: ApplicationOptions,
    /// Arguments of the program, unless a run gives others
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LockOptions {
    /// A folder with a crema.toml
    #[arg(value_name = "APP")]
    pub appliance: PathBuf,
}

/// What is run, and how the JVM is started.
#[derive(Clone, Debug, Default, Args)]
pub struct ApplicationOptions {
    /// Main class, in place of the one that the jar names
    #[arg(long, value_name = "CLASS")]
    pub main: Option<String>,
    /// Jars and directories to pack besides, separated by ':' (DIR/* means each jar in DIR)
    #[arg(long = "classpath", alias = "class-path", value_name = "PATHS")]
    pub class_path: Vec<String>,
    /// An option for the JVM; may be given again
    #[arg(long = "java-opt", value_name = "OPTION", allow_hyphen_values = true)]
    pub java_options: Vec<String>,
    /// An environment variable of the program; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    pub env: Vec<String>,
    /// Pack and run this Linux program instead of a JVM (the tests of the kernel are such programs)
    #[arg(long, hide = true, value_name = "ELF", conflicts_with_all = ["target", "main", "class_path", "java_options"])]
    pub program: Option<PathBuf>,
    /// Pack this file too
    #[arg(long = "file", hide = true, value_name = "HOST=GUEST", value_parser = parse_file)]
    pub files: Vec<(PathBuf, String)>,
}

/// What it is run on.
#[derive(Clone, Debug, Default, Args)]
pub struct MachineOptions {
    /// Memory of the machine, such as 512M or 2G (a bare number means MiB)
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<MemoryMib>,
    /// Number of CPUs
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: Option<u32>,
    /// Kind of machine
    #[arg(long, value_enum, default_value_t)]
    pub machine: MachineKind,
    /// How guest instructions are run
    #[arg(long, value_enum, default_value_t)]
    pub accel: AcceleratorChoice,
    /// Boot this kernel in place of the project's own
    #[arg(long, hide = true, value_name = "ELF")]
    pub kernel: Option<PathBuf>,
    /// Boot Debian's cloud kernel in place of the project's own: what the tests themselves are tested with
    #[arg(long, hide = true, conflicts_with = "kernel")]
    pub linux: bool,
    /// QEMU's monitor listens on this UNIX socket
    #[arg(long, hide = true, value_name = "SOCKET")]
    pub monitor: Option<PathBuf>,
}

/// What it is connected to.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkOptions {
    /// Forward a port of the host to one of the guest, such as 8080:80 or 0.0.0.0:5353:53/udp; the host's port 0 means any free one.
    /// May be given again
    #[arg(short = 'p', long = "publish", value_name = "[HOSTADDR:]HOST:GUEST[/tcp|/udp]")]
    pub forwards: Vec<PortForward>,
    /// What the guest is connected to: user (QEMU's user networking, the default), user:restrict (the same, but the guest gets
    /// nowhere), none, tap:NAME, socket:listen=ADDRESS:PORT, socket:connect=ADDRESS:PORT, socket:mcast=GROUP:PORT, or
    /// socket:dgram=REMOTE:PORT,local=LOCAL:PORT
    #[arg(long = "net", value_name = "LINK")]
    pub link: Option<Link>,
    /// An address of the guest, in place of DHCP or of IPv6 autoconfiguration; may be given again
    #[arg(long = "ip", value_name = "ADDRESS/LENGTH", value_parser = network::parse_interface_address)]
    pub addresses: Vec<InterfaceAddress>,
    /// The router; may be given again for the other family
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<IpAddr>,
    /// A name server; may be given again
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,
    /// The guest's name
    #[arg(long, value_name = "NAME", value_parser = network::parse_hostname)]
    pub hostname: Option<String>,
    /// Whether each connection's packets go straight to the thread that reads them
    #[arg(long = "net-channels", value_enum, default_value_t)]
    pub channels: NetChannelsChoice,
}

impl NetworkOptions {
    /// Takes ports and a name where the user gave none. On a link that is not QEMU's user networking nothing can be forwarded.
    pub fn complete(&mut self, forwards: &[PortForward], hostname: Option<&String>) {
        let forwarding = matches!(self.link, None | Some(Link::User(_)));
        if self.forwards.is_empty() && forwarding {
            self.forwards = forwards.to_vec();
        }
        if self.hostname.is_none() {
            self.hostname = hostname.cloned();
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetChannelsChoice {
    #[default]
    On,
    Off,
}

impl From<NetChannelsChoice> for NetChannels {
    fn from(choice: NetChannelsChoice) -> Self {
        match choice {
            NetChannelsChoice::On => Self::On,
            NetChannelsChoice::Off => Self::Off,
        }
    }
}

/// What is shown beside the program's own output.
#[derive(Clone, Debug, Default, Args)]
pub struct LogOptions {
    /// Show the kernel's log
    #[arg(long)]
    pub verbose: bool,
    /// Write each system call to the kernel's log, and show it
    #[arg(long)]
    pub trace_syscalls: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MachineKind {
    /// A PC with PCI Express and ACPI
    #[default]
    Q35,
    /// A machine without PCI, quicker to start
    Microvm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AcceleratorChoice {
    /// KVM where it works well, TCG where it does not
    #[default]
    Auto,
    /// The host's own CPUs
    Kvm,
    /// Emulation
    Tcg,
}

/// A size of memory in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryMib(pub u64);

#[derive(Clone, Debug, Args)]
pub struct TestOptions {
    /// Which tests: a suite (host, loom, abi, stress, java, tool, net, storage), then words in their names
    #[arg(value_name = "SUITE|WORD")]
    pub filter: Vec<String>,
    /// Print the names of the tests instead of running them
    #[arg(long)]
    pub list: bool,
    /// Numbers of CPUs to test the guest with
    #[arg(short, long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1, 2, 4],
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: Vec<u32>,
    /// Also run what takes long
    #[arg(long)]
    pub long: bool,
    /// How guest instructions are run
    #[arg(long, value_enum, default_value_t)]
    pub accel: AcceleratorChoice,
    /// Kind of machine
    #[arg(long, value_enum, default_value_t)]
    pub machine: MachineKind,
    /// Boot this kernel in place of the project's own
    #[arg(long, hide = true, value_name = "ELF")]
    pub kernel: Option<PathBuf>,
    /// Run the tests of the suite net in a Linux guest, to test these tests
    #[arg(long, hide = true, conflicts_with = "kernel")]
    pub linux: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchOptions {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// What to measure; everything, if nothing is named
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Vec<BenchKind>,
    /// What to compare with: linux (Debian's cloud kernel on the same machine), none, linux-alone (only Linux is measured), or the path
    /// of another kernel: a bzImage or vmlinux of Linux, or another build of Crema's
    #[arg(long, value_name = "linux|none|PATH", default_value = "linux", value_parser = parse_opponent)]
    pub against: BenchOpponent,
    /// How often each side is measured, in turn with the other: 7 times, or 3 with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,
    /// Measure for a shorter time each, and leave out what takes long
    #[arg(long)]
    pub quick: bool,
    /// Whether Linux does something against attacks by speculation
    #[arg(long, value_enum, default_value_t)]
    pub mitigations: Mitigations,
    /// Measure this jar, or the appliance in this folder, under the load of --load
    #[arg(long, value_name = "JAR|APP", requires = "load", conflicts_with = "what")]
    pub jar: Option<PathBuf>,
    /// The command that puts load on the jar's server, such as "wrk -t 2 -c 16 -d 10 http://127.0.0.1:8080/": the port in it is one of
    /// the guest's, and becomes the host's port that leads to it
    #[arg(long, value_name = "COMMAND", requires = "jar")]
    pub load: Option<String>,
    #[command(flatten)]
    pub machine: MachineOptions,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Show what changed from one measurement to another
    Compare {
        /// Its results.json
        #[arg(value_name = "OLD.json")]
        old: PathBuf,
        #[arg(value_name = "NEW.json")]
        new: PathBuf,
    },
}

/// In the order in which they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKind {
    /// From power-on to the application, to main, to the first answered request; and sizes
    Boot,
    /// System calls, switches, faults and signals
    Syscall,
    /// Round trips, streams, connections and HTTP, with net channels and without
    Net,
    /// Files on a volume: streams, random access, fsync, names, and the flushes that reach the disk
    Disk,
    /// Instructions and device accesses for each operation, counted under TCG
    Cost,
    /// Allocation, collection of garbage, compilation, locks and computations in the JVM
    Jvm,
    /// HTTP, Tomcat, H2, ZooKeeper, Kafka and Cassandra at full load and at a fixed one
    Service,
    /// The largest live set in machines of several sizes
    Memory,
}

/// What Crema is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchOpponent {
    /// The same program on a Linux guest under the same QEMU.
    Linux,
    /// Nothing: Crema is measured alone.
    None,
    /// Nothing: the Linux guest is measured alone.
    LinuxAlone,
    /// Another kernel.
    Kernel(PathBuf),
}

fn parse_opponent(text: &str) -> Result<BenchOpponent, String> {
    match text {
        "linux" => Ok(BenchOpponent::Linux),
        "none" => Ok(BenchOpponent::None),
        "linux-alone" => Ok(BenchOpponent::LinuxAlone),
        path if Path::new(path).is_file() => Ok(BenchOpponent::Kernel(path.into())),
        _ => Err("it must be linux, none, or the path of a kernel".into()),
    }
}

fn parse_env(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_string()),
        _ => Err("it must be NAME=VALUE".into()),
    }
}

fn parse_file(text: &str) -> Result<(PathBuf, String), String> {
    match text.split_once('=') {
        Some((host, guest)) if guest.starts_with('/') => Ok((host.into(), guest.into())),
        _ => Err("it must be HOST=GUEST, with an absolute guest path".into()),
    }
}

/// Reads a size such as 512M or 2G; a bare number means MiB.
pub fn parse_memory(text: &str) -> Result<MemoryMib, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let mib_per_unit = match &lower[digits.len()..] {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        _ => return Err("it must be a number of MiB, or end with M or G".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(mib_per_unit))
        .filter(|mib| (1..=16 << 20).contains(mib))
        .map(MemoryMib)
        .ok_or_else(|| "it must be a number of MiB, or end with M or G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["crema"].iter().chain(words))
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn reads_everything_a_run_can_have() {
        let options = parse(&[
            "run",
            "a.jar",
            "-m",
            "1G",
            "-c",
            "4",
            "--env",
            "A=b=c",
            "--machine",
            "microvm",
            "--accel",
            "tcg",
            "--main",
            "p.M",
            "--classpath",
            "x:y",
            "--classpath",
            "z",
            "--java-opt",
            "-Xlog:gc",
            "-p",
            "8080:80",
            "-p",
            "[::1]:53:53/udp",
            "--net",
            "user:restrict",
            "--ip",
            "10.0.2.9/24",
            "--ip",
            "fec0::9/64",
            "--gateway",
            "10.0.2.2",
            "--dns",
            "10.0.2.3",
            "--hostname",
            "zoo-1",
            "--net-channels",
            "off",
            "--verbose",
            "--trace-syscalls",
            "--",
            "-m",
            "x",
        ])
        .unwrap();
        let Command::Run(run) = options.command else { panic!() };
        assert_eq!(run.target, Some("a.jar".into()));
        assert_eq!(run.machine.memory, Some(MemoryMib(1024)));
        assert_eq!(run.machine.cpus, Some(4));
        assert_eq!(run.machine.machine, MachineKind::Microvm);
        assert_eq!(run.machine.accel, AcceleratorChoice::Tcg);
        assert!(run.log.verbose && run.log.trace_syscalls);
        assert_eq!(run.application.env, ["A=b=c"]);
        assert_eq!(run.application.main.as_deref(), Some("p.M"));
        assert_eq!(run.application.class_path, ["x:y", "z"]);
        assert_eq!(run.application.java_options, ["-Xlog:gc"]);
        assert_eq!(run.args, ["-m", "x"]);
        let network = run.network;
        assert_eq!(network.forwards, ["8080:80", "[::1]:53:53/udp"].map(|text| text.parse().unwrap()));
        assert_eq!(network.link, Some("user:restrict".parse().unwrap()));
        assert_eq!(network.addresses, ["10.0.2.9/24", "fec0::9/64"].map(|text| text.parse().unwrap()));
        assert_eq!(network.gateways, ["10.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(network.dns, ["10.0.2.3"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(network.hostname.as_deref(), Some("zoo-1"));
        assert_eq!(network.channels, NetChannelsChoice::Off);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for words in [
            &["run"][..],
            &["run", "a.jar", "-c", "0"],
            &["run", "a.jar", "-c", "65"],
            &["run", "a.jar", "--env", "=x"],
            &["run", "a.jar", "--env", "x"],
            &["run", "a.jar", "-m", "12K"],
            &["run", "a.jar", "-m", "0"],
            &["run", "a.jar", "-m", "99999999999999999999G"],
            &["run", "a.jar", "-m", "-1"],
            &["run", "a.jar", "--program", "x"],
            &["run", "a.jar", "-p", "80"],
            &["run", "a.jar", "--net", "bridge"],
            &["run", "a.jar", "--ip", "10.0.2.15"],
            &["run", "a.jar", "--gateway", "router"],
            &["run", "a.jar", "--dns", "10.0.2.256"],
            &["run", "a.jar", "--hostname", "a b"],
            &["run", "a.jar", "--net-channels", "maybe"],
            &["build", "a.jar"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn benches_are_named_or_all_are_meant() {
        let bench = |words: &[&str]| {
            let options = parse(&[&["bench"], words].concat()).unwrap();
            let Command::Bench(bench) = options.command else { panic!() };
            bench
        };
        let all = bench(&[]);
        assert!(all.what.is_empty() && all.command.is_none() && !all.quick && all.runs.is_none());
        assert_eq!((all.against, all.mitigations), (BenchOpponent::Linux, Mitigations::Off));
        let some = bench(&["boot", "disk", "--runs", "3", "--quick", "--against", "none", "-c", "1"]);
        assert_eq!(some.what, [BenchKind::Boot, BenchKind::Disk]);
        assert_eq!((some.runs, some.quick, some.against), (Some(3), true, BenchOpponent::None));
        let kernel = bench(&["net", "--against", "/proc/self/exe", "--mitigations", "auto"]);
        assert_eq!(kernel.against, BenchOpponent::Kernel("/proc/self/exe".into()));
        let own = bench(&["--jar", "a.jar", "--load", "wrk http://127.0.0.1:80/"]);
        assert_eq!(own.load.as_deref(), Some("wrk http://127.0.0.1:80/"));
        let Some(BenchCommand::Compare { old, new }) = bench(&["compare", "a", "b"]).command else {
            panic!()
        };
        assert_eq!((old, new), ("a".into(), "b".into()));
    }

    #[test]
    fn benches_that_make_no_sense_are_refused() {
        for words in [
            &["bench", "speed"][..],
            &["bench", "--runs", "0"],
            &["bench", "--rounds", "3"],
            &["bench", "--jar", "a.jar"],
            &["bench", "--load", "wrk"],
            &["bench", "boot", "--jar", "a.jar", "--load", "wrk"],
            &["bench", "--against", "/no/such/kernel"],
            &["bench", "--mitigations", "maybe"],
            &["bench", "compare", "a"],
            &["bench", "--quick", "compare", "a", "b"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn memory_has_units() {
        assert_eq!(parse_memory("512"), Ok(MemoryMib(512)));
        assert_eq!(parse_memory("512m"), Ok(MemoryMib(512)));
        assert_eq!(parse_memory("2GiB"), Ok(MemoryMib(2048)));
        assert!(parse_memory("G").is_err());
        assert!(parse_memory("1G1").is_err());
        assert!(parse_memory("é").is_err());
    }
}
