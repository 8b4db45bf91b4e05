//! Segments from somebody who means harm: nothing panics, memory stays bounded, and strangers cannot end a connection.

mod common;

use std::sync::Arc;

use common::{Dice, LinkFaults, MS, SECOND, World, addresses};
use packet::{Checksum, Fragment, Packet};
use proptest::prelude::*;
use tcp::{
    AcceptQueue, BufferSize, Flags, Listener, Options, Path, ReadMode, Secrets, Segment, State, Tuple,
    Verdict, WriteFlags,
};
use vfs::SliceSrc;

const ETHERNET: Path = Path { mtu: 1500, segmentation_offload: true };

/// A segment as it stands on the wire.
#[derive(Clone, Debug, Default)]
struct Raw {
    from: u16,
    to: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Raw {
    fn packet(&self) -> Box<Packet> {
        let mut bytes = Vec::new();
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.to.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        bytes.push((((20 + options.len()) / 4) << 4) as u8);
        bytes.push(self.flags);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(options);
        let mut packet = Packet::from_head(&bytes);
        for part in self.payload.chunks(4096) {
            let page = frames::PageRef::new_zeroed().unwrap();
            page.write(0, part);
            packet.push(Fragment::new(page, 0, part.len())).unwrap();
        }
        packet.checksum = Checksum::Verified;
        Box::new(packet)
    }
}

fn header_fields(packet: &Packet) -> (u32, u32, u8, u16) {
    let head = packet.head();
    let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    (word(4), word(8), head[13], u16::from_be_bytes([head[14], head[15]]))
}

/// What was seen of the numbers that the two ends use.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    sequence: [u32; 2],
    acknowledgement: [u32; 2],
}

fn watch(world: &mut World) -> std::rc::Rc<std::cell::Cell<Seen>> {
    let seen = std::rc::Rc::new(std::cell::Cell::new(Seen::default()));
    let inside = seen.clone();
    world.filter = Some(Box::new(move |_, from, packet| {
        let (sequence, acknowledgement, _, _) = header_fields(packet);
        let mut now = inside.get();
        now.sequence[from] = sequence;
        now.acknowledgement[from] = acknowledgement;
        inside.set(now);
        true
    }));
    seen
}

fn near() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        0..3000_u32,
        (0..3000_u32).prop_map(|n| n.wrapping_neg()),
        60_000..140_000_u32,
        any::<u32>()
    ]
}

fn options_bytes() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..40);
    let timestamps = (any::<u32>(), any::<u32>()).prop_map(|(value, echo)| {
        let mut bytes = vec![1, 1, 8, 10];
        bytes.extend(value.to_be_bytes());
        bytes.extend(echo.to_be_bytes());
        bytes
    });
    prop_oneof![Just(Vec::new()), any_bytes, timestamps]
}

#[derive(Clone, Debug)]
enum Attack {
    Segment { at: usize, sequence: u32, acknowledgement: u32, raw: Raw, sack: Vec<(u32, u32)> },
    Write(usize),
    Read(usize),
    Wait(u64),
    Close(usize),
}

fn attack() -> impl Strategy<Value = Attack> {
    let raw = (any::<u8>(), any::<u16>(), any::<u16>(), options_bytes(), 0..3000_usize).prop_map(
        |(flags, window, urgent, options, len)| Raw {
            flags,
            window,
            urgent,
            options,
            payload: vec![5; len],
            ..Raw::default()
        },
    );
    let sack = proptest::collection::vec((near(), near()), 0..4);
    prop_oneof![
        12 => (0..2_usize, near(), near(), raw, sack).prop_map(|(at, sequence, acknowledgement, mut raw, sack)| {
            // Mostly plausible ones.
            if raw.window.is_multiple_of(3) { raw.flags = Flags::ACK.bits() }
            Attack::Segment { at, sequence, acknowledgement, raw, sack }
        }),
        3 => (0..20_000_usize).prop_map(Attack::Write),
        2 => (0..20_000_usize).prop_map(Attack::Read),
        3 => (0..3_000_000_000_u64).prop_map(Attack::Wait),
        1 => (0..2_usize).prop_map(Attack::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        seed in any::<u64>(),
        attacks in proptest::collection::vec(attack(), 1..120),
        has_buffers in any::<bool>(),
    ) {
        let mut world = World::new(seed, ETHERNET, LinkFaults { loss: 20, ..LinkFaults::none(MS) });
        if has_buffers {
            world.ends[0].options.receive_buffer = BufferSize::Fixed(8_000);
            world.ends[1].options.receive_buffer = BufferSize::Fixed(8_000);
        }
        let seen = watch(&mut world);
        world.start();
        world.run_for(10 * MS);
        for attack in attacks {
            match attack {
                Attack::Segment { at, sequence, acknowledgement, mut raw, sack } => {
                    let tuple = world.tuple(at);
                    let numbers = seen.get();
                    (raw.from, raw.to) = (tuple.remote.port(), tuple.local.port());
                    raw.sequence = numbers.acknowledgement[at].wrapping_add(sequence);
                    raw.acknowledgement = numbers.acknowledgement[1 - at].wrapping_add(acknowledgement);
                    if !sack.is_empty() && raw.options.is_empty() {
                        raw.options = vec![1, 1, 5, 2 + 8 * sack.len() as u8];
                        for (start, end) in sack {
                            raw.options.extend(raw.acknowledgement.wrapping_add(start).to_be_bytes());
                            raw.options.extend(raw.acknowledgement.wrapping_add(end).to_be_bytes());
                        }
                    }
                    world.deliver(at, raw.packet());
                }
                Attack::Write(len) => {
                    let bytes = vec![1; len];
                    for end in 0..2 {
                        if world.ends[end].connection.is_some() {
                            let _ = world.with(end, |now, connection, out| {
                                connection.write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), out)
                            });
                        }
                    }
                }
                Attack::Read(len) => {
                    let mut bytes = vec![0; len];
                    for end in 0..2 {
                        if world.ends[end].connection.is_some() {
                            let _ = world.with(end, |now, connection, out| {
                                connection.read(now, &mut &mut bytes[..], ReadMode::Take, out)
                            });
                        }
                    }
                }
                Attack::Wait(ns) => world.run_for(ns),
                Attack::Close(end) => {
                    if world.ends[end].connection.is_some() {
                        world.with(end, |now, connection, out| connection.close(now, tcp::Linger::Background, out));
                    }
                }
            }
            for end in &world.ends {
                if let Some(connection) = &end.connection {
                    let _ = (connection.info(world.now), connection.readiness());
                    prop_assert!(connection.memory_bytes() < 10 << 20, "{}", connection.memory_bytes());
                }
            }
        }
        // Whatever happened, it ends; and nothing begins any more.
        world.ends[1].listener = None;
        world.filter = Some(Box::new(|_, _, _| false));
        for end in 0..2 {
            if world.ends[end].connection.is_some() {
                world.with(end, |now, connection, out| connection.close(now, tcp::Linger::Background, out));
            }
        }
        world.run_for(2000 * SECOND);
        for end in &world.ends {
            prop_assert!(end.connection.as_ref().is_none_or(|c| c.state() == State::Closed), "{:?}", end.connection);
            prop_assert!(end.time_wait.is_none());
        }
    }

    #[test]
    fn parsing_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..192), checksum in any::<bool>()) {
        let [from, to] = addresses();
        let mut packet = Packet::from_head(&bytes);
        packet.checksum = if checksum { Checksum::Verified } else { Checksum::Unverified };
        if let Ok(segment) = Segment::parse(from.ip(), to.ip(), Box::new(packet)) {
            prop_assert!(segment.payload.len() <= bytes.len() - 20);
        }
    }
}

fn syn(port: u16, sequence: u32) -> Raw {
    Raw {
        from: port,
        to: 80,
        sequence,
        flags: Flags::SYN.bits(),
        window: 60_000,
        options: vec![2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7],
        ..Raw::default()
    }
}

/// Many strangers begin handshakes and do not go on; then somebody honest comes, and gets through by a cookie.
#[test]
fn a_flood_of_syns_costs_no_memory_and_keeps_nobody_out() {
    frames::host::init();
    let secrets = Arc::new(Secrets::new([3; 48]));
    let mut listener = Listener::new(secrets, 64);
    let options = Options::default();
    let mut out = Vec::new();
    let mut dice = Dice::new(1);
    let now = 100 * SECOND;
    let tuple = |address: u32, port: u16| Tuple {
        local: ([10, 0, 0, 2], 80).into(),
        remote: (std::net::Ipv4Addr::from(address), port).into(),
    };
    let give = |listener: &mut Listener, now, tuple: &Tuple, raw: &Raw, out: &mut Vec<Box<Packet>>| {
        let segment = Segment::parse(tuple.remote.ip(), tuple.local.ip(), raw.packet()).unwrap();
        listener.segment(now, tuple, ETHERNET, segment, None, AcceptQueue::HasRoom, &options, out)
    };
    for _ in 0..10_000 {
        let port = dice.next() as u16;
        let tuple = tuple(dice.next() as u32, port);
        give(&mut listener, now, &tuple, &syn(port, dice.next() as u32), &mut out);
    }
    assert_eq!(listener.pending().count(), 64);
    assert_eq!(out.len(), 10_000);
    assert!(listener.cookie_counts().0 >= 9_900);
    out.clear();
    // Guessing does not help.
    for n in 0..10_000_u32 {
        let raw = Raw { acknowledgement: n << 12, flags: Flags::ACK.bits(), ..syn(9, n) };
        let verdict = give(&mut listener, now, &tuple(5, 9), &raw, &mut out);
        assert!(matches!(verdict, Verdict::Done));
    }
    out.clear();
    let honest = tuple(0x0a00_0001, 4000);
    give(&mut listener, now, &honest, &syn(4000, 1000), &mut out);
    let (sequence, acknowledgement, flags, _) = header_fields(&out[0]);
    assert_eq!((acknowledgement, flags), (1001, (Flags::SYN | Flags::ACK).bits()));
    let head = out[0].head();
    let at = head.windows(2).position(|pair| pair == [8, 10]).unwrap();
    let value = head[at + 2..at + 6].to_vec();
    out.clear();
    let mut options_bytes = vec![1, 1, 8, 10, 0, 0, 0, 10];
    options_bytes.extend(value);
    let raw = Raw {
        sequence: 1001,
        acknowledgement: sequence.wrapping_add(1),
        flags: Flags::ACK.bits(),
        options: options_bytes,
        payload: b"GET /".to_vec(),
        ..syn(4000, 0)
    };
    let Verdict::Established(mut connection) = give(&mut listener, now + SECOND, &honest, &raw, &mut out)
    else {
        panic!("the cookie was not taken");
    };
    let info = connection.info(now + SECOND);
    assert_eq!((info.options & 7, info.wscale & 15, info.snd_mss), (7, 7, 1448));
    let mut buffer = [0; 10];
    let read = connection.read(now + SECOND, &mut &mut buffer[..], ReadMode::Take, &mut out).unwrap();
    assert_eq!(&buffer[..read], b"GET /");
    // In the end all is forgotten.
    for second in 0..200 {
        listener.poll(now + second * SECOND, &mut |_, _| {});
    }
    assert_eq!((listener.pending().count(), listener.deadline()), (0, None));
}

/// RFC 5961: who does not know the exact number can neither reset nor disturb.
#[test]
fn blind_attacks_are_answered_with_challenges() {
    let mut world = World::new(7, ETHERNET, LinkFaults::none(MS));
    let seen = watch(&mut world);
    world.start();
    world.run_for(SECOND);
    let numbers = seen.get();
    let expected = numbers.acknowledgement[1];
    let valid_ack = numbers.sequence[1];
    let raw = |sequence: u32, flags: Flags| Raw {
        from: 40_000,
        to: 80,
        sequence,
        acknowledgement: valid_ack,
        flags: flags.bits(),
        window: 100,
        ..Raw::default()
    };
    let before = world.ends[1].packets;
    for (offset, flags) in [(1, Flags::RST), (1000, Flags::RST), (0, Flags::SYN), (500, Flags::SYN)] {
        world.run_for(SECOND);
        world.deliver(1, raw(expected.wrapping_add(offset), flags).packet());
        assert_eq!(world.connection(1).state(), State::Established, "{flags:?}+{offset}");
    }
    assert_eq!(world.ends[1].packets - before, 4);
    // Beyond the window there is no answer to a RST at all, and many at a time get few answers.
    world.run_for(SECOND);
    world.deliver(1, raw(expected.wrapping_add(10_000_000), Flags::RST).packet());
    for _ in 0..100 {
        world.deliver(1, raw(expected.wrapping_add(1), Flags::RST).packet());
    }
    assert_eq!(world.ends[1].packets - before, 5);
    // An acknowledgement of what was never sent.
    world.run_for(SECOND);
    let forged = Raw {
        acknowledgement: valid_ack.wrapping_add(5000),
        payload: vec![1; 10],
        ..raw(expected, Flags::ACK)
    };
    world.deliver(1, forged.packet());
    assert_eq!(world.connection(1).readable_bytes(), 0);
    // The exact number does it.
    world.deliver(1, raw(expected, Flags::RST).packet());
    assert_eq!(world.connection(1).state(), State::Closed);
    assert_eq!(world.with(1, |_, connection, _| connection.take_error()), Some(linux_abi::Errno::ECONNRESET));
}

/// Single bytes, each in a frame of its own, and every second one ahead of order.
#[test]
fn tiny_packets_do_not_eat_memory() {
    let mut world = World::new(7, ETHERNET, LinkFaults::none(MS));
    let seen = watch(&mut world);
    world.start();
    world.run_for(SECOND);
    let numbers = seen.get();
    let expected = numbers.acknowledgement[1];
    for n in 0..30_000_u32 {
        let offset = if n < 15_000 { n * 2 + 1 } else { (n - 15_000) * 2 };
        let raw = Raw {
            from: 40_000,
            to: 80,
            sequence: expected.wrapping_add(offset),
            acknowledgement: numbers.sequence[1],
            flags: Flags::ACK.bits(),
            window: 1000,
            payload: vec![offset as u8],
            ..Raw::default()
        };
        world.deliver(1, raw.packet());
        let memory = world.connection(1).memory_bytes();
        assert!(memory < 300_000, "{memory} bytes for {n} packets");
    }
    let mut bytes = vec![0; 30_000];
    let readable = world.connection(1).readable_bytes();
    let read = world.with(1, |now, connection, out| {
        connection.read(now, &mut &mut bytes[..], ReadMode::Take, out).unwrap()
    });
    assert_eq!(read, readable);
    assert!(bytes[..read].iter().enumerate().all(|(n, &byte)| byte == n as u8));
}
