//! The lists of known failures beside the tests: `PROGRAM: CHECK: REASON`, one a line, `#` for comments.

use std::{collections::BTreeMap, fs, path::Path};

use crate::failure::{Failure, Result};

/// Reasons by program and check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownFailures {
    reasons: BTreeMap<(String, String), String>,
}

impl KnownFailures {
    /// Reads a list; none is an empty one.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(Failure::io("read", path))?;
        Self::parse(&text).map_err(|line| {
            Failure::new(format!("{}: not of the form PROGRAM: CHECK: REASON: {line}", path.display()))
        })
    }

    /// # Errors
    /// The line that has no reason, or no check.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let parts: Vec<&str> = line.splitn(3, ": ").map(str::trim).collect();
            let [program, check, reason] = parts[..] else { return Err(line.to_string()) };
            if reason.is_empty() {
                return Err(line.to_string());
            }
            reasons.insert((program.to_string(), check.to_string()), reason.to_string());
        }
        Ok(Self { reasons })
    }

    pub fn reason(&self, program: &str, check: &str) -> Option<&str> {
        self.reasons.get(&(program.to_string(), check.to_string())).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_needs_a_reason() {
        assert!(KnownFailures::parse("a/b: c\n").is_err());
        assert!(KnownFailures::parse("a/b: c: \n").is_err());
        let known = KnownFailures::parse("\n# x\na/b: c d: why: so\n").unwrap();
        assert_eq!(known.reason("a/b", "c d"), Some("why: so"));
        assert_eq!(known.reason("a/b", "c"), None);
    }
}
