//! What all sockets of the machine share.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ip::{Change, Stack};
use netchannels::{Counters, FlowTable, HashKey, Processing};

use crate::{
    Family, UdpCounters,
    ingress::Flow,
    netlink::{Changes, Follower, Registry},
    ports::{ConflictRule, PortTable},
    raw::RawSockets,
    stream::{ResetLimit, TcpCounters, TcpMemory, TcpSocket, TimeWaits},
    udp::{UdpFlows, UdpSocket},
    worker::Worker,
};

/// Secrets, each to be filled with random bytes of its own.
pub struct Keys {
    /// For the choice of TCP's and UDP's ports.
    pub port_choice: [[u8; 16]; 2],
    /// For sharing what comes among sockets with `SO_REUSEPORT`.
    pub port_sharing: [[u8; 16]; 2],
    /// For TCP's initial sequence numbers, timestamps and cookies.
    pub tcp: [u8; 48],
    /// For the table of flows.
    pub flows: [u8; 16],
}

/// Ports from which free ones are taken (`net.ipv4.ip_local_port_range`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first one.
    pub first: u16,
    /// The last one, not below the first.
    pub last: u16,
}

/// What `/proc/sys/net` sets, and sockets heed.
pub struct Settings {
    /// `ip_local_port_range`: the first port in the upper half, the last in the lower.
    local_ports: AtomicU32,
    /// `net.core.somaxconn`.
    pub max_backlog: AtomicU32,
    /// `net.core.rmem_default`, `rmem_max`.
    pub receive_buffer: [AtomicU32; 2],
    /// `net.core.wmem_default`, `wmem_max`.
    pub send_buffer: [AtomicU32; 2],
    /// `net.ipv4.ip_default_ttl`.
    pub default_ttl: AtomicU32,
}

impl Settings {
    const fn new() -> Self {
        Self {
            local_ports: AtomicU32::new(32_768 << 16 | 60_999),
            max_backlog: AtomicU32::new(linux_abi::socket::SOMAXCONN),
            receive_buffer: [AtomicU32::new(212_992), AtomicU32::new(4 << 20)],
            send_buffer: [AtomicU32::new(212_992), AtomicU32::new(4 << 20)],
            default_ttl: AtomicU32::new(64),
        }
    }

    /// The range of free ports.
    pub fn local_ports(&self) -> PortRange {
        let ports = self.local_ports.load(Relaxed);
        PortRange { first: (ports >> 16) as u16, last: ports as u16 }
    }

    /// Sets it. `range.first` must not be above `range.last`.
    pub fn set_local_ports(&self, range: PortRange) {
        self.local_ports.store(u32::from(range.first) << 16 | u32::from(range.last), Relaxed);
    }
}

/// What of the machine bounds and shapes its network.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// CPUs.
    pub cpus: usize,
    /// Memory, in bytes.
    pub memory_bytes: usize,
    /// Who runs the protocols (`--net-channels`).
    pub processing: Processing,
}

/// What all sockets share: one for each machine.
pub struct Net {
    /// IP.
    pub ip: Arc<Stack>,
    /// Whose a packet is.
    pub flows: FlowTable<Flow>,
    /// What `netchannels` counts.
    pub counters: Counters,
    /// What no thread of the application does.
    pub worker: Arc<Worker>,
    /// Connections that are over.
    pub time_wait: TimeWaits,
    /// Memory of all TCP connections.
    pub tcp_memory: TcpMemory,
    /// What is counted of TCP.
    pub tcp_counters: TcpCounters,
    pub(crate) tcp_secrets: Arc<tcp::Secrets>,
    pub(crate) reset_limit: ResetLimit,
    processing: Processing,
    /// Who is bound to which port of TCP.
    pub tcp_ports: Arc<PortTable<Weak<TcpSocket>>>,
    /// Who is bound to which port of UDP.
    pub udp_ports: Arc<PortTable<Weak<UdpSocket>>>,
    /// What can be set.
    pub settings: Settings,
    udp_counters: [UdpCounters; 2],
    pub(crate) udp_flows: UdpFlows,
    pub(crate) raw: RawSockets,
    pub(crate) netlink: Registry,
    changes: Arc<Changes>,
}

impl Net {
    /// The network over `ip`.
    pub fn new(ip: Arc<Stack>, keys: &Keys, machine: Machine) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            ip,
            flows: FlowTable::new(HashKey::new(keys.flows)),
            counters: Counters::new(machine.cpus),
            worker: Worker::new(),
            time_wait: TimeWaits::default(),
            tcp_memory: TcpMemory::new(machine.memory_bytes),
            tcp_counters: TcpCounters::default(),
            tcp_secrets: Arc::new(tcp::Secrets::new(keys.tcp)),
            reset_limit: ResetLimit::default(),
            processing: machine.processing,
            tcp_ports: PortTable::new(ConflictRule::Tcp, keys.port_choice[0], keys.port_sharing[0]),
            udp_ports: PortTable::new(ConflictRule::Udp, keys.port_choice[1], keys.port_sharing[1]),
            settings: Settings::new(),
            udp_counters: [UdpCounters::default(), UdpCounters::default()],
            udp_flows: UdpFlows::default(),
            raw: RawSockets::new(keys.port_choice[1], keys.port_sharing[1]),
            netlink: Registry::default(),
            changes: Changes::new(this.clone()),
        })
    }

    /// Lets `follower` be told of each change of interfaces, addresses, routes and name servers, in the worker's
    /// thread. Once.
    pub fn follow_changes(&self, follower: Follower) {
        self.changes.set_follower(follower);
    }

    pub(crate) fn note_change(&self, change: Change) {
        self.changes.note(change);
    }

    /// Who runs the protocols.
    pub fn processing(&self) -> Processing {
        self.processing
    }

    /// What UDP counts.
    pub fn udp_counters(&self, family: Family) -> &UdpCounters {
        &self.udp_counters[family as usize]
    }
}
