extern crate std;

use std::{collections::BTreeSet, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::work::counted;

const MSS: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(u64),
    Acknowledge(u64),
    Sack(u64, u64),
    LoseOlderThan(u64),
    LoseFirst,
    Retransmit(u64),
    Unmark,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..80_u64).prop_map(Step::Send),
        2 => (0..120_u64).prop_map(Step::Acknowledge),
        4 => (0..300_u64, 1..60_u64).prop_map(|(start, len)| Step::Sack(start, len)),
        2 => (0..40_u64).prop_map(Step::LoseOlderThan),
        1 => Just(Step::LoseFirst),
        4 => (1..40_u64).prop_map(Step::Retransmit),
        1 => Just(Step::Unmark),
    ]
}

/// What became of one byte.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Byte {
    sent_ns: u64,
    fate: Fate,
}

proptest! {
    /// Against a list of bytes. Where ranges do not end at segments the board may know less, never more.
    #[test]
    fn is_a_list_of_bytes(steps in proptest::collection::vec(step(), 1..120)) {
        let mut board = Scoreboard::default();
        let mut model: Vec<Byte> = Vec::new();
        let (mut una, mut next) = (1000_u64, 1000_u64);
        for (n, step) in steps.into_iter().enumerate() {
            let now = n as u64 + 1;
            match step {
                Step::Send(len) => {
                    board.send(next, next + len, now);
                    next += len;
                    model.extend((0..len).map(|_| Byte { sent_ns: now, fate: Fate::InFlight }));
                }
                Step::Acknowledge(len) => {
                    let len = len.min(next - una);
                    una += len;
                    let expected = model.drain(..len as usize).filter(|byte| byte.fate != Fate::Sacked).count();
                    let mut delivered = 0;
                    board.acknowledge(una, |sent| delivered += sent.end - sent.start);
                    prop_assert_eq!(delivered, expected as u64);
                }
                Step::Sack(start, len) => {
                    let (start, end) = ((una + start).min(next), (una + start + len).min(next));
                    let mut newly = Vec::new();
                    if start < end {
                        board.sack(start, end, MSS, |sent| newly.push((sent.start, sent.end)));
                    }
                    for (from, to) in newly {
                        prop_assert!(start <= from && from < to && to <= end);
                        for byte in &mut model[(from - una) as usize..(to - una) as usize] {
                            prop_assert!(byte.fate != Fate::Sacked);
                            byte.fate = Fate::Sacked;
                        }
                    }
                }
                Step::LoseOlderThan(age) => {
                    let limit = now.saturating_sub(age);
                    let (oldest, any) = board.mark_lost_by_time(|sent_ns, _| sent_ns < limit);
                    let mut expected = false;
                    for byte in model.iter_mut().filter(|byte| byte.fate == Fate::InFlight && byte.sent_ns < limit) {
                        byte.fate = Fate::Lost;
                        expected = true;
                    }
                    prop_assert_eq!(any, expected);
                    let first = model.iter().filter(|byte| byte.fate == Fate::InFlight).map(|byte| byte.sent_ns).min();
                    prop_assert_eq!(oldest.map(|(sent_ns, _)| sent_ns), first);
                }
                Step::LoseFirst => {
                    board.mark_first_lost(MSS);
                    if let Some(first) = board.first() && first.fate == Fate::Lost {
                        for byte in &mut model[..(first.end - una) as usize] {
                            if byte.fate == Fate::InFlight {
                                byte.fate = Fate::Lost;
                            }
                        }
                    }
                }
                Step::Retransmit(len) => {
                    let lost = board.first_lost();
                    let expected = model.iter().position(|byte| byte.fate == Fate::Lost).map(|at| una + at as u64);
                    prop_assert_eq!(lost.map(|lost| lost.start), expected);
                    if let Some(lost) = lost {
                        let end = lost.end.min(lost.start + len);
                        board.retransmit(lost.start, end, now);
                        for byte in &mut model[(lost.start - una) as usize..(end - una) as usize] {
                            *byte = Byte { sent_ns: now, fate: Fate::InFlight };
                        }
                    }
                }
                Step::Unmark => {
                    board.unmark_lost();
                    for byte in model.iter_mut().filter(|byte| byte.fate == Fate::Lost) {
                        byte.fate = Fate::InFlight;
                    }
                }
            }
            let bytes: Vec<Byte> = board
                .records
                .iter()
                .flat_map(|sent| (sent.start..sent.end).map(|_| Byte { sent_ns: sent.sent_ns, fate: sent.fate }))
                .collect();
            prop_assert_eq!(&bytes, &model);
            let lost = board.records.iter().filter(|sent| sent.fate == Fate::Lost).map(|sent| sent.start);
            prop_assert_eq!(lost.collect::<BTreeSet<_>>(), board.lost.clone());
            let count = |fate| model.iter().filter(|byte| byte.fate == fate).count() as u64;
            prop_assert_eq!(board.total_bytes(), next - una);
            prop_assert_eq!((board.sacked_bytes(), board.lost_bytes()), (count(Fate::Sacked), count(Fate::Lost)));
            prop_assert_eq!(board.in_flight(), count(Fate::InFlight));
        }
    }
}

#[test]
fn single_bytes_make_no_records() {
    let mut board = Scoreboard::default();
    board.send(0, 100_000, 1);
    for at in (0..100_000).step_by(2) {
        board.sack(at, at + 1, 1000, |_| panic!("less than a segment"));
    }
    assert_eq!(board.records.len(), 1);
}

/// A board with so many packets of 100 bytes in flight.
fn in_flight(packets: u64) -> Scoreboard {
    let mut board = Scoreboard::default();
    for n in 0..packets {
        board.send(n * 100, n * 100 + 100, n);
    }
    board
}

#[test]
fn selective_acknowledgements_cost_a_bounded_number_of_steps() {
    const PACKETS: u64 = 30_000;
    // Every second packet, from the end.
    let mut board = in_flight(PACKETS);
    let steps = counted(|| {
        for n in (0..PACKETS).rev().step_by(2) {
            board.sack(n * 100, n * 100 + 100, 100, |_| {});
        }
    });
    assert!(steps <= 2 * PACKETS, "{steps}");
    // Large packets, cut wherever that is possible.
    let mut board = Scoreboard::default();
    for n in 0..200 {
        board.send(n * 64_000, n * 64_000 + 64_000, n);
    }
    let mut acknowledgements = 0;
    let steps = counted(|| {
        for at in (0..200 * 64_000).step_by(200) {
            let at = at * 48_271 % (200 * 64_000);
            board.sack(at, at + 100, 100, |_| {});
            acknowledgements += 1;
        }
    });
    assert!(board.records.len() <= MOST_PIECES + 2, "{}", board.records.len());
    // Only cuts are dear, and there are not many.
    assert!(steps <= MOST_PIECES as u64 * MOST_PIECES as u64 / 4 + 2 * acknowledgements, "{steps}");
    let again = counted(|| {
        for at in (0..200 * 64_000).step_by(300) {
            board.sack(at, at + 100, 100, |_| {});
        }
    });
    assert!(again <= 2 * acknowledgements, "{again}");
}

#[test]
fn what_was_lost_first_is_found_without_a_search() {
    const PACKETS: u64 = 30_000;
    let mut board = in_flight(PACKETS);
    // What was sent last is lost and stays so; at the front, one after the other is lost and repaired.
    board.mark_lost_where(|sent| sent.start >= (PACKETS - 1) * 100);
    let steps = counted(|| {
        for n in 0..PACKETS - 1 {
            let (oldest, any) = board.mark_lost_by_time(|sent_ns, _| sent_ns <= n);
            assert!(any && oldest.is_some());
            let lost = board.first_lost().unwrap();
            assert_eq!(lost.start, n * 100);
            board.retransmit(lost.start, lost.end, PACKETS + n);
        }
    });
    assert!(steps <= 10 * PACKETS, "{steps}");
}

#[test]
fn a_large_packet_is_lost_in_one_go() {
    let mut board = Scoreboard::default();
    board.send(0, 60_000, 1);
    for at in (0..60_000).step_by(200) {
        board.sack(at, at + 100, 100, |_| {});
    }
    let steps = counted(|| assert!(board.mark_lost_by_time(|_, _| true).1));
    assert!(steps <= 1800, "{steps}");
    assert_eq!(board.lost_bytes(), 30_000);
}
