//! `crema run`: boots a jar, an appliance or an image, and ends as its program ended.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use run_config::Root;

use super::hotspot_report;
use crate::{
    appliance::Manifest,
    application::{self, Defaults, Description},
    failure::{Failure, Result, STATUS_TOOL_FAILED},
    image::{cache::CachedImage, ext4},
    linux_guest::{LinuxGuest, Mitigations},
    machine::{
        choice::{Choice, Payload},
        qemu,
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Report, Setup, Streams},
        stream::{Input, Output, host_stream},
    },
    network::Network,
    options::{ApplicationOptions, RunOptions},
    project::Project,
    scratch::ScratchFolder,
    volume,
};

/// Lines of the kernel's log that are shown when something went wrong.
const SHOWN_LOG_LINES: usize = 20;

/// Makes all that a run of an appliance needs, unless it is there: its jars, its image, and the kernel.
pub fn prepare(folder: &Path, kernel: Option<&Path>, project: &Project) -> Result<()> {
    let prepared = Manifest::read(folder)?.prepare(&ApplicationOptions::default(), project)?;
    image_of(prepared.jar.as_deref(), &prepared.options, project)?;
    project.kernel(kernel).map(drop)
}

/// The image of a program.
fn image_of(
    target: Option<&Path>,
    application: &ApplicationOptions,
    project: &Project,
) -> Result<(CachedImage, Description)> {
    // It knows nothing of a run's environment, options and arguments: they change more often than what is in it.
    let packed = ApplicationOptions { env: vec![], java_options: vec![], ..application.clone() };
    let (recipe, description) = application::pack(target, &packed, &[], &Defaults::default(), project)?;
    Ok((CachedImage::of(&recipe, project)?, description))
}

/// Runs, and returns the exit status.
pub fn run(options: &RunOptions, project: &Project) -> Result<u8> {
    let mut options = options.clone();
    let appliance = Manifest::of_target(options.target.as_deref())?;
    if let Some(appliance) = &appliance {
        appliance.complete_machine(&mut options.machine);
        appliance.complete_network(&mut options.network);
    }
    let made_before = match options.target.as_deref() {
        Some(path) if path.is_file() && ext4::kind_of(path)? != ext4::Kind::Other => {
            let description = Description::of_image(path)?;
            description.complete(&mut options.machine, &mut options.network)?;
            Some(description)
        }
        _ => None,
    };
    let root = if options.writable_root { Root::Writable } else { Root::Overlay };
    let _image_lock = match (options.target.as_deref(), &made_before) {
        (Some(path), Some(_)) => Some(lock_image(path, root)?),
        _ if root == Root::Writable => {
            return Err(Failure::new(
                "--writable-root needs an image of your own, as `crema build` makes one: what is run without is kept \
                 in a cache, and shared",
            ));
        }
        _ => None,
    };
    // Before anything is built, so that nobody waits for a mistake.
    let network = Network::plan(&options.network)?;
    if options.machine.linux && !(options.volumes.is_empty() && options.volume_servers.is_empty()) {
        return Err(Failure::new(
            "--volume makes no sense with --linux: Debian's kernel is given the root disk only",
        ));
    }
    let place = match (&appliance, &made_before) {
        (Some(appliance), _) => appliance.volume.as_deref(),
        (None, Some(description)) => description.volume_place(),
        (None, None) => None,
    };
    let volumes = volume::attach(&options.volumes, place)?;
    if let Some(appliance) = &appliance {
        let prepared = appliance.prepare(&options.application, project)?;
        (options.target, options.application) = (prepared.jar, prepared.options);
        if options.args.is_empty() {
            options.args = appliance.args.clone();
        }
    }
    let target = options.target.as_deref();
    let cached;
    let (image, description, config): (&Path, _, _) = match (target, made_before) {
        (Some(path), Some(description)) => {
            let config = description.run_config(&options.application, &options.args)?;
            (path, description, config)
        }
        _ => {
            let (image, description) = image_of(target, &options.application, project)?;
            cached = image;
            let of_run = ApplicationOptions {
                env: options.application.env.clone(),
                java_options: options.application.java_options.clone(),
                ..ApplicationOptions::default()
            };
            let config = description.run_config(&of_run, &options.args)?;
            (cached.path(), description, config)
        }
    };
    let payload = if description.jdk.is_some() { Payload::Jvm } else { Payload::Program };
    let choice = Choice::make(&options.machine, payload, project)?;
    let linux =
        if options.machine.linux { Some(LinuxGuest::prepare(project, Mitigations::Off)?) } else { None };
    let kernel = match &linux {
        Some(linux) => linux.kernel().to_path_buf(),
        None => project.kernel(options.machine.kernel.as_deref())?,
    };
    let mut config = config;
    config.root = root;
    config.trace_syscalls = options.log.trace_syscalls;
    config.verbose = options.log.verbose;
    config.volumes = volumes.iter().map(|attached| attached.volume.clone()).collect();
    let mut disks: Vec<_> = volumes.iter().map(|attached| attached.disk.clone()).collect();
    for (number, server) in options.volume_servers.iter().enumerate() {
        let (volume, disk) = volume::of_server(number, server)?;
        config.volumes.push(volume);
        disks.push(disk);
    }
    let terminals = [rustix::termios::isatty(io::stdin()), rustix::termios::isatty(io::stdout())];
    config.tty = terminals == [true, true];
    let scratch;
    let linux_boot = match &linux {
        Some(linux) => {
            network.configure_statically(&mut config);
            scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
            Some(linux.boot(choice.kind, &config, scratch.path())?)
        }
        None => {
            network.configure(&mut config);
            None
        }
    };

    match &description.jdk {
        Some(version) => eprintln!("crema: {choice}, OpenJDK {version}"),
        None => eprintln!("crema: {choice}"),
    }
    network.forwards().iter().for_each(|forward| eprintln!("crema: {forward}"));
    let show_log = options.log.verbose || options.log.trace_syscalls;
    let output = |stream: io::Result<std::fs::File>| -> Result<Output> {
        // Closed by whoever started us, as in `>&-`: what is written there is lost, as for any program.
        Ok(stream.map_or_else(|_| Box::new(io::sink()) as Output, |file| Box::new(file)))
    };
    let streams = Streams {
        stdin: Input::Host,
        stdout: output(host_stream(io::stdout()))?,
        stderr: output(host_stream(io::stderr()))?,
        kernel_log: if show_log { Some(output(host_stream(io::stderr()))?) } else { None },
        notices: Some(output(host_stream(io::stderr()))?),
    };
    let monitor = options.machine.monitor.as_deref().map_or(vec![], |path| qemu::monitor(path).to_vec());
    let setup = Setup {
        choice: &choice,
        kernel: &kernel,
        linux: linux_boot.as_ref(),
        network: &network,
        image,
        disks: &disks,
        config: &config,
        folder: RunFolder::new(project)?,
        on_interrupt: OnInterrupt::AskThenEnd,
        limit: None,
        extra: &monitor,
    };
    let report = session::run(setup, streams, Events::new())?;
    let suspects = if disks.is_empty() { "the image is" } else { "the image or a volume is" };
    conclude(&report, suspects, if show_log { Log::Shown } else { Log::Kept })
}

/// Locks an image of the user's for as long as the value lives: one run may write it, or any number read it.
fn lock_image(path: &Path, root: Root) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(root == Root::Writable)
        .open(path)
        .map_err(Failure::io("open", path))?;
    let (locked, users) = match root {
        Root::Writable => (file.try_lock(), "in use by another run, so that it cannot be written"),
        Root::Overlay => (file.try_lock_shared(), "in use by a run with --writable-root"),
    };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(format!("the image {} is {users}", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(Failure::io("lock", path)(error)),
    }
}

/// Whether the user has seen the kernel's log already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Shown,
    Kept,
}

/// Says what has to be said about the end, and returns the exit status. `suspects` is what damage may be in, with its verb.
fn conclude(report: &Report, suspects: &str, seen: Log) -> Result<u8> {
    for file in &report.files {
        eprintln!("crema: the program left {}", file.display());
        for line in hotspot_report::backtrace(file) {
            eprintln!("crema:   {line}");
        }
    }
    if let Some(how) = &report.damage {
        eprintln!("crema: {suspects} damaged, which the program may have suffered from: {how}");
    }
    let log = report.folder.kernel_log();
    let with_log = |sentence: String| {
        let lines = report.folder.last_log_lines(SHOWN_LOG_LINES);
        let shown = if lines.is_empty() || seen == Log::Shown { String::new() } else { format!("\n{lines}") };
        Failure::new(format!("{sentence} (the kernel's log is in {}){shown}", log.display()))
    };
    match &report.end {
        End::Exit(status) => Ok(*status),
        // 128 + number, as a shell reports it; signal numbers end at 64.
        End::Signal(number) => {
            eprintln!(
                "crema: the program was ended by signal {number}; the kernel's log is in {}",
                log.display()
            );
            Ok(128 + number)
        }
        End::Interrupted(number) => Ok(128 + number),
        // SIGPIPE, as for any program that writes to a closed pipe.
        End::OutputClosed => Ok(128 + 13),
        End::NotStarted(why) => {
            Err(Failure::new(format!("{why} (the kernel's log is in {})", log.display())))
        }
        End::Panic(text) => Err(with_log(format!("the kernel panicked: {text}"))),
        End::OutOfTime => Err(with_log("the machine did not power off after its program had ended".into())),
        End::Unexplained(complaint) if complaint.is_empty() => {
            Err(with_log("the machine ended without a word".into()))
        }
        End::Unexplained(complaint) => Err(with_log(format!("QEMU ended: {complaint}"))),
    }
}

/// The exit status of a failure of the tool itself.
pub fn failed(failure: &Failure) -> u8 {
    eprintln!("crema: {failure}");
    STATUS_TOOL_FAILED
}
