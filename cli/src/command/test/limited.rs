//! Running a command of the host with a limit of time, so that one that hangs fails alone.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::machine::interrupt;

/// What came of a command.
pub struct Output {
    /// None if it was ended, as its time was up or the user interrupts.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command to its end, or ends it and all that it started.
pub fn run(mut command: Command, limit: Duration) -> io::Result<Output> {
    // Files and no pipes: what the command leaves running would keep a pipe open.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).process_group(0);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline || interrupt::received().is_some() {
            // Not reaped yet, so the number is still this group's.
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    Ok(Output { status, stdout: text(stdout)?, stderr: text(stderr)? })
}

fn text(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, limit).unwrap()
    }

    #[test]
    fn status_and_output_are_taken() {
        let output = shell("echo out; echo err >&2; exit 3", Duration::from_secs(60));
        assert_eq!(output.status.and_then(|status| status.code()), Some(3));
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn what_hangs_is_ended_with_all_that_it_started() {
        let output = shell("sleep 600 & echo $!; wait", Duration::from_millis(300));
        assert!(output.status.is_none());
        let child = output.stdout.trim();
        // Killed with its group; a zombie until init reaps it.
        let state = std::fs::read_to_string(format!("/proc/{child}/stat"));
        assert!(state.is_err() || state.unwrap().contains(") Z "), "{child} still runs");
    }
}
