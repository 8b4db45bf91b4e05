//! Connections that are over, but whose segments may still be on the way.
//!
//! What is left of each is a record of some hundred bytes in the table of flows. The worker forgets them in the order of
//! their deadlines. There are no more than [`MAX_RECORDS`]: beyond, the oldest goes early, which is what Linux does with
//! the newest (`net.ipv4.tcp_max_tw_buckets`); the peer's last FIN is then answered with a RST.

use alloc::{collections::BinaryHeap, sync::Arc};
use core::cmp::Reverse;

use ip::OutputOptions;
use ksync::{SpinLock, platform};
use netchannels::FlowKey;
use tcp::{Isn, Segment, State, TimeWait, TimeWaitVerdict, Tuple};

use super::TcpClaim;
use crate::{Net, ingress::Flow};

/// Most records.
const MAX_RECORDS: usize = 32_768;

/// A connection that is over.
pub struct TimeWaitFlow {
    record: SpinLock<TimeWait>,
    key: FlowKey,
    /// Keeps the port.
    claim: SpinLock<Option<TcpClaim>>,
}

impl TimeWaitFlow {
    pub(super) fn new(record: TimeWait, key: FlowKey, claim: Option<TcpClaim>) -> Self {
        Self { record: SpinLock::new(record), key, claim: SpinLock::new(claim) }
    }

    /// Its addresses.
    pub fn tuple(&self) -> Tuple {
        *self.record.lock().tuple()
    }

    /// [`State::TimeWait`] or [`State::FinWait2`].
    pub fn state(&self) -> State {
        self.record.lock().state()
    }

    /// When it is over.
    pub fn deadline_ns(&self) -> u64 {
        self.record.lock().deadline()
    }

    /// Answers a segment. Gives the numbers for a new connection if it begins one.
    pub(super) fn segment(self: &Arc<Self>, net: &Net, segment: &Segment) -> Option<Isn> {
        let mut out = alloc::vec::Vec::new();
        let (verdict, tuple) = {
            let mut record = self.record.lock();
            let verdict = record.segment(platform::now_ns(), segment, &mut out);
            (verdict, *record.tuple())
        };
        net.send_tcp(&tuple, OutputOptions::new(ip::protocol::TCP), &mut out);
        match verdict {
            TimeWaitVerdict::Stays => None,
            TimeWaitVerdict::Over => {
                self.forget(net);
                None
            }
            TimeWaitVerdict::NewConnection(isn) => {
                self.forget(net);
                Some(isn)
            }
        }
    }

    /// Numbers with which the tuple may be used again by who connects; it is forgotten then.
    pub(super) fn reuse(self: &Arc<Self>, net: &Net) -> Option<Isn> {
        let isn = self.record.lock().reuse(platform::now_ns())?;
        self.forget(net);
        Some(isn)
    }

    /// Takes it out of the table, if it is there still, and gives the port back.
    fn forget(self: &Arc<Self>, net: &Net) {
        let claim = self.claim.lock().take();
        drop(claim);
        net.flows
            .remove_if(&self.key, |flow| matches!(flow, Flow::TimeWait(other) if Arc::ptr_eq(self, other)));
    }
}

struct Entry {
    deadline_ns: u64,
    flow: Arc<TimeWaitFlow>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.deadline_ns == other.deadline_ns
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.deadline_ns.cmp(&other.deadline_ns)
    }
}

/// All records by their deadlines.
#[derive(Default)]
pub struct TimeWaits {
    by_deadline: SpinLock<BinaryHeap<Reverse<Entry>>>,
}

impl TimeWaits {
    /// Adds one, and lets the worker know if it is the next to end.
    pub(super) fn add(&self, net: &Net, flow: Arc<TimeWaitFlow>) {
        let deadline_ns = flow.deadline_ns();
        let (is_next, oldest) = {
            let mut heap = self.by_deadline.lock();
            let oldest = if heap.len() >= MAX_RECORDS { heap.pop() } else { None };
            let is_next = heap.peek().is_none_or(|Reverse(next)| deadline_ns < next.deadline_ns);
            heap.push(Reverse(Entry { deadline_ns, flow }));
            (is_next, oldest)
        };
        if let Some(Reverse(oldest)) = oldest {
            oldest.flow.forget(net);
        }
        if is_next {
            net.worker.look_at_time_wait();
        }
    }

    /// Forgets those that are over by now. Returns when the next one is.
    pub fn expire(&self, net: &Net, now_ns: u64) -> Option<u64> {
        loop {
            let mut heap = self.by_deadline.lock();
            let next_ns = heap.peek()?.0.deadline_ns;
            if next_ns > now_ns {
                return Some(next_ns);
            }
            let Reverse(entry) = heap.pop()?;
            drop(heap);
            // A segment can have moved it.
            let deadline_ns = entry.flow.deadline_ns();
            if deadline_ns > now_ns && Arc::strong_count(&entry.flow) > 1 {
                self.by_deadline.lock().push(Reverse(Entry { deadline_ns, ..entry }));
            } else {
                entry.flow.forget(net);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_deadline.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all at once: for tests, and the end of the machine.
    pub fn clear(&self, net: &Net) {
        self.expire(net, u64::MAX);
    }
}
