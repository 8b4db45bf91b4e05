//! Mounting: in what condition the file system is, and how it is opened because of that.

use alloc::{boxed::Box, string::ToString, sync::Arc};

use block::BlockDevice;
use linux_abi::Errno;
use rsext4::{Ext4ErrorKind, Ext4Result, FileExtentTarget, InodeNumber, MountOptions, MountServices};

use crate::{
    Access, Health,
    core_io::{Device, Mounted, RealTime, View, device_error},
    disk::Disk,
    errno,
    health::damage,
    inode_bitmaps, marks,
    superblock::{Condition, Superblock},
    unnamed,
};

/// The crate's state.
pub(crate) struct Core {
    /// Boxed: it takes kilobytes, and each move by value would take as much of a kernel stack.
    pub(crate) mounted: Box<Mounted>,
    /// How it is mounted now.
    access: Access,
    /// Changes since the last sync.
    pub(crate) changes: u32,
    /// The number of small writes at which the journal is to be emptied.
    fold_at: u64,
}

/// Blocks that the journal may have before it is emptied: half of a small one, and no more than this. The crate
/// keeps a copy of each of them in memory, and looks through all of them whenever it reads a block. It empties
/// a journal that is full itself, but by one transaction at a time, for two flushes each.
const MAX_LOGGED_BLOCKS: u64 = 1024;

/// For reading, with the device never written.
fn reading() -> MountOptions {
    // Without the index of the blocks that no file may have: to make it takes a third of the instructions of
    // a boot, and what it keeps from harm is written only after another mount, which has it.
    MountOptions::read_only_no_journal_replay().with_block_validity(false)
}

impl Core {
    /// Mounts what is on `device`, and says what was found.
    ///
    /// What was left clean is opened for reading only even if it may be written: see [`Access::ReadWrite`].
    /// What is damaged is for reading as far as it can be read at all; else the error is `EUCLEAN`.
    pub(crate) fn mount(disk: &Arc<Disk>, access: Access) -> Result<(Self, Health), Errno> {
        let superblock = Superblock::read(&**disk.device())?;
        let distrusted = |reason: &str| Ok((Self::salvage(disk)?, Health::Damaged(reason.to_string())));
        let (options, view, health) = match (superblock.condition(), access) {
            // There is nothing in the journal, and there will not be.
            (Condition::Clean, Access::ReadOnly) => (reading(), View::WithoutJournal, Health::Good),
            // Whether the journal is in order is said now, and not by the first change.
            (Condition::Clean, Access::ReadWrite) => (reading(), View::AsIs, Health::Good),
            (Condition::NeedsRecovery, Access::ReadWrite) => {
                (MountOptions::read_write(), View::AsIs, Health::Recovered)
            }
            (Condition::NeedsRecovery, Access::ReadOnly) => {
                return distrusted("it was not left in order, and is not to be written to recover it");
            }
            (Condition::Damaged, _) => {
                return Ok((
                    Self::damaged(disk, access)?,
                    Health::Damaged("it was found damaged, or in use without a journal".to_string()),
                ));
            }
        };
        let mounted = Self::new(disk, options, view).and_then(|mut core| {
            core.write_inode_bitmaps(disk)?;
            Ok(core)
        });
        match mounted {
            Ok(mut core) => {
                if core.is_writable()
                    && let Err(error) = unnamed::sweep(&mut core.mounted)
                {
                    log::warn!("ext4: files without a name could not be removed: {error:?}");
                }
                Ok((core, health))
            }
            Err(error) => match damage(&error) {
                Some(reason) => distrusted(&reason),
                None => Err(errno(error)),
            },
        }
    }

    /// Opens for reading what is known to be damaged. If it may be written its journal is replayed, so that what
    /// is read is at least of one time.
    fn damaged(disk: &Arc<Disk>, access: Access) -> Result<Self, Errno> {
        let options = MountOptions { replay_journal: access == Access::ReadWrite, ..reading() };
        Self::new(disk, options, View::AsIs).or_else(|_| Self::salvage(disk))
    }

    /// Opens for reading what is not in order.
    fn salvage(disk: &Arc<Disk>) -> Result<Self, Errno> {
        Self::new(disk, reading(), View::WithoutJournal).map_err(errno)
    }

    fn new(disk: &Arc<Disk>, options: MountOptions, view: View) -> Ext4Result<Self> {
        let mounted = Self::open(disk, options, view)?;
        disk.core_is_new();
        let access = if options.readonly { Access::ReadOnly } else { Access::ReadWrite };
        let mut core = Self { mounted, access, changes: 0, fold_at: u64::MAX };
        if core.is_writable() {
            core.schedule_fold(disk);
        }
        Ok(core)
    }

    /// A function of its own, so that what is moved into the box is on the stack in here only.
    #[inline(never)]
    fn open(disk: &Arc<Disk>, options: MountOptions, view: View) -> Ext4Result<Box<Mounted>> {
        let services = MountServices::new(RealTime, (), rsext4::NoopObserver);
        Ok(Box::new(Mounted::mount(Device::new(disk.clone(), view), services, options)?))
    }

    /// Writes the bitmaps of inodes that are missing, for which the journal has to be empty.
    fn write_inode_bitmaps(&mut self, disk: &Arc<Disk>) -> Ext4Result<()> {
        if self.is_writable() && inode_bitmaps::are_missing(&**disk.device()).map_err(device_error)? {
            self.mounted.unmount()?;
            inode_bitmaps::write(disk)?;
            *self = Self::new(disk, MountOptions::read_write(), View::AsIs)?;
        }
        Ok(())
    }

    /// Where the journal lies, if there is one.
    fn journal(&mut self, device: &dyn BlockDevice) -> Result<Option<(InodeNumber, u64)>, Errno> {
        let Some(number) = marks::journal_inode(device)? else { return Ok(None) };
        let number = InodeNumber::new(number).map_err(errno)?;
        Ok(Some((number, self.mounted.inode(number).map_err(errno)?.size)))
    }

    fn schedule_fold(&mut self, disk: &Disk) {
        let block_bytes = self.mounted.statfs().block_size.max(1);
        self.fold_at = match self.journal(&**disk.device()) {
            Ok(Some((_, bytes))) => disk.small_writes() + (bytes / block_bytes / 2).min(MAX_LOGGED_BLOCKS),
            _ => u64::MAX,
        };
    }

    /// Empties the journal if it has grown long: what it has is written where it belongs. The crate does that
    /// only when it unmounts. It cannot while inodes without a name are in use; then it is tried again later.
    /// At each moment a power cut leaves something that the next mount recovers, or a clean file system.
    pub(crate) fn fold_journal(&mut self, disk: &Arc<Disk>) -> Ext4Result<()> {
        if disk.small_writes() < self.fold_at {
            return Ok(());
        }
        match self.mounted.unmount() {
            Ok(()) => match Self::new(disk, MountOptions::read_write(), View::AsIs) {
                Ok(core) => *self = core,
                Err(error) => {
                    // For reading, as far as it goes; the next change tries again.
                    if let Ok(core) = Self::salvage(disk) {
                        *self = core;
                    }
                    return Err(error);
                }
            },
            Err(error) if error.kind() == Ext4ErrorKind::Busy => self.schedule_fold(disk),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// Mounts for writing what is mounted for reading only so far: opens the journal, and says on the device
    /// that the file system is in use. A new mount, for rsext4 0.9.2's `remount` says so through the journal,
    /// which nobody looks at after a power cut that came before the superblock itself was written (the crash
    /// test finds that).
    pub(crate) fn make_writable(&mut self, disk: &Arc<Disk>) -> Ext4Result<()> {
        if !self.is_writable() {
            inode_bitmaps::write(disk)?;
            *self = Self::new(disk, MountOptions::read_write(), View::AsIs)?;
            unnamed::sweep(&mut self.mounted)?;
        }
        Ok(())
    }

    /// Unmounts, so that nothing is left to recover. Fails with `EBUSY` while inodes without a name are in use.
    pub(crate) fn unmount(&mut self, disk: &Disk) -> Ext4Result<()> {
        self.mounted.unmount()?;
        if self.is_writable() {
            disk.flush().and_then(|()| marks::mark_journal_empty(&**disk.device())).map_err(device_error)?;
        }
        Ok(())
    }

    /// Notes on the device that the file system is damaged. What is in the journal stays there, for the next
    /// mount; what was not committed is lost.
    pub(crate) fn mark_damaged(&mut self, device: &dyn BlockDevice) -> Result<(), Errno> {
        if self.is_writable()
            && let Some((number, _)) = self.journal(device)?
        {
            let map = self.mounted.inode_extents(number, 0, 1, FileExtentTarget::Data, 1).map_err(errno)?;
            let first = map.extents.first().ok_or(Errno::EUCLEAN)?;
            marks::mark_journal(device, first.physical_start)?;
        }
        marks::mark_damaged(device)
    }
}
