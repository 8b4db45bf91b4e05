//! Measuring in turn, and keeping what came of it.
//!
//! Responsible for the order of runs (A B A B, so that whatever else the host does falls on all sides), for noticing what spoils a run, for
//! telling how far things are, and for the files in `target/bench`. What a run measures is in a module for each kind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    host::{self, Load},
    machine::INTERRUPTED,
    model::{Bench, Length, Observation, Outcome, Results, Run},
    report::{markdown, page},
    side::{self, Side},
};
use crate::{
    failure::{Failure, Result},
    machine::choice::{Choice, Payload},
    options::{BenchOptions, MachineOptions, MemoryMib},
    project::Project,
};

/// How often a side may fail before it is left alone.
const FAILURES_LIMIT: u32 = 2;

/// How often each side runs, unless the user says otherwise: for 7 pairs the interval of a ratio covers 98%.
const FULL_RUNS: u32 = 7;
const QUICK_RUNS: u32 = 3;

/// One call of `crema bench`.
pub struct Harness<'a> {
    pub project: &'a Project,
    options: &'a BenchOptions,
    pub length: Length,
    pub runs: u32,
    pub sides: Vec<Side>,
    results: Results,
    folder: PathBuf,
}

impl<'a> Harness<'a> {
    pub fn new(options: &'a BenchOptions, project: &'a Project) -> Result<Self> {
        let length = if options.quick { Length::Quick } else { Length::Full };
        let runs = options.runs.unwrap_or(length.pick(FULL_RUNS, QUICK_RUNS));
        let sides = side::sides(options, project)?;
        let choice = Choice::make(&options.machine, Payload::Jvm, project)?;
        let mut provenance = host::provenance(project, &choice, runs, length);
        provenance.sides = sides.iter().map(|side| (side.name.clone(), side.description())).collect();
        eprintln!("crema: {choice}; {runs} runs of each side");
        let folder = result_folder(project)?;
        Ok(Self { project, options, length, runs, sides, results: Results::new(provenance), folder })
    }

    /// The machine that the user wants, completed for what runs in it.
    pub fn machine(&self, payload: Payload) -> Result<Choice> {
        Choice::make(&self.options.machine, payload, self.project)
    }

    /// The same where the user left memory and CPUs open.
    pub fn machine_or(&self, payload: Payload, memory: MemoryMib, cpus: Option<u32>) -> Result<Choice> {
        let wanted = &self.options.machine;
        let machine = MachineOptions {
            memory: wanted.memory.or(Some(memory)),
            cpus: wanted.cpus.or(cpus),
            ..wanted.clone()
        };
        Choice::make(&machine, payload, self.project)
    }

    /// The memory that the user wants.
    pub fn wanted_memory(&self) -> Option<MemoryMib> {
        self.options.machine.memory
    }

    /// The same with memory that the measurement sets.
    pub fn machine_with(&self, payload: Payload, memory: MemoryMib) -> Result<Choice> {
        let machine = MachineOptions { memory: Some(memory), ..self.options.machine.clone() };
        Choice::make(&machine, payload, self.project)
    }

    /// Measures each side in turn. A run that fails is noted as such, and the next one follows; only the user's own Ctrl-C is an error.
    pub fn alternate(
        &mut self,
        name: &str,
        machine: &Choice,
        sides: &[Side],
        mut measure: impl FnMut(&Side) -> Result<Observation>,
    ) -> Result<&mut Bench> {
        self.alternate_times(self.runs, name, machine, sides, &mut measure)
    }

    /// The same with another number of runs.
    pub fn alternate_times(
        &mut self,
        runs: u32,
        name: &str,
        machine: &Choice,
        sides: &[Side],
        measure: &mut dyn FnMut(&Side) -> Result<Observation>,
    ) -> Result<&mut Bench> {
        let mut bench = Bench {
            name: name.into(),
            machine: machine.to_string(),
            sides: sides.iter().map(|side| side.name.clone()).collect(),
            ..Bench::default()
        };
        let mut failures = vec![0; sides.len()];
        for round in 0..runs {
            for (side, failures) in sides.iter().zip(&mut failures) {
                let run = if *failures >= FAILURES_LIMIT {
                    let why = format!("not tried again after it failed {FAILURES_LIMIT} times");
                    Run { round, side: side.name.clone(), outcome: Outcome::Failed(why), others_share: 0.0 }
                } else {
                    one_run(round, side, measure)?
                };
                tell(name, runs, &run);
                *failures += u32::from(matches!(run.outcome, Outcome::Failed(_)));
                bench.runs.push(run);
            }
        }
        self.keep(bench)
    }

    /// Notes that nothing could be measured, and why.
    pub fn failed(&mut self, name: &str, failure: &Failure) -> Result<()> {
        let side = self.sides.first().map_or(String::new(), |side| side.name.clone());
        let outcome = Outcome::Failed(failure.to_string());
        let run = Run { round: 0, side: side.clone(), outcome, others_share: 0.0 };
        tell(name, 1, &run);
        let bench = Bench { name: name.into(), sides: vec![side], runs: vec![run], ..Bench::default() };
        self.keep(bench).map(drop)
    }

    /// Writes the files each time, so that a call that is ended early leaves what it has found.
    fn keep(&mut self, bench: Bench) -> Result<&mut Bench> {
        self.results.benches.push(bench);
        self.write()?;
        let last = self.results.benches.last_mut();
        last.ok_or_else(|| Failure::new("a bench that was just kept is gone"))
    }

    /// Writes the three files. Returns the Markdown.
    pub fn write(&self) -> Result<String> {
        let text = markdown::render(&self.results);
        for (name, text) in [
            ("results.json", &self.results.to_json()?),
            ("table.md", &text),
            ("report.html", &page::render(&self.results)),
        ] {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(Failure::io("write", &path))?;
        }
        Ok(text)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn has_failures(&self) -> bool {
        self.results.failures().next().is_some()
    }
}

fn one_run(round: u32, side: &Side, measure: &mut dyn FnMut(&Side) -> Result<Observation>) -> Result<Run> {
    let before = Load::now();
    let measured = measure(side);
    let between = Load::now().since(&before);
    let outcome = match (measured, between.spoils()) {
        (Err(failure), _) if failure == Failure::new(INTERRUPTED) => return Err(failure),
        (Err(failure), _) => Outcome::Failed(failure.to_string()),
        (Ok(_), Some(why)) => Outcome::Failed(why),
        (Ok(observation), None) => Outcome::Measured(observation),
    };
    Ok(Run { round, side: side.name.clone(), outcome, others_share: between.others_share })
}

fn tell(name: &str, runs: u32, run: &Run) {
    let how = match &run.outcome {
        Outcome::Measured(_) if run.others_share > 0.25 => {
            format!("done, while others took {:.0}% of the host", run.others_share * 100.0)
        }
        Outcome::Measured(_) => "done".into(),
        Outcome::Failed(why) => format!("FAILED: {why}"),
    };
    eprintln!("crema: {name}, round {} of {runs}, {}: {how}", run.round + 1, run.side);
}

/// A folder that is named by the time.
fn result_folder(project: &Project) -> Result<PathBuf> {
    let parent = project.root().join("target/bench");
    fs::create_dir_all(&parent).map_err(Failure::io("make", &parent))?;
    let time = host::first_line(Command::new("date").args(["--utc", "+%FT%H-%M-%S"]));
    let mut folder = parent.join(&time);
    let mut number = 1;
    while fs::create_dir(&folder).is_err() {
        number += 1;
        if number > 100 {
            return Err(Failure::new(format!("cannot make a folder in {}", parent.display())));
        }
        folder = parent.join(format!("{time}-{number}"));
    }
    Ok(folder)
}
