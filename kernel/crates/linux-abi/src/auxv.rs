//! Entry types of the auxiliary vector, which the kernel leaves above a new program's environment
//! (`getauxval(3)`; uapi `linux/auxvec.h`, `asm/auxvec.h`).

/// End of the vector.
pub const AT_NULL: u64 = 0;
/// To be skipped.
pub const AT_IGNORE: u64 = 1;
/// Descriptor of the program.
pub const AT_EXECFD: u64 = 2;
/// Address of the program headers in memory.
pub const AT_PHDR: u64 = 3;
/// Bytes of one program header.
pub const AT_PHENT: u64 = 4;
/// How many program headers there are.
pub const AT_PHNUM: u64 = 5;
/// Bytes of a page.
pub const AT_PAGESZ: u64 = 6;
/// Where the interpreter was loaded; 0 if there is none.
pub const AT_BASE: u64 = 7;
/// Zero on x86-64.
pub const AT_FLAGS: u64 = 8;
/// The program's entry point (not the interpreter's).
pub const AT_ENTRY: u64 = 9;
/// Real user id.
pub const AT_UID: u64 = 11;
/// Effective user id.
pub const AT_EUID: u64 = 12;
/// Real group id.
pub const AT_GID: u64 = 13;
/// Effective group id.
pub const AT_EGID: u64 = 14;
/// Address of the string `x86_64`.
pub const AT_PLATFORM: u64 = 15;
/// CPUID leaf 1, EDX.
pub const AT_HWCAP: u64 = 16;
/// Clock ticks per second, for `times(2)` and /proc.
pub const AT_CLKTCK: u64 = 17;
/// 1 for a set-user-id program.
pub const AT_SECURE: u64 = 23;
/// Address of a string that names the true platform.
pub const AT_BASE_PLATFORM: u64 = 24;
/// Address of 16 random bytes.
pub const AT_RANDOM: u64 = 25;
/// More capabilities; see [`HWCAP2_FSGSBASE`].
pub const AT_HWCAP2: u64 = 26;
/// Address of the path that was executed.
pub const AT_EXECFN: u64 = 31;
/// Address of the vDSO's ELF header.
pub const AT_SYSINFO_EHDR: u64 = 33;
/// The least size of a signal stack on this CPU.
pub const AT_MINSIGSTKSZ: u64 = 51;

/// `AT_HWCAP2`: MONITOR and MWAIT work in ring 3 (uapi `asm/hwcap2.h`).
pub const HWCAP2_RING3MWAIT: u64 = 1 << 0;
/// `AT_HWCAP2`: the instructions RDFSBASE, WRFSBASE and so on may be used.
pub const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// What Linux puts in [`AT_CLKTCK`]: `USER_HZ`.
pub const USER_HZ: u64 = 100;
