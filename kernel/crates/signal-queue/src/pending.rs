//! What waits to be delivered.

use alloc::{collections::VecDeque, sync::Arc};

use linux_abi::{
    Errno,
    signal::{SigInfo, SigSet, Signal, code},
};

use crate::budget::{Budget, Limited};

/// Entries for which an empty queue keeps its memory, so that a thread that takes fault after fault does not
/// allocate for each.
const KEPT_CAPACITY: usize = 4;

/// What became of a signal that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queued {
    /// It waits.
    Added,
    /// It is a standard signal and waits already; this one adds nothing.
    Coalesced,
    /// It waits, but its information was lost, since the limit is reached or memory is short.
    WithoutInfo,
}

/// The pending signals of a thread, or those of a process that any of its threads may take.
#[derive(Debug)]
pub struct PendingSignals {
    /// Which signals are pending. A bit may be set without an entry: information that was lost.
    set: SigSet,
    /// Their information in order of arrival. At most one entry for each standard signal.
    infos: VecDeque<SigInfo>,
    budget: Arc<Budget>,
}

impl PendingSignals {
    /// An empty queue, which draws on a budget.
    pub const fn new(budget: Arc<Budget>) -> Self {
        Self { set: SigSet::EMPTY, infos: VecDeque::new(), budget }
    }

    /// Makes a signal pending. `signo` of the information becomes the signal's number.
    ///
    /// If the limit is reached, or there is no memory, Linux's rules are (`__send_signal_locked`): a standard
    /// signal from the kernel or `kill(2)` is not limited; for one from `sigqueue(3)`, and any real-time one
    /// sent by `kill(2)`, only the information is lost; other real-time signals fail.
    ///
    /// # Errors
    /// `EAGAIN`: a real-time signal beyond the limit.
    pub fn queue(&mut self, signal: Signal, mut info: SigInfo) -> Result<Queued, Errno> {
        if !signal.is_realtime() && self.set.contains(signal) {
            return Ok(Queued::Coalesced);
        }
        // Nobody ever sees SIGKILL's information.
        if signal == Signal::SIGKILL {
            self.set.insert(signal);
            return Ok(Queued::Added);
        }
        let limited = if !signal.is_realtime() && info.code >= 0 { Limited::No } else { Limited::Yes };
        if self.budget.take(limited) {
            if self.infos.try_reserve(1).is_ok() {
                info.signo = signal.number() as i32;
                self.infos.push_back(info);
                self.set.insert(signal);
                return Ok(Queued::Added);
            }
            self.budget.give_back(1);
        }
        if signal.is_realtime() && info.code != code::SI_USER {
            return Err(Errno::EAGAIN);
        }
        self.set.insert(signal);
        Ok(Queued::WithoutInfo)
    }

    /// Which signals are pending: for `sigpending(2)`, /proc, and a quick look at whether there is anything
    /// to do.
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Whether a signal is pending that the mask does not block.
    pub const fn has_unblocked(&self, blocked: SigSet) -> bool {
        !self.set.difference(blocked.blockable()).is_empty()
    }

    /// Drops all pending signals of a set: those that became ignored (`sigaction(2)`, "POSIX.1"), or stop
    /// signals when `SIGCONT` comes and the other way round.
    pub fn discard(&mut self, signals: SigSet) {
        if self.set.intersection(signals).is_empty() {
            return;
        }
        self.set -= signals;
        let before = self.infos.len();
        self.infos.retain(|info| !info.signal().is_some_and(|signal| signals.contains(signal)));
        self.released(before - self.infos.len());
    }

    /// Takes a pending signal. If its information was lost it looks like one of `kill(2)` by process 0, as on
    /// Linux.
    fn take(&mut self, signal: Signal) -> SigInfo {
        let number = signal.number() as i32;
        let mut of_signal = self.infos.iter().enumerate().filter(|(_, info)| info.signo == number);
        let (first, more) = (of_signal.next().map(|(index, _)| index), of_signal.next().is_some());
        if !more {
            self.set.remove(signal);
        }
        match first.and_then(|index| self.infos.remove(index)) {
            Some(info) => {
                self.released(1);
                info
            }
            None => SigInfo::kill(signal, 0, 0),
        }
    }

    fn released(&mut self, count: usize) {
        self.budget.give_back(count);
        if self.infos.is_empty() && self.infos.capacity() > KEPT_CAPACITY {
            self.infos = VecDeque::new();
        }
    }

    /// The oldest entry of a fault: a signal of the synchronous kind that came from the kernel.
    fn oldest_fault(&self, blocked: SigSet) -> Option<Signal> {
        if self.set.intersection(SigSet::SYNCHRONOUS).difference(blocked).is_empty() {
            return None;
        }
        self.infos
            .iter()
            .filter(|info| info.is_from_kernel())
            .filter_map(SigInfo::signal)
            .find(|signal| signal.is_synchronous() && !blocked.contains(*signal))
    }

    /// The next of the pending signals in `wanted`: those of the synchronous kind first, then by number.
    const fn next_of(&self, wanted: SigSet) -> Option<Signal> {
        let candidates = self.set.intersection(wanted);
        let synchronous = candidates.intersection(SigSet::SYNCHRONOUS);
        if synchronous.is_empty() { candidates.lowest() } else { synchronous.lowest() }
    }
}

impl Drop for PendingSignals {
    fn drop(&mut self) {
        self.budget.give_back(self.infos.len());
    }
}

/// Takes the next signal that a thread must deliver, in Linux's order (`get_signal`, `next_signal`):
///
/// 1. `SIGKILL`, wherever it is;
/// 2. the thread's own faults, oldest first, because the registers in its frame must be those of the
///    faulting instruction, which any other handler would leave behind;
/// 3. the thread's queue, then the process's; in each, signals of the synchronous kind that were merely sent, and
///    after those the lowest number, so that standard signals come before real-time ones.
pub fn take_next(
    thread: &mut PendingSignals,
    process: &mut PendingSignals,
    blocked: SigSet,
) -> Option<SigInfo> {
    let blocked = blocked.blockable();
    for queue in [&mut *thread, &mut *process] {
        if queue.set.contains(Signal::SIGKILL) {
            return Some(queue.take(Signal::SIGKILL));
        }
    }
    if let Some(fault) = thread.oldest_fault(blocked) {
        return Some(thread.take(fault));
    }
    take_from(thread, process, !blocked)
}

/// Takes a pending signal of a set, blocked or not: `sigtimedwait(2)`, `signalfd(2)`. `SIGKILL` and `SIGSTOP`
/// cannot be waited for.
pub fn take_any_of(
    thread: &mut PendingSignals,
    process: &mut PendingSignals,
    wanted: SigSet,
) -> Option<SigInfo> {
    take_from(thread, process, wanted.blockable())
}

fn take_from(thread: &mut PendingSignals, process: &mut PendingSignals, wanted: SigSet) -> Option<SigInfo> {
    for queue in [thread, process] {
        if let Some(signal) = queue.next_of(wanted) {
            return Some(queue.take(signal));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use linux_abi::signal::SigVal;
    use proptest::prelude::*;

    use super::*;

    fn queues(limit: usize) -> (Arc<Budget>, PendingSignals, PendingSignals) {
        let budget = Arc::new(Budget::new(limit));
        (budget.clone(), PendingSignals::new(budget.clone()), PendingSignals::new(budget))
    }

    fn rt(n: u32) -> Signal {
        Signal::new(32 + n).unwrap()
    }

    #[test]
    fn standard_signals_coalesce_and_the_first_information_stays() {
        let (budget, mut thread, mut process) = queues(10);
        assert_eq!(thread.queue(Signal::SIGUSR1, SigInfo::kill(Signal::SIGUSR1, 1, 0)), Ok(Queued::Added));
        assert_eq!(
            thread.queue(Signal::SIGUSR1, SigInfo::kill(Signal::SIGUSR1, 2, 0)),
            Ok(Queued::Coalesced)
        );
        assert_eq!(budget.queued(), 1);
        assert_eq!(take_next(&mut thread, &mut process, SigSet::EMPTY).unwrap().pid(), 1);
        assert_eq!(take_next(&mut thread, &mut process, SigSet::EMPTY), None);
        assert_eq!((budget.queued(), thread.set()), (0, SigSet::EMPTY));
    }

    #[test]
    fn real_time_signals_queue_in_order_and_lower_numbers_come_first() {
        let (_, mut thread, mut process) = queues(10);
        for (n, value) in [(2, 1), (1, 2), (2, 3)] {
            process.queue(rt(n), SigInfo::queue(rt(n), 0, 0, SigVal(value))).unwrap();
        }
        process.queue(Signal::SIGTERM, SigInfo::kill(Signal::SIGTERM, 9, 9)).unwrap();
        let taken: Vec<_> =
            core::iter::from_fn(|| take_next(&mut thread, &mut process, SigSet::EMPTY)).collect();
        let expected = [(15, 0), (33, 2), (34, 1), (34, 3)];
        assert!(taken.iter().map(|info| (info.signo, info.value().0)).eq(expected));
    }

    #[test]
    fn a_threads_own_fault_comes_before_everything_but_kill() {
        let (_, mut thread, mut process) = queues(10);
        thread.queue(Signal::SIGHUP, SigInfo::kill(Signal::SIGHUP, 1, 0)).unwrap();
        // Merely sent: of the synchronous kind, but no fault.
        thread.queue(Signal::SIGILL, SigInfo::kill(Signal::SIGILL, 1, 0)).unwrap();
        thread.queue(Signal::SIGSEGV, SigInfo::fault(Signal::SIGSEGV, code::SEGV_MAPERR, 8)).unwrap();
        process.queue(Signal::SIGKILL, SigInfo::kill(Signal::SIGKILL, 1, 0)).unwrap();
        let mut next = || {
            take_next(
                &mut thread,
                &mut process,
                SigSet::ALL.without(Signal::SIGSEGV).without(Signal::SIGHUP).without(Signal::SIGILL),
            )
        };
        let order: Vec<_> = core::iter::from_fn(|| next().and_then(|info| info.signal())).collect();
        assert_eq!(order, [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGILL, Signal::SIGHUP]);
    }

    #[test]
    fn blocked_signals_stay_and_can_be_waited_for() {
        let (_, mut thread, mut process) = queues(10);
        process.queue(Signal::SIGTERM, SigInfo::kill(Signal::SIGTERM, 1, 0)).unwrap();
        let blocked = SigSet::only(Signal::SIGTERM);
        assert!(!process.has_unblocked(blocked) && process.has_unblocked(SigSet::EMPTY));
        assert_eq!(take_next(&mut thread, &mut process, blocked), None);
        assert_eq!(take_any_of(&mut thread, &mut process, SigSet::only(Signal::SIGINT)), None);
        assert_eq!(take_any_of(&mut thread, &mut process, blocked).unwrap().signo, 15);
    }

    #[test]
    fn beyond_the_limit_linuxs_rules_hold() {
        let (budget, mut thread, mut process) = queues(1);
        let queue = |value| SigInfo::queue(rt(1), 5, 5, SigVal(value));
        assert_eq!(thread.queue(rt(1), queue(1)), Ok(Queued::Added));
        assert_eq!(process.queue(rt(1), queue(2)), Err(Errno::EAGAIN));
        assert_eq!(process.set(), SigSet::EMPTY);
        assert_eq!(process.queue(rt(1), SigInfo::kill(rt(1), 5, 5)), Ok(Queued::WithoutInfo));
        assert_eq!(
            process.queue(Signal::SIGUSR1, SigInfo::queue(rt(1), 5, 5, SigVal(0))),
            Ok(Queued::WithoutInfo)
        );
        assert_eq!(process.queue(Signal::SIGUSR2, SigInfo::kill(rt(1), 5, 5)), Ok(Queued::Added));
        assert_eq!(budget.queued(), 2);
        let lost = take_any_of(&mut thread, &mut process, SigSet::only(Signal::SIGUSR1)).unwrap();
        assert_eq!((lost.signo, lost.code, lost.pid()), (10, code::SI_USER, 0));
        // The number in the information is the signal's, whatever the sender wrote.
        let sent = take_any_of(&mut thread, &mut process, SigSet::only(Signal::SIGUSR2)).unwrap();
        assert_eq!((sent.signo, sent.pid()), (12, 5));
        drop((thread, process));
        assert_eq!(budget.queued(), 0);
    }

    #[test]
    fn a_flood_does_not_keep_its_memory() {
        let (_, mut thread, mut process) = queues(1000);
        for value in 0..1000 {
            thread.queue(rt(1), SigInfo::queue(rt(1), 0, 0, SigVal(value))).unwrap();
        }
        while take_next(&mut thread, &mut process, SigSet::EMPTY).is_some() {}
        assert!(thread.infos.capacity() <= KEPT_CAPACITY);
    }

    /// `si_code` and value, unless they were lost.
    type ModelInfo = Option<(i32, u64)>;

    /// The same rules written as a search over one list.
    #[derive(Default)]
    struct Model {
        /// Queue (0 is the thread's), number, information.
        entries: Vec<(usize, u32, ModelInfo)>,
        limit: usize,
    }

    const SYNC: [u32; 6] = [4, 5, 7, 8, 11, 31];

    impl Model {
        fn queue(&mut self, queue: usize, number: u32, code: i32, value: u64) -> Result<Queued, Errno> {
            let pending = self.entries.iter().any(|e| e.0 == queue && e.1 == number);
            if number < 32 && pending {
                return Ok(Queued::Coalesced);
            }
            if number == 9 {
                self.entries.push((queue, 9, None));
                return Ok(Queued::Added);
            }
            let used = self.entries.iter().filter(|e| e.2.is_some()).count();
            if used < self.limit || (number < 32 && code >= 0) {
                self.entries.push((queue, number, Some((code, value))));
                return Ok(Queued::Added);
            }
            if number >= 32 && code != 0 {
                return Err(Errno::EAGAIN);
            }
            if !pending {
                self.entries.push((queue, number, None));
            }
            Ok(Queued::WithoutInfo)
        }

        fn take(&mut self, queue: usize, number: u32) -> (u32, ModelInfo) {
            let of_signal = |e: &(usize, u32, _)| e.0 == queue && e.1 == number;
            let with_info = self.entries.iter().position(|e| of_signal(e) && e.2.is_some());
            let index = with_info.or_else(|| self.entries.iter().position(of_signal)).unwrap();
            let taken = self.entries.remove(index);
            // A mark without information goes with the last entry.
            if !self.entries.iter().any(|e| of_signal(e) && e.2.is_some()) {
                self.entries.retain(|e| !of_signal(e));
            }
            (number, taken.2)
        }

        fn next(&mut self, blocked: &[u32]) -> Option<(u32, ModelInfo)> {
            for queue in 0..2 {
                if self.entries.iter().any(|e| e.0 == queue && e.1 == 9) {
                    return Some(self.take(queue, 9));
                }
            }
            let free = |number: u32| number == 19 || !blocked.contains(&number);
            let fault = self.entries.iter().find(|e| {
                e.0 == 0 && SYNC.contains(&e.1) && free(e.1) && e.2.is_some_and(|(code, _)| code > 0)
            });
            if let Some(fault) = fault {
                let number = fault.1;
                return Some(self.take(0, number));
            }
            for queue in 0..2 {
                let pending = self.entries.iter().filter(|e| e.0 == queue && free(e.1)).map(|e| e.1);
                if let Some(number) = pending.min_by_key(|number| (!SYNC.contains(number), *number)) {
                    return Some(self.take(queue, number));
                }
            }
            None
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Queue { queue: usize, number: u32, code: i32, value: u64 },
        Next { blocked: Vec<u32> },
        Discard { queue: usize, numbers: Vec<u32> },
    }

    fn any_number() -> impl Strategy<Value = u32> {
        prop_oneof![1..=64u32, prop::sample::select(vec![4, 8, 9, 11, 19, 32, 33, 64])]
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..2usize, any_number(), -6..4i32, any::<u64>())
                .prop_map(|(queue, number, code, value)| Step::Queue { queue, number, code, value }),
            4 => prop::collection::vec(any_number(), 0..40).prop_map(|blocked| Step::Next { blocked }),
            1 => (0..2usize, prop::collection::vec(any_number(), 0..20))
                .prop_map(|(queue, numbers)| Step::Discard { queue, numbers }),
        ]
    }

    fn set_of(numbers: &[u32]) -> SigSet {
        numbers.iter().filter_map(|number| Signal::new(*number)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn queues_behave_like_the_model(limit in 0..12usize, steps in prop::collection::vec(any_step(), 0..80)) {
            let (budget, mut thread, mut process) = queues(limit);
            let mut model = Model { limit, ..Model::default() };
            for step in steps {
                match step {
                    Step::Queue { queue, number, code, value } => {
                        let signal = Signal::new(number).unwrap();
                        let mut info = SigInfo::queue(signal, 0, 0, SigVal(value));
                        info.code = code;
                        let target = if queue == 0 { &mut thread } else { &mut process };
                        prop_assert_eq!(target.queue(signal, info), model.queue(queue, number, code, value));
                    }
                    Step::Next { blocked } => {
                        let ours = take_next(&mut thread, &mut process, set_of(&blocked));
                        match model.next(&blocked) {
                            None => prop_assert!(ours.is_none()),
                            Some((number, info)) => {
                                let ours = ours.unwrap();
                                prop_assert_eq!(ours.signo as u32, number);
                                let (code, value) = info.unwrap_or((0, 0));
                                prop_assert_eq!((ours.code, ours.value().0), (code, value));
                            }
                        }
                    }
                    Step::Discard { queue, numbers } => {
                        let target = if queue == 0 { &mut thread } else { &mut process };
                        target.discard(set_of(&numbers));
                        model.entries.retain(|e| e.0 != queue || !numbers.contains(&e.1));
                    }
                }
                for (index, queue) in [&thread, &process].into_iter().enumerate() {
                    let numbers: Vec<_> = model.entries.iter().filter(|e| e.0 == index).map(|e| e.1).collect();
                    prop_assert_eq!(queue.set(), set_of(&numbers));
                }
                prop_assert_eq!(budget.queued(), model.entries.iter().filter(|e| e.2.is_some()).count());
            }
            drop((thread, process));
            prop_assert_eq!(budget.queued(), 0);
        }
    }
}
