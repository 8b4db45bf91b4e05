//! What a signal handler finds on its stack, and `rt_sigreturn(2)` reads back: return address, `ucontext`,
//! `siginfo` and, above them, the floating-point state in XSAVE format.
//!
//! From the handler's entry upwards (`arch/x86/include/asm/sigframe.h`, `get_sigframe` in
//! `arch/x86/kernel/signal.c`):
//!
//! ```text
//!   frame_address             RtSigFrame; rsp at entry; rsp + 8 is a multiple of 16, as after a call
//!   frame_address + 440       unused, until
//!   xstate_address            FXSAVE area and XSAVE extension; a multiple of 64
//!   xstate_address + size     FP_XSTATE_MAGIC2
//!                             the 128-byte red zone of the interrupted function (unless on sigaltstack)
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{SigInfo, SigSet};
use crate::Errno;

/// The alignment of the address that a call pushes past: System V ABI, section 3.2.2.
pub const FRAME_ALIGNMENT: u64 = 16;

/// Alignment that XSAVE asks for (Intel SDM volume 1, section 13.4).
pub const XSTATE_ALIGNMENT: u64 = 64;

/// Bytes below `rsp` that a leaf function may use without moving it (System V ABI, section 3.2.2).
pub const REDZONE_SIZE: u64 = 128;

/// The least size of an alternate stack (`sigaltstack(2)`); smaller is `ENOMEM`. `AT_MINSIGSTKSZ` tells the
/// true need.
pub const MINSIGSTKSZ: u64 = 2048;

/// In [`FpxSwBytes::magic1`]: an extended state follows the FXSAVE area.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;

/// The word behind the extended state.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;

/// Bytes of that word.
pub const FP_XSTATE_MAGIC2_SIZE: u64 = 4;

abi_flags! {
    /// `ss_flags` of `sigaltstack(2)`; uapi `linux/signal.h`.
    pub struct SsFlags: u32 {
        /// Out only: the thread is running on the stack. In: taken like 0.
        const ONSTACK = 1;
        /// There is no alternate stack.
        const DISABLE = 2;
        /// The stack is disabled while a handler runs on it.
        const AUTODISARM = 1 << 31;
    }
}

/// `stack_t`: an alternate signal stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackT {
    /// The lowest address.
    pub sp: u64,
    /// See [`SsFlags`].
    pub flags: SsFlags,
    /// Not part of the ABI; zero.
    pub padding: u32,
    /// Bytes.
    pub size: u64,
}

assert_layout!(StackT, size = 24, sp @ 0, flags @ 8, size @ 16);

impl StackT {
    /// No alternate stack: what a new thread has.
    pub const DISABLED: Self = Self { sp: 0, flags: SsFlags::DISABLE, padding: 0, size: 0 };

    /// The stack as `sigaltstack(2)` stores it, or the errno with which it refuses it: `EINVAL` for a mode
    /// that is none of 0, `SS_ONSTACK` and `SS_DISABLE`, `ENOMEM` if it is smaller than `least_size_bytes`
    /// ([`MINSIGSTKSZ`], or more on a CPU with a large XSAVE area). That the thread is not on its present
    /// alternate stack (`EPERM`) is the caller's to check.
    pub fn accepted(self, least_size_bytes: u64) -> Result<Self, Errno> {
        let mode = self.flags - SsFlags::AUTODISARM;
        if mode == SsFlags::DISABLE {
            Ok(Self { flags: self.flags, ..Self::DISABLED })
        } else if mode != SsFlags::ONSTACK && !mode.is_empty() {
            Err(Errno::EINVAL)
        } else if self.size < least_size_bytes {
            Err(Errno::ENOMEM)
        } else {
            Ok(Self { padding: 0, ..self })
        }
    }

    /// Whether a stack pointer is on this stack. As in Linux (`__on_sig_stack`) the upper end counts and the
    /// lowest address does not, because the stack grows down.
    pub const fn contains(&self, sp: u64) -> bool {
        sp > self.sp && sp - self.sp <= self.size
    }

    /// Whether there is no such stack.
    pub const fn is_disabled(&self) -> bool {
        self.size == 0
    }

    /// Whether it is disabled when a handler is entered on it.
    pub const fn is_autodisarm(&self) -> bool {
        self.flags.contains(SsFlags::AUTODISARM)
    }

    /// `ss_flags` as it is reported to code whose stack pointer is `sp`.
    pub fn reported_flags(&self, sp: u64) -> SsFlags {
        let mode = if self.is_disabled() {
            SsFlags::DISABLE
        } else if self.contains(sp) {
            SsFlags::ONSTACK
        } else {
            SsFlags::empty()
        };
        mode | (self.flags & SsFlags::AUTODISARM)
    }

    /// The address past its highest byte, where a first frame is put below.
    pub const fn top(&self) -> u64 {
        self.sp.wrapping_add(self.size)
    }
}

/// Bytes 464 to 511 of an FXSAVE area, which hardware leaves to software (Intel SDM volume 1, section
/// 10.5.1): Linux describes there the state that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FpxSwBytes {
    /// [`FP_XSTATE_MAGIC1`], or 0 if only the FXSAVE area is there.
    pub magic1: u32,
    /// Bytes of the whole area, with [`FP_XSTATE_MAGIC2`] at its end.
    pub extended_size: u32,
    /// The XSAVE components that the area has room for.
    pub xfeatures: u64,
    /// Bytes of the XSAVE area alone.
    pub xstate_size: u32,
    /// Zero.
    pub padding: [u32; 7],
}

assert_layout!(FpxSwBytes, size = 48, magic1 @ 0, extended_size @ 4, xfeatures @ 8, xstate_size @ 16);

impl FpxSwBytes {
    /// The description of an XSAVE area of this size with these components.
    pub const fn new(xfeatures: u64, xstate_size_bytes: u32) -> Self {
        Self {
            magic1: FP_XSTATE_MAGIC1,
            extended_size: xstate_size_bytes + FP_XSTATE_MAGIC2_SIZE as u32,
            xfeatures,
            xstate_size: xstate_size_bytes,
            padding: [0; 7],
        }
    }

    /// Whether `rt_sigreturn` may restore an extended state from here: the checks that Linux makes
    /// (`check_xstate_in_sigframe`) before it reads the trailing magic at `xstate_size`. If not, it falls
    /// back to the FXSAVE area and resets the rest.
    pub const fn describes_extended_state(&self, xstate_size_of_cpu_bytes: u32) -> bool {
        // 576: FXSAVE area and XSAVE header.
        self.magic1 == FP_XSTATE_MAGIC1
            && self.xstate_size >= 576
            && self.xstate_size <= xstate_size_of_cpu_bytes
            && self.xstate_size <= self.extended_size
    }
}

/// The FXSAVE area (`struct _fpstate_64`): Intel SDM volume 1, table 10-2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FpState {
    /// x87 control word.
    pub cwd: u16,
    /// x87 status word.
    pub swd: u16,
    /// Abridged x87 tag word.
    pub twd: u16,
    /// Last x87 opcode.
    pub fop: u16,
    /// Last x87 instruction.
    pub rip: u64,
    /// Last x87 operand.
    pub rdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Bits that MXCSR may have; others fault on restore.
    pub mxcsr_mask: u32,
    /// ST0 to ST7, 16 bytes each.
    pub st_space: [u32; 32],
    /// XMM0 to XMM15.
    pub xmm_space: [u32; 64],
    /// Reserved by hardware.
    pub reserved: [u32; 12],
    /// What follows.
    pub sw_reserved: FpxSwBytes,
}

assert_layout!(
    FpState,
    size = 512,
    mxcsr @ 24,
    mxcsr_mask @ 28,
    st_space @ 32,
    xmm_space @ 160,
    sw_reserved @ 464,
);

/// The 64 bytes behind an FXSAVE area (`struct _header`): Intel SDM volume 1, section 13.4.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XStateHeader {
    /// XSTATE_BV: components that are not in their initial state.
    pub xfeatures: u64,
    /// XCOMP_BV, which must be 0 in the standard format, and a reserved word.
    pub reserved1: [u64; 2],
    /// Must be zero.
    pub reserved2: [u64; 5],
}

assert_layout!(XStateHeader, size = 64, xfeatures @ 0, reserved1 @ 8, reserved2 @ 24);

/// `struct sigcontext`, which glibc calls `mcontext_t`: the registers of the interrupted thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers are their own documentation")]
pub struct SigContext {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
    pub cs: u16,
    /// Always 0.
    pub gs: u16,
    /// Always 0.
    pub fs: u16,
    /// Valid as [`UcFlags::SIGCONTEXT_SS`] says.
    pub ss: u16,
    /// The error code of the last exception.
    pub err: u64,
    /// The vector of the last exception.
    pub trapno: u64,
    /// The blocked signals, again.
    pub oldmask: u64,
    /// The address of the last page fault.
    pub cr2: u64,
    /// Address of the [`FpState`], or 0.
    pub fpstate: u64,
    pub reserved1: [u64; 8],
}

assert_layout!(
    SigContext,
    size = 256,
    rdi @ 64,
    rsp @ 120,
    rip @ 128,
    rflags @ 136,
    cs @ 144,
    ss @ 150,
    err @ 152,
    trapno @ 160,
    oldmask @ 168,
    cr2 @ 176,
    fpstate @ 184,
    reserved1 @ 192,
);

abi_flags! {
    /// `uc_flags`; uapi `asm/ucontext.h`.
    pub struct UcFlags: u64 {
        /// The floating-point state is in XSAVE format, with [`FpxSwBytes`].
        const FP_XSTATE = 0x1;
        /// `ss` is saved and will be restored.
        const SIGCONTEXT_SS = 0x2;
        /// `ss` is restored whatever it is.
        const STRICT_RESTORE_SS = 0x4;
    }
}

impl UcFlags {
    /// What Linux sets for 64-bit code on a CPU with XSAVE.
    pub const FOR_64_BIT_CODE: Self =
        Self::FP_XSTATE.union(Self::SIGCONTEXT_SS).union(Self::STRICT_RESTORE_SS);
}

/// `struct ucontext`: the third argument of a handler. glibc's `ucontext_t` begins with the same fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UContext {
    /// See [`UcFlags`].
    pub flags: UcFlags,
    /// Always 0.
    pub link: u64,
    /// The thread's alternate stack; `rt_sigreturn` sets it again.
    pub stack: StackT,
    /// The registers.
    pub mcontext: SigContext,
    /// The blocked signals; `rt_sigreturn` sets them again.
    pub sigmask: SigSet,
}

assert_layout!(UContext, size = 304, flags @ 0, link @ 8, stack @ 16, mcontext @ 40, sigmask @ 296);

/// What lies at `rsp` when a handler is entered. `rdi` is the signal's number, `rsi` the address of `info`,
/// `rdx` that of `uc`, `rax` 0. When the handler has returned to `pretcode`, the restorer calls
/// `rt_sigreturn` with `rsp` 8 above the frame's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RtSigFrame {
    /// The return address: `sa_restorer`.
    pub pretcode: u64,
    /// The context.
    pub uc: UContext,
    /// The information.
    pub info: SigInfo,
}

assert_layout!(RtSigFrame, size = 440, pretcode @ 0, uc @ 8, info @ 312);

/// Where the parts of a signal frame go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameLayout {
    /// Where [`RtSigFrame`] goes, and `rsp` at the handler's entry.
    pub frame_address: u64,
    /// Where the FXSAVE area goes.
    pub xstate_address: u64,
}

impl FrameLayout {
    /// The frame below a stack pointer, with an XSAVE area of this size. `None` if it would wrap below
    /// address 0.
    ///
    /// The caller has chosen the stack: `rsp` of the interrupted code less [`REDZONE_SIZE`], or the top of
    /// the alternate stack ([`StackT::top`]), which has no red zone.
    pub const fn below(sp: u64, xstate_size_bytes: u64) -> Option<Self> {
        let Some(room) = xstate_size_bytes.checked_add(FP_XSTATE_MAGIC2_SIZE) else { return None };
        let Some(xstate) = sp.checked_sub(room) else { return None };
        let xstate_address = xstate & !(XSTATE_ALIGNMENT - 1);
        let Some(frame) = xstate_address.checked_sub(size_of::<RtSigFrame>() as u64) else { return None };
        let Some(frame_address) = (frame & !(FRAME_ALIGNMENT - 1)).checked_sub(8) else { return None };
        Some(Self { frame_address, xstate_address })
    }

    /// Address of the `ucontext`: the handler's third argument.
    pub const fn ucontext_address(&self) -> u64 {
        self.frame_address + core::mem::offset_of!(RtSigFrame, uc) as u64
    }

    /// Address of the `siginfo`: the handler's second argument.
    pub const fn info_address(&self) -> u64 {
        self.frame_address + core::mem::offset_of!(RtSigFrame, info) as u64
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn the_context_begins_like_glibcs() {
        assert_eq!(offset_of!(UContext, mcontext), offset_of!(libc::ucontext_t, uc_mcontext));
        assert_eq!(offset_of!(UContext, sigmask), offset_of!(libc::ucontext_t, uc_sigmask));
        let gregs = offset_of!(libc::mcontext_t, gregs);
        for (register, offset) in [
            (libc::REG_R8, offset_of!(SigContext, r8)),
            (libc::REG_RDI, offset_of!(SigContext, rdi)),
            (libc::REG_RBX, offset_of!(SigContext, rbx)),
            (libc::REG_RSP, offset_of!(SigContext, rsp)),
            (libc::REG_RIP, offset_of!(SigContext, rip)),
            (libc::REG_EFL, offset_of!(SigContext, rflags)),
            (libc::REG_CSGSFS, offset_of!(SigContext, cs)),
            (libc::REG_ERR, offset_of!(SigContext, err)),
            (libc::REG_TRAPNO, offset_of!(SigContext, trapno)),
            (libc::REG_CR2, offset_of!(SigContext, cr2)),
        ] {
            assert_eq!(gregs + register as usize * 8, offset, "register {register}");
        }
        assert_eq!(offset_of!(libc::mcontext_t, fpregs), offset_of!(SigContext, fpstate));
        assert_eq!(size_of::<libc::stack_t>(), size_of::<StackT>());
        assert_eq!(offset_of!(libc::stack_t, ss_size), offset_of!(StackT, size));
    }

    #[test]
    fn a_frame_is_aligned_and_below_the_stack_pointer() {
        for sp in (0x7fff_0000_0000_u64..0x7fff_0000_0100).step_by(1) {
            for xstate_size in [512, 576, 832, 2696] {
                let layout = FrameLayout::below(sp, xstate_size).unwrap();
                assert_eq!((layout.frame_address + 8) % FRAME_ALIGNMENT, 0);
                assert_eq!(layout.xstate_address % XSTATE_ALIGNMENT, 0);
                assert!(layout.frame_address + size_of::<RtSigFrame>() as u64 <= layout.xstate_address);
                assert!(layout.xstate_address + xstate_size + FP_XSTATE_MAGIC2_SIZE <= sp);
                assert!(sp - layout.frame_address < xstate_size + 440 + 64 + 16 + 8 + 4);
            }
        }
        assert_eq!(FrameLayout::below(700, 512), None);
        assert_eq!(FrameLayout::below(0, u64::MAX), None);
    }

    #[test]
    fn an_alternate_stack_contains_its_top_but_not_its_bottom() {
        let stack = StackT { sp: 0x1000, flags: SsFlags::empty(), padding: 0, size: 0x1000 };
        assert!(!stack.contains(0x1000));
        assert!(stack.contains(0x1001));
        assert!(stack.contains(0x2000));
        assert!(!stack.contains(0x2001));
        assert!(!StackT::DISABLED.contains(0));
        assert!(!StackT::DISABLED.contains(1));
    }

    #[test]
    fn an_alternate_stack_is_accepted_as_on_linux() {
        let raw =
            |flags, size| StackT { sp: 0x1000, flags: SsFlags::from_bits_retain(flags), padding: 7, size };
        assert_eq!(raw(0, 4096).accepted(MINSIGSTKSZ).unwrap().top(), 0x2000);
        assert_eq!(raw(0, 2047).accepted(MINSIGSTKSZ), Err(Errno::ENOMEM));
        assert_eq!(raw(1, 2048).accepted(MINSIGSTKSZ).unwrap().padding, 0);
        assert_eq!(raw(2, 4096).accepted(MINSIGSTKSZ), Ok(StackT::DISABLED));
        assert_eq!(raw(3, 4096).accepted(MINSIGSTKSZ), Err(Errno::EINVAL));
        assert_eq!(raw(4, 4096).accepted(MINSIGSTKSZ), Err(Errno::EINVAL));
        assert!(raw(1 << 31, 4096).accepted(MINSIGSTKSZ).is_ok());
    }

    #[test]
    fn a_damaged_description_of_the_extended_state_is_refused() {
        let good = FpxSwBytes::new(7, 832);
        assert!(good.describes_extended_state(832));
        assert!(!FpxSwBytes { magic1: 0, ..good }.describes_extended_state(832));
        assert!(!FpxSwBytes { xstate_size: 575, ..good }.describes_extended_state(832));
        assert!(!FpxSwBytes { xstate_size: 833, ..good }.describes_extended_state(832));
        assert!(!FpxSwBytes { extended_size: 831, ..good }.describes_extended_state(832));
    }
}
