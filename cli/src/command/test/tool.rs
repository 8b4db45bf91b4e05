//! The suite of the tool itself: `crema` is called as a user calls it, and boots real machines.
//!
//! What can be tested without a machine is tested in `cli/tests`; this is about streams, signals, statuses
//! and images.

mod failures;
mod root;
mod volumes;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::{Context, Outcome, Suite, Tally, Test, java};
use crate::{
    failure::{Failure, Result},
    scratch::ScratchFolder,
};

/// For one call of the tool, under emulation on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// What one test says is wrong, if anything.
type Verdict = Result<(), String>;

type Check = fn(&Fixture) -> Verdict;

const CHECKS: [(&str, Check); 23] = [
    ("hello", hello),
    ("everything-is-passed-on", everything_is_passed_on),
    ("input-is-streamed", input_is_streamed),
    ("image-runs-on-both-machines", image_runs_on_both_machines),
    ("first-interrupt-runs-the-hooks", first_interrupt_runs_the_hooks),
    ("second-interrupt-ends-the-machine", second_interrupt_ends_the_machine),
    ("closed-output-ends-the-machine", closed_output_ends_the_machine),
    ("system-calls-are-traced", system_calls_are_traced),
    ("a-killed-tool-leaves-no-machine", a_killed_tool_leaves_no_machine),
    ("mistakes-get-a-sentence", failures::mistakes_get_a_sentence),
    ("an-unusable-kvm-is-told", failures::an_unusable_kvm_is_told),
    ("damaged-images-are-told", failures::damaged_images_are_told),
    ("a-crash-of-the-jvm-is-told", failures::a_crash_of_the_jvm_is_told),
    ("a-panic-of-the-kernel-is-told", failures::a_panic_of_the_kernel_is_told),
    ("volumes-keep-their-data", volumes::keep_their_data),
    ("volumes-are-used-by-one-run", volumes::are_used_by_one_run),
    ("volumes-can-be-full", volumes::can_be_full),
    ("volumes-give-space-back", volumes::give_space_back),
    ("volumes-can-grow", volumes::can_grow),
    ("volumes-made-by-linux-are-read", volumes::made_by_linux_are_read),
    ("volumes-can-be-damaged", volumes::can_be_damaged),
    ("volumes-are-exported-and-imported", volumes::are_exported_and_imported),
    ("the-root-is-shared-and-not-changed", root::the_root_is_shared_and_not_changed),
];

pub struct ToolSuite;

impl Suite for ToolSuite {
    fn name(&self) -> &'static str {
        "tool"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = source(context).is_file();
        Ok(if there { CHECKS.iter().map(|(name, _)| name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let fixture = Arc::new(Fixture::make(context)?);
        let test = |(name, check): (&str, Check)| {
            let fixture = fixture.clone();
            let run = move || match check(&fixture) {
                Ok(()) => Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![] },
                Err(problem) => Outcome::failure(problem),
            };
            Test { name: name.to_string(), run: Box::new(run) }
        };
        Ok(CHECKS
            .into_iter()
            .filter(|(name, _)| names.iter().any(|wanted| wanted == name))
            .map(test)
            .collect())
    }

    fn uses_whole_host(&self) -> bool {
        false
    }
}

fn source(context: &Context) -> PathBuf {
    context.project.root().join("tests/tool/Program.java")
}

/// A jar of the program, and how the tool is called.
struct Fixture {
    folder: ScratchFolder,
    tool: PathBuf,
    root: PathBuf,
    /// The kernel that the machines boot.
    kernel: PathBuf,
    /// Options of every call that boots.
    common: Vec<String>,
}

impl Fixture {
    fn make(context: &Context) -> Result<Self> {
        let folder = ScratchFolder::new_in(&std::env::temp_dir())?;
        let classes = folder.path().join("classes");
        fs::create_dir(&classes).map_err(Failure::io("make", &classes))?;
        java::compile("tool", &[source(context)], &classes)?;
        let class = classes.join("Program.class");
        let bytes = fs::read(&class).map_err(Failure::io("read", &class))?;
        let jar = folder.path().join("program.jar");
        write_jar(&jar, &[("META-INF/MANIFEST.MF", b"Main-Class: Program\n"), ("Program.class", &bytes)])?;

        let tool =
            std::env::current_exe().map_err(|error| Failure::new(format!("cannot find myself: {error}")))?;
        let accel = context.options.accel.to_possible_value().map(|value| value.get_name().to_string());
        let mut common = vec!["--memory=512M".to_string(), "--cpus=2".into()];
        common.push(format!("--accel={}", accel.unwrap_or_default()));
        if let Some(kernel) = &context.options.kernel {
            common.push(format!("--kernel={}", kernel.display()));
        }
        let kernel = context.project.kernel(context.options.kernel.as_deref())?;
        Ok(Self { folder, tool, root: context.project.root().to_path_buf(), kernel, common })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.tool);
        command.args(words).env("CREMA_ROOT", &self.root);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `crema run` of the jar (or of an image) with the common options, these options, and these arguments.
    fn run(&self, what: &str, options: &[&str], args: &[&str]) -> Command {
        let mut command = self.command(&["run", what]);
        command.args(&self.common).args(options).arg("--").args(args);
        command
    }

    fn run_jar(&self, options: &[&str], args: &[&str]) -> Command {
        self.run(&self.path("program.jar"), options, args)
    }
}

fn write_jar(path: &Path, entries: &[(&str, &[u8])]) -> Result<()> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot write {}: {error}", path.display()));
    let file = File::create(path).map_err(|error| cannot(&error))?;
    let mut zip = zip::ZipWriter::new(file);
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).map_err(|error| cannot(&error))?;
        zip.write_all(bytes).map_err(|error| cannot(&error))?;
    }
    zip.finish().map_err(|error| cannot(&error))?;
    Ok(())
}

/// A call of the tool that has ended.
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A call under way; killed if it is forgotten. Threads read its output, so that it never waits for us.
struct Call {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    deadline: Instant,
}

impl Call {
    fn start(mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| format!("cannot start crema: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut stderr = child.stderr.take().ok_or("no standard error")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read is there.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self { child, lines, stderr: Some(stderr), deadline: Instant::now() + LIMIT })
    }

    /// The next line of standard output.
    fn line(&mut self) -> Result<String, String> {
        let patience = self.deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(patience).map_err(|_| "there is no more output".to_string())
    }

    fn signal(&self, signal: Signal) -> Verdict {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
        kill_process(pid, signal).map_err(|error| error.to_string())
    }

    /// Waits for its end.
    fn end(mut self) -> Result<Ended, String> {
        let status = wait(&mut self.child, self.deadline)?;
        let stdout = self.lines.iter().map(|line| line + "\n").collect();
        let stderr = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Ended { status, stdout, stderr })
    }
}

/// Waits for the end of a child, and kills it at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<i32>, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("it takes too long".into());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(command: Command) -> Result<Ended, String> {
    Call::start(command)?.end()
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T, ended: &Ended) -> Verdict {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}: {got:?}, not {expected:?}\nstandard error: {}", ended.stderr))
}

fn hello(fixture: &Fixture) -> Verdict {
    // Once to have everything built, which may be told in a line of its own.
    call(fixture.run_jar(&[], &[]))?;
    let ended = call(fixture.run_jar(&[], &[]))?;
    expect("status", ended.status, Some(0), &ended)?;
    expect("standard output", ended.stdout.as_str(), "hello\n", &ended)?;
    expect("lines on standard error", ended.stderr.lines().count(), 1, &ended)?;
    expect("what was chosen", ended.stderr.contains("2 CPUs, 512 MiB, OpenJDK 17"), true, &ended)
}

fn everything_is_passed_on(fixture: &Fixture) -> Verdict {
    let options = ["--env", "TEST_ENV=a b=c", "--java-opt", "-Dtest.property=d e"];
    let ended = call(fixture.run_jar(&options, &["show", "--cpus", "", "ü x"]))?;
    expect("status", ended.status, Some(7), &ended)?;
    expect("standard output", ended.stdout.as_str(), "[show, --cpus, , ü x]\na b=c d e\n2\n", &ended)?;
    expect("standard error", ended.stderr.lines().last(), Some("to standard error"), &ended)
}

fn input_is_streamed(fixture: &Fixture) -> Verdict {
    let mut command = fixture.run_jar(&[], &["echo"]);
    command.stdin(Stdio::piped());
    let mut call = Call::start(command)?;
    let mut stdin = call.child.stdin.take().ok_or("no standard input")?;
    for number in 0..3 {
        writeln!(stdin, "line {number}").map_err(|error| error.to_string())?;
        let line = call.line()?;
        if line != format!("echo line {number}") {
            return Err(format!("the answer to line {number} is {line:?}"));
        }
    }
    drop(stdin);
    let ended = call.end()?;
    expect("standard output", ended.stdout.as_str(), "end\n", &ended)?;
    expect("status", ended.status, Some(0), &ended)
}

fn image_runs_on_both_machines(fixture: &Fixture) -> Verdict {
    let (jar, image) = (fixture.path("program.jar"), fixture.path("program.img"));
    let words =
        ["build", &jar, "-o", &image, "--env", "TEST_ENV=built", "--java-opt", "-Dtest.property=built"];
    let mut build = fixture.command(&words);
    build.args(["--", "show", "built"]);
    let ended = call(build)?;
    expect("status of crema build", ended.status, Some(0), &ended)?;
    for machine in ["q35", "microvm"] {
        let mut run = fixture.command(&["run", &image, "--machine", machine]);
        run.args(&fixture.common);
        let ended = call(run)?;
        let expected = "[show, built]\nbuilt built\n2\n";
        expect(&format!("standard output on {machine}"), ended.stdout.as_str(), expected, &ended)?;
        expect(&format!("status on {machine}"), ended.status, Some(7), &ended)?;
    }
    let ended = call(fixture.run(&image, &["--env", "TEST_ENV=run"], &["show", "run"]))?;
    expect("standard output with options", ended.stdout.as_str(), "[show, run]\nrun built\n2\n", &ended)
}

/// Starts the program and waits until it says that it is ready.
fn start_waiting(fixture: &Fixture, argument: &str) -> Result<Call, String> {
    wait_until_ready(fixture.run_jar(&[], &[argument]))
}

/// Starts a run of which the program says that it is ready.
fn wait_until_ready(command: Command) -> Result<Call, String> {
    let mut call = Call::start(command)?;
    match call.line()?.as_str() {
        "ready" => Ok(call),
        other => Err(format!("the first line is {other:?}, not \"ready\"")),
    }
}

fn first_interrupt_runs_the_hooks(fixture: &Fixture) -> Verdict {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let call = start_waiting(fixture, "wait")?;
        call.signal(signal)?;
        let ended = call.end()?;
        expect("standard output", ended.stdout.as_str(), "hook\n", &ended)?;
        expect("status", ended.status, Some(status), &ended)?;
    }
    Ok(())
}

fn second_interrupt_ends_the_machine(fixture: &Fixture) -> Verdict {
    let mut call = start_waiting(fixture, "stay")?;
    call.signal(Signal::INT)?;
    let line = call.line()?;
    if line != "staying" {
        return Err(format!("after the first interrupt it says {line:?}"));
    }
    call.signal(Signal::INT)?;
    let ended = call.end()?;
    expect("status", ended.status, Some(130), &ended)
}

fn closed_output_ends_the_machine(fixture: &Fixture) -> Verdict {
    let mut command = fixture.run_jar(&[], &["flood"]);
    command.stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdout = child.stdout.take().ok_or("no standard output")?;
    let read = stdout.read_exact(&mut [0; 6]);
    drop(stdout);
    let status = wait(&mut child, Instant::now() + LIMIT)?;
    read.map_err(|error| format!("it printed nothing: {error}"))?;
    if status == Some(141) { Ok(()) } else { Err(format!("status: {status:?}, not 141")) }
}

fn system_calls_are_traced(fixture: &Fixture) -> Verdict {
    let ended = call(fixture.run_jar(&["--trace-syscalls"], &[]))?;
    expect("standard output", ended.stdout.as_str(), "hello\n", &ended)?;
    for name in ["openat(", "mmap(", "futex(", "exit_group("] {
        if !ended.stderr.contains(name) {
            return Err(format!("the trace has no {name}"));
        }
    }
    Ok(())
}

fn a_killed_tool_leaves_no_machine(fixture: &Fixture) -> Verdict {
    let call = start_waiting(fixture, "wait")?;
    let tool = call.child.id();
    let children = || -> Vec<u32> {
        let list = fs::read_to_string(format!("/proc/{tool}/task/{tool}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let machines = children();
    if machines.is_empty() {
        return Err("the tool has no child process".into());
    }
    call.signal(Signal::KILL)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    // Whoever adopts the machine may be slow to bury it: a zombie (state Z in proc(5)) has ended.
    let alive = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    while machines.iter().any(alive) {
        if Instant::now() > deadline {
            return Err(format!("still alive: {machines:?}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
