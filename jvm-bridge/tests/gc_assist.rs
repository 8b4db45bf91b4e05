//! Collector assistance on Linux: everything but the page tables. HotSpot verifies heap and cards itself.
//!
//! Without a JDK, or with one whose `libjvm.so` is not a known build, the tests pass and say that they did nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

mod jdk;

const VERIFY: [&str; 6] = [
    "-Xmx64m",
    "-Xmn6m",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+VerifyBeforeGC",
    "-XX:+VerifyAfterGC",
    "-XX:+VerifyRememberedSets",
];
/// One thread, two rounds: a second of work here.
const ARGUMENTS: [&str; 4] = ["Mutator", "1", "2", "25000"];

struct Bench {
    java_home: PathBuf,
    classes: PathBuf,
}

impl Bench {
    fn get() -> Option<&'static Self> {
        static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
        let bench = BENCH.get_or_init(|| {
            let bench = Self::build(jdk::find()?);
            // Under a collector that is not assisted nothing but the library is looked at.
            let probe = bench.run("every-page", "G1", &[], &["-version"]);
            let is_known = !String::from_utf8_lossy(&probe.stderr).contains("is not known");
            is_known.then_some(bench)
        });
        if bench.is_none() {
            eprintln!("skipped: no JDK here, or its libjvm.so is not a build that is known");
        }
        bench.as_ref()
    }

    fn build(java_home: PathBuf) -> Self {
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gc_assist");
        let _ = fs::remove_dir_all(&classes);
        fs::create_dir_all(&classes).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/java/gc-assist/Mutator.java");
        let javac = Command::new(java_home.join("bin/javac"))
            .args(["--release", "17", "-nowarn", "-d"])
            .arg(&classes)
            .arg(source)
            .output()
            .unwrap();
        // `--release` hides `sun.misc` from some compilers' warnings, not from the program.
        assert!(javac.status.success(), "{}", String::from_utf8_lossy(&javac.stderr));
        Self { java_home, classes }
    }

    fn run(&self, mode: &str, collector: &str, options: &[&str], arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_jvm-bridge"))
            .env("JAVA_HOME", &self.java_home)
            .env("CREMA_GC_ASSIST", mode)
            .env_remove("JAVA_TOOL_OPTIONS")
            .env_remove("_JAVA_OPTIONS")
            .env_remove("JDK_JAVA_OPTIONS")
            .current_dir(&self.classes)
            .arg(format!("-XX:+Use{collector}GC"))
            .args(["-XX:-CreateCoredumpOnCrash", "-XX:ErrorFile=/dev/null", "-cp", "."])
            .args(options)
            .args(arguments)
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn gc_assist_with_every_page_fed_the_heap_is_whole() {
    let Some(bench) = Bench::get() else { return };
    for collector in ["Serial", "Parallel"] {
        let output = bench.run("every-page", collector, &VERIFY, &ARGUMENTS);
        assert!(output.status.success() && text(&output).contains("all well"), "{}", text(&output));
    }
}

/// The test of the test: it sees a lost card.
#[test]
fn gc_assist_without_feeding_the_verification_fails() {
    let Some(bench) = Bench::get() else { return };
    for collector in ["Serial", "Parallel"] {
        let output = bench.run("unfed", collector, &VERIFY, &ARGUMENTS);
        assert!(!output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("guarantee("), "{}", text(&output));
    }
}

#[test]
fn gc_assist_leaves_other_collectors_alone() {
    let Some(bench) = Bench::get() else { return };
    // With nobody feeding anything, it would be seen.
    let output = bench.run("unfed", "G1", &VERIFY, &ARGUMENTS);
    assert!(output.status.success() && text(&output).contains("all well"), "{}", text(&output));
}

#[test]
fn gc_assist_is_refused_or_done_without_in_words() {
    let Some(bench) = Bench::get() else { return };
    if !Path::new("/dev/crema").exists() {
        let output = bench.run("dirty", "Serial", &[], &["-version"]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("Warning: no collector assistance: /dev/crema"), "{}", text(&output));
    }
    let output = bench.run("perhaps", "Serial", &[], &["-version"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("must be off, dirty or trap"), "{}", text(&output));
}
