//! Slots of vtables: found by what they hold, and changed all or none.
//!
//! Vtables are in `.data.rel.ro`, which the loader has made read-only; it is opened for the moment of the change, which
//! comes before the VM exists, so that nobody calls through a slot meanwhile.

use std::ops::Range;

use super::symbols::Object;
use crate::vm_structs::Missing;

const PAGE_BYTES: usize = 4096;

/// Changes to be made.
#[derive(Default)]
pub struct Slots(Vec<(usize, usize)>);

impl Slots {
    /// Has the one slot of `vtable` that holds `from` hold `to`. Fails if there is none, or more than one.
    pub fn redirect(&mut self, vtable: Object, from: usize, to: usize) -> Result<(), Missing> {
        if !vtable.address.is_multiple_of(8) {
            return Err(Missing("a vtable is not aligned".to_owned()));
        }
        let mut found = (vtable.address..vtable.address + vtable.bytes).step_by(8).filter(|&slot| {
            // SAFETY: by its symbol the vtable is an object of the loaded library of that many bytes, which are words.
            unsafe { (slot as *const usize).read_volatile() == from }
        });
        match (found.next(), found.next()) {
            (Some(slot), None) => {
                self.0.push((slot, to));
                Ok(())
            }
            _ => Err(Missing("a vtable does not have just one slot of the expected value".to_owned())),
        }
    }

    /// Makes the changes.
    pub fn write(self) -> Result<(), Missing> {
        let pages = |slot: usize| {
            let start = slot & !(PAGE_BYTES - 1);
            start..start + PAGE_BYTES
        };
        for (n, &(slot, _)) in self.0.iter().enumerate() {
            if let Err(error) = protect(pages(slot), libc::PROT_READ | libc::PROT_WRITE) {
                for &(opened, _) in &self.0[..n] {
                    let _ = protect(pages(opened), libc::PROT_READ);
                }
                return Err(Missing(format!("a vtable cannot be written: {error}")));
            }
        }
        for &(slot, to) in &self.0 {
            // SAFETY: a slot of a vtable, opened above; no VM exists that could call through it.
            unsafe { (slot as *mut usize).write_volatile(to) };
        }
        for &(slot, _) in &self.0 {
            // That it stays writable is no reason to stop.
            let _ = protect(pages(slot), libc::PROT_READ);
        }
        Ok(())
    }
}

fn protect(pages: Range<usize>, rights: i32) -> std::io::Result<()> {
    // SAFETY: pages of the library's read-only data; they stay readable, and nobody relies on faults there.
    match unsafe { libc::mprotect(pages.start as *mut libc::c_void, pages.len(), rights) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
