//! Channels and batches against a plain queue.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use packet::Packet;
use proptest::prelude::*;

use crate::{Arm, Arrival, Batch, Channel, Consumer, Counters, Interest, Processing, Receiver, Rejected};

#[derive(Default)]
struct Calls(Mutex<Vec<Call>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Wake(Interest),
    Defer,
    CheckLater,
}

impl Calls {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Handle(Arc<Calls>);

impl Consumer for Handle {
    fn wake(&self, interest: Interest) {
        self.0.0.lock().unwrap().push(Call::Wake(interest));
    }

    fn defer(&self) {
        self.0.0.lock().unwrap().push(Call::Defer);
    }

    fn check_later(&self) {
        self.0.0.lock().unwrap().push(Call::CheckLater);
    }
}

fn channel(capacity: usize) -> (Arc<Channel>, Receiver, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let (channel, receiver) = Channel::new(capacity, Box::new(Handle(calls.clone())));
    (channel, receiver, calls)
}

fn packet(number: u8) -> Box<Packet> {
    Box::new(Packet::from_head(&[number]))
}

fn send(counters: &Counters, channel: &Arc<Channel>, arrivals: &[Arrival]) {
    let mut batch = Batch::new(counters, Processing::InReader);
    for &arrival in arrivals {
        batch.push(channel, packet(0), arrival).unwrap();
    }
}

proptest! {
    #[test]
    fn a_channel_is_a_bounded_queue(
        capacity in 1..20_usize,
        batches in proptest::collection::vec((0..12_u8, any::<bool>()), 0..40),
    ) {
        let counters = Counters::new(2);
        let (channel, mut receiver, _) = channel(capacity);
        let mut model = VecDeque::new();
        let mut number = 0_u8;
        for (count, drain) in batches {
            let mut batch = Batch::new(&counters, Processing::InReader);
            for _ in 0..count {
                number = number.wrapping_add(1);
                match batch.push(&channel, packet(number), Arrival::DATA) {
                    Ok(()) => model.push_back(number),
                    Err(Rejected::Full(packet)) => {
                        prop_assert_eq!(packet.head(), [number]);
                        prop_assert_eq!(model.len(), capacity);
                    }
                    Err(Rejected::Closed(_)) => prop_assert!(false, "it is open"),
                }
                prop_assert!(model.len() <= capacity);
            }
            batch.finish();
            if drain {
                let packets = receiver.drain();
                prop_assert_eq!(packets.len(), model.len());
                let taken: Vec<u8> = packets.map(|packet| packet.head()[0]).collect();
                prop_assert_eq!(taken, model.drain(..).collect::<Vec<_>>());
                prop_assert!(channel.is_empty());
            }
        }
    }

    /// The state machine of wake-ups against its description.
    #[test]
    fn whoever_waits_is_told_once(
        steps in proptest::collection::vec((0..4_u8, 0..8_u32, 0..4_u8), 1..40),
    ) {
        let counters = Counters::new(1);
        let (channel, mut receiver, calls) = channel(1_000);
        let (mut armed, mut deferred, mut checked_later) = (Interest::empty(), false, false);
        for (step, interest, arrival) in steps {
            let mut expected = Vec::new();
            match step {
                0 => {
                    armed |= Interest::from_bits_truncate(interest);
                    let empty = channel.is_empty();
                    let arm = receiver.arm(Interest::from_bits_truncate(interest));
                    prop_assert_eq!(arm, if empty { Arm::Armed } else { Arm::LookAgain });
                }
                1 => {
                    channel.begin_deferred();
                    deferred = false;
                    receiver.drain().for_each(drop);
                }
                2 => {
                    prop_assert_eq!(channel.begin_check(), !channel.is_empty());
                    checked_later = false;
                }
                _ => {
                    let arrival = Arrival::from_bits_truncate(arrival);
                    let mut woken = armed & Interest::WRITE;
                    if !arrival.is_empty() {
                        woken |= armed & Interest::READ;
                    }
                    if !woken.is_empty() {
                        expected.push(Call::Wake(woken));
                    }
                    let control = arrival.contains(Arrival::CONTROL) && woken.is_empty();
                    if armed.contains(Interest::PROTOCOL) || control {
                        if !deferred {
                            expected.push(Call::Defer);
                        }
                        deferred = true;
                        armed -= Interest::PROTOCOL;
                    } else if !deferred && !checked_later {
                        expected.push(Call::CheckLater);
                        checked_later = true;
                    }
                    armed -= woken;
                    send(&counters, &channel, &[arrival]);
                }
            }
            prop_assert_eq!(calls.take(), expected);
        }
        prop_assert_eq!(receiver.take_interest(), armed);
    }
}

#[test]
fn a_batch_wakes_each_channel_once_however_many_there_are() {
    let counters = Counters::new(1);
    let mut channels: Vec<_> = (0..50).map(|_| channel(100)).collect();
    for (_, receiver, _) in &mut channels {
        assert_eq!(receiver.arm(Interest::READ), Arm::Armed);
    }
    let mut batch = Batch::new(&counters, Processing::InReader);
    for round in 0..4 {
        for (channel, _, calls) in &channels {
            batch.push(channel, packet(round), Arrival::DATA).unwrap();
            assert_eq!(calls.take(), []);
        }
    }
    batch.finish();
    for (_, receiver, calls) in &mut channels {
        assert_eq!(calls.take(), [Call::Wake(Interest::READ), Call::CheckLater]);
        assert_eq!(receiver.drain().map(|packet| packet.head()[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
    let text = counters.to_string();
    for line in ["channel_packets 200", "channel_batches 50", "wakes 50", "packets_per_wake 4.00"] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
}

#[test]
fn a_batch_with_more_channels_than_it_keeps_settles_all() {
    let counters = Counters::new(1);
    let channels: Vec<_> = (0..200).map(|_| channel(4)).collect();
    let mut batch = Batch::new(&counters, Processing::InWorker);
    for (channel, _, _) in &channels {
        batch.push(channel, packet(0), Arrival::empty()).unwrap();
    }
    batch.finish();
    assert!(channels.iter().all(|(_, _, calls)| calls.take() == [Call::Defer]));
}

#[test]
fn a_channel_that_fills_is_given_to_the_worker() {
    let counters = Counters::new(1);
    let (channel, mut receiver, calls) = channel(4);
    send(&counters, &channel, &[Arrival::DATA; 2]);
    assert_eq!(calls.take(), [Call::CheckLater]);
    send(&counters, &channel, &[Arrival::DATA]);
    assert_eq!(calls.take(), [Call::Defer]);
    channel.begin_deferred();
    assert_eq!(receiver.drain().len(), 3);
}

#[test]
fn a_closed_channel_takes_nothing_and_wakes_nobody() {
    let counters = Counters::new(1);
    let (channel, mut receiver, calls) = channel(4);
    assert_eq!(receiver.arm(Interest::all()), Arm::Armed);
    let mut batch = Batch::new(&counters, Processing::InReader);
    batch.push(&channel, packet(0), Arrival::DATA).unwrap();
    receiver.close();
    assert!(matches!(batch.push(&channel, packet(1), Arrival::DATA), Err(Rejected::Closed(_))));
    batch.finish();
    assert_eq!(calls.take(), []);
    assert!(channel.is_empty());
    drop(receiver);
    // The consumer goes with the last reference to the channel.
    assert_eq!(Arc::strong_count(&calls), 2);
    drop(channel);
    assert_eq!(Arc::strong_count(&calls), 1);
}
