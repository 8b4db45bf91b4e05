//! Waiting for events: `poll(2)`, `epoll(7)`, `eventfd(2)`, `timerfd_create(2)`, `signalfd(2)`, `inotify(7)`
//! (uapi `asm-generic/poll.h`, `linux/eventpoll.h`, `linux/eventfd.h`, `linux/timerfd.h`, `linux/inotify.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

abi_flags! {
    /// Events of [`poll(2)`](https://man7.org/linux/man-pages/man2/poll.2.html); those of [`EpollEvents`]
    /// have the same bits. Unknown ones are ignored.
    pub struct PollEvents: u16 {
        /// Readable.
        const IN = 0x0001;
        /// Urgent data.
        const PRI = 0x0002;
        /// Writable.
        const OUT = 0x0004;
        /// Error; always reported.
        const ERR = 0x0008;
        /// Hung up; always reported.
        const HUP = 0x0010;
        /// No such descriptor; always reported.
        const NVAL = 0x0020;
        /// As `IN`.
        const RDNORM = 0x0040;
        /// Out-of-band data.
        const RDBAND = 0x0080;
        /// As `OUT`.
        const WRNORM = 0x0100;
        /// Out-of-band data can be written.
        const WRBAND = 0x0200;
        /// Without meaning.
        const MSG = 0x0400;
        /// The peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// What is reported without having been asked for.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP).union(Self::NVAL);
}

/// `struct pollfd`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor; a negative one is passed over.
    pub fd: i32,
    /// What is asked for.
    pub events: PollEvents,
    /// What there is.
    pub revents: PollEvents,
}

assert_layout!(PollFd, size = 8, fd @ 0, events @ 4, revents @ 6);

abi_flags! {
    /// Events of [`epoll_ctl(2)`](https://man7.org/linux/man-pages/man2/epoll_ctl.2.html). Unknown ones are
    /// ignored.
    pub struct EpollEvents: u32 {
        /// Readable.
        const IN = 0x0001;
        /// Urgent data.
        const PRI = 0x0002;
        /// Writable.
        const OUT = 0x0004;
        /// Error; always reported.
        const ERR = 0x0008;
        /// Hung up; always reported.
        const HUP = 0x0010;
        /// As `IN`.
        const RDNORM = 0x0040;
        /// Out-of-band data.
        const RDBAND = 0x0080;
        /// As `OUT`.
        const WRNORM = 0x0100;
        /// Out-of-band data can be written.
        const WRBAND = 0x0200;
        /// Without meaning.
        const MSG = 0x0400;
        /// The peer shut down its writing half.
        const RDHUP = 0x2000;
        /// Wake one waiter of several; only with `ADD`.
        const EXCLUSIVE = 1 << 28;
        /// Keep the machine from sleeping.
        const WAKEUP = 1 << 29;
        /// Disabled after one report, until `MOD`.
        const ONESHOT = 1 << 30;
        /// Edge-triggered.
        const ET = 1 << 31;
    }
}

impl EpollEvents {
    /// The bits that say how to report, not what.
    pub const MODE: Self = Self::EXCLUSIVE.union(Self::WAKEUP).union(Self::ONESHOT).union(Self::ET);

    /// The events alone, in `poll`'s type.
    pub const fn to_poll(self) -> PollEvents {
        PollEvents::from_bits_truncate(self.bits() as u16)
    }
}

impl From<PollEvents> for EpollEvents {
    fn from(events: PollEvents) -> Self {
        Self::from_bits_truncate(u32::from(events.bits()))
    }
}

/// `struct epoll_event`, which on x86-64 is packed, so that 32- and 64-bit programs agree on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// The events.
    pub events: EpollEvents,
    /// Given back as it came.
    pub data: u64,
}

assert_layout!(EpollEvent, size = 12, events @ 0, data @ 4);

abi_enum! {
    /// The operation of `epoll_ctl(2)`.
    pub enum EpollOp: u32 {
        /// `EEXIST` if the descriptor is in.
        Add = 1, "EPOLL_CTL_ADD";
        /// `ENOENT` if it is not.
        Del = 2, "EPOLL_CTL_DEL";
        /// `ENOENT` if it is not.
        Mod = 3, "EPOLL_CTL_MOD";
    }
}

abi_flags! {
    /// Flags of [`epoll_create1(2)`](https://man7.org/linux/man-pages/man2/epoll_create.2.html).
    pub struct EpollCreateFlags: u32 {
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`eventfd2(2)`](https://man7.org/linux/man-pages/man2/eventfd.2.html).
    pub struct EventfdFlags: u32 {
        /// A read takes 1, not all.
        const SEMAPHORE = 1;
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`timerfd_create(2)`](https://man7.org/linux/man-pages/man2/timerfd_create.2.html); those of
    /// `timerfd_settime` are [`TimerFlags`](crate::time::TimerFlags).
    pub struct TimerfdFlags: u32 {
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`signalfd4(2)`](https://man7.org/linux/man-pages/man2/signalfd.2.html).
    pub struct SignalfdFlags: u32 {
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`inotify_init1(2)`](https://man7.org/linux/man-pages/man2/inotify_init.2.html).
    pub struct InotifyInitFlags: u32 {
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Events and options of [`inotify(7)`](https://man7.org/linux/man-pages/man7/inotify.7.html).
    pub struct InotifyMask: u32 {
        /// Read.
        const ACCESS = 0x1;
        /// Written.
        const MODIFY = 0x2;
        /// Attributes changed.
        const ATTRIB = 0x4;
        /// Closed after writing.
        const CLOSE_WRITE = 0x8;
        /// Closed after reading.
        const CLOSE_NOWRITE = 0x10;
        /// Opened.
        const OPEN = 0x20;
        /// Moved away.
        const MOVED_FROM = 0x40;
        /// Moved here.
        const MOVED_TO = 0x80;
        /// Created in the directory.
        const CREATE = 0x100;
        /// Deleted from the directory.
        const DELETE = 0x200;
        /// The watched object was deleted.
        const DELETE_SELF = 0x400;
        /// The watched object was moved.
        const MOVE_SELF = 0x800;
        /// Reported only: unmounted.
        const UNMOUNT = 0x2000;
        /// Reported only: events were lost.
        const Q_OVERFLOW = 0x4000;
        /// Reported only: the watch is gone.
        const IGNORED = 0x8000;
        /// Only if it is a directory.
        const ONLYDIR = 0x0100_0000;
        /// Not through a symbolic link.
        const DONT_FOLLOW = 0x0200_0000;
        /// No events of unlinked files.
        const EXCL_UNLINK = 0x0400_0000;
        /// `EEXIST` if it is watched.
        const MASK_CREATE = 0x1000_0000;
        /// Add to the watch.
        const MASK_ADD = 0x2000_0000;
        /// Reported only: it is a directory.
        const ISDIR = 0x4000_0000;
        /// Once.
        const ONESHOT = 0x8000_0000;
    }
}

/// `struct inotify_event`, before the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InotifyEvent {
    /// The watch.
    pub wd: i32,
    /// What happened.
    pub mask: InotifyMask,
    /// Ties the two events of a rename.
    pub cookie: u32,
    /// Bytes of the name, with its padding of NULs.
    pub length: u32,
}

assert_layout!(InotifyEvent, size = 16, wd @ 0, mask @ 4, cookie @ 8, length @ 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        assert_eq!(PollEvents::RDHUP.bits(), libc::POLLRDHUP as u16);
        assert_eq!(PollEvents::WRBAND.bits(), libc::POLLWRBAND as u16);
        assert_eq!(EpollEvents::ET.bits(), libc::EPOLLET as u32);
        assert_eq!(EpollEvents::EXCLUSIVE.bits(), libc::EPOLLEXCLUSIVE as u32);
        assert_eq!(EpollEvents::ONESHOT.bits(), libc::EPOLLONESHOT as u32);
        assert_eq!(EventfdFlags::NONBLOCK.bits(), libc::EFD_NONBLOCK as u32);
        assert_eq!(EventfdFlags::CLOEXEC.bits(), libc::EFD_CLOEXEC as u32);
        assert_eq!(size_of::<EpollEvent>(), size_of::<libc::epoll_event>());
        assert_eq!(InotifyMask::ONESHOT.bits(), libc::IN_ONESHOT);
        assert_eq!(InotifyMask::EXCL_UNLINK.bits(), libc::IN_EXCL_UNLINK);
    }

    #[test]
    fn poll_and_epoll_agree() {
        let events = PollEvents::IN | PollEvents::RDHUP;
        assert_eq!((EpollEvents::from(events) | EpollEvents::ET).to_poll(), events);
    }
}
