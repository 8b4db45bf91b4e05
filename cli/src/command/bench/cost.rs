//! `crema bench cost`: what operations cost in guest instructions, and in what would leave the guest on hardware.
//!
//! These figures depend little on how fast or busy the host is, so that two commits can be compared on any machine. They come from a plugin of
//! QEMU's TCG ([`counter`](super::counter)): for a whole start of a JVM, for the operations of `benchmarks/syscall` between marks that the program
//! sets, and for HTTP requests.

use super::{
    counter::{Counter, Counts, per_operation},
    harness::Harness,
    machine::Machine,
    model::{Figure, Observation},
    net::{self, HTTP_PORT, READY, TOTAL},
    programs,
    side::Side,
};
use crate::{
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::choice::{Accelerator, Payload},
};

const SYSCALL_PROGRAM: &str = "/app/syscall";
/// Connections, and seconds for each of two loads.
const CONNECTIONS: &str = "32";
const SECONDS: &str = "5";
const SECONDS_QUICK: &str = "3";
/// Counts vary little.
const RUNS: u32 = 3;

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let programs = programs::make("net", project)?;
    let syscall = programs::make("syscall", project)?.join("syscall");
    let java = programs::java_recipe(&["boot/Hello.java", "net/Server.java"], project)?;
    let java = CachedImage::of(&java, project)?;
    let plain = CachedImage::of(&programs::c_recipe(&syscall, SYSCALL_PROGRAM)?, project)?;
    let choice = harness.machine(Payload::Jvm)?;
    if choice.accelerator != Accelerator::Tcg {
        return Err(Failure::new("only TCG can count a guest's instructions: --accel tcg"));
    }
    let hello = programs::java_config(&[], &["Hello"]);
    let calls = programs::c_config(&[SYSCALL_PROGRAM, "--count"]);
    let (seconds, runs) = (harness.length.pick(SECONDS, SECONDS_QUICK), harness.length.pick(RUNS, 1));
    let runs = runs.min(harness.runs);
    let sides = harness.sides.clone();
    let mut measure = |side: &Side| -> Result<Observation> {
        let counter = Counter::new(&programs)?;
        let extra = counter.qemu_arguments();
        Machine { extra: &extra, ..Machine::new(project, &choice, side, java.path()) }.run(&hello)?;
        let mut seen = per_operation("start_and_end_of_a_JVM", &counter.read()?, 1.0);

        let counter = Counter::new(&programs)?;
        let extra = counter.qemu_arguments();
        let sample =
            Machine { extra: &extra, ..Machine::new(project, &choice, side, plain.path()) }.run(&calls)?;
        seen.append(calls_between_marks(&sample.stdout, &counter.marks()?)?);

        let counter = Counter::new(&programs)?;
        let extra = counter.qemu_arguments();
        let machine = Machine { extra: &extra, ..Machine::new(project, &choice, side, java.path()) };
        let (requests, _) = machine.serve(&net::http_config(), &[(0, HTTP_PORT)], READY, |guest| {
            let load = || {
                let port = guest.ports[0].to_string();
                net::load(&programs, &["http", "127.0.0.1", &port, CONNECTIONS, seconds])
            };
            // The first load is for the JIT compilers.
            load()?;
            let before = counter.read()?;
            let requests = load()?.value(TOTAL);
            let counts = counter.read()?.since(&before);
            net::end_http(guest)?;
            let requests =
                requests.ok_or_else(|| Failure::new("net-load does not say how many requests it made"))?;
            Ok(per_operation("http_request", &counts, requests))
        })?;
        seen.append(requests);
        Ok(seen)
    };
    let bench = harness.alternate_times(runs, "cost", &choice, &sides, &mut measure)?;
    bench.notes.push(
        "Counted by a plugin of QEMU's TCG; whatever else the machine does meanwhile, such as compiling, is counted too. An exit is an \
         access to a device's register, a write of an MSR or an HLT."
            .into(),
    );
    Ok(())
}

/// What each operation costs whose name and number the program has printed, each between a mark 1 and a mark 2.
fn calls_between_marks(output: &str, marks: &[(u64, Counts)]) -> Result<Observation> {
    let mut seen = Observation::default();
    let counted: Vec<(&str, f64)> = output
        .lines()
        .filter_map(|line| {
            let (name, times) = line.strip_prefix("counted ")?.rsplit_once(' ')?;
            Some((name, times.parse().ok()?))
        })
        .collect();
    if counted.is_empty() || marks.len() != 2 * counted.len() {
        return Err(Failure::new(format!(
            "the program counted {} operations, but came to {} marks",
            counted.len(),
            marks.len()
        )));
    }
    for ((name, times), pair) in counted.into_iter().zip(marks.chunks_exact(2)) {
        let [(1, before), (2, after)] = pair else {
            return Err(Failure::new(format!("the marks of {name} are not in order")));
        };
        let counts = after.since(before);
        let mut figure = |what: &str, count: u64| {
            seen.figure(Figure::new(format!("{what}_per_{name}"), "1", count as f64 / times));
        };
        figure("instructions", counts.instructions);
        // A tick of a timer now and then is not of the operation.
        if counts.exits() as f64 / times > 0.1 {
            figure("exits", counts.exits());
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64, instructions: u64, halts: u64) -> (u64, Counts) {
        (number, Counts { instructions, halts, ..Counts::default() })
    }

    #[test]
    fn each_operation_is_between_two_marks() {
        let output = "counted getppid 1000\nother\ncounted pipe 100\n";
        let marks = [at(1, 5000, 0), at(2, 55_000, 1), at(1, 60_000, 1), at(2, 90_000, 101)];
        let seen = calls_between_marks(output, &marks).unwrap();
        let figures: Vec<(&str, f64)> =
            seen.figures.iter().map(|figure| (&*figure.name, figure.value)).collect();
        assert_eq!(
            figures,
            [("instructions_per_getppid", 50.0), ("instructions_per_pipe", 300.0), ("exits_per_pipe", 1.0)]
        );
    }

    #[test]
    fn marks_that_are_missing_are_noticed() {
        let output = "counted getppid 1000\n";
        for marks in [&[][..], &[at(1, 5, 0)], &[at(2, 5, 0), at(1, 6, 0)]] {
            assert!(calls_between_marks(output, marks).is_err());
        }
        assert!(calls_between_marks("", &[]).is_err());
    }
}
