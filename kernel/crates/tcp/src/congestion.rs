//! Congestion control.

/// Congestion control algorithms, as `TCP_CONGESTION` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// NewReno (RFC 5681).
    Reno,
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
}

impl Algorithm {
    /// All of them, as in `/proc/sys/net/ipv4/tcp_available_congestion_control`.
    pub const ALL: [Self; 2] = [Self::Reno, Self::Cubic];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}
