//! `mprotect(2)`.

use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::{Errno, memory::Prot};
use page_table::{Entry, EntryFlags};
use vma::{MAX_MAP_COUNT, VmFlags};

use crate::{
    AddressSpace, Tlb,
    gather::Gather,
    mmap::{is_accountable, page_align, prot_flags},
};

impl<T: Tlb> AddressSpace<T> {
    /// Changes the rights to `len` bytes from `address`. Where the range has a gap, or rights that may not be
    /// granted, what comes before is changed nevertheless, as on Linux. `prot` is what the application gave.
    pub fn mprotect(&self, address: usize, len: usize, prot: u32) -> Result<(), Errno> {
        let grows = prot & (Prot::GROWSDOWN | Prot::GROWSUP).bits();
        if grows == (Prot::GROWSDOWN | Prot::GROWSUP).bits() || !address.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = page_align(len).filter(|&len| len > 0).and_then(|len| address.checked_add(len));
        let end = end.ok_or(Errno::ENOMEM)?;
        let prot = Prot::from_raw(prot)?;
        if end > self.config.bounds.end {
            // There is a gap at the end for certain, but what lies before it is changed first.
            self.protect(address..self.config.bounds.end, prot)?;
            return Err(Errno::ENOMEM);
        }
        self.protect(address..end, prot)
    }

    fn protect(&self, mut range: Range<usize>, prot: Prot) -> Result<(), Errno> {
        let mut gather = Gather::new(self);
        let mut layout = self.layout.write();
        let (first, first_flags) = match layout.areas.find_from(range.start) {
            Some((first, vma)) => (first, vma.flags),
            None => return Err(Errno::ENOMEM),
        };
        if prot.contains(Prot::GROWSDOWN) {
            if first.start >= range.end {
                return Err(Errno::ENOMEM);
            }
            if !first_flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            range.start = first.start;
        } else if first.start > range.start {
            return Err(Errno::ENOMEM);
        } else if prot.contains(Prot::GROWSUP) {
            // No area grows up on x86.
            return Err(Errno::EINVAL);
        }
        let access = prot_flags(prot);
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            let Some((area, vma)) = layout.areas.find(at) else {
                result = Err(Errno::ENOMEM);
                break;
            };
            let old = vma.flags;
            let piece = at..area.end.min(range.end);
            at = piece.end;
            if !(old & VmFlags::from_bits_retain(access.as_may().bits())).contains(access.as_may()) {
                result = Err(Errno::EACCES);
                break;
            }
            let mut new = (old - VmFlags::ACCESS) | access;
            if new == old {
                continue;
            }
            if is_accountable(new) && !old.intersects(VmFlags::ACCOUNT | VmFlags::WRITE) {
                result = self.check_commit(piece.len());
                new |= VmFlags::ACCOUNT;
            }
            let splits = layout.areas.splits_at(piece.start) + layout.areas.splits_at(piece.end);
            if layout.areas.len() + splits > MAX_MAP_COUNT {
                result = Err(Errno::ENOMEM);
            }
            result = result
                .and_then(|()| self.split_at_edges(&piece))
                .and_then(|()| layout.areas.update_flags(piece.clone(), |_| new).map_err(|_| Errno::ENOMEM));
            if result.is_err() {
                break;
            }
            self.change_rights(piece, new, &mut gather);
        }
        gather.flush();
        result
    }

    /// Gives the leaves of `range` the rights of an area with `flags`.
    fn change_rights(&self, range: Range<usize>, flags: VmFlags, gather: &mut Gather<'_, T>) {
        let rights = EntryFlags::PRESENT | EntryFlags::WRITABLE | EntryFlags::NO_EXECUTE;
        self.table.for_each_leaf(range, |address, size, cell| {
            let wanted = |found: Entry| {
                let mut new = found.without(rights).with(Self::read_flags(flags));
                if found.has(EntryFlags::ANONYMOUS) {
                    // Without DIRTY: if somebody counts on the bit, being allowed to write is not writing.
                    new = new.with(Self::write_flag(flags) & EntryFlags::WRITABLE);
                } else if flags.contains(VmFlags::SHARED | VmFlags::WRITE) && found.has(EntryFlags::WRITABLE)
                {
                    // The object knows it as dirty already.
                    new = new.with(EntryFlags::WRITABLE);
                }
                new
            };
            let before = cell.update(|found| Some(wanted(found)));
            let Some(before) = before else { return };
            let after = wanted(before);
            let lost = before.flags() & !after.flags() & (EntryFlags::PRESENT | EntryFlags::WRITABLE);
            let no_execute = after.has(EntryFlags::NO_EXECUTE) && !before.has(EntryFlags::NO_EXECUTE);
            if before.is_present() && (!lost.is_empty() || no_execute) {
                gather.stale(address..address + size.bytes());
            }
        });
    }
}
