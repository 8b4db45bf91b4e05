//! The break (`brk(2)`) and the main thread's stack.

use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::Errno;
use vma::{VmFlags, Vma};

use crate::{
    AddressSpace, Tlb,
    gather::Gather,
    mmap::{MAY_ALL, page_align},
};

/// How much of the main stack is mapped from the start (Linux: 128 KiB and what the arguments take).
const INITIAL_STACK_BYTES: usize = 33 * PAGE_SIZE;

impl<T: Tlb> AddressSpace<T> {
    /// Begins the heap at `start`, after the program's data. Once, before the program runs.
    pub fn set_heap_start(&self, start: usize) {
        self.layout.write().heap = start..start;
    }

    /// Where the heap is, to the break.
    pub fn heap(&self) -> Range<usize> {
        self.layout.read().heap.clone()
    }

    /// Moves the break to `address` and returns where it is then: there, or where it was if that cannot be.
    pub fn brk(&self, address: usize) -> usize {
        let mut gather = Gather::new(self);
        let mut populate = None;
        let result = {
            let mut layout = self.layout.write();
            let heap = layout.heap.clone();
            let moved = (|| {
                if address < heap.start || address > self.config.bounds.end {
                    return Err(Errno::EINVAL);
                }
                let old_end = page_align(heap.end).ok_or(Errno::ENOMEM)?;
                let new_end = page_align(address).ok_or(Errno::ENOMEM)?;
                if new_end < old_end {
                    self.unmap_locked(&mut layout, new_end..old_end, &mut gather)?;
                } else if new_end > old_end {
                    // A guard page stays free before the next area, as on Linux.
                    if !layout.areas.is_free(old_end..new_end + PAGE_SIZE) {
                        return Err(Errno::ENOMEM);
                    }
                    self.check_commit(new_end - old_end)?;
                    let access = VmFlags::READ | VmFlags::WRITE;
                    let flags = access | VmFlags::ACCOUNT | MAY_ALL | layout.future_flags;
                    self.check_limits(&layout, flags, new_end - old_end, 0)?;
                    let vma = Vma { flags, backing: None };
                    layout.areas.insert(old_end..new_end, vma).map_err(|_| Errno::ENOMEM)?;
                    if flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED {
                        populate = Some(old_end..new_end);
                    }
                }
                Ok(())
            })();
            if moved.is_ok() {
                layout.heap.end = address;
            }
            layout.heap.end
        };
        drop(gather);
        if let Some(range) = populate {
            let _ = self.populate(range);
        }
        result
    }

    /// Maps the main thread's stack, which ends at `top` and grows down at faults, to the limit in
    /// [`Config`](crate::Config).
    pub fn map_stack(&self, top: usize) -> Result<(), Errno> {
        let flags = VmFlags::READ | VmFlags::WRITE | VmFlags::ACCOUNT | VmFlags::GROWSDOWN | MAY_ALL;
        let range = top - INITIAL_STACK_BYTES.min(self.config.stack_limit_bytes)..top;
        let mut layout = self.layout.write();
        if !layout.areas.is_free(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        layout.areas.insert(range, Vma { flags, backing: None }).map_err(|_| Errno::ENOMEM)
    }
}
