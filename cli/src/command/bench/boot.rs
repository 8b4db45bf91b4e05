//! `crema bench boot`: how long a start takes, and what the kernel needs for itself.

use std::{fs, path::Path, process::Command, time::Duration};

use goblin::elf::{Elf, program_header::PT_LOAD};
use run_config::RunConfig;

use super::{
    comparison::Comparison,
    measure::{Kernels, Sample, Samples, Workload, alternate, linux_guest, wants_crema},
    provenance,
};
use crate::{
    application,
    failure::{Failure, Result},
    image::{
        cache::CachedImage,
        jre::{JAVA_HOME, Jre},
    },
    machine::choice::{Choice, Payload},
    options::{BenchOptions, MemoryMib},
    project::Project,
    scratch::ScratchFolder,
};

/// Says when it began, and ends. HotSpot's `nanoTime` is CLOCK_MONOTONIC (`os_posix.cpp`), which begins at
/// the kernel's entry on both sides.
const HELLO: &str = "public class Hello {\n    public static void main(String[] args) {\n        \
                     System.out.println(System.nanoTime());\n    }\n}\n";

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    let jre = Jre::find()?;
    let kernel = match wants_crema(options.against) {
        true => Some(project.kernel(options.machine.kernel.as_deref())?),
        false => None,
    };
    let linux = linux_guest(options.against, project)?;
    let mut recipe = application::jvm_recipe(project)?;
    recipe.bytes("/app/Hello.class", hello_class()?)?;
    let image = CachedImage::of(&recipe, project)?;
    let choice = Choice::make(&options.machine, Payload::Jvm, project)?;
    let mut env = application::ENVIRONMENT.map(String::from).to_vec();
    env.push(format!("JAVA_HOME={JAVA_HOME}"));
    let config = RunConfig {
        args: [application::JVM_BRIDGE, "-cp", "/app", "Hello"].map(String::from).to_vec(),
        env,
        cwd: "/app".into(),
        ..RunConfig::default()
    };
    eprintln!("crema: {choice}, OpenJDK {}", jre.version);
    let workload = Workload { choice: &choice, image: image.path(), config: &config, extra: &[] };
    let kernels = Kernels { crema: kernel.as_deref(), linux: linux.as_ref() };
    let samples = alternate(&workload, &kernels, options.rounds, project)?;
    let mut table = times(&samples);
    sizes(&mut table, &samples, &kernels, choice.memory)?;
    print!("{}\n{}", provenance("boot", &choice, options.rounds, &linux), table.render());
    Ok(())
}

/// Compiled here and now, for no class file is kept in the project.
fn hello_class() -> Result<Vec<u8>> {
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    let source = scratch.path().join("Hello.java");
    fs::write(&source, HELLO).map_err(Failure::io("write", &source))?;
    let output = Command::new(format!("{JAVA_HOME}/bin/javac"))
        .args(["--release", "17", "-d"])
        .args([scratch.path(), &source])
        .output()
        .map_err(|error| {
            Failure::new(format!("cannot start javac ({error}): apt install openjdk-17-jdk-headless"))
        })?;
    let class = scratch.path().join("Hello.class");
    fs::read(&class).map_err(|_| {
        Failure::new(format!("javac cannot compile the program: {}", String::from_utf8_lossy(&output.stderr)))
    })
}

/// The points of the start, and from outside the first output and the end.
fn times(samples: &Samples) -> Comparison {
    let mut comparison = Comparison::default();
    // What each side has passed; `init` is a point of the Linux guest alone.
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in samples.crema.iter().chain(&samples.linux).flat_map(|sample| &sample.report.marks) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    // The program tells of `main` itself, by its output.
    let end = names.iter().position(|name| *name == "end").unwrap_or(names.len());
    for name in &names[..end] {
        mark(&mut comparison, samples, name);
    }
    time(&mut comparison, "kernel entry to main", samples, |sample| {
        sample.stdout.trim().parse().ok().map(Duration::from_nanos)
    });
    for name in &names[end..] {
        mark(&mut comparison, samples, name);
    }
    time(&mut comparison, "QEMU's start to the first output of main", samples, |sample| sample.first_output);
    time(&mut comparison, "QEMU's start to its end", samples, |sample| Some(sample.report.elapsed));
    comparison
}

/// A point that the guest has told.
fn mark(comparison: &mut Comparison, samples: &Samples, name: &str) {
    time(comparison, &format!("kernel entry to {name}"), samples, |sample| {
        sample.report.marks.iter().find(|(other, _)| other == name).map(|(_, time)| *time)
    });
}

fn time(
    comparison: &mut Comparison,
    name: &str,
    samples: &Samples,
    of: impl Fn(&Sample) -> Option<Duration>,
) {
    let milliseconds = |sample: &Sample| of(sample).map(|time| time.as_secs_f64() * 1000.0);
    comparison.row(
        name,
        "ms",
        samples.crema.iter().filter_map(milliseconds),
        samples.linux.iter().filter_map(milliseconds),
    );
}

/// Sizes in MiB: the kernel, and the memory that the application cannot have.
fn sizes(
    comparison: &mut Comparison,
    samples: &Samples,
    kernels: &Kernels,
    machine: MemoryMib,
) -> Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let file =
        |path: &Path| fs::metadata(path).map(|file| mib(file.len())).map_err(Failure::io("read", path));
    let crema = kernels.crema.map(|path| loadable_bytes(path).map(mib)).transpose()?;
    // Linux's as it is shipped, for its vmlinux has a symbol table that nobody needs to run it.
    let linux = kernels.linux.map(|guest| file(&guest.compressed_kernel())).transpose()?;
    comparison.row("kernel image", "MiB", crema, linux);
    let beside = |sample: &Sample| {
        let available = sample.report.memory.iter().find(|(name, _)| name == "available");
        available.map(|(_, bytes)| machine.0 as f64 - mib(*bytes))
    };
    comparison.row(
        "memory not available to the application",
        "MiB",
        samples.crema.iter().filter_map(beside),
        samples.linux.iter().filter_map(beside),
    );
    Ok(())
}

/// Bytes of a kernel's file up to the end of the last segment that is loaded. What comes after is for
/// debuggers, and for the names in the tool's backtraces.
fn loadable_bytes(kernel: &Path) -> Result<u64> {
    let bytes = fs::read(kernel).map_err(Failure::io("read", kernel))?;
    let elf = Elf::parse(&bytes)
        .map_err(|error| Failure::new(format!("{} is no kernel: {error}", kernel.display())))?;
    let ends = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    Ok(ends.map(|header| header.p_offset + header.p_filesz).max().unwrap_or(0))
}
