//! `crema bench boot`: how long a start takes, alone and with others, and what the kernel needs for itself.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use goblin::elf::{Elf, program_header::PT_LOAD};
use run_config::RunConfig;

use super::{
    harness::Harness,
    machine::{Machine, Manners, Sample},
    model::{Better, Figure, Observation},
    programs,
    side::Side,
    statistics,
};
use crate::{
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::choice::Payload,
    options::MemoryMib,
};

const HTTP_PORT: u16 = 8080;

/// Guests that are started together, each with so much memory and one CPU.
const TOGETHER: u64 = 50;
const TOGETHER_QUICK: u64 = 8;
const TOGETHER_MEMORY: MemoryMib = MemoryMib(256);

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let image =
        CachedImage::of(&programs::java_recipe(&["boot/Hello.java", "net/Server.java"], project)?, project)?;
    let choice = harness.machine(Payload::Jvm)?;
    let hello = programs::java_config(&[], &["Hello"]);
    let server = programs::java_config(&[], &["Server", &HTTP_PORT.to_string()]);
    let sides = harness.sides.clone();
    let image_file = fs::metadata(image.path()).map_err(Failure::io("read", image.path()))?;
    // The file is sparse: stat(2) counts blocks of 512 bytes.
    let image_mib = mib(image_file.blocks() * 512);
    let bench = harness.alternate("boot", &choice, &sides, |side| {
        let machine = Machine::new(project, &choice, side, image.path());
        let mut seen = times(&machine.run(&hello)?, choice.memory);
        seen.figure(Figure::new("kernel_image", "MiB", mib(kernel_bytes(side)?)));
        let (answered, _) = machine.serve(&server, &[(0, HTTP_PORT)], Manners::Ours("ready"), |guest| {
            answer(guest.ports[0], "/")?;
            let answered = guest.started.elapsed();
            answer(guest.ports[0], "/end")?;
            Ok(answered)
        })?;
        seen.figure(milliseconds("QEMU's_start_to_the_first_answered_request", answered));
        Ok(seen)
    })?;
    bench.notes.push(format!("The root image is the same on all sides: {image_mib:.0} MiB."));
    together(harness, &image, &hello)
}

/// Many guests at the same time.
fn together(harness: &mut Harness, image: &CachedImage, hello: &RunConfig) -> Result<()> {
    let project = harness.project;
    let mut choice = harness.machine_with(Payload::Jvm, TOGETHER_MEMORY)?;
    choice.cpus = 1;
    // QEMU itself takes some, and the host should not begin to swap.
    let each = TOGETHER_MEMORY.0 + 64;
    let wanted = harness.length.pick(TOGETHER, TOGETHER_QUICK);
    let count = wanted.min(available_memory().0 / each).max(1);
    let sides = harness.sides.clone();
    let runs = harness.length.pick(harness.runs.min(3), 1);
    let name = format!("boot of {count} guests together");
    let mut measure =
        |side: &Side| start_together(count, &Machine::new(project, &choice, side, image.path()), hello);
    let bench = harness.alternate_times(runs, &name, &choice, &sides, &mut measure)?;
    bench.notes.push(format!(
        "{count} guests of {} MiB and one CPU each were started at the same moment; {wanted} need {} MiB of free memory on the host.",
        TOGETHER_MEMORY.0,
        wanted * each
    ));
    Ok(())
}

fn start_together(count: u64, machine: &Machine, hello: &RunConfig) -> Result<Observation> {
    let started = Instant::now();
    let samples: Vec<Result<Sample>> = thread::scope(|scope| {
        let runs: Vec<_> = (0..count).map(|_| scope.spawn(|| machine.run(hello))).collect();
        let join = |run: thread::ScopedJoinHandle<'_, Result<Sample>>| {
            run.join().unwrap_or_else(|_| Err(Failure::new("a machine's thread panicked")))
        };
        runs.into_iter().map(join).collect()
    });
    let elapsed = started.elapsed();
    let mut to_main = Vec::new();
    for sample in samples {
        to_main.extend(sample?.first_output.map(|time| time.as_secs_f64() * 1000.0));
    }
    let mut seen = Observation::default();
    seen.figure(Figure::new("boots", "1/s", count as f64 / elapsed.as_secs_f64()));
    if let Some(spread) = statistics::spread(&to_main) {
        seen.figure(Figure::new("QEMU's_start_to_main,_median", "ms", spread.median));
        seen.figure(Figure::new("QEMU's_start_to_main,_slowest", "ms", spread.greatest));
    }
    seen.work("guests that said hello", to_main.len() as u64);
    Ok(seen)
}

/// The points of the start, and from outside the first output and the end.
fn times(sample: &Sample, machine: MemoryMib) -> Observation {
    let mut seen = Observation::default();
    for (name, time) in &sample.report.marks {
        // `init` is a point of the Linux guest alone.
        seen.figure(milliseconds(&format!("kernel_entry_to_{name}"), *time));
    }
    if let Ok(main) = sample.stdout.trim().parse() {
        seen.figure(milliseconds("kernel_entry_to_main", Duration::from_nanos(main)));
    }
    if let Some(first) = sample.first_output {
        seen.figure(milliseconds("QEMU's_start_to_the_first_output_of_main", first));
    }
    seen.figure(milliseconds("QEMU's_start_to_its_end", sample.report.elapsed));
    if let Some((_, available)) = sample.report.memory.iter().find(|(name, _)| name == "available") {
        let beside = machine.0 as f64 - mib(*available);
        seen.figure(Figure::new("memory_not_available_to_the_application", "MiB", beside));
    }
    let resident = sample.memory.points.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
    if resident > 0.0 {
        let figure = Figure::new("memory_of_QEMU_at_most", "MiB", resident);
        seen.figure(figure.with(Better::Lower));
    }
    seen.courses.push(sample.memory.clone());
    seen
}

fn milliseconds(name: &str, time: Duration) -> Figure {
    Figure::new(name, "ms", time.as_secs_f64() * 1000.0)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Sends one request and waits for its answer.
fn answer(port: u16, path: &str) -> Result<()> {
    let failed = |error| Failure::new(format!("the server in the guest does not answer: {error}"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).map_err(failed)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).map_err(failed)?;
    match &status {
        b"HTTP/1.1 200" => Ok(()),
        other => Err(Failure::new(format!("the server answers {:?}", String::from_utf8_lossy(other)))),
    }
}

/// Bytes of a kernel's file. Linux's as it is shipped, for its vmlinux has a symbol table that nobody needs to run it.
fn kernel_bytes(side: &Side) -> Result<u64> {
    match side.linux() {
        Some(guest) => {
            let file = guest.compressed_kernel();
            fs::metadata(&file).map(|file| file.len()).map_err(Failure::io("read", &file))
        }
        None => loadable_bytes(side.kernel()),
    }
}

/// Up to the end of the last segment that is loaded. What comes after is for debuggers, and for the names in the tool's backtraces.
fn loadable_bytes(kernel: &Path) -> Result<u64> {
    let bytes = fs::read(kernel).map_err(Failure::io("read", kernel))?;
    let elf = Elf::parse(&bytes)
        .map_err(|error| Failure::new(format!("{} is no kernel: {error}", kernel.display())))?;
    let ends = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    Ok(ends.map(|header| header.p_offset + header.p_filesz).max().unwrap_or(0))
}

/// What programs can have without swapping, proc(5).
fn available_memory() -> MemoryMib {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    MemoryMib(kib.unwrap_or(0) / 1024)
}
