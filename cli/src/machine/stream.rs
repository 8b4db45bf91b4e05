//! Moving bytes between the host's streams and the guest's.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rustix::{io::Errno, process::getpgrp, termios};

/// Where a stream of the guest goes.
pub type Output = Box<dyn Write + Send>;

/// What the guest reads.
pub enum Input {
    /// Nothing: the end at once.
    Empty,
    Bytes(Vec<u8>),
    /// Our own standard input.
    Host,
}

const BUFFER_BYTES: usize = 64 << 10;

/// The host's stream without a buffer of ours in between: what the guest writes is seen at once.
pub fn host_stream(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Whether output is on its way: a guest that has ended powers off only when its output has been taken, and
/// whoever reads ours may be slow.
#[derive(Debug, Default)]
pub struct Activity {
    /// Writes that have begun.
    begun: AtomicU64,
    /// Writes that are through.
    through: AtomicU64,
}

impl Activity {
    /// A number that changes with each write; `None` while a write waits for its reader.
    ///
    /// Relaxed is enough: nothing is read on the strength of these numbers, and a late one only lengthens a
    /// wait.
    pub fn quiet_at(&self) -> Option<u64> {
        let through = self.through.load(Ordering::Relaxed);
        (through == self.begun.load(Ordering::Relaxed)).then_some(through)
    }
}

/// Copies until `from` ends, or until `to` takes no more.
///
/// # Errors
/// Only those of `to`: when `from` fails, the machine has ended.
pub fn copy_out(mut from: UnixStream, to: &mut dyn Write, activity: &Activity) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        let written = to.write_all(&buffer[..length]).and_then(|()| to.flush());
        activity.through.fetch_add(1, Ordering::Relaxed);
        written?;
    }
    Ok(())
}

/// Copies the input to the guest, and returns its length in bytes once it has ended. `None` if the guest
/// ended before.
pub fn copy_in(from: Input, mut to: UnixStream) -> Option<u64> {
    match from {
        Input::Empty => Some(0),
        Input::Bytes(bytes) => to.write_all(&bytes).ok().map(|()| bytes.len() as u64),
        Input::Host => {
            // Without a standard input there is nothing to read.
            let Ok(mut stdin) = host_stream(io::stdin()) else { return Some(0) };
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut total = 0;
            loop {
                wait_for_foreground(&stdin);
                match stdin.read(&mut buffer) {
                    Ok(0) => return Some(total),
                    Ok(length) => {
                        to.write_all(&buffer[..length]).ok()?;
                        total += length as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // As an end: the program should see one rather than wait for ever.
                    Err(_) => return Some(total),
                }
            }
        }
    }
}

/// Waits as long as reading the terminal would stop us (SIGTTIN), because we run in the background: a program
/// that reads nothing should go on there.
fn wait_for_foreground(stdin: &File) {
    const INTERVAL: Duration = Duration::from_millis(200);
    while termios::isatty(stdin) {
        match termios::tcgetpgrp(stdin) {
            Ok(group) if group != getpgrp() => thread::sleep(INTERVAL),
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}
