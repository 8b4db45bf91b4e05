//! Signals that are read: `signalfd(2)`.
//!
//! Responsible for the file and its records; not for the queues of signals, which it reaches through
//! [`SignalSource`]. What can be read depends on the reader: its thread's signals and the process's.
//! One spin lock guards the mask.

use alloc::{sync::Arc, vec::Vec};
use core::any::Any;

use ksync::SpinLock;
use linux_abi::{
    Errno,
    signal::{SigInfo, SigSet, Signal, code},
};
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst};
use zerocopy::{Immutable, IntoBytes};

use crate::io::put_exact;

/// The queues of signals, as the running thread sees them.
pub trait SignalSource: Send + Sync {
    /// Takes the next signal of the set that is pending for the running thread or the process.
    fn take(&self, set: SigSet) -> Option<SigInfo>;

    /// The signals that are pending for the running thread or the process.
    fn pending(&self) -> SigSet;

    /// Notified with [`PollEvents::IN`] whenever a signal has been queued for any thread or the process.
    fn arrivals(&self) -> &Pollee;
}

/// A file that reads signals.
pub struct SignalFd {
    mask: SpinLock<SigSet>,
    source: Arc<dyn SignalSource>,
}

impl SignalFd {
    /// Makes one for the signals in `mask`; `SIGKILL` and `SIGSTOP` are left out silently.
    pub fn new(mask: SigSet, source: Arc<dyn SignalSource>) -> Self {
        Self { mask: SpinLock::new(mask.blockable()), source }
    }

    /// Changes the set of signals.
    pub fn set_mask(&self, mask: SigSet) {
        *self.mask.lock() = mask.blockable();
        self.source.arrivals().notify(PollEvents::IN);
    }

    fn try_take(&self) -> Option<SigInfo> {
        let mask = *self.mask.lock();
        self.source.take(mask)
    }
}

impl File for SignalFd {
    /// Waits for one signal and then takes as many as there are and fit.
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        if dst.remaining() < size_of::<SignalfdSiginfo>() {
            return Err(Errno::EINVAL);
        }
        let mut next = Some(match blocking {
            Blocking::No => self.try_take().ok_or(Errno::EAGAIN)?,
            Blocking::Yes => self.source.arrivals().wait(None, || self.try_take())?,
        });
        let mut done = 0;
        while let Some(info) = next {
            match put_exact(dst, SignalfdSiginfo::new(&info).as_bytes()) {
                Ok(copied) => done += copied,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            let has_room = dst.remaining() >= size_of::<SignalfdSiginfo>();
            next = if has_room { self.try_take() } else { None };
        }
        Ok(done)
    }

    fn poll(&self) -> PollEvents {
        let ready = self.source.pending().intersection(*self.mask.lock());
        if ready.is_empty() { PollEvents::empty() } else { PollEvents::IN }
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(self.source.arrivals())
    }

    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:[signalfd]".to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `struct signalfd_siginfo` (uapi `linux/signalfd.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct SignalfdSiginfo {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    timer_id: u32,
    band: u32,
    overrun: u32,
    trap_number: u32,
    status: i32,
    int: i32,
    pointer: u64,
    user_time_ticks: u64,
    system_time_ticks: u64,
    address: u64,
    address_lsb: u16,
    pad: u16,
    syscall: i32,
    call_address: u64,
    arch: u32,
    reserved: [u32; 7],
}

const _: () = assert!(size_of::<SignalfdSiginfo>() == 128);

impl SignalfdSiginfo {
    /// The record for a signal: which fields hold something depends on why it was sent (`signalfd_copyinfo`
    /// in `fs/signalfd.c`).
    pub fn new(info: &SigInfo) -> Self {
        let mut record =
            Self { signo: info.signo as u32, errno: info.errno, code: info.code, ..Self::default() };
        let signal = info.signal();
        match info.code {
            code::SI_TIMER => {
                record.timer_id = info.pid();
                record.overrun = info.overrun() as u32;
                record.set_value(info);
            }
            code::SI_USER | code::SI_TKILL => (record.pid, record.uid) = (info.pid(), info.uid()),
            _ if !info.is_from_kernel() => {
                (record.pid, record.uid) = (info.pid(), info.uid());
                record.set_value(info);
            }
            code::SI_KERNEL => (record.pid, record.uid) = (info.pid(), info.uid()),
            _ if signal == Some(Signal::SIGCHLD) => {
                (record.pid, record.uid, record.status) = (info.pid(), info.uid(), info.status());
                record.user_time_ticks = union_word(info, 2);
                record.system_time_ticks = union_word(info, 3);
            }
            _ if signal == Some(Signal::SIGIO) => {
                record.band = union_word(info, 0) as u32;
                record.fd = union_word(info, 1) as i32;
            }
            _ => record.address = info.address(),
        }
        record
    }

    fn set_value(&mut self, info: &SigInfo) {
        self.pointer = info.value().0;
        self.int = info.value().0 as i32;
    }
}

/// A word of the union that follows the 16 bytes common to all signals (uapi `asm-generic/siginfo.h`).
fn union_word(info: &SigInfo, index: usize) -> u64 {
    let start = 16 + 8 * index;
    info.as_bytes()[start..start + 8].try_into().map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, thread};

    use linux_abi::signal::SigVal;

    use super::*;

    #[derive(Default)]
    struct Queue {
        pending: SpinLock<VecDeque<SigInfo>>,
        arrivals: Pollee,
    }

    impl Queue {
        fn send(&self, info: SigInfo) {
            self.pending.lock().push_back(info);
            self.arrivals.notify(PollEvents::IN);
        }
    }

    impl SignalSource for Queue {
        fn take(&self, set: SigSet) -> Option<SigInfo> {
            let mut pending = self.pending.lock();
            let place = pending.iter().position(|info| set.contains(info.signal().unwrap()))?;
            pending.remove(place)
        }

        fn pending(&self) -> SigSet {
            self.pending.lock().iter().filter_map(SigInfo::signal).collect()
        }

        fn arrivals(&self) -> &Pollee {
            &self.arrivals
        }
    }

    #[test]
    fn reads_the_signals_of_its_set_and_no_others() {
        let queue = Arc::new(Queue::default());
        let fd = SignalFd::new(SigSet::only(Signal::SIGUSR1).with(Signal::SIGUSR2), queue.clone());
        let mut buffer = [0; 300];
        assert_eq!(fd.read_at(0, &mut &mut buffer[..127], Blocking::No), Err(Errno::EINVAL));
        queue.send(SigInfo::kill(Signal::SIGTERM, 1, 2));
        assert_eq!(fd.poll(), PollEvents::empty());
        assert_eq!(fd.read_at(0, &mut &mut buffer[..], Blocking::No), Err(Errno::EAGAIN));
        queue.send(SigInfo::kill(Signal::SIGUSR1, 3, 4));
        queue.send(SigInfo::queue(Signal::SIGUSR2, 5, 6, SigVal(0x1_0000_0007)));
        queue.send(SigInfo::kill(Signal::SIGUSR1, 8, 9));
        assert_eq!(fd.poll(), PollEvents::IN);
        assert_eq!(fd.read_at(0, &mut &mut buffer[..], Blocking::No), Ok(256));
        let word = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(12), word(16)), (10, 3, 4));
        assert_eq!((word(128), word(128 + 12), word(128 + 44)), (12, 5, 7));
        assert_eq!(fd.poll(), PollEvents::IN);
        fd.set_mask(SigSet::ALL);
        assert_eq!(fd.read_at(0, &mut &mut buffer[..], Blocking::No), Ok(256));
    }

    #[test]
    fn a_blocked_reader_wakes_for_its_signal() {
        let queue = Arc::new(Queue::default());
        let fd = Arc::new(SignalFd::new(SigSet::only(Signal::SIGHUP), queue.clone()));
        let reader = thread::spawn(move || fd.read_at(0, &mut &mut [0; 128][..], Blocking::Yes));
        queue.send(SigInfo::kill(Signal::SIGTERM, 1, 0));
        queue.send(SigInfo::kill(Signal::SIGHUP, 1, 0));
        assert_eq!(reader.join().unwrap(), Ok(128));
    }
}
