//! Running machines several times, and what they said each time.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use run_config::RunConfig;

use crate::{
    failure::{Failure, Result},
    linux_guest::LinuxGuest,
    machine::{
        choice::Choice,
        qemu::LinuxBoot,
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Report, Setup, Streams},
        stream::Input,
    },
    network::Network,
    options::BenchOpponent,
    project::Project,
    scratch::ScratchFolder,
};

/// No measurement takes so long.
const LIMIT: Duration = Duration::from_secs(600);

/// What all machines of a comparison have in common.
pub struct Workload<'a> {
    pub choice: &'a Choice,
    pub image: &'a Path,
    pub config: &'a RunConfig,
    /// Further words for QEMU.
    pub extra: &'a [String],
}

/// The kernels of a comparison.
pub struct Kernels<'a> {
    pub crema: Option<&'a Path>,
    pub linux: Option<&'a LinuxGuest>,
}

/// The measurements of a comparison; empty for a side that was not measured.
#[derive(Default)]
pub struct Samples {
    pub crema: Vec<Sample>,
    pub linux: Vec<Sample>,
}

/// One measurement.
pub struct Sample {
    pub report: Report,
    pub stdout: String,
    /// From the start of QEMU to the first byte on standard output.
    pub first_output: Option<Duration>,
}

/// Whether Crema itself is measured.
pub fn wants_crema(against: BenchOpponent) -> bool {
    against != BenchOpponent::LinuxAlone
}

/// The Linux guest, if the comparison has one.
pub fn linux_guest(against: BenchOpponent, project: &Project) -> Result<Option<LinuxGuest>> {
    match against {
        BenchOpponent::None => Ok(None),
        BenchOpponent::Linux | BenchOpponent::LinuxAlone => LinuxGuest::prepare(project).map(Some),
    }
}

/// Runs the kernels in turn, A B A B, so that what else the host does falls on both. Each run must end with
/// status 0.
pub fn alternate(workload: &Workload, kernels: &Kernels, rounds: u32, project: &Project) -> Result<Samples> {
    // Lives as long as its initramfs is needed.
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    let linux = match kernels.linux {
        None => None,
        Some(guest) => {
            Some((guest.kernel(), guest.boot(workload.choice.kind, workload.config, scratch.path())?))
        }
    };
    let mut samples = Samples::default();
    for _ in 0..rounds {
        if let Some(kernel) = kernels.crema {
            samples.crema.push(once(workload, kernel, None, project)?);
        }
        if let Some((kernel, boot)) = &linux {
            samples.linux.push(once(workload, kernel, Some(boot), project)?);
        }
    }
    Ok(samples)
}

fn once(workload: &Workload, kernel: &Path, linux: Option<&LinuxBoot>, project: &Project) -> Result<Sample> {
    let setup = Setup {
        choice: workload.choice,
        kernel,
        linux,
        network: &Network::none(),
        image: workload.image,
        disks: &[],
        config: workload.config,
        folder: RunFolder::new(project)?,
        on_interrupt: OnInterrupt::End,
        limit: Some(LIMIT),
        extra: workload.extra,
    };
    let stdout = Captured::default();
    let streams = Streams {
        stdin: Input::Empty,
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(io::stderr()),
        kernel_log: None,
        notices: None,
    };
    let started = Instant::now();
    let report = session::run(setup, streams, Events::new())?;
    if report.end != End::Exit(0) {
        let log = report.folder.kernel_log();
        let lines = report.folder.last_log_lines(15);
        let whose = if linux.is_some() { "the Linux guest's run" } else { "the run" };
        return Err(Failure::new(format!("{whose} failed: {:?} ({})\n{lines}", report.end, log.display())));
    }
    let (bytes, first) = stdout.take();
    let first_output = first.map(|first| first.duration_since(started));
    Ok(Sample { report, stdout: String::from_utf8_lossy(&bytes).into_owned(), first_output })
}

/// The median and the quartiles of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lower: f64,
    pub upper: f64,
}

/// Of an even number of values the median is the lower one of the two in the middle.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(Spread { median: values[last / 2], lower: values[last / 4], upper: values[last - last / 4] })
}

/// Output that is kept, and when its first byte came.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<(Vec<u8>, Option<Instant>)>>);

impl Captured {
    /// What has come so far.
    pub fn text(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, lower: 1.0, upper: 3.0 }));
        assert_eq!(spread([4.0, 3.0, 1.0, 2.0]).map(|s| s.median), Some(2.0));
        assert_eq!(spread([5.0, 4.0, 3.0, 2.0, 1.0]), Some(Spread { median: 3.0, lower: 2.0, upper: 4.0 }));
        assert_eq!(spread([7.0]), Some(Spread { median: 7.0, lower: 7.0, upper: 7.0 }));
        assert_eq!(spread([]), None);
    }
}
