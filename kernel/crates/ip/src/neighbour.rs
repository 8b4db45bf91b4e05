//! Neighbours on a link: who has which hardware address, and whether he is still there (RFC 826, RFC 4861, 7.3).
//!
//! ARP and NDP differ in their messages (`arp`, `ndp`), not in this: Linux, too, runs both on one machine of states.
//!
//! Locks: [`NeighbourCache::entries`] (sleeps) guards which neighbours there are; [`Neighbour::inner`] (spins, briefly)
//! one neighbour's state, with its queue. The hardware address and whether it may be used just so are also in
//! [`Neighbour::hot`], which senders read without any lock. Messages are sent, and packets are dropped, with neither
//! lock held.

use alloc::{boxed::Box, collections::BTreeMap, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    net::IpAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ksync::{Mutex, SpinLock};
use packet::{MacAddress, Packet};

use crate::{NeighbourInfo, NeighbourState};

const SECOND_NS: u64 = 1_000_000_000;

/// Neighbours that a link remembers at most (`gc_thresh3`).
pub(crate) const MAX_NEIGHBOURS: usize = 1024;
/// Packets that wait for one neighbour at most; the oldest goes first.
const MAX_QUEUED: usize = 64;
/// Memory of all packets that wait on one link.
const MAX_QUEUED_BYTES: usize = 2 << 20;
/// How often a neighbour is asked before it counts as gone (`mcast_solicit`, `ucast_solicit`).
const MAX_SOLICITATIONS: u8 = 3;
/// How long a transport has to confirm a neighbour before it is asked (`delay_first_probe_time`).
const DELAY_NS: u64 = 5 * SECOND_NS;
/// How long an address must have held before an unasked message may change it (`locktime`).
const LOCK_NS: u64 = SECOND_NS;
/// How long one that does not answer, or that nobody uses, is remembered (`gc_stale_time`).
const STALE_KEPT_NS: u64 = 60 * SECOND_NS;

/// Bits of [`Neighbour::hot`] above the 48 of the address: the address may be used.
const VALID: u64 = 1 << 48;
/// The first use has to be noted.
const STALE: u64 = 1 << 49;
/// The cache has forgotten the neighbour: whoever has it still asks the cache anew.
const FORGOTTEN: u64 = 1 << 50;

/// A neighbour.
pub(crate) struct Neighbour {
    pub(crate) address: IpAddr,
    hot: AtomicU64,
    /// When a transport last had an answer from there.
    confirmed_ns: AtomicU64,
    inner: SpinLock<Inner>,
}

struct Inner {
    state: NeighbourState,
    mac: Option<MacAddress>,
    is_router: bool,
    solicitations: u8,
    /// When the state changes by itself.
    deadline_ns: Option<u64>,
    updated_ns: u64,
    used_ns: u64,
    queue: VecDeque<Box<Packet>>,
}

impl core::fmt::Debug for Neighbour {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Neighbour({}, {:#x})", self.address, self.hot.load(Ordering::Relaxed))
    }
}

/// What becomes of packets for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// They can be sent.
    Send(MacAddress),
    /// They wait.
    Queued(Solicit),
    /// The cache has to be asked for the neighbour anew.
    Forgotten,
}

/// Whether the neighbour is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Solicit {
    Now,
    No,
}

/// What a message says of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It answered us (ARP reply, solicited advertisement).
    Answer {
        /// Whether it may replace another address.
        overrides: bool,
    },
    /// It asked, or announced itself.
    Unasked,
}

/// A message to a neighbour that is due.
pub(crate) struct Probe {
    pub(crate) neighbour: Arc<Neighbour>,
    /// Where it goes; `None`: to all.
    pub(crate) to: Option<MacAddress>,
}

/// What time has brought.
#[derive(Default)]
pub(crate) struct Due {
    /// To be sent.
    pub(crate) probes: Vec<Probe>,
    /// Do not answer any more.
    pub(crate) failed: Vec<IpAddr>,
    /// Packets for those.
    pub(crate) unreachable: Vec<Box<Packet>>,
}

impl Neighbour {
    fn new(address: IpAddr, now_ns: u64) -> Self {
        Self {
            address,
            hot: AtomicU64::new(0),
            confirmed_ns: AtomicU64::new(0),
            inner: SpinLock::new(Inner {
                state: NeighbourState::Failed,
                mac: None,
                is_router: false,
                solicitations: 0,
                deadline_ns: None,
                updated_ns: now_ns,
                used_ns: now_ns,
                queue: VecDeque::new(),
            }),
        }
    }

    /// The hardware address, if packets may go there without further ado.
    pub(crate) fn ready(&self) -> Option<MacAddress> {
        let hot = self.hot.load(Ordering::Acquire);
        (hot & (VALID | STALE | FORGOTTEN) == VALID).then(|| mac_of(hot))
    }

    /// Notes that a transport got an answer from there.
    pub(crate) fn confirm(&self, now_ns: u64) {
        self.confirmed_ns.store(now_ns, Ordering::Relaxed);
    }

    fn publish(&self, inner: &Inner) {
        let forgotten = self.hot.load(Ordering::Relaxed) & FORGOTTEN;
        let hot = match (inner.state, inner.mac) {
            (NeighbourState::Incomplete | NeighbourState::Failed, _) | (_, None) => 0,
            (NeighbourState::Stale, Some(mac)) => bits_of(mac) | VALID | STALE,
            (_, Some(mac)) => bits_of(mac) | VALID,
        };
        self.hot.store(hot | forgotten, Ordering::Release);
    }

    fn info(&self, interface: u32) -> NeighbourInfo {
        let inner = self.inner.lock();
        NeighbourInfo {
            interface,
            address: self.address,
            hardware_address: inner.mac,
            state: inner.state,
            is_router: inner.is_router,
        }
    }

    /// Of neighbours with a lower rank, and then of those that were not used for longer, one is forgotten first.
    fn keep_rank(&self) -> (u8, u64) {
        let inner = self.inner.lock();
        let rank = match inner.state {
            NeighbourState::Failed => 0,
            NeighbourState::Incomplete => 1,
            NeighbourState::Stale => 2,
            _ => 3,
        };
        (rank, inner.used_ns.max(self.confirmed_ns.load(Ordering::Relaxed)))
    }
}

fn bits_of(MacAddress([a, b, c, d, e, f]): MacAddress) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

fn mac_of(hot: u64) -> MacAddress {
    let [a, b, c, d, e, f, ..] = hot.to_le_bytes();
    MacAddress([a, b, c, d, e, f])
}

/// The neighbours of one link.
pub(crate) struct NeighbourCache {
    entries: Mutex<BTreeMap<IpAddr, Arc<Neighbour>>>,
    /// No entry's deadline is earlier; `u64::MAX`: there is none.
    next_deadline_ns: AtomicU64,
    queued_bytes: AtomicUsize,
    /// Time for which an answer counts (`base_reachable_time`), already random (RFC 4861, 6.3.2).
    reachable_ns: AtomicU64,
    /// Time between questions (`retrans_time`).
    retransmit_ns: AtomicU64,
}

impl NeighbourCache {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            next_deadline_ns: AtomicU64::new(u64::MAX),
            queued_bytes: AtomicUsize::new(0),
            reachable_ns: AtomicU64::new(30 * SECOND_NS),
            retransmit_ns: AtomicU64::new(SECOND_NS),
        }
    }

    pub(crate) fn set_reachable_ns(&self, reachable_ns: u64) {
        self.reachable_ns.store(reachable_ns, Ordering::Relaxed);
    }

    pub(crate) fn set_retransmit_ns(&self, retransmit_ns: u64) {
        self.retransmit_ns.store(retransmit_ns, Ordering::Relaxed);
    }

    pub(crate) fn retransmit_ns(&self) -> u64 {
        self.retransmit_ns.load(Ordering::Relaxed)
    }

    /// The neighbour with an address, if it is known.
    pub(crate) fn find(&self, address: IpAddr) -> Option<Arc<Neighbour>> {
        self.entries.lock().get(&address).cloned()
    }

    /// The neighbour with an address; a new one if it is not known. `waste` gets what waited for one that had to go.
    pub(crate) fn find_or_insert(
        &self,
        address: IpAddr,
        now_ns: u64,
        waste: &mut Vec<Box<Packet>>,
    ) -> Arc<Neighbour> {
        let mut entries = self.entries.lock();
        if let Some(neighbour) = entries.get(&address) {
            return neighbour.clone();
        }
        if entries.len() >= MAX_NEIGHBOURS
            && let Some(victim) = entries.values().min_by_key(|neighbour| neighbour.keep_rank()).cloned()
        {
            entries.remove(&victim.address);
            self.forget(&victim, waste);
        }
        let neighbour = Arc::new(Neighbour::new(address, now_ns));
        entries.insert(address, neighbour.clone());
        neighbour
    }

    fn forget(&self, neighbour: &Neighbour, waste: &mut Vec<Box<Packet>>) {
        let mut inner = neighbour.inner.lock();
        neighbour.hot.store(FORGOTTEN, Ordering::Release);
        inner.deadline_ns = None;
        self.take_queue(&mut inner, waste);
    }

    /// Forgets all.
    pub(crate) fn clear(&self, waste: &mut Vec<Box<Packet>>) {
        let entries = core::mem::take(&mut *self.entries.lock());
        entries.values().for_each(|neighbour| self.forget(neighbour, waste));
    }

    fn take_queue(&self, inner: &mut Inner, into: &mut Vec<Box<Packet>>) {
        let bytes: usize = inner.queue.iter().map(|packet| packet.memory_bytes()).sum();
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        into.extend(inner.queue.drain(..));
    }

    /// Decides about `packets` (which begin with the IP header). Those that wait are taken; those for which there is no
    /// room any more are left in it, to be dropped.
    pub(crate) fn resolve(
        &self,
        neighbour: &Neighbour,
        now_ns: u64,
        packets: &mut Vec<Box<Packet>>,
    ) -> Resolution {
        let mut inner = neighbour.inner.lock();
        if neighbour.hot.load(Ordering::Relaxed) & FORGOTTEN != 0 {
            return Resolution::Forgotten;
        }
        inner.used_ns = now_ns;
        let mut solicit = Solicit::No;
        match (inner.state, inner.mac) {
            (NeighbourState::Incomplete, _) => {}
            (NeighbourState::Failed, _) | (_, None) => {
                inner.state = NeighbourState::Incomplete;
                inner.solicitations = 1;
                self.arm(&mut inner, now_ns + self.retransmit_ns());
                neighbour.publish(&inner);
                solicit = Solicit::Now;
            }
            (NeighbourState::Stale, Some(mac)) => {
                inner.state = NeighbourState::Delay;
                self.arm(&mut inner, now_ns + DELAY_NS);
                neighbour.publish(&inner);
                return Resolution::Send(mac);
            }
            (_, Some(mac)) => return Resolution::Send(mac),
        }
        let mut dropped = Vec::new();
        for packet in packets.drain(..) {
            let bytes = packet.memory_bytes();
            if self.queued_bytes.load(Ordering::Relaxed) + bytes > MAX_QUEUED_BYTES {
                dropped.push(packet);
                continue;
            }
            if inner.queue.len() == MAX_QUEUED
                && let Some(oldest) = inner.queue.pop_front()
            {
                self.queued_bytes.fetch_sub(oldest.memory_bytes(), Ordering::Relaxed);
                dropped.push(oldest);
            }
            self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            inner.queue.push_back(packet);
        }
        *packets = dropped;
        Resolution::Queued(solicit)
    }

    fn arm(&self, inner: &mut Inner, deadline_ns: u64) {
        inner.deadline_ns = Some(deadline_ns);
        self.next_deadline_ns.fetch_min(deadline_ns, Ordering::Relaxed);
    }

    /// Takes in that a message from the link told a neighbour's hardware address, and returns the packets that waited
    /// for it with that address.
    pub(crate) fn learn(
        &self,
        neighbour: &Neighbour,
        mac: MacAddress,
        evidence: Evidence,
        now_ns: u64,
    ) -> Vec<Box<Packet>> {
        let mut ready = Vec::new();
        let mut inner = neighbour.inner.lock();
        if neighbour.hot.load(Ordering::Relaxed) & FORGOTTEN != 0 {
            return ready;
        }
        let differs = inner.mac.is_some_and(|known| known != mac)
            && !matches!(inner.state, NeighbourState::Incomplete | NeighbourState::Failed);
        if differs {
            match evidence {
                // RFC 4861, 7.2.5: what must not override makes us doubt, but no more.
                Evidence::Answer { overrides: false } => {
                    if inner.state == NeighbourState::Reachable {
                        inner.state = NeighbourState::Stale;
                        inner.deadline_ns = None;
                        neighbour.publish(&inner);
                    }
                    return ready;
                }
                // Linux's locktime: of two answers to one question, the first counts.
                Evidence::Unasked if now_ns < inner.updated_ns + LOCK_NS => return ready,
                _ => {}
            }
        }
        match evidence {
            Evidence::Answer { .. } => {
                inner.state = NeighbourState::Reachable;
                inner.solicitations = 0;
                self.arm(&mut inner, now_ns + self.reachable_ns.load(Ordering::Relaxed));
            }
            Evidence::Unasked => {
                let in_doubt = inner.mac != Some(mac)
                    || matches!(inner.state, NeighbourState::Incomplete | NeighbourState::Failed);
                if in_doubt {
                    inner.state = NeighbourState::Stale;
                    inner.deadline_ns = None;
                    inner.solicitations = 0;
                }
            }
        }
        if inner.mac != Some(mac) || matches!(evidence, Evidence::Answer { .. }) {
            inner.updated_ns = now_ns;
        }
        inner.mac = Some(mac);
        self.take_queue(&mut inner, &mut ready);
        if !ready.is_empty() && inner.state == NeighbourState::Stale {
            inner.state = NeighbourState::Delay;
            self.arm(&mut inner, now_ns + DELAY_NS);
        }
        neighbour.publish(&inner);
        ready
    }

    /// Notes whether a neighbour is a router; returns whether it was one until now.
    pub(crate) fn set_router(&self, neighbour: &Neighbour, is_router: bool) -> bool {
        core::mem::replace(&mut neighbour.inner.lock().is_router, is_router)
    }

    /// Whether a neighbour is known not to answer: another router is better (RFC 4861, 6.3.6).
    pub(crate) fn is_failed(&self, address: IpAddr) -> bool {
        self.find(address).is_some_and(|neighbour| {
            let inner = neighbour.inner.lock();
            inner.state == NeighbourState::Failed && inner.solicitations > 0
        })
    }

    /// When [`poll`](Self::poll) has something to do.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        Some(self.next_deadline_ns.load(Ordering::Relaxed)).filter(|&deadline_ns| deadline_ns != u64::MAX)
    }

    /// Does what is due.
    pub(crate) fn poll(&self, now_ns: u64) -> Due {
        let mut due = Due::default();
        if self.next_deadline_ns.load(Ordering::Relaxed) > now_ns {
            return due;
        }
        self.next_deadline_ns.store(u64::MAX, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        entries.retain(|_, neighbour| {
            let mut inner = neighbour.inner.lock();
            if inner.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns) {
                self.expire(neighbour, &mut inner, now_ns, &mut due);
                neighbour.publish(&inner);
            }
            match inner.deadline_ns {
                Some(deadline_ns) => {
                    self.next_deadline_ns.fetch_min(deadline_ns, Ordering::Relaxed);
                    true
                }
                // One that failed long ago is forgotten; the others stay while there is room.
                None if inner.state == NeighbourState::Failed && inner.used_ns + STALE_KEPT_NS <= now_ns => {
                    neighbour.hot.store(FORGOTTEN, Ordering::Release);
                    false
                }
                None => true,
            }
        });
        due
    }

    fn expire(&self, neighbour: &Arc<Neighbour>, inner: &mut Inner, now_ns: u64, due: &mut Due) {
        inner.deadline_ns = None;
        let reachable_ns = self.reachable_ns.load(Ordering::Relaxed);
        let confirmed_ns = neighbour.confirmed_ns.load(Ordering::Relaxed);
        let confirmed_until_ns = if confirmed_ns == 0 { 0 } else { confirmed_ns + reachable_ns };
        match inner.state {
            NeighbourState::Reachable if confirmed_until_ns > now_ns => self.arm(inner, confirmed_until_ns),
            NeighbourState::Reachable => inner.state = NeighbourState::Stale,
            NeighbourState::Delay if confirmed_until_ns > now_ns && confirmed_ns + DELAY_NS >= now_ns => {
                inner.state = NeighbourState::Reachable;
                self.arm(inner, confirmed_until_ns);
            }
            NeighbourState::Delay => {
                inner.state = NeighbourState::Probe;
                inner.solicitations = 1;
                due.probes.push(Probe { neighbour: neighbour.clone(), to: inner.mac });
                self.arm(inner, now_ns + self.retransmit_ns());
            }
            NeighbourState::Incomplete | NeighbourState::Probe if inner.solicitations < MAX_SOLICITATIONS => {
                inner.solicitations += 1;
                let to = inner.mac.filter(|_| inner.state == NeighbourState::Probe);
                due.probes.push(Probe { neighbour: neighbour.clone(), to });
                self.arm(inner, now_ns + self.retransmit_ns());
            }
            NeighbourState::Incomplete | NeighbourState::Probe => {
                inner.state = NeighbourState::Failed;
                due.failed.push(neighbour.address);
                self.take_queue(inner, &mut due.unreachable);
            }
            NeighbourState::Stale | NeighbourState::Failed => {}
        }
    }

    /// All neighbours.
    pub(crate) fn snapshot(&self, interface: u32) -> Vec<NeighbourInfo> {
        let entries = self.entries.lock();
        // One that no packet was sent to yet is in no state that Linux would show.
        let met = |neighbour: &&Arc<Neighbour>| {
            let inner = neighbour.inner.lock();
            inner.state != NeighbourState::Failed || inner.solicitations > 0
        };
        entries.values().filter(met).map(|neighbour| neighbour.info(interface)).collect()
    }
}
