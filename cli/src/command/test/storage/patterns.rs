//! Programs of ours that write in the ways in which databases do, and note what was acknowledged; the power is cut under them.
//!
//! `tests/storage/powercut/main.c` tells how contents describe themselves, and what is checked. Each boot of the C program checks what
//! the cuts before have left, and goes on writing on the same volume: so it ages. After each cut the same check is made on the host,
//! of files that debugfs took out of a copy; then it does not matter what the guest's kernel makes of the disk.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    super::services::guest::{Guest, Lines},
    CPUS_OF_A_JVM, Programs, Verdict,
    power_cut::{CutVolume, Power, extract},
};
use crate::{chance::Chance, volume::request::VolumeSize};

/// All patterns that leave space for others.
pub const TOGETHER: &str = "append,replace,overwrite,mapping,reuse,preallocate,small";

/// Room for some generations of files; on the smaller one, a volume is soon full.
const SIZE: VolumeSize = VolumeSize(64 << 20);
const SMALL_SIZE: VolumeSize = VolumeSize(20 << 20);

/// How many writes, flushes and discards there are before a cut, at most.
const CHANGES: u64 = 500;
/// The same, for a cut that shall come while the volume is mounted and recovered.
const FIRST_CHANGES: u64 = 12;
/// The share of such cuts.
const EARLY_SHARE: f64 = 0.2;

/// Where the volume is mounted.
const PLACE: &str = "/data";

/// A volume, and what was acknowledged on it.
struct Series<'a> {
    programs: &'a Programs,
    name: String,
    volume: CutVolume,
    log: String,
}

impl<'a> Series<'a> {
    fn new(programs: &'a Programs, name: &str, size: VolumeSize) -> Result<Self, String> {
        // The same for each run of the tests, and another for each of them.
        let seed = name.bytes().fold(4, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let volume = CutVolume::make(programs.fixture.folder(), name, size, seed)?;
        Ok(Self { programs, name: name.into(), volume, log: String::new() })
    }

    fn path(&self, what: &str) -> std::path::PathBuf {
        self.programs.fixture.path(&format!("{}.{what}", self.name))
    }

    /// The log as the input of a program.
    fn input(&self) -> Result<Stdio, String> {
        let path = self.path("log");
        let opened = fs::write(&path, &self.log).and_then(|()| File::open(&path));
        opened.map(Stdio::from).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Boots the C program.
    fn boot(&self, cpus: u64, args: &[&str]) -> Result<Guest, String> {
        let (volume, cpus) = (self.volume.option(PLACE), cpus.to_string());
        let options = [&volume, "-c", &cpus, "-m", "256M", "--machine", "microvm"];
        Guest::start_with_input(
            &self.programs.fixture,
            &self.programs.powercut_image,
            &options,
            args,
            self.input()?,
        )
    }

    /// Takes what a program has said in its life. An error if it found something wrong.
    fn take(&mut self, stdout: &Lines) -> Result<(), String> {
        let said = stdout.all();
        let is_bad = |line: &&str| line.starts_with("wrong: ") || line.starts_with("error: ");
        let bad: Vec<_> = said.lines().filter(is_bad).collect();
        for line in said.lines().filter(|line| line.starts_with("log ")) {
            self.log.push_str(line);
            self.log.push('\n');
        }
        if bad.is_empty() { Ok(()) } else { Err(format!("the guest: {} ({})", bad.join("\n"), self.keep())) }
    }

    fn keep(&self) -> String {
        let log =
            std::env::temp_dir().join(format!("crema-powercut-{}-{}.log", std::process::id(), self.name));
        let _ = fs::write(&log, &self.log);
        format!("the volume is {}, the log in {}", self.volume.keep(), log.display())
    }

    /// Waits until the power is gone, kills the machine, and checks what it leaves.
    fn end_by_cut(&mut self, mut guest: Guest, power: Power) -> Result<(), String> {
        power.wait_for_cut(&mut guest)?;
        wait_for_ticks(&mut guest)?;
        let stdout = guest.tool.stdout.clone();
        self.volume.kill(guest, power)?;
        self.take(&stdout)?;
        self.after_cut()
    }

    /// The machine is killed; then e2fsck and the checker look at what it leaves.
    fn after_cut(&mut self) -> Result<(), String> {
        let copy = self.volume.examine()?;
        let folder = self.path("files");
        extract(&copy, &folder)?;
        let output = Command::new(&self.programs.powercut)
            .arg("check")
            .arg(&folder)
            .stdin(self.input()?)
            .output()
            .map_err(|error| format!("cannot start the checker: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        Err(format!("on the host, after the journal was replayed by e2fsck: {said} ({})", self.keep()))
    }

    /// A last boot that only checks, and powers off in order.
    fn check_in_guest(&mut self) -> Result<(), String> {
        let power = self.volume.power_on()?;
        let mut guest = self.boot(1, &["check", PLACE])?;
        let status = guest.tool.wait()?;
        self.take(&guest.tool.stdout)?;
        if !status.success() {
            return Err(format!("the guest ended with {status}\n{}", guest.tool.stderr.last(30)));
        }
        self.volume.power_off(power)?;
        self.volume.examine_clean()
    }

    fn summary(&self) -> String {
        let full = self.log.lines().filter(|line| line.contains(" full ")).count();
        let full = if full > 0 { format!("; {full} times there was no space") } else { String::new() };
        format!("{}; {} acknowledgements{full}", self.volume.summary(), self.log.lines().count())
    }
}

/// Some cuts under one pattern, or several of them at once.
pub fn cuts(programs: &Programs, patterns: &str, short: u64, long: u64) -> Verdict {
    let name = if patterns.contains(',') { "together" } else { patterns };
    let mut series = Series::new(programs, name, if patterns == "full" { SMALL_SIZE } else { SIZE })?;
    let mut chance = Chance::new(name.len() as u64);
    for generation in 1..=programs.by_length(short, long) {
        let failed = |problem: String| format!("cut {generation}: {problem}");
        programs.fixture.forget_guests();
        let (number, seed) = (generation.to_string(), chance.next().to_string());
        let power = series.volume.power_on()?;
        let is_early = generation > 1 && chance.happens(EARLY_SHARE);
        if is_early {
            power.cut_within(1..FIRST_CHANGES);
        }
        let guest = series.boot(1 + generation % 2, &["run", PLACE, &number, &seed, patterns])?;
        if !is_early {
            guest.tool.wait_for("writing").map_err(failed)?;
            power.cut_within(1..CHANGES);
        }
        series.end_by_cut(guest, power).map_err(failed)?;
    }
    series.check_in_guest()?;
    Ok(series.summary())
}

/// After two ticks all that the program said before the cut has arrived. If there is none at all, the power went before the program
/// began: it ticks from its start, and would have to check first.
fn wait_for_ticks(guest: &mut Guest) -> Result<(), String> {
    const START: Duration = Duration::from_millis(500);
    if guest.tool.wait_within(START, "tick").is_err() {
        return Ok(());
    }
    let before = guest.tool.stdout.count("tick");
    guest.tool.wait_for_another("tick", before + 1).map(drop)
}

/// The same from a JVM; the C program checks.
pub fn java(programs: &Programs) -> Verdict {
    let mut series = Series::new(programs, "java", SIZE)?;
    for generation in 1..=programs.by_length(1, 12_u64) {
        let failed = |problem: String| format!("cut {generation}: {problem}");
        programs.fixture.forget_guests();
        let power = series.volume.power_on()?;
        let (volume, number) = (series.volume.option(PLACE), generation.to_string());
        let options = [&volume, "-c", CPUS_OF_A_JVM, "-m", "512M", "--machine", "microvm"];
        let args = [PLACE, &number, &number];
        let guest = Guest::start(&programs.fixture, &programs.java, &options, &args)?;
        guest.tool.wait_for("writing").map_err(failed)?;
        power.cut_within(1..CHANGES);
        series.end_by_cut(guest, power).map_err(failed)?;
        series.check_in_guest().map_err(failed)?;
    }
    Ok(series.summary())
}
