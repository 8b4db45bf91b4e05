//! Running one test in a guest, with its output captured.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use run_config::RunConfig;

use super::{Context, scratch_disk::ScratchDisk};
use crate::{
    failure::Result,
    machine::{
        choice::{Choice, Payload},
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Remote, Report, Setup, Streams},
        stream::Input,
    },
    network::Network,
    options::{MachineOptions, MemoryMib},
};

/// As much output as a test may have. A guest gone wild must not fill the host's memory.
const OUTPUT_LIMIT_BYTES: usize = 64 << 20;

/// One run in a guest.
pub struct GuestRun<'a> {
    pub image: &'a Path,
    pub kernel: &'a Path,
    pub config: RunConfig,
    pub payload: Payload,
    pub memory: MemoryMib,
    pub cpus: u32,
    pub stdin: Vec<u8>,
    /// Sent one after the other.
    pub signals: Vec<SignalAfter>,
    pub limit: Duration,
    /// A volume, which the configuration is told of.
    pub disk: Option<&'a ScratchDisk>,
}

/// A signal that is sent when a line of standard output begins in a certain way.
#[derive(Clone, Debug)]
pub struct SignalAfter {
    pub line_start: String,
    pub number: u8,
}

impl SignalAfter {
    /// Whether this output calls for the signal.
    pub fn is_due(&self, stdout: &[u8]) -> bool {
        stdout.split(|byte| *byte == b'\n').any(|line| line.starts_with(self.line_start.as_bytes()))
    }
}

/// What came of it.
pub struct GuestOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub report: Report,
}

impl GuestOutput {
    /// Why there is no exit status, and the end of the kernel's log; `None` if there is one.
    pub fn complaint(&self) -> Option<String> {
        const SHOWN_LINES: usize = 15;
        let Report { end, notices, folder, .. } = &self.report;
        let what = match end {
            End::Exit(_) | End::Signal(_) => return None,
            End::Panic(text) => format!("the kernel panicked: {text}"),
            End::NotStarted(why) => format!("the program was not started: {why}"),
            End::OutOfTime => "it took too long".into(),
            End::OutputClosed => "it printed without end".into(),
            End::Interrupted(_) => "it was interrupted".into(),
            End::Unexplained(complaint) => format!("the machine ended without a word {complaint}"),
        };
        let said: String = notices.iter().map(|notice| format!("; {notice}")).collect();
        let log = folder.kernel_log();
        Some(format!("{what}{said}; {}\n{}", log.display(), folder.last_log_lines(SHOWN_LINES)))
    }
}

pub fn run(mut run: GuestRun, context: &Context) -> Result<GuestOutput> {
    let machine = MachineOptions {
        memory: Some(run.memory),
        cpus: Some(run.cpus),
        machine: context.options.machine,
        accel: context.options.accel,
        ..MachineOptions::default()
    };
    let choice = Choice::make(&machine, run.payload, &context.project)?;
    let mut words = Vec::new();
    if let Some(disk) = run.disk {
        run.config.volumes.push(disk.volume()?);
        words = disk.words(choice.kind);
    }
    let setup = Setup {
        choice: &choice,
        kernel: run.kernel,
        linux: None,
        network: &Network::none(),
        image: run.image,
        disks: &[],
        config: &run.config,
        folder: RunFolder::new(&context.project)?,
        on_interrupt: OnInterrupt::End,
        limit: Some(run.limit),
        extra: &words,
    };
    let events = Events::new();
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let watched = Watched { to: stdout.clone(), signals: run.signals.into(), remote: events.remote() };
    let streams = Streams {
        stdin: Input::Bytes(run.stdin),
        stdout: Box::new(watched),
        stderr: Box::new(stderr.clone()),
        kernel_log: None,
        notices: None,
    };
    let report = session::run(setup, streams, events)?;
    Ok(GuestOutput { stdout: stdout.take(), stderr: stderr.take(), report })
}

/// Output kept in memory, up to the limit.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn calls_for(&self, signal: &SignalAfter) -> bool {
        signal.is_due(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() + bytes.len() > OUTPUT_LIMIT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Output that is watched for the lines after which signals are sent.
struct Watched {
    to: Captured,
    signals: VecDeque<SignalAfter>,
    remote: Remote,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        while let Some(signal) = self.signals.pop_front_if(|signal| self.to.calls_for(signal)) {
            self.remote.send_signal(signal.number);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
