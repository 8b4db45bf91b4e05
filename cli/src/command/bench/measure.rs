//! Running a machine several times, and what it said each time.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use run_config::RunConfig;

use crate::{
    failure::{Failure, Result},
    machine::{
        choice::Choice,
        run_folder::RunFolder,
        session::{self, End, Events, OnInterrupt, Report, Setup, Streams},
        stream::Input,
    },
    project::Project,
};

/// No measurement takes so long.
const LIMIT: Duration = Duration::from_secs(600);

/// What is measured.
pub struct Subject<'a> {
    pub choice: &'a Choice,
    pub kernel: &'a Path,
    pub image: &'a Path,
    pub config: &'a RunConfig,
}

/// One measurement.
pub struct Sample {
    pub report: Report,
    pub stdout: String,
}

/// Runs the subject so often; each run must end with status 0.
pub fn repeat(subject: &Subject, rounds: u32, project: &Project) -> Result<Vec<Sample>> {
    (0..rounds).map(|_| once(subject, project)).collect()
}

fn once(subject: &Subject, project: &Project) -> Result<Sample> {
    let setup = Setup {
        choice: subject.choice,
        kernel: subject.kernel,
        image: subject.image,
        config: subject.config,
        folder: RunFolder::new(project)?,
        on_interrupt: OnInterrupt::End,
        limit: Some(LIMIT),
    };
    let stdout = Shared::default();
    let streams = Streams {
        stdin: Input::Empty,
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(io::stderr()),
        kernel_log: None,
    };
    let report = session::run(setup, streams, Events::new())?;
    if report.end != End::Exit(0) {
        let log = report.folder.kernel_log();
        let lines = report.folder.last_log_lines(15);
        return Err(Failure::new(format!("the run failed: {:?} ({})\n{lines}", report.end, log.display())));
    }
    Ok(Sample { report, stdout: stdout.text() })
}

/// The median; of an even number of values the lower one of the two in the middle.
pub fn median<T: Ord + Copy>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
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
        assert_eq!(median([3, 1, 2]), Some(2));
        assert_eq!(median([4, 3, 1, 2]), Some(2));
        assert_eq!(median([7]), Some(7));
        assert_eq!(median::<u32>([]), None);
    }
}
