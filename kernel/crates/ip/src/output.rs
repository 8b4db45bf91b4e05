//! Sending.

/// How a packet is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// What it carries ([`protocol`](crate::protocol)).
    pub protocol: u8,
    /// Time to live, hop limit; `None` for the default: 64 or what the router said, 1 for multicast.
    pub hop_limit: Option<u8>,
    /// Type of service, traffic class.
    pub tos: u8,
    /// IPv6's flow label.
    pub flow_label: u32,
    /// What is done with packets larger than the path's MTU.
    pub path_mtu_discovery: PathMtuDiscovery,
    /// Whether members on this machine get a multicast packet, too.
    pub multicast_loop: MulticastLoop,
}

impl OutputOptions {
    /// The defaults of a new socket, for packets of `protocol`.
    pub const fn new(protocol: u8) -> Self {
        Self {
            protocol,
            hop_limit: None,
            tos: 0,
            flow_label: 0,
            path_mtu_discovery: PathMtuDiscovery::Want,
            multicast_loop: MulticastLoop::On,
        }
    }
}

/// What is done with packets larger than the path's MTU (`IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`; `ip(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// They are fragmented here, all others must not be on the way (`IP_PMTUDISC_WANT`).
    Want,
    /// They are fragmented, here or on the way (`IP_PMTUDISC_DONT`).
    Dont,
    /// They are refused with `EMSGSIZE` (`IP_PMTUDISC_DO`).
    Do,
    /// They are refused if they are larger than the link's MTU; the path's does not matter
    /// (`IP_PMTUDISC_PROBE`).
    Probe,
}

/// Whether members on this machine get a multicast packet (`IP_MULTICAST_LOOP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MulticastLoop {
    /// They do.
    On,
    /// They do not.
    Off,
}
