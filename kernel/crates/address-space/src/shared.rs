//! Which object a shared mapping shows at an address.

use frames::PAGE_SIZE;
use vma::VmFlags;

use crate::{AddressSpace, Tlb};

impl<T: Tlb> AddressSpace<T> {
    /// The identity of the object that is mapped shared at `address`, and the byte offset in it: what makes two
    /// addresses the same futex word. `None` for private memory.
    pub fn shared_object_at(&self, address: usize) -> Option<(u64, u64)> {
        let layout = self.layout.read();
        let (area, vma) = layout.areas.find(address)?;
        let backing = vma.backing.as_ref().filter(|_| vma.flags.contains(VmFlags::SHARED))?;
        let offset = backing.page_offset * PAGE_SIZE as u64 + (address - area.start) as u64;
        Some((backing.object.key() as u64, offset))
    }
}
