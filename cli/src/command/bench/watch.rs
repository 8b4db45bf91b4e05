//! Watching QEMU's process from outside: how much of the host's memory it takes in the course of a run, and how much CPU time.
//!
//! It is the same for every kernel, for none is asked. QEMU writes its process id to a file (`-pidfile`), and /proc has the rest.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::model::Course;
use crate::machine::qemu::quoted;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// More would not be seen in a plot.
const POINTS_LIMIT: usize = 400;

/// A thread that looks at a machine until it is told to stop.
pub struct Watch {
    pid_file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<(f64, f64)>>,
}

impl Watch {
    /// Begins to watch the machine that is started with [`Self::arguments`] for this folder.
    pub fn start(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pid_file = folder.join("qemu.pid");
        let thread = thread::spawn({
            let (stop, pid_file) = (stop.clone(), pid_file.clone());
            move || {
                let started = Instant::now();
                let mut points = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Some(mib) = pid(&pid_file).and_then(resident_mib) {
                        points.push((started.elapsed().as_secs_f64(), mib));
                    }
                    thread::sleep(LOOK_EVERY);
                }
                thinned(points)
            }
        });
        Self { pid_file, stop, thread }
    }

    pub fn arguments(folder: &Path) -> [String; 2] {
        ["-pidfile".into(), quoted(&folder.join("qemu.pid"))]
    }

    /// CPU time that the machine has taken so far, in seconds.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid(&self.pid_file)?)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 =
            fields.get(11..13)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(ticks as f64 / 100.0)
    }

    pub fn stop(self) -> Course {
        self.stop.store(true, Ordering::Relaxed);
        // It only looks and sleeps.
        let points = self.thread.join().unwrap_or_default();
        Course { name: "memory_of_QEMU".into(), unit: "MiB".into(), points }
    }
}

fn pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The part of its memory that the host has given it: proc(5), /proc/PID/statm, second field, in pages of 4 KiB.
fn resident_mib(pid: u32) -> Option<f64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages as f64 / 256.0)
}

/// Every so many of the points, and the last.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS_LIMIT).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate().filter(|(place, _)| place % each == 0 || *place == last);
    kept.map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_are_thinned() {
        let points = |count: u32| (0..count).map(|place| (f64::from(place), 1.0)).collect::<Vec<_>>();
        assert_eq!(thinned(points(400)).len(), 400);
        let thin = thinned(points(1000));
        assert!(thin.len() <= POINTS_LIMIT + 1 && thin.last() == Some(&(999.0, 1.0)));
        assert!(thinned(vec![]).is_empty());
    }

    #[test]
    fn the_memory_of_this_process_is_found() {
        assert!(resident_mib(std::process::id()).is_some_and(|mib| mib > 0.5));
    }
}
