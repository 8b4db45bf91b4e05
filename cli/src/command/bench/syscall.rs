//! `crema bench syscall`: what system calls, switches, faults and signals cost.
//!
//! The program in `benchmarks/syscall` measures itself and prints lines `NAME: NANOSECONDS`; this module builds it, runs it
//! in a guest, and prints the medians.

use std::{collections::BTreeMap, process::Command};

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
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    machine::choice::{Choice, Payload},
    options::{BenchOpponent, BenchOptions},
    project::Project,
};

/// The program in the guest.
const GUEST_PROGRAM: &str = "/app/syscall";

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    if options.against == BenchOpponent::Linux {
        return Err(Failure::new("the comparison with a Linux guest is not in this version"));
    }
    let kernel = project.kernel(options.machine.kernel.as_deref())?;
    let image = CachedImage::of(&recipe(project)?, project)?;
    let choice = Choice::make(&options.machine, Payload::Program, project)?;
    let config = RunConfig {
        args: vec![GUEST_PROGRAM.into()],
        env: application::ENVIRONMENT.map(String::from).to_vec(),
        cwd: "/tmp".into(),
        ..RunConfig::default()
    };
    eprintln!("crema: {choice}");
    let subject = Subject { choice: &choice, kernel: &kernel, image: image.path(), config: &config };
    let samples = repeat(&subject, options.rounds, project)?;
    let mut table = Table::new(&["what", "Crema"]);
    for (name, nanoseconds) in medians(&samples) {
        table.row([name, format!("{nanoseconds} ns")]);
    }
    print!("{}", table.render());
    Ok(())
}

fn recipe(project: &Project) -> Result<Recipe> {
    let folder = project.root().join("benchmarks/syscall");
    let out = project.root().join("target/benchmarks");
    let output = Command::new("make")
        .args(["--silent", "--directory"])
        .arg(&folder)
        .arg(format!("OUT={}", out.display()))
        .output()
        .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("benchmarks/syscall does not build:\n{}", complaint.trim_end())));
    }
    let mut recipe = Recipe::default();
    system_files::add_base(&mut recipe)?;
    recipe.file(GUEST_PROGRAM, out.join("syscall"))?;
    HostLibraries::find()?.close(&mut recipe, Missing::Refuse)?;
    Ok(recipe)
}

/// The median of each figure, in the order of the first run.
fn medians(samples: &[Sample]) -> Vec<(String, u64)> {
    let mut values: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut order = Vec::new();
    for (name, nanoseconds) in samples.iter().flat_map(|sample| figures(&sample.stdout)) {
        let of_name = values.entry(name.clone()).or_default();
        if of_name.is_empty() {
            order.push(name);
        }
        of_name.push(nanoseconds);
    }
    order
        .into_iter()
        .filter_map(|name| Some((median(values.remove(&name)?)?, name)))
        .map(|(v, n)| (n, v))
        .collect()
}

/// The lines `NAME: NANOSECONDS` of an output.
fn figures(stdout: &str) -> impl Iterator<Item = (String, u64)> + '_ {
    stdout.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_string(), value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let text = "getppid: 52\nnote\nfutex: two CPUs: 1300\nbad: x\n";
        assert_eq!(
            figures(text).collect::<Vec<_>>(),
            [("getppid".into(), 52), ("futex: two CPUs".into(), 1300)]
        );
    }
}
