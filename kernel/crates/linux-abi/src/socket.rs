//! Sockets: `socket(2)`, `sendmsg(2)`, `recvmsg(2)`, `getsockopt(2)`, `unix(7)` (uapi `linux/socket.h`,
//! `asm-generic/socket.h`, `linux/un.h`, and `include/linux/socket.h` and `include/linux/net.h` for what has
//! no uapi header).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::time::Timeval;

/// Address families.
pub mod family {
    /// No family: ends a datagram socket's connection.
    pub const AF_UNSPEC: u16 = 0;
    /// Sockets of this machine.
    pub const AF_UNIX: u16 = 1;
    /// IPv4.
    pub const AF_INET: u16 = 2;
    /// IPv6.
    pub const AF_INET6: u16 = 10;
    /// The kernel's own messages.
    pub const AF_NETLINK: u16 = 16;
    /// Raw packets.
    pub const AF_PACKET: u16 = 17;
    /// Families are below this.
    pub const AF_MAX: u16 = 46;
}

/// The bits of `socket`'s type argument that hold the [`SocketType`].
pub const SOCK_TYPE_MASK: u32 = 0xf;

abi_enum! {
    /// The type of a socket.
    pub enum SocketType: u32 {
        /// A stream of bytes.
        Stream = 1, "SOCK_STREAM";
        /// Datagrams.
        Datagram = 2, "SOCK_DGRAM";
        /// The network's own packets.
        Raw = 3, "SOCK_RAW";
        /// Reliable datagrams.
        Rdm = 4, "SOCK_RDM";
        /// A connection of messages.
        SeqPacket = 5, "SOCK_SEQPACKET";
        /// Datagram congestion control protocol.
        Dccp = 6, "SOCK_DCCP";
        /// Packets, the old way.
        Packet = 10, "SOCK_PACKET";
    }
}

abi_flags! {
    /// Flags beside the type in [`socket(2)`](https://man7.org/linux/man-pages/man2/socket.2.html), and those
    /// of `accept4`.
    pub struct SocketFlags: u32 {
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`send(2)`](https://man7.org/linux/man-pages/man2/send.2.html) and
    /// [`recv(2)`](https://man7.org/linux/man-pages/man2/recv.2.html). Unknown ones are ignored.
    pub struct MessageFlags: u32 {
        /// Urgent data.
        const OOB = 0x1;
        /// Leave it in the queue.
        const PEEK = 0x2;
        /// Only on the local network.
        const DONTROUTE = 0x4;
        /// Control data were cut off.
        const CTRUNC = 0x8;
        /// Report the length though it did not fit; it did not fit.
        const TRUNC = 0x20;
        /// Do not wait.
        const DONTWAIT = 0x40;
        /// A record ends here.
        const EOR = 0x80;
        /// Wait until the buffer is full.
        const WAITALL = 0x100;
        /// The peer answers.
        const CONFIRM = 0x800;
        /// From the queue of errors.
        const ERRQUEUE = 0x2000;
        /// No `SIGPIPE`.
        const NOSIGNAL = 0x4000;
        /// More follows.
        const MORE = 0x8000;
        /// `recvmmsg`: do not wait after the first.
        const WAITFORONE = 0x1_0000;
        /// Without copying.
        const ZEROCOPY = 0x400_0000;
        /// Data with the connection's first packet.
        const FASTOPEN = 0x2000_0000;
        /// Received descriptors close on exec.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// Bytes of the path in `struct sockaddr_un`.
pub const UNIX_PATH_MAX: usize = 108;

/// Size of `struct sockaddr_storage`: no address is longer.
pub const ADDRESS_MAX: usize = 128;

/// The longest queue of connections that wait to be accepted (default of `net.core.somaxconn`).
pub const SOMAXCONN: u32 = 4096;

/// The most descriptors in one message.
pub const SCM_MAX_FD: usize = 253;

/// The level of options and control data that all sockets have.
pub const SOL_SOCKET: i32 = 1;

/// Control data: descriptors.
pub const SCM_RIGHTS: i32 = 1;
/// Control data: [`Ucred`].
pub const SCM_CREDENTIALS: i32 = 2;

/// Options of [`SOL_SOCKET`].
pub mod option {
    #![expect(missing_docs, reason = "the names are socket(7)'s")]
    pub const SO_DEBUG: i32 = 1;
    pub const SO_REUSEADDR: i32 = 2;
    pub const SO_TYPE: i32 = 3;
    pub const SO_ERROR: i32 = 4;
    pub const SO_DONTROUTE: i32 = 5;
    pub const SO_BROADCAST: i32 = 6;
    pub const SO_SNDBUF: i32 = 7;
    pub const SO_RCVBUF: i32 = 8;
    pub const SO_KEEPALIVE: i32 = 9;
    pub const SO_OOBINLINE: i32 = 10;
    pub const SO_NO_CHECK: i32 = 11;
    pub const SO_PRIORITY: i32 = 12;
    pub const SO_LINGER: i32 = 13;
    pub const SO_BSDCOMPAT: i32 = 14;
    pub const SO_REUSEPORT: i32 = 15;
    pub const SO_PASSCRED: i32 = 16;
    pub const SO_PEERCRED: i32 = 17;
    pub const SO_RCVLOWAT: i32 = 18;
    pub const SO_SNDLOWAT: i32 = 19;
    pub const SO_RCVTIMEO: i32 = 20;
    pub const SO_SNDTIMEO: i32 = 21;
    pub const SO_BINDTODEVICE: i32 = 25;
    pub const SO_ATTACH_FILTER: i32 = 26;
    pub const SO_DETACH_FILTER: i32 = 27;
    pub const SO_PEERNAME: i32 = 28;
    pub const SO_TIMESTAMP: i32 = 29;
    pub const SO_ACCEPTCONN: i32 = 30;
    pub const SO_PEERSEC: i32 = 31;
    pub const SO_SNDBUFFORCE: i32 = 32;
    pub const SO_RCVBUFFORCE: i32 = 33;
    pub const SO_PASSSEC: i32 = 34;
    pub const SO_TIMESTAMPNS: i32 = 35;
    pub const SO_MARK: i32 = 36;
    pub const SO_TIMESTAMPING: i32 = 37;
    pub const SO_PROTOCOL: i32 = 38;
    pub const SO_DOMAIN: i32 = 39;
    pub const SO_RXQ_OVFL: i32 = 40;
    pub const SO_WIFI_STATUS: i32 = 41;
    pub const SO_PEEK_OFF: i32 = 42;
    pub const SO_NOFCS: i32 = 43;
    pub const SO_LOCK_FILTER: i32 = 44;
    pub const SO_SELECT_ERR_QUEUE: i32 = 45;
    pub const SO_BUSY_POLL: i32 = 46;
    pub const SO_MAX_PACING_RATE: i32 = 47;
    pub const SO_BPF_EXTENSIONS: i32 = 48;
    pub const SO_INCOMING_CPU: i32 = 49;
    pub const SO_ATTACH_BPF: i32 = 50;
    pub const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;
    pub const SO_ATTACH_REUSEPORT_EBPF: i32 = 52;
    pub const SO_CNX_ADVICE: i32 = 53;
    pub const SO_MEMINFO: i32 = 55;
    pub const SO_INCOMING_NAPI_ID: i32 = 56;
    pub const SO_COOKIE: i32 = 57;
    pub const SO_PEERGROUPS: i32 = 59;
    pub const SO_ZEROCOPY: i32 = 60;
    pub const SO_TXTIME: i32 = 61;
    pub const SO_BINDTOIFINDEX: i32 = 62;
    pub const SO_PREFER_BUSY_POLL: i32 = 69;
    pub const SO_NETNS_COOKIE: i32 = 71;
    pub const SO_BUF_LOCK: i32 = 72;
}

abi_enum! {
    /// The second argument of `shutdown(2)`.
    pub enum ShutdownHow: u32 {
        /// No more receiving.
        Read = 0, "SHUT_RD";
        /// No more sending.
        Write = 1, "SHUT_WR";
        /// Neither.
        Both = 2, "SHUT_RDWR";
    }
}

/// `struct ucred`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ucred {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

assert_layout!(Ucred, size = 12);

impl Ucred {
    /// Of a socket that has no peer.
    pub const NOBODY: Self = Self { pid: 0, uid: u32::MAX, gid: u32::MAX };
}

/// `struct linger`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Linger {
    /// Whether closing waits.
    pub on: i32,
    /// How long, in seconds.
    pub seconds: i32,
}

/// The value of `SO_RCVTIMEO` and `SO_SNDTIMEO`.
pub type SocketTimeout = Timeval;

/// `struct msghdr`, as the kernel has it (`struct user_msghdr`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsgHdr {
    /// Address of the peer's address.
    pub name: u64,
    /// Its length.
    pub name_len: i32,
    /// Padding.
    pub pad: u32,
    /// Address of the array of `struct iovec`.
    pub iov: u64,
    /// Its length.
    pub iov_len: u64,
    /// Address of the control data.
    pub control: u64,
    /// Their length in bytes.
    pub control_len: u64,
    /// Set by receiving.
    pub flags: MessageFlags,
    /// Padding.
    pub pad_end: u32,
}

assert_layout!(MsgHdr, size = 56, name_len @ 8, iov @ 16, control @ 32, control_len @ 40, flags @ 48);

/// `struct mmsghdr`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MMsgHdr {
    /// The message.
    pub header: MsgHdr,
    /// Bytes sent or received.
    pub len: u32,
    /// Padding.
    pub pad: u32,
}

assert_layout!(MMsgHdr, size = 64, len @ 56);

/// `struct cmsghdr`; its data follow, and then padding to 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CmsgHdr {
    /// Length with this header, without padding.
    pub len: u64,
    /// Whose control data ([`SOL_SOCKET`]).
    pub level: i32,
    /// What ([`SCM_RIGHTS`]).
    pub kind: i32,
}

assert_layout!(CmsgHdr, size = 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_numbers_are_libcs() {
        assert_eq!(size_of::<MsgHdr>(), size_of::<libc::msghdr>());
        assert_eq!(size_of::<MMsgHdr>(), size_of::<libc::mmsghdr>());
        assert_eq!(size_of::<CmsgHdr>(), size_of::<libc::cmsghdr>());
        assert_eq!(size_of::<Ucred>(), size_of::<libc::ucred>());
        assert_eq!(MessageFlags::CMSG_CLOEXEC.bits(), libc::MSG_CMSG_CLOEXEC as u32);
        assert_eq!(MessageFlags::NOSIGNAL.bits(), libc::MSG_NOSIGNAL as u32);
        assert_eq!(MessageFlags::WAITFORONE.bits(), libc::MSG_WAITFORONE as u32);
        assert_eq!(option::SO_PEERCRED, libc::SO_PEERCRED);
        assert_eq!(option::SO_INCOMING_CPU, libc::SO_INCOMING_CPU);
        assert_eq!(family::AF_INET6, libc::AF_INET6 as u16);
        assert_eq!(SocketType::SeqPacket.raw(), libc::SOCK_SEQPACKET as u32);
    }
}
