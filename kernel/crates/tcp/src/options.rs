//! What an application sets with `setsockopt(2)` (see `tcp(7)`, `socket(7)`).

use crate::Algorithm;

/// The bounds that Linux has by default (`Documentation/networking/ip-sysctl.rst`).
pub mod limits {
    /// `net.ipv4.tcp_rmem`: least, initial and largest receive buffer.
    pub const RECEIVE_BUFFER: [u32; 3] = [4096, 131_072, 6_291_456];
    /// `net.ipv4.tcp_wmem`: least, initial and largest send buffer.
    pub const SEND_BUFFER: [u32; 3] = [4096, 16_384, 4_194_304];
    /// Smallest `SO_SNDBUF` (`SOCK_MIN_SNDBUF`) and `SO_RCVBUF` (`SOCK_MIN_RCVBUF`), as `getsockopt` shows them.
    pub const MIN_SEND_BUFFER: u32 = 4608;
    /// See [`MIN_SEND_BUFFER`].
    pub const MIN_RECEIVE_BUFFER: u32 = 2304;
    /// Largest `TCP_MAXSEG`.
    pub const MAX_MAXSEG: u16 = 32_767;
    /// Least `TCP_MAXSEG`, and the smallest segments that a peer can make us send (`TCP_MIN_MSS`, `tcp_min_snd_mss`).
    pub const MIN_MSS: u16 = 48;
}

/// The size of a buffer in bytes, as `getsockopt` shows it (on Linux twice what `setsockopt` said).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferSize {
    /// The connection finds a size that suits the path; it is this now.
    Automatic(u32),
    /// The application has set it.
    Fixed(u32),
}

impl BufferSize {
    /// The size now.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Automatic(bytes) | Self::Fixed(bytes) => bytes,
        }
    }
}

/// Whether automatic buffers may grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BufferGrowth {
    /// They may.
    #[default]
    Allowed,
    /// They stay as they are: the machine's memory for connections is nearly used up (`tcp_mem`'s pressure).
    Stopped,
}

/// Options of a socket that TCP heeds. A listener's are inherited by its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `TCP_NODELAY`: no Nagle algorithm.
    pub nodelay: bool,
    /// `TCP_CORK`: full segments only, for up to 200 ms.
    pub cork: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `TCP_KEEPIDLE`, in seconds.
    pub keepalive_idle_s: u32,
    /// `TCP_KEEPINTVL`, in seconds.
    pub keepalive_interval_s: u32,
    /// `TCP_KEEPCNT`.
    pub keepalive_probes: u8,
    /// `TCP_USER_TIMEOUT`, in milliseconds; 0 for the system's.
    pub user_timeout_ms: u32,
    /// `TCP_MAXSEG` as set; 0 if not set.
    pub max_segment: u16,
    /// `TCP_SYNCNT`.
    pub syn_retries: u8,
    /// `TCP_LINGER2`: seconds that an orphan stays in FIN_WAIT2; negative for not at all.
    pub linger2_s: i32,
    /// `TCP_DEFER_ACCEPT`, in seconds; 0 for off.
    pub defer_accept_s: u32,
    /// `TCP_WINDOW_CLAMP`; 0 for none.
    pub window_clamp: u32,
    /// `TCP_NOTSENT_LOWAT`; `u32::MAX` for none.
    pub notsent_low_water: u32,
    /// `SO_RCVLOWAT`.
    pub receive_low_water: u32,
    /// `SO_OOBINLINE`.
    pub oob_inline: bool,
    /// `TCP_CONGESTION`.
    pub congestion: Algorithm,
    /// `SO_SNDBUF`.
    pub send_buffer: BufferSize,
    /// `SO_RCVBUF`.
    pub receive_buffer: BufferSize,
}

impl Default for Options {
    /// What a new socket has on Linux.
    fn default() -> Self {
        Self {
            nodelay: false,
            cork: false,
            keepalive: false,
            keepalive_idle_s: 7200,
            keepalive_interval_s: 75,
            keepalive_probes: 9,
            user_timeout_ms: 0,
            max_segment: 0,
            syn_retries: 6,
            linger2_s: 60,
            defer_accept_s: 0,
            window_clamp: 0,
            notsent_low_water: u32::MAX,
            receive_low_water: 1,
            oob_inline: false,
            congestion: Algorithm::default(),
            send_buffer: BufferSize::Automatic(limits::SEND_BUFFER[1]),
            receive_buffer: BufferSize::Automatic(limits::RECEIVE_BUFFER[1]),
        }
    }
}
