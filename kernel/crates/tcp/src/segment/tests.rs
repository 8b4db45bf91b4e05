extern crate std;

use std::{vec, vec::Vec};

use packet::Fragment;
use proptest::prelude::*;

use super::*;

fn tuple() -> Tuple {
    Tuple { local: ([10, 0, 0, 1], 4000).into(), remote: ([10, 0, 0, 2], 80).into() }
}

fn options() -> impl Strategy<Value = TcpOptions> {
    let word = any::<u32>;
    let timestamps =
        proptest::option::of((word(), word()).prop_map(|(value, echo)| Timestamps { value, echo }));
    let blocks = proptest::collection::vec((word(), word()), 0..3);
    (
        proptest::option::of(any::<u16>()),
        proptest::option::of(0..=MAX_WINDOW_SCALE),
        any::<bool>(),
        timestamps,
        blocks,
    )
        .prop_map(|(mss, window_scale, sack_permitted, timestamps, blocks)| {
            // SYNs have the one half of them, all others the other.
            let is_syn = mss.is_some();
            TcpOptions {
                mss,
                window_scale: window_scale.filter(|_| is_syn),
                sack_permitted: sack_permitted && is_syn,
                timestamps,
                sack: blocks
                    .iter()
                    .filter(|_| !is_syn)
                    .map(|&(start, end)| (SeqNumber(start), SeqNumber(end)))
                    .collect(),
            }
        })
}

proptest! {
    #[test]
    fn what_is_put_on_is_parsed(
        sequence in any::<u32>(), acknowledgement in any::<u32>(), flags in any::<u8>(), window in any::<u16>(),
        urgent in any::<u16>(), options in options(), payload in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        frames::host::init();
        let header = Header {
            sequence: SeqNumber(sequence),
            acknowledgement: SeqNumber(acknowledgement),
            flags: Flags::from_bits_retain(flags),
            window,
            urgent,
            options,
        };
        let mut packet = Box::new(Packet::new());
        let page = frames::PageRef::new_zeroed().unwrap();
        page.write(0, &payload);
        packet.push(Fragment::new(page, 0, payload.len())).unwrap();
        header.put_on(&tuple(), &mut packet);
        prop_assert_eq!(packet.checksum, Checksum::Partial { start: 0, offset: 16 });
        // As a device does: the complement of the sum over all, the pseudo-header's being in the field already.
        let mut bytes = vec![0; packet.len()];
        packet.read(0, &mut bytes);
        let sum = !internet_checksum::fold(internet_checksum::add(0, &bytes));
        packet.head_mut()[16..18].copy_from_slice(&sum.to_be_bytes());
        packet.checksum = Checksum::Unverified;
        let (local, remote) = (tuple().local.ip(), tuple().remote.ip());
        let mut damaged = packet.clone();
        damaged.head_mut()[13] ^= 1;
        prop_assert_eq!(Segment::parse(local, remote, damaged).unwrap_err(), Malformed::Checksum);
        let segment = Segment::parse(local, remote, packet).unwrap();
        prop_assert_eq!((segment.source_port, segment.destination_port), (4000, 80));
        prop_assert_eq!((segment.sequence.0, segment.acknowledgement.0), (sequence, acknowledgement));
        prop_assert_eq!((segment.flags.bits(), segment.window, segment.urgent), (flags, window, urgent));
        prop_assert_eq!(segment.options, header.options);
        let mut received = vec![0; segment.payload.len()];
        segment.payload.read(0, &mut received);
        prop_assert_eq!(received, payload);
    }
}

#[test]
fn options_that_lie_about_their_length_end_the_list() {
    let parse = |bytes: &[u8]| TcpOptions::parse(bytes);
    assert_eq!(parse(&[2, 4, 5, 180, 3, 1, 7, 0]), TcpOptions { mss: Some(1460), ..TcpOptions::default() });
    assert_eq!(parse(&[2, 4, 5, 180, 3, 0, 7, 0]), TcpOptions { mss: Some(1460), ..TcpOptions::default() });
    assert_eq!(parse(&[2, 40, 5, 180]), TcpOptions::default());
    assert_eq!(parse(&[2, 3, 5, 1]), TcpOptions::default());
    assert_eq!(parse(&[2]), TcpOptions::default());
    assert_eq!(parse(&[0, 2, 4, 5, 180]), TcpOptions::default());
    assert_eq!(parse(&[3, 3, 200, 1]).window_scale, Some(MAX_WINDOW_SCALE));
    // Unknown ones are skipped.
    assert_eq!(
        parse(&[99, 4, 1, 1, 4, 2, 1, 1]),
        TcpOptions { sack_permitted: true, ..TcpOptions::default() }
    );
}

#[test]
fn the_pseudo_header_of_ipv6_counts() {
    let tuple = Tuple { local: "[fe80::1]:1".parse().unwrap(), remote: "[fe80::2]:2".parse().unwrap() };
    let mut packet = Header { flags: Flags::ACK, ..Header::default() }.packet(&tuple);
    let bytes: Vec<u8> = packet.head().to_vec();
    let sum = !internet_checksum::fold(internet_checksum::add(0, &bytes));
    packet.head_mut()[16..18].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Unverified;
    let parse =
        |source: SocketAddr| Segment::parse(source.ip(), tuple.remote.ip(), packet.clone()).map(|_| ());
    assert_eq!(parse(tuple.local), Ok(()));
    assert_eq!(parse("[fe80::3]:1".parse().unwrap()), Err(Malformed::Checksum));
}
