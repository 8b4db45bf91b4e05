//! Kernel stacks: mapped memory with an unmapped page below.
//!
//! A stack that is given back is kept for the next thread, up to [`KEPT`]: unmapping costs a TLB shoot-down. What
//! is over is unmapped by the next thread that creates or ends one ([`trim`]), as that must be able to wait.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::SpinLock;

use crate::arch::{layout, paging};

/// Bytes of a kernel stack. The deepest use seen is 25 KiB, in a boot that mounts a root and a volume (rsext4 keeps whole
/// blocks on the stack there): `crema run --verbose` tells at the end of each run. An interrupt adds up to 3 KiB.
pub const STACK_SIZE: u64 = 48 * 1024;
/// Address space for each: the stack at the upper end, a guard below.
const SLOT_SIZE: u64 = 64 * 1024;
/// Free stacks that stay mapped.
const KEPT: usize = 64;

static NEXT_SLOT: AtomicU64 = AtomicU64::new(0);
static FREE: SpinLock<FreeStacks> = SpinLock::new(FreeStacks { mapped: Vec::new(), unmapped: Vec::new() });

struct FreeStacks {
    mapped: Vec<u64>,
    /// Slots without memory.
    unmapped: Vec<u64>,
}

/// A thread's kernel stack.
#[derive(Debug)]
pub struct KernelStack {
    slot: u64,
}

impl KernelStack {
    /// Takes a stack. Its contents are arbitrary.
    pub fn new() -> Result<Self, frames::OutOfMemory> {
        let slot = {
            let mut free = FREE.lock();
            if let Some(slot) = free.mapped.pop() {
                return Ok(Self { slot });
            }
            free.unmapped.pop()
        };
        let slot = slot.unwrap_or_else(|| NEXT_SLOT.fetch_add(1, Ordering::Relaxed));
        let stack = Self { slot };
        match paging::map_fresh(stack.bottom()..stack.top()) {
            Ok(()) => Ok(stack),
            Err(error) => {
                core::mem::forget(stack);
                FREE.lock().unmapped.push(slot);
                Err(error)
            }
        }
    }

    /// The address above the stack.
    pub fn top(&self) -> u64 {
        layout::KERNEL_STACKS + (self.slot + 1) * SLOT_SIZE
    }

    /// The lowest address of the stack.
    pub fn bottom(&self) -> u64 {
        self.top() - STACK_SIZE
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        FREE.lock().mapped.push(self.slot);
    }
}

/// Memory that stacks have, also those that are kept.
pub fn mapped_bytes() -> u64 {
    let slots = NEXT_SLOT.load(Ordering::Relaxed);
    slots.saturating_sub(FREE.lock().unmapped.len() as u64) * STACK_SIZE
}

/// Bytes that the deepest use of any stack has taken, of those that are mapped now. Their memory was zeros at first, so what is below all uses
/// still is. Takes a look at all of it: for the end of a run that is watched.
pub fn deepest_use_bytes() -> u64 {
    let unmapped: Vec<u64> = FREE.lock().unmapped.clone();
    let slots = (0..NEXT_SLOT.load(Ordering::Relaxed)).filter(|slot| !unmapped.contains(slot));
    let used = slots.map(|slot| {
        let stack = core::mem::ManuallyDrop::new(KernelStack { slot });
        let words = (stack.bottom()..stack.top()).step_by(8);
        // SAFETY: aligned, and mapped: the process has ended, the kernel's own threads were made at the boot and stay, so no stack is taken
        // or given up any more. They may use theirs meanwhile: any value will do.
        let untouched = words.take_while(|address| unsafe { (*address as *const u64).read_volatile() } == 0);
        STACK_SIZE - 8 * untouched.count() as u64
    });
    used.max().unwrap_or(0)
}

/// Unmaps a few of the free stacks above the number that is kept. May wait.
pub fn trim() {
    for _ in 0..4 {
        let slot = {
            let mut free = FREE.lock();
            if free.mapped.len() <= KEPT {
                return;
            }
            free.mapped.pop()
        };
        let Some(slot) = slot else { return };
        let stack = core::mem::ManuallyDrop::new(KernelStack { slot });
        paging::unmap_fresh(stack.bottom()..stack.top());
        FREE.lock().unmapped.push(slot);
    }
}

/// Whether `address` is in the guard below a kernel stack: the sign of an overflow.
pub fn is_guard(address: u64) -> bool {
    let Some(offset) = address.checked_sub(layout::KERNEL_STACKS) else { return false };
    offset / SLOT_SIZE < NEXT_SLOT.load(Ordering::Relaxed) && offset % SLOT_SIZE < SLOT_SIZE - STACK_SIZE
}
