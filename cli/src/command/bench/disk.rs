//! `crema bench disk`: what files on a volume cost.
//!
//! The program in `benchmarks/disk` measures itself, in a directory on an ext4 volume that each run gets anew; it prints lines as
//! that of `bench syscall` does. Meanwhile QEMU is asked how many flushes have reached the disk: a figure that was bought by
//! leaving one out would show.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use run_config::{RunConfig, Volume, VolumeAccess};

use super::{
    measure::{Kernels, Sample, Samples, Workload, alternate, linux_guest, wants_crema},
    provenance,
    syscall::compare,
};
use crate::{
    application,
    failure::{Failure, Result},
    image::{
        cache::CachedImage,
        ext4,
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    linux_guest::LinuxGuest,
    machine::{
        choice::{Choice, Payload},
        qemu::quoted,
    },
    options::{BenchOptions, MachineKind},
    project::Project,
    scratch::ScratchFolder,
};

/// The program in the guest, and where it works.
const GUEST_PROGRAM: &str = "/app/disk";
const PLACE: &str = "/volume";
const SERIAL: &str = "crema-vol-0";

const VOLUME_BYTES: u64 = 2 << 30;
/// How often the disk's counters are looked at; the program rests for longer at its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    let kernel = match wants_crema(options.against) {
        true => Some(project.kernel(options.machine.kernel.as_deref())?),
        false => None,
    };
    let linux = linux_guest(options.against, project)?;
    let image = CachedImage::of(&recipe(project)?, project)?;
    let choice = Choice::make(&options.machine, Payload::Program, project)?;
    let volume = Volume::new(SERIAL, VolumeAccess::ReadWrite, PLACE)
        .map_err(|error| Failure::new(format!("the volume to measure on: {error}")))?;
    let config = RunConfig {
        args: vec![GUEST_PROGRAM.into(), PLACE.into()],
        env: application::ENVIRONMENT.map(String::from).to_vec(),
        cwd: "/tmp".into(),
        volumes: vec![volume],
        ..RunConfig::default()
    };
    eprintln!("crema: {choice}");
    let mut samples = Samples::default();
    for _ in 0..options.rounds {
        let run = |crema: Option<&Path>, linux: Option<&LinuxGuest>| {
            once(&choice, image.path(), &config, &Kernels { crema, linux }, project)
        };
        if let Some(kernel) = &kernel {
            samples.crema.extend(run(Some(kernel), None)?.crema);
        }
        if linux.is_some() {
            samples.linux.extend(run(None, linux.as_ref())?.linux);
        }
    }
    print!("{}\n{}", provenance("disk", &choice, options.rounds, &linux), compare(&samples).render());
    Ok(())
}

/// One run on a volume of its own.
fn once(
    choice: &Choice,
    image: &Path,
    config: &RunConfig,
    kernels: &Kernels,
    project: &Project,
) -> Result<Samples> {
    let folder = ScratchFolder::new_in(&std::env::temp_dir())?;
    let file = folder.path().join("volume.img");
    let sparse = File::create(&file).and_then(|sparse| sparse.set_len(VOLUME_BYTES));
    sparse.map_err(Failure::io("make", &file))?;
    ext4::make_empty(&file, "bench")?;
    let monitor = folder.path().join("qmp");
    let bus = if choice.kind == MachineKind::Q35 { "pci" } else { "device" };
    let extra = [
        "-drive".into(),
        format!("if=none,id={SERIAL},format=raw,cache=writeback,discard=unmap,file={}", quoted(&file)),
        "-device".into(),
        format!("virtio-blk-{bus},drive={SERIAL},serial={SERIAL}"),
        "-qmp".into(),
        format!("unix:{},server=on,wait=off", quoted(&monitor)),
    ];
    let flushes = FlushCounter::start(monitor);
    let workload = Workload { choice, image, config, extra: &extra };
    let mut samples = alternate(&workload, kernels, 1, project)?;
    let count = flushes.stop();
    let tell = |sample: &mut Sample| {
        sample.stdout += &format!("flushes_of_the_disk count {count} 0 0 0 1\n");
    };
    samples.crema.iter_mut().chain(&mut samples.linux).for_each(tell);
    Ok(samples)
}

fn recipe(project: &Project) -> Result<Recipe> {
    let folder = project.root().join("benchmarks/disk");
    let out = project.root().join("target/benchmarks");
    let output = Command::new("make")
        .args(["--silent", "--directory"])
        .arg(&folder)
        .arg(format!("OUT={}", out.display()))
        .output()
        .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("benchmarks/disk does not build:\n{}", complaint.trim_end())));
    }
    let mut recipe = Recipe::default();
    system_files::add_base(&mut recipe)?;
    recipe.file(GUEST_PROGRAM, out.join("disk"))?;
    recipe.directory(PLACE, 0o755)?;
    HostLibraries::find()?.close(&mut recipe, Missing::Refuse)?;
    Ok(recipe)
}

/// Asks QEMU's monitor, as long as there is one, how many flushes the disk has had.
struct FlushCounter {
    last: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl FlushCounter {
    fn start(monitor: PathBuf) -> Self {
        let (last, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (last, stop) = (last.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(stream) = UnixStream::connect(&monitor) {
                        // Ends when QEMU does.
                        let _ = watch(stream, &last, &stop);
                    }
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Self { last, stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // It only looks and sleeps.
        let _ = self.thread.join();
        self.last.load(Ordering::Relaxed)
    }
}

fn watch(stream: UnixStream, last: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut to = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    to.write_all(b"{\"execute\": \"qmp_capabilities\"}\n")?;
    while !stop.load(Ordering::Relaxed) {
        to.write_all(b"{\"execute\": \"query-blockstats\"}\n")?;
        // Greetings, answers to other commands and events come in between.
        for line in &mut lines {
            if let Some(count) = flush_operations(&line?) {
                last.store(count, Ordering::Relaxed);
                break;
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The disk's flushes in an answer to `query-blockstats` (QEMU's qapi/block-core.json).
fn flush_operations(line: &str) -> Option<u64> {
    let answer: serde_json::Value = serde_json::from_str(line).ok()?;
    let devices = answer.get("return")?.as_array()?;
    let disk = devices.iter().find(|device| device.get("device").is_some_and(|name| name == SERIAL))?;
    disk.get("stats")?.get("flush_operations")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_found() {
        let answer = r#"{"return": [{"device": "root", "stats": {"flush_operations": 1}},
            {"device": "crema-vol-0", "stats": {"wr_operations": 7, "flush_operations": 42}}]}"#;
        assert_eq!(flush_operations(answer), Some(42));
        assert_eq!(flush_operations(r#"{"return": {}}"#), None);
        assert_eq!(flush_operations(r#"{"event": "SHUTDOWN"}"#), None);
    }
}
