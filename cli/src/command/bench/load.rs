//! A load generator on the host while a guest serves it, and how much of the CPUs both took.

use std::{process::Command, time::Instant};

use super::{
    figures, host,
    machine::Guest,
    model::{Better, Figure, Observation},
    programs,
};
use crate::failure::Result;

/// Runs a generator to its end and returns its output. Its CPU time stands beside what it found: a generator that took all of a CPU for each
/// of its threads was perhaps what was measured.
pub fn generate(guest: &Guest, command: Command, name: &str) -> Result<(String, Observation)> {
    let (generator, machine) = (host::ended_children_seconds(), guest.watch.cpu_seconds());
    let started = Instant::now();
    let output = programs::output_of(command, name)?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut seen = Observation::default();
    let mut share = |name: &str, seconds: f64| {
        let figure = Figure::new(name, "% of a CPU", seconds / elapsed * 100.0);
        seen.figure(figure.with(Better::Neither));
    };
    share("load_generator", host::ended_children_seconds() - generator);
    if let (Some(before), Some(after)) = (machine, guest.watch.cpu_seconds()) {
        share("machine", after - before);
    }
    Ok((output, seen))
}

/// The same for a generator that prints figures, which are named anew: of `operations` and `operations_p99` with `name` "saturated" become
/// `saturated` and `saturated_p99`.
pub fn measure(guest: &Guest, command: Command, operations: &str, name: &str) -> Result<Observation> {
    let (output, shares) = generate(guest, command, operations)?;
    let mut seen = figures::parse(&output);
    seen.append(shares);
    Ok(renamed(seen, operations, name))
}

fn renamed(mut seen: Observation, operations: &str, name: &str) -> Observation {
    let rename = |old: &mut String| match old.strip_prefix(operations) {
        Some(rest) => *old = format!("{name}{rest}"),
        None => *old = format!("{name}:_{old}"),
    };
    seen.figures.iter_mut().for_each(|figure| rename(&mut figure.name));
    seen.work.iter_mut().for_each(|work| rename(&mut work.name));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_for_their_load() {
        let seen =
            figures::parse("operations 1/s 5\noperations_p99 us 6\nother us 7\noperations_done work 8\n");
        let seen = renamed(seen, "operations", "at_9_per_second");
        let names: Vec<&str> = seen.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["at_9_per_second", "at_9_per_second_p99", "at_9_per_second:_other"]);
        assert_eq!(seen.work[0].name, "at_9_per_second_done");
    }
}
