//! The tests that cargo runs on the host: unit and property tests of every crate, the model checks of what is
//! lock-free, and what rustfmt and clippy say of the code.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Context, Outcome, Suite, Tally, Test, limited};
use crate::failure::{Failure, Result};

/// All crates of the workspace that run on the host, and the looks at the source of all of them and of the
/// kernel.
pub struct HostSuite;

/// A look at the source that cargo offers as a subcommand.
struct Lint {
    name: &'static str,
    /// Where cargo runs, below the project's root: the kernel has flags of its own, in force in its folder.
    folder: &'static str,
    words: &'static [&'static str],
}

const LINTS: [Lint; 3] = [
    Lint { name: "format", folder: ".", words: &["fmt", "--all", "--check"] },
    Lint {
        name: "clippy",
        folder: ".",
        words: &[
            "clippy",
            "--quiet",
            "--workspace",
            "--exclude",
            "crema-kernel",
            "--all-targets",
            "--target-dir",
            "target",
            "--",
            "-Dwarnings",
        ],
    },
    Lint {
        name: "clippy-kernel",
        folder: "kernel",
        words: &["clippy", "--quiet", "--release", "--", "-Dwarnings"],
    },
];

const WORKSPACE_TESTS: &str = "workspace";

/// The crates that use loom, built with `--cfg loom`. Their model checks are the tests with "loom" in the
/// name (a module `loom`, or a name that begins so): other tests of theirs would not work under loom's types.
pub struct LoomSuite;

impl Suite for HostSuite {
    fn name(&self) -> &'static str {
        "host"
    }

    fn names(&self, _: &Context) -> Result<Vec<String>> {
        Ok([WORKSPACE_TESTS]
            .into_iter()
            .chain(LINTS.iter().map(|lint| lint.name))
            .map(String::from)
            .collect())
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let test = |name: &String| {
            let lint = LINTS.iter().find(|lint| lint.name == name);
            let run = move || match lint {
                Some(lint) => lint.run(context),
                None => {
                    let mut cargo = cargo_test(context);
                    cargo.args(["--target-dir", "target"]);
                    let minutes = if context.options.long { 120 } else { 30 };
                    outcome(cargo, Duration::from_secs(minutes * 60))
                }
            };
            Test { name: name.clone(), run: Box::new(run) }
        };
        Ok(names.iter().map(test).collect())
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
        let mut names = Vec::new();
        for folder in ["kernel/crates", "."] {
            let folder = context.project.root().join(folder);
            let entries = fs::read_dir(&folder).map_err(Failure::io("read", &folder))?;
            names.extend(
                entries
                    .filter_map(|entry| entry.ok())
                    .filter(|entry| {
                        fs::read_to_string(entry.path().join("Cargo.toml"))
                            .is_ok_and(|text| text.contains("cfg(loom)"))
                    })
                    .filter_map(|entry| entry.file_name().into_string().ok()),
            );
        }
        names.sort();
        Ok(names)
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let test = |name: &String| {
            let package = name.clone();
            let run = move || {
                let mut cargo = cargo_test(context);
                // Optimised, for a model check runs its code thousands of times; in a folder of its own, for
                // the flag would have everything built anew for each change between the two.
                cargo.args(["--release", "--target-dir", "target/loom", "--package", &package, "loom"]);
                cargo.env("RUSTFLAGS", "--cfg loom");
                outcome(cargo, Duration::from_secs(10 * 60))
            };
            Test { name: name.clone(), run: Box::new(run) }
        };
        Ok(names.iter().map(test).collect())
    }

    fn uses_whole_host(&self) -> bool {
        true
    }
}

impl Lint {
    fn run(&self, context: &Context) -> Outcome {
        // rustup's minimal profile has neither rustfmt nor clippy; all else works without them.
        let subcommand = self.words[0];
        let version = cargo(context, self.folder).args([subcommand, "--version"]).output();
        if !version.is_ok_and(|output| output.status.success()) {
            return Outcome {
                tally: Tally { skipped: 1, ..Tally::default() },
                notes: vec![format!("cargo {subcommand} is not installed: see rustup component add")],
            };
        }
        match cargo(context, self.folder).args(self.words).output() {
            Ok(output) if output.status.success() => {
                Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: Vec::new() }
            }
            Ok(output) => Outcome::failure(format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Outcome::failure(format!("cannot start cargo: {error}")),
        }
    }
}

fn cargo(context: &Context, folder: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(context.project.root().join(folder));
    // Our own variables must not reach a test that calls the tool.
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET").stdin(Stdio::null());
    cargo
}

fn cargo_test(context: &Context) -> Command {
    let mut cargo = cargo(context, ".");
    cargo.args(["test", "--quiet", "--no-fail-fast"]);
    if context.options.long {
        // The fuzzers' rounds: tests/fuzz/src/lib.rs.
        cargo.env("CREMA_FUZZ_ROUNDS", "1000000");
        // Each of these rounds is a mount and an e2fsck: kernel/crates/ext4/tests/support/mod.rs.
        cargo.env("CREMA_EXT4_FACTOR", "15");
    } else {
        // The same inputs each time: whether a change is good must not hang on the day's luck. The long form looks for more.
        cargo.env("PROPTEST_RNG_SEED", "2");
    }
    cargo
}

/// Runs tests by cargo. The limit counts their building.
fn outcome(cargo: Command, limit: Duration) -> Outcome {
    let limited::Output { status, stdout, stderr } = match limited::run(cargo, limit) {
        Ok(output) => output,
        Err(error) => return Outcome::failure(format!("cannot run cargo: {error}")),
    };
    let mut tally = parse_results(&stdout);
    let mut notes = Vec::new();
    if !status.is_some_and(|status| status.success()) {
        // A crate that does not compile has no results.
        tally.failed = tally.failed.max(1);
        notes.push(failures(&stdout));
        notes.push(stderr);
    }
    if status.is_none() {
        notes.push(format!("ended after {} s at most; what it had printed: {stdout}", limit.as_secs()));
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
    // Each test program that fails has a section of its own, which ends with its result.
    let mut is_inside = false;
    text.lines()
        .filter(|line| {
            is_inside = (is_inside || *line == "failures:") && !line.starts_with("test result: ");
            is_inside && !line.is_empty()
        })
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

    #[test]
    fn only_failures_are_shown() {
        let text = "running 1 test\n.\ntest result: ok. 1 passed; 0 failed\n\n\nrunning 1 test\nF\n\nfailures:\n\n\
                    ---- a stdout ----\nb\n\nfailures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed\n\n\
                    running 1 test\n.\ntest result: ok. 1 passed; 0 failed\n\n";
        assert_eq!(failures(text), "failures:\n---- a stdout ----\nb\nfailures:\n    a");
        assert_eq!(failures("running 0 tests\n\n"), "");
    }
}
