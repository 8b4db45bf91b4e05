//! Hosts `libjvm.so`: takes the `java` command's place in a Crema image, and runs on Linux as well.
//!
//! A start goes: argument files and environment (`argument_files`), the jar's manifest
//! (`jar_manifest`), the runtime and its VM (`java_home`), options (`command_line`), heap bounds
//! (`heap_policy`), and then, in a thread of its own, the VM and the program (`launch`, over `jni`).
//! Up to the heap bounds all of it does what the `java` command of JDK 17 does, to the letter;
//! README.md lists the few differences.
//!
//! The program has no Rust `main`: std's runtime would set signal handlers for stack overflow, which
//! HotSpot would chain to (a crash would then end without an hs_err file), and would ignore SIGPIPE.

#![cfg_attr(not(test), no_main)]

mod argument_files;
mod class_path;
mod command_line;
mod gc_assist;
mod heap_options;
mod heap_policy;
mod jar_manifest;
mod java_home;
mod jni;
mod launch;
mod machine_memory;
mod report;
#[allow(dead_code, reason = "the memory policy and the collector's assistance read from it")]
mod vm_structs;

use std::env;
use std::ffi::{CString, OsStr, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use command_line::{CommandLine, Decision};
use jar_manifest::Damage;
use java_home::JavaHome;
use jni::LibJvm;
use report::{PlatformString, Refusal, Report, Stream};

/// Switches the choice of heap bounds: `on` (as if unset) or `off`, which leaves them to HotSpot.
const POLICY_VARIABLE: &str = "CREMA_HEAP_POLICY";

/// The entry point that the C runtime calls. The arguments come from `std::env`: glibc hands them to
/// the initialisers of a program as well, std's among them.
// SAFETY: no other object of this program or its libraries defines `main`, and its type is C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main(_argument_count: c_int, _arguments: *const *const c_char) -> c_int {
    let arguments: Vec<PlatformString> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    let mut report = Report::default();
    match start(&arguments, &mut report) {
        Ok(status) => status,
        Err(refusal) => {
            report.print();
            refusal.print()
        }
    }
}

fn start(arguments: &[PlatformString], report: &mut Report) -> Result<i32, Refusal> {
    let from_environment = variable(argument_files::OPTIONS_VARIABLE);
    let mut arguments = argument_files::expand(arguments, from_environment.as_deref(), report)?;
    if let Some(jar) = command_line::jar_to_check(&arguments, report) {
        jar_manifest::check(Path::new(OsStr::from_bytes(jar))).map_err(|damage| {
            let complaint: &[u8] = match damage {
                Damage::Inaccessible => b"Error: Unable to access jarfile ",
                Damage::Corrupt => b"Error: Invalid or corrupt jarfile ",
            };
            Refusal::new(1, [complaint, jar].concat())
        })?;
    }
    let home = JavaHome::find(env::var_os("JAVA_HOME").as_deref(), report)?;
    let library = home.choose_vm(&mut arguments, variable("JDK_ALTERNATE_VM").as_deref(), report)?;
    let libjvm = open(&library)?;
    let mut line = match command_line::parse(&arguments, variable("CLASSPATH").as_deref(), report)? {
        Decision::Start(line) => line,
        Decision::FullVersion(stream) => {
            let version = home.full_version()?;
            let message = match stream {
                Stream::Error => format!("openjdk full version \"{version}\""),
                Stream::Output => format!("openjdk {version}"),
            };
            return Err(Refusal { message: message.into_bytes(), status: 0, stream });
        }
    };
    add_heap_bounds(&mut line)?;
    report.print();

    let stack_bytes = match usize::try_from(line.stack_bytes) {
        Ok(0) | Err(_) => libjvm.default_stack_bytes(),
        Ok(bytes) => bytes,
    };
    let mode = gc_assist::Mode::parse(variable(gc_assist::VARIABLE).as_deref()).ok_or_else(|| {
        Refusal::new(1, format!("Error: {} must be off, dirty or trap.", gc_assist::VARIABLE))
    })?;
    gc_assist::prepare(mode, &libjvm, &library);
    let status = in_new_thread(stack_bytes, || launch::run(libjvm, &line, &home.known_vms));
    Ok(if line.status != 0 { line.status } else { status })
}

/// The VM does not run on the process's first thread, whose stack the kernel sizes and grows in its
/// own way: HotSpot wants its guard pages at a known place. The system's size is used if
/// `stack_bytes` is 0, and the first thread after all if no other can be had.
fn in_new_thread(stack_bytes: usize, run: impl Fn() -> i32 + Sync) -> i32 {
    std::thread::scope(|scope| {
        let mut thread = std::thread::Builder::new();
        if stack_bytes > 0 {
            thread = thread.stack_size(stack_bytes);
        }
        match thread.spawn_scoped(scope, &run) {
            // The thread cannot panic and be joined: a panic aborts.
            Ok(thread) => thread.join().unwrap_or(1),
            Err(_) => run(),
        }
    })
}

fn open(library: &Path) -> Result<LibJvm, Refusal> {
    let path = library.as_os_str().as_bytes();
    let failed = |why: &[u8]| Refusal::new(6, [b"Error: failed ", path, b", because ", why].concat());
    let c_path = CString::new(path).map_err(|_| failed(b"its name has a NUL"))?;
    LibJvm::open(&c_path).map_err(|why| failed(&why))
}

/// Adds `-Xms` and `-Xmx` where the user's options leave the heap open.
fn add_heap_bounds(line: &mut CommandLine) -> Result<(), Refusal> {
    match variable(POLICY_VARIABLE).as_deref() {
        None | Some(b"on") => {}
        Some(b"off") => return Ok(()),
        Some(_) => return Err(Refusal::new(1, format!("Error: {POLICY_VARIABLE} must be on or off."))),
    }
    // With no size known, HotSpot's own choice is better than a guess.
    let Some(memory_bytes) = machine_memory::total_bytes() else { return Ok(()) };
    let variables: Vec<_> = heap_options::VARIABLES.into_iter().filter_map(variable).collect();
    let decided = heap_options::decided(&line.vm_options, &variables);
    let bounds = heap_policy::choose(memory_bytes, decided);
    // First of all options, so that nothing the user says can be overridden by it.
    line.vm_options.splice(0..0, bounds.vm_options().map(String::into_bytes));
    for (shown, chosen) in
        [(&mut line.max_heap_bytes, bounds.max_bytes), (&mut line.initial_heap_bytes, bounds.initial_bytes)]
    {
        *shown = chosen.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(*shown);
    }
    Ok(())
}

fn variable(name: &str) -> Option<PlatformString> {
    env::var_os(name).map(OsStringExt::into_vec)
}
