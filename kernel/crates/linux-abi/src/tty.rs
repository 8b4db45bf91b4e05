//! Terminals and the `ioctl(2)` numbers in use (uapi `asm-generic/termbits.h`, `asm-generic/termios.h`,
//! `asm-generic/ioctls.h`, `linux/sockios.h`, `linux/fs.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kernel's `struct termios` (`TCGETS`), which is shorter than glibc's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    /// Input modes.
    pub iflag: InputModes,
    /// Output modes.
    pub oflag: OutputModes,
    /// Control modes and speed.
    pub cflag: u32,
    /// Local modes.
    pub lflag: LocalModes,
    /// Line discipline; 0.
    pub line: u8,
    /// Control characters; see the `V*` constants.
    pub cc: [u8; NCCS],
}

/// How many control characters there are.
pub const NCCS: usize = 19;

assert_layout!(Termios, size = 36, lflag @ 12, line @ 16, cc @ 17);

abi_flags! {
    /// `c_iflag`: [`termios(3)`](https://man7.org/linux/man-pages/man3/termios.3.html).
    pub struct InputModes: u32 {
        /// Ignore breaks.
        const IGNBRK = 0x001;
        /// Signal on break.
        const BRKINT = 0x002;
        /// Ignore parity errors.
        const IGNPAR = 0x004;
        /// Mark parity errors.
        const PARMRK = 0x008;
        /// Check parity.
        const INPCK = 0x010;
        /// Strip the eighth bit.
        const ISTRIP = 0x020;
        /// NL becomes CR.
        const INLCR = 0x040;
        /// CR is ignored.
        const IGNCR = 0x080;
        /// CR becomes NL.
        const ICRNL = 0x100;
        /// To lower case.
        const IUCLC = 0x200;
        /// XON and XOFF stop output.
        const IXON = 0x400;
        /// Any character restarts output.
        const IXANY = 0x800;
        /// XON and XOFF are sent.
        const IXOFF = 0x1000;
        /// Bell on a full queue.
        const IMAXBEL = 0x2000;
        /// Input is UTF-8.
        const IUTF8 = 0x4000;
    }
}

abi_flags! {
    /// `c_oflag`: [`termios(3)`](https://man7.org/linux/man-pages/man3/termios.3.html), without delays.
    pub struct OutputModes: u32 {
        /// Process output.
        const OPOST = 0x01;
        /// To upper case.
        const OLCUC = 0x02;
        /// NL becomes CR and NL.
        const ONLCR = 0x04;
        /// CR becomes NL.
        const OCRNL = 0x08;
        /// No CR in column 0.
        const ONOCR = 0x10;
        /// No CR.
        const ONLRET = 0x20;
    }
}

abi_flags! {
    /// `c_lflag`: [`termios(3)`](https://man7.org/linux/man-pages/man3/termios.3.html).
    pub struct LocalModes: u32 {
        /// Signals from characters.
        const ISIG = 0x1;
        /// Lines can be edited.
        const ICANON = 0x2;
        /// Input is shown.
        const ECHO = 0x8;
        /// Erasing is shown.
        const ECHOE = 0x10;
        /// Killing a line is shown.
        const ECHOK = 0x20;
        /// NL is shown.
        const ECHONL = 0x40;
        /// Queues are kept on a signal.
        const NOFLSH = 0x80;
        /// Signal to background writers.
        const TOSTOP = 0x100;
        /// Control characters are shown with a caret.
        const ECHOCTL = 0x200;
        /// Erasing prints.
        const ECHOPRT = 0x400;
        /// Killing a line erases it.
        const ECHOKE = 0x800;
        /// Extended input processing.
        const IEXTEN = 0x8000;
    }
}

/// `c_cflag`: 8 bits, receiver on, modem lines ignored, 38,400 baud: what a Linux console begins with
/// (`tty_std_termios`: `B38400 | CS8 | CREAD | HUPCL`).
pub const CFLAG_STANDARD: u32 = 0xf | 0x30 | 0x80 | 0x400;

#[allow(missing_docs, reason = "termios(3) says what each does")]
mod control_characters {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSWTC: usize = 7;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VDISCARD: usize = 13;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
}
pub use control_characters::*;

impl Termios {
    /// What a terminal begins with on Linux (`tty_std_termios`, `INIT_C_CC`).
    pub const STANDARD: Self = Self {
        iflag: InputModes::ICRNL.union(InputModes::IXON),
        oflag: OutputModes::OPOST.union(OutputModes::ONLCR),
        cflag: CFLAG_STANDARD,
        lflag: LocalModes::ISIG
            .union(LocalModes::ICANON)
            .union(LocalModes::ECHO)
            .union(LocalModes::ECHOE)
            .union(LocalModes::ECHOK)
            .union(LocalModes::ECHOCTL)
            .union(LocalModes::ECHOKE)
            .union(LocalModes::IEXTEN),
        line: 0,
        cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
    };
}

/// `struct winsize` of `TIOCGWINSZ`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Winsize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Width in pixels; 0.
    pub width_px: u16,
    /// Height in pixels; 0.
    pub height_px: u16,
}

assert_layout!(Winsize, size = 8);

/// `ioctl` requests.
#[allow(missing_docs, reason = "ioctl_tty(2), netdevice(7) and the uapi headers say what each does")]
pub mod ioctl {
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCSBRK: u32 = 0x5409;
    pub const TCXONC: u32 = 0x540a;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCSCTTY: u32 = 0x540e;
    pub const TIOCGPGRP: u32 = 0x540f;
    pub const TIOCSPGRP: u32 = 0x5410;
    pub const TIOCOUTQ: u32 = 0x5411;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const FIONREAD: u32 = 0x541b;
    pub const FIONBIO: u32 = 0x5421;
    pub const TIOCNOTTY: u32 = 0x5422;
    pub const TIOCGSID: u32 = 0x5429;
    pub const FIONCLEX: u32 = 0x5450;
    pub const FIOCLEX: u32 = 0x5451;
    pub const FIOASYNC: u32 = 0x5452;
    pub const FIOQSIZE: u32 = 0x5460;

    pub const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
    pub const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
    pub const FICLONE: u32 = 0x4004_9409;
    pub const FICLONERANGE: u32 = 0x4020_940d;
    /// `include/uapi/linux/fs.h`: `_IOWR('X', 121, struct fstrim_range)`.
    pub const FITRIM: u32 = 0xc018_5879;
    pub const BLKGETSIZE64: u32 = 0x8008_1272;
    pub const BLKSSZGET: u32 = 0x1268;

    pub const SIOCGIFNAME: u32 = 0x8910;
    pub const SIOCGIFCONF: u32 = 0x8912;
    pub const SIOCGIFFLAGS: u32 = 0x8913;
    pub const SIOCGIFADDR: u32 = 0x8915;
    pub const SIOCGIFBRDADDR: u32 = 0x8919;
    pub const SIOCGIFNETMASK: u32 = 0x891b;
    pub const SIOCGIFMTU: u32 = 0x8921;
    pub const SIOCGIFHWADDR: u32 = 0x8927;
    pub const SIOCGIFINDEX: u32 = 0x8933;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        assert_eq!(u64::from(ioctl::TCGETS), libc::TCGETS);
        assert_eq!(u64::from(ioctl::FIONREAD), libc::FIONREAD);
        assert_eq!(u64::from(ioctl::FICLONE), libc::FICLONE);
        assert_eq!(u64::from(ioctl::FS_IOC_GETFLAGS), libc::FS_IOC_GETFLAGS);
        assert_eq!(u64::from(ioctl::SIOCGIFINDEX), libc::SIOCGIFINDEX);
        assert_eq!(LocalModes::IEXTEN.bits(), libc::IEXTEN);
        assert_eq!(CFLAG_STANDARD, libc::B38400 | libc::CS8 | libc::CREAD | libc::HUPCL);
        assert_eq!((VSUSP, VEOL2), (libc::VSUSP, libc::VEOL2));
    }
}
