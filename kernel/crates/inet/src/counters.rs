//! What UDP counts, for `/proc/net/snmp` (RFC 4113).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of UDP over one version of IP.
#[derive(Debug, Default)]
pub struct UdpCounters {
    in_datagrams: AtomicU64,
    no_ports: AtomicU64,
    in_errors: AtomicU64,
    out_datagrams: AtomicU64,
    receive_buffer_errors: AtomicU64,
    checksum_errors: AtomicU64,
}

impl UdpCounters {
    pub(crate) fn received(&self) {
        self.in_datagrams.fetch_add(1, Relaxed);
    }

    pub(crate) fn sent(&self) {
        self.out_datagrams.fetch_add(1, Relaxed);
    }

    pub(crate) fn no_port(&self) {
        self.no_ports.fetch_add(1, Relaxed);
    }

    pub(crate) fn no_room(&self) {
        self.in_errors.fetch_add(1, Relaxed);
        self.receive_buffer_errors.fetch_add(1, Relaxed);
    }

    /// A datagram's length or checksum was wrong.
    pub(crate) fn bad(&self, cause: crate::udp::Bad) {
        self.in_errors.fetch_add(1, Relaxed);
        if cause == crate::udp::Bad::Checksum {
            self.checksum_errors.fetch_add(1, Relaxed);
        }
    }

    /// In the order of `/proc/net/snmp`: `InDatagrams`, `NoPorts`, `InErrors`, `OutDatagrams`, `RcvbufErrors`,
    /// `SndbufErrors`, `InCsumErrors`.
    pub fn values(&self) -> [u64; 7] {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        [
            load(&self.in_datagrams),
            load(&self.no_ports),
            load(&self.in_errors),
            load(&self.out_datagrams),
            load(&self.receive_buffer_errors),
            0,
            load(&self.checksum_errors),
        ]
    }
}
