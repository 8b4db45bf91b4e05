//! Checking and repairing a volume: e2fsck, and what its answers mean (e2fsck(8), "EXIT CODE").

use std::{path::Path, process::Output};

use crate::{
    failure::{Failure, Result},
    image::ext4::e2fsprogs,
};

/// Errors were found, and some are left.
const UNCORRECTED: i32 = 4;
/// From here on it could not do its work.
const OPERATIONAL: i32 = 8;

/// What e2fsck found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong, in so many files and blocks, as e2fsck words it.
    Sound(String),
    /// What is wrong.
    Damaged(Vec<String>),
    /// All that was wrong is repaired.
    Repaired,
    /// Some is still wrong.
    NotRepaired,
}

/// Looks for damage; changes nothing.
pub fn check(path: &Path) -> Result<Verdict> {
    let (code, text) = e2fsck(path, &["-f", "-n"])?;
    if code & UNCORRECTED == 0 {
        return Ok(Verdict::Sound(summary(&text)));
    }
    // Each problem ends with a question, which -n answers by "no".
    let problems = text.lines().filter(|line| line.ends_with("? no") || line.ends_with("aborted"));
    Ok(Verdict::Damaged(problems.map(|line| line.trim_end_matches("? no").to_string()).collect()))
}

/// Repairs what can be repaired, without a question.
pub fn repair(path: &Path) -> Result<Verdict> {
    let (code, text) = e2fsck(path, &["-f", "-y"])?;
    Ok(match code {
        0 => Verdict::Sound(summary(&text)),
        code if code & UNCORRECTED == 0 => Verdict::Repaired,
        _ => Verdict::NotRepaired,
    })
}

/// Does what the next mount would do to a volume that was not left in order: replays the journal, and frees files without a name.
pub fn recover(path: &Path) -> Result<()> {
    e2fsck(path, &["-p"]).map(drop)
}

/// Exit code, and all that it said.
fn e2fsck(path: &Path, options: &[&str]) -> Result<(i32, String)> {
    let mut command = e2fsprogs("e2fsck");
    command.env_remove("E2FSPROGS_FAKE_TIME").args(options).arg(path);
    let Output { status, stdout, stderr } = command
        .output()
        .map_err(|error| Failure::new(format!("cannot start e2fsck ({error}): apt install e2fsprogs")))?;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    match status.code() {
        Some(code) if code < OPERATIONAL => Ok((code, text)),
        _ => {
            let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it was ended");
            Err(Failure::new(format!("e2fsck failed: {last}")))
        }
    }
}

/// `12/65536 files (0.0% non-contiguous), 12320/262144 blocks`, out of the last line.
fn summary(text: &str) -> String {
    let line = text.lines().rfind(|line| line.contains(" files (") && line.ends_with(" blocks"));
    line.and_then(|line| line.split_once(": ")).map_or(String::new(), |(_, summary)| summary.to_string())
}
