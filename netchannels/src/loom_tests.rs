//! Every interleaving of the races that matter. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p netchannels --release loom`.

#![expect(unsafe_code, reason = "nodes as the list wants them")]

use std::{
    boxed::Box,
    sync::{
        Arc as StdArc,
        atomic::{AtomicUsize as StdAtomicUsize, Ordering::Relaxed},
    },
};

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Notify},
    thread,
};
use packet::Packet;

use crate::{
    Arm, Arrival, Channel, Consumer, FlowKey, FlowTable, HashKey, Interest, Processing, Rejected, Transport,
    queue::{Linked, Queue},
};

fn model(f: impl Fn() + Sync + Send + 'static) {
    model_bounded(3, f);
}

/// With three threads, one preemption less: it would take minutes, for no other kind of race.
fn model_bounded(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A node whose content and link loom watches: it fails if two threads can be at them unordered.
struct Node {
    link: *mut Node,
    content: UnsafeCell<u32>,
    alive: Option<StdArc<StdAtomicUsize>>,
}

// SAFETY: the link belongs to whoever owns the node.
unsafe impl Send for Node {}

impl Linked for Node {
    fn link(&mut self) -> &mut *mut Self {
        self.content.with_mut(|_| ());
        &mut self.link
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.content.with_mut(|_| ());
        if let Some(alive) = &self.alive {
            alive.fetch_sub(1, Relaxed);
        }
    }
}

fn node(content: u32) -> Box<Node> {
    Box::new(Node { link: std::ptr::null_mut(), content: UnsafeCell::new(content), alive: None })
}

fn contents(queue: &Queue<Node>) -> Vec<u32> {
    // SAFETY: the pointer is valid in here; loom fails the test if anybody else writes.
    queue.take().map(|node| node.content.with(|content| unsafe { *content })).collect()
}

#[test]
fn each_senders_packets_keep_their_order() {
    model(|| {
        let queue = Arc::new(Queue::<Node>::new());
        let senders = [10, 20].map(|first| {
            let queue = queue.clone();
            thread::spawn(move || {
                assert!(queue.push(node(first), 4).is_ok());
                assert!(queue.push(node(first + 1), 4).is_ok());
            })
        });
        let mut all = contents(&queue);
        all.extend(contents(&queue));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        all.extend(contents(&queue));
        for first in [10, 20] {
            let own: Vec<u32> = all.iter().copied().filter(|content| content / 10 == first / 10).collect();
            assert_eq!(own, [first, first + 1]);
        }
        assert_eq!(all.len(), 4);
        assert_eq!(queue.len(), 0);
    });
}

#[test]
fn the_bound_holds_and_nothing_leaks() {
    model(|| {
        let alive = StdArc::new(StdAtomicUsize::new(0));
        let queue = Arc::new(Queue::<Node>::new());
        let counted = |content| {
            alive.fetch_add(1, Relaxed);
            let mut node = node(content);
            node.alive = Some(alive.clone());
            node
        };
        let senders = [counted(1), counted(2)].map(|node| {
            let queue = queue.clone();
            thread::spawn(move || queue.push(node, 1).is_ok())
        });
        let taken = queue.take().count();
        let accepted = senders.map(|sender| sender.join().unwrap()).into_iter().filter(|ok| *ok).count();
        let left = queue.len();
        assert!(left <= 1);
        assert_eq!(taken + left, accepted);
        drop(queue);
        assert_eq!(alive.load(Relaxed), 0);
    });
}

/// Counts what it is told, and wakes whoever waits.
#[derive(Default)]
struct Calls {
    woken: Notify,
    to_worker: Notify,
    wakes: StdAtomicUsize,
    defers: StdAtomicUsize,
    checks: StdAtomicUsize,
}

struct Handle(Arc<Calls>);

impl Consumer for Handle {
    fn wake(&self, _: Interest) {
        self.0.wakes.fetch_add(1, Relaxed);
        self.0.woken.notify();
    }

    fn defer(&self) {
        self.0.defers.fetch_add(1, Relaxed);
        self.0.to_worker.notify();
    }

    fn check_later(&self) {
        self.0.checks.fetch_add(1, Relaxed);
        self.0.to_worker.notify();
    }
}

fn packet() -> Box<Packet> {
    Box::new(Packet::from_head(&[0]))
}

fn send(channel: &Channel, arrival: Arrival, processing: Processing) {
    if channel.push(packet()).is_ok() {
        channel.settle(arrival, processing);
    }
}

#[test]
fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let (channel, mut receiver) = Channel::new(8, Box::new(Handle(calls.clone())));
        let sender = thread::spawn(move || {
            send(&channel, Arrival::DATA, Processing::InReader);
            send(&channel, Arrival::DATA, Processing::InReader);
        });
        // A reader that wants both. Ends only if each wait is ended.
        let mut seen = 0;
        while seen < 2 {
            seen += receiver.drain().count();
            if seen < 2 && receiver.arm(Interest::READ) == Arm::Armed {
                calls.woken.wait();
            }
        }
        sender.join().unwrap();
        assert!(calls.wakes.load(Relaxed) <= 2);
    });
}

#[test]
fn the_worker_sees_all_that_was_deferred() {
    model_bounded(2, || {
        let calls = Arc::new(Calls::default());
        let (channel, mut receiver) = Channel::new(8, Box::new(Handle(calls.clone())));
        let senders = [(); 2].map(|()| {
            let channel = channel.clone();
            thread::spawn(move || send(&channel, Arrival::DATA, Processing::InWorker))
        });
        let mut seen = 0;
        while seen < 2 {
            calls.to_worker.wait();
            channel.begin_deferred();
            seen += receiver.drain().count();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn what_nobody_comes_for_is_looked_after() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let (channel, mut receiver) = Channel::new(8, Box::new(Handle(calls.clone())));
        let sender = thread::spawn({
            let channel = channel.clone();
            move || {
                send(&channel, Arrival::DATA, Processing::InReader);
                send(&channel, Arrival::empty(), Processing::InReader);
            }
        });
        let mut seen = 0;
        while seen < 2 {
            calls.to_worker.wait();
            if channel.begin_check() {
                seen += receiver.drain().count();
            }
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_hand_over_between_reader_and_worker_loses_nothing() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let (channel, mut receiver) = Channel::new(2, Box::new(Handle(calls.clone())));
        // Unsent data waits for an ACK; the reader armed for data and went away; both must hear of it.
        assert_eq!(receiver.arm(Interest::READ | Interest::PROTOCOL), Arm::Armed);
        let sender = thread::spawn({
            let channel = channel.clone();
            move || {
                send(&channel, Arrival::empty(), Processing::InReader);
                send(&channel, Arrival::DATA, Processing::InReader);
            }
        });
        calls.to_worker.wait();
        channel.begin_deferred();
        let by_worker = receiver.drain().count();
        calls.woken.wait();
        sender.join().unwrap();
        assert_eq!(by_worker + receiver.drain().count(), 2);
        assert_eq!(calls.wakes.load(Relaxed), 1);
    });
}

#[test]
fn closing_frees_what_is_on_its_way() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let (channel, receiver) = Channel::new(8, Box::new(Handle(calls.clone())));
        let sender = thread::spawn(move || {
            let pushed = channel.push(packet());
            channel.settle(Arrival::DATA, Processing::InReader);
            // After the close nothing is accepted, or it is freed with the channel; loom sees leaks of the handle.
            matches!(pushed, Ok(()) | Err(Rejected::Closed(_)))
        });
        drop(receiver);
        assert!(sender.join().unwrap());
        assert_eq!(Arc::strong_count(&calls), 1);
    });
}

fn keys() -> [FlowKey; 3] {
    [1, 2, 3].map(|port| {
        let local = std::net::SocketAddr::from(([10, 0, 0, 1], port));
        FlowKey::bound(Transport::Udp, local)
    })
}

#[test]
fn a_lookup_finds_what_is_there_while_the_table_grows() {
    model(|| {
        let table = Arc::new(FlowTable::new(HashKey::new([7; 16])));
        let [first, second, third] = keys();
        table.insert(first, 1).unwrap();
        // Begins with one bucket: each of these splits.
        let grower = thread::spawn({
            let table = table.clone();
            move || {
                table.insert(second, 2).unwrap();
                table.insert(third, 3).unwrap();
            }
        });
        assert_eq!(table.get(&first), Some(1));
        assert_eq!(table.replace(&first, 4), Ok(1));
        grower.join().unwrap();
        assert_eq!(keys().map(|key| table.get(&key)), [Some(4), Some(2), Some(3)]);
    });
}

#[test]
fn two_that_insert_and_remove_leave_nothing() {
    model(|| {
        let table = Arc::new(FlowTable::new(HashKey::new([7; 16])));
        let value = Arc::new(());
        let [first, second, _] = keys();
        let other = thread::spawn({
            let (table, value) = (table.clone(), value.clone());
            move || (table.insert(first, value).is_ok(), table.remove(&first).is_some())
        });
        let inserted = table.insert(first, value.clone()).is_ok();
        table.insert(second, value.clone()).unwrap();
        // Whoever finds it may hold it on, also when it is out.
        let found = table.get(&first);
        let removed = table.remove(&first).is_some();
        drop(found);
        let (other_inserted, other_removed) = other.join().unwrap();
        assert_eq!(
            usize::from(inserted) + usize::from(other_inserted),
            usize::from(removed) + usize::from(other_removed) + table.len() - 1
        );
        table.remove(&second).unwrap();
        drop(table.remove(&first));
        assert!(table.is_empty());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
