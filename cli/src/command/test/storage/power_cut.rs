//! Volumes whose power can be cut under a running guest: for the tests of this suite, and of any other that has a service to kill.
//!
//! ```text
//! let mut volume = CutVolume::make(fixture.folder(), "h2", VolumeSize(256 << 20), SEED)?;
//! for _ in 0..cuts {
//!     let power = volume.power_on()?;
//!     let option = volume.option("/data");
//!     let mut guest = Guest::appliance(fixture, "h2", &[&option, "-p", "0:9092"], &[])?;
//!     // Check what was acknowledged before; then begin the load, and note each acknowledgement ...
//!     power.cut_within(1..500);
//!     power.wait_for_cut(&mut guest)?;
//!     volume.kill(guest, power)?;
//!     volume.examine()?;
//! }
//! ```
//!
//! The cut comes with a request of the guest, not at a time: so it does not depend on the host's speed, and hits the middle of
//! journal commits. From then on no request is answered, so nothing more can be acknowledged that had to be flushed; what the guest
//! acknowledges meanwhile, it acknowledged before. Then QEMU is killed (SIGKILL, with its tool), and what was not flushed is lost,
//! kept or torn by chance. [`CutVolume::examine`] has e2fsck look at a copy: it must have nothing to do but replay the journal. The
//! next machine gets the volume as the cut left it, and must recover it by itself.
//!
//! Not responsible for what is in the files: that is the tests' matter.

use std::{
    ffi::OsStr,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use super::{
    super::services::guest::{Guest, PATIENCE},
    e2fsck::{self, Flaw},
};
use crate::{
    chance::Chance,
    image::ext4::e2fsprogs,
    machine::faulty_disk::{Counts, FaultyDisk},
    volume::{
        request::{Source, VolumeSize},
        store,
    },
};

/// A volume that loses power now and then.
pub struct CutVolume {
    image: PathBuf,
    socket: PathBuf,
    chance: Chance,
    cuts: u32,
    counts: Counts,
}

/// The power of a volume, while it is on.
pub struct Power {
    disk: FaultyDisk,
    chance: Chance,
}

impl CutVolume {
    /// Makes an empty volume. The folder is to be near the root: the path of a socket has 108 bytes at most.
    pub fn make(folder: &Path, name: &str, size: VolumeSize, seed: u64) -> Result<Self, String> {
        let image = folder.join(format!("{name}.img"));
        // There is one if this is the second try.
        let _ = fs::remove_file(&image);
        let volume = Source::File(image.clone());
        store::make(&volume, size, |_| Ok(())).map_err(|failure| failure.to_string())?;
        let socket = folder.join(format!("{name}.socket"));
        Ok(Self { image, socket, chance: Chance::new(seed), cuts: 0, counts: Counts::default() })
    }

    /// The option with which `crema run` mounts it.
    pub fn option(&self, place: &str) -> String {
        format!("--volume-server={}:{place}", self.socket.display())
    }

    pub fn power_on(&mut self) -> Result<Power, String> {
        let disk = FaultyDisk::serve(&self.image, &self.socket, self.chance.next(), &[])
            .map_err(|failure| failure.to_string())?;
        Ok(Power { disk, chance: Chance::new(self.chance.next()) })
    }

    /// Kills the machine, and decides what the cut leaves. Cuts the power first if it is still on.
    pub fn kill(&mut self, guest: Guest, power: Power) -> Result<Counts, String> {
        power.disk.cut();
        guest.cut_power();
        self.cuts += 1;
        self.power_off(power)
    }

    /// For a machine that has ended by itself: what it has not flushed until then, it should have.
    pub fn power_off(&mut self, power: Power) -> Result<Counts, String> {
        let counts = power.disk.end().map_err(|failure| failure.to_string())?;
        self.counts += counts;
        Ok(counts)
    }

    /// Has e2fsck judge a copy of the volume: the copy, with its journal replayed.
    pub fn examine(&self) -> Result<PathBuf, String> {
        let copy = self.image.with_extension("copy");
        run(Command::new("cp").arg("--sparse=always").args([&self.image, &copy]))?;
        let replayed = run_e2fsck(&copy, &["-p"])?;
        let kept = || format!("(the volume is {})", self.keep());
        if let Some(line) = unexpected_repair(&replayed.1) {
            return Err(format!("e2fsck -p had more to do than to replay the journal: {line} {}", kept()));
        }
        if replayed.0 > 1 {
            return Err(format!("e2fsck -p ended with {}: {} {}", replayed.0, replayed.1, kept()));
        }
        let checked = run_e2fsck(&copy, &["-fn"])?;
        if let Some(line) = complaint(checked.0, &checked.1) {
            return Err(format!("e2fsck -fn finds: {line} {}", kept()));
        }
        Ok(copy)
    }

    /// Has e2fsck judge the volume itself, after a machine that has ended in order: there is no journal to be replayed.
    pub fn examine_clean(&self) -> Result<(), String> {
        let checked = run_e2fsck(&self.image, &["-fn"])?;
        match complaint(checked.0, &checked.1) {
            None => Ok(()),
            Some(line) => {
                Err(format!("after an orderly end e2fsck -fn finds: {line} (the volume is {})", self.keep()))
            }
        }
    }

    /// What was done to it, in a sentence.
    pub fn summary(&self) -> String {
        let Counts { writes, flushes, kept, lost, torn, .. } = self.counts;
        format!(
            "{} cuts; {writes} writes, {flushes} flushes; of the unflushed writes {kept} kept, {lost} lost, {torn} torn",
            self.cuts
        )
    }

    /// Puts the volume away where somebody can look at it, and says where.
    pub fn keep(&self) -> String {
        let name = self.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = std::env::temp_dir().join(format!("crema-powercut-{}-{name}", std::process::id()));
        match run(Command::new("cp").arg("--sparse=always").args([&self.image, &kept])) {
            Ok(_) => format!("in {}", kept.display()),
            Err(_) => "not kept".into(),
        }
    }
}

impl Power {
    /// Has the power go with a write, flush or discard soon: chance chooses the number of those that are before.
    pub fn cut_within(&self, changes: Range<u64>) {
        let span = changes.end - changes.start;
        self.disk.cut_after(changes.start.max(1) + self.chance.clone().below(span));
    }

    /// Waits until the power is gone. An error if the machine has ended before, or writes nothing any more.
    pub fn wait_for_cut(&self, guest: &mut Guest) -> Result<(), String> {
        const INTERVAL: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + PATIENCE;
        while !self.disk.wait_for_cut(INTERVAL) {
            if guest.tool.has_ended() {
                let (stdout, stderr) = (guest.tool.stdout.last(10), guest.tool.stderr.last(20));
                return Err(format!("the machine ended before the power was cut\n{stdout}\n{stderr}"));
            }
            if Instant::now() > deadline {
                return Err(format!("the guest writes too little for a power cut: {}", self.disk.counts()));
            }
        }
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot start {name}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
}

/// The exit status, and what it said.
fn run_e2fsck(image: &Path, options: &[&str]) -> Result<(i32, String), String> {
    let output = e2fsprogs("e2fsck")
        .args(options)
        .arg(image)
        .output()
        .map_err(|error| format!("cannot start e2fsck: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).trim_end().to_string()))
}

/// A line of `e2fsck -p` that tells of more than what any mount does: to replay the journal, and to finish what was being deleted.
fn unexpected_repair(said: &str) -> Option<&str> {
    const EXPECTED: [&str; 8] = [
        "recovering journal",
        "learing orphaned inode",
        "runcating orphaned inode",
        ": clean,",
        // A whole check follows, and its summary.
        "was not cleanly unmounted, check forced",
        "non-contiguous), ",
        // A wish, not a repair.
        "could be narrower.",
        "orphan file",
    ];
    said.lines().find(|line| !line.trim().is_empty() && !EXPECTED.iter().any(|text| line.contains(text)))
}

/// What `e2fsck -fn` complains of first.
fn complaint(status: i32, said: &str) -> Option<String> {
    e2fsck::complaints(status, said, &Flaw::ALL).into_iter().next()
}

/// Takes the files out of an image into a folder that it makes anew.
pub fn extract(image: &Path, folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let request = format!("rdump / {}", folder.display());
    let arguments: [&OsStr; 3] = ["-R".as_ref(), request.as_ref(), image.as_os_str()];
    run(e2fsprogs("debugfs").args(arguments)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_e2fsck_says_is_judged() {
        assert_eq!(unexpected_repair("x: recovering journal\nx: clean, 11/100 files, 5/10 blocks"), None);
        assert_eq!(
            unexpected_repair("x: Block bitmap differences: FIXED."),
            Some("x: Block bitmap differences: FIXED.")
        );
        assert_eq!(complaint(0, ""), None);
        let lost = "Block bitmap differences:  -1234 -(2000--2003)\nFix? no\n";
        assert_eq!(complaint(4, lost), None);
        let padding = "Padding at end of inode bitmap is not set. Fix? no";
        assert_eq!(complaint(4, &format!("{lost}{padding}\n")).as_deref(), Some(padding));
        assert_eq!(complaint(8, "Bad magic").as_deref(), Some("Bad magic"));
    }
}
