//! `madvise(2)`.

use alloc::vec::Vec;
use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::{Errno, memory::Advice};
use vfs::{PageAccess, PrivateCopies};
use vma::{MAX_MAP_COUNT, VmFlags};

use crate::{Access, AddressSpace, FaultError, ObjectRef, Tlb, gather::Gather, mmap::page_align};

/// Pages of a file that `MADV_WILLNEED` reads at most for each area: 2 MiB, as much as Linux reads ahead at
/// once.
const WILLNEED_PAGES: u64 = 512;

impl<T: Tlb> AddressSpace<T> {
    /// Takes advice about `len` bytes from `address`. A gap in the range does not stop it, but gives `ENOMEM`
    /// in the end. `advice` is what the application gave.
    pub fn madvise(&self, address: usize, len: usize, advice: u32) -> Result<(), Errno> {
        let advice = Advice::from_raw(advice).ok_or(Errno::EINVAL)?;
        match advice {
            // Not compiled in (`CONFIG_MEMORY_FAILURE`); and collapsing is not done (Linux before 6.1).
            Advice::HwPoison | Advice::SoftOffline | Advice::Collapse => return Err(Errno::EINVAL),
            _ => {}
        }
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = page_align(len).ok_or(Errno::EINVAL)?;
        let end = address.checked_add(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        let range = address..end;
        let Some((set, clear)) = advised_flags(advice) else { return self.act_on_advice(range, advice) };
        let mut layout = self.layout.write();
        let mut at = range.start;
        let mut has_gap = false;
        while let Some((area, vma)) = layout.areas.find_from(at)
            && area.start < range.end
            && at < range.end
        {
            has_gap |= area.start > at;
            let piece = area.start.max(at)..area.end.min(range.end);
            at = piece.end;
            match advice {
                Advice::WipeOnFork if vma.backing.is_some() => return Err(Errno::EINVAL),
                _ => {}
            }
            let splits = layout.areas.splits_at(piece.start) + layout.areas.splits_at(piece.end);
            if layout.areas.len() + splits > MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            self.split_at_edges(&piece)?;
            layout.areas.update_flags(piece, |old| (old - clear) | set).map_err(|_| Errno::ENOMEM)?;
        }
        if has_gap || at < range.end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    fn act_on_advice(&self, range: Range<usize>, advice: Advice) -> Result<(), Errno> {
        match advice {
            Advice::DontNeed | Advice::DontNeedLocked | Advice::Free => self.discard(range, advice),
            Advice::WillNeed => self.read_ahead(range),
            Advice::PopulateRead => self.populate_by(range, Access::Read),
            Advice::PopulateWrite => self.populate_by(range, Access::Write),
            Advice::Remove => self.remove(range),
            // Cold, PageOut: there is no swap, so nothing can be put out (as on Linux without swap).
            _ => self.check_each(range, |flags| {
                if flags.contains(VmFlags::LOCKED) { Err(Errno::EINVAL) } else { Ok(()) }
            }),
        }
    }

    /// Checks each area of `range` in turn; a gap is `ENOMEM`, after all others.
    fn check_each(
        &self,
        range: Range<usize>,
        mut check: impl FnMut(VmFlags) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let layout = self.layout.read();
        for (_, vma) in layout.areas.intersecting(range.clone()) {
            check(vma.flags)?;
        }
        if layout.areas.covers(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Drops pages. Faults may go on meanwhile: the lock is held for reading only, unless a huge page must be
    /// split.
    ///
    /// `MADV_FREE` may drop them at any time from now on, and now is the simplest.
    fn discard(&self, range: Range<usize>, advice: Advice) -> Result<(), Errno> {
        let mut gather = Gather::new(self);
        let result = {
            let layout = self.layout.read();
            if self.cuts_huge_leaf(&range) {
                drop(layout);
                let layout = self.layout.write();
                self.split_at_edges(&range)
                    .and_then(|()| self.discard_locked(&layout.areas, range, advice, &mut gather))
            } else {
                self.discard_locked(&layout.areas, range, advice, &mut gather)
            }
        };
        drop(gather);
        result
    }

    fn discard_locked(
        &self,
        areas: &crate::space::Areas,
        range: Range<usize>,
        advice: Advice,
        gather: &mut Gather<'_, T>,
    ) -> Result<(), Errno> {
        let mut result = Ok(());
        for (area, vma) in areas.intersecting(range.clone()) {
            let refused = match advice {
                Advice::DontNeedLocked => false,
                Advice::Free => vma.backing.is_some(),
                _ => vma.flags.contains(VmFlags::LOCKED),
            };
            if refused {
                result = Err(Errno::EINVAL);
                break;
            }
            self.zap(area.start.max(range.start)..area.end.min(range.end), gather);
        }
        gather.flush();
        result?;
        if areas.covers(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Has the objects read what `range` shows of them.
    fn read_ahead(&self, range: Range<usize>) -> Result<(), Errno> {
        let mut wanted: Vec<(ObjectRef, Range<u64>)> = Vec::new();
        let is_covered = {
            let layout = self.layout.read();
            for (area, vma) in layout.areas.intersecting(range.clone()) {
                if let Some(backing) = &vma.backing {
                    let cut = area.start.max(range.start)..area.end.min(range.end);
                    let first = backing.page_offset + ((cut.start - area.start) / PAGE_SIZE) as u64;
                    let count = ((cut.len() / PAGE_SIZE) as u64).min(WILLNEED_PAGES);
                    wanted.push((backing.object.clone(), first..first + count));
                }
            }
            layout.areas.covers(range)
        };
        for (object, pages) in wanted {
            for index in pages {
                // Beyond its end, or unreadable: only advice.
                if object.object().page(index, PageAccess::Read).is_err() {
                    break;
                }
            }
        }
        if is_covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn populate_by(&self, range: Range<usize>, access: Access) -> Result<(), Errno> {
        for address in range.step_by(PAGE_SIZE) {
            if self.layout.read().areas.find(address).is_none() {
                return Err(Errno::ENOMEM);
            }
            if self.is_populated(address, access) {
                continue;
            }
            self.fault(address, access).map_err(|error| match error {
                FaultError::NotMapped | FaultError::OutOfMemory => Errno::ENOMEM,
                FaultError::NoAccess => Errno::EINVAL,
                FaultError::BeyondObject => Errno::EFAULT,
            })?;
        }
        Ok(())
    }

    /// `MADV_REMOVE`: has the objects make holes of what `range` shows of them. The holes are made with the
    /// map unlocked, since the objects take their pages out of all mappings.
    fn remove(&self, range: Range<usize>) -> Result<(), Errno> {
        let mut holes: Vec<(ObjectRef, Range<u64>)> = Vec::new();
        let checked = {
            let layout = self.layout.read();
            let mut checked = Ok(());
            for (area, vma) in layout.areas.intersecting(range.clone()) {
                let Some(backing) = &vma.backing else {
                    checked = Err(Errno::EINVAL);
                    break;
                };
                if vma.flags.contains(VmFlags::LOCKED) {
                    checked = Err(Errno::EINVAL);
                    break;
                }
                if !vma.flags.contains(VmFlags::SHARED | VmFlags::WRITE) {
                    checked = Err(Errno::EACCES);
                    break;
                }
                let cut = area.start.max(range.start)..area.end.min(range.end);
                let first = backing.page_offset + ((cut.start - area.start) / PAGE_SIZE) as u64;
                holes.push((backing.object.clone(), first..first + (cut.len() / PAGE_SIZE) as u64));
            }
            checked.and(if layout.areas.covers(range) { Ok(()) } else { Err(Errno::ENOMEM) })
        };
        // Those before the first that may not be changed are changed, as on Linux.
        for (object, pages) in holes {
            object.object().remove_pages(pages.clone())?;
            if object.kind == crate::object::ObjectKind::SharedMemory {
                self.unmap_object_range(&**object.object(), pages, PrivateCopies::Unmap);
            }
        }
        checked
    }
}

/// The flags that an advice sets and clears, if that is all it does.
fn advised_flags(advice: Advice) -> Option<(VmFlags, VmFlags)> {
    let none = VmFlags::empty();
    Some(match advice {
        Advice::Normal => (none, VmFlags::RAND_READ | VmFlags::SEQ_READ),
        Advice::Random => (VmFlags::RAND_READ, VmFlags::SEQ_READ),
        Advice::Sequential => (VmFlags::SEQ_READ, VmFlags::RAND_READ),
        Advice::DontFork => (VmFlags::DONTCOPY, none),
        Advice::DoFork => (none, VmFlags::DONTCOPY),
        Advice::Mergeable => (VmFlags::MERGEABLE, none),
        Advice::Unmergeable => (none, VmFlags::MERGEABLE),
        Advice::HugePage => (VmFlags::HUGEPAGE, VmFlags::NOHUGEPAGE),
        Advice::NoHugePage => (VmFlags::NOHUGEPAGE, VmFlags::HUGEPAGE),
        Advice::DontDump => (VmFlags::DONTDUMP, none),
        Advice::DoDump => (none, VmFlags::DONTDUMP),
        Advice::WipeOnFork => (VmFlags::WIPEONFORK, none),
        Advice::KeepOnFork => (none, VmFlags::WIPEONFORK),
        _ => return None,
    })
}
