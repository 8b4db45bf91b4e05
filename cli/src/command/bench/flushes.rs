//! Counting the flushes that a disk has had, as QEMU tells: a figure that was bought by leaving one out would show.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::machine::qemu::quoted;

/// How often the disk's counters are looked at. A program that is measured rests for longer at its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks QEMU's monitor, as long as there is one, how many flushes the disk has had.
pub struct FlushCounter {
    last: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl FlushCounter {
    /// The words with which a machine listens for a counter.
    pub fn arguments(monitor: &Path) -> [String; 2] {
        ["-qmp".into(), format!("unix:{},server=on,wait=off", quoted(monitor))]
    }

    /// Begins to count for the drive of this name.
    pub fn start(monitor: PathBuf, drive: &'static str) -> Self {
        let (last, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (last, stop) = (last.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(stream) = UnixStream::connect(&monitor) {
                        // Ends when QEMU does.
                        let _ = watch(stream, drive, &last, &stop);
                    }
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Self { last, stop, thread }
    }

    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // It only looks and sleeps.
        let _ = self.thread.join();
        self.last.load(Ordering::Relaxed)
    }
}

fn watch(stream: UnixStream, drive: &str, last: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut to = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    to.write_all(b"{\"execute\": \"qmp_capabilities\"}\n")?;
    while !stop.load(Ordering::Relaxed) {
        to.write_all(b"{\"execute\": \"query-blockstats\"}\n")?;
        // Greetings, answers to other commands and events come in between.
        for line in &mut lines {
            if let Some(count) = flush_operations(&line?, drive) {
                last.store(count, Ordering::Relaxed);
                break;
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The disk's flushes in an answer to `query-blockstats` (QEMU's qapi/block-core.json).
fn flush_operations(line: &str, drive: &str) -> Option<u64> {
    let answer: serde_json::Value = serde_json::from_str(line).ok()?;
    let devices = answer.get("return")?.as_array()?;
    let disk = devices.iter().find(|device| device.get("device").is_some_and(|name| name == drive))?;
    disk.get("stats")?.get("flush_operations")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_found() {
        let answer = r#"{"return": [{"device": "root", "stats": {"flush_operations": 1}},
            {"device": "crema-vol-0", "stats": {"wr_operations": 7, "flush_operations": 42}}]}"#;
        let found = |line| flush_operations(line, "crema-vol-0");
        assert_eq!(found(answer), Some(42));
        assert_eq!(found(r#"{"return": {}}"#), None);
        assert_eq!(found(r#"{"event": "SHUTDOWN"}"#), None);
    }
}
