//! Where things are in the one address space.
//!
//! | from | to | what |
//! |---|---|---|
//! | `0x1_0000` | `0x7fff_ffff_f000` | the application |
//! | `0xffff_8880_0000_0000` | + physical memory | the direct map |
//! | `0xffff_c900_0000_0000` | + 16 TiB | kernel stacks |
//! | `0xffff_d900_0000_0000` | + 16 TiB | device registers |
//! | `0xffff_e900_0000_0000` | + 512 GiB | large blocks of the kernel's heap |
//! | `0xffff_ffff_8000_0000` | + 1 GiB | the kernel's image |

use core::ops::Range;

use x86_64::VirtAddr;

/// First address after the application's.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// Where physical address 0 is mapped.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Kernel stacks, one slot each (see `task::stack`).
pub const KERNEL_STACKS: u64 = 0xffff_c900_0000_0000;

/// Device registers, mapped uncached.
pub const MMIO: u64 = 0xffff_d900_0000_0000;

/// Large blocks of the kernel's heap (see `heap::large`): one entry of the page-table root.
pub const LARGE_BLOCKS: Range<u64> = 0xffff_e900_0000_0000..0xffff_e980_0000_0000;

/// Offset of the kernel image's addresses from where it was loaded.
pub const KERNEL_OFFSET: u64 = 0xffff_ffff_8000_0000;

/// The page below 1 MiB where the other CPUs begin; `boot.s` is assembled for it.
pub const TRAMPOLINE: u64 = 0x8000;

/// The kernel's address of a physical address that the direct map covers.
pub fn direct<T>(phys: u64) -> *mut T {
    (DIRECT_MAP + phys) as *mut T
}

/// The physical address behind an address in the direct map or in the kernel image.
///
/// # Panics
/// If `virt` is in neither: stacks and device registers have no place in the direct map.
pub fn physical(virt: u64) -> u64 {
    if virt >= KERNEL_OFFSET {
        virt - KERNEL_OFFSET
    } else {
        assert!((DIRECT_MAP..KERNEL_STACKS).contains(&virt), "{virt:#x} is not in the direct map");
        virt - DIRECT_MAP
    }
}

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// The parts of the kernel image, in order, each ending where the next begins.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Start of the code.
    pub text_start: u64,
    /// End of the code, start of the read-only data.
    pub text_end: u64,
    /// End of the read-only data, start of the writable.
    pub rodata_end: u64,
    /// End of the image with its zeroed part.
    pub end: u64,
}

impl Image {
    /// As the linker script laid it out.
    pub fn get() -> Self {
        Self {
            text_start: &raw const __text_start as u64,
            text_end: &raw const __text_end as u64,
            rodata_end: &raw const __rodata_end as u64,
            end: &raw const __kernel_end as u64,
        }
    }

    /// Whether `address` is kernel code.
    pub fn is_text(address: u64) -> bool {
        let image = Self::get();
        (image.text_start..image.text_end).contains(&address)
    }

    /// Physical frames from the load address to the end of the image.
    pub fn physical() -> core::ops::Range<u64> {
        0x20_0000..physical(Self::get().end)
    }
}

/// Rounds up to a page.
pub fn page_up(address: u64) -> u64 {
    VirtAddr::new_truncate(address).align_up(4096u64).as_u64()
}
