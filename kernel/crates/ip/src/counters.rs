//! What is counted, as `/proc/net/snmp` and `/proc/net/snmp6` show it.

/// Counters of IP (RFC 4293), one set for each version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpCounters {
    /// `InReceives`
    pub in_receives: u64,
    /// `InHdrErrors`
    pub in_header_errors: u64,
    /// `InAddrErrors`
    pub in_address_errors: u64,
    /// `InUnknownProtos`
    pub in_unknown_protocols: u64,
    /// `InDiscards`
    pub in_discards: u64,
    /// `InTruncatedPkts` (IPv6)
    pub in_truncated: u64,
    /// `InDelivers`
    pub in_delivers: u64,
    /// `OutRequests`
    pub out_requests: u64,
    /// `OutDiscards`
    pub out_discards: u64,
    /// `OutNoRoutes`
    pub out_no_routes: u64,
    /// `ReasmTimeout`
    pub reassembly_timeouts: u64,
    /// `ReasmReqds`
    pub reassembly_required: u64,
    /// `ReasmOKs`
    pub reassembled: u64,
    /// `ReasmFails`
    pub reassembly_failures: u64,
    /// `FragOKs`
    pub fragmented: u64,
    /// `FragFails`
    pub fragmentation_failures: u64,
    /// `FragCreates`
    pub fragments_created: u64,
}

/// Counters of ICMP (RFC 2011); `[in, out]` where both directions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmpv4Counters {
    /// `InMsgs`, `OutMsgs`
    pub messages: [u64; 2],
    /// `InErrors`, `OutErrors`
    pub errors: [u64; 2],
    /// `InCsumErrors`
    pub in_checksum_errors: u64,
    /// `InDestUnreachs`, `OutDestUnreachs`
    pub destination_unreachable: [u64; 2],
    /// `InTimeExcds`, `OutTimeExcds`
    pub time_exceeded: [u64; 2],
    /// `InParmProbs`, `OutParmProbs`
    pub parameter_problems: [u64; 2],
    /// `InEchos`, `OutEchos`
    pub echos: [u64; 2],
    /// `InEchoReps`, `OutEchoReps`
    pub echo_replies: [u64; 2],
    /// `OutRateLimitGlobal`
    pub out_rate_limited: u64,
}

/// Counters of ICMPv6 (RFC 2466).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmpv6Counters {
    /// What both versions count.
    pub common: Icmpv4Counters,
    /// `InPktTooBigs`, `OutPktTooBigs`
    pub packet_too_big: [u64; 2],
    /// `InRouterAdvertisements`
    pub in_router_advertisements: u64,
    /// `OutRouterSolicits`
    pub out_router_solicits: u64,
    /// Neighbour solicitations.
    pub neighbour_solicits: [u64; 2],
    /// Neighbour advertisements.
    pub neighbour_advertisements: [u64; 2],
}
