//! The mounted file system: the crate's lock, the inode cache, sync, and the list of the dead.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use block::BlockDevice;
use hashbrown::HashMap;
use ksync::{Mutex, WaitQueue};
use linux_abi::{
    Errno,
    file::{DeviceNumber, NAME_MAX, Statfs, magic},
};
use rsext4::{Ext4ErrorKind, Ext4Result, InodeNumber, MountOptions, MountServices};
use vfs::{FileSystem, Inode, Progress, WriteErrors, Writeback};

use crate::{
    commit::Commits,
    core_io::{Device, Mounted, RealTime},
    errno,
    inode::Ext4Inode,
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
    core: Mutex<Core>,
    pub(crate) device: Arc<dyn BlockDevice>,
    device_number: u64,
    pub(crate) commits: Commits,
    inodes: Mutex<HashMap<u32, Weak<Ext4Inode>>>,
    /// Threads that wait for an inode that is being dropped to be gone.
    inode_gone: WaitQueue,
    /// Inodes whose last name and last user are gone, and whose blocks are still to be freed.
    dead: Mutex<Vec<InodeNumber>>,
    /// Inodes that were dropped with contents that the next sync, of this number, puts on the device:
    /// their successors have to know (see `contents`).
    unsettled: Mutex<HashMap<u32, u64>>,
    /// Failed writes of dropped inodes that nobody was told of yet: their successors will be asked.
    untold: Mutex<HashMap<u32, u64>>,
    /// Failed writes of all.
    pub(crate) write_errors: WriteErrors,
    pub(crate) space: Space,
    /// Whether it may be made writable, if it is not yet.
    may_write: bool,
    /// Whether it is mounted for writing now.
    is_writable: AtomicBool,
}

/// The crate's state, and whether anything changed since the last sync.
struct Core {
    mounted: Mounted,
    /// How it is mounted now.
    access: Access,
    is_changed: bool,
}

impl Core {
    /// Mounts for writing what is mounted for reading only so far: opens the journal, and says on the device
    /// that the file system is in use. A new mount, for rsext4 0.9.2's `remount` says so through the journal,
    /// which nobody looks at after a power cut that came before the superblock itself was written (the crash
    /// test finds that).
    fn make_writable(&mut self, device: &Arc<dyn BlockDevice>) -> Ext4Result<()> {
        if self.access == Access::ReadOnly {
            self.mounted = mount(device, MountOptions::read_write())?;
            self.access = Access::ReadWrite;
        }
        Ok(())
    }
}

fn mount(device: &Arc<dyn BlockDevice>, options: MountOptions) -> Ext4Result<Mounted> {
    let services = MountServices::new(RealTime, (), rsext4::NoopObserver);
    Mounted::mount(Device::new(device.clone()), services, options)
}

/// Room for dirty pages that have no blocks yet.
#[derive(Default)]
pub(crate) struct Space {
    free_bytes: AtomicU64,
    promised_bytes: AtomicU64,
}

/// Kept back from promises for what metadata may need: extent blocks, directory blocks.
const METADATA_RESERVE_BYTES: u64 = 1 << 20;

impl Space {
    fn update(&self, mounted: &Mounted) {
        let statistics = mounted.statfs();
        let free = statistics.free_blocks.saturating_mul(statistics.block_size);
        self.free_bytes.store(free.saturating_sub(METADATA_RESERVE_BYTES), Ordering::Relaxed);
    }

    /// Promises room, if there is.
    pub(crate) fn promise(&self, bytes: u64) -> Result<(), Errno> {
        let promised = self.promised_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if promised <= self.free_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.withdraw(bytes);
        Err(Errno::ENOSPC)
    }

    /// Promises room that is known to be there.
    pub(crate) fn force(&self, bytes: u64) {
        self.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes a promise back.
    pub(crate) fn withdraw(&self, bytes: u64) {
        self.promised_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Whether the file system on `device` was left in order, with nothing to repair, by its superblock (Linux
/// Documentation/filesystems/ext4/super.rst). What is no ext4 is for the crate to refuse.
fn is_clean(device: &dyn BlockDevice) -> Result<bool, Errno> {
    const SUPERBLOCK_SECTOR: u64 = 2;
    const STATE: usize = 0x3a;
    const STATE_CLEAN: u16 = 1;
    const INCOMPATIBLE_FEATURES: usize = 0x60;
    const NEEDS_RECOVERY: u32 = 4;
    const LAST_ORPHAN: usize = 0xe8;
    let mut bytes = alloc::vec![0; 1024];
    device.read(SUPERBLOCK_SECTOR, &mut bytes)?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let state = u16::from_le_bytes([bytes[STATE], bytes[STATE + 1]]);
    Ok(state == STATE_CLEAN && word(INCOMPATIBLE_FEATURES) & NEEDS_RECOVERY == 0 && word(LAST_ORPHAN) == 0)
}

/// Of how many dropped inodes it is remembered that writing them failed. A device that fails all the time
/// must not fill memory.
const MAX_UNTOLD: usize = 4096;

/// How many dead inodes may wait for the next sync before one is made for them.
const MAX_DEAD: usize = 128;

impl Ext4 {
    /// Mounts the file system on `device`, which is known as `number`; replays its journal first, if
    /// it may write. Errors: `EINVAL` if it is no ext4, `EUCLEAN` if it is damaged, `EOPNOTSUPP` if it
    /// uses features that are not known here.
    pub fn mount(
        device: Arc<dyn BlockDevice>,
        number: DeviceNumber,
        access: Access,
    ) -> Result<Arc<Self>, Errno> {
        // The crate, and files of small blocks, think in sectors.
        let device = block::with_small_sectors(device);
        let now = match access {
            Access::ReadWrite if is_clean(&*device)? => Access::ReadOnly,
            access => access,
        };
        let options = match now {
            Access::ReadWrite => MountOptions::read_write(),
            // Without the index of the blocks that no file may have: to make it takes a third of the instructions of a
            // boot, and what it keeps from harm is written only after another mount, which has it.
            Access::ReadOnly => MountOptions::read_only_no_journal_replay().with_block_validity(false),
        };
        let mounted = mount(&device, options).map_err(errno)?;
        let space = Space::default();
        space.update(&mounted);
        Ok(Arc::new(Self {
            core: Mutex::new(Core { mounted, access: now, is_changed: false }),
            device,
            device_number: number.encode(),
            commits: Commits::default(),
            inodes: Mutex::default(),
            inode_gone: WaitQueue::new(),
            dead: Mutex::default(),
            unsettled: Mutex::default(),
            untold: Mutex::default(),
            write_errors: WriteErrors::new(),
            space,
            may_write: access == Access::ReadWrite,
            is_writable: AtomicBool::new(now == Access::ReadWrite),
        }))
    }

    /// Looks something up in the crate.
    pub(crate) fn read<T>(&self, operation: impl FnOnce(&mut Mounted) -> Ext4Result<T>) -> Result<T, Errno> {
        operation(&mut self.core.lock().mounted).map_err(errno)
    }

    /// Changes something in the crate. If there is no space, that of dead inodes is freed first.
    pub(crate) fn change<T>(
        &self,
        mut operation: impl FnMut(&mut Mounted) -> Ext4Result<T>,
    ) -> Result<T, Errno> {
        let result = self.try_change(&mut operation);
        match result {
            Err(error) if error.kind() == Ext4ErrorKind::NoSpace && !self.dead.lock().is_empty() => {
                self.commit()?;
                self.try_change(&mut operation).map_err(errno)
            }
            result => result.map_err(errno),
        }
    }

    fn try_change<T>(&self, operation: &mut impl FnMut(&mut Mounted) -> Ext4Result<T>) -> Ext4Result<T> {
        let mut core = self.core.lock();
        self.make_writable(&mut core)?;
        core.is_changed = true;
        let result = operation(&mut core.mounted);
        self.space.update(&core.mounted);
        result
    }

    /// What comes before the first change. Without the right to write, the crate refuses the change.
    fn make_writable(&self, core: &mut Core) -> Ext4Result<()> {
        if self.may_write {
            core.make_writable(&self.device)?;
            self.is_writable.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes all that was changed until now durable, and frees the dead.
    pub(crate) fn commit(&self) -> Result<(), Errno> {
        self.commits.run(|| {
            let mut core = self.core.lock();
            if core.is_changed {
                core.mounted.sync().map_err(errno).inspect_err(|error| self.write_errors.record(*error))?;
                core.is_changed = false;
            }
            // Until this sync is over the next one is not counted: all of these were before it.
            let this = self.commits.next() - 1;
            self.unsettled.lock().retain(|_, settled_by| *settled_by > this);
            self.reap(&mut core)
        })
    }

    /// Frees the blocks of dead inodes. The sync before made the removal of their names durable: were
    /// blocks freed first, a crash could leave a name that leads to another file's data.
    fn reap(&self, core: &mut Core) -> Result<(), Errno> {
        let dead = core::mem::take(&mut *self.dead.lock());
        for number in dead {
            core.is_changed = true;
            match core.mounted.reap_unlinked_inode(number) {
                Ok(()) => {}
                // The blocks stay allocated until the next mount, which finds the orphan again.
                Err(error) => log::warn!("ext4: inode {number} could not be freed: {error:?}"),
            }
        }
        self.space.update(&core.mounted);
        Ok(())
    }

    /// Promises room for pages that will be written; frees space if there is too little.
    pub(crate) fn promise(&self, bytes: u64) -> Result<(), Errno> {
        if !self.is_writable.load(Ordering::Relaxed) {
            // Now, where the writer still learns of an error.
            self.make_writable(&mut self.core.lock()).map_err(errno)?;
        }
        let result = self.space.promise(bytes);
        if result.is_err() && !self.dead.lock().is_empty() {
            self.commit()?;
            return self.space.promise(bytes);
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
        if settled_by > self.commits.last_ended() {
            self.unsettled.lock().insert(number.raw(), settled_by);
        }
        let is_many = is_dead && {
            let mut dead = self.dead.lock();
            dead.push(number);
            dead.len() >= MAX_DEAD
        };
        self.inodes.lock().remove(&number.raw());
        self.inode_gone.wake_all();
        if is_many && let Err(error) = self.commit() {
            log::warn!("ext4: removed files could not be freed: {error:?}");
        }
    }

    /// Writes everything back and leaves the device clean, for power-off. Files may still be open:
    /// what was removed meanwhile is then freed by the next mount.
    pub fn shut_down(&self) -> Result<(), Errno> {
        self.sync()?;
        self.sync()?;
        match self.core.lock().mounted.unmount() {
            Err(error) if error.kind() == Ext4ErrorKind::Busy => Ok(()),
            result => result.map_err(errno),
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
        let promised = self.space.promised_bytes.load(Ordering::Relaxed) / statistics.block_size.max(1);
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

    fn sync(&self) -> Result<(), Errno> {
        let inodes: Vec<_> = self.inodes.lock().values().filter_map(Weak::upgrade).collect();
        let mut result = Ok(());
        for inode in inodes {
            result = result.and(inode.write_back());
        }
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
            if let Err(error) = inode.write_back() {
                log::error!("ext4: inode {} could not be written back: {error:?}", inode.number);
            }
        }
        if matches!(which, Writeback::OlderThan { .. })
            && let Err(error) = self.commit()
        {
            log::error!("ext4: changes could not be committed: {error:?}");
        }
    }

    fn write_errors(&self) -> Option<&WriteErrors> {
        Some(&self.write_errors)
    }
}
