//! `crema bench syscall`: what system calls, switches, faults and signals cost.
//!
//! The program in `benchmarks/syscall` measures itself and prints lines `NAME UNIT MEDIAN P25 P75 MIN
//! SAMPLES`; this module builds it, runs it in the guests, and prints the medians over all runs.

use std::process::Command;

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
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    machine::choice::{Choice, Payload},
    options::BenchOptions,
    project::Project,
};

/// The program in the guest.
const GUEST_PROGRAM: &str = "/app/syscall";

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    let kernel = match wants_crema(options.against) {
        true => Some(project.kernel(options.machine.kernel.as_deref())?),
        false => None,
    };
    let linux = linux_guest(options.against, project)?;
    let image = CachedImage::of(&recipe(project)?, project)?;
    let choice = Choice::make(&options.machine, Payload::Program, project)?;
    let config = RunConfig {
        args: vec![GUEST_PROGRAM.into()],
        env: application::ENVIRONMENT.map(String::from).to_vec(),
        cwd: "/tmp".into(),
        ..RunConfig::default()
    };
    eprintln!("crema: {choice}");
    let workload = Workload { choice: &choice, image: image.path(), config: &config, extra: &[] };
    let kernels = Kernels { crema: kernel.as_deref(), linux: linux.as_ref() };
    let samples = alternate(&workload, &kernels, options.rounds, project)?;
    print!("{}\n{}", provenance("syscall", &choice, options.rounds, &linux), compare(&samples).render());
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

/// One measurement of one run.
#[derive(Clone, Debug, PartialEq)]
struct Figure<'a> {
    name: &'a str,
    unit: &'a str,
    median: f64,
}

/// The medians of all runs, from what the program printed.
pub(super) fn compare(samples: &Samples) -> Comparison {
    let all = |samples: &'_ [Sample]| -> Vec<String> {
        samples.iter().map(|sample| sample.stdout.clone()).collect()
    };
    let (crema, linux) = (all(&samples.crema), all(&samples.linux));
    let mut comparison = Comparison::default();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for figure in crema.iter().chain(&linux).flat_map(|stdout| figures(stdout)) {
        if !seen.contains(&(figure.name, figure.unit)) {
            seen.push((figure.name, figure.unit));
        }
    }
    for (name, unit) in seen {
        let of = |side: &[String]| -> Vec<f64> {
            let figures = side.iter().flat_map(|stdout| figures(stdout));
            figures.filter(|figure| figure.name == name).map(|figure| figure.median).collect()
        };
        comparison.row(&name.replace('_', " "), unit, of(&crema), of(&linux));
    }
    comparison
}

/// The lines of an output that are measurements.
fn figures(stdout: &str) -> impl Iterator<Item = Figure<'_>> {
    stdout.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, unit, median, _, _, _, _] = words[..] else { return None };
        Some(Figure { name, unit, median: median.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let text = "getppid ns 52.5 50.0 60.0 49.0 31\nnote\npipe MB/s 1300.0 1 2 3 31\nbad ns x 1 2 3 4\n";
        let figure = |name, unit, median| Figure { name, unit, median };
        assert_eq!(
            figures(text).collect::<Vec<_>>(),
            [figure("getppid", "ns", 52.5), figure("pipe", "MB/s", 1300.0)]
        );
    }
}
