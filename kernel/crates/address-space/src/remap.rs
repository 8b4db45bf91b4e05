//! `mremap(2)`.

use core::ops::Range;

use frames::{HUGE_PAGE_SIZE, PAGE_SIZE};
use linux_abi::{Errno, memory::MremapFlags};
use page_table::{Entry, EntryFlags, LeafSize, Slot};
use vma::{MAX_MAP_COUNT, VmFlags};

use crate::{
    AddressSpace, Tlb,
    gather::Gather,
    mmap::{check_split, is_accountable, page_align},
    space::{AreaVma, Layout},
};

impl<T: Tlb> AddressSpace<T> {
    /// Makes a mapping larger or smaller, moving it if `flags` allow and it must; returns where it is.
    ///
    /// All arguments are checked before the mapping is looked up, as in recent Linux (`check_mremap_params`,
    /// 6.17).
    pub fn mremap(
        &self,
        old_address: usize,
        old_len: usize,
        new_len: usize,
        flags: MremapFlags,
        new_address: usize,
    ) -> Result<usize, Errno> {
        let is_fixed = flags.contains(MremapFlags::FIXED);
        let keeps_old = flags.contains(MremapFlags::DONTUNMAP);
        let may_move = flags.contains(MremapFlags::MAYMOVE);
        if (is_fixed || keeps_old) && !may_move || keeps_old && old_len != new_len {
            return Err(Errno::EINVAL);
        }
        if !old_address.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let old_len = page_align(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_align(new_len).filter(|&len| len != 0).ok_or(Errno::EINVAL)?;
        let Range { start: lowest, end: limit } = self.config.bounds;
        if new_len > limit {
            return Err(Errno::EINVAL);
        }
        if is_fixed {
            let overlaps = || old_address < new_address + new_len && new_address < old_address + old_len;
            if !new_address.is_multiple_of(PAGE_SIZE) || new_address > limit - new_len {
                return Err(Errno::EINVAL);
            }
            if old_len <= limit && old_address <= limit && overlaps() {
                return Err(Errno::EINVAL);
            }
            if new_address < lowest {
                return Err(Errno::EPERM);
            }
        }
        if old_address > limit || old_len > limit - old_address {
            return Err(Errno::EFAULT);
        }

        let mut gather = Gather::new(self);
        let (address, populate) = {
            let mut layout = self.layout.write();
            let (area, vma) = layout.areas.find(old_address).ok_or(Errno::EFAULT)?;
            let vma = vma.advanced(old_address - area.start);
            let old = old_address..old_address + old_len;
            let locked = vma.flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED;
            let address = if is_fixed || keeps_old {
                let target = is_fixed.then_some(new_address);
                self.remap_to(&mut layout, old, new_len, area.end, &vma, target, keeps_old, &mut gather)?
            } else if old_len >= new_len && old_len != 0 {
                let tail = old_address + new_len..old.end;
                if !tail.is_empty() {
                    check_split(&layout.areas, &tail)?;
                    self.unmap_locked(&mut layout, tail, &mut gather)?;
                }
                old_address
            } else {
                self.check_resize(&layout, &vma, &old, new_len, area.end)?;
                let grown = old.end..old_address.checked_add(new_len).ok_or(Errno::ENOMEM)?;
                if old_len != 0
                    && area.end == old.end
                    && grown.end <= limit
                    && layout.areas.is_free(grown.clone())
                {
                    let grown_vma = vma.advanced(old_len);
                    layout.areas.insert(grown, grown_vma).map_err(|_| Errno::ENOMEM)?;
                    old_address
                } else if may_move {
                    self.remap_to(&mut layout, old, new_len, area.end, &vma, None, false, &mut gather)?
                } else {
                    return Err(Errno::ENOMEM);
                }
            };
            gather.flush();
            (address, (locked && new_len > old_len).then(|| address + old_len..address + new_len))
        };
        drop(gather);
        if let Some(range) = populate {
            let _ = self.populate(range);
        }
        Ok(address)
    }

    /// Linux's `vma_to_resize`.
    fn check_resize(
        &self,
        layout: &Layout,
        vma: &AreaVma,
        old: &Range<usize>,
        new_len: usize,
        area_end: usize,
    ) -> Result<(), Errno> {
        // A length of 0 duplicates a shared mapping; of a private one there is nothing to share.
        if old.is_empty() && !vma.flags.contains(VmFlags::SHARED) {
            return Err(Errno::EINVAL);
        }
        if old.end > area_end {
            return Err(Errno::EFAULT);
        }
        if let Some(backing) = &vma.backing
            && backing.page_offset.checked_add((new_len / PAGE_SIZE) as u64).is_none()
        {
            return Err(Errno::EINVAL);
        }
        self.check_limits(layout, vma.flags, new_len.saturating_sub(old.len()), 0)?;
        if is_accountable(vma.flags) {
            self.check_commit(new_len.saturating_sub(old.len()))?;
        }
        Ok(())
    }

    /// Moves `old` to `target`, or wherever there is room.
    #[allow(clippy::too_many_arguments, reason = "one call, in its parts")]
    fn remap_to(
        &self,
        layout: &mut Layout,
        mut old: Range<usize>,
        new_len: usize,
        area_end: usize,
        vma: &AreaVma,
        target: Option<usize>,
        keeps_old: bool,
        gather: &mut Gather<'_, T>,
    ) -> Result<usize, Errno> {
        // Two splits and a new area, with what Linux leaves spare (`mremap_to`).
        if layout.areas.len() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        self.check_resize(layout, vma, &old, new_len, area_end)?;
        if let Some(target) = target {
            self.unmap_locked(layout, target..target + new_len, gather)?;
            if old.is_empty() && (target..target + new_len).contains(&old.start) {
                // What was to be duplicated was in the way and is gone; Linux finds that out here too.
                return Err(Errno::EFAULT);
            }
        }
        if old.len() > new_len {
            self.unmap_locked(layout, old.start + new_len..old.end, gather)?;
            old.end = old.start + new_len;
        }
        let new_start = match target {
            Some(target) => target,
            None => self.find_gap(&layout.areas, new_len, vma.backing.is_none())?,
        };
        self.split_at_edges(&old)?;
        layout.areas.insert(new_start..new_start + new_len, vma.clone()).map_err(|_| Errno::ENOMEM)?;
        if let Err(error) = self.move_leaves(&old, new_start, gather) {
            // What was moved goes back: the tables for it exist, so this cannot fail.
            let _ = self.move_leaves(&(new_start..new_start + old.len()), old.start, gather);
            self.unmap_locked(layout, new_start..new_start + new_len, gather)?;
            return Err(error);
        }
        // All at once, and before anything can be mapped where it was.
        gather.flush();
        if !keeps_old && !old.is_empty() {
            self.unmap_locked(layout, old, gather)?;
        }
        Ok(new_start)
    }

    /// A leaf at its new address, where what it maps is new: tracking of writes (`mmu-gc`) must see that.
    fn moved(entry: Entry) -> Entry {
        if entry.has(EntryFlags::ANONYMOUS) { entry.with(EntryFlags::DIRTY) } else { entry }
    }

    /// Moves the leaves of `old` to `new_start`. The lock is held for writing.
    fn move_leaves(
        &self,
        old: &Range<usize>,
        new_start: usize,
        gather: &mut Gather<'_, T>,
    ) -> Result<(), Errno> {
        let can_move_huge = (new_start ^ old.start).is_multiple_of(HUGE_PAGE_SIZE);
        let mut at = old.start;
        while at < old.end {
            let next = ((at | (HUGE_PAGE_SIZE - 1)) + 1).min(old.end);
            let to = new_start + (at - old.start);
            match self.table.query(at) {
                Some((_, LeafSize::Huge)) if can_move_huge => {
                    let target = self.table.huge_slot(to).map_err(|_| Errno::ENOMEM)?;
                    if target.load().is_empty() {
                        let source = self.table.huge_slot(at).map_err(|_| Errno::ENOMEM)?;
                        let entry = Self::moved(source.take());
                        gather.stale(at..next);
                        target.replace(Entry::EMPTY, entry).map_err(|_| Errno::ENOMEM)?;
                        at = next;
                        continue;
                    }
                    // A table, empty by now, is in the way: go in small steps.
                    self.split_at_edges(&(at + PAGE_SIZE..next))?;
                }
                Some((_, LeafSize::Huge)) => self.split_at_edges(&(at + PAGE_SIZE..next))?,
                _ => {}
            }
            let mut result = Ok(());
            self.table.for_each_leaf(at..next, |address, _, cell| {
                if result.is_ok() {
                    match self.table.small_slot(new_start + (address - old.start)) {
                        Ok(Slot::Small(target)) => {
                            let entry = Self::moved(cell.take());
                            if entry.has(EntryFlags::PRESENT) {
                                gather.stale(address..address + PAGE_SIZE);
                            }
                            let installed = target.replace(Entry::EMPTY, entry);
                            debug_assert_eq!(installed, Ok(()), "the target was unmapped under the lock");
                        }
                        _ => result = Err(Errno::ENOMEM),
                    }
                }
            });
            result?;
            at = next;
        }
        Ok(())
    }
}
