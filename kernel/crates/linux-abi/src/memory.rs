//! Memory: `mmap(2)`, `mprotect(2)`, `madvise(2)`, `mremap(2)`, `msync(2)`, `mlock(2)`, `memfd_create(2)`,
//! `membarrier(2)`, `set_mempolicy(2)` (uapi `asm-generic/mman-common.h`, `asm-generic/mman.h`,
//! `asm/mman.h`, `linux/mman.h`).

abi_flags! {
    /// Protection of a mapping: [`mmap(2)`](https://man7.org/linux/man-pages/man2/mmap.2.html). No bit set is
    /// `PROT_NONE`. `mprotect` refuses unknown bits with `EINVAL`; `mmap` ignores them (use
    /// `from_bits_truncate`).
    pub struct Prot: u32 {
        /// `PROT_READ`.
        const READ = 0x1;
        /// `PROT_WRITE`.
        const WRITE = 0x2;
        /// `PROT_EXEC`.
        const EXEC = 0x4;
        /// `PROT_SEM`: without meaning on x86-64.
        const SEM = 0x8;
        /// `PROT_GROWSDOWN`: `mprotect` only.
        const GROWSDOWN = 0x0100_0000;
        /// `PROT_GROWSUP`: `mprotect` only.
        const GROWSUP = 0x0200_0000;
    }
}

/// The bits of `flags` that hold the [`MapType`].
pub const MAP_TYPE: u32 = 0x0f;

/// Shift of the logarithm of the page size in `MAP_HUGETLB` and `MFD_HUGETLB` flags (6 bits).
pub const HUGE_SHIFT: u32 = 26;

abi_enum! {
    /// Who sees a mapping's changes; the low bits of `mmap`'s flags ([`MAP_TYPE`]).
    pub enum MapType: u32 {
        /// Everyone who maps the object.
        Shared = 1, "MAP_SHARED";
        /// This mapping alone.
        Private = 2, "MAP_PRIVATE";
        /// As `Shared`, and unknown flags are refused with `EOPNOTSUPP`.
        SharedValidate = 3, "MAP_SHARED_VALIDATE";
    }
}

abi_flags! {
    /// Flags of [`mmap(2)`](https://man7.org/linux/man-pages/man2/mmap.2.html) without the [`MapType`]. With
    /// `MAP_SHARED` and `MAP_PRIVATE` Linux ignores unknown bits.
    pub struct MapFlags: u32 {
        /// Exactly at the address; what is mapped there goes.
        const FIXED = 0x10;
        /// No file: zeroes.
        const ANONYMOUS = 0x20;
        /// In the low 2 GiB.
        const MAP_32BIT = 0x40;
        /// Grows down, like a stack.
        const GROWSDOWN = 0x0100;
        /// Ignored by Linux.
        const DENYWRITE = 0x0800;
        /// Ignored by Linux.
        const EXECUTABLE = 0x1000;
        /// Locked, like `mlock(2)`.
        const LOCKED = 0x2000;
        /// Memory is not reserved.
        const NORESERVE = 0x4000;
        /// Pages are made present at once.
        const POPULATE = 0x8000;
        /// With `POPULATE`: none at all.
        const NONBLOCK = 0x0001_0000;
        /// Ignored by Linux: for a thread's stack.
        const STACK = 0x0002_0000;
        /// Huge pages; their size is in the bits from [`HUGE_SHIFT`].
        const HUGETLB = 0x0004_0000;
        /// For persistent memory; only with `MAP_SHARED_VALIDATE`.
        const SYNC = 0x0008_0000;
        /// Exactly at the address, or `EEXIST` if something is there.
        const FIXED_NOREPLACE = 0x0010_0000;
        /// Logarithm of the huge page's size.
        const HUGE_SIZE_MASK = 0x3f << HUGE_SHIFT;
    }
}

abi_flags! {
    /// Flags of [`mremap(2)`](https://man7.org/linux/man-pages/man2/mremap.2.html).
    pub struct MremapFlags: u32 {
        /// The mapping may move.
        const MAYMOVE = 1;
        /// It moves to the given address; needs `MAYMOVE`.
        const FIXED = 2;
        /// The old addresses stay mapped, and empty; needs `MAYMOVE`.
        const DONTUNMAP = 4;
    }
}

abi_flags! {
    /// Flags of [`msync(2)`](https://man7.org/linux/man-pages/man2/msync.2.html); `ASYNC` and `SYNC` together
    /// are `EINVAL`.
    pub struct MsyncFlags: u32 {
        /// Begin to write.
        const ASYNC = 1;
        /// Drop cached copies (`EBUSY` for a locked page).
        const INVALIDATE = 2;
        /// Write and wait.
        const SYNC = 4;
    }
}

abi_flags! {
    /// Flags of [`mlockall(2)`](https://man7.org/linux/man-pages/man2/mlock.2.html); `ONFAULT` alone is
    /// `EINVAL`.
    pub struct MlockallFlags: u32 {
        /// What is mapped now.
        const CURRENT = 1;
        /// What will be mapped.
        const FUTURE = 2;
        /// Pages when they are first touched.
        const ONFAULT = 4;
    }
}

/// `mlock2(2)`: lock pages when they are first touched.
pub const MLOCK_ONFAULT: u32 = 1;

abi_enum! {
    /// Advice of [`madvise(2)`](https://man7.org/linux/man-pages/man2/madvise.2.html).
    pub enum Advice: u32 {
        /// No special treatment.
        Normal = 0, "MADV_NORMAL";
        /// Random access.
        Random = 1, "MADV_RANDOM";
        /// Sequential access.
        Sequential = 2, "MADV_SEQUENTIAL";
        /// Will be needed: read ahead.
        WillNeed = 3, "MADV_WILLNEED";
        /// Contents may go at once; the next access finds zeroes, or the file.
        DontNeed = 4, "MADV_DONTNEED";
        /// Contents may go when memory is short.
        Free = 8, "MADV_FREE";
        /// A hole in the file beneath.
        Remove = 9, "MADV_REMOVE";
        /// Not inherited by a child.
        DontFork = 10, "MADV_DONTFORK";
        /// Undoes `DontFork`.
        DoFork = 11, "MADV_DOFORK";
        /// Equal pages may be merged.
        Mergeable = 12, "MADV_MERGEABLE";
        /// Undoes `Mergeable`.
        Unmergeable = 13, "MADV_UNMERGEABLE";
        /// Huge pages wanted.
        HugePage = 14, "MADV_HUGEPAGE";
        /// Huge pages not wanted.
        NoHugePage = 15, "MADV_NOHUGEPAGE";
        /// Not in a core dump.
        DontDump = 16, "MADV_DONTDUMP";
        /// Undoes `DontDump`.
        DoDump = 17, "MADV_DODUMP";
        /// Zeroes for a child.
        WipeOnFork = 18, "MADV_WIPEONFORK";
        /// Undoes `WipeOnFork`.
        KeepOnFork = 19, "MADV_KEEPONFORK";
        /// Not needed soon.
        Cold = 20, "MADV_COLD";
        /// Reclaim now.
        PageOut = 21, "MADV_PAGEOUT";
        /// Make pages present as by a read.
        PopulateRead = 22, "MADV_POPULATE_READ";
        /// Make pages present as by a write.
        PopulateWrite = 23, "MADV_POPULATE_WRITE";
        /// `DontNeed` for locked pages too.
        DontNeedLocked = 24, "MADV_DONTNEED_LOCKED";
        /// Make huge pages now.
        Collapse = 25, "MADV_COLLAPSE";
        /// Hardware poison, for tests of the kernel.
        HwPoison = 100, "MADV_HWPOISON";
        /// Soft offline, for tests of the kernel.
        SoftOffline = 101, "MADV_SOFT_OFFLINE";
    }
}

abi_flags! {
    /// Flags of [`memfd_create(2)`](https://man7.org/linux/man-pages/man2/memfd_create.2.html).
    pub struct MemfdFlags: u32 {
        /// Close on exec.
        const CLOEXEC = 1;
        /// Seals may be set.
        const ALLOW_SEALING = 2;
        /// Huge pages; their size is in the bits from [`HUGE_SHIFT`].
        const HUGETLB = 4;
        /// Logarithm of the huge page's size.
        const HUGE_SIZE_MASK = 0x3f << HUGE_SHIFT;
    }
}

/// Longest name of a memfd, without "memfd:" and the closing NUL.
pub const MEMFD_NAME_MAX: usize = 249;

abi_flags! {
    /// Commands of [`membarrier(2)`](https://man7.org/linux/man-pages/man2/membarrier.2.html). No bit set is
    /// `MEMBARRIER_CMD_QUERY`, whose answer is a set of these; a call gives one.
    pub struct MembarrierCommand: u32 {
        /// A barrier on every running thread of the system.
        const GLOBAL = 1 << 0;
        /// The same, quicker, for registered processes.
        const GLOBAL_EXPEDITED = 1 << 1;
        /// Asks to be covered by it.
        const REGISTER_GLOBAL_EXPEDITED = 1 << 2;
        /// A barrier on every running thread of the caller's process. Needs registration (`EPERM`).
        const PRIVATE_EXPEDITED = 1 << 3;
        /// Registers for it.
        const REGISTER_PRIVATE_EXPEDITED = 1 << 4;
        /// As `PRIVATE_EXPEDITED`, and the instruction stream is serialised.
        const PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5;
        /// Registers for it.
        const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6;
        /// Restarts rseq critical sections.
        const PRIVATE_EXPEDITED_RSEQ = 1 << 7;
        /// Registers for it.
        const REGISTER_PRIVATE_EXPEDITED_RSEQ = 1 << 8;
    }
}

abi_enum! {
    /// Mode of [`set_mempolicy(2)`](https://man7.org/linux/man-pages/man2/set_mempolicy.2.html) and
    /// `mbind(2)`.
    pub enum MemPolicy: u32 {
        /// The system's.
        Default = 0, "MPOL_DEFAULT";
        /// From one node if it can be.
        Preferred = 1, "MPOL_PREFERRED";
        /// From these nodes only.
        Bind = 2, "MPOL_BIND";
        /// From these nodes in turn.
        Interleave = 3, "MPOL_INTERLEAVE";
        /// From the node of the CPU.
        Local = 4, "MPOL_LOCAL";
        /// From these nodes if it can be.
        PreferredMany = 5, "MPOL_PREFERRED_MANY";
    }
}

abi_flags! {
    /// Flags of `get_mempolicy(2)`.
    pub struct GetMemPolicyFlags: u32 {
        /// The node, not the policy.
        const NODE = 1;
        /// Of an address.
        const ADDR = 2;
        /// The nodes that may be used.
        const MEMS_ALLOWED = 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        assert_eq!(Prot::all().bits() & 7, (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u32);
        for (ours, theirs) in [
            (MapFlags::FIXED, libc::MAP_FIXED),
            (MapFlags::ANONYMOUS, libc::MAP_ANONYMOUS),
            (MapFlags::MAP_32BIT, libc::MAP_32BIT),
            (MapFlags::GROWSDOWN, libc::MAP_GROWSDOWN),
            (MapFlags::DENYWRITE, libc::MAP_DENYWRITE),
            (MapFlags::EXECUTABLE, libc::MAP_EXECUTABLE),
            (MapFlags::LOCKED, libc::MAP_LOCKED),
            (MapFlags::NORESERVE, libc::MAP_NORESERVE),
            (MapFlags::POPULATE, libc::MAP_POPULATE),
            (MapFlags::NONBLOCK, libc::MAP_NONBLOCK),
            (MapFlags::STACK, libc::MAP_STACK),
            (MapFlags::HUGETLB, libc::MAP_HUGETLB),
            (MapFlags::SYNC, libc::MAP_SYNC),
            (MapFlags::FIXED_NOREPLACE, libc::MAP_FIXED_NOREPLACE),
        ] {
            assert_eq!(ours.bits(), theirs as u32, "{ours:?}");
        }
        for (ours, theirs) in [
            (Advice::DontNeed, libc::MADV_DONTNEED),
            (Advice::Free, libc::MADV_FREE),
            (Advice::HugePage, libc::MADV_HUGEPAGE),
            (Advice::PopulateWrite, libc::MADV_POPULATE_WRITE),
            (Advice::DontDump, libc::MADV_DONTDUMP),
        ] {
            assert_eq!(ours.raw(), theirs as u32, "{}", ours.name());
        }
        assert_eq!(Advice::from_raw(5), None);
        assert_eq!(Prot::from_raw(0x10), Err(crate::Errno::EINVAL));
        assert_eq!(format!("{:?}", Prot::READ | Prot::EXEC), "READ | EXEC");
        assert_eq!(format!("{:?}", Prot::empty()), "0");
    }
}
