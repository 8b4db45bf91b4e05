//! Running one machine of one side, and what came of it.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use run_config::RunConfig;

use super::{model::Course, side::Side, watch::Watch};
use crate::{
    failure::{Failure, Result},
    machine::{
        choice::Choice,
        qemu::Disk,
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Remote, Report, Setup, Streams},
        stream::Input,
    },
    network::{Network, forward::PortForward},
    options::NetworkOptions,
    project::Project,
    scratch::ScratchFolder,
};

/// No measurement takes so long.
pub const LIMIT: Duration = Duration::from_secs(600);

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
/// What a JVM ends with that SIGTERM ended: 128 + 15, as for a shell.
const TERMINATED: u8 = 143;

/// A machine to be started.
pub struct Machine<'a> {
    pub project: &'a Project,
    pub choice: &'a Choice,
    pub side: &'a Side,
    pub image: &'a Path,
    pub disks: &'a [Disk],
    /// Further words of QEMU's command line.
    pub extra: &'a [String],
    pub limit: Duration,
}

/// What came of a run.
pub struct Sample {
    pub report: Report,
    pub stdout: String,
    /// From the start of QEMU to the first byte on standard output.
    pub first_output: Option<Duration>,
    pub memory: Course,
}

/// How a server begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It prints a line, and ends with status 0 when it is asked over the network.
    Ours(&'static str),
    /// It prints a line that has these words, and ends by SIGTERM.
    Prints(&'static str),
    /// Whether it is ready has to be tried, and it ends by SIGTERM.
    Silent,
}

/// A machine whose server is ready, as far as it says so.
pub struct Guest<'a> {
    /// Ports of the host that lead to those that were asked for.
    pub ports: Vec<u16>,
    pub started: Instant,
    pub watch: &'a Watch,
    is_running: &'a dyn Fn() -> bool,
}

impl Guest<'_> {
    pub fn is_running(&self) -> bool {
        (self.is_running)()
    }
}

impl<'a> Machine<'a> {
    pub fn new(project: &'a Project, choice: &'a Choice, side: &'a Side, image: &'a Path) -> Self {
        Self { project, choice, side, image, disks: &[], extra: &[], limit: LIMIT }
    }

    /// Runs a program to its end, which must be status 0.
    pub fn run(&self, config: &RunConfig) -> Result<Sample> {
        let (sample, complaints) = self.session(config.clone(), &Network::none(), |_, _| {})?;
        match sample.report.end {
            End::Exit(0) => Ok(sample),
            _ => Err(self.failure(&sample.report, &complaints, None)),
        }
    }

    /// The same, however the program ends, with what it said on standard error.
    pub fn run_to_any_end(&self, config: &RunConfig) -> Result<(Sample, String)> {
        self.session(config.clone(), &Network::none(), |_, _| {})
    }

    /// Starts a server, waits until it is ready, does something, sees to its end, and returns what came of it. Ports are pairs of one of the
    /// host's (0 for any free one) and the guest's that it leads to.
    pub fn serve<T>(
        &self,
        config: &RunConfig,
        ports: &[(u16, u16)],
        manners: Manners,
        work: impl FnOnce(&Guest) -> Result<T>,
    ) -> Result<(T, Sample)> {
        let forwards: Vec<PortForward> = ports
            .iter()
            .map(|(host, guest)| format!("{host}:{guest}").parse())
            .collect::<Result<_, String>>()
            .map_err(Failure::new)?;
        let options = NetworkOptions { forwards, channels: self.side.channels, ..NetworkOptions::default() };
        let network = Network::plan(&options)?;
        let mut config = config.clone();
        // The Linux guest has no client for DHCP.
        network.configure_statically(&mut config);
        let mut done = None;
        let (sample, complaints) = self.session(config, &network, |session, watch| {
            let ports = network.forwards().iter().map(|forward| forward.host.port()).collect();
            let is_running = || !session.has_ended();
            let guest = Guest { ports, started: session.started, watch, is_running: &is_running };
            let line = match manners {
                Manners::Ours(line) | Manners::Prints(line) => Some(line),
                Manners::Silent => None,
            };
            while let Some(line) = line
                && !session.output.text().contains(line)
                && guest.is_running()
            {
                thread::sleep(Duration::from_millis(2));
            }
            if guest.is_running() {
                done = Some(work(&guest));
            }
            match (&done, manners) {
                (Some(Ok(_)), Manners::Ours(_)) => {}
                (Some(Ok(_)), _) => session.remote.send_signal(SIGTERM),
                _ => session.remote.send_signal(SIGKILL),
            }
        })?;
        match (done, &sample.report.end) {
            (Some(Ok(done)), End::Exit(0 | TERMINATED) | End::Signal(SIGTERM)) => Ok((done, sample)),
            (Some(Err(failure)), _) => Err(self.failure(&sample.report, &complaints, Some(failure))),
            _ => Err(self.failure(&sample.report, &complaints, None)),
        }
    }

    /// Runs the machine to its end while something else is done. Also returns what the program said on standard error.
    fn session(
        &self,
        mut config: RunConfig,
        network: &Network,
        meanwhile: impl FnOnce(&Session, &Watch),
    ) -> Result<(Sample, String)> {
        self.side.configure(&mut config);
        // Lives as long as its initramfs is needed.
        let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
        let linux = match self.side.linux() {
            Some(guest) => Some(guest.boot(self.choice.kind, &config, scratch.path())?),
            None => None,
        };
        let mut extra = self.extra.to_vec();
        extra.extend(Watch::arguments(scratch.path()));
        let setup = Setup {
            choice: self.choice,
            kernel: self.side.kernel(),
            linux: linux.as_ref(),
            network,
            image: self.image,
            disks: self.disks,
            config: &config,
            folder: RunFolder::new(self.project)?,
            on_interrupt: OnInterrupt::End,
            limit: Some(self.limit),
            extra: &extra,
        };
        let (output, complaints) = (Captured::default(), Captured::default());
        let streams = Streams {
            stdin: Input::Empty,
            stdout: Box::new(output.clone()),
            stderr: Box::new(complaints.clone()),
            kernel_log: None,
            notices: None,
        };
        let events = Events::new();
        let remote = events.remote();
        let watch = Watch::start(scratch.path());
        let started = Instant::now();
        let report = thread::scope(|scope| {
            // QEMU ends with the thread that started it.
            let run = scope.spawn(|| session::run(setup, streams, events));
            let has_ended = || run.is_finished();
            meanwhile(&Session { output: &output, remote, started, has_ended: &has_ended }, &watch);
            run.join()
        });
        let memory = watch.stop();
        let report = report.map_err(|_| Failure::new("the machine's thread panicked"))??;
        if let End::Interrupted(_) = report.end {
            return Err(Failure::new(INTERRUPTED));
        }
        let (bytes, first) = output.take();
        let first_output = first.map(|first| first.duration_since(started));
        let stdout = String::from_utf8_lossy(&bytes).into_owned();
        Ok((Sample { report, stdout, first_output, memory }, complaints.text()))
    }

    /// What went wrong, in one line, and what the guest said about it in others.
    fn failure(&self, report: &Report, complaints: &str, why: Option<Failure>) -> Failure {
        let what = match (why, &report.end) {
            (Some(failure), _) => failure.to_string(),
            (None, End::OutOfTime) => format!("the run took longer than {} s", self.limit.as_secs()),
            (None, end) => format!("the run ended with {end:?}"),
        };
        let log = report.folder.kernel_log();
        let said: Vec<&str> = complaints.lines().rev().take(15).collect();
        let said: Vec<&str> = said.into_iter().rev().collect();
        Failure::new(format!(
            "{what} ({})\n{}\n{}",
            log.display(),
            report.folder.last_log_lines(15),
            said.join("\n")
        ))
    }
}

/// What a run fails with that the user ended: nothing more is to be measured then.
pub const INTERRUPTED: &str = "interrupted";

/// A machine that runs.
struct Session<'a> {
    output: &'a Captured,
    remote: Remote,
    started: Instant,
    has_ended: &'a dyn Fn() -> bool,
}

impl Session<'_> {
    fn has_ended(&self) -> bool {
        (self.has_ended)()
    }
}

/// Output that is kept, and when its first byte came.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<(Vec<u8>, Option<Instant>)>>);

impl Captured {
    /// What has come so far.
    fn text(&self) -> String {
        let captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&captured.0).into_owned()
    }

    fn take(&self) -> (Vec<u8>, Option<Instant>) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captured.1.get_or_insert_with(Instant::now);
        captured.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
