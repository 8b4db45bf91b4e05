//! `crema test`: every test of the project.
//!
//! Responsible for which suites there are, for choosing among their tests, for running them, and for the
//! summary. Host suites run one after the other; tests in guests two at a time, each in a thread that lives
//! as long as its machine. Not responsible for what a test is: each suite has a module.

mod artefact;
mod c_programs;
mod cargo;
mod check_lines;
mod guest;
mod java;
mod java_spec;
mod known_failures;
mod limited;
mod linux;
mod net;
mod scratch_disk;
mod services;
mod storage;
mod tool;

use std::{
    collections::VecDeque,
    fmt,
    ops::AddAssign,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use crate::{
    failure::{Failure, Result},
    machine::interrupt,
    options::TestOptions,
    project::Project,
};

/// Guests that run at the same time.
const GUESTS_AT_ONCE: usize = 2;

/// How many checks came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What came of one test, which may be many checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub tally: Tally,
    /// What a reader has to know: each failure, each known failure, each reason for skipping.
    pub notes: Vec<String>,
}

impl Outcome {
    /// One check that failed.
    pub fn failure(note: impl Into<String>) -> Self {
        Self { tally: Tally { failed: 1, ..Tally::default() }, notes: vec![note.into()] }
    }
}

/// A test, ready to run.
pub struct Test<'a> {
    pub name: String,
    pub run: Box<dyn Fn() -> Outcome + Send + 'a>,
}

/// A family of tests.
pub trait Suite {
    fn name(&self) -> &'static str;

    /// The names of its tests, without building anything.
    fn names(&self, context: &Context) -> Result<Vec<String>>;

    /// Builds what the tests with these names need.
    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>>;

    /// Whether one of its tests uses all of the host, so that it runs alone.
    fn uses_whole_host(&self) -> bool;

    /// Whether its tests run in guests, which a busy host can starve.
    fn runs_guests(&self) -> bool {
        !self.uses_whole_host()
    }
}

/// What every suite is given.
pub struct Context {
    pub project: Project,
    pub options: TestOptions,
}

/// Runs the tests that the options choose. The exit status: 0 if none failed.
pub fn test(options: &TestOptions, project: &Project) -> Result<u8> {
    let context = Context { project: project.clone(), options: options.clone() };
    let suites: Vec<Box<dyn Suite>> = vec![
        Box::new(cargo::HostSuite),
        Box::new(cargo::LoomSuite),
        Box::new(c_programs::ABI),
        Box::new(c_programs::STRESS),
        Box::new(java::JavaSuite),
        Box::new(tool::ToolSuite),
        Box::new(net::NetSuite),
        Box::new(storage::StorageSuite),
    ];
    let (wanted_suite, wanted_names) = match options.filter.split_first() {
        None => (None, &[][..]),
        Some((suite, names)) => (Some(suite.as_str()), names),
    };
    if let Some(wanted) = wanted_suite
        && !suites.iter().any(|suite| suite.name() == wanted)
    {
        let known: Vec<_> = suites.iter().map(|suite| suite.name()).collect();
        return Err(Failure::new(format!("there is no suite {wanted}: there are {}", known.join(", "))));
    }
    let mut total = Tally::default();
    let mut chosen_any = false;
    for suite in suites.iter().filter(|suite| wanted_suite.is_none_or(|wanted| suite.name() == wanted)) {
        let names = choose(suite.names(&context)?, wanted_names);
        chosen_any |= !names.is_empty();
        if options.list {
            names.iter().for_each(|name| println!("{} {name}", suite.name()));
            continue;
        }
        if names.is_empty() || interrupt::received().is_some() {
            continue;
        }
        total += match suite.prepare(&context, &names) {
            Ok(tests) => run_all(suite.as_ref(), tests),
            // The other suites can still be run.
            Err(failure) => {
                let outcome = Outcome::failure(failure.to_string());
                report(suite.name(), "(preparation)", &outcome, Instant::now());
                outcome.tally
            }
        };
    }
    if !chosen_any && !wanted_names.is_empty() {
        return Err(Failure::new(format!("no test is called {}: see --list", wanted_names.join(" or "))));
    }
    if options.list {
        return Ok(0);
    }
    println!("{total}");
    Ok(match interrupt::received() {
        Some(signal) => 128 + signal,
        None => u8::from(total.failed > 0),
    })
}

/// The names that hold one of the wanted words; all of them if no word is given.
fn choose(names: Vec<String>, wanted: &[String]) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())))
        .collect()
}

fn run_all(suite: &dyn Suite, tests: Vec<Test>) -> Tally {
    let suite_name = suite.name();
    let in_guests = suite.runs_guests();
    let workers = if suite.uses_whole_host() { 1 } else { GUESTS_AT_ONCE };
    let queue = Mutex::new(VecDeque::from(tests));
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(Test { name, run }) = next else { return };
                    if interrupt::received().is_some() {
                        return;
                    }
                    let started = Instant::now();
                    let mut outcome = run();
                    if outcome.tally.failed > 0 && in_guests && interrupt::received().is_none() {
                        outcome = second_try(outcome, run());
                    }
                    // Held while the lines are printed, so that those of two tests do not mix.
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    report(suite_name, &name, &outcome, started);
                    *total += outcome.tally;
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What counts of a test in a guest that failed once and was run again. An emulated machine on a busy host can miss a time limit
/// that has nothing to do with the test; a real fault fails again. A pass at the second try says so, with what failed at first.
fn second_try(first: Outcome, mut second: Outcome) -> Outcome {
    if second.tally.failed == 0 {
        second.notes.push("passed only at the second try; at the first:".into());
        second.notes.extend(first.notes);
    }
    second
}

fn report(suite: &str, name: &str, outcome: &Outcome, started: Instant) {
    let word = match outcome.tally {
        Tally { failed: 1.., .. } => "FAILED ",
        Tally { passed: 0, .. } => "skipped",
        _ => "ok     ",
    };
    let seconds = started.elapsed().as_secs_f64();
    println!("{word} {suite} {name} ({}, {seconds:.1} s)", outcome.tally);
    for line in outcome.notes.iter().flat_map(|note| note.lines()) {
        println!("        {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_is_as_promised() {
        let mut tally = Tally { passed: 3, failed: 0, skipped: 1 };
        tally += Tally { passed: 1, failed: 2, skipped: 0 };
        assert_eq!(tally.to_string(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_second_try_counts_and_tells_of_the_first() {
        let passed = Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![] };
        let outcome = second_try(Outcome::failure("time is up"), passed);
        assert_eq!(outcome.tally.to_string(), "1 passed, 0 failed, 0 skipped");
        assert!(outcome.notes.contains(&"time is up".to_string()));
        let again = second_try(Outcome::failure("wrong"), Outcome::failure("wrong again"));
        assert_eq!(again, Outcome::failure("wrong again"));
    }

    #[test]
    fn tests_are_chosen_by_words() {
        let names =
            || ["futex/wait cpus=1", "futex/wake cpus=1", "io/pipe cpus=1"].map(String::from).to_vec();
        assert_eq!(choose(names(), &[]).len(), 3);
        assert_eq!(choose(names(), &["futex".into()]).len(), 2);
        assert_eq!(choose(names(), &["wake".into(), "io/".into()]), ["futex/wake cpus=1", "io/pipe cpus=1"]);
    }
}
