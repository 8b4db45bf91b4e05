//! What the tool says when it cannot go on: one clear sentence and an exit status.
//!
//! Responsible for the error type of the whole tool. Not for a failure of the program in the guest: that is
//! its exit status, and no failure of ours.

use std::{fmt, io, path::Path};

/// Exit status when the tool or the machine failed, as opposed to the program in the guest. The same number
/// as `docker run` uses, so that scripts can tell the two apart.
pub const STATUS_TOOL_FAILED: u8 = 125;

/// One sentence for the user.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    sentence: String,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into() }
    }

    /// For [`Result::map_err`] on file operations: "cannot `action` `path`: reason".
    pub fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(format!("cannot {action} {}: {}", path.display(), reason(&error)))
    }
}

/// The reason without the "(os error 2)" that the standard library appends.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_string(),
        None => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}
