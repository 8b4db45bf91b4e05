//! The suite of durable storage: power cuts on the real stack, from the program in the guest down to a disk that loses what was not
//! flushed ([`power_cut`], `machine::faulty_disk`).
//!
//! [`patterns`]: programs of ours (`tests/storage`) write in all the ways in which databases do. The others are real services, under load
//! from their own clients. What each acknowledges is noted on the host; after each cut all of it has to be there. Nothing here asserts a time.

mod cassandra;
mod database;
#[path = "../../../../../tests/storage/e2fsck.rs"]
mod e2fsck;
mod h2;
mod kafka;
mod patterns;
pub mod power_cut;
mod zookeeper;

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use super::{Context, Outcome, Suite, Tally, Test, java, services::Fixture};
use crate::{
    appliance::Manifest,
    command::{build, run},
    failure::{Failure, Result},
    options::{ApplicationOptions, BuildOptions},
};

/// What a check has to tell when all is well, or what is wrong.
type Verdict = Result<String, String>;

struct Check {
    name: &'static str,
    run: fn(&Programs) -> Verdict,
    /// Why it is tried with `--long` only, if so.
    why_long: Option<&'static str>,
}

const fn check(name: &'static str, run: fn(&Programs) -> Verdict) -> Check {
    Check { name, run, why_long: None }
}

const fn long_check(name: &'static str, why: &'static str, run: fn(&Programs) -> Verdict) -> Check {
    Check { name, run, why_long: Some(why) }
}

const SLOW_START: &str = "it takes minutes to start under emulation";

const CHECKS: [Check; 15] = [
    check("power-cut/append", |programs| patterns::cuts(programs, "append", 2, 20)),
    check("power-cut/replace", |programs| patterns::cuts(programs, "replace", 2, 20)),
    check("power-cut/overwrite", |programs| patterns::cuts(programs, "overwrite", 2, 20)),
    check("power-cut/mapping", |programs| patterns::cuts(programs, "mapping", 2, 20)),
    check("power-cut/reuse", |programs| patterns::cuts(programs, "reuse", 2, 20)),
    check("power-cut/preallocate", |programs| patterns::cuts(programs, "preallocate", 2, 20)),
    check("power-cut/small", |programs| patterns::cuts(programs, "small", 2, 20)),
    check("power-cut/full", |programs| patterns::cuts(programs, "full", 2, 20)),
    check("power-cut/together", |programs| patterns::cuts(programs, patterns::TOGETHER, 3, 40)),
    check("power-cut/java", patterns::java),
    check("zookeeper/power-cuts", zookeeper::power_cuts),
    check("h2/power-cuts", h2::power_cuts),
    long_check("kafka/power-cuts", SLOW_START, kafka::power_cuts),
    long_check("cassandra/one-node", SLOW_START, cassandra::one_node),
    long_check("cassandra/two-nodes", SLOW_START, cassandra::two_nodes),
];

/// Clients of databases: folders of `tests/storage`.
const CLIENTS: [&str; 3] = ["cassandra", "h2", "kafka"];
/// Services, by which their tests are named.
const APPLIANCES: [&str; 4] = ["cassandra", "h2", "kafka", "zookeeper"];

/// One, for these tests have no second try, and the emulator can break a JVM that has more (docs/limits.md).
const CPUS_OF_A_JVM: &str = "1";

pub struct StorageSuite;

impl Suite for StorageSuite {
    fn name(&self) -> &'static str {
        "storage"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = tests_folder(context).is_dir();
        Ok(if there { CHECKS.iter().map(|check| check.name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let is_wanted = |check: &Check| names.iter().any(|wanted| wanted == check.name);
        let wanted: Vec<_> = CHECKS.into_iter().filter(is_wanted).collect();
        let why_skipped = |check: &Check| check.why_long.filter(|_| !context.options.long);
        let run: Vec<_> =
            wanted.iter().filter(|check| why_skipped(check).is_none()).map(|check| check.name).collect();
        let programs = Arc::new(Programs::prepare(context, &run)?);
        let test = |check: Check| {
            let programs = programs.clone();
            let why_skipped = why_skipped(&check);
            let run = move || match why_skipped {
                Some(reason) => skipped(reason),
                None => programs.outcome((check.run)(&programs)),
            };
            Test { name: check.name.to_string(), run: Box::new(run) }
        };
        Ok(wanted.into_iter().map(test).collect())
    }

    fn uses_whole_host(&self) -> bool {
        false
    }

    /// They do; but what was lost once is lost, and a second try would only hide it.
    fn runs_guests(&self) -> bool {
        false
    }
}

fn skipped(reason: &str) -> Outcome {
    Outcome {
        tally: Tally { skipped: 1, ..Tally::default() },
        notes: vec![format!("with --long only: {reason}")],
    }
}

fn tests_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/storage")
}

/// What the tests run, on the host and in guests.
struct Programs {
    fixture: Fixture,
    /// `tests/storage/powercut` for the host, and an image with it.
    powercut: PathBuf,
    powercut_image: PathBuf,
    /// An appliance with the same for the JVM.
    java: PathBuf,
}

impl Programs {
    /// What the tests with these names need.
    fn prepare(context: &Context, names: &[&str]) -> Result<Self> {
        let mut fixture = Fixture::make(context)?;
        if names.iter().any(|name| name.starts_with("zookeeper/")) {
            add_zookeeper_client(&mut fixture, context)?;
        }
        let tests = tests_folder(context);
        let is_wanted = |client: &&str| names.iter().any(|name| name.starts_with(*client));
        for client in CLIENTS.into_iter().filter(is_wanted) {
            let manifest = Manifest::read(&tests.join(client))?;
            let prepared = manifest.prepare(&ApplicationOptions::default(), &context.project)?;
            fixture.add_class_path(client, prepared.options.class_path.join(":"));
        }
        // Before a guest is waited for.
        let kernel = context.options.kernel.as_deref();
        for appliance in APPLIANCES.into_iter().filter(is_wanted) {
            let folder = context.project.root().join("apps").join(appliance);
            run::prepare(&folder, kernel, &context.project)?;
        }
        if names.contains(&"power-cut/java") {
            run::prepare(&tests.join("java"), kernel, &context.project)?;
        }
        let out = context.project.root().join("target/storage");
        let make = Command::new("make")
            .args(["--silent", "--directory"])
            .arg(&tests)
            .arg(format!("OUT={}", out.display()))
            .output()
            .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
        if !make.status.success() {
            let complaint = String::from_utf8_lossy(&make.stderr);
            return Err(Failure::new(format!(
                "the storage programs do not build:\n{}",
                complaint.trim_end()
            )));
        }
        let powercut = out.join("powercut");
        let powercut_image = fixture.path("powercut.img");
        let application =
            ApplicationOptions { program: Some(powercut.clone()), ..ApplicationOptions::default() };
        let options =
            BuildOptions { target: None, output: powercut_image.clone(), application, args: vec![] };
        build::build(&options, &context.project)?;
        Ok(Self { fixture, powercut, powercut_image, java: tests.join("java") })
    }

    fn outcome(&self, verdict: Verdict) -> Outcome {
        match verdict {
            Ok(note) => Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![note] },
            Err(problem) => {
                let mut outcome = Outcome::failure(problem);
                outcome.notes.extend(self.fixture.what_guests_said());
                outcome
            }
        }
    }

    /// The short or the long one of two values.
    fn by_length<T>(&self, short: T, long: T) -> T {
        self.fixture.by_length(short, long)
    }
}

/// The client of ZooKeeper, on the host, with the classes of the server.
fn add_zookeeper_client(fixture: &mut Fixture, context: &Context) -> Result<()> {
    let server = Manifest::read(&context.project.root().join("apps/zookeeper"))?;
    let prepared = server.prepare(&ApplicationOptions::default(), &context.project)?;
    let mut class_path = prepared.options.class_path;
    let classes = fixture.path("zookeeper");
    fs::create_dir(&classes).map_err(Failure::io("make", &classes))?;
    let source = tests_folder(context).join("zookeeper/Acknowledged.java");
    java::compile_with("storage/zookeeper", &[source], &classes, &class_path.join(":"))?;
    class_path.insert(0, classes.display().to_string());
    fixture.add_class_path("zookeeper", class_path.join(":"));
    Ok(())
}
