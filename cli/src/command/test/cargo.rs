//! The tests that cargo runs on the host: unit and property tests of every crate, and the model checks of what
//! is lock-free.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::{Context, Outcome, Suite, Tally, Test};
use crate::failure::{Failure, Result};

/// All crates of the workspace that run on the host.
pub struct HostSuite;

/// The crates that use loom, built with `--cfg loom`. Their model checks are the tests with "loom" in the name
/// (a module `loom`, or a name that begins so): other tests of theirs would not work under loom's types.
pub struct LoomSuite;

impl Suite for HostSuite {
    fn name(&self) -> &'static str {
        "host"
    }

    fn names(&self, _: &Context) -> Result<Vec<String>> {
        Ok(vec!["workspace".into()])
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let run = move || {
            let mut cargo = cargo(context);
            cargo.args(["--target-dir", "target"]);
            outcome(cargo)
        };
        Ok(names.iter().map(|name| Test { name: name.clone(), run: Box::new(run) }).collect())
    }

    fn uses_whole_host(&self) -> bool {
        true
    }
}

impl Suite for LoomSuite {
    fn name(&self) -> &'static str {
        "loom"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let folder = context.project.root().join("kernel/crates");
        let entries = fs::read_dir(&folder).map_err(Failure::io("read", &folder))?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| {
                fs::read_to_string(entry.path().join("Cargo.toml"))
                    .is_ok_and(|text| text.contains("cfg(loom)"))
            })
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let test = |name: &String| {
            let package = name.clone();
            let run = move || {
                let mut cargo = cargo(context);
                // Optimised, for a model check runs its code thousands of times; in a folder of its own, for
                // the flag would have everything built anew for each change between the two.
                cargo.args(["--release", "--target-dir", "target/loom", "--package", &package, "loom"]);
                cargo.env("RUSTFLAGS", "--cfg loom");
                outcome(cargo)
            };
            Test { name: name.clone(), run: Box::new(run) }
        };
        Ok(names.iter().map(test).collect())
    }

    fn uses_whole_host(&self) -> bool {
        true
    }
}

fn cargo(context: &Context) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--no-fail-fast"]).current_dir(context.project.root());
    // Our own variables must not reach a test that calls the tool.
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET").stdin(Stdio::null());
    cargo
}

fn outcome(mut cargo: Command) -> Outcome {
    let output = match cargo.output() {
        Ok(output) => output,
        Err(error) => return Outcome::failure(format!("cannot start cargo: {error}")),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut tally = parse_results(&stdout);
    let mut notes = Vec::new();
    if !output.status.success() {
        // A crate that does not compile has no results.
        tally.failed = tally.failed.max(1);
        notes.push(failures(&stdout));
        notes.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Outcome { tally, notes }
}

/// Adds up the lines "test result: ok. 3 passed; 0 failed; 1 ignored; ...".
fn parse_results(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let count = |word: &str| {
            line.split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
                .unwrap_or(0)
        };
        tally += Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") };
    }
    tally
}

/// What the test harness printed about failures, without the rest.
fn failures(text: &str) -> String {
    text.lines()
        .skip_while(|line| *line != "failures:")
        .filter(|line| !line.starts_with("test result: ok") && !line.starts_with("running "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let text = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s\n\
                    test result: FAILED. 10 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(parse_results(text), Tally { passed: 12, failed: 1, skipped: 3 });
        assert_eq!(parse_results("nothing"), Tally::default());
    }
}
