//! The queue and its rules.

use linux_abi::Errno;

use crate::{
    Nice, Weight,
    heap::{Heap, VirtualTime},
    weight::scale,
};

/// The time in which every runnable thread gets its turn, as long as slices are not shorter than
/// [`MIN_SLICE_NS`]. This and the next two are CFS's values for two CPUs.
pub const LATENCY_NS: u64 = 12_000_000;

/// The shortest slice: with many threads, turns become rarer rather than shorter.
pub const MIN_SLICE_NS: u64 = 1_500_000;

/// How far behind the running thread one that wakes up must be to preempt it (in its own virtual time).
pub const WAKEUP_GRANULARITY_NS: u64 = 2_000_000;

/// How far ahead of the queue, in virtual time, a thread can be that wakes up, however long it slept.
pub const SLEEPER_CREDIT_NS: u64 = LATENCY_NS / 2;

/// The most virtual time that one charge adds, over an hour: a clock that jumps must not carry a thread so
/// far ahead that the comparison of wrapping times fails.
const MAX_CHARGE_NS: u64 = 1 << 42;

/// What a thread takes along while it is on no queue: kept in the thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entity {
    nice: Nice,
    /// Its virtual runtime less that of the queue which it left: what it is ahead (negative) or behind.
    lag_ns: i64,
    /// That queue, and what its virtual time was.
    left: Option<(usize, VirtualTime)>,
}

impl Entity {
    /// A thread that has never run.
    pub const fn new(nice: Nice) -> Self {
        Self { nice, lag_ns: 0, left: None }
    }

    /// Its nice value.
    pub const fn nice(&self) -> Nice {
        self.nice
    }

    /// Sets its nice value.
    pub const fn set_nice(&mut self, nice: Nice) {
        self.nice = nice;
    }
}

/// Why a thread comes to a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It has just been made. It begins behind the least of the others by the shortest slice, so that a
    /// thread that makes short-lived ones without end does not push the others aside.
    New,
    /// What it slept for has happened. On the CPU that it left, the queue's own virtual time says what it
    /// missed; on another one, that is estimated from the real time and the present load.
    Wakeup {
        /// How long it slept.
        slept_ns: u64,
    },
    /// It comes from another CPU, by [`RunQueue::steal`] or because its affinity has changed, and keeps its
    /// place.
    Migrated,
}

/// Why the running thread goes back to its queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Its slice is over, or another thread is more urgent.
    Preempted,
    /// It asked for it (`sched_yield(2)`): at least one other thread goes first.
    Yielded,
}

/// Whether the running thread should make room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preemption {
    /// It may go on.
    No,
    /// Call the scheduler.
    Now,
}

#[derive(Debug)]
struct Running {
    vruntime: VirtualTime,
    nice: Nice,
    /// In this turn.
    ran_ns: u64,
}

/// The runnable threads of one CPU: those that wait, and the account of the one that runs. `T` is the
/// kernel's reference to a thread; the queue holds it while the thread waits, not while it runs.
#[derive(Debug)]
pub struct RunQueue<T> {
    id: usize,
    waiting: Heap<T>,
    running: Option<Running>,
    /// The least virtual runtime of all runnable threads; it never goes back.
    min_vruntime: VirtualTime,
    /// The sum of the weights of the runnable threads, the running one included.
    load: u64,
}

impl<T> RunQueue<T> {
    /// An empty queue. `id` tells it from the other queues: the CPU's index.
    pub const fn new(id: usize) -> Self {
        // Virtual time begins a second before it wraps, so that wrapping is not a surprise in ten years
        // (Linux does the same).
        Self {
            id,
            waiting: Heap::new(),
            running: None,
            min_vruntime: VirtualTime(0u64.wrapping_sub(1_000_000_000)),
            load: 0,
        }
    }

    /// Makes room for more waiting threads, so that [`enqueue`](Self::enqueue) need not allocate. To be
    /// called when threads are made, with the number that may come to wait here.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), Errno> {
        self.waiting.try_reserve(additional)
    }

    /// How many threads are runnable, the running one included.
    pub fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    /// Whether no thread is runnable.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many threads wait for the CPU: what there is to steal.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The sum of the weights of all runnable threads: the figure to balance CPUs by.
    pub fn load(&self) -> u64 {
        self.load
    }

    /// Adds a thread that is on no queue, and says whether it should preempt the running one (also if none
    /// runs).
    ///
    /// The running thread should have been [charged](Self::account) first, or the answer is a little late.
    pub fn enqueue(&mut self, item: T, entity: Entity, arrival: Arrival) -> Preemption {
        let weight = entity.nice.weight();
        let lag_ns = match arrival {
            Arrival::New => weight.virtual_ns(MIN_SLICE_NS) as i64,
            Arrival::Migrated => entity.lag_ns,
            Arrival::Wakeup { slept_ns } => {
                let missed_ns = match entity.left {
                    Some((id, then)) if id == self.id => self.min_vruntime.since(then),
                    // A busy queue's virtual time advances by 1024 over its load.
                    _ => scale(
                        slept_ns,
                        Weight::NORMAL.get().into(),
                        self.load.max(Weight::NORMAL.get().into()),
                    )
                    .min(i64::MAX as u64) as i64,
                };
                entity.lag_ns.saturating_sub(missed_ns)
            }
        };
        let vruntime = self.min_vruntime.plus(lag_ns.max(-(SLEEPER_CREDIT_NS as i64)));
        self.load += u64::from(weight.get());
        self.waiting.push(item, vruntime, entity.nice);
        match &self.running {
            None => Preemption::Now,
            // A new thread waits for its turn.
            Some(_) if arrival == Arrival::New => Preemption::No,
            Some(running) => {
                let behind_ns = running.vruntime.since(vruntime);
                let granularity_ns = weight.virtual_ns(WAKEUP_GRANULARITY_NS) as i64;
                if behind_ns > granularity_ns { Preemption::Now } else { Preemption::No }
            }
        }
    }

    /// Takes the thread that is to run next; it is the running one from now on. `None`: the CPU is idle.
    ///
    /// # Panics
    /// If one runs already: [`put_back`](Self::put_back) or [`block`](Self::block) must have ended its turn.
    pub fn pick_next(&mut self) -> Option<T> {
        assert!(self.running.is_none(), "the running thread's turn has not ended");
        let next = self.waiting.pop()?;
        self.running = Some(Running { vruntime: next.vruntime, nice: next.nice, ran_ns: 0 });
        self.advance();
        Some(next.item)
    }

    /// Charges the running thread for the time that it ran since the last charge, and says whether its turn
    /// is over: its slice is used up, or it is ahead of the first in the queue by more than a slice.
    pub fn account(&mut self, ran_ns: u64) -> Preemption {
        let Some(running) = &mut self.running else { return Preemption::No };
        let weight = running.nice.weight();
        let virtual_ns = weight.virtual_ns(ran_ns).min(MAX_CHARGE_NS) as i64;
        running.vruntime = running.vruntime.plus(virtual_ns);
        running.ran_ns = running.ran_ns.saturating_add(ran_ns);
        let (ran_ns, vruntime) = (running.ran_ns, running.vruntime);
        self.advance();
        let Some(first) = self.waiting.first() else { return Preemption::No };
        let slice_ns = self.slice_of(weight);
        let ahead_ns = vruntime.since(first.vruntime);
        if ran_ns >= slice_ns || (ran_ns >= MIN_SLICE_NS && ahead_ns > weight.virtual_ns(slice_ns) as i64) {
            Preemption::Now
        } else {
            Preemption::No
        }
    }

    /// How much of its slice the running thread has left: when the timer should interrupt it. `None` if
    /// nobody waits, so that no timer is needed until somebody does, or if none runs.
    pub fn slice_left_ns(&self) -> Option<u64> {
        let running = self.running.as_ref()?;
        self.waiting.first()?;
        Some(self.slice_of(running.nice.weight()).saturating_sub(running.ran_ns))
    }

    /// Puts the running thread back among those that wait.
    ///
    /// # Panics
    /// If none runs.
    pub fn put_back(&mut self, item: T, turn: Turn) {
        let running = self.take_running();
        let vruntime = match (turn, self.waiting.first()) {
            // Behind the first, but no further: yielding in a loop lets the others run one after the other.
            (Turn::Yielded, Some(first)) => running.vruntime.max(first.vruntime),
            _ => running.vruntime,
        };
        self.load += u64::from(running.nice.weight().get());
        self.waiting.push(item, vruntime, running.nice);
        self.advance();
    }

    /// Ends the turn of the running thread, which is no longer runnable or moves to another CPU. The entity
    /// goes to the thread.
    ///
    /// # Panics
    /// If none runs.
    pub fn block(&mut self) -> Entity {
        let running = self.take_running();
        let entity = self.entity(running.nice, running.vruntime);
        self.advance();
        entity
    }

    /// Takes a waiting thread for another CPU that has nothing to do: one that `allowed` (its affinity)
    /// admits, and, as far as is quickly seen, one whose turn here is far off. Give it to the other queue
    /// with [`Arrival::Migrated`].
    ///
    /// The virtual times of two queues have nothing to do with each other; the entity carries only how far
    /// the thread is ahead or behind. Usually a few threads are looked at; all of them if hardly any is
    /// allowed.
    pub fn steal(&mut self, allowed: impl Fn(&T) -> bool) -> Option<(T, Entity)> {
        self.remove(allowed)
    }

    /// Whether a waiting thread can be stolen by one who may take those that `allowed` admits.
    pub fn has_to_steal(&self, allowed: impl Fn(&T) -> bool) -> bool {
        self.waiting.entries().iter().any(|queued| allowed(&queued.item))
    }

    /// Takes a certain waiting thread off the queue, whose affinity no longer includes this CPU for example.
    /// O(n).
    pub fn remove(&mut self, is_it: impl Fn(&T) -> bool) -> Option<(T, Entity)> {
        let index = self.waiting.entries().iter().rposition(|queued| is_it(&queued.item))?;
        let removed = self.waiting.remove(index);
        self.load -= u64::from(removed.nice.weight().get());
        let entity = self.entity(removed.nice, removed.vruntime);
        self.advance();
        Some((removed.item, entity))
    }

    /// Sets the nice value of the running thread.
    pub fn set_running_nice(&mut self, nice: Nice) {
        if let Some(running) = &mut self.running {
            self.load = self.load - u64::from(running.nice.weight().get()) + u64::from(nice.weight().get());
            running.nice = nice;
        }
    }

    /// Sets the nice value of a certain waiting thread, and says whether it was found. What it has run so far
    /// stays as charged. O(n).
    pub fn set_waiting_nice(&mut self, is_it: impl Fn(&T) -> bool, nice: Nice) -> bool {
        let Some(index) = self.waiting.entries().iter().position(|queued| is_it(&queued.item)) else {
            return false;
        };
        let former = self.waiting.entries()[index].nice.weight();
        self.load = self.load - u64::from(former.get()) + u64::from(nice.weight().get());
        self.waiting.set_nice(index, nice);
        true
    }

    /// The slice of a runnable thread of this weight.
    fn slice_of(&self, weight: Weight) -> u64 {
        let period_ns = LATENCY_NS.max(self.len() as u64 * MIN_SLICE_NS);
        scale(period_ns, weight.get().into(), self.load.max(weight.get().into())).max(MIN_SLICE_NS)
    }

    fn take_running(&mut self) -> Running {
        let running = self.running.take().expect("a thread runs");
        self.load -= u64::from(running.nice.weight().get());
        running
    }

    fn entity(&self, nice: Nice, vruntime: VirtualTime) -> Entity {
        let lag_ns = vruntime.since(self.min_vruntime);
        Entity { nice, lag_ns, left: Some((self.id, self.min_vruntime)) }
    }

    /// Lets the queue's virtual time follow the least runtime.
    fn advance(&mut self) {
        let running = self.running.as_ref().map(|running| running.vruntime);
        let first = self.waiting.first().map(|first| first.vruntime);
        let least = match (running, first) {
            (Some(running), Some(first)) if first.is_before(running) => first,
            (Some(least), _) | (None, Some(least)) => least,
            (None, None) => return,
        };
        self.min_vruntime = self.min_vruntime.max(least);
    }
}
