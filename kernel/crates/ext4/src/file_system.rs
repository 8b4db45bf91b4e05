//! The mounted file system: the crate's lock, the inode cache, sync, and the list of the dead.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    ops::{ControlFlow, Range},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use block::BlockDevice;
use hashbrown::HashMap;
use ksync::{Mutex, WaitQueue};
use linux_abi::{
    Errno,
    file::{DeviceNumber, NAME_MAX, Statfs, magic},
};
use rsext4::{Ext4Error, Ext4ErrorKind, Ext4Result, InodeNumber};
use spin::Once;
use vfs::{FileSystem, Inode, Progress, SyncKind, WriteErrors, Writeback};

use crate::{
    Health,
    commit::Commits,
    core_io::Mounted,
    core_mount::Core,
    disk::Disk,
    errno,
    health::{HealthRecord, damage, report_damage},
    inode::Ext4Inode,
    inode_times::FineTimes,
    marks::GroupLayout,
    space::Space,
    unnamed,
};

/// Whether to mount for reading only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing. A file system that was left clean is not written to before the first change: most
    /// programs change nothing there, and a journal costs as much to open as all else together.
    ReadWrite,
    /// Reading; the device is not written, so a journal that needs replay stays as it is.
    ReadOnly,
}

/// A mounted ext4 file system.
pub struct Ext4 {
    pub(crate) core: Mutex<Core>,
    pub(crate) disk: Arc<Disk>,
    device_number: u64,
    pub(crate) block_bytes: u64,
    pub(crate) commits: Commits,
    /// The same for flushes where there is nothing to commit.
    flushes: Commits,
    inodes: Mutex<HashMap<u32, Weak<Ext4Inode>>>,
    /// Threads that wait for an inode that is being dropped to be gone.
    inode_gone: WaitQueue,
    /// Inodes whose last name and last user are gone, and whose blocks are still to be freed.
    pub(crate) dead: Mutex<Vec<InodeNumber>>,
    /// Inodes that were dropped with changes that the next sync, of this number, makes durable: their
    /// successors have to know.
    unsettled: Mutex<HashMap<u32, u64>>,
    /// Failed writes of dropped inodes that nobody was told of yet: their successors will be asked.
    untold: Mutex<HashMap<u32, u64>>,
    /// Failed writes of all.
    pub(crate) write_errors: WriteErrors,
    /// Numbers files without a name.
    pub(crate) next_unnamed: AtomicU64,
    pub(crate) space: Space,
    health: HealthRecord,
    /// Whether what is freed is given back to the device.
    pub(crate) discards: AtomicBool,
    /// Where inodes lie, if their times are to be read to the nanosecond.
    layout: Once<GroupLayout>,
    /// Whether the next commit is to free the dead.
    pub(crate) reaps: AtomicBool,
    /// Whether it may be made writable, if it is not yet.
    may_write: bool,
    /// Whether it is mounted for writing now.
    is_writable: AtomicBool,
}

/// Of how many dropped inodes it is remembered that writing them failed. A device that fails all the time
/// must not fill memory.
const MAX_UNTOLD: usize = 4096;

/// How many changes may wait for the next sync before one is made for them. The crate copies all blocks that were
/// changed since the last one at the beginning of every change, to be able to take it back.
const MAX_CHANGES: u32 = 256;
/// How many dead inodes may wait for the next sync before one is made for them.
const MAX_DEAD: usize = 128;

impl Ext4 {
    /// Mounts the file system on `device`, which is known as `number`, and recovers it if it was not left in
    /// order. What was found, [`health`](Self::health) tells: a damaged file system is mounted for
    /// reading only, if it can be read at all. Errors: `EINVAL` if it is no ext4, `EUCLEAN` if it is damaged
    /// beyond that, `EOPNOTSUPP` if it uses features that are not known here.
    pub fn mount(
        device: Arc<dyn BlockDevice>,
        number: DeviceNumber,
        access: Access,
    ) -> Result<Arc<Self>, Errno> {
        // The crate, and files of small blocks, think in sectors.
        let disk = Disk::new(block::with_small_sectors(device));
        let (core, health) = Core::mount(&disk, access)?;
        if let Health::Damaged(reason) = &health {
            log::error!("ext4: mounted read-only: {reason}");
        }
        let space = Space::default();
        space.update(&core.mounted);
        let is_writable = AtomicBool::new(core.is_writable());
        Ok(Arc::new(Self {
            block_bytes: core.mounted.statfs().block_size,
            core: Mutex::new(core),
            disk,
            device_number: number.encode(),
            commits: Commits::default(),
            flushes: Commits::default(),
            inodes: Mutex::default(),
            inode_gone: WaitQueue::new(),
            dead: Mutex::default(),
            unsettled: Mutex::default(),
            untold: Mutex::default(),
            write_errors: WriteErrors::new(),
            next_unnamed: AtomicU64::new(1),
            space,
            may_write: access == Access::ReadWrite && !matches!(health, Health::Damaged(_)),
            is_writable,
            discards: AtomicBool::new(false),
            layout: Once::new(),
            reaps: AtomicBool::new(false),
            health: HealthRecord::new(health),
        }))
    }

    /// How the file system is: as the mount found it, unless damage has shown since.
    pub fn health(&self) -> Health {
        self.health.health()
    }

    /// Has inodes' times read to the nanosecond from now on, as long as nothing is written to a file system that was left in order. It
    /// costs two requests for each inode.
    pub fn want_fine_times(&self) -> Result<(), Errno> {
        if let Some(layout) = GroupLayout::read(&**self.disk.device())? {
            self.layout.call_once(|| layout);
        }
        Ok(())
    }

    pub(crate) fn fine_times(&self, number: InodeNumber) -> Result<Option<FineTimes>, Errno> {
        match self.layout.get() {
            Some(layout) if !self.is_writable.load(Ordering::Relaxed) && self.health() == Health::Good => {
                FineTimes::read(&**self.disk.device(), layout, number)
            }
            _ => Ok(None),
        }
    }

    /// Looks something up in the crate.
    pub(crate) fn read<T>(&self, operation: impl FnOnce(&mut Mounted) -> Ext4Result<T>) -> Result<T, Errno> {
        let mut core = self.core.lock();
        operation(&mut core.mounted).map_err(|error| self.failed(&mut core, error))
    }

    /// Changes something in the crate. If there is no space, that of dead inodes is freed first.
    pub(crate) fn change<T>(
        &self,
        mut operation: impl FnMut(&mut Mounted) -> Ext4Result<T>,
    ) -> Result<T, Errno> {
        match self.try_change(&mut operation) {
            Err(Errno::ENOSPC) if !self.dead.lock().is_empty() => {
                self.commit()?;
                self.try_change(&mut operation)
            }
            result => result,
        }
    }

    /// The same for a change that adds names, which may take a block. It fails while that could be one that was
    /// promised to somebody.
    pub(crate) fn change_names<T>(
        &self,
        operation: impl FnMut(&mut Mounted) -> Ext4Result<T>,
    ) -> Result<T, Errno> {
        self.make_room(|space| space.has_room_for_names())?;
        self.change(operation)
    }

    fn try_change<T>(&self, operation: &mut impl FnMut(&mut Mounted) -> Ext4Result<T>) -> Result<T, Errno> {
        let mut core = self.core.lock();
        self.make_writable(&mut core)?;
        if core.changes >= MAX_CHANGES {
            self.sync_core(&mut core)?;
        }
        core.changes += 1;
        let result = operation(&mut core.mounted).map_err(|error| self.failed(&mut core, error));
        self.space.update(&core.mounted);
        result
    }

    /// Whether it may be changed, or may become so.
    pub(crate) fn may_write(&self) -> bool {
        self.may_write && !self.health.is_damaged()
    }

    /// Commits what was changed.
    pub(crate) fn sync_core(&self, core: &mut Core) -> Result<(), Errno> {
        core.mounted.sync().map_err(|error| self.failed(core, error))?;
        core.changes = 0;
        Ok(())
    }

    /// What comes before the first change.
    fn make_writable(&self, core: &mut Core) -> Result<(), Errno> {
        if !self.may_write() {
            return Err(Errno::EROFS);
        }
        core.make_writable(&self.disk).map_err(|error| self.failed(core, error))?;
        self.is_writable.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What an error of the crate means. One that tells of damage ends all changes, as Linux does with
    /// `errors=remount-ro`.
    pub(crate) fn failed(&self, core: &mut Core, error: Ext4Error) -> Errno {
        let reason = match damage(&error) {
            Some(reason) => reason,
            None if error.kind() == Ext4ErrorKind::JournalAborted => {
                "its journal could not be written".into()
            }
            None => return errno(error),
        };
        if self.health.note_damage(reason.clone()) {
            report_damage(&reason);
            if self.may_write {
                log::error!("ext4: no more changes are made to the file system");
                if let Err(error) = core.mark_damaged(&**self.disk.device()) {
                    log::error!("ext4: the damage could not be noted on the device: {error:?}");
                }
            }
        }
        errno(error)
    }

    /// Makes all that was changed until now durable, and frees the dead.
    pub(crate) fn commit(&self) -> Result<(), Errno> {
        self.reaps.store(true, Ordering::Release);
        self.commit_changes()
    }

    /// Makes all that was changed until now durable. To give the blocks of the dead back takes a sync more, for which nobody should have
    /// to wait who needs none: that is left to the next [`commit`](Self::commit), which comes within seconds.
    pub(crate) fn commit_changes(&self) -> Result<(), Errno> {
        self.commits.run(|| {
            let mut core = self.core.lock();
            if core.changes > 0 {
                if self.health.is_damaged() {
                    return Err(Errno::EROFS);
                }
                self.sync_core(&mut core).inspect_err(|error| self.write_errors.record(*error))?;
            }
            // Contents that went past the crate.
            self.disk.flush()?;
            // Until this sync is over the next one is not counted: all of these were before it.
            let this = self.commits.next() - 1;
            self.unsettled.lock().retain(|_, settled_by| *settled_by > this);
            self.reap(&mut core)?;
            core.fold_journal(&self.disk).map_err(|error| self.failed(&mut core, error))
        })
    }

    /// Makes durable what was written past the crate until now, and was there to be written to.
    pub(crate) fn flush(&self) -> Result<(), Errno> {
        if self.health.is_damaged() && self.may_write {
            return Err(Errno::EROFS);
        }
        self.flushes.run(|| self.disk.flush())
    }

    /// Whether contents may be written past the crate.
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.health.is_damaged() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Promises room for pages that will be written; frees space if there is too little.
    pub(crate) fn promise(&self, bytes: u64) -> Result<(), Errno> {
        if self.health.is_damaged() {
            return Err(Errno::EROFS);
        }
        if !self.is_writable.load(Ordering::Relaxed) {
            // Now, where the writer still learns of an error.
            self.make_writable(&mut self.core.lock())?;
        }
        self.make_room(|space| space.promise(bytes))
    }

    /// Asks for room, and again when that of dead inodes was freed, and what was promised has been taken: promises are
    /// cautious.
    pub(crate) fn make_room(&self, ask: impl Fn(&Space) -> Result<(), Errno>) -> Result<(), Errno> {
        if ask(&self.space).is_ok() {
            return Ok(());
        }
        if !self.dead.lock().is_empty() {
            self.commit()?;
            if ask(&self.space).is_ok() {
                return Ok(());
            }
        }
        if self.space.promised_bytes() > 0 {
            self.write_back_all()?;
        }
        ask(&self.space)
    }

    fn write_back_all(&self) -> Result<(), Errno> {
        let inodes: Vec<_> = self.inodes.lock().values().filter_map(Weak::upgrade).collect();
        let mut result = Ok(());
        for inode in inodes {
            result = result.and(inode.write_back(SyncKind::Everything));
        }
        result
    }

    /// The inode with this number.
    pub(crate) fn inode(self: &Arc<Self>, number: InodeNumber) -> Result<Arc<Ext4Inode>, Errno> {
        self.inode_gone.wait_uninterruptible(|| {
            let mut inodes = self.inodes.lock();
            match inodes.get(&number.raw()) {
                // One that is being dropped may still be writing: its successor waits.
                Some(inode) => inode.upgrade().map(Ok),
                None => {
                    let made = self
                        .read(|mounted| mounted.inode(number))
                        .and_then(|info| Ext4Inode::new(self.clone(), info));
                    let settled_by = self.unsettled.lock().get(&number.raw()).copied().unwrap_or(0);
                    Some(made.map(|inode| {
                        inode.settled_by.store(settled_by, Ordering::Relaxed);
                        if let Some(errors) = self.untold.lock().remove(&number.raw()) {
                            inode.pages.write_errors().restore(errors);
                        }
                        inode.changed_by.store(settled_by, Ordering::Relaxed);
                        let inode = Arc::new(inode);
                        inodes.insert(number.raw(), Arc::downgrade(&inode));
                        inode
                    }))
                }
            }
        })
    }

    /// The inode is about to be dropped, its pages are written. `errors` are those of its writes.
    pub(crate) fn forget(&self, number: InodeNumber, settled_by: u64, is_dead: bool, errors: &WriteErrors) {
        if !is_dead && errors.has_untold() {
            let mut untold = self.untold.lock();
            if untold.len() < MAX_UNTOLD {
                untold.insert(number.raw(), errors.snapshot());
            }
        }
        if settled_by > self.commits.last_done() {
            self.unsettled.lock().insert(number.raw(), settled_by);
        }
        self.inodes.lock().remove(&number.raw());
        self.inode_gone.wake_all();
        if is_dead {
            self.bury(number);
        }
    }

    /// Has the inode freed, which has no name any more and is in no use, once that is durable.
    pub(crate) fn bury(&self, number: InodeNumber) {
        let is_many = {
            let mut dead = self.dead.lock();
            dead.push(number);
            dead.len() >= MAX_DEAD
        };
        if is_many && let Err(error) = self.commit() {
            log::warn!("ext4: removed files could not be freed: {error:?}");
        }
    }

    /// Writes everything back and leaves the device clean, for power-off. Files may still be open:
    /// what was removed meanwhile is then freed by the next mount.
    pub fn shut_down(&self) -> Result<(), Errno> {
        if self.health.is_damaged() {
            return Ok(());
        }
        self.sync()?;
        // The directory of files without a name, unless there still are some.
        let is_empty = |mounted: &mut Mounted| unnamed::is_empty(mounted);
        if self.is_writable.load(Ordering::Relaxed) && self.read(is_empty)? {
            self.change(unnamed::sweep)?;
        }
        self.sync()?;
        let mut core = self.core.lock();
        match core.unmount(&self.disk) {
            Err(error) if error.kind() == Ext4ErrorKind::Busy => Ok(()),
            result => result.map_err(|error| self.failed(&mut core, error)),
        }
    }
}

impl FileSystem for Ext4 {
    fn name(&self) -> &'static str {
        "ext4"
    }

    fn device(&self) -> u64 {
        self.device_number
    }

    fn root(self: Arc<Self>) -> Result<Arc<dyn Inode>, Errno> {
        let number = self.core.lock().mounted.root_inode();
        Ok(self.inode(number)?)
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        let statistics = self.core.lock().mounted.statfs();
        let promised = self.space.promised_bytes() / statistics.block_size.max(1);
        let free = statistics.free_blocks.saturating_sub(promised);
        Ok(Statfs {
            kind: magic::EXT4,
            bsize: statistics.block_size as i64,
            frsize: statistics.block_size as i64,
            blocks: statistics.total_blocks,
            bfree: free,
            bavail: free,
            files: statistics.total_inodes.into(),
            ffree: statistics.free_inodes.into(),
            fsid: [self.device_number as i32, 0],
            namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }

    fn max_file_bytes(&self) -> u64 {
        // Extents number a file's blocks with 32 bits, of which the last is never used.
        u64::from(u32::MAX) * self.block_bytes
    }

    fn sync(&self) -> Result<(), Errno> {
        let result = self.write_back_all();
        result.and(self.commit())
    }

    fn write_back(&self, which: Writeback, progress: &Progress<'_>) {
        let mut dirty: Vec<(u64, Arc<Ext4Inode>)> = {
            let inodes: Vec<_> = self.inodes.lock().values().filter_map(Weak::upgrade).collect();
            inodes
                .into_iter()
                .filter_map(|inode| inode.pages.dirty_since_ns().map(|since_ns| (since_ns, inode)))
                .collect()
        };
        dirty.sort_unstable_by_key(|(since_ns, _)| *since_ns);
        for (since_ns, inode) in dirty {
            let is_due = match which {
                Writeback::OlderThan { deadline_ns } => since_ns < deadline_ns,
                Writeback::Excess => true,
            };
            if !is_due || progress() == ControlFlow::Break(()) {
                break;
            }
            if let Err(error) = inode.write_back(SyncKind::Everything) {
                log::error!("ext4: inode {} could not be written back: {error:?}", inode.number);
            }
        }
        if matches!(which, Writeback::OlderThan { .. })
            && let Err(error) = self.commit()
        {
            log::error!("ext4: changes could not be committed: {error:?}");
        }
    }

    fn trim(&self, range: Range<u64>, least: u64) -> Result<u64, Errno> {
        self.trim_range(range, least)
    }

    fn write_errors(&self) -> Option<&WriteErrors> {
        Some(&self.write_errors)
    }
}
