//! `crema bench boot`: how long a start takes, and what the kernel needs for itself.

use std::{fs, process::Command, time::Duration};

use run_config::RunConfig;

use super::{
    measure::{Sample, Subject, median, repeat},
    table::Table,
};
use crate::{
    application,
    failure::{Failure, Result},
    image::{
        cache::CachedImage,
        jre::{JAVA_HOME, Jre},
    },
    machine::choice::{Choice, Payload},
    options::{BenchOpponent, BenchOptions},
    project::Project,
    scratch::ScratchFolder,
};

/// Says one word, and ends.
const HELLO: &str = "public class Hello {\n    public static void main(String[] args) {\n        \
                     System.out.println(\"hello\");\n    }\n}\n";

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    if options.against == BenchOpponent::Linux {
        return Err(Failure::new("the comparison with a Linux guest is not in this version"));
    }
    let jre = Jre::find()?;
    let kernel = project.kernel(options.machine.kernel.as_deref())?;
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
    let subject = Subject { choice: &choice, kernel: &kernel, image: image.path(), config: &config };
    let samples = repeat(&subject, options.rounds, project)?;
    let kernel_bytes = fs::metadata(&kernel).map_err(Failure::io("read", &kernel))?.len();
    print!("{}", render(&samples, kernel_bytes));
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

fn render(samples: &[Sample], kernel_bytes: u64) -> String {
    let mut table = Table::new(&["start", "median", "best"]);
    let milliseconds = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
    let mut row = |name: &str, durations: Vec<Duration>| {
        if let (Some(middle), Some(best)) = (median(durations.iter().copied()), durations.iter().min()) {
            table.row([name.to_string(), milliseconds(middle), milliseconds(*best)]);
        }
    };
    // The points that every run has passed, in the order of the first.
    for (mark, _) in samples.first().map_or(&[][..], |sample| &sample.report.marks) {
        let of_mark = |sample: &Sample| {
            sample.report.marks.iter().find(|(name, _)| name == mark).map(|(_, duration)| *duration)
        };
        row(&format!("kernel entry to {mark}"), samples.iter().filter_map(of_mark).collect());
    }
    row("QEMU's start to its end", samples.iter().map(|sample| sample.report.elapsed).collect());

    let mut sizes = Table::new(&["size", "bytes", "MiB"]);
    let mut size = |name: &str, bytes: u64| {
        sizes.row([name.to_string(), bytes.to_string(), format!("{:.1}", bytes as f64 / f64::from(1 << 20))]);
    };
    size("kernel file", kernel_bytes);
    for (name, _) in samples.first().map_or(&[][..], |sample| &sample.report.memory) {
        let of_name = |sample: &Sample| {
            sample.report.memory.iter().find(|(other, _)| other == name).map(|(_, bytes)| *bytes)
        };
        if let Some(bytes) = median(samples.iter().filter_map(of_name)) {
            size(&format!("memory: {name}"), bytes);
        }
    }
    format!("{}\n{}", table.render(), sizes.render())
}
