//! `mmap(2)` and `munmap(2)`.
//!
//! The checks come in the order in which Linux makes them (`ksys_mmap_pgoff`, `do_mmap`, `mmap_region`), so that a call with
//! several mistakes gets the same errno.

use alloc::sync::Arc;
use core::{ops::Range, sync::atomic::Ordering};

use frames::{HUGE_PAGE_SIZE, PAGE_SIZE};
use linux_abi::{
    Errno,
    memory::{HUGE_SHIFT, MapFlags, MapType, Prot},
};
use vfs::{ErrorCursor, MemoryObject};
use vma::{Backing, GapRequest, MAX_MAP_COUNT, VmFlags, Vma};

use crate::{
    Access, AddressSpace, ObjectRef, SharedAnonymous, Tlb,
    gather::Gather,
    space::{Areas, Layout},
};

/// The file of a mapping, and what its descriptor was opened for.
pub struct MapSource {
    /// Its memory.
    pub object: Arc<dyn MemoryObject>,
    /// What its open file was told of failed writes, which `msync(2)` goes on with.
    pub told: Option<Arc<ErrorCursor>>,
    /// `O_RDONLY` or `O_RDWR`.
    pub readable: Permission,
    /// `O_WRONLY` or `O_RDWR`.
    pub writable: Permission,
    /// Whether shared mappings may write: no if a memfd is sealed against it.
    pub unsealed: Permission,
    /// No if the file system is mounted `noexec`.
    pub executable: Permission,
}

/// Whether something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It is.
    Granted,
    /// It is not.
    Denied,
}

/// The arguments of `mmap(2)`.
pub struct MapRequest {
    /// Where, or where preferably.
    pub address: usize,
    /// Bytes.
    pub len: usize,
    /// Access.
    pub prot: Prot,
    /// The low bits of the flags, as the application gave them.
    pub map_type: u32,
    /// The rest of the flags.
    pub flags: MapFlags,
    /// The file; `None` with `MAP_ANONYMOUS`.
    pub source: Option<MapSource>,
    /// Where in the file, in bytes.
    pub offset: u64,
}

/// Largest offset that Linux lets a file have.
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// The flags that `MAP_SHARED_VALIDATE` lets pass (Linux's `LEGACY_MAP_MASK`; 0x80 is `MAP_ABOVE4G`). `MAP_SYNC` comes on
/// top for file systems in persistent memory, of which there are none.
const LEGACY_FLAGS: u32 = MapFlags::all()
    .difference(MapFlags::SYNC)
    .difference(MapFlags::FIXED_NOREPLACE)
    .difference(MapFlags::HUGE_SIZE_MASK)
    .bits()
    | 0x80;

/// Where `MAP_32BIT` mappings go (`find_start_end` in `arch/x86/kernel/sys_x86_64.c`).
const LOW_BOUNDS: Range<usize> = 0x4000_0000..0x8000_0000;

pub(crate) fn page_align(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(PAGE_SIZE)
}

pub(crate) fn prot_flags(prot: Prot) -> VmFlags {
    let mut flags = VmFlags::empty();
    flags.set(VmFlags::READ, prot.contains(Prot::READ));
    flags.set(VmFlags::WRITE, prot.contains(Prot::WRITE));
    flags.set(VmFlags::EXEC, prot.contains(Prot::EXEC));
    flags
}

/// All that `mprotect(2)` may grant.
pub(crate) const MAY_ALL: VmFlags = VmFlags::MAYREAD.union(VmFlags::MAYWRITE).union(VmFlags::MAYEXEC);

/// Whether memory of such an area is accounted for (Linux's `accountable_mapping`).
pub(crate) fn is_accountable(flags: VmFlags) -> bool {
    flags & (VmFlags::NORESERVE | VmFlags::SHARED | VmFlags::WRITE) == VmFlags::WRITE
}

impl<T: Tlb> AddressSpace<T> {
    /// Maps something and returns where.
    pub fn mmap(&self, request: MapRequest) -> Result<usize, Errno> {
        if !request.offset.is_multiple_of(PAGE_SIZE as u64) {
            return Err(Errno::EINVAL);
        }
        if request.flags.contains(MapFlags::HUGETLB) {
            return Err(huge_tlb_error(&request));
        }
        if request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_align(request.len).ok_or(Errno::ENOMEM)?;
        let page_offset = request.offset / PAGE_SIZE as u64;
        let is_populate = request.flags.contains(MapFlags::LOCKED)
            || request.flags & (MapFlags::POPULATE | MapFlags::NONBLOCK) == MapFlags::POPULATE;

        let mut gather = Gather::new(self);
        let (address, is_locked) = {
            let mut layout = self.layout.write();
            if layout.areas.len() > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            let address = self.place(&layout.areas, &request, len)?;
            let (mut flags, object) = self.resolve(&layout, request, len)?;
            if is_accountable(flags) {
                self.check_commit(len)?;
                flags |= VmFlags::ACCOUNT;
            }
            let range = address..address + len;
            self.check_limits(&layout, flags, len, layout.areas.mapped_bytes(range.clone()))?;
            self.unmap_locked(&mut layout, range.clone(), &mut gather)?;
            if let Some(object) = &object {
                self.mapped_objects.lock().insert(object.key());
            }
            // Shared anonymous memory begins at its first page, whatever the caller said.
            let backing = object.map(|object| Backing {
                page_offset: if object.kind == crate::object::ObjectKind::File { page_offset } else { 0 },
                object,
            });
            layout.areas.insert(range, Vma { flags, backing }).map_err(|_| Errno::ENOMEM)?;
            (address, flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED)
        };
        drop(gather);
        if is_populate || is_locked {
            // As on Linux, that it does not succeed is no error of the call.
            let _ = self.populate(address..address + len);
        }
        Ok(address)
    }

    /// Where a new mapping goes (`get_unmapped_area`).
    fn place(&self, areas: &Areas, request: &MapRequest, len: usize) -> Result<usize, Errno> {
        let Range { start: lowest, end: limit } = self.config.bounds;
        if len > limit {
            return Err(Errno::ENOMEM);
        }
        let address = request.address;
        if request.flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE) {
            if address > limit - len {
                return Err(Errno::ENOMEM);
            }
            if !address.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            if address < lowest {
                // Below `vm.mmap_min_addr`, for everybody: see `Config::bounds`.
                return Err(Errno::EPERM);
            }
            if request.flags.contains(MapFlags::FIXED_NOREPLACE) && !areas.is_free(address..address + len) {
                return Err(Errno::EEXIST);
            }
            return Ok(address);
        }
        let bounds = if request.flags.contains(MapFlags::MAP_32BIT) { LOW_BOUNDS } else { lowest..limit };
        // Linux rounds a hint down (`round_hint_to_min`).
        let hint = address & !(PAGE_SIZE - 1);
        if hint != 0 {
            let hint = hint.max(lowest);
            if hint >= bounds.start
                && hint <= bounds.end.saturating_sub(len)
                && areas.is_free(hint..hint + len)
            {
                return Ok(hint);
            }
        }
        if request.flags.contains(MapFlags::MAP_32BIT) {
            let gap = GapRequest { len, bounds, align: PAGE_SIZE };
            return areas.find_gap_bottom_up(&gap).ok_or(Errno::ENOMEM);
        }
        self.find_gap(areas, len, request.source.is_none())
    }

    /// A free range of `len` bytes: below the base if there is room, else anywhere.
    pub(crate) fn find_gap(&self, areas: &Areas, len: usize, is_anonymous: bool) -> Result<usize, Errno> {
        let Range { start, end } = self.config.bounds;
        let below = GapRequest { len, bounds: start..self.config.mmap_base, align: PAGE_SIZE };
        // Room for huge pages is aligned for them if that can be, as Linux does since 6.7.
        let aligned = (is_anonymous && len >= HUGE_PAGE_SIZE && len.is_multiple_of(HUGE_PAGE_SIZE))
            .then(|| areas.find_gap_top_down(&GapRequest { align: HUGE_PAGE_SIZE, ..below.clone() }))
            .flatten();
        aligned
            .or_else(|| areas.find_gap_top_down(&below))
            .or_else(|| areas.find_gap_bottom_up(&GapRequest { bounds: start..end, ..below }))
            .ok_or(Errno::ENOMEM)
    }

    /// The flags and the object of a new area.
    fn resolve(
        &self,
        layout: &Layout,
        request: MapRequest,
        len: usize,
    ) -> Result<(VmFlags, Option<ObjectRef>), Errno> {
        let mut flags = prot_flags(request.prot) | MAY_ALL | layout.future_flags;
        flags.set(VmFlags::NORESERVE, request.flags.contains(MapFlags::NORESERVE));
        flags.set(VmFlags::GROWSDOWN, request.flags.contains(MapFlags::GROWSDOWN));
        if request.flags.contains(MapFlags::LOCKED) {
            flags |= VmFlags::LOCKED;
        }
        let map_type = MapType::from_raw(request.map_type);
        let Some(source) = request.source else {
            return match map_type {
                Some(MapType::Private) => Ok((flags, None)),
                Some(MapType::Shared) if !flags.contains(VmFlags::GROWSDOWN) => {
                    let object = Arc::new(SharedAnonymous::new((len / PAGE_SIZE) as u64));
                    Ok((flags | VmFlags::SHARED, Some(ObjectRef::shared_memory(object))))
                }
                _ => Err(Errno::EINVAL),
            };
        };
        if request.offset.checked_add(len as u64).is_none_or(|end| end > MAX_FILE_BYTES) {
            return Err(Errno::EOVERFLOW);
        }
        match map_type {
            Some(kind @ (MapType::Shared | MapType::SharedValidate)) => {
                if kind == MapType::SharedValidate && request.flags.bits() & !LEGACY_FLAGS != 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                flags |= VmFlags::SHARED;
                if source.writable == Permission::Denied {
                    if request.prot.contains(Prot::WRITE) {
                        return Err(Errno::EACCES);
                    }
                    flags -= VmFlags::MAYWRITE;
                }
                if source.unsealed == Permission::Denied {
                    if request.prot.contains(Prot::WRITE) {
                        return Err(Errno::EPERM);
                    }
                    flags -= VmFlags::MAYWRITE;
                }
            }
            Some(MapType::Private) => {}
            None => return Err(Errno::EINVAL),
        }
        if source.readable == Permission::Denied {
            return Err(Errno::EACCES);
        }
        if source.executable == Permission::Denied {
            if request.prot.contains(Prot::EXEC) {
                return Err(Errno::EPERM);
            }
            flags -= VmFlags::MAYEXEC;
        }
        if flags.contains(VmFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        Ok((flags, Some(ObjectRef::file(source.object, source.told))))
    }

    /// Linux's heuristic overcommit (`vm.overcommit_memory` 0): only what could never be had is refused.
    pub(crate) fn check_commit(&self, len: usize) -> Result<(), Errno> {
        if len > self.config.memory_bytes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Whether the process's limits allow `len` more bytes of an area with `flags`, in place of `replaced` bytes
    /// (Linux's `may_expand_vm`).
    pub(crate) fn check_limits(
        &self,
        layout: &Layout,
        flags: VmFlags,
        len: usize,
        replaced: usize,
    ) -> Result<(), Errno> {
        let limits = &self.limits;
        let exceeds = |taken: usize, limit: usize| taken.saturating_sub(replaced).saturating_add(len) > limit;
        let address_space = limits.address_space_bytes.load(Ordering::Relaxed);
        if address_space != usize::MAX && exceeds(layout.areas.total_bytes(), address_space) {
            return Err(Errno::ENOMEM);
        }
        // Private writable memory other than stacks (`is_data_mapping`). It is counted only if somebody limits it.
        let is_data = |flags: VmFlags| {
            flags & (VmFlags::WRITE | VmFlags::SHARED | VmFlags::GROWSDOWN) == VmFlags::WRITE
        };
        let data = limits.data_bytes.load(Ordering::Relaxed);
        if data != usize::MAX && is_data(flags) {
            let areas = layout.areas.intersecting(self.config.bounds.clone());
            let taken = areas.filter(|(_, vma)| is_data(vma.flags)).map(|(area, _)| area.len()).sum();
            if exceeds(taken, data) {
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    /// Unmaps what is mapped in `len` bytes from `address`.
    pub fn munmap(&self, address: usize, len: usize) -> Result<(), Errno> {
        let range = self.unmap_range(address, len)?;
        let mut gather = Gather::new(self);
        let result = {
            let mut layout = self.layout.write();
            check_split(&layout.areas, &range)
                .and_then(|()| self.unmap_locked(&mut layout, range, &mut gather))
        };
        drop(gather);
        result
    }

    pub(crate) fn unmap_range(&self, address: usize, len: usize) -> Result<Range<usize>, Errno> {
        let limit = self.config.bounds.end;
        if !address.is_multiple_of(PAGE_SIZE) || address > limit || len > limit - address || len == 0 {
            return Err(Errno::EINVAL);
        }
        Ok(address..address + page_align(len).ok_or(Errno::EINVAL)?)
    }

    /// Makes the pages of `range` present, as far as its areas allow.
    pub(crate) fn populate(&self, range: Range<usize>) -> Result<(), crate::FaultError> {
        for address in range.step_by(PAGE_SIZE) {
            let access = {
                let layout = self.layout.read();
                let Some((_, vma)) = layout.areas.find(address) else {
                    return Err(crate::FaultError::NotMapped);
                };
                if vma.flags & (VmFlags::WRITE | VmFlags::SHARED) == VmFlags::WRITE {
                    Access::Write
                } else {
                    Access::Read
                }
            };
            if !self.is_populated(address, access) {
                self.fault(address, access)?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_populated(&self, address: usize, access: Access) -> bool {
        use page_table::EntryFlags;
        let wanted = match access {
            Access::Write => EntryFlags::PRESENT | EntryFlags::WRITABLE,
            _ => EntryFlags::PRESENT,
        };
        self.table.query(address).is_some_and(|(entry, _)| entry.has(wanted))
    }
}

/// Unmapping the middle of an area makes two of it, for which there must be room (`do_vmi_align_munmap`).
pub(crate) fn check_split(areas: &Areas, range: &Range<usize>) -> Result<(), Errno> {
    let is_inside =
        areas.find(range.start).is_some_and(|(area, _)| area.start < range.start && range.end < area.end);
    if is_inside && areas.len() >= MAX_MAP_COUNT { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// There are no reserved huge pages, as on a Linux with `vm.nr_hugepages` 0.
fn huge_tlb_error(request: &MapRequest) -> Errno {
    if request.source.is_some() {
        return Errno::EINVAL;
    }
    // No size is the default, 2 MiB; x86-64 has 2 MiB and 1 GiB.
    match (request.flags & MapFlags::HUGE_SIZE_MASK).bits() >> HUGE_SHIFT {
        0 | 21 | 30 => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}
