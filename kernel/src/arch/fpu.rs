//! Extended processor state: x87, SSE, AVX and what comes after, by XSAVE.
//!
//! The kernel uses xmm0-15 only, and every entry saves those in its frame. The rest of the state stays in the
//! registers during a system call and changes hands only in a context switch ([`XsaveArea`]).

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::{
    arch::{
        asm,
        x86_64::{_fxrstor64, _fxsave64, _xrstor64, _xsave64, _xsaveopt64},
    },
    ptr::NonNull,
};

use linux_abi::signal::FpxSwBytes;
use spin::Once;
use x86_64::registers::control::{Cr4, Cr4Flags};

use zerocopy::IntoBytes;

use super::cpu;
use crate::user::UserPtr;

/// Components that the application may use: x87, SSE, AVX, AVX-512 (three), PKRU left out as there are no
/// protection keys here, AMX left out as Linux makes it opt-in (`arch_prctl(2)`, ARCH_REQ_XCOMP_PERM).
const WANTED: u64 = 0b1110_0111;

/// The legacy region and the XSAVE header: offset of the first extended component.
const LEGACY_AND_HEADER: usize = 512 + 64;

#[derive(Clone, Copy, Debug)]
struct StateLayout {
    /// Components enabled in XCR0, or 0 without XSAVE.
    components: u64,
    /// Bytes of an area in the standard format.
    size: usize,
}

static LAYOUT: Once<StateLayout> = Once::new();

/// Turns on XSAVE and the wanted components on this CPU.
pub fn init() {
    // SAFETY: the bits are set only if CPUID offers them.
    unsafe {
        Cr4::update(|cr4| {
            cr4.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE);
            if cpu::features().xsave {
                cr4.insert(Cr4Flags::OSXSAVE);
            }
            if cpu::features().fsgsbase {
                cr4.insert(Cr4Flags::FSGSBASE);
            }
        });
    }
    let layout = if cpu::features().xsave {
        let offered = cpu::cpuid(0xd, 0);
        let offered = u64::from(offered[0]) | u64::from(offered[3]) << 32;
        let mut components = offered & WANTED | 0b11;
        if components & 0b1110_0000 != 0b1110_0000 {
            // The three AVX-512 components go together (SDM vol. 1, 13.3).
            components &= 0b111;
        }
        // SAFETY: XSETBV with x87 and SSE set and only offered components.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") components as u32, in("edx") (components >> 32) as u32,
                 options(nostack, preserves_flags));
        }
        // Only now does the leaf give the size for what is enabled.
        StateLayout { components, size: cpu::cpuid(0xd, 0)[1] as usize }
    } else {
        StateLayout { components: 0, size: 512 }
    };
    LAYOUT.call_once(|| layout);
    // SAFETY: the initial state of x87 and MXCSR, as Linux gives it to a new program.
    unsafe { asm!("fninit", "ldmxcsr [{}]", in(reg) &0x1f80u32, options(nostack)) };
}

fn layout() -> StateLayout {
    *LAYOUT.get().expect("the FPU is initialised before the first thread")
}

/// Bytes of the extended state in the standard format.
pub fn state_size() -> usize {
    layout().size
}

/// The components that are saved, as in XCR0; 0 if the CPU has no XSAVE.
pub fn components() -> u64 {
    layout().components
}

/// Memory for one thread's extended state.
#[derive(Debug)]
pub struct XsaveArea {
    area: NonNull<u8>,
}

// SAFETY: an area is plain memory that its owner has alone.
unsafe impl Send for XsaveArea {}
// SAFETY: a shared reference gives no access to the contents.
unsafe impl Sync for XsaveArea {}

impl XsaveArea {
    fn allocation() -> Layout {
        Layout::from_size_align(layout().size.next_multiple_of(64), 64).expect("a small size")
    }

    /// An area in the initial configuration.
    pub fn new() -> Self {
        let layout = Self::allocation();
        // SAFETY: the size is not 0.
        let area =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // A zeroed header says that every component is in its initial configuration, but MXCSR is loaded from
        // the area all the same (SDM vol. 1, 13.8), and FXRSTOR knows no header.
        // SAFETY: offsets of FCW and MXCSR in the legacy region, which is there.
        unsafe {
            area.cast::<u16>().write(0x37f);
            area.add(24).cast::<u32>().write(0x1f80);
        }
        Self { area }
    }

    /// Saves the registers of this CPU here.
    pub fn save(&mut self) {
        let StateLayout { components, .. } = layout();
        // SAFETY: the area is large enough, aligned to 64, and ours; XSAVEOPT only where offered. It may
        // leave out what has not changed since the XRSTOR from this same area, which is what we want.
        unsafe {
            if components == 0 {
                _fxsave64(self.area.as_ptr());
            } else if cpu::features().xsaveopt {
                _xsaveopt64(self.area.as_ptr(), components);
            } else {
                _xsave64(self.area.as_ptr(), components);
            }
        }
    }

    /// Saves the registers of this CPU here, where they were not loaded from.
    pub fn save_fresh(&mut self) {
        // SAFETY: the area is large enough, aligned, zeroed or saved before.
        unsafe { save_to(self.area.as_ptr()) }
    }

    /// Loads the registers of this CPU from here.
    pub fn restore(&self) {
        // SAFETY: the area was initialised by `new` and changed only by `save`.
        unsafe { restore_from(self.area.as_ptr()) }
    }
}

impl Drop for XsaveArea {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.area.as_ptr(), Self::allocation()) }
    }
}

/// Writes the whole state of this CPU to `area` in the standard format (for a signal frame).
///
/// # Safety
/// `area` is 64-byte aligned and [`state_size`] bytes long, with a zeroed header, and writable without a
/// fault.
pub unsafe fn save_to(area: *mut u8) {
    // SAFETY: per this function's contract. Never XSAVEOPT: the area may be stale.
    unsafe {
        if layout().components == 0 {
            _fxsave64(area);
        } else {
            _xsave64(area, layout().components);
        }
    }
}

/// Loads the whole state of this CPU from `area`.
///
/// # Safety
/// `area` is 64-byte aligned, [`state_size`] bytes long and passes [`is_valid`], so that it cannot fault.
pub unsafe fn restore_from(area: *const u8) {
    // SAFETY: per this function's contract.
    unsafe {
        if layout().components == 0 {
            _fxrstor64(area);
        } else {
            _xrstor64(area, layout().components);
        }
    }
}

/// Whether `area` can be restored without #GP: MXCSR and the header hold no reserved bits (SDM vol. 1, 13.8).
pub fn is_valid(area: &[u8]) -> bool {
    let word = |offset: usize| u64::from_le_bytes(area[offset..offset + 8].try_into().expect("8 bytes"));
    if area.len() < layout().size {
        return false;
    }
    let mxcsr = word(24) as u32;
    let components = layout().components;
    if mxcsr & !mxcsr_mask() != 0 {
        return false;
    }
    components == 0
        || (word(512) & !components == 0
            && word(520) == 0
            && area[528..LEGACY_AND_HEADER].iter().all(|b| *b == 0))
}

/// The MXCSR bits that may be set.
fn mxcsr_mask() -> u32 {
    static MASK: Once<u32> = Once::new();
    *MASK.call_once(|| {
        #[repr(C, align(64))]
        struct Fxsave([u8; 512]);
        let mut area = Fxsave([0; 512]);
        // SAFETY: the area is 512 bytes, aligned to 16.
        unsafe { _fxsave64(area.0.as_mut_ptr()) };
        match u32::from_le_bytes(area.0[28..32].try_into().expect("4 bytes")) {
            0 => 0xffbf,
            mask => mask,
        }
    })
}

/// Puts the registers of this CPU into their initial state, as a signal handler begins with them.
pub fn reset() {
    static INITIAL: Once<XsaveArea> = Once::new();
    INITIAL.call_once(XsaveArea::new).restore();
}

/// Unmasked x87 exceptions that are pending.
pub fn x87_exceptions() -> u32 {
    let (mut status, mut control) = (0u16, 0u16);
    // SAFETY: both store a word.
    unsafe {
        asm!("fnstsw [{}]", "fnstcw [{}]", in(reg) &raw mut status, in(reg) &raw mut control, options(nostack));
    }
    u32::from(status & !control) & 0x3f
}

/// Unmasked SSE exceptions that are pending.
pub fn simd_exceptions() -> u32 {
    let mut mxcsr = 0u32;
    // SAFETY: stores a word.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
    !(mxcsr >> 7) & mxcsr & 0x3f
}

/// The extended state as a signal frame holds it.
pub struct StateBuffer {
    area: XsaveArea,
}

/// Offset of xmm0 in the legacy region, and of the bytes left to software.
const XMM: usize = 160;
const SOFTWARE: usize = 464;

impl StateBuffer {
    /// The state of the running thread. `xmm` are the application's, which its trap frame holds.
    pub fn capture(xmm: &[u128; 16]) -> Result<Self, linux_abi::Errno> {
        let mut area = XsaveArea::new();
        area.save_fresh();
        let mut buffer = Self { area };
        for (index, value) in xmm.iter().enumerate() {
            buffer.bytes_mut()[XMM + 16 * index..][..16].copy_from_slice(&value.to_le_bytes());
        }
        if components() != 0 {
            buffer.bytes_mut()[512] |= 0b10; // XSTATE_BV: SSE is not in its initial state
        }
        Ok(buffer)
    }

    /// The state that a frame on the application's stack holds, checked so that it can be restored.
    pub fn read(from: UserPtr<u8>) -> Result<Self, linux_abi::Errno> {
        let bytes = from.read_vec(state_size())?;
        let mut buffer = Self { area: XsaveArea::new() };
        buffer.bytes_mut().copy_from_slice(&bytes);
        // What software keeps there is of no concern to the hardware.
        buffer.bytes_mut()[SOFTWARE..512].fill(0);
        if is_valid(buffer.bytes()) { Ok(buffer) } else { Err(linux_abi::Errno::EFAULT) }
    }

    /// Loads it into the registers, except xmm0-15, which are returned for the trap frame.
    pub fn restore(&self) -> [u128; 16] {
        self.area.restore();
        let in_use = components() == 0 || self.bytes()[512] & 0b10 != 0;
        core::array::from_fn(|index| match in_use {
            true => u128::from_le_bytes(self.bytes()[XMM + 16 * index..][..16].try_into().expect("16 bytes")),
            false => 0,
        })
    }

    /// Puts the description of what follows into the bytes left to software.
    pub fn set_software_bytes(&mut self, description: &FpxSwBytes) {
        self.bytes_mut()[SOFTWARE..512].copy_from_slice(description.as_bytes());
    }

    /// The bytes, in the standard format.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the area is that long and initialised.
        unsafe { core::slice::from_raw_parts(self.area.area.as_ptr(), state_size()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.area.area.as_ptr(), state_size()) }
    }
}
