//! Waiting for several descriptors: `poll(2)` and `select(2)`.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use ipc::poll::{PollEntry, SelectSets, wait};
use ksync::WaitError;
use linux_abi::{
    Errno,
    event::PollFd,
    signal::SigSet,
    time::{MAX_NS, Timespec, Timeval},
};
use vfs::{File, PollEvents};

use super::Result;
use crate::{arch::clock, fs, ipc::open_file, signal, task, user::UserPtr};

/// A signal mask for the length of a call (`ppoll(2)`, `epoll_pwait(2)`).
pub struct MaskedCall {
    is_masked: bool,
}

impl MaskedCall {
    /// Swaps the mask, unless it is null. `EINVAL` for a mask of another size.
    pub fn begin(mask: UserPtr<u64>, mask_size: usize) -> core::result::Result<Self, Errno> {
        let Some(mask) = mask.non_null() else { return Ok(Self { is_masked: false }) };
        if mask_size != size_of::<SigSet>() {
            return Err(Errno::EINVAL);
        }
        signal::set_mask_for_call(SigSet::from_bits(mask.read()?));
        Ok(Self { is_masked: true })
    }

    /// Puts the mask back at once if no signal ended the call; else the signal's delivery does, so that it is
    /// the call's mask that decides which signal that is.
    pub fn end(self, result: Result) -> Result {
        let is_interrupted = matches!(result, Err(Errno::EINTR | Errno::ERESTARTNOHAND | Errno::ERESTARTSYS));
        if self.is_masked && !is_interrupted {
            signal::end_mask_for_call();
        }
        result
    }
}

/// The point in time so many milliseconds from now; `None`, for ever, if negative.
pub fn deadline_in_ms(timeout_ms: i32) -> Option<u64> {
    u64::try_from(timeout_ms).ok().map(|ms| deadline_in(ms * 1_000_000))
}

/// The point in time after a timeout; `None`, for ever, if null.
pub fn deadline_of(timeout: UserPtr<Timespec>) -> core::result::Result<Option<u64>, Errno> {
    timeout.non_null().map(|timeout| Ok(deadline_in(timeout.read()?.to_ns()?))).transpose()
}

fn deadline_in(ns: u64) -> u64 {
    // 0 needs no look at the clock: it has passed.
    if ns == 0 { 0 } else { clock::now_ns().saturating_add(ns).min(MAX_NS) }
}

fn left_ns(deadline_ns: u64) -> u64 {
    deadline_ns.saturating_sub(clock::now_ns())
}

fn wait_for(
    fds: UserPtr<PollFd>,
    count: usize,
    deadline_ns: Option<u64>,
) -> core::result::Result<usize, PollError> {
    let mut entries = Vec::with_capacity(count);
    for asked in fds.read_vec(count)? {
        let mut entry = PollEntry { file: None, events: PollEvents::empty(), revents: PollEvents::empty() };
        if asked.fd >= 0 {
            match open_file(asked.fd) {
                Ok(open) => entry.file = Some(open.file().clone()),
                Err(_) => entry.revents = PollEvents::NVAL,
            }
            let events = PollEvents::from_bits_truncate(u32::from(asked.events.bits()));
            entry.events = events | PollEvents::ALWAYS;
        }
        entries.push(entry);
    }
    let ready = wait(&mut entries, deadline_ns).map_err(|_| PollError::Interrupted)?;
    for (n, entry) in entries.iter().enumerate() {
        let revents: UserPtr<u16> = fds.add(n).field(core::mem::offset_of!(PollFd, revents));
        revents.write(entry.revents.bits() as u16)?;
    }
    Ok(ready)
}

enum PollError {
    /// By a signal.
    Interrupted,
    Other(Errno),
}

impl From<Errno> for PollError {
    fn from(error: Errno) -> Self {
        Self::Other(error)
    }
}

fn check_count(count: u32) -> core::result::Result<usize, Errno> {
    let count = count as usize;
    if count > fs::descriptors().limit() { Err(Errno::EINVAL) } else { Ok(count) }
}

/// `poll(2)`. Goes on where it was after a signal without a handler, with what is left of its timeout.
pub fn sys_poll(fds: UserPtr<PollFd>, count: u32, timeout_ms: i32) -> Result {
    poll_until(fds, check_count(count)?, deadline_in_ms(timeout_ms))
}

fn poll_until(fds: UserPtr<PollFd>, count: usize, deadline_ns: Option<u64>) -> Result {
    match wait_for(fds, count, deadline_ns) {
        Ok(ready) => Ok(ready),
        Err(PollError::Other(error)) => Err(error),
        Err(PollError::Interrupted) => {
            let restart = Box::new(move || poll_until(fds, count, deadline_ns));
            *task::current().restart.lock() = Some(restart);
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// `ppoll(2)`. Linux writes back what is left of the timeout.
pub fn sys_ppoll(
    fds: UserPtr<PollFd>,
    count: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> Result {
    let deadline_ns = deadline_of(timeout)?;
    let call = MaskedCall::begin(mask, mask_size)?;
    let result = check_count(count).and_then(|count| {
        wait_for(fds, count, deadline_ns).map_err(|error| match error {
            PollError::Interrupted => Errno::ERESTARTNOHAND,
            PollError::Other(error) => error,
        })
    });
    let result = call.end(result);
    finish(result, deadline_ns, |left_ns| timeout.write(Timespec::from_ns(left_ns)))
}

/// Tells what is left of the timeout. A call whose timeout cannot be written, since it lies in read-only
/// memory, cannot be restarted with it either (`poll_select_finish` in `fs/select.c`).
fn finish(
    result: Result,
    deadline_ns: Option<u64>,
    write: impl FnOnce(u64) -> core::result::Result<(), Errno>,
) -> Result {
    let Some(deadline_ns) = deadline_ns else { return result };
    match (write(left_ns(deadline_ns)), result) {
        (Err(_), Err(Errno::ERESTARTNOHAND)) => Err(Errno::EINTR),
        (_, result) => result,
    }
}

/// The three sets of a `select`.
struct UserSets {
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
}

fn select(descriptors: i32, user: &UserSets, deadline_ns: Option<u64>) -> Result {
    let descriptors = usize::try_from(descriptors).map_err(|_| Errno::EINVAL)?;
    // Linux looks no further than its table of descriptors reaches.
    let descriptors = descriptors.min(fs::descriptors().limit());
    let words = descriptors.div_ceil(64);
    let read = |set: UserPtr<u64>| set.non_null().map_or(Ok(Vec::new()), |set| set.read_vec(words));
    let mut sets =
        SelectSets { read: read(user.read)?, write: read(user.write)?, except: read(user.except)? };
    let lookup = |fd: usize| -> core::result::Result<Arc<dyn File>, SelectError> {
        Ok(open_file(fd as i32).map_err(SelectError)?.file().clone())
    };
    let ready = sets.wait(descriptors, deadline_ns, lookup).map_err(|SelectError(error)| error)?;
    for (set, found) in [(user.read, &sets.read), (user.write, &sets.write), (user.except, &sets.except)] {
        if !set.is_null() {
            set.write_slice(found)?;
        }
    }
    Ok(ready)
}

/// What ends a `select` without a result; a signal does so with another code than in most calls.
struct SelectError(Errno);

impl From<WaitError> for SelectError {
    fn from(_: WaitError) -> Self {
        Self(Errno::ERESTARTNOHAND)
    }
}

/// `select(2)`. Linux writes back what is left of the timeout.
pub fn sys_select(
    descriptors: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timeval>,
) -> Result {
    let deadline_ns = match timeout.non_null() {
        None => None,
        Some(timeout) => {
            let Timeval { sec, usec } = timeout.read()?;
            // More than a second of microseconds is carried over.
            let timeout = Timeval { sec: sec.saturating_add(usec / 1_000_000), usec: usec % 1_000_000 };
            Some(deadline_in(timeout.to_ns()?))
        }
    };
    let result = select(descriptors, &UserSets { read, write, except }, deadline_ns);
    finish(result, deadline_ns, |left_ns| timeout.write(Timeval::from_ns(left_ns)))
}

/// `pselect6(2)`: the last argument is the address of the mask's address and size.
pub fn sys_pselect6(
    descriptors: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> Result {
    let [mask, mask_size] = mask.non_null().map_or(Ok([0, 0]), UserPtr::read)?;
    let deadline_ns = deadline_of(timeout)?;
    let call = MaskedCall::begin(UserPtr::new(mask), mask_size as usize)?;
    let result = call.end(select(descriptors, &UserSets { read, write, except }, deadline_ns));
    finish(result, deadline_ns, |left_ns| timeout.write(Timespec::from_ns(left_ns)))
}
