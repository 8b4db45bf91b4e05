//! What the launcher says of itself: notes before the VM exists, and the refusal that ends a start.
//!
//! The texts are those of the `java` command, because scripts and users read them; they go to
//! standard error (or, for `--full-version`, to standard output). Nothing here is printed by the VM.

use std::io::Write;

/// A string as the process got it: bytes in whatever encoding the platform uses, without a NUL.
pub type PlatformString = Vec<u8>;

/// Notes and warnings in the order in which they arose.
#[derive(Default)]
pub struct Report {
    lines: Vec<PlatformString>,
}

impl Report {
    /// Adds one message; a line end is added when it is printed.
    pub fn note(&mut self, message: impl Into<PlatformString>) {
        self.lines.push(message.into());
    }

    /// Prints what has gathered to standard error and forgets it.
    pub fn print(&mut self) {
        for line in self.lines.drain(..) {
            print_error(&line);
        }
    }
}

/// The end of a start without a VM: a message and the exit status.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: PlatformString,
    pub status: i32,
    pub stream: Stream,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
}

impl Refusal {
    /// A message on standard error.
    pub fn new(status: i32, message: impl Into<PlatformString>) -> Self {
        Self { message: message.into(), status, stream: Stream::Error }
    }

    /// Prints the message and returns the exit status.
    pub fn print(&self) -> i32 {
        match self.stream {
            Stream::Error => print_error(&self.message),
            Stream::Output => print_line(&mut std::io::stdout().lock(), &self.message),
        }
        self.status
    }
}

/// Prints one message to standard error.
pub fn print_error(message: &[u8]) {
    print_line(&mut std::io::stderr().lock(), message);
}

fn print_line(stream: &mut impl Write, message: &[u8]) {
    // With the stream closed there is nobody left to tell; the exit status still says it.
    let _ = stream.write_all(&[message, b"\n"].concat());
    let _ = stream.flush();
}
