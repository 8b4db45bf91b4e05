//! The suite of Java programs: each runs with the host's `java` on Linux and with the JVM bridge in the
//! guest, and must say the same.
//!
//! All folders below `tests/java` go into one image, each as `/app/FOLDER`, which is the working directory of
//! its runs. `LINUX` is held while a program runs on Linux: the programs share folders there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use run_config::RunConfig;
use sha2::{Digest, Sha256};

use super::{
    Context, Outcome, Suite, Tally, Test, artefact,
    guest::{self, GuestRun, SignalAfter},
    java_spec::{self, Artefact, HeapPolicy, Run, SignalKeys, Stream},
    known_failures::KnownFailures,
    linux::{self, LinuxOutput, LinuxRun},
};
use crate::{
    application,
    failure::{Failure, Result},
    image::{cache::CachedImage, ext4, jre::JAVA_HOME},
    machine::choice::Payload,
    project::Progress,
};

/// Folder in which programs work that need a disk; removed before each run on Linux, as the guest's is fresh.
const WORK_FOLDER: &str = "/var/tmp/crema-test";

static LINUX: Mutex<()> = Mutex::new(());

pub struct JavaSuite;

/// One test: a run with one collector and one number of CPUs.
struct Variant {
    /// Name of the folder below `tests/java`.
    folder: String,
    run: Run,
    collector: Option<String>,
    cpus: u32,
}

impl Variant {
    /// The name under which it can be a known failure.
    fn program(&self) -> String {
        format!("{}/{}", self.folder, self.run.name)
    }

    /// What tells it from the other tests of the same run.
    fn suffix(&self) -> String {
        let collector = self.collector.as_ref().map_or(String::new(), |collector| format!("{collector} "));
        format!("{collector}cpus={}", self.cpus)
    }

    fn name(&self) -> String {
        format!("{} {}", self.program(), self.suffix())
    }

    /// The words after `java`, or after the bridge.
    fn words(&self) -> Vec<String> {
        let collector = self.collector.iter().map(|collector| format!("-XX:+Use{collector}GC"));
        let Run { java_options, launch, args, .. } = &self.run;
        java_options.iter().cloned().chain(collector).chain(launch.iter().chain(args).cloned()).collect()
    }

    /// The same on both sides.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = application::ENVIRONMENT
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        env.insert("JAVA_HOME".into(), JAVA_HOME.into());
        if self.run.heap_policy == HeapPolicy::Off {
            env.insert("CREMA_HEAP_POLICY".into(), "off".into());
        }
        env.extend(self.run.env.clone());
        env
    }

    fn signals(&self) -> Vec<SignalAfter> {
        let signal = |keys: &SignalKeys| SignalAfter { line_start: keys.after.clone(), number: keys.number };
        self.run.signals.iter().map(signal).collect()
    }
}

fn suite_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/java")
}

/// All tests that the options allow.
fn variants(context: &Context) -> Result<Vec<Variant>> {
    let folder = suite_folder(context);
    let mut variants = Vec::new();
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(variants) };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("test.toml")))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).map_err(Failure::io("read", &file))?;
        let runs =
            java_spec::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        let name = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        for run in runs.into_iter().filter(|run| !run.long || context.options.long) {
            for collector in run.collectors.clone() {
                for cpus in run.cpus.iter().copied().filter(|cpus| context.options.cpus.contains(cpus)) {
                    variants.push(Variant {
                        folder: name.clone(),
                        run: run.clone(),
                        collector: collector.clone(),
                        cpus,
                    });
                }
            }
        }
    }
    Ok(variants)
}

impl Suite for JavaSuite {
    fn name(&self) -> &'static str {
        "java"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        Ok(variants(context)?.iter().map(Variant::name).collect())
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let variants: Vec<Variant> =
            variants(context)?.into_iter().filter(|variant| names.contains(&variant.name())).collect();
        let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
        for variant in &variants {
            let artefacts = variants
                .iter()
                .filter(|other| other.folder == variant.folder)
                .flat_map(|other| &other.run.artefacts);
            if !folders.contains_key(&variant.folder) {
                folders.insert(variant.folder.clone(), lay_out(&variant.folder, artefacts, context)?);
            }
        }
        let mut recipe = application::jvm_recipe(&context.project)?;
        for (name, folder) in &folders {
            recipe.tree(format!("/app/{name}"), folder, &|_| true)?;
        }
        let shared = Arc::new(Shared {
            image: CachedImage::of(&recipe, &context.project)?,
            kernel: context.project.kernel(context.options.kernel.as_deref())?,
            known: KnownFailures::read(&suite_folder(context).join("known_failures.txt"))?,
            folders,
        });
        // What Linux says does not depend on the guest's number of CPUs.
        let mut answers: BTreeMap<_, Arc<Answer>> = BTreeMap::new();
        let mut tests = Vec::new();
        for variant in variants {
            let answer = answers.entry((variant.program(), variant.collector.clone())).or_default().clone();
            let shared = shared.clone();
            let name = variant.name();
            let run = move || match answer.get_or_init(|| shared.on_linux(&variant)) {
                Ok(linux) => shared
                    .test(&variant, linux, context)
                    .unwrap_or_else(|failure| Outcome::failure(failure.to_string())),
                Err(failure) => Outcome::failure(failure.to_string()),
            };
            tests.push(Test { name, run: Box::new(run) });
        }
        Ok(tests)
    }

    fn uses_whole_host(&self) -> bool {
        false
    }
}

/// What Linux says, once it has been asked.
type Answer = OnceLock<Result<LinuxOutput>>;

/// What all tests share.
struct Shared {
    image: CachedImage,
    kernel: PathBuf,
    known: KnownFailures,
    /// The laid-out folders on the host by name.
    folders: BTreeMap<String, PathBuf>,
}

impl Shared {
    fn on_linux(&self, variant: &Variant) -> Result<LinuxOutput> {
        let _alone = LINUX.lock().unwrap_or_else(PoisonError::into_inner);
        // Not there, most of the time.
        let _ = fs::remove_dir_all(WORK_FOLDER);
        let mut command = vec![format!("{JAVA_HOME}/bin/java")];
        command.extend(variant.run.linux_options.iter().cloned().chain(variant.words()));
        let output = linux::run(&LinuxRun {
            command: &command,
            env: &variant.env().into_iter().collect::<Vec<_>>(),
            folder: &self.folders[&variant.folder],
            stdin: &variant.run.stdin,
            signals: &variant.signals(),
            limit: variant.run.time_limit,
        })?;
        if output.status == variant.run.status {
            return Ok(output);
        }
        Err(Failure::new(format!(
            "on Linux: exit status {}, but test.toml says {}\n{}",
            output.status,
            variant.run.status,
            String::from_utf8_lossy(&output.stderr)
        )))
    }

    fn test(&self, variant: &Variant, linux: &LinuxOutput, context: &Context) -> Result<Outcome> {
        let run = &variant.run;
        if run.disk.0 << 20 > ext4::FREE_BYTES {
            return Err(Failure::new(format!("an image has no {} MiB of free space", run.disk.0)));
        }
        let mut args = vec![application::JVM_BRIDGE.to_string()];
        args.extend(variant.words());
        let config = RunConfig {
            args,
            env: variant.env().iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: format!("/app/{}", variant.folder),
            ..RunConfig::default()
        };
        let output = guest::run(
            GuestRun {
                disk: None,
                image: self.image.path(),
                kernel: &self.kernel,
                config,
                payload: Payload::Jvm,
                memory: run.memory,
                cpus: variant.cpus,
                stdin: run.stdin.clone(),
                signals: variant.signals(),
                limit: run.time_limit,
            },
            context,
        )?;
        let expected_stdout = match &run.guest_stdout {
            None => linux.stdout.clone(),
            Some(name) => {
                let path = suite_folder(context).join(&variant.folder).join(name);
                fs::read(&path).map_err(Failure::io("read", &path))?
            }
        };
        let mut problems: Vec<String> = output.complaint().into_iter().collect();
        if let Some(status) = output.report.end.status().filter(|status| *status != linux.status) {
            problems.push(format!("exit status {status}, on Linux {}", linux.status));
        }
        for (stream, what, expected, got) in [
            (Stream::Stdout, "standard output", &expected_stdout, &output.stdout),
            (Stream::Stderr, "standard error", &linux.stderr, &output.stderr),
        ] {
            if run.compare.contains(&stream) {
                problems.extend(difference(what, expected, got));
            }
            for text in run.contains.get(&stream).into_iter().flatten() {
                problems.extend(lacks(&format!("{what} on Linux"), expected, text));
                problems.extend(lacks(&format!("{what} in the guest"), got, text));
            }
        }
        if !problems.is_empty() {
            problems.extend(output.report.files.iter().map(|file| format!("it left {}", file.display())));
        }
        let reason = self.known.reason(&variant.program(), &variant.suffix());
        Ok(judge(problems, reason.or_else(|| self.known.reason(&variant.program(), "*"))))
    }
}

/// One test is one check.
fn judge(problems: Vec<String>, known: Option<&str>) -> Outcome {
    let one = |passed, failed, skipped| Tally { passed, failed, skipped };
    match (problems.is_empty(), known) {
        (true, None) => Outcome { tally: one(1, 0, 0), notes: vec![] },
        (true, Some(_)) => Outcome {
            tally: one(1, 0, 0),
            notes: vec!["passes again, and is listed as a known failure".into()],
        },
        (false, Some(reason)) => {
            Outcome { tally: one(0, 0, 1), notes: vec![format!("known failure: {reason}")] }
        }
        (false, None) => Outcome { tally: one(0, 1, 0), notes: problems },
    }
}

/// Says so if a text is not in an output.
fn lacks(what: &str, output: &[u8], text: &str) -> Option<String> {
    (!String::from_utf8_lossy(output).contains(text)).then(|| format!("{what} does not have {text:?}"))
}

/// Where two outputs differ first.
fn difference(what: &str, expected: &[u8], got: &[u8]) -> Option<String> {
    /// Longer lines are cut when shown.
    const SHOWN_CHARS: usize = 300;
    if expected == got {
        return None;
    }
    let (expected, got) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(got));
    let (mut expected_lines, mut got_lines) = (expected.split('\n'), got.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        let pair = (expected_lines.next(), got_lines.next());
        if pair.0 != pair.1 || pair == (None, None) {
            let shown = |line: Option<&str>| {
                line.map_or("nothing".into(), |line| line.chars().take(SHOWN_CHARS).collect())
            };
            let (linux, guest): (String, String) = (shown(pair.0), shown(pair.1));
            return Some(format!("{what}, line {number}\nLinux: {linux}\nguest: {guest}"));
        }
    }
}

/// Makes the folder that a test's programs run in: their classes and artefacts. It is made again only when
/// one of them changes, so that the image need not be.
fn lay_out<'a>(
    name: &str,
    artefacts: impl Iterator<Item = &'a Artefact>,
    context: &Context,
) -> Result<PathBuf> {
    let source_folder = suite_folder(context).join(name);
    let mut sources: Vec<PathBuf> = fs::read_dir(&source_folder)
        .map_err(Failure::io("read", &source_folder))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "java"))
        .collect();
    sources.sort();
    let mut artefacts: Vec<&Artefact> = artefacts.collect();
    artefacts.sort_by_key(|artefact| &artefact.name);
    artefacts.dedup();

    let mut hash = Sha256::new();
    for source in &sources {
        let bytes = fs::read(source).map_err(Failure::io("read", source))?;
        hash.update(source.as_os_str().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    artefacts.iter().for_each(|artefact| hash.update(format!("{} {}", artefact.name, artefact.sha256)));
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();

    let parent = context.project.cache("java")?;
    let folder = parent.join(format!("{name}-{digest}"));
    let finished = parent.join(format!("{name}-{digest}.finished"));
    if finished.exists() {
        return Ok(folder);
    }
    // Half a folder, of a run that was interrupted.
    let _ = fs::remove_dir_all(&folder);
    let classes = folder.join("classes");
    fs::create_dir_all(&classes).map_err(Failure::io("make", &classes))?;
    if !sources.is_empty() {
        compile(&format!("java/{name}"), &sources, &classes)?;
    }
    for artefact in artefacts {
        let (from, to) = (artefact::fetch(artefact, &context.project)?, folder.join(&artefact.name));
        fs::copy(&from, &to).map_err(Failure::io("copy", &from))?;
    }
    fs::write(&finished, "").map_err(Failure::io("make", &finished))?;
    Ok(folder)
}

/// Compiles the sources of a folder below `tests`.
pub fn compile(name: &str, sources: &[PathBuf], classes: &Path) -> Result<()> {
    compile_with(name, sources, classes, "")
}

/// The same, with libraries on the class path.
pub fn compile_with(name: &str, sources: &[PathBuf], classes: &Path, class_path: &str) -> Result<()> {
    let progress = Progress::start(format!("compiling tests/{name}"));
    let output = Command::new(format!("{JAVA_HOME}/bin/javac"))
        .args(["--release", "17", "-nowarn", "-classpath", class_path, "-d"])
        .arg(classes)
        .args(sources)
        .output()
        .map_err(|error| {
            Failure::new(format!("cannot start javac ({error}): apt install openjdk-17-jdk-headless"))
        })?;
    progress.finish();
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("tests/{name} does not compile:\n{}", complaint.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(difference("x", b"a\nb\n", b"a\nb\n"), None);
        let shown = difference("standard output", b"a\nb\n", b"a\nc\n").unwrap();
        assert_eq!(shown, "standard output, line 2\nLinux: b\nguest: c");
        assert!(difference("x", b"a", b"a\nb").unwrap().ends_with("Linux: nothing\nguest: b"));
        // Bytes that look alike as text are still different.
        assert!(difference("x", b"\xff", b"\xfe").is_some());
    }

    #[test]
    fn a_test_is_one_check() {
        assert_eq!(judge(vec![], None).tally, Tally { passed: 1, ..Tally::default() });
        assert_eq!(judge(vec!["x".into()], None).tally, Tally { failed: 1, ..Tally::default() });
        assert_eq!(judge(vec!["x".into()], Some("y")).tally, Tally { skipped: 1, ..Tally::default() });
        assert_eq!(judge(vec![], Some("y")).tally, Tally { passed: 1, ..Tally::default() });
    }
}
