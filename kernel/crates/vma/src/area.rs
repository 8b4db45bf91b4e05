//! What is known of one area.

use bitflags::bitflags;

bitflags! {
    /// Properties of an area, named after Linux's `VM_*` (`linux/mm.h`); the bits are our own.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct VmFlags: u32 {
        /// May be read.
        const READ = 1 << 0;
        /// May be written.
        const WRITE = 1 << 1;
        /// May be executed.
        const EXEC = 1 << 2;
        /// Changes are seen by all who map the object.
        const SHARED = 1 << 3;
        /// `mprotect(2)` may make it readable.
        const MAYREAD = 1 << 4;
        /// `mprotect(2)` may make it writable.
        const MAYWRITE = 1 << 5;
        /// `mprotect(2)` may make it executable.
        const MAYEXEC = 1 << 6;
        /// Grows down at a fault just below it.
        const GROWSDOWN = 1 << 7;
        /// Memory is not accounted for (`MAP_NORESERVE`).
        const NORESERVE = 1 << 8;
        /// Its pages stay in memory (`mlock(2)`).
        const LOCKED = 1 << 9;
        /// Locked as they come (`MLOCK_ONFAULT`).
        const LOCKONFAULT = 1 << 10;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 1 << 11;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 1 << 12;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 1 << 13;
        /// `MADV_RANDOM`.
        const RAND_READ = 1 << 14;
        /// `MADV_DONTFORK`.
        const DONTCOPY = 1 << 15;
        /// `MADV_DONTDUMP`.
        const DONTDUMP = 1 << 16;
        /// `MADV_WIPEONFORK`.
        const WIPEONFORK = 1 << 17;
        /// `MADV_MERGEABLE`.
        const MERGEABLE = 1 << 18;
        /// Its memory is promised (`VM_ACCOUNT`). It stays so when the right to write is taken away, which is
        /// why Linux keeps a `RELRO` segment apart from the read-only one before it.
        const ACCOUNT = 1 << 19;
    }
}

impl VmFlags {
    /// What may be done to the memory now.
    pub const ACCESS: Self = Self::READ.union(Self::WRITE).union(Self::EXEC);

    /// The `MAY*` flags that match these access flags.
    pub const fn as_may(self) -> Self {
        Self::from_bits_truncate((self.bits() & Self::ACCESS.bits()) << 4)
    }
}

/// The part of an object that an area shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing<O> {
    /// The object; equality is identity.
    pub object: O,
    /// Which page of the object the area begins with.
    pub page_offset: u64,
}

/// One area, but for its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma<O> {
    /// Its properties.
    pub flags: VmFlags,
    /// Where its pages come from; `None` is anonymous and private.
    pub backing: Option<Backing<O>>,
}

impl<O: Clone + PartialEq> Vma<O> {
    /// The area that begins `bytes` bytes further on.
    pub fn advanced(&self, bytes: usize) -> Self {
        let backing = self.backing.as_ref().map(|backing| Backing {
            object: backing.object.clone(),
            page_offset: backing.page_offset + (bytes / crate::PAGE_SIZE) as u64,
        });
        Self { flags: self.flags, backing }
    }

    /// Whether `next` could be the same area as this one, `len` bytes long, goes on.
    pub fn is_continued_by(&self, len: usize, next: &Self) -> bool {
        self.flags == next.flags
            && match (&self.backing, &next.backing) {
                (None, None) => true,
                (Some(this), Some(next)) => {
                    this.object == next.object
                        && this.page_offset + (len / crate::PAGE_SIZE) as u64 == next.page_offset
                }
                _ => false,
            }
    }
}
