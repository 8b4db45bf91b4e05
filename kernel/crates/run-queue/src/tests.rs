//! Simulations of a CPU: shares, bounds and order, with random slices. Virtual time wraps in the first second
//! of each.

use proptest::prelude::*;

use crate::{
    Arrival, Entity, LATENCY_NS, MIN_SLICE_NS, Nice, Preemption, RunQueue, SLEEPER_CREDIT_NS, Turn,
    heap::{Heap, VirtualTime},
};

const TICK_NS: u64 = 1_000_000;

/// Runs the thread that is next until the queue takes the CPU from it, tick by tick, and returns it and how
/// long it ran.
fn turn(queue: &mut RunQueue<usize>) -> (usize, u64) {
    let id = queue.pick_next().unwrap();
    let mut ran_ns = 0;
    loop {
        ran_ns += TICK_NS;
        if queue.account(TICK_NS) == Preemption::Now || queue.waiting() == 0 {
            queue.put_back(id, Turn::Preempted);
            return (id, ran_ns);
        }
    }
}

fn queue_of(nices: &[i32]) -> RunQueue<usize> {
    let mut queue = RunQueue::new(0);
    for (id, nice) in nices.iter().enumerate() {
        queue.enqueue(id, Entity::new(Nice::clamped(*nice)), Arrival::New);
    }
    queue
}

/// How long each thread ran in `total_ns` of CPU time.
fn shares(queue: &mut RunQueue<usize>, count: usize, total_ns: u64) -> Vec<u64> {
    let mut ran = vec![0; count];
    while ran.iter().sum::<u64>() < total_ns {
        let (id, ran_ns) = turn(queue);
        ran[id] += ran_ns;
    }
    ran
}

#[test]
fn threads_begin_in_the_order_in_which_they_were_made() {
    let mut queue = queue_of(&[0; 20]);
    let order: Vec<_> = (0..20).map(|_| turn(&mut queue).0).collect();
    assert!(order.iter().copied().eq(0..20));
}

#[test]
fn a_lone_thread_needs_no_timer() {
    let mut queue = queue_of(&[0]);
    assert_eq!(queue.pick_next(), Some(0));
    assert_eq!(queue.slice_left_ns(), None);
    assert_eq!(queue.account(1_000_000_000), Preemption::No);
    queue.enqueue(1, Entity::new(Nice::DEFAULT), Arrival::New);
    assert_eq!(queue.slice_left_ns(), Some(0));
    assert_eq!(queue.account(0), Preemption::Now);
    let entity = queue.block();
    assert_eq!((queue.len(), queue.load()), (1, 1024));
    assert_eq!(entity.nice(), Nice::DEFAULT);
    assert_eq!(RunQueue::<usize>::new(0).pick_next(), None);
}

#[test]
fn slices_shrink_to_a_minimum() {
    let slice = |count| {
        let mut queue = queue_of(&vec![0; count]);
        queue.pick_next();
        queue.slice_left_ns().unwrap()
    };
    assert_eq!(slice(2), LATENCY_NS / 2);
    assert_eq!(slice(4), LATENCY_NS / 4);
    assert_eq!(slice(1000), MIN_SLICE_NS);
}

#[test]
fn a_yield_lets_every_other_thread_run() {
    let mut queue = queue_of(&[0; 4]);
    let mut order = Vec::new();
    for _ in 0..8 {
        let id = queue.pick_next().unwrap();
        order.push(id);
        queue.account(100);
        queue.put_back(id, if id == 0 { Turn::Yielded } else { Turn::Preempted });
        if id != 0 {
            // Runs out its slice, so that the others do not stay at the front.
            let again = queue.pick_next().unwrap();
            queue.account(LATENCY_NS);
            queue.put_back(again, Turn::Preempted);
        }
    }
    assert_eq!(order[0], 0);
    assert_ne!(order[1], 0);
}

#[test]
fn a_thread_that_wakes_up_preempts_one_that_has_run_for_long() {
    let mut queue = queue_of(&[0, 0]);
    assert_eq!(queue.pick_next(), Some(0));
    queue.account(100_000);
    let sleeper = queue.block();
    assert_eq!(queue.pick_next(), Some(1));
    queue.account(20_000_000);
    assert_eq!(queue.enqueue(0, sleeper, Arrival::Wakeup { slept_ns: 20_000_000 }), Preemption::Now);
    queue.put_back(1, Turn::Preempted);
    assert_eq!(queue.pick_next(), Some(0));
    // Having run a little and slept no time at all, it does not do so again at once.
    queue.account(SLEEPER_CREDIT_NS);
    let entity = queue.block();
    assert_eq!(queue.pick_next(), Some(1));
    assert_eq!(queue.enqueue(0, entity, Arrival::Wakeup { slept_ns: 0 }), Preemption::No);
}

#[test]
fn one_that_wakes_up_on_an_idle_cpu_runs_at_once() {
    let mut queue = RunQueue::new(3);
    let entity = Entity::new(Nice::DEFAULT);
    assert_eq!(queue.enqueue(7, entity, Arrival::Wakeup { slept_ns: u64::MAX }), Preemption::Now);
    assert_eq!(queue.pick_next(), Some(7));
}

#[test]
fn a_long_sleep_buys_no_more_than_the_credit() {
    for slept_ns in [10_000_000_000, u64::MAX] {
        for home in [0, 1] {
            let mut queue = queue_of(&[0]);
            let mut sleeper = RunQueue::new(home);
            sleeper.enqueue(1, Entity::new(Nice::DEFAULT), Arrival::New);
            sleeper.pick_next();
            let entity = sleeper.block();
            shares(&mut queue, 1, 10_000_000_000);
            queue.enqueue(1, entity, Arrival::Wakeup { slept_ns });
            let mut ahead_ns = 0;
            loop {
                let (id, ran_ns) = turn(&mut queue);
                if id == 0 {
                    break;
                }
                ahead_ns += ran_ns;
            }
            assert!(ahead_ns <= SLEEPER_CREDIT_NS + LATENCY_NS / 2, "{ahead_ns}");
        }
    }
}

/// Threads that sleep as often as they run must not starve one that always wants to run, nor get more than
/// their share.
#[test]
fn sleepers_and_a_busy_thread_share_fairly() {
    const SLEEPERS: usize = 4;
    let mut queue = queue_of(&[0]);
    let mut ran = [0u64; SLEEPERS + 1];
    let mut asleep: Vec<(u64, usize, Entity)> =
        (1..=SLEEPERS).map(|id| (0, id, Entity::new(Nice::DEFAULT))).collect();
    let mut now_ns = 0;
    while now_ns < 20_000_000_000 {
        for index in (0..asleep.len()).rev() {
            if asleep[index].0 <= now_ns {
                let (_, id, entity) = asleep.swap_remove(index);
                queue.enqueue(id, entity, Arrival::Wakeup { slept_ns: 1_000_000 });
            }
        }
        let id = queue.pick_next().unwrap();
        ran[id] += TICK_NS;
        now_ns += TICK_NS;
        queue.account(TICK_NS);
        if id == 0 {
            queue.put_back(0, Turn::Preempted);
        } else {
            asleep.push((now_ns + 1_000_000, id, queue.block()));
        }
    }
    let fair_ns = 20_000_000_000 / (SLEEPERS as u64 + 1);
    assert!(ran[0] > fair_ns * 8 / 10 && ran[0] < fair_ns * 13 / 10, "{ran:?}");
}

#[test]
fn making_threads_without_end_starves_nobody() {
    let mut queue = queue_of(&[0]);
    let mut ran_ns = 0;
    for _ in 0..10_000 {
        // As soon as one has ended, the next is made.
        if queue.len() == 1 {
            queue.enqueue(1, Entity::new(Nice::DEFAULT), Arrival::New);
        }
        let id = queue.pick_next().unwrap();
        queue.account(TICK_NS);
        if id == 0 {
            ran_ns += TICK_NS;
            queue.put_back(0, Turn::Preempted);
        } else {
            queue.block();
        }
    }
    assert!(ran_ns >= 5_000 * TICK_NS, "{ran_ns}");
}

#[test]
fn no_allocation_within_the_reserved_room() {
    let mut queue = RunQueue::new(0);
    queue.try_reserve(100).unwrap();
    for id in 0..100 {
        queue.enqueue(id, Entity::new(Nice::DEFAULT), Arrival::New);
    }
    shares(&mut queue, 100, 1_000_000_000);
    assert_eq!(queue.try_reserve(usize::MAX), Err(linux_abi::Errno::ENOMEM));
}

#[test]
fn an_idle_cpu_steals_only_what_is_allowed() {
    let mut busy = queue_of(&[0, 0, 5, 0]);
    let mut idle = RunQueue::new(1);
    assert_eq!(busy.pick_next(), Some(0));
    assert!(busy.steal(|id| *id == 0).is_none(), "the running thread stays");
    let (id, entity) = busy.steal(|id| *id == 2).unwrap();
    assert_eq!((id, entity.nice(), busy.len(), busy.load()), (2, Nice::clamped(5), 3, 3 * 1024));
    assert_eq!(idle.enqueue(id, entity, Arrival::Migrated), Preemption::Now);
    assert_eq!(idle.load(), u64::from(Nice::clamped(5).weight().get()));
    assert_eq!(idle.pick_next(), Some(2));
}

#[test]
fn a_migrated_thread_keeps_its_place() {
    // One queue is far ahead of the other in virtual time.
    let mut old = queue_of(&[0, 0]);
    shares(&mut old, 2, 50_000_000_000);
    let mut young = queue_of(&[0, 0]);
    shares(&mut young, 2, 10_000_000);
    let (_, entity) = old.steal(|_| true).unwrap();
    young.enqueue(2, entity, Arrival::Migrated);
    let ran = shares(&mut young, 3, 300_000_000);
    for ran_ns in ran {
        assert!(ran_ns.abs_diff(100_000_000) <= 2 * LATENCY_NS, "{ran_ns}");
    }
}

#[test]
fn nice_changes_take_effect() {
    let mut queue = queue_of(&[0, 0]);
    assert!(queue.set_waiting_nice(|id| *id == 1, Nice::clamped(5)));
    assert!(!queue.set_waiting_nice(|id| *id == 9, Nice::clamped(5)));
    queue.pick_next();
    queue.set_running_nice(Nice::clamped(-5));
    let weights = [Nice::clamped(-5), Nice::clamped(5)].map(|nice| u64::from(nice.weight().get()));
    assert_eq!(queue.load(), weights.iter().sum());
    queue.put_back(0, Turn::Preempted);
    let ran = shares(&mut queue, 2, 60_000_000_000);
    let ratio = ran[0] as f64 / ran[1] as f64;
    let expected = weights[0] as f64 / weights[1] as f64;
    assert!((ratio / expected - 1.0).abs() < 0.05, "{ratio} {expected}");
}

#[derive(Clone, Debug)]
enum Step {
    Push { vruntime: u64 },
    Pop,
    Remove { which: usize },
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_heap_is_a_sorted_list(base in any::<u64>(), steps in prop::collection::vec(prop_oneof![
        4 => (0..50u64).prop_map(|vruntime| Step::Push { vruntime }),
        2 => Just(Step::Pop),
        1 => any::<usize>().prop_map(|which| Step::Remove { which }),
    ], 0..200)) {
        let mut heap = Heap::new();
        let mut model: Vec<(u64, usize)> = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { vruntime } => {
                    heap.push(id, VirtualTime(base.wrapping_add(vruntime)), Nice::DEFAULT);
                    let place = model.partition_point(|entry| entry.0 <= vruntime);
                    model.insert(place, (vruntime, id));
                }
                Step::Pop => {
                    let expected = (!model.is_empty()).then(|| model.remove(0).1);
                    prop_assert_eq!(heap.pop().map(|queued| queued.item), expected);
                }
                Step::Remove { which } if !model.is_empty() => {
                    let index = which % heap.len();
                    let id = heap.entries()[index].item;
                    prop_assert_eq!(heap.remove(index).item, id);
                    model.retain(|entry| entry.1 != id);
                }
                Step::Remove { .. } => {}
            }
            prop_assert_eq!(heap.len(), model.len());
            prop_assert_eq!(heap.first().map(|queued| queued.item), model.first().map(|entry| entry.1));
        }
    }

    /// Equal threads that always want to run are never further apart than two slices.
    #[test]
    fn equals_stay_together(count in 2..40usize, turns in prop::collection::vec(1..8_000_000u64, 1..400)) {
        let mut queue = queue_of(&vec![0; count]);
        let mut ran = vec![0u64; count];
        for ran_ns in turns {
            let id = queue.pick_next().unwrap();
            queue.account(ran_ns);
            ran[id] += ran_ns;
            queue.put_back(id, Turn::Preempted);
            let (least, most) = (ran.iter().min().unwrap(), ran.iter().max().unwrap());
            prop_assert!(most - least <= 8_000_000, "{:?}", ran);
        }
    }

    /// Shares follow weights, whatever the nice values.
    #[test]
    fn shares_are_proportional_to_weights(nices in prop::collection::vec(-10..10i32, 2..8)) {
        let mut queue = queue_of(&nices);
        let total_ns = 20_000_000_000;
        let ran = shares(&mut queue, nices.len(), total_ns);
        let weight = |nice: i32| u64::from(Nice::clamped(nice).weight().get());
        let sum: u64 = nices.iter().map(|nice| weight(*nice)).sum();
        prop_assert_eq!(queue.load(), sum);
        for (nice, ran_ns) in nices.iter().zip(&ran) {
            let fair_ns = total_ns as f64 * weight(*nice) as f64 / sum as f64;
            // A slice of one's own, or of the heaviest: what is under way.
            prop_assert!((*ran_ns as f64 - fair_ns).abs() < fair_ns * 0.02 + 30_000_000.0, "{nices:?} {ran:?}");
        }
    }

    /// Any history of sleeping, yielding, stealing and niceness keeps the books: nobody is lost or doubled,
    /// the load is the sum of the weights, and everybody runs again.
    #[test]
    fn nobody_is_lost_and_nobody_starves(steps in prop::collection::vec((0..7u8, 0..10_000_000u64, -20..20i32), 0..300)) {
        const THREADS: usize = 12;
        let mut queues = [RunQueue::new(0), RunQueue::new(1)];
        let mut asleep: Vec<(usize, Entity)> = Vec::new();
        for id in 0..THREADS {
            queues[id % 2].enqueue(id, Entity::new(Nice::DEFAULT), Arrival::New);
        }
        let mut nices = [Nice::DEFAULT; THREADS];
        for (kind, ns, nice) in steps {
            let which = (ns % 2) as usize;
            match kind {
                0 => {
                    if let Some((id, entity)) = asleep.pop() {
                        queues[which].enqueue(id, entity, Arrival::Wakeup { slept_ns: ns });
                    }
                }
                1 => {
                    if let Some((id, entity)) = queues[which].steal(|id| id % 3 != 0) {
                        queues[1 - which].enqueue(id, entity, Arrival::Migrated);
                    }
                }
                _ => {
                    let queue = &mut queues[which];
                    let Some(id) = queue.pick_next() else { continue };
                    queue.account(ns);
                    match kind {
                        2 => asleep.insert(0, (id, queue.block())),
                        3 => queue.put_back(id, Turn::Yielded),
                        4 => {
                            nices[id] = Nice::clamped(nice);
                            queue.set_running_nice(nices[id]);
                            queue.put_back(id, Turn::Preempted);
                        }
                        _ => queue.put_back(id, Turn::Preempted),
                    }
                }
            }
        }
        for (id, entity) in asleep {
            queues[0].enqueue(id, entity, Arrival::Wakeup { slept_ns: 1 });
        }
        let mut seen = Vec::new();
        for queue in &mut queues {
            let count = queue.len();
            let mut ran = std::collections::BTreeSet::new();
            // A nice -20 thread has 5900 times the share of a nice 19 one.
            for _ in 0..200_000 {
                if ran.len() == count {
                    break;
                }
                ran.insert(turn(queue).0);
            }
            prop_assert_eq!(ran.len(), count);
            let load: u64 = ran.iter().map(|id| u64::from(nices[*id].weight().get())).sum();
            prop_assert_eq!(queue.load(), load);
            seen.extend(ran);
        }
        seen.sort();
        prop_assert!(seen.into_iter().eq(0..THREADS));
    }
}
