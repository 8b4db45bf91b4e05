//! Bounds for all connections together, and what is counted of them.

use core::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use tcp::{Event, Events};

/// Memory that the buffers of all connections keep (`net.ipv4.tcp_mem`).
pub struct TcpMemory {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl TcpMemory {
    /// Bounds it to a part of the machine's memory: an eighth, as Linux does.
    pub fn new(machine_bytes: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new((machine_bytes / 8).max(4 << 20)) }
    }

    /// A connection had `before` bytes, and has `after`.
    pub fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Relaxed);
        } else {
            self.used.fetch_sub(before - after, Relaxed);
        }
    }

    /// What is used.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// The bound.
    pub fn limit_bytes(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Whether there should be no more: data that come are dropped, new connections refused.
    pub fn is_exhausted(&self) -> bool {
        self.used_bytes() > self.limit_bytes()
    }

    /// Whether it is nearly so: no buffer is to grow now.
    pub fn is_tight(&self) -> bool {
        self.used_bytes() > self.limit_bytes() / 4 * 3
    }
}

/// Most connections whose application is gone (`net.ipv4.tcp_max_orphans`): more are reset.
pub const MAX_ORPHANS: usize = 8192;

/// What is counted of TCP, as `/proc/net/sockstat`, `snmp` and `netstat` show it.
#[derive(Default)]
pub struct TcpCounters {
    /// `sockstat`: sockets that exist, orphans among them.
    sockets: AtomicUsize,
    orphans: AtomicUsize,
    /// `ActiveOpens`
    pub active_opens: AtomicU64,
    /// `PassiveOpens`
    pub passive_opens: AtomicU64,
    /// `AttemptFails`
    pub attempt_fails: AtomicU64,
    events: [AtomicU64; Event::ALL.len()],
    /// `InSegs`
    pub in_segments: AtomicU64,
    /// Segments sent, those that were sent again among them.
    pub out_segments: AtomicU64,
    /// `InErrs`
    pub in_errors: AtomicU64,
    /// `OutRsts`
    pub resets_sent: AtomicU64,
    /// `SyncookiesSent`
    pub cookies_sent: AtomicU64,
    /// `SyncookiesRecv`
    pub cookies_received: AtomicU64,
    /// `ListenOverflows`
    pub listen_overflows: AtomicU64,
    /// `TCPAbortOnMemory`
    pub aborts_on_memory: AtomicU64,
    /// `TCPRcvQDrop`: data dropped as [`TcpMemory`] was exhausted.
    pub memory_drops: AtomicU64,
}

impl TcpCounters {
    pub(super) fn socket_made(&self) {
        self.sockets.fetch_add(1, Relaxed);
    }

    pub(super) fn socket_gone(&self) {
        self.sockets.fetch_sub(1, Relaxed);
    }

    /// Adds what has happened to a connection.
    pub(super) fn add(&self, events: &Events) {
        for (event, count) in events.iter() {
            self.events[event as usize].fetch_add(count.into(), Relaxed);
        }
    }

    /// How often it has happened to all connections.
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize].load(Relaxed)
    }

    /// Sockets that exist.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Relaxed)
    }

    /// Sockets whose application is gone.
    pub fn orphans(&self) -> usize {
        self.orphans.load(Relaxed)
    }

    /// One more orphan, if there may be one more.
    pub(super) fn orphan_made(&self) -> Result<(), TooManyOrphans> {
        let before = self.orphans.fetch_add(1, SeqCst);
        if before < MAX_ORPHANS { Ok(()) } else { Err(TooManyOrphans) }
    }

    pub(super) fn orphan_gone(&self) {
        self.orphans.fetch_sub(1, SeqCst);
    }
}

/// A connection has to be reset instead of ended.
pub(super) struct TooManyOrphans;
