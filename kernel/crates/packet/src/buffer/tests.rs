extern crate std;

use std::{vec, vec::Vec};

use frames::PageRef;
use proptest::prelude::*;

use super::*;

fn fragment(bytes: &[u8], offset: usize) -> Fragment {
    frames::host::init();
    let page = PageRef::new_zeroed().expect("host memory");
    page.write(offset, bytes);
    Fragment::new(page, offset, bytes.len())
}

fn all(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    assert_eq!(packet.read(0, &mut bytes), bytes.len());
    bytes
}

#[derive(Clone, Debug)]
enum Step {
    Prepend(Vec<u8>),
    Push(Vec<u8>),
    TrimFront(usize),
    Truncate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        bytes(60).prop_map(Step::Prepend),
        bytes(3000).prop_map(Step::Push),
        (0..2000_usize).prop_map(Step::TrimFront),
        (0..8000_usize).prop_map(Step::Truncate),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_vector(steps in proptest::collection::vec(step(), 0..30), start in 0..5000_usize) {
        let mut packet = Packet::new();
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Prepend(bytes) => {
                    if bytes.len() <= packet.head_room_in_front() {
                        packet.prepend(bytes.len()).copy_from_slice(&bytes);
                        model.splice(0..0, bytes);
                    }
                }
                Step::Push(bytes) => {
                    if packet.push(fragment(&bytes, 7)).is_ok() {
                        model.extend(bytes);
                    }
                }
                Step::TrimFront(len) => {
                    let len = len.min(model.len());
                    packet.trim_front(len);
                    model.drain(..len);
                }
                Step::Truncate(len) => {
                    packet.truncate(len);
                    model.truncate(len);
                }
            }
            prop_assert_eq!(all(&packet), &model[..]);
        }
        let mut room = [0; 700];
        let mut destination = &mut room[..];
        let expected = &model[start.min(model.len())..];
        let expected = &expected[..expected.len().min(500)];
        prop_assert_eq!(packet.read_to(start, 500, &mut destination), Ok(expected.len()));
        prop_assert_eq!(&room[..expected.len()], expected);
    }
}

#[test]
fn neighbours_in_one_frame_are_one_fragment() {
    frames::host::init();
    let page = PageRef::new_zeroed().expect("host memory");
    let mut packet = Packet::new();
    packet.push(Fragment::new(page.clone(), 0, 100)).expect("room");
    packet.push(Fragment::new(page, 100, 50)).expect("room");
    assert_eq!(packet.body().len(), 1);
    assert_eq!(packet.len(), 150);
}

#[test]
fn a_full_packet_takes_no_more() {
    let mut packet = Packet::new();
    for _ in 0..MAX_FRAGMENTS {
        packet.push(fragment(&[1, 2], 0)).expect("room");
    }
    assert_eq!(packet.push(fragment(&[3], 0)), Err(TooManyFragments));
    assert_eq!(packet.len(), 2 * MAX_FRAGMENTS);
}

#[test]
fn a_partial_checksum_moves_with_the_headers() {
    let mut packet = Packet::new();
    packet.prepend(20);
    packet.checksum = Checksum::Partial { start: 0, offset: 16 };
    packet.prepend(40);
    assert_eq!(packet.checksum, Checksum::Partial { start: 40, offset: 16 });
    packet.trim_front(40);
    assert_eq!(packet.checksum, Checksum::Partial { start: 0, offset: 16 });
    packet.trim_front(20);
    assert_eq!(packet.checksum, Checksum::Verified);
}
