//! Runs the bridge and the `java` command side by side: standard output, standard error and exit
//! status must be equal. Linux's `java` is the oracle; no expectation is written here.
//!
//! Without a JDK (found by `JAVA_HOME`, else by `java` in `PATH`) the tests pass and say that they
//! did nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

mod jdk;

/// A JDK, and a folder with programs to run.
struct Bench {
    java_home: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// The one bench of this process, or `None` without a JDK.
    fn get() -> Option<&'static Self> {
        static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
        let bench = BENCH.get_or_init(|| Some(Self::build(jdk::find()?))).as_ref();
        if bench.is_none() {
            eprintln!("skipped: no JDK here (JAVA_HOME, or java in PATH, with javac beside it)");
        }
        bench
    }

    fn build(java_home: PathBuf) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("against_java");
        let _ = fs::remove_dir_all(&folder);
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/against_java");
        for directory in ["classes", "mods/app", "lib", "one", "two"] {
            fs::create_dir_all(folder.join(directory)).unwrap();
        }
        let bench = Self { java_home, folder };
        let source = |name: &str| sources.join(name).into_os_string();
        bench.tool("javac", &["-d".into(), "classes".into(), source("Main.java"), source("Agent.java")]);
        let module =
            ["-d".into(), "mods/app".into(), source("app/module-info.java"), source("app/pkg/Start.java")];
        bench.tool("javac", &module);
        for file in ["Main.java", "Single.java"] {
            fs::copy(sources.join(file), bench.folder.join(file)).unwrap();
        }
        for (jar, manifest) in [
            ("good", "Main-Class: Main\nImplementation-Title: grün\n"),
            (
                "opens",
                "Main-Class: Main\nAdd-Opens: java.base/java.lang\nAdd-Exports: java.base/sun.nio.ch\n",
            ),
            ("launcheragent", "Main-Class: Main\nLauncher-Agent-Class: Agent\n"),
            ("agent", "Premain-Class: Agent\n"),
            ("nomain", "Created-By: nobody\n"),
            ("badmain", "Main-Class: no.such.Class\n"),
            ("slashes", "Main-Class: pkg/Main\n"),
        ] {
            fs::write(bench.folder.join("manifest"), manifest).unwrap();
            let words = ["cfm", &format!("{jar}.jar"), "manifest", "-C", "classes", "."].map(Into::into);
            bench.tool("jar", &words);
        }
        fs::write(bench.folder.join("manifest"), "Main-Class: Main\nClass-Path: lib/main.jar other.jar\n")
            .unwrap();
        bench.tool("jar", &["cfm", "classpath.jar", "manifest", "manifest"].map(Into::into));
        bench.tool("jar", &["cf", "lib/main.jar", "-C", "classes", "."].map(Into::into));
        bench.tool("jar", &["cfM", "nomanifest.jar", "-C", "classes", "."].map(Into::into));
        bench.file("junk.jar", "this is no zip file");
        bench.file("empty.jar", "");
        bench.file("one/options", "-Dtest.file='one two' # comment\n-cp \"cla\\\nsses\"\n");
        bench.file("one/all", "@one/options\n");
        bench.file("one/whole", "-cp classes Main 'from a file' @one/options");
        bench.file("one/vmoptions", "-Dtest.vm=options\n-Xmx40m\n");
        bench.file("one/flags", "+PrintCommandLineFlags\nMaxHeapSize=41943040\n");
        bench.file("two/not-a-class.java", "this is not Java\n");
        bench.file("two/Broken.java", "public class Broken { int x = ; }\n");
        bench
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.folder.join(name), content).unwrap();
    }

    fn tool(&self, name: &str, words: &[std::ffi::OsString]) {
        let output = Command::new(self.java_home.join("bin").join(name))
            .args(words)
            .current_dir(&self.folder)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, program: &OsStr, words: &[&OsStr], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.folder).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("JAVA_HOME", &self.java_home);
        command.env("CREMA_HEAP_POLICY", "off").envs(environment.iter().copied());
        command
    }

    fn run(&self, program: &OsStr, words: &[&OsStr], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command(program, words, environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that does not read it closes the pipe; that is its right.
        let _ = child.stdin.take().unwrap().write_all(b"first line\nlast line, with no end");
        child.wait_with_output().unwrap()
    }

    /// Runs both and compares.
    fn compare(&self, words: &[&OsStr], environment: &[(&str, &str)]) {
        let java = self.run(self.java_home.join("bin/java").as_os_str(), words, environment);
        let bridge = self.run(OsStr::new(env!("CARGO_BIN_EXE_jvm-bridge")), words, environment);
        let show = |o: &Output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}\n--- stdout\n{}--- stderr\n{}", o.status, text(&o.stdout), text(&o.stderr))
        };
        assert!(
            java == bridge,
            "{words:?} {environment:?}\njava: {}\nbridge: {}",
            show(&java),
            show(&bridge)
        );
    }

    fn compare_all(&self, cases: &[&[&str]]) {
        for words in cases {
            self.compare(&words.iter().map(OsStr::new).collect::<Vec<_>>(), &[]);
        }
    }
}

#[test]
fn classes_and_their_arguments() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["-cp", "classes", "Main", "one", "two words", "", "*", "@one/options", "grün €"],
        &["-classpath", "classes:none", "Main"],
        &["--class-path", "classes", "Main"],
        &["--class-path=classes", "Main"],
        &["-cp", "", "Main"],
        &["-cp", "lib/*", "Main"],
        &["-cp", "lib/*:classes", "Main"],
        &["-cp", "none/*", "Main"],
        &["-Djava.class.path=classes", "Main"],
        &["Main"],
        &["-cp", "classes", "Main.class"],
        &["-cp", "classes", "no.such.Class"],
        &["-cp", "classes", "Main$NoMain"],
        &["-cp", "classes", "Agent"],
        &["-cp", "classes", "-Dtest.a=b c", "-Dtest.e", "-ea", "-esa", "Main", "properties"],
    ]);
    let bytes = OsStr::from_bytes(b"not utf-8: \xff\xfe");
    bench.compare(&[OsStr::new("-cp"), OsStr::new("classes"), OsStr::new("Main"), bytes], &[]);
    bench.compare(
        &[OsStr::new("-cp"), OsStr::new("classes"), OsStr::new("Main"), OsStr::new("ü")],
        &[("LANG", "C")],
    );
}

#[test]
fn ends_of_all_kinds() {
    let Some(bench) = Bench::get() else { return };
    for end in
        ["throw", "exit", "exit-in-hook", "halt", "threads", "daemon", "handler", "init", "stdin", "closed"]
    {
        bench.compare_all(&[&["-cp", "classes", "Main", "end", end]]);
    }
}

#[test]
fn jars() {
    let Some(bench) = Bench::get() else { return };
    for jar in [
        "good",
        "opens",
        "launcheragent",
        "nomain",
        "badmain",
        "slashes",
        "classpath",
        "nomanifest",
        "junk",
        "empty",
        "missing",
    ] {
        bench.compare_all(&[&["-jar", &format!("{jar}.jar"), "arg"]]);
    }
    bench.compare_all(&[
        &["-jar"],
        &["-jar", "-ea"],
        &["-jar", "-version", "missing.jar"],
        &["-cp", "none", "-jar", "good.jar"],
        &["-jar", "good.jar", "end", "throw"],
        &["-javaagent:agent.jar=options", "-cp", "classes", "Main"],
        &["-javaagent:missing.jar", "-cp", "classes", "Main"],
        &["-splash:none.png", "-cp", "classes", "Main"],
    ]);
}

#[test]
fn modules() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["-p", "mods", "-m", "app/pkg.Start", "x", "y"],
        &["--module-path", "mods", "--module", "app/pkg.Start"],
        &["--module-path=mods", "--module=app/pkg.Start", "x"],
        &["-p", "mods", "-m", "app"],
        &["-p", "mods", "-m", "app/no.Such"],
        &["-p", "mods", "-m", "nosuch/pkg.Start"],
        &["-m", "jdk.compiler/com.sun.tools.javac.Main", "-version"],
        &["--add-modules", "app", "-p", "mods", "-cp", "classes", "Main", "modules"],
        &["--add-modules=java.sql", "--limit-modules=java.sql", "-cp", "classes", "Main", "modules"],
        &["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp", "classes", "Main", "open"],
        &["--add-opens=java.base/java.lang=ALL-UNNAMED", "-cp", "classes", "Main", "open"],
        &["-cp", "classes", "Main", "open"],
        &[
            "--add-exports",
            "java.base/sun.nio.ch=ALL-UNNAMED",
            "--add-reads",
            "java.base=ALL-UNNAMED",
            "-cp",
            "classes",
            "Main",
        ],
        &["--patch-module", "java.base=none", "-cp", "classes", "Main"],
        &["--enable-native-access=ALL-UNNAMED", "-cp", "classes", "Main"],
        &["--list-modules"],
        &["-p", "mods", "--list-modules"],
        &["--describe-module", "java.logging"],
        &["-d", "nosuch"],
        &["-p", "mods", "--describe-module=app"],
        &["--validate-modules"],
        &[
            "--limit-modules",
            "java.base",
            "-p",
            "mods",
            "--show-module-resolution",
            "--dry-run",
            "-m",
            "app/pkg.Start",
        ],
        &["--show-resolved-modules", "--limit-modules", "java.base", "-cp", "classes", "Main"],
    ]);
}

#[test]
fn versions_and_help() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &[],
        &["-version"],
        &["--version"],
        &["-showversion", "-cp", "classes", "Main"],
        &["--show-version", "-cp", "classes", "Main"],
        &["-showversion", "-version"],
        &["-fullversion"],
        &["--full-version"],
        &["-help"],
        &["-h"],
        &["-?"],
        &["--help"],
        &["-X"],
        &["--help-extra"],
        &["-XshowSettings:properties", "-Xmx64m", "-Xss2m", "-version"],
        &["-XshowSettings:vm", "-Xmx64m", "-Xms16m", "-Xss2m", "-version"],
        &["-XshowSettings:locale", "-cp", "classes", "Main"],
        &["--dry-run", "-cp", "classes", "Main"],
        &["--dry-run", "-cp", "classes", "no.Such"],
    ]);
}

#[test]
fn mistakes() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["-cp"],
        &["-cp", "-version"],
        &["-p"],
        &["-m"],
        &["--module="],
        &["--module-path="],
        &["--add-opens="],
        &["--add-exports"],
        &["--source"],
        &["--source", "17", "-jar", "good.jar"],
        &["--describe-module"],
        &["--class-path="],
        &["--no-such-option"],
        &["--no-such-option=x", "Main"],
        &["-nosuch"],
        &["-XX:+NoSuchFlag", "-version"],
        &["-XX:MaxHeapSize=x", "-version"],
        &["-Xmx1", "-version"],
        &["-Xss1k", "-version"],
        &["-Xss1x", "-version"],
        &["-version:1.8", "-version"],
        &["-jre-restrict-search", "-version"],
        &["-XXaltjvm=nosuch", "-version"],
        &["-zero", "-version"],
        &["-client", "-version"],
        &["-server", "-version"],
        &["--disable-@files", "-cp", "classes", "Main", "@one/options"],
        &["-checksource", "-cs", "-noasyncgc", "-cp", "classes", "Main"],
        &["-Xfuture", "-cp", "classes", "Main"],
        &["-noverify", "-cp", "classes", "Main"],
        &["-Xms64m", "-Xmx32m", "-version"],
        &["-agentlib:nosuch", "-version"],
        &["-agentpath:/no/such.so", "-version"],
    ]);
}

#[test]
fn virtual_machine_options() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["-Xlog:disable", "-Xlog:startuptime:off", "-cp", "classes", "Main"],
        &["-Xlog:help"],
        &["-XX:+UseSerialGC", "-XX:+PrintCommandLineFlags", "-cp", "classes", "Main"],
        &["-mx64m", "-ms8m", "-ss1m", "-XX:+UseSerialGC", "-XX:+PrintCommandLineFlags", "-version"],
        &["-Xss4m", "-cp", "classes", "Main", "depth"],
        &["-Xint", "-Xss300k", "-cp", "classes", "Main"],
        &["-XX:Flags=one/flags", "-version"],
        &["-XX:VMOptionsFile=one/vmoptions", "-cp", "classes", "Main", "properties"],
        &["-XX:VMOptionsFile=missing", "-version"],
        &["-XX:NativeMemoryTracking=summary", "-cp", "classes", "Main"],
        &["-Xcheck:jni", "-cp", "classes", "Main", "x"],
        &["-Xrs", "-cp", "classes", "Main"],
        &["-Xshare:off", "-cp", "classes", "Main"],
        &["-Xdiag", "-cp", "classes", "no.Such"],
        &["-agentlib:jdwp=help"],
        &["-Xverify:all", "-cp", "classes", "Main"],
    ]);
}

#[test]
fn argument_files_and_environment() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["@one/options", "Main", "properties"],
        &["@one/whole", "then"],
        &["@one/all", "Main"],
        &["@missing", "Main"],
        &["@one/options", "@@one/options"],
        &["-cp", "classes", "@", "x"],
    ]);
    let main = ["-cp", "classes", "Main", "properties"].map(OsStr::new);
    for environment in [
        &[("JDK_JAVA_OPTIONS", "-Dtest.env='one two' \"-Dtest.q=x\"y")][..],
        &[("JDK_JAVA_OPTIONS", "@one/options -Dtest.env=1")],
        &[("JDK_JAVA_OPTIONS", "-Dtest.env='open")],
        &[("JDK_JAVA_OPTIONS", "Main")],
        &[("JDK_JAVA_OPTIONS", "-jar good.jar")],
        &[("JDK_JAVA_OPTIONS", "-version")],
        &[("JDK_JAVA_OPTIONS", "@one/whole")],
        &[("JDK_JAVA_OPTIONS", "  ")],
        &[("JAVA_TOOL_OPTIONS", "-Dtest.tool='a b' -Xmx48m")],
        &[("JAVA_TOOL_OPTIONS", "-XX:NoSuch")],
        &[("_JAVA_OPTIONS", "-Dtest.last=1")],
        &[
            ("JDK_JAVA_OPTIONS", "-Dtest.x=1"),
            ("JAVA_TOOL_OPTIONS", "-Dtest.x=2"),
            ("_JAVA_OPTIONS", "-Dtest.x=3"),
        ],
        &[("JDK_ALTERNATE_VM", "nosuch")],
        &[("CLASSPATH", "none")],
    ] {
        bench.compare(&main, environment);
    }
    bench.compare(&[OsStr::new("Main")], &[("CLASSPATH", "classes")]);
    bench.compare(&[OsStr::new("Main")], &[("CLASSPATH", "lib/*")]);
}

#[test]
fn source_files() {
    let Some(bench) = Bench::get() else { return };
    bench.compare_all(&[
        &["Single.java", "one", "two"],
        &["-cp", "classes", "Single.java", "one"],
        &["--source", "17", "Single.java", "x"],
        &["--source=17", "Single.java"],
        &["--source 17 -Dtest.a=b", "Single.java"],
        &["--source", "17"],
        &["two/Broken.java"],
        &["--source", "99", "Single.java"],
        &["missing.java"],
    ]);
}

/// Sends the signal when the program says that it is ready.
fn status_after_signal(bench: &Bench, program: &OsStr, signal: i32) -> (Option<i32>, Option<i32>, String) {
    use std::io::{BufRead, BufReader, Read};
    let words = ["-cp", "classes", "Main", "end", "wait"].map(OsStr::new);
    let mut child = bench.command(program, &words, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // The shell's own: a small Debian has no program of that name.
    let words = ["-c", "kill -$0 $1", &signal.to_string(), &child.id().to_string()];
    let kill = Command::new("sh").args(words).status().unwrap();
    assert!(kill.success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    (status.code(), status.signal(), rest)
}

#[test]
fn signals_end_it_in_order() {
    let Some(bench) = Bench::get() else { return };
    let java = bench.java_home.join("bin/java");
    for signal in [15, 2, 1, 9] {
        let expected = status_after_signal(bench, java.as_os_str(), signal);
        let actual = status_after_signal(bench, OsStr::new(env!("CARGO_BIN_EXE_jvm-bridge")), signal);
        assert_eq!(expected, actual, "signal {signal}");
    }
}

#[test]
fn a_crash_of_the_vm_is_reported_as_with_java() {
    let Some(bench) = Bench::get() else { return };
    let words =
        ["-XX:-CreateCoredumpOnCrash", "-XX:ErrorFile=crash.log", "-cp", "classes", "Main", "end", "crash"];
    let words = words.map(OsStr::new);
    for program in
        [bench.java_home.join("bin/java").as_os_str(), OsStr::new(env!("CARGO_BIN_EXE_jvm-bridge"))]
    {
        let _ = fs::remove_file(bench.folder.join("crash.log"));
        let output = bench.run(program, &words, &[]);
        // Without a core to write HotSpot exits with 1 rather than abort.
        assert_eq!(output.status.code(), Some(1), "{program:?}");
        let report = fs::read_to_string(bench.folder.join("crash.log")).unwrap();
        assert!(report.contains("SIGSEGV") && report.contains("Main.main"), "{program:?}");
    }
}

#[test]
fn the_heap_bounds_are_the_policys_unless_the_user_has_some() {
    let Some(bench) = Bench::get() else { return };
    let max_heap = |words: &[&str], environment: &[(&str, &str)]| -> u64 {
        let words: Vec<_> =
            words.iter().chain(&["-XX:+PrintFlagsFinal", "-version"]).map(OsStr::new).collect();
        let output = bench.run(OsStr::new(env!("CARGO_BIN_EXE_jvm-bridge")), &words, environment);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains(" MaxHeapSize ")).expect("the flag is printed");
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    let total_kib: u64 = fs::read_to_string("/proc/meminfo")
        .unwrap()
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap();
    let (on, off) = (&[("CREMA_HEAP_POLICY", "on")][..], &[("CREMA_HEAP_POLICY", "off")][..]);
    assert!(max_heap(&[], off) <= total_kib * 1024 / 2);
    assert!(max_heap(&[], on) > max_heap(&[], off));
    assert_eq!(max_heap(&["-Xmx40m"], on), 40 << 20);
    assert_eq!(max_heap(&["@one/options", "-XX:MaxHeapSize=40m"], on), 40 << 20);
    assert_eq!(max_heap(&["-XX:VMOptionsFile=one/vmoptions"], on), 40 << 20);
    assert_eq!(max_heap(&["-XX:Flags=one/flags"], on), 40 << 20);
    for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"] {
        assert_eq!(max_heap(&[], &[("CREMA_HEAP_POLICY", "on"), (variable, "-Xmx40m")]), 40 << 20);
    }
    let output = bench.run(
        OsStr::new(env!("CARGO_BIN_EXE_jvm-bridge")),
        &[OsStr::new("-version")],
        &[("CREMA_HEAP_POLICY", "maybe")],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"Error: CREMA_HEAP_POLICY must be on or off.\n");
}
