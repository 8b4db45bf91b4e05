//! Volumes: disks with a file system that outlive the runs that use them.
//!
//! Responsible for what the user means by one ([`request`]), for where named ones are kept and how they are made ([`store`]), and for
//! giving them to a run: [`attach`] finds, makes, checks and locks them. Their
//! contents are read and written on the host by [`contents`], and checked by [`check`]. Who uses a volume holds a flock(2) on its file: one writer, or
//! any number of readers. The lock is the process's, so it goes with the tool however that ends, and the machine goes with the tool.

pub mod check;
pub mod contents;
pub mod request;
pub mod store;
mod tar;

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ext4::Condition;
use run_config::{Volume, VolumeAccess};

use self::{
    request::{Request, Server, Source, VolumeSize},
    store::Store,
};
use crate::{
    failure::{Failure, Result},
    image::ext4::{self as image, Kind},
    machine::qemu::{Disk, DiskSource},
};

/// Volumes of one machine: as many as have room on the bus of the smaller kind of machine, beside its other devices.
const MOST_VOLUMES: usize = 16;

/// Somebody who only looks whether a volume is taken has it for a moment ([`Locked::is_taken`]).
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A volume that this process has for itself, or shares with other readers.
#[derive(Debug)]
pub struct Locked {
    /// In full, links resolved.
    pub path: PathBuf,
    /// Its lock goes with the value.
    pub file: File,
}

impl Locked {
    /// Locks the volume in the file `path`, which is called `shown` in sentences.
    pub fn take(path: &Path, shown: &Source, access: VolumeAccess) -> Result<Self> {
        let path = path.canonicalize().map_err(Failure::io("open", path))?;
        let mut options = OpenOptions::new();
        options.read(true).write(access == VolumeAccess::ReadWrite);
        let file = options.open(&path).map_err(Failure::io("open", &path))?;
        let try_once = || match access {
            VolumeAccess::ReadWrite => file.try_lock(),
            VolumeAccess::ReadOnly => file.try_lock_shared(),
        };
        let mut locked = try_once();
        for _ in 0..LOCK_TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            thread::sleep(LOCK_PAUSE);
            locked = try_once();
        }
        match locked {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(format!("the volume {shown} is in use by another run, or by crema volume")))
            }
            Err(TryLockError::Error(error)) => Err(Failure::io("lock", &path)(error)),
        }
    }

    /// Whether somebody uses the volume now. To find out takes the lock for a moment.
    pub fn is_taken(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

/// What a run has of a volume.
#[derive(Debug)]
pub struct Attached {
    pub disk: Disk,
    pub volume: Volume,
    /// Held as long as the run lasts.
    _lock: Locked,
}

/// Finds the volumes of a run, makes those that do not exist, and locks them. `default_place` is where the appliance wants its volume.
pub fn attach(requests: &[Request], default_place: Option<&str>) -> Result<Vec<Attached>> {
    if requests.len() > MOST_VOLUMES {
        return Err(Failure::new(format!("a machine has at most {MOST_VOLUMES} volumes")));
    }
    let mut placed: Vec<(&Request, &str)> = Vec::new();
    for request in requests {
        let place = request.place.as_deref().or(default_place).ok_or_else(|| {
            Failure::new(format!(
                "where is the volume {0} to be mounted? The appliance does not say: --volume {0}:/PLACE",
                request.source
            ))
        })?;
        if placed.iter().any(|(_, other)| *other == place) {
            return Err(Failure::new(format!("two volumes cannot both be mounted at {place}")));
        }
        placed.push((request, place));
    }
    // What lies in another is mounted after it.
    placed.sort_by_key(|(_, place)| place.matches('/').count());
    let mut attached: Vec<Attached> = Vec::new();
    for (number, (request, place)) in placed.into_iter().enumerate() {
        let path = find_or_make(request)?;
        let same = |other: &Attached| path.canonicalize().is_ok_and(|path| path == other._lock.path);
        if attached.iter().any(same) {
            return Err(Failure::new(format!("the volume {} is given twice", request.source)));
        }
        let serial = format!("crema-vol-{number}");
        let volume = Volume::new(&serial, request.access, place)
            .map_err(|problem| Failure::new(format!("{}: {problem}", request.source)))?;
        let lock = lock_for_run(&path, request)?;
        let disk = Disk { serial, source: DiskSource::File(lock.path.clone()), access: request.access };
        attached.push(Attached { disk, volume, _lock: lock });
    }
    Ok(attached)
}

/// A volume that a server has, which alone knows whether anybody else uses it.
pub fn of_server(number: usize, server: &Server) -> Result<(Volume, Disk)> {
    let serial = format!("crema-served-{number}");
    let volume = Volume::new(&serial, VolumeAccess::ReadWrite, &server.place)
        .map_err(|problem| Failure::new(format!("{}: {problem}", server.place)))?;
    let source = DiskSource::Server(server.socket.clone());
    Ok((volume, Disk { serial, source, access: VolumeAccess::ReadWrite }))
}

/// The file of a volume.
fn find_or_make(request: &Request) -> Result<PathBuf> {
    let size = request.size.unwrap_or(VolumeSize::DEFAULT);
    let path = match &request.source {
        Source::Named(name) => Store::find()?.path(name),
        Source::File(path) => path.clone(),
    };
    if path.exists() {
        return Ok(path);
    }
    let shown = &request.source;
    match shown {
        Source::Named(name) if request.access == VolumeAccess::ReadOnly => {
            return Err(Failure::new(format!("there is no volume {name} to be read")));
        }
        Source::File(_) if request.size.is_none() => {
            return Err(Failure::new(format!(
                "there is no file {shown}: --volume {shown}:/PLACE,size=10G makes one"
            )));
        }
        _ => {}
    }
    store::make(shown, size, |_| Ok(()))?;
    eprintln!("crema: made the volume {shown} of {}, which takes what is written to it", shown_size(size.0));
    Ok(path)
}

/// Locks a volume and looks at its superblock, so that what cannot be mounted is told before a machine starts.
fn lock_for_run(path: &Path, request: &Request) -> Result<Locked> {
    let shown = &request.source;
    condition_of(path, shown)?;
    if request.access == VolumeAccess::ReadOnly && image::superblock_of(path)?.has_journal_to_replay() {
        // A disk that is not written cannot be recovered by the guest.
        let lock = Locked::take(path, shown, VolumeAccess::ReadWrite)?;
        image::replay_journal(&lock.path)?;
        eprintln!("crema: the volume {shown} was not left in order; its journal was replayed");
    }
    Locked::take(path, shown, request.access)
}

/// In what order a volume was left; an error if it is none, or one that nobody could mount.
pub fn condition_of(path: &Path, shown: &Source) -> Result<Condition> {
    match image::kind_of(path)? {
        Kind::Other => Err(Failure::new(format!("the volume {shown} has no ext4 file system"))),
        Kind::DamagedExt4(how) => Err(Failure::new(format!(
            "the volume {shown} is damaged, so that it cannot be mounted: {how} (crema volume fsck {shown})"
        ))),
        Kind::Ext4 => Ok(image::superblock_of(path)?.condition()),
    }
}

/// A number of bytes in the unit that fits.
pub fn shown_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    let scaled = bytes as f64 / (1u64 << (10 * unit)) as f64;
    let digits = if unit == 0 || scaled.fract() == 0.0 { 0 } else { 1 };
    format!("{scaled:.digits$} {}", UNITS[unit as usize])
}
