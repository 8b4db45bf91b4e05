//! What is counted, as `/proc/net/snmp` and `/proc/net/snmp6` show it.

use core::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a set of counters, and what it shows at one moment.
macro_rules! counters {
    ($(#[$meta:meta])* $live:ident, $shown:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $shown {
            $($(#[$field_meta])* pub $field: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct $live {
            $(pub(crate) $field: Counter,)*
        }

        impl $live {
            pub(crate) fn shown(&self) -> $shown {
                $shown { $($field: self.$field.get(),)* }
            }
        }
    };
}

counters! {
    /// Counters of IP (RFC 4293), one set for each version.
    LiveIpCounters, IpCounters {
        /// `InReceives`
        in_receives,
        /// `InHdrErrors`
        in_header_errors,
        /// `InAddrErrors`
        in_address_errors,
        /// `InUnknownProtos`
        in_unknown_protocols,
        /// `InDiscards`
        in_discards,
        /// `InTruncatedPkts` (IPv6)
        in_truncated,
        /// `InDelivers`
        in_delivers,
        /// `OutRequests`
        out_requests,
        /// `OutDiscards`
        out_discards,
        /// `OutNoRoutes`
        out_no_routes,
        /// `ReasmTimeout`
        reassembly_timeouts,
        /// `ReasmReqds`
        reassembly_required,
        /// `ReasmOKs`
        reassembled,
        /// `ReasmFails`
        reassembly_failures,
        /// `FragOKs`
        fragmented,
        /// `FragFails`
        fragmentation_failures,
        /// `FragCreates`
        fragments_created,
    }
}

/// Kinds of ICMP messages, one for each value of a type field.
const ICMP_TYPES: usize = 256;

/// Counters of ICMP (RFC 4293), one set for each version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpCounters {
    /// `InErrors`
    pub in_errors: u64,
    /// `InCsumErrors`
    pub in_checksum_errors: u64,
    /// `OutErrors`
    pub out_errors: u64,
    /// `OutRateLimitGlobal`, `OutRateLimitHost`
    pub out_rate_limited: u64,
    /// `InType0` and so on, by type.
    pub in_types: [u64; ICMP_TYPES],
    /// `OutType0` and so on, by type.
    pub out_types: [u64; ICMP_TYPES],
}

impl IcmpCounters {
    /// `InMsgs`
    pub fn in_messages(&self) -> u64 {
        self.in_types.iter().sum::<u64>() + self.in_errors
    }

    /// `OutMsgs`
    pub fn out_messages(&self) -> u64 {
        self.out_types.iter().sum()
    }
}

#[derive(Debug)]
pub(crate) struct LiveIcmpCounters {
    pub(crate) in_errors: Counter,
    pub(crate) in_checksum_errors: Counter,
    pub(crate) out_errors: Counter,
    pub(crate) out_rate_limited: Counter,
    pub(crate) in_types: [Counter; ICMP_TYPES],
    pub(crate) out_types: [Counter; ICMP_TYPES],
}

impl Default for LiveIcmpCounters {
    fn default() -> Self {
        Self {
            in_errors: Counter::default(),
            in_checksum_errors: Counter::default(),
            out_errors: Counter::default(),
            out_rate_limited: Counter::default(),
            in_types: core::array::from_fn(|_| Counter::default()),
            out_types: core::array::from_fn(|_| Counter::default()),
        }
    }
}

impl LiveIcmpCounters {
    pub(crate) fn shown(&self) -> IcmpCounters {
        IcmpCounters {
            in_errors: self.in_errors.get(),
            in_checksum_errors: self.in_checksum_errors.get(),
            out_errors: self.out_errors.get(),
            out_rate_limited: self.out_rate_limited.get(),
            in_types: core::array::from_fn(|at| self.in_types[at].get()),
            out_types: core::array::from_fn(|at| self.out_types[at].get()),
        }
    }
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) ipv4: LiveIpCounters,
    pub(crate) ipv6: LiveIpCounters,
    pub(crate) icmpv4: LiveIcmpCounters,
    pub(crate) icmpv6: LiveIcmpCounters,
}

impl Counters {
    /// IP's counters for packets with an address.
    pub(crate) fn ip(&self, address: IpAddr) -> &LiveIpCounters {
        if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 }
    }
}
