//! `crema volume`: what there is to be done with volumes beside using them.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, IsTerminal, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use ext4::{Condition, Superblock};
use run_config::VolumeAccess;

use crate::{
    failure::{Failure, Result},
    image::ext4::{grow, superblock_of, whole_groups},
    options::VolumeCommand,
    volume::{
        Locked,
        check::{self, Verdict},
        condition_of,
        contents::{self, LeftOut},
        request::{Name, Source, VolumeSize},
        shown_size,
        store::{self, Store},
    },
};

/// Exit status of `crema volume fsck` for a volume with something wrong left.
const STATUS_DAMAGED: u8 = 1;

/// Problems that are shown of one volume.
const SHOWN_PROBLEMS: usize = 10;

/// Does it, and returns the exit status.
pub fn volume(command: &VolumeCommand) -> Result<u8> {
    match command {
        VolumeCommand::Ls => list(),
        VolumeCommand::Create { volume, size } => create(volume, size.unwrap_or(VolumeSize::DEFAULT)),
        VolumeCommand::Resize { volume, size } => resize(volume, *size),
        VolumeCommand::Rm { volumes } => volumes.iter().try_for_each(remove),
        VolumeCommand::Fsck { volume, repair } => return fsck(volume, *repair),
        VolumeCommand::Export { volume, output } => export(volume, output.as_deref()),
        VolumeCommand::Import { volume, archive, size } => import(volume, archive.as_deref(), *size),
    }
    .map(|()| 0)
}

fn list() -> Result<()> {
    let store = Store::find()?;
    let mut rows = vec![["NAME", "SIZE", "ON DISK", "STATE"].map(String::from)];
    for name in store.names()? {
        let path = store.path(&name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        // st_blocks counts 512 bytes, whatever the blocks are (stat(2)).
        let on_disk = shown_size(metadata.blocks() * 512);
        rows.push([
            name.to_string(),
            shown_size(metadata.len()),
            on_disk,
            state(&path, &Source::Named(name)),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row: &[String; 4]| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = io::stdout().lock();
    for [name, size, on_disk, state] in &rows {
        let [first, second, third] = widths;
        writeln!(out, "{name:first$}  {size:>second$}  {on_disk:>third$}  {state}").map_err(no_output)?;
    }
    Ok(())
}

fn no_output(error: io::Error) -> Failure {
    Failure::io("write to", Path::new("standard output"))(error)
}

fn state(path: &Path, shown: &Source) -> String {
    if Locked::is_taken(path) {
        return "in use".into();
    }
    match condition_of(path, shown) {
        Ok(Condition::Clean) => "clean".into(),
        Ok(Condition::NeedsRecovery) => "needs recovery (the next run does it)".into(),
        Ok(Condition::Damaged) | Err(_) => format!("damaged: crema volume fsck {shown}"),
    }
}

fn create(volume: &Source, size: VolumeSize) -> Result<()> {
    let path = path_of(volume)?;
    if path.exists() {
        return Err(Failure::new(format!("there is a volume {volume} already")));
    }
    store::make(volume, size, |_| Ok(()))
}

fn remove(name: &Name) -> Result<()> {
    let path = Store::find()?.path(name);
    let _lock = existing(&Source::Named(name.clone()), VolumeAccess::ReadWrite)?;
    fs::remove_file(&path).map_err(Failure::io("remove", &path))
}

fn resize(volume: &Source, size: VolumeSize) -> Result<()> {
    let lock = existing(volume, VolumeAccess::ReadWrite)?;
    let path = &lock.path;
    let superblock = superblock_of(path)?;
    let new_bytes = whole_groups(size.0);
    if new_bytes <= bytes_of(&superblock) {
        return Err(Failure::new(format!(
            "the volume {volume} has {} already, and cannot be made smaller: crema volume export and import can make a smaller copy",
            shown_size(bytes_of(&superblock))
        )));
    }
    if condition_of(path, volume)? == Condition::NeedsRecovery {
        check::recover(path)?;
    }
    if let Verdict::Damaged(_) = check::check(path)? {
        return Err(Failure::new(format!(
            "the volume {volume} is damaged: crema volume fsck --repair {volume} comes first"
        )));
    }
    let old_bytes = lock.file.metadata().map_err(Failure::io("read", path))?.len();
    if old_bytes < new_bytes {
        lock.file.set_len(new_bytes).map_err(Failure::io("extend", path))?;
    }
    grow(path).inspect_err(|_| {
        // What was not begun leaves the file as it was; what was begun and failed, e2fsck finds.
        let is_as_it_was = superblock_of(path).is_ok_and(|now| bytes_of(&now) == bytes_of(&superblock));
        if is_as_it_was && old_bytes < new_bytes {
            let _ = lock.file.set_len(old_bytes);
        }
    })?;
    println!("the volume {volume} has {} now", shown_size(bytes_of(&superblock_of(path)?)));
    Ok(())
}

/// How large a file system is; none if that cannot be.
fn bytes_of(superblock: &Superblock) -> u64 {
    superblock.total_bytes().unwrap_or(0)
}

fn path_of(volume: &Source) -> Result<std::path::PathBuf> {
    match volume {
        Source::Named(name) => Ok(Store::find()?.path(name)),
        Source::File(path) => Ok(path.clone()),
    }
}

/// Locks a volume that has to exist.
fn existing(volume: &Source, access: VolumeAccess) -> Result<Locked> {
    let path = path_of(volume)?;
    if !path.exists() {
        return Err(Failure::new(format!(
            "there is no volume {volume}: crema volume ls shows those there are"
        )));
    }
    Locked::take(&path, volume, access)
}

fn fsck(volume: &Source, repair: bool) -> Result<u8> {
    let lock = existing(volume, VolumeAccess::ReadWrite)?;
    // What e2fsck would otherwise take for damage; the next mount does the same.
    if matches!(condition_of(&lock.path, volume), Ok(Condition::NeedsRecovery)) {
        check::recover(&lock.path)?;
        println!("the volume {volume} was not left in order, and has been recovered");
    }
    let verdict = if repair { check::repair(&lock.path)? } else { check::check(&lock.path)? };
    match verdict {
        Verdict::Sound(summary) if summary.is_empty() => println!("the volume {volume} is sound"),
        Verdict::Sound(summary) => println!("the volume {volume} is sound: {summary}"),
        Verdict::Repaired => println!("the volume {volume} was damaged, and is repaired"),
        Verdict::NotRepaired => {
            println!("the volume {volume} is damaged, and could not be repaired completely");
            return Ok(STATUS_DAMAGED);
        }
        Verdict::Damaged(problems) => {
            println!(
                "the volume {volume} is damaged; crema volume fsck --repair {volume} repairs what can be repaired"
            );
            for problem in problems.iter().take(SHOWN_PROBLEMS) {
                println!("  {problem}");
            }
            if problems.len() > SHOWN_PROBLEMS {
                println!("  and {} more", problems.len() - SHOWN_PROBLEMS);
            }
            return Ok(STATUS_DAMAGED);
        }
    }
    Ok(0)
}

fn export(volume: &Source, output: Option<&Path>) -> Result<()> {
    let mut lock = existing(volume, VolumeAccess::ReadOnly)?;
    match condition_of(&lock.path, volume)? {
        Condition::Clean => {}
        Condition::NeedsRecovery => {
            // Without its journal some of it would be missing.
            drop(lock);
            lock = existing(volume, VolumeAccess::ReadWrite)?;
            check::recover(&lock.path)?;
        }
        Condition::Damaged => {
            eprintln!("crema: the volume {volume} is damaged; what can be read of it is exported")
        }
    }
    let left_out = match output {
        Some(path) => {
            let file = File::create(path).map_err(Failure::io("make", path))?;
            contents::export(&lock.file, BufWriter::new(file))?
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::new("an archive is nothing for a terminal: give --output FILE, or a pipe"));
        }
        None => contents::export(&lock.file, BufWriter::new(io::stdout().lock()))?,
    };
    tell(&left_out);
    Ok(())
}

fn import(volume: &Source, archive: Option<&Path>, size: Option<VolumeSize>) -> Result<()> {
    let from: Box<dyn Read> = match archive {
        Some(path) if path != Path::new("-") => {
            Box::new(File::open(path).map_err(Failure::io("read", path))?)
        }
        _ if io::stdin().is_terminal() => {
            return Err(Failure::new(
                "an archive does not come from a terminal: name a file, or give a pipe",
            ));
        }
        _ => Box::new(io::stdin().lock()),
    };
    let from = BufReader::new(from);
    let mut left_out = LeftOut::default();
    if path_of(volume)?.exists() {
        if size.is_some() {
            return Err(Failure::new(format!("there is a volume {volume} already: it has its size")));
        }
        let lock = existing(volume, VolumeAccess::ReadWrite)?;
        match condition_of(&lock.path, volume)? {
            Condition::Clean | Condition::NeedsRecovery => left_out = contents::import(&lock.file, from)?,
            Condition::Damaged => {
                return Err(Failure::new(format!(
                    "the volume {volume} is damaged: crema volume fsck --repair {volume} comes first"
                )));
            }
        }
    } else {
        store::make(volume, size.unwrap_or(VolumeSize::DEFAULT), |file| {
            left_out = contents::import(file, from)?;
            Ok(())
        })?;
    }
    tell(&left_out);
    Ok(())
}

fn tell(LeftOut { sockets, xattrs }: &LeftOut) {
    if *sockets > 0 {
        eprintln!("crema: {sockets} sockets were left out, which an archive has no place for");
    }
    if *xattrs > 0 {
        eprintln!("crema: {xattrs} extended attributes were left out, whose names ext4 has no place for");
    }
}
