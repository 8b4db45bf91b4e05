//! The address space on the host: a processor with a TLB, and files, for the tests.

mod errors;
mod huge;
mod linux;
mod objects;
mod threads;
mod track;

use core::ops::Range;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use frames::{PAGE_SIZE, PageRef, PhysAddr};
use linux_abi::{
    Errno,
    memory::{MapFlags, Prot},
};
use page_table::{EntryFlags, LeafSize, PageTable};
use vfs::{MemoryObject, ObjectName, PageAccess, PrivateCopies};

use crate::{
    Access, AddressSpace, Config, FaultError, MapRequest, MapSource, Permission, SharedAnonymous, Tlb,
};

/// Where the tests map; the same on Linux, where nothing else is there.
pub const BASE: usize = 0x1000_0000_0000;

/// What a TLB holds: never flushed but by the code under test, so a flush that is missing shows.
#[derive(Default)]
pub struct SoftTlb {
    entries: Mutex<HashMap<usize, (PhysAddr, EntryFlags)>>,
}

impl Tlb for Arc<SoftTlb> {
    fn flush_range(&self, range: Range<usize>) {
        let start = range.start & !(PAGE_SIZE - 1);
        let mut entries = self.entries.lock().unwrap();
        if range.len() / PAGE_SIZE > entries.len() {
            entries.retain(|page, _| !(start..range.end).contains(page));
        } else {
            (start..range.end).step_by(PAGE_SIZE).for_each(|page| {
                entries.remove(&page);
            });
        }
    }

    fn flush_range_and_tables(&self, range: Range<usize>) {
        self.flush_range(range);
    }

    fn flush_all(&self) {
        self.entries.lock().unwrap().clear();
    }
}

pub struct Machine {
    pub space: AddressSpace<Arc<SoftTlb>>,
    tlb: Arc<SoftTlb>,
}

impl Machine {
    pub fn new() -> Self {
        frames::host::init();
        let tlb = Arc::new(SoftTlb::default());
        let config = Config {
            bounds: 0x1_0000..0x7fff_ffff_f000,
            mmap_base: 0x7ff0_0000_0000,
            memory_bytes: 1 << 30,
            stack_limit_bytes: 8 << 20,
        };
        let space = AddressSpace::new(config, PageTable::new().unwrap(), tlb.clone()).unwrap();
        Self { space, tlb }
    }

    /// Does an access as a processor would, faults and all: `act` gets the byte's place, with the TLB locked,
    /// so that a flush waits for it as it waits for a CPU.
    pub fn access<R>(
        &self,
        address: usize,
        access: Access,
        act: impl FnOnce(*mut u8) -> R,
    ) -> Result<R, FaultError> {
        let page = address & !(PAGE_SIZE - 1);
        let is_allowed = |flags: EntryFlags| match access {
            Access::Read => flags.contains(EntryFlags::PRESENT),
            // An entry that was cached without D is walked again for the first write (SDM vol. 3, 4.8).
            Access::Write => flags.contains(EntryFlags::PRESENT | EntryFlags::WRITABLE | EntryFlags::DIRTY),
            Access::Execute => flags & (EntryFlags::PRESENT | EntryFlags::NO_EXECUTE) == EntryFlags::PRESENT,
        };
        loop {
            {
                let mut entries = self.tlb.entries.lock().unwrap();
                if !entries.get(&page).is_some_and(|entry| is_allowed(entry.1)) {
                    // A fault drops the entry (SDM vol. 3, 4.10.4.1), a walk makes it anew.
                    entries.remove(&page);
                    self.walk(page, access, &mut entries);
                }
                if let Some((frame, flags)) = entries.get(&page)
                    && is_allowed(*flags)
                {
                    // SAFETY: the frame is mapped, and whoever unmaps it waits for the TLB before it is
                    // freed.
                    return Ok(act(unsafe { frame.as_ptr().add(address - page) }));
                }
            }
            self.space.fault(address, access)?;
        }
    }

    fn walk(
        &self,
        page: usize,
        access: Access,
        entries: &mut MutexGuard<'_, HashMap<usize, (PhysAddr, EntryFlags)>>,
    ) {
        let set = match access {
            Access::Write => EntryFlags::ACCESSED | EntryFlags::DIRTY,
            _ => EntryFlags::ACCESSED,
        };
        self.space.table.for_each_leaf(page..page + PAGE_SIZE, |first, size, cell| {
            let may = |entry: page_table::Entry| {
                entry.is_present() && (access != Access::Write || entry.has(EntryFlags::WRITABLE))
            };
            let entry = cell.load();
            if may(entry) && cell.replace(entry, entry.with(set)).is_ok() {
                let offset = if size == LeafSize::Huge { page - first } else { 0 };
                let frame = PhysAddr::new(entry.address().as_u64() + offset as u64);
                entries.insert(page, (frame, entry.with(set).flags()));
            }
        });
    }

    pub fn read(&self, address: usize) -> Result<u8, FaultError> {
        // SAFETY: `access` gives a valid place.
        self.access(address, Access::Read, |byte| unsafe { byte.read_volatile() })
    }

    pub fn write(&self, address: usize, value: u8) -> Result<(), FaultError> {
        // SAFETY: `access` gives a valid place.
        self.access(address, Access::Write, |byte| unsafe { byte.write_volatile(value) })
    }

    pub fn map_anonymous(&self, address: usize, len: usize, flags: MapFlags) -> Result<usize, Errno> {
        self.space.mmap(MapRequest {
            address,
            len,
            prot: Prot::READ | Prot::WRITE,
            map_type: 2,
            flags: flags | MapFlags::ANONYMOUS,
            source: None,
            offset: 0,
        })
    }

    pub fn map_file(
        &self,
        address: usize,
        len: usize,
        map_type: u32,
        file: &Arc<TestFile>,
        offset: u64,
    ) -> usize {
        self.space
            .mmap(MapRequest {
                address,
                len,
                prot: Prot::READ | Prot::WRITE,
                map_type,
                flags: MapFlags::FIXED,
                source: Some(source(file)),
                offset,
            })
            .unwrap()
    }
}

pub fn source(file: &Arc<TestFile>) -> MapSource {
    MapSource {
        told: None,
        object: file.clone(),
        readable: Permission::Granted,
        writable: Permission::Granted,
        unsealed: Permission::Granted,
        executable: Permission::Granted,
    }
}

/// A file whose every byte is [`pattern`] of its page.
pub struct TestFile {
    state: Mutex<FileState>,
}

#[derive(Default)]
pub struct FileState {
    pub pages: HashMap<u64, PageRef>,
    pub dirty: std::collections::HashSet<u64>,
    pub len_pages: u64,
}

pub fn pattern(index: u64) -> u8 {
    0x80 | index as u8
}

impl TestFile {
    pub fn new(len_pages: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(FileState { len_pages, ..FileState::default() }) })
    }

    pub fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap()
    }
}

impl MemoryObject for TestFile {
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        let mut state = self.state();
        if index >= state.len_pages {
            return Err(Errno::EFAULT);
        }
        if access == PageAccess::SharedWrite {
            state.dirty.insert(index);
        }
        let page = state.pages.entry(index).or_insert_with(|| {
            let page = PageRef::new_zeroed().unwrap();
            page.write(0, &[pattern(index); PAGE_SIZE]);
            page
        });
        Ok(page.clone())
    }

    fn cached_page(&self, index: u64) -> Option<PageRef> {
        // Some pages always need the slow way.
        (!index.is_multiple_of(3)).then(|| self.state().pages.get(&index).cloned()).flatten()
    }

    fn describe(&self) -> ObjectName {
        ObjectName { path: "/test".into(), device: 1, inode: 2 }
    }
}

#[test]
fn shared_anonymous_memory_ends() {
    frames::host::init();
    let memory = SharedAnonymous::new(2);
    let page = memory.page(1, PageAccess::Read).unwrap();
    page.write(0, b"x");
    assert_eq!(memory.cached_page(1), Some(page));
    assert_eq!(memory.page(2, PageAccess::Read), Err(Errno::EFAULT));
}
