//! Where the objects of the crate `ipc` meet the rest of the kernel: descriptors, signals, clocks, and the
//! file system's socket inodes.
//!
//! What is here is made on first use and lives for ever. Nothing here locks.

use alloc::{boxed::Box, sync::Arc};

use ::ipc::{
    posix_timer::{Clocks, CpuTime, Recipient, Sent, SignalSink, Timers},
    signalfd::SignalSource,
    unix::{Domain, SocketNodes},
};
use linux_abi::{
    Errno,
    file::{FdFlags, FileType, OpenFlags},
    signal::{SigInfo, SigSet, Signal},
    socket::Ucred,
};
use spin::LazyLock;
use vfs::{AccessMode, File, FinalLink, InodeId, NewInode, OpenFile, PollEvents, Pollee};

use crate::{arch::cpu, fs, sched, signal, syscall::time::process_cpu_ns, task, user::UserPtr};

/// The open file behind a descriptor, as a system call is given it. `EBADF` if there is none.
pub fn open_file(fd: i32) -> Result<Arc<OpenFile>, Errno> {
    fs::descriptor(fd)
}

/// Opens `file` under the lowest free descriptor. Of `flags`, which are those of `open(2)`, `O_CLOEXEC` is
/// the descriptor's and the rest the open file's.
pub fn install(file: Arc<dyn File>, access: AccessMode, flags: OpenFlags) -> Result<u32, Errno> {
    let fd_flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
    let open = OpenFile::anonymous(file, access, flags.difference(OpenFlags::CLOEXEC));
    fs::descriptors().insert(open, fd_flags)
}

/// Closes a descriptor that the application was never told.
pub fn take_back(fd: u32) {
    // Another thread may have guessed it and closed it first.
    let _ = fs::descriptors().close(fd as _);
}

/// Opens two files and tells the application their descriptors, or opens neither.
pub fn install_pair(
    files: [(Arc<dyn File>, AccessMode, OpenFlags); 2],
    into: UserPtr<[i32; 2]>,
) -> Result<(), Errno> {
    let [first, second] = files.map(|(file, access, flags)| install(file, access, flags));
    let told = match (first, second) {
        (Ok(first), Ok(second)) => into.write([first as i32, second as i32]),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    if told.is_err() {
        [first, second].into_iter().flatten().for_each(take_back);
    }
    told
}

/// Sends `SIGPIPE` to the running thread: it wrote where nobody can read any more.
pub fn raise_sigpipe() {
    // Refused only if memory is short; the caller learns of the broken pipe all the same.
    let _ = signal::send_to_thread(
        task::current(),
        Signal::SIGPIPE,
        SigInfo::kill(Signal::SIGPIPE, task::PID, 0),
    );
}

/// Sends `SIGXFSZ` to the running thread: a file would get larger than `RLIMIT_FSIZE` allows.
pub fn raise_sigxfsz() {
    // As above.
    let _ = signal::send_to_thread(
        task::current(),
        Signal::SIGXFSZ,
        SigInfo::kill(Signal::SIGXFSZ, task::PID, 0),
    );
}

/// Who the process is, as its sockets tell.
pub const CREDENTIALS: Ucred = Ucred { pid: task::PID as i32, uid: 0, gid: 0 };

/// The local sockets.
pub static LOCAL_SOCKETS: LazyLock<Arc<Domain>> = LazyLock::new(|| Domain::new(Box::new(Nodes)));

struct Nodes;

impl SocketNodes for Nodes {
    fn create(&self, path: &[u8]) -> Result<InodeId, Errno> {
        let permissions = 0o777 & !fs::umask();
        let created = fs::namespace().create(&fs::working_directory(), path, NewInode::Socket, permissions);
        match created {
            Ok(node) => Ok(node.inode().id()),
            Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
            Err(error) => Err(error),
        }
    }

    fn lookup(&self, path: &[u8]) -> Result<InodeId, Errno> {
        let node = fs::namespace().resolve(&fs::working_directory(), path, FinalLink::Follow)?;
        let inode = node.inode();
        if inode.kind() == FileType::Socket { Ok(inode.id()) } else { Err(Errno::ECONNREFUSED) }
    }
}

/// The process's timers.
pub static TIMERS: LazyLock<Timers> = LazyLock::new(|| Timers::new(Signals, Processors));

struct Signals;

impl SignalSink for Signals {
    fn send(&self, to: Recipient, number: Signal, info: SigInfo) -> Sent {
        let sent = match to {
            Recipient::Process => signal::send_to_process(number, info),
            Recipient::Thread(tid) => match task::thread(tid) {
                Some(thread) => signal::send_to_thread(&thread, number, info),
                None => Ok(Sent::Dropped),
            },
        };
        sent.unwrap_or(Sent::Dropped)
    }
}

struct Processors;

impl Clocks for Processors {
    fn cpu_ns(&self, whose: CpuTime) -> Option<u64> {
        match whose {
            CpuTime::Process => Some(process_cpu_ns()),
            CpuTime::Thread(tid) => task::thread(tid).map(|thread| sched::cpu_time_ns(&thread)),
        }
    }

    fn cpu_count(&self) -> usize {
        cpu::count()
    }

    fn process_id(&self) -> u32 {
        task::PID
    }
}

/// To be called with each signal that is taken from a queue; returns it as the application is to see it. Not
/// with a lock of the timers held.
pub fn signal_taken(mut info: SigInfo) -> SigInfo {
    TIMERS.signal_taken(&mut info);
    info
}

static ARRIVALS: Pollee = Pollee::new();

/// To be called when a signal has been queued that its thread blocks: it may be one that is read.
pub fn signal_queued() {
    ARRIVALS.notify(PollEvents::IN);
}

/// The queues of signals, for `signalfd(2)`.
pub struct SignalQueues;

impl SignalSource for SignalQueues {
    fn take(&self, set: SigSet) -> Option<SigInfo> {
        signal::take_pending(set)
    }

    fn pending(&self) -> SigSet {
        signal::pending_of(SigSet::ALL)
    }

    fn arrivals(&self) -> &Pollee {
        &ARRIVALS
    }
}
