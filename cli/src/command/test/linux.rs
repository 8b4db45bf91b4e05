//! Running one test on the host's Linux, which says what is right.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::guest::SignalAfter;
use crate::failure::{Failure, Result};

/// One run on the host.
pub struct LinuxRun<'a> {
    pub command: &'a [String],
    pub env: &'a [(String, String)],
    pub folder: &'a Path,
    pub stdin: &'a [u8],
    /// Sent one after the other.
    pub signals: &'a [SignalAfter],
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct LinuxOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// As a shell reports it: 128 + n for signal n.
    pub status: u8,
}

pub fn run(run: &LinuxRun) -> Result<LinuxOutput> {
    let shown = run.command.join(" ");
    let cannot = |error: std::io::Error| Failure::new(format!("cannot run {shown} on Linux: {error}"));
    let (mut stdin, stdout, stderr) = (temporary()?, temporary()?, temporary()?);
    stdin.write_all(run.stdin).and_then(|()| stdin.rewind()).map_err(cannot)?;
    // A program that is meant to crash leaves no core file.
    let mut command = Command::new("prlimit");
    command.args(["--core=0", "--"]).args(run.command);
    command.env_clear().envs(run.env.iter().cloned()).current_dir(run.folder);
    command.stdin(Stdio::from(stdin)).process_group(0);
    command.stdout(stdout.try_clone().map_err(cannot)?).stderr(stderr.try_clone().map_err(cannot)?);
    let mut child = command.spawn().map_err(cannot)?;
    let deadline = Instant::now() + run.limit;
    let mut signals = run.signals;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::new(format!("{shown} takes too long on Linux")));
        }
        if let [next, rest @ ..] = signals
            && next.is_due(&content_of(&stdout)?)
            && let Some(number) = Signal::from_named_raw(i32::from(next.number))
            && let Some(pid) = Pid::from_raw(child.id() as i32)
        {
            kill_process(pid, number).map_err(|error| cannot(error.into()))?;
            signals = rest;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    Ok(LinuxOutput { stdout: content(stdout)?, stderr: content(stderr)?, status: status as u8 })
}

fn temporary() -> Result<File> {
    tempfile::tempfile().map_err(|error| Failure::new(format!("cannot make a temporary file: {error}")))
}

fn content(mut file: File) -> Result<Vec<u8>> {
    // The child has written through the same open file, so its end is where the position is.
    file.seek(SeekFrom::Start(0)).map_err(|error| Failure::new(format!("cannot read output: {error}")))?;
    content_of(&file)
}

/// All bytes of a file, without moving its position, which the child shares.
fn content_of(file: &File) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let cannot = |error: std::io::Error| Failure::new(format!("cannot read output: {error}"));
    let length = file.metadata().map_err(cannot)?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(cannot)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &[u8], signals: &[SignalAfter]) -> LinuxOutput {
        let command = ["/bin/sh", "-c", script].map(String::from);
        let env = [("A".to_string(), "b".to_string())];
        let folder = Path::new("/");
        run(&LinuxRun {
            command: &command,
            env: &env,
            folder,
            stdin,
            signals,
            limit: Duration::from_secs(30),
        })
        .unwrap()
    }

    #[test]
    fn output_status_and_environment_are_taken() {
        let output = shell("cat; echo $A >&2; exit 7", b"in", &[]);
        assert_eq!((&output.stdout[..], &output.stderr[..], output.status), (&b"in"[..], &b"b\n"[..], 7));
        assert_eq!(shell("kill -SEGV $$", b"", &[]).status, 139);
    }

    #[test]
    fn a_signal_is_sent_after_its_line() {
        let after = SignalAfter { line_start: "rea".into(), number: 15 };
        let output = shell("trap 'echo got; exit 3' TERM; echo ready; while :; do :; done", b"", &[after]);
        assert_eq!((&output.stdout[..], output.status), (&b"ready\ngot\n"[..], 3));
    }
}
