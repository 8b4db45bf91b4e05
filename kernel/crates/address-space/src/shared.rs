//! What makes two addresses the same futex word.

use frames::PAGE_SIZE;
use linux_abi::Errno;
use vma::VmFlags;

use crate::{AddressSpace, Tlb};

/// What a readable address shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Private memory: the address itself is all there is.
    Private,
    /// A place in an object that may be mapped at other addresses too.
    Shared {
        /// Identity of the object.
        object: u64,
        /// Byte offset in it.
        offset: u64,
    },
}

impl<T: Tlb> AddressSpace<T> {
    /// What `address` shows. `EFAULT` if nothing is mapped there, or nothing that can be read.
    pub fn identify(&self, address: usize) -> Result<Identity, Errno> {
        let layout = self.layout.read();
        let (area, vma) = layout.areas.find(address).ok_or(Errno::EFAULT)?;
        if !vma.flags.contains(VmFlags::READ) {
            return Err(Errno::EFAULT);
        }
        let backing = vma.backing.as_ref().filter(|_| vma.flags.contains(VmFlags::SHARED));
        Ok(backing.map_or(Identity::Private, |backing| Identity::Shared {
            object: backing.object.key() as u64,
            offset: backing.page_offset * PAGE_SIZE as u64 + (address - area.start) as u64,
        }))
    }
}
