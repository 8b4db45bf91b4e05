//! System calls: from a number and six registers to a typed handler, and back.
//!
//! [`table`] declares every call once: its number, its handler and the handler's arguments. A handler decodes, validates,
//! delegates to the subsystem, and returns; it lives in the file of its family. A call that is not in the table answers
//! `ENOSYS` and is logged once with its name.

use alloc::boxed::Box;
use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use linux_abi::Errno;
use signal_queue::Handler;
use x86_64::instructions::interrupts;

use crate::{
    arch::trap::{TrapFrame, rflags},
    signal, task,
    user::UserPtr,
};

mod names;
mod table;

pub mod credentials;
pub mod directory;
pub mod epoll;
pub mod event;
pub mod fd;
pub mod file;
pub mod futex;
pub mod info;
pub mod inotify;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod pipe;
pub mod policy;
pub mod poll;
pub mod process;
pub mod random;
pub mod schedule;
pub mod signals;
pub mod socket;
pub mod splice;
pub mod stat;
pub mod thread;
pub mod time;
pub mod timer;
pub mod xattr;

pub use names::name;

/// What a handler answers: the value for `rax`, or an error.
pub type Result = core::result::Result<usize, Errno>;

const RT_SIGRETURN: u64 = 15;
const RESTART_SYSCALL: u64 = 219;
/// Length of the `syscall` instruction, to go back to it.
const SYSCALL_INSTRUCTION: u64 = 2;

/// How an interrupted call goes on when no handler ran: what `restart_syscall(2)` does.
pub type RestartBlock = Box<dyn FnOnce() -> Result + Send>;

static TRACING: AtomicBool = AtomicBool::new(false);

/// Writes every call to the kernel log from now on.
pub fn start_tracing() {
    TRACING.store(true, Ordering::Relaxed);
}

/// Whether calls and signals are written to the kernel log.
pub fn is_traced() -> bool {
    TRACING.load(Ordering::Relaxed)
}

/// What the call that is about to return wants if a signal interrupted it.
#[derive(Debug)]
pub enum Restart {
    /// Nothing: it has its result, or there was no call.
    No,
    /// It answered with one of the kernel-internal `ERESTART*` codes.
    Call {
        /// The call's number.
        number: u64,
        /// The code.
        error: Errno,
    },
}

impl Restart {
    /// Decides, once it is known whether a handler will run: the call is made again, or fails with `EINTR`. Returns whether
    /// `frame` was changed in more than `rax`.
    pub fn settle(&mut self, frame: &mut TrapFrame, handler: Option<&Handler>) -> bool {
        let Self::Call { number, error } = core::mem::replace(self, Self::No) else { return false };
        let again = match (handler, error) {
            (None, _) | (Some(_), Errno::ERESTARTNOINTR) => true,
            (Some(handler), Errno::ERESTARTSYS) => handler.restarts_calls(),
            (Some(_), _) => false,
        };
        if !again {
            frame.rax = Errno::EINTR.to_return_value() as u64;
            return false;
        }
        frame.rax = if error == Errno::ERESTART_RESTARTBLOCK { RESTART_SYSCALL } else { number };
        frame.rip -= SYSCALL_INSTRUCTION;
        true
    }
}

/// Serves one system call. Returns with interrupts masked; `true` if all of the frame counts, not only `rax`.
#[unsafe(no_mangle)]
extern "C" fn syscall_handler(frame: &mut TrapFrame) -> bool {
    let thread = task::current();
    thread.set_frame(frame);
    // The upper half of the register does not count, as on Linux (`do_syscall_64`).
    let number = u64::from(frame.vector as u32);
    thread.syscall.store(number as usize, Ordering::Relaxed);
    let mut whole_frame = false;
    let mut restart = Restart::No;
    if number == RT_SIGRETURN {
        if is_traced() {
            trace(number, &[0; 6], None);
        }
        if signal::return_from_handler(frame).is_err() {
            signal::bad_frame();
        }
        whole_frame = true;
    } else {
        let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
        let result =
            if is_traced() { traced_dispatch(number, arguments) } else { dispatch(number, arguments) };
        match result {
            Ok(value) => frame.rax = value as u64,
            Err(
                error @ (Errno::ERESTARTSYS
                | Errno::ERESTARTNOINTR
                | Errno::ERESTARTNOHAND
                | Errno::ERESTART_RESTARTBLOCK),
            ) => restart = Restart::Call { number, error },
            Err(error) => frame.rax = error.to_return_value() as u64,
        }
    }
    thread.syscall.store(usize::MAX, Ordering::Relaxed);
    interrupts::disable();
    whole_frame |= task::before_return_to_application(frame, restart);
    // With the trap flag on, the quick way back would be traced itself.
    whole_frame || frame.rflags & rflags::TF != 0
}

fn dispatch(number: u64, arguments: [u64; 6]) -> Result {
    table::dispatch(number, arguments).unwrap_or_else(|| {
        log_missing(number);
        Err(Errno::ENOSYS)
    })
}

fn log_missing(number: u64) {
    static LOGGED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    let Some(name) = name(number) else { return };
    let (word, bit) = (number as usize / 64, 1 << (number % 64));
    if LOGGED[word].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        log::warn!("system call {name} is missing: ENOSYS");
    }
}

/// Logs something that the application asked for and that is refused, once for each place in the source.
#[macro_export]
macro_rules! refuse_once {
    ($($argument:tt)*) => {{
        static LOGGED: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
        if !LOGGED.swap(true, core::sync::atomic::Ordering::Relaxed) {
            log::warn!($($argument)*);
        }
    }};
}

fn traced_dispatch(number: u64, arguments: [u64; 6]) -> Result {
    // Calls that may not come back, or not soon, are shown before as well: that is where a hang is seen.
    let start_ns = ksync::platform::now_ns();
    if !table::returns_soon(number) {
        trace(number, &arguments, None);
    }
    let result = dispatch(number, arguments);
    trace(number, &arguments, Some((result, ksync::platform::now_ns() - start_ns)));
    result
}

fn trace(number: u64, arguments: &[u64; 6], outcome: Option<(Result, u64)>) {
    let mut line = alloc::string::String::with_capacity(160);
    let _ = write!(line, "[{}] ", task::current().tid);
    let _ = table::show(number, arguments, &mut line);
    let _ = match outcome {
        None => write!(line, " ..."),
        Some((Ok(value), _)) if value > 0xffff => write!(line, " = {value:#x}"),
        Some((Ok(value), _)) => write!(line, " = {value}"),
        Some((Err(error), _)) => write!(line, " = -1 {error:?}"),
    };
    if let Some((_, ns)) = outcome {
        let _ = write!(line, " <{}.{:06}>", ns / 1_000_000_000, ns / 1000 % 1_000_000);
    }
    crate::log::write_line(format_args!("{line}"));
}

/// An argument of a system call: made from a register, and shown in the trace.
pub trait Argument: Sized {
    /// Takes the register's value. The upper half of a 32-bit argument is not looked at, as on Linux.
    fn from_register(value: u64) -> Self;

    /// Writes it for the trace.
    fn show(&self, out: &mut dyn Write) -> fmt::Result;
}

macro_rules! integer_arguments {
    ($($t:ty),*) => { $(
        impl Argument for $t {
            fn from_register(value: u64) -> Self {
                value as $t
            }

            fn show(&self, out: &mut dyn Write) -> fmt::Result {
                #[allow(unused_comparisons, reason = "for the signed types")]
                if *self >= 0 && *self as u64 > 0xffff { write!(out, "{self:#x}") } else { write!(out, "{self}") }
            }
        }
    )* };
}
integer_arguments!(i32, u32, i64, u64, usize);

impl<T> Argument for UserPtr<T> {
    fn from_register(value: u64) -> Self {
        Self::new(value)
    }

    fn show(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{self:?}")
    }
}

/// A path or another NUL-ended string.
#[derive(Clone, Copy, Debug)]
pub struct UserString(pub UserPtr<u8>);

impl Argument for UserString {
    fn from_register(value: u64) -> Self {
        Self(UserPtr::new(value))
    }

    fn show(&self, out: &mut dyn Write) -> fmt::Result {
        match self.0.read_for_trace(80) {
            Ok(text) => write!(out, "{text:?}"),
            Err(_) => write!(out, "{:?}", self.0),
        }
    }
}
