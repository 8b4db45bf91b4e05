//! The suites of C programs: each runs on Linux and in the guest, and must print the same.
//!
//! All programs of a suite are in one image; a run's configuration says which one boots, for a guest has one
//! process only. What Linux answers is found out once for all numbers of CPUs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use run_config::RunConfig;

use super::{
    Context, Outcome, Suite, Test,
    check_lines::{Printed, compare},
    guest::{self, GuestRun},
    known_failures::KnownFailures,
    linux::{self, LinuxRun},
    scratch_disk::{self, Blocks, ScratchDisk},
};
use crate::{
    application,
    failure::{Failure, Result},
    image::{
        cache::CachedImage,
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    machine::choice::Payload,
    options::MemoryMib,
    scratch::ScratchFolder,
};

/// Programs below `tests/NAME/FAMILY/`, which `tests/NAME/Makefile` builds into `OUT/FAMILY/`.
pub struct CSuite {
    name: &'static str,
    /// For one program in the guest, under emulation on a busy host.
    limit: Duration,
}

pub const ABI: CSuite = CSuite { name: "abi", limit: Duration::from_secs(120) };
pub const STRESS: CSuite = CSuite { name: "stress", limit: Duration::from_secs(300) };

/// The programs that are about files on a disk, and run on one with each number of CPUs.
const STORAGE: [&str; 2] = ["storage/", "guest_only/disk_"];

/// The family whose programs have no counterpart on Linux, but an expectation beside them.
const GUEST_ONLY: &str = "guest_only";

/// From so many CPUs on disks have blocks of 4096 bytes.
const CPUS_WITH_LARGE_BLOCKS: u32 = 4;

/// What the programs may rely on.
const MEMORY: MemoryMib = MemoryMib(512);

/// Folder of the programs in the guest.
const GUEST_FOLDER: &str = "/app";

/// A program, as `FAMILY/NAME`.
struct Program {
    name: String,
    source: PathBuf,
}

impl CSuite {
    fn folder(&self, context: &Context) -> PathBuf {
        context.project.root().join("tests").join(self.name)
    }

    fn programs(&self, context: &Context) -> Result<Vec<Program>> {
        let folder = self.folder(context);
        let mut programs = Vec::new();
        if !folder.is_dir() {
            return Ok(programs);
        }
        for family in sorted(&folder)?.into_iter().filter(|path| path.is_dir()) {
            for source in
                sorted(&family)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "c"))
            {
                let name = source.with_extension("");
                let name = name.strip_prefix(&folder).unwrap_or(&name).display().to_string();
                programs.push(Program { name, source });
            }
        }
        Ok(programs)
    }

    /// Builds the programs and returns the folder that they are in.
    fn build(&self, context: &Context) -> Result<PathBuf> {
        let out = context.project.root().join("target").join(self.name);
        let output = Command::new("make")
            .args(["--silent", "--jobs=2", "--directory"])
            .arg(self.folder(context))
            .arg(format!("OUT={}", out.display()))
            .output()
            .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
        if output.status.success() {
            return Ok(out);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("the {} programs do not build:\n{}", self.name, complaint.trim_end())))
    }
}

impl Suite for CSuite {
    fn name(&self) -> &'static str {
        self.name
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for program in self.programs(context)? {
            names.extend(context.options.cpus.iter().map(|cpus| test_name(&program.name, *cpus)));
        }
        Ok(names)
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let built = self.build(context)?;
        let known = KnownFailures::read(&self.folder(context).join("known_failures.txt"))?;
        let programs = self.programs(context)?;
        let image = CachedImage::of(&recipe(&programs, &built)?, &context.project)?;
        let kernel = context.project.kernel(context.options.kernel.as_deref())?;
        let shared = Arc::new(Shared { image, kernel, known, built, limit: self.limit });
        let mut tests = Vec::new();
        for program in programs {
            let program = Arc::new(program);
            let linux = Arc::new(OnceLock::new());
            for cpus in context.options.cpus.iter().copied() {
                let name = test_name(&program.name, cpus);
                if !names.contains(&name) {
                    continue;
                }
                let (shared, program, linux) = (shared.clone(), program.clone(), linux.clone());
                let run = move || {
                    let expected = linux.get_or_init(|| shared.expected(&program));
                    match expected {
                        Ok(expected) => shared.test(&program, expected, cpus, context),
                        Err(failure) => Err(Failure::new(failure.to_string())),
                    }
                    .unwrap_or_else(|failure| Outcome::failure(failure.to_string()))
                };
                tests.push(Test { name, run: Box::new(run) });
            }
        }
        Ok(tests)
    }

    fn uses_whole_host(&self) -> bool {
        false
    }
}

fn test_name(program: &str, cpus: u32) -> String {
    format!("{program} cpus={cpus}")
}

fn recipe(programs: &[Program], built: &Path) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    system_files::add_base(&mut recipe)?;
    let libraries = HostLibraries::find()?;
    system_files::add_glibc(&mut recipe, &libraries)?;
    for program in programs {
        recipe.file(format!("{GUEST_FOLDER}/{}", program.name), built.join(&program.name))?;
    }
    libraries.close(&mut recipe, Missing::Refuse)?;
    Ok(recipe)
}

/// What all tests of a suite share.
struct Shared {
    image: CachedImage,
    kernel: PathBuf,
    known: KnownFailures,
    built: PathBuf,
    limit: Duration,
}

impl Shared {
    /// What the program must print: as on Linux, or as is written beside it.
    fn expected(&self, program: &Program) -> Result<Printed> {
        if program.name.starts_with(GUEST_ONLY) {
            let path = program.source.with_extension("expected");
            let stdout = fs::read(&path).map_err(Failure::io("read", &path))?;
            return Ok(Printed { stdout, status: Some(0) });
        }
        let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
        let mut env: Vec<(String, String)> = application::ENVIRONMENT
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        env.push(("TMPDIR".into(), scratch.path().display().to_string()));
        let output = linux::run(&LinuxRun {
            command: &[self.built.join(&program.name).display().to_string()],
            env: &env,
            folder: scratch.path(),
            stdin: b"",
            signals: &[],
            limit: self.limit,
        })?;
        Ok(Printed { stdout: output.stdout, status: Some(output.status) })
    }

    fn test(&self, program: &Program, expected: &Printed, cpus: u32, context: &Context) -> Result<Outcome> {
        // Files are made in the layer over the image, with two CPUs on a disk, and with more on a RAM file system: the
        // program is the same, and so must its output be.
        let source = fs::read_to_string(&program.source).map_err(Failure::io("read", &program.source))?;
        let faults = scratch_disk::faults_of(&source)?;
        let wants_disk = cpus == 2 || STORAGE.iter().any(|start| program.name.starts_with(start));
        let blocks = if cpus >= CPUS_WITH_LARGE_BLOCKS { Blocks::Of4096 } else { Blocks::Of512 };
        let disk = if wants_disk { Some(ScratchDisk::new(blocks, &faults)?) } else { None };
        let folder = match cpus {
            _ if wants_disk => scratch_disk::PLACE,
            1 => "/var/tmp",
            _ => "/tmp",
        };
        let mut env = application::ENVIRONMENT.map(String::from).to_vec();
        env.push(format!("TMPDIR={folder}"));
        let config = RunConfig {
            args: vec![format!("{GUEST_FOLDER}/{}", program.name)],
            env,
            cwd: folder.into(),
            ..RunConfig::default()
        };
        let output = guest::run(
            GuestRun {
                image: self.image.path(),
                kernel: &self.kernel,
                config,
                payload: Payload::Program,
                memory: MEMORY,
                cpus,
                stdin: Vec::new(),
                signals: Vec::new(),
                limit: self.limit,
                disk: disk.as_ref(),
            },
            context,
        )?;
        let printed = Printed { stdout: output.stdout.clone(), status: output.report.end.status() };
        let mut outcome = compare(&program.name, expected, &printed, &self.known);
        outcome.notes.extend(output.complaint());
        if outcome.tally.failed > 0 && !output.stderr.is_empty() {
            outcome.notes.push(format!("standard error: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(outcome)
    }
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Failure::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}
