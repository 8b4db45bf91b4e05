//! Guests, started by the tool as a user would; and other programs whose output is watched.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::Fixture;
use crate::options::TestOptions;

/// For whatever a guest or a client does, under emulation on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The options of each guest.
pub fn common_options(options: &TestOptions) -> Vec<String> {
    let word = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_string()).unwrap_or_default()
    };
    let mut common = vec![format!("--accel={}", word(options.accel.to_possible_value()))];
    if let Some(kernel) = &options.kernel {
        common.push(format!("--kernel={}", kernel.display()));
    }
    if options.linux {
        common.push("--linux".into());
    }
    common
}

/// Lines that a program has written so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Begins to take the lines of a stream.
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.state().lines.push(line);
                writer.0.1.notify_all();
            }
            writer.state().ended = true;
            writer.0.1.notify_all();
        });
        lines
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line with this text after the first `skip` lines that have it. `None` if the stream ends or time is up.
    pub fn wait_for(&self, text: &str, skip: usize) -> Option<String> {
        self.wait_within(PATIENCE, text, skip)
    }

    /// The same with a limit of the caller's.
    fn wait_within(&self, patience: Duration, text: &str, skip: usize) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.iter().filter(|line| line.contains(text)).nth(skip) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines have the text by now.
    pub fn count(&self, text: &str) -> usize {
        self.state().lines.iter().filter(|line| line.contains(text)).count()
    }

    pub fn last(&self, count: usize) -> String {
        let state = self.state();
        state.lines[state.lines.len().saturating_sub(count)..].join("\n")
    }

    /// Everything, once the stream has ended.
    pub fn all(&self) -> String {
        let mut state = self.state();
        while !state.ended {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.lines.join("\n")
    }
}

/// A program of the host that runs, and is ended when this is dropped.
pub struct Running {
    child: Child,
    name: String,
    pub stdin: Option<ChildStdin>,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Running {
    /// Starts a program whose standard output and error are pipes.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: stdout.map_or_else(Lines::default, Lines::of),
            stderr: stderr.map_or_else(Lines::default, Lines::of),
            child,
            name,
        })
    }

    /// Waits until a line of its output has the text.
    pub fn wait_for(&self, text: &str) -> Result<String, String> {
        self.wait_for_another(text, 0)
    }

    /// The same, for a line after the first `skip` that have the text.
    pub fn wait_for_another(&self, text: &str, skip: usize) -> Result<String, String> {
        self.wait_for_line(PATIENCE, text, skip)
    }

    /// Gives it a line of input.
    pub fn order(&mut self, line: &str) -> Result<(), String> {
        let Some(stdin) = &mut self.stdin else { return Err("its input is closed".into()) };
        writeln!(stdin, "{line}").map_err(|error| format!("{} takes no input: {error}", self.name))
    }

    pub fn signal(&self, signal: Signal) {
        // An own child that has not been waited for: the id is still its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits until a line of its output has the text, for a program that takes longer than others.
    pub fn wait_within(&self, patience: Duration, text: &str) -> Result<String, String> {
        self.wait_for_line(patience, text, 0)
    }

    fn wait_for_line(&self, patience: Duration, text: &str, skip: usize) -> Result<String, String> {
        self.stdout.wait_within(patience, text, skip).ok_or_else(|| {
            let (stdout, stderr) = (self.stdout.last(5), self.stderr.last(15));
            format!("{} did not say {text:?} but\n{stdout}\n{stderr}", self.name)
        })
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus, String> {
        self.end_within(PATIENCE)
    }

    fn end_within(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not end\n{}", self.name, self.stderr.last(15)));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its output, if it ends well.
    pub fn output(self) -> Result<String, String> {
        self.output_within(PATIENCE)
    }

    /// The same, for a program that takes longer than others.
    pub fn output_within(mut self, patience: Duration) -> Result<String, String> {
        // Its end of input comes first.
        self.stdin = None;
        let status = self.end_within(patience)?;
        let output = self.stdout.all();
        if status.success() {
            return Ok(output);
        }
        Err(format!("{} ended with {status}\n{output}\n{}", self.name, self.stderr.last(30)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine.
pub struct Guest {
    pub tool: Running,
    /// Ports of the host that lead into it, in the order of `-p`.
    ports: Vec<u16>,
}

impl Guest {
    /// Boots something with `crema run`. The host's port of each `-p` is to be 0.
    pub fn start(fixture: &Fixture, what: &Path, options: &[&str], args: &[&str]) -> Result<Self, String> {
        Self::start_with_input(fixture, what, options, args, Stdio::null())
    }

    /// The same, with something for its program to read.
    pub fn start_with_input(
        fixture: &Fixture,
        what: &Path,
        options: &[&str],
        args: &[&str],
        input: Stdio,
    ) -> Result<Self, String> {
        let mut command = Command::new(&fixture.tool);
        command.arg("run").arg(what).args(&fixture.common).args(options);
        if !args.is_empty() {
            command.arg("--").args(args);
        }
        command.env("CREMA_ROOT", &fixture.root).current_dir(&fixture.root);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let tool = Running::start(command)?;
        let mut name = what.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(address) = options.iter().skip_while(|word| **word != "--ip").nth(1) {
            name += &format!(" at {address}");
        }
        let mut said = fixture.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push((format!("{name}, standard error"), tool.stderr.clone()));
        said.push((format!("{name}, standard output"), tool.stdout.clone()));
        drop(said);
        let mut guest = Self { tool, ports: vec![] };
        for number in 0..options.iter().filter(|word| **word == "-p").count() {
            let line =
                guest.tool.stderr.wait_for(" leads to ", number).ok_or("the machine does not start")?;
            guest.ports.push(port_in(&line).ok_or_else(|| format!("there is no port in {line:?}"))?);
        }
        Ok(guest)
    }

    /// An appliance of the project.
    pub fn appliance(fixture: &Fixture, name: &str, options: &[&str], args: &[&str]) -> Result<Self, String> {
        Self::start(fixture, &fixture.root.join("apps").join(name), options, args)
    }

    /// A program of the tests.
    pub fn program(fixture: &Fixture, class: &str, options: &[&str], args: &[&str]) -> Result<Self, String> {
        let mut all = vec!["--main", class];
        all.extend(options);
        Self::start(fixture, &fixture.root.join("tests/net/programs"), &all, args)
    }

    /// The host's port that leads to the one of a `-p`.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number]
    }

    /// Waits until the guest's program prints a line with this text.
    pub fn wait_for(&self, text: &str) -> Result<String, String> {
        self.tool.wait_for(text).map_err(|_| format!("the guest did not print {text:?}"))
    }

    /// The same, for a program that takes longer than others to get so far.
    pub fn wait_within(&self, patience: Duration, text: &str) -> Result<String, String> {
        self.tool
            .wait_within(patience, text)
            .map_err(|_| format!("the guest did not print {text:?} in {} s", patience.as_secs()))
    }

    /// Ends it at once, as when the power goes: QEMU ends with its tool, and what the guest has not written is lost.
    pub fn cut_power(self) {
        drop(self);
    }

    /// Ends it as Ctrl-C does. That the program ends by it, and not the machine, shows that the machine is well.
    pub fn stop(self) -> Result<(), String> {
        self.stop_within(PATIENCE)
    }

    /// The same, for a program that takes longer than others.
    pub fn stop_within(mut self, patience: Duration) -> Result<(), String> {
        /// 128 + SIGINT: how a JVM ends that is asked to.
        const ENDED_BY_SIGINT: i32 = 130;
        self.tool.signal(Signal::INT);
        let status = self.tool.end_within(patience)?;
        if status.code() == Some(ENDED_BY_SIGINT) {
            return Ok(());
        }
        Err(format!("the guest ended with {status} after it was asked to end"))
    }
}

/// The port before " leads to ", which an `http://HOST:PORT` or a `HOST:PORT/tcp` ends.
fn port_in(line: &str) -> Option<u16> {
    let location = line.split(" leads to ").next()?;
    let tail = location.rsplit(':').next()?;
    tail.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_in_what_the_tool_says() {
        assert_eq!(port_in("crema: http://127.0.0.1:4711 leads to tcp port 80 of the guest"), Some(4711));
        assert_eq!(port_in("crema: 127.0.0.1:4711/udp leads to udp port 53 of the guest"), Some(4711));
        assert_eq!(port_in("crema: nothing"), None);
    }

    #[test]
    fn lines_are_waited_for() {
        let lines = Lines::of(&b"one\ntwo\ntwo more\n"[..]);
        assert_eq!(lines.wait_for("two", 0).as_deref(), Some("two"));
        assert_eq!(lines.wait_for("two", 1).as_deref(), Some("two more"));
        assert_eq!(lines.wait_for("three", 0), None);
        assert_eq!((lines.count("o"), lines.last(1)), (3, "two more".into()));
    }
}
