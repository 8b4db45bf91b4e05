//! Signals: numbers, sets, actions, the information that accompanies one, and the frame that a handler
//! finds on its stack (uapi `asm/signal.h`, `asm-generic/siginfo.h`, `asm/sigcontext.h`, `asm/ucontext.h`;
//! the frame itself from `arch/x86/include/asm/sigframe.h`).

mod action;
mod frame;
mod info;
mod number;
mod set;

pub use action::{DefaultAction, Disposition, How, SIG_DFL, SIG_IGN, SaFlags, SigAction};
pub use frame::{
    FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FP_XSTATE_MAGIC2_SIZE, FRAME_ALIGNMENT, FpState, FpxSwBytes,
    FrameLayout, MINSIGSTKSZ, REDZONE_SIZE, RtSigFrame, SigContext, SsFlags, StackT, UContext, UcFlags,
    XSTATE_ALIGNMENT, XStateHeader,
};
pub use info::{SigInfo, SigVal, code};
pub use number::Signal;
pub use set::{SigSet, SigSetIter};
