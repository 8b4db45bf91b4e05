//! A guest that serves while something is done to it.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use run_config::RunConfig;

use crate::{
    command::bench::measure::Captured,
    failure::{Failure, Result},
    linux_guest::LinuxGuest,
    machine::{
        choice::Choice,
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Setup, Streams},
        stream::Input,
    },
    network::{Network, forward::PortForward},
    options::{NetChannelsChoice, NetworkOptions},
    project::Project,
    scratch::ScratchFolder,
};

/// No measurement takes so long.
const LIMIT: Duration = Duration::from_secs(300);

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
/// What a JVM ends with that SIGTERM ended: 128 + 15, as for a shell.
const TERMINATED: u8 = 143;

/// How a program begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It says `ready`, and ends with status 0 when it is asked over the network.
    Ours,
    /// Whether it is ready has to be tried, and it ends by SIGTERM.
    Daemon,
}

/// What is started.
pub struct Machine<'a> {
    pub project: &'a Project,
    pub choice: &'a Choice,
    pub kernel: &'a Path,
    pub linux: Option<&'a LinuxGuest>,
    pub image: &'a Path,
    pub channels: NetChannelsChoice,
    /// Further words of QEMU's command line.
    pub extra: &'a [String],
    pub manners: Manners,
}

/// A machine whose program has said that it is ready.
pub struct Guest {
    /// Ports of the host that lead to those that were asked for.
    pub ports: Vec<u16>,
}

impl Machine<'_> {
    /// Starts the machine, waits until its program says that it is ready, does something, sees to the program's end, and
    /// returns what came of it and the program's output.
    pub fn serve<T>(
        &self,
        mut config: RunConfig,
        ports: &[u16],
        work: impl FnOnce(&Guest) -> Result<T>,
    ) -> Result<(T, String)> {
        let forwards: Vec<PortForward> = ports
            .iter()
            .map(|port| format!("0:{port}").parse())
            .collect::<std::result::Result<_, String>>()
            .map_err(Failure::new)?;
        let options = NetworkOptions { forwards, channels: self.channels, ..NetworkOptions::default() };
        let network = Network::plan(&options)?;
        // The Linux guest has no client for DHCP.
        network.configure_statically(&mut config);
        // Lives as long as its initramfs is needed.
        let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
        let linux = match self.linux {
            Some(guest) => Some(guest.boot(self.choice.kind, &config, scratch.path())?),
            None => None,
        };
        let setup = Setup {
            choice: self.choice,
            kernel: self.kernel,
            linux: linux.as_ref(),
            network: &network,
            image: self.image,
            disks: &[],
            config: &config,
            folder: RunFolder::new(self.project)?,
            on_interrupt: OnInterrupt::End,
            limit: Some(LIMIT),
            extra: self.extra,
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
        let guest = Guest { ports: network.forwards().iter().map(|forward| forward.host.port()).collect() };
        let (done, report) = thread::scope(|scope| {
            // QEMU ends with the thread that started it.
            let run = scope.spawn(|| session::run(setup, streams, events));
            let started = Instant::now();
            while self.manners == Manners::Ours && !output.text().lines().any(|line| line == "ready") {
                if run.is_finished() || started.elapsed() > LIMIT {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
            let done = if run.is_finished() { None } else { Some(work(&guest)) };
            match (&done, self.manners) {
                (Some(Ok(_)), Manners::Ours) => {}
                (Some(Ok(_)), Manners::Daemon) => remote.send_signal(SIGTERM),
                _ => remote.send_signal(SIGKILL),
            }
            (done, run.join())
        });
        let report = report.map_err(|_| Failure::new("the machine's thread panicked"))??;
        match (done, &report.end) {
            (Some(Ok(done)), End::Exit(0 | TERMINATED)) => Ok((done, output.text())),
            (done, end) => {
                let what = match done {
                    Some(Err(failure)) => failure.to_string(),
                    _ => format!("the run ended: {end:?}"),
                };
                let whose = if self.linux.is_some() { "the Linux guest" } else { "Crema" };
                let lines = report.folder.last_log_lines(15);
                let log = report.folder.kernel_log();
                let said = complaints.text();
                Err(Failure::new(format!("{whose}: {what} ({})\n{lines}\n{said}", log.display())))
            }
        }
    }
}
