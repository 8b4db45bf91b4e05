extern crate std;

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::work::counted;

fn byte(position: u64) -> u8 {
    (position * 7 + (position >> 8)) as u8
}

/// A packet with the bytes of the stream from `start` on: in its head if they are few, else in frames.
fn packet(start: u64, len: usize) -> Box<Packet> {
    let bytes: Vec<u8> = (start..start + len as u64).map(byte).collect();
    if len < 100 {
        return Box::new(Packet::from_head(&bytes));
    }
    let mut packet = Packet::new();
    for part in bytes.chunks(1000) {
        let page = PageRef::new_zeroed().unwrap();
        page.write(5, part);
        packet.push(Fragment::new(page, 5, part.len())).unwrap();
    }
    Box::new(packet)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, usize),
    Read(usize),
    Take(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6000_u64, 1..4000_usize).prop_map(|(start, len)| Step::Insert(start, len)),
        8 => (0..3000_u64, 1..40_usize).prop_map(|(start, len)| Step::Insert(start, len)),
        2 => (0..5000_usize).prop_map(Step::Read),
        1 => (1..5000_usize).prop_map(Step::Take),
    ]
}

proptest! {
    #[test]
    fn is_a_stream_whatever_the_order(
        steps in proptest::collection::vec(step(), 1..150),
        limit in prop_oneof![Just(usize::MAX), 8_000..40_000_usize],
    ) {
        frames::host::init();
        let base = 1_u64 << 32;
        let mut queue = ReceiveQueue::new(base);
        // What may be there: in order up to `next`, and ahead as far as it was said to be placed.
        let mut next = base;
        for step in steps {
            match step {
                Step::Insert(offset, len) => {
                    // Around what is expected next.
                    let start = (next + offset).saturating_sub(1500).max(base);
                    let placed = queue.insert(start, packet(start, len), limit);
                    let end = start + len as u64;
                    match placed {
                        Placed::InOrder => prop_assert!(start <= next && queue.next() >= end),
                        Placed::Ahead => prop_assert!(start > next && queue.next() == next),
                        Placed::Duplicate | Placed::Dropped => prop_assert_eq!(queue.next(), next),
                    }
                    if limit == usize::MAX {
                        prop_assert!(placed != Placed::Dropped);
                    }
                    next = queue.next();
                }
                Step::Read(len) => {
                    let start = queue.read_position();
                    let mut buffer = vec![0; len];
                    let peeked = queue.peek(0, len, &mut &mut buffer[..]).unwrap();
                    let mut again = vec![0; len];
                    let read = queue.read(len, &mut &mut again[..]).unwrap();
                    prop_assert_eq!((peeked, &buffer), (read, &again));
                    let expected: Vec<u8> = (start..start + read as u64).map(byte).collect();
                    prop_assert_eq!(&again[..read], &expected[..]);
                    prop_assert_eq!(queue.read_position(), start + read as u64);
                }
                Step::Take(len) => {
                    let start = queue.read_position();
                    if let Some(packet) = queue.take_packet(len) {
                        prop_assert!(!packet.is_empty() && packet.len() <= len);
                        let mut bytes = vec![0; packet.len()];
                        packet.read(0, &mut bytes);
                        let expected: Vec<u8> = (start..start + bytes.len() as u64).map(byte).collect();
                        prop_assert_eq!(bytes, expected);
                    }
                }
            }
            let memory: usize =
                queue.packets.iter().chain(queue.ahead.values()).map(|packet| packet.memory_bytes()).sum();
            prop_assert_eq!(queue.memory_bytes(), memory);
            prop_assert_eq!(queue.ahead_bytes, queue.ahead.values().map(|packet| packet.len()).sum::<usize>());
            let readable: usize = queue.packets.iter().map(|packet| packet.len()).sum();
            prop_assert_eq!(queue.readable(), readable);
            if limit != usize::MAX {
                // One packet more than the limit, at most.
                prop_assert!(memory < limit + 6 * PAGE_SIZE, "{} {}", memory, limit);
            }
            // What is ahead does not overlap, is right, and is all that is told of.
            let mut end = queue.next();
            for (&at, packet) in &queue.ahead {
                prop_assert!(at >= end && at > queue.next() && !packet.is_empty());
                end = at + packet.len() as u64;
                let mut bytes = vec![0; packet.len()];
                packet.read(0, &mut bytes);
                prop_assert_eq!(bytes, (at..end).map(byte).collect::<Vec<_>>());
            }
            for &(start, end) in &queue.runs {
                let mut at = start;
                while at < end {
                    let (&first, packet) = queue.ahead.range(..=at).next_back().expect("told, so it is there");
                    let stop = first + packet.len() as u64;
                    prop_assert!(stop > at);
                    at = stop;
                }
            }
        }
    }
}

#[test]
fn single_bytes_are_copied_together() {
    frames::host::init();
    let mut queue = ReceiveQueue::new(0);
    for position in 0..20_000 {
        let page = PageRef::new_zeroed().unwrap();
        page.write(0, &[byte(position)]);
        let mut packet = Packet::new();
        packet.push(Fragment::new(page, 0, 1)).unwrap();
        assert_eq!(queue.insert(position, Box::new(packet), 100_000), Placed::InOrder);
    }
    assert!(queue.memory_bytes() < 110_000);
    let mut buffer = vec![0; 20_000];
    assert_eq!(queue.read(20_000, &mut &mut buffer[..]), Ok(20_000));
    assert!(buffer.iter().enumerate().all(|(n, &value)| value == byte(n as u64)));
    assert_eq!(queue.memory_bytes(), 0);
}

#[test]
fn copying_together_takes_no_more_memory() {
    frames::host::init();
    let mut queue = ReceiveQueue::new(0);
    // Single bytes with gaps between them, which fit heads; then one that needs a frame.
    for start in (10..30).step_by(2) {
        queue.insert(start, packet(start, 1), usize::MAX);
    }
    queue.insert(40, packet(40, 1000), usize::MAX);
    let before = queue.memory_bytes();
    queue.collapse();
    assert!(queue.memory_bytes() <= before, "{} {before}", queue.memory_bytes());
    assert_eq!(queue.insert(0, packet(0, 40), usize::MAX), Placed::InOrder);
    assert_eq!(queue.next(), 1040);
}

/// What inserting these ranges costs, in steps for each, with a buffer of this size.
fn steps_for_each(limit: usize, ranges: impl Iterator<Item = (u64, usize)>) -> u64 {
    frames::host::init();
    let mut queue = ReceiveQueue::new(0);
    let mut count = 0;
    let steps = counted(|| {
        for (start, len) in ranges {
            count += 1;
            queue.insert(start, packet(start, len), limit);
            assert!(queue.memory_bytes() < limit.saturating_add(4 * PAGE_SIZE));
        }
    });
    assert!(count >= 20_000);
    steps / count
}

#[test]
fn tiny_segments_ahead_of_order_cost_a_bounded_number_of_steps() {
    const LIMIT: usize = 4 << 20;
    const COUNT: u64 = 40_000;
    // As the buffer never overflows, each is looked at when it is copied together, and when it goes.
    assert_eq!(steps_for_each(usize::MAX, (0..COUNT).map(|n| (10 + 3 * n, 2))), 0);
    // The buffer is full long before the end; 8192 of them fit.
    let apart = |n: u64| (10 + 3 * n, 2);
    let side_by_side = |n: u64| (10 + 2 * n, 2);
    let alternating = |n: u64| if n.is_multiple_of(2) { apart(n) } else { apart(COUNT * 2 - n) };
    // A generator of Lehmer's, for places that jump about.
    let jumping = |n: u64| apart(n * 48_271 % 2_147_483_647 % COUNT);
    let overlapping = |n: u64| (10 + 3 * (n * 48_271 % COUNT), 1 + (n % 90) as usize);
    for (name, steps) in [
        ("apart", steps_for_each(LIMIT, (0..COUNT).map(apart))),
        ("backwards", steps_for_each(LIMIT, (0..COUNT).rev().map(apart))),
        ("side by side", steps_for_each(LIMIT, (0..COUNT).map(side_by_side))),
        ("side by side, backwards", steps_for_each(LIMIT, (0..COUNT).rev().map(side_by_side))),
        ("alternating", steps_for_each(LIMIT, (0..COUNT).map(alternating))),
        ("jumping", steps_for_each(LIMIT, (0..COUNT).map(jumping))),
        ("overlapping", steps_for_each(LIMIT, (0..COUNT).map(overlapping))),
    ] {
        assert!(steps <= 12, "{name}: {steps} steps for each segment");
    }
}

#[test]
fn a_full_buffer_that_nobody_reads_costs_little() {
    frames::host::init();
    let mut queue = ReceiveQueue::new(0);
    // Single bytes in order, apart enough not to be put together by being copied into each other's heads.
    let steps = counted(|| {
        for position in 0..60_000 {
            let page = PageRef::new_zeroed().unwrap();
            page.write(0, &[byte(position)]);
            let mut packet = Packet::new();
            packet.push(Fragment::new(page, 0, 1)).unwrap();
            queue.insert(position, Box::new(packet), 1 << 20);
        }
    });
    assert!(steps / 60_000 <= 12, "{steps}");
    // An urgent pointer beyond what is there is not searched for.
    assert_eq!(counted(|| assert_eq!(queue.byte_at(queue.next()), None)), 0);
}

#[test]
fn what_is_ahead_gives_way_to_what_is_in_order() {
    frames::host::init();
    let limit = 64 << 10;
    let mut queue = ReceiveQueue::new(0);
    for n in 0..10_000 {
        queue.insert(10_000 + 3 * n, packet(10_000 + 3 * n, 2), limit);
    }
    assert!(queue.memory_bytes() >= limit);
    for start in (0..10_000).step_by(1000) {
        assert_eq!(queue.insert(start, packet(start, 1000), limit), Placed::InOrder);
    }
    assert!(queue.memory_bytes() < limit + 4 * PAGE_SIZE);
    assert!(queue.next() >= 10_000);
}
