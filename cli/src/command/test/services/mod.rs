//! Real services in guests, and real clients on the host: what the suites of them share.
//!
//! The tool is called as a user calls it ([`guest`]). Not responsible for what is checked: that is the suites', each check a function that
//! says what is wrong, if anything.

pub mod guest;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Context, Outcome, Tally, Test};
use crate::{
    failure::{Failure, Result},
    image::jre::JAVA_HOME,
    scratch::ScratchFolder,
};

/// What one check says is wrong, if anything.
pub type Verdict = Result<(), String>;

pub type Check = fn(&Fixture) -> Verdict;

/// The checks whose names are wanted, as tests.
pub fn tests<'a>(fixture: Fixture, checks: &[(&'static str, Check)], wanted: &[String]) -> Vec<Test<'a>> {
    let fixture = Arc::new(fixture);
    let test = |&(name, check): &(&'static str, Check)| {
        let fixture = fixture.clone();
        let run = move || {
            fixture.forget_guests();
            match check(&fixture) {
                Ok(()) => Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![] },
                Err(problem) => {
                    let mut outcome = Outcome::failure(problem);
                    outcome.notes.extend(fixture.what_guests_said());
                    outcome
                }
            }
        };
        Test { name: name.to_string(), run: Box::new(run) }
    };
    checks.iter().filter(|(name, _)| wanted.iter().any(|wanted| wanted == name)).map(test).collect()
}

/// Whether a test is run in its long form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Short,
    Long,
}

/// What all tests of a suite share.
pub struct Fixture {
    folder: ScratchFolder,
    root: PathBuf,
    tool: PathBuf,
    length: Length,
    /// Options of each guest.
    common: Vec<String>,
    /// Class paths of programs on the host, by the names that the suite gives them.
    class_paths: BTreeMap<&'static str, String>,
    /// What the guests of the test at hand have said on standard error, by name.
    said: Mutex<Vec<(String, guest::Lines)>>,
}

impl Fixture {
    pub fn make(context: &Context) -> Result<Self> {
        let tool =
            std::env::current_exe().map_err(|error| Failure::new(format!("cannot find myself: {error}")))?;
        Ok(Self {
            folder: ScratchFolder::new_in(&std::env::temp_dir())?,
            root: context.project.root().to_path_buf(),
            tool,
            length: if context.options.long { Length::Long } else { Length::Short },
            common: guest::common_options(&context.options),
            class_paths: BTreeMap::new(),
            said: Mutex::default(),
        })
    }

    /// Names the classes of a program, for [`Fixture::java`].
    pub fn add_class_path(&mut self, name: &'static str, class_path: String) {
        self.class_paths.insert(name, class_path);
    }

    /// The short or the long one of two values.
    pub fn by_length<T>(&self, short: T, long: T) -> T {
        match self.length {
            Length::Short => short,
            Length::Long => long,
        }
    }

    /// A folder that goes away with the suite.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn class_path(&self, name: &str) -> &str {
        self.class_paths.get(name).map_or("", String::as_str)
    }

    /// A Java program on the host, with the classes of this name.
    pub fn java(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(Path::new(JAVA_HOME).join("bin/java"));
        // Clients tell of each connection that they lost, which here is the test.
        command.args([
            "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
            "-cp",
            self.class_path(name),
        ]);
        command.args(words).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn forget_guests(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// For a failure: the last that each guest and its tool said.
    pub fn what_guests_said(&self) -> Vec<String> {
        const SHOWN_LINES: usize = 20;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |(name, lines): &(String, guest::Lines)| format!("{name}:\n{}", lines.last(SHOWN_LINES));
        said.iter().map(shown).collect()
    }
}

/// The sentence that something is not as expected.
pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, and not {expected:?}")) }
}
