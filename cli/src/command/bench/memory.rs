//! `crema bench memory`: how much a program can hold in a machine of a given size before it is out of memory.
//!
//! The program in `benchmarks/memory` grows until there is an OutOfMemoryError. Crema gets no option; Linux gets none, and then the best
//! `-Xmx`, which is searched for: the largest with which the machine survives what the JVM was promised.

use run_config::RunConfig;

use super::{
    harness::Harness,
    machine::Machine,
    model::{Better, Figure, Length, Observation},
    programs,
    side::Side,
};
use crate::{
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::{
        choice::{Choice, Payload},
        session::End,
    },
    options::MemoryMib,
    project::Project,
};

const SIZES: [MemoryMib; 4] = [MemoryMib(256), MemoryMib(512), MemoryMib(1024), MemoryMib(2048)];
const SIZES_QUICK: [MemoryMib; 1] = [MemoryMib(256)];
/// What is held varies little from run to run.
const RUNS_LIMIT: u32 = 3;
/// The search ends when it knows the best `-Xmx` to this part of the machine, as a divisor.
const RESOLUTION: u64 = 64;

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let image = CachedImage::of(&programs::java_recipe(&["memory/LiveSet.java"], project)?, project)?;
    let config = programs::java_config(&[], &["LiveSet"]);
    let length = harness.length;
    let sizes = match harness.wanted_memory() {
        Some(size) => vec![size],
        None => length.pick(&SIZES[..], &SIZES_QUICK[..]).to_vec(),
    };
    for size in sizes {
        let choice = harness.machine_with(Payload::Jvm, size)?;
        let test = Test { project, choice: &choice, image: &image, config: &config };
        let mut sides = harness.sides.clone();
        let mut notes = Vec::new();
        for side in &harness.sides {
            if side.linux().is_some() && length == Length::Full {
                let best = test.best_heap(side)?;
                let option = format!("-Xmx{}M", best.0);
                notes.push(format!(
                    "The largest heap that {} survives there is {option}, to {} MiB.",
                    side.name,
                    size.0 / RESOLUTION
                ));
                let name = format!("{} with {option}", side.name);
                sides.push(side.variant(name, |side| side.java_options = vec![option]));
            }
        }
        let runs = harness.runs.min(RUNS_LIMIT);
        let name = format!("memory {} MiB", size.0);
        let mut measure = |side: &Side| test.measure(side);
        harness.alternate_times(runs, &name, &choice, &sides, &mut measure)?.notes.extend(notes);
    }
    Ok(())
}

/// One size of machine.
struct Test<'a> {
    project: &'a Project,
    choice: &'a Choice,
    image: &'a CachedImage,
    config: &'a RunConfig,
}

impl Test<'_> {
    fn measure(&self, side: &Side) -> Result<Observation> {
        match self.live_set(side)? {
            Held::UntilOutOfMemory(mib, mut seen) => {
                let share = mib / self.choice.memory.0 as f64 * 100.0;
                seen.figure(Figure::new("live_set", "MiB", mib).with(Better::Higher));
                seen.figure(Figure::new("share_of_the_machine", "%", share).with(Better::Higher));
                Ok(seen)
            }
            Held::UntilKilled(mib, how) => Err(Failure::new(format!(
                "there was no OutOfMemoryError: the program was ended ({how}) when it held about {mib} MiB"
            ))),
        }
    }

    fn live_set(&self, side: &Side) -> Result<Held> {
        let machine = Machine::new(self.project, self.choice, side, self.image.path());
        let (sample, complaints) = machine.run_to_any_end(self.config)?;
        let mut seen = Observation::default();
        let memory = &sample.report.memory;
        if let Some((_, available)) = memory.iter().find(|(name, _)| name == "available") {
            let beside = self.choice.memory.0 as f64 - *available as f64 / f64::from(1 << 20);
            seen.figure(Figure::new("memory_not_available_to_the_application", "MiB", beside));
        }
        seen.courses.push(sample.memory);
        match (&sample.report.end, live_set_of(&sample.stdout)) {
            (End::Exit(0), Some(mib)) => Ok(Held::UntilOutOfMemory(mib, seen)),
            (end, _) => {
                let said = complaints.lines().last().unwrap_or_default();
                Ok(Held::UntilKilled(last_held(&sample.stdout), format!("{end:?} {said}")))
            }
        }
    }

    /// The largest heap, within the machine, with which the program ends by itself.
    fn best_heap(&self, side: &Side) -> Result<MemoryMib> {
        let machine = self.choice.memory.0;
        largest(machine / 4, machine, (machine / RESOLUTION).max(1), |heap| {
            let option = format!("-Xmx{heap}M");
            let held =
                self.live_set(&side.variant("search", |side| side.java_options = vec![option.clone()]))?;
            let survived = matches!(held, Held::UntilOutOfMemory(..));
            eprintln!(
                "crema: memory {machine} MiB, {}: {option} is {}",
                side.name,
                if survived { "survived" } else { "too much" }
            );
            Ok(survived)
        })
        .map(MemoryMib)
    }
}

/// How the program came to its end.
enum Held {
    UntilOutOfMemory(f64, Observation),
    /// By the system, and how.
    UntilKilled(u64, String),
}

/// The largest value from `good`, which is taken to hold, up to `limit` for which something holds, to within `resolution`.
fn largest(
    mut good: u64,
    limit: u64,
    resolution: u64,
    mut holds: impl FnMut(u64) -> Result<bool>,
) -> Result<u64> {
    let mut bad = limit;
    while bad - good > resolution {
        let middle = good + (bad - good) / 2;
        if holds(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn live_set_of(output: &str) -> Option<f64> {
    output.lines().find_map(|line| line.strip_prefix("live_set MiB ")?.parse().ok())
}

fn last_held(output: &str) -> u64 {
    let held = output.lines().rev().find_map(|line| line.strip_prefix("holds ")?.parse().ok());
    held.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_heap_is_found_by_halving() {
        let mut tried = Vec::new();
        let best = largest(64, 256, 4, |heap| {
            tried.push(heap);
            Ok(heap <= 201)
        });
        let best = best.unwrap();
        assert!((198..=201).contains(&best), "{best}");
        assert!(tried.len() <= 6, "{tried:?}");
        assert_eq!(largest(64, 256, 4, |_| Ok(false)), Ok(64));
        assert!(largest(64, 256, 4, |_| Err(Failure::new("x"))).is_err());
    }

    #[test]
    fn the_programs_words_are_read() {
        let output = "holds 8\nholds 16\nchecked 6383\nlive_set MiB 61.1\n";
        assert_eq!((live_set_of(output), last_held(output)), (Some(61.1), 16));
        assert_eq!((live_set_of("holds 8\nholds 1"), last_held("")), (None, 0));
    }
}
