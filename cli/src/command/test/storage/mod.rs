//! The suite of durable storage: power cuts on the real stack, from the program in the guest down to a disk that loses what was not
//! flushed ([`power_cut`], `machine::faulty_disk`).
//!
//! [`patterns`]: programs of ours (`tests/storage`) write in all the ways in which databases do. [`zookeeper`]: a real service under load.
//! What each acknowledges is noted on the host; after each cut all of it has to be there. Nothing here asserts a time.

#[path = "../../../../../tests/storage/e2fsck.rs"]
mod e2fsck;
mod patterns;
pub mod power_cut;
mod zookeeper;

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use super::{
    Context, Outcome, Suite, Tally, Test, java,
    services::{Fixture, Length},
};
use crate::{
    appliance::Manifest,
    command::build,
    failure::{Failure, Result},
    options::{ApplicationOptions, BuildOptions},
};

/// What a check has to tell when all is well, or what is wrong.
type Verdict = Result<String, String>;

type Check = fn(&Programs) -> Verdict;

const CHECKS: [(&str, Check); 11] = [
    ("power-cut/append", |programs| patterns::cuts(programs, "append", 2, 20)),
    ("power-cut/replace", |programs| patterns::cuts(programs, "replace", 2, 20)),
    ("power-cut/overwrite", |programs| patterns::cuts(programs, "overwrite", 2, 20)),
    ("power-cut/mapping", |programs| patterns::cuts(programs, "mapping", 2, 20)),
    ("power-cut/reuse", |programs| patterns::cuts(programs, "reuse", 2, 20)),
    ("power-cut/preallocate", |programs| patterns::cuts(programs, "preallocate", 2, 20)),
    ("power-cut/small", |programs| patterns::cuts(programs, "small", 2, 20)),
    ("power-cut/full", |programs| patterns::cuts(programs, "full", 2, 20)),
    ("power-cut/together", |programs| patterns::cuts(programs, patterns::TOGETHER, 3, 40)),
    ("power-cut/java", patterns::java),
    ("zookeeper/power-cuts", zookeeper::power_cuts),
];

/// One, for these tests have no second try, and the emulator can break a JVM that has more (docs/limits.md).
const CPUS_OF_A_JVM: &str = "1";

pub struct StorageSuite;

impl Suite for StorageSuite {
    fn name(&self) -> &'static str {
        "storage"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = tests_folder(context).is_dir();
        Ok(if there { CHECKS.iter().map(|(name, _)| name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let programs = Arc::new(Programs::prepare(context, names)?);
        let test = |(name, check): (&'static str, Check)| {
            let programs = programs.clone();
            let run = move || match check(&programs) {
                Ok(note) => Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![note] },
                Err(problem) => Outcome::failure(problem),
            };
            Test { name: name.to_string(), run: Box::new(run) }
        };
        let is_wanted = |name: &str| names.iter().any(|wanted| wanted == name);
        Ok(CHECKS.into_iter().filter(|(name, _)| is_wanted(name)).map(test).collect())
    }

    fn uses_whole_host(&self) -> bool {
        false
    }

    /// They do; but what was lost once is lost, and a second try would only hide it.
    fn runs_guests(&self) -> bool {
        false
    }
}

fn tests_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/storage")
}

/// What the tests run, on the host and in guests.
struct Programs {
    fixture: Fixture,
    length: Length,
    /// `tests/storage/powercut` for the host, and an image with it.
    powercut: PathBuf,
    powercut_image: PathBuf,
    /// An appliance with the same for the JVM.
    java: PathBuf,
}

impl Programs {
    fn prepare(context: &Context, names: &[String]) -> Result<Self> {
        let mut fixture = Fixture::make(context)?;
        if names.iter().any(|name| name.starts_with("zookeeper/")) {
            add_zookeeper_client(&mut fixture, context)?;
        }
        let out = context.project.root().join("target/storage");
        let tests = tests_folder(context);
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
        Ok(Self {
            fixture,
            length: if context.options.long { Length::Long } else { Length::Short },
            powercut,
            powercut_image,
            java: tests.join("java"),
        })
    }

    fn by_length<T>(&self, short: T, long: T) -> T {
        match self.length {
            Length::Short => short,
            Length::Long => long,
        }
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
