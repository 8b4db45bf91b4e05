//! `mlock(2)` and its kin. Nothing is ever swapped, so a lock is a flag, and pages made present.

use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::{
    Errno,
    memory::{MLOCK_ONFAULT, MlockallFlags},
};
use vma::VmFlags;

use crate::{AddressSpace, FaultError, Tlb, mmap::page_align};

const LOCK_FLAGS: VmFlags = VmFlags::LOCKED.union(VmFlags::LOCKONFAULT);

impl<T: Tlb> AddressSpace<T> {
    /// `mlock2(2)`; `flags` as the application gave them, 0 for `mlock(2)`.
    pub fn mlock(&self, address: usize, len: usize, flags: u32) -> Result<(), Errno> {
        if flags & !MLOCK_ONFAULT != 0 {
            return Err(Errno::EINVAL);
        }
        let is_on_fault = flags & MLOCK_ONFAULT != 0;
        let range = lock_range(address, len)?;
        let locked = if is_on_fault { LOCK_FLAGS } else { VmFlags::LOCKED };
        self.set_lock_flags(range.clone(), locked)?;
        if is_on_fault {
            return Ok(());
        }
        self.populate(range).map_err(|error| match error {
            // Linux's `__mlock_posix_error_return`.
            FaultError::OutOfMemory => Errno::EAGAIN,
            _ => Errno::ENOMEM,
        })
    }

    /// `munlock(2)`.
    pub fn munlock(&self, address: usize, len: usize) -> Result<(), Errno> {
        self.set_lock_flags(lock_range(address, len)?, VmFlags::empty())
    }

    fn set_lock_flags(&self, range: Range<usize>, flags: VmFlags) -> Result<(), Errno> {
        let mut layout = self.layout.write();
        // What comes before a gap is changed nevertheless, as on Linux.
        let mut at = range.start;
        while at < range.end {
            let Some((area, _)) = layout.areas.find(at) else { return Err(Errno::ENOMEM) };
            let end = area.end.min(range.end);
            let change = |old: VmFlags| (old - LOCK_FLAGS) | flags;
            self.split_at_edges(&(at..end))?;
            layout.areas.update_flags(at..end, change).map_err(|_| Errno::ENOMEM)?;
            at = end;
        }
        Ok(())
    }

    /// `mlockall(2)`.
    pub fn mlockall(&self, flags: u32) -> Result<(), Errno> {
        let flags = MlockallFlags::from_raw(flags)?;
        if flags.is_empty() || flags == MlockallFlags::ONFAULT {
            return Err(Errno::EINVAL);
        }
        let on_fault = flags.contains(MlockallFlags::ONFAULT);
        let locked = if on_fault { LOCK_FLAGS } else { VmFlags::LOCKED };
        let bounds = self.config.bounds.clone();
        {
            let mut layout = self.layout.write();
            layout.future_flags =
                if flags.contains(MlockallFlags::FUTURE) { locked } else { VmFlags::empty() };
            if !flags.contains(MlockallFlags::CURRENT) {
                return Ok(());
            }
            let change = |old: VmFlags| (old - LOCK_FLAGS) | locked;
            layout.areas.update_flags(bounds.clone(), change).map_err(|_| Errno::ENOMEM)?;
        }
        if !on_fault {
            // As on Linux, that not all can be made present is no error of the call.
            let mut at = bounds.start;
            loop {
                let next = self.layout.read().areas.find_from(at).map(|(area, _)| area);
                let Some(area) = next else { break };
                at = area.end;
                let _ = self.populate(area);
            }
        }
        Ok(())
    }

    /// `munlockall(2)`.
    pub fn munlockall(&self) -> Result<(), Errno> {
        let mut layout = self.layout.write();
        layout.future_flags = VmFlags::empty();
        let bounds = self.config.bounds.clone();
        layout.areas.update_flags(bounds, |old| old - LOCK_FLAGS).map_err(|_| Errno::ENOMEM)
    }
}

/// The pages that hold any of `len` bytes from `address`.
fn lock_range(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    let start = address & !(PAGE_SIZE - 1);
    let len = len.checked_add(address - start).and_then(page_align).ok_or(Errno::EINVAL)?;
    Ok(start..start.checked_add(len).ok_or(Errno::EINVAL)?)
}
