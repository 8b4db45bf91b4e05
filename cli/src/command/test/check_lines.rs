//! Comparing what one program printed on Linux and in the guest: lines `check: result`, and the exit status.
//!
//! A check is known by its name and, should a name come again, by how often it came before.

use std::collections::BTreeMap;

use super::{Outcome, Tally, known_failures::KnownFailures};

/// What a program did in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    pub stdout: Vec<u8>,
    /// As a shell reports it; `None` if the program did not come to its end.
    pub status: Option<u8>,
}

/// Counts the checks that came out as on Linux. `program` is the name under which failures are known.
pub fn compare(program: &str, linux: &Printed, guest: &Printed, known: &KnownFailures) -> Outcome {
    let expected = checks(&linux.stdout);
    let mut got = checks(&guest.stdout);
    let mut judge = Judge { program, known, outcome: Outcome::default() };
    for (key, line) in expected {
        let found = got.remove(&key);
        let problem = match &found {
            Some(found) if *found == line => None,
            Some(found) => Some(format!("Linux: {line}\nguest: {found}")),
            None => Some(format!("Linux: {line}\nguest: nothing")),
        };
        judge.check(&key.0, problem);
    }
    for (key, line) in got {
        judge.check(&key.0, Some(format!("Linux: nothing\nguest: {line}")));
    }
    let shown = |status: Option<u8>| status.map_or("none".to_string(), |status| status.to_string());
    let problem = (linux.status != guest.status).then(|| {
        format!("Linux: exit status {}\nguest: exit status {}", shown(linux.status), shown(guest.status))
    });
    judge.check("exit status", problem);
    judge.outcome
}

struct Judge<'a> {
    program: &'a str,
    known: &'a KnownFailures,
    outcome: Outcome,
}

impl Judge<'_> {
    fn check(&mut self, name: &str, problem: Option<String>) {
        let Outcome { tally: Tally { passed, failed, skipped }, notes } = &mut self.outcome;
        match (problem, self.known.reason(self.program, name)) {
            (None, None) => *passed += 1,
            (None, Some(_)) => {
                *passed += 1;
                notes.push(format!("{name}: passes again, and is listed as a known failure"));
            }
            (Some(_), Some(reason)) => {
                *skipped += 1;
                notes.push(format!("{name}: known failure: {reason}"));
            }
            (Some(problem), None) => {
                *failed += 1;
                notes.push(format!("{name}\n{problem}"));
            }
        }
    }
}

/// The lines of an output by the name of their check and how often the name came before. They stay in order
/// for names that differ only in their number.
fn checks(stdout: &[u8]) -> BTreeMap<(String, usize), String> {
    let text = String::from_utf8_lossy(stdout);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut checks = BTreeMap::new();
    for line in text.lines() {
        let name = line.split_once(": ").map_or(line, |(name, _)| name).to_string();
        let count = seen.entry(name.clone()).or_default();
        checks.insert((name, *count), line.to_string());
        *count += 1;
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(stdout: &str, status: u8) -> Printed {
        Printed { stdout: stdout.into(), status: Some(status) }
    }

    #[test]
    fn each_line_is_a_check_and_so_is_the_status() {
        let none = KnownFailures::default();
        let linux = printed("a: 1\nb: 2\nb: 3\n", 0);
        let same = compare("p", &linux, &linux, &none);
        assert_eq!(same, Outcome { tally: Tally { passed: 4, failed: 0, skipped: 0 }, notes: vec![] });
        let other = compare("p", &linux, &printed("a: 1\nb: 2\nb: 4\nc: 5\n", 7), &none);
        assert_eq!(other.tally, Tally { passed: 2, failed: 3, skipped: 0 });
        assert!(other.notes[0].contains("Linux: b: 3\nguest: b: 4"));
        let cut = compare("p", &linux, &Printed { stdout: b"a: 1\nb: 2".to_vec(), status: None }, &none);
        assert_eq!(cut.tally, Tally { passed: 2, failed: 2, skipped: 0 });
    }

    #[test]
    fn known_failures_are_skipped_until_they_pass() {
        let known = KnownFailures::parse("# comment\nf/p: b: not yet: really\n").unwrap();
        let linux = printed("a: 1\nb: 2\n", 0);
        let failing = compare("f/p", &linux, &printed("a: 1\nb: 9\n", 0), &known);
        assert_eq!(failing.tally, Tally { passed: 2, failed: 0, skipped: 1 });
        assert_eq!(failing.notes, ["b: known failure: not yet: really"]);
        let passing = compare("f/p", &linux, &linux, &known);
        assert_eq!(passing.tally, Tally { passed: 3, failed: 0, skipped: 0 });
        assert!(passing.notes[0].contains("passes again"));
    }
}
