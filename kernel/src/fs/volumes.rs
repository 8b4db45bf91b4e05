//! Volumes: ext4 file systems on disks of their own, which outlive the image.
//!
//! Responsible for finding each volume's disk by its serial, for mounting it in the order that the run configuration gives, and for
//! leaving all of them in order at the end. A volume that needs recovery is recovered; one that is damaged is mounted for reading only;
//! the user is told of both ([`notice`]). Not responsible for what is in a file system (`ext4`), nor for the root.
//!
//! [`MOUNTED`] is a leaf lock.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use block::BlockDevice;
use console::control::GuestMessage;
use ext4::{Access, Condition, Discard, Ext4, Health, Superblock};
use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{DeviceNumber, StatfsFlags},
};
use run_config::{Volume, VolumeAccess};
use vfs::{FileSystem, MountRequest, Namespace, OpenFile};

use super::ensure_directory;
use crate::{device, mm};

/// What is mounted, in that order.
static MOUNTED: Mutex<Vec<Arc<Ext4>>> = Mutex::new(Vec::new());

/// Minor numbers of a disk on Linux: itself, and its partitions (`drivers/block/virtio_blk.c`).
const MINORS_OF_A_DISK: u32 = 16;

/// Mounts all. The error says in a sentence what is wrong.
pub(super) fn mount_all(namespace: &Namespace, volumes: &[Volume]) -> Result<(), String> {
    // The root is vda.
    for (number, volume) in (1..).zip(volumes) {
        let place = volume.place();
        let cannot = |why: String| format!("the volume at {place} cannot be mounted: {why}");
        let disk = device::disk_with_serial(volume.serial())
            .ok_or_else(|| cannot(format!("the machine has no disk with the serial {}", volume.serial())))?;
        let gives_back = disk.can_discard();
        let device_number =
            DeviceNumber { major: super::ROOT_DEVICE.major, minor: number * MINORS_OF_A_DISK };
        let (file_system, access) = mount(disk, device_number, volume).map_err(cannot)?;
        ensure_directories(namespace, place).map_err(|error| {
            cannot(format!("there is no such directory, and none can be made: {error:?}"))
        })?;
        let mut flags = StatfsFlags::NOATIME;
        if access == Access::ReadOnly {
            flags |= StatfsFlags::RDONLY;
        }
        // The host's file is to take no more than what is in it.
        file_system.set_discard(Discard::Online);
        MOUNTED.lock().push(file_system.clone());
        let source = device_path(number);
        let options = if access == Access::ReadWrite && gives_back { "discard" } else { "" };
        let request = MountRequest { file_system, source: &source, flags, options };
        namespace.mount(place.as_bytes(), request).map_err(|error| cannot(reason(error)))?;
    }
    Ok(())
}

/// `/dev/vdb` and so on; after `/dev/vdz` comes `/dev/vdaa`.
fn device_path(mut number: u32) -> String {
    const LETTERS: u32 = 26;
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + (number % LETTERS) as u8));
        if number < LETTERS {
            break;
        }
        number = number / LETTERS - 1;
    }
    format!("/dev/vd{}", letters.iter().rev().collect::<String>())
}

/// Mounts one, for reading only if it is damaged.
fn mount(
    disk: Arc<dyn BlockDevice>,
    number: DeviceNumber,
    volume: &Volume,
) -> Result<(Arc<Ext4>, Access), String> {
    // Its blocks may be larger than what is read of them here.
    let disk = block::with_small_sectors(disk);
    let superblock = Superblock::read(&*disk).map_err(reason)?;
    let unknown = superblock.unknown_features();
    if !unknown.is_empty() {
        return Err(format!("it has features that are not known here: {}", unknown.join(", ")));
    }
    let wanted = match volume.access() {
        VolumeAccess::ReadWrite if disk.is_read_only() => {
            return Err("its disk cannot be written: mount it read-only".into());
        }
        VolumeAccess::ReadWrite => Access::ReadWrite,
        VolumeAccess::ReadOnly => Access::ReadOnly,
    };
    let only_read = superblock.read_only_features();
    if wanted == Access::ReadWrite && !only_read.is_empty() {
        return Err(format!(
            "it can only be mounted read-only, for it has features that are not known here: {}",
            only_read.join(", ")
        ));
    }
    let place = volume.place();
    if wanted == Access::ReadOnly && superblock.condition() == Condition::NeedsRecovery {
        if superblock.has_journal_to_replay() {
            notice(&format!(
                "the volume at {place} was not left in order, and is read without its journal: what was written last may be missing"
            ));
        }
        return Ok((Ext4::mount(disk, number, wanted).map_err(reason)?, wanted));
    }
    let mounted = Ext4::mount(disk, number, wanted).map_err(reason)?;
    let access = match mounted.health() {
        Health::Good => wanted,
        Health::Recovered => {
            notice(&format!("the volume at {place} was not left in order, and has been recovered"));
            wanted
        }
        Health::Damaged(how) => {
            notice(&format!(
                "the volume at {place} is damaged ({how}), and mounted read-only: see crema volume fsck"
            ));
            Access::ReadOnly
        }
    };
    Ok((mounted, access))
}

fn reason(error: Errno) -> String {
    match error {
        Errno::EINVAL => "it has no ext4 file system".into(),
        Errno::EUCLEAN => "its file system is damaged".into(),
        Errno::EOPNOTSUPP => "its file system has features that are not known here".into(),
        Errno::EIO => "its disk cannot be read".into(),
        error => format!("{error:?}"),
    }
}

/// Tells the user.
pub(super) fn notice(text: &str) {
    log::warn!("{text}");
    device::control::send(GuestMessage::Notice(text));
}

/// Makes the directory at `path`, and those above it, where there is none.
fn ensure_directories(namespace: &Namespace, path: &str) -> Result<(), Errno> {
    let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
    ends.chain([path.len()]).try_for_each(|end| ensure_directory(namespace, &path[..end]))
}

/// Takes from the program, which has ended, what it has of the file systems on these devices: a file that has no name any more can only
/// be freed, and its file system only be left in order, when nobody has it open or mapped.
fn release(devices: &[u64]) {
    let descriptors = super::descriptors();
    for fd in descriptors.open_descriptors() {
        let is_there = |file: Arc<OpenFile>| {
            file.path().is_some_and(|path| devices.contains(&path.mount.file_system.device()))
        };
        if descriptors.get(fd).is_ok_and(is_there) {
            // Whatever could not be written is told by the file system's own sync, which comes next.
            let _ = descriptors.close(fd);
        }
    }
    let mut address = 0;
    while let Some(area) = mm::space().area_from(address) {
        address = area.range.end;
        let is_there = area.object.is_some_and(|(name, _)| devices.contains(&name.device));
        if is_there && let Err(error) = mm::space().munmap(area.range.start, area.range.len()) {
            log::warn!("a file of a volume stays mapped: {error:?}");
        }
    }
}

/// Makes everything durable and leaves the volumes in order. The program has ended.
pub(super) fn at_exit() {
    let mounted = core::mem::take(&mut *MOUNTED.lock());
    if mounted.is_empty() {
        return;
    }
    let devices: Vec<u64> = mounted.iter().map(|file_system| file_system.device()).collect();
    release(&devices);
    // What was mounted last may lie in what was mounted before.
    for file_system in mounted.iter().rev() {
        if let Err(error) = file_system.shut_down() {
            log::error!("a volume was not left clean: {error:?}");
            notice(&format!(
                "a volume could not be written to its end ({error:?}): what was written last may be lost"
            ));
        }
    }
}
