//! Point by point: what the RFCs ask for, against hand-made segments.

#![allow(clippy::vec_box, reason = "packets are boxed everywhere")]

mod common;

use std::sync::Arc;

use common::{MS, SECOND};
use linux_abi::Errno;
use packet::{Checksum, Fragment, Packet};
use tcp::{
    AcceptQueue, BufferSize, Connection, Flags, IcmpError, Linger, Listener, Options, Path, ReadMode,
    Readiness, Secrets, Segment, SeqNumber, Shutdown, State, TimeWait, TimeWaitVerdict, Tuple, Verdict,
    WriteFlags,
};
use vfs::SliceSrc;

const ACK: Flags = Flags::ACK;
const PATH: Path = Path { mtu: 1500, segmentation_offload: false };
/// Our first data byte, and the other end's, in what the tests write and expect.
const BASE: u32 = 1;

/// A segment with numbers counted from the SYNs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seg {
    flags: Flags,
    seq: u32,
    ack: u32,
    len: usize,
    window: u16,
    sack: Vec<(u32, u32)>,
    timestamps: Option<(u32, u32)>,
}

/// One connection of ours, and a peer that is played by the test.
struct Drill {
    connection: Box<Connection>,
    out: Vec<Box<Packet>>,
    now: u64,
    iss: u32,
    irs: u32,
    has_timestamps: bool,
    their_clock: u32,
    last_value: u32,
}

fn tuple() -> Tuple {
    Tuple { local: ([10, 0, 0, 1], 40_000).into(), remote: ([10, 0, 0, 2], 80).into() }
}

/// The options of a SYN.
struct Offer {
    mss: u16,
    sack: bool,
    timestamps: bool,
    window_scale: Option<u8>,
}

const ALL: Offer = Offer { mss: 1460, sack: true, timestamps: true, window_scale: Some(7) };
const NONE: Offer = Offer { mss: 1000, sack: false, timestamps: false, window_scale: None };

fn packet(seq: u32, ack: u32, flags: Flags, window: u16, options: &[u8], payload: &[u8]) -> Box<Packet> {
    let tuple = tuple();
    let mut bytes = Vec::new();
    bytes.extend(tuple.remote.port().to_be_bytes());
    bytes.extend(tuple.local.port().to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    assert!(options.len().is_multiple_of(4));
    bytes.extend([((20 + options.len()) * 4) as u8, flags.bits()]);
    bytes.extend(window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    let mut packet = Packet::from_head(&bytes);
    for part in payload.chunks(4096) {
        let page = frames::PageRef::new_zeroed().unwrap();
        page.write(0, part);
        packet.push(Fragment::new(page, 0, part.len())).unwrap();
    }
    packet.checksum = Checksum::Verified;
    Box::new(packet)
}

fn parse(packet: Box<Packet>) -> Segment {
    let tuple = tuple();
    Segment::parse(tuple.remote.ip(), tuple.local.ip(), packet).unwrap()
}

impl Drill {
    /// Our SYN has gone out.
    fn begin(options: &Options) -> Self {
        frames::host::init();
        let secrets = Secrets::new([5; 48]);
        let mut out = Vec::new();
        let now = 10 * SECOND;
        let isn = secrets.isn(now, &tuple());
        let connection = Box::new(Connection::connect(now, tuple(), PATH, isn, options, &mut out));
        Self {
            connection,
            out,
            now,
            iss: isn.sequence.0,
            irs: 5000,
            has_timestamps: false,
            their_clock: 1000,
            last_value: 0,
        }
    }

    /// The handshake is over; nothing waits to be looked at.
    fn established(options: &Options, offer: Offer) -> Self {
        let mut drill = Self::begin(options);
        let syn = drill.next();
        assert_eq!((syn.flags, syn.seq), (Flags::SYN, 0));
        drill.now += 10 * MS;
        drill.has_timestamps = offer.timestamps;
        let [high, low] = offer.mss.to_be_bytes();
        let mut extra = vec![2, 4, high, low];
        if offer.sack {
            extra.extend([1, 1, 4, 2]);
        }
        if let Some(shift) = offer.window_scale {
            extra.extend([1, 3, 3, shift]);
        }
        drill.give(Flags::SYN | ACK, 0, 1, 60_000, &extra, &[]);
        let ack = drill.next();
        assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, 1, 1));
        assert_eq!(drill.connection.state(), State::Established);
        drill
    }

    fn give(&mut self, flags: Flags, seq: u32, ack: u32, window: u16, extra: &[u8], payload: &[u8]) {
        let mut options = Vec::new();
        if self.has_timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(self.their_clock.to_be_bytes());
            options.extend(self.last_value.to_be_bytes());
        }
        options.extend(extra);
        let (seq, ack) = (self.irs.wrapping_add(seq), self.iss.wrapping_add(ack));
        self.connection.segment(
            self.now,
            parse(packet(seq, ack, flags, window, &options, payload)),
            &mut self.out,
        );
    }

    /// A pure acknowledgement.
    fn ack(&mut self, ack: u32) {
        self.give(ACK, BASE, ack, 60_000, &[], &[]);
    }

    fn sack(&mut self, ack: u32, blocks: &[(u32, u32)]) {
        let mut extra = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
        for (start, end) in blocks {
            extra.extend(self.iss.wrapping_add(*start).to_be_bytes());
            extra.extend(self.iss.wrapping_add(*end).to_be_bytes());
        }
        self.give(ACK, BASE, ack, 60_000, &extra, &[]);
    }

    fn data(&mut self, seq: u32, payload: &[u8]) {
        self.give(ACK, seq, BASE, 60_000, &[], payload);
    }

    /// The next segment that went out, oldest first.
    fn next(&mut self) -> Seg {
        assert!(!self.out.is_empty(), "nothing went out");
        let packet = self.out.remove(0);
        self.decode(&packet)
    }

    fn decode(&mut self, packet: &Packet) -> Seg {
        let head = packet.head();
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let header = usize::from(head[12] >> 4) * 4;
        let mut sack = Vec::new();
        let mut timestamps = None;
        let mut at = 20;
        while at < header {
            match head[at] {
                0 => break,
                1 => at += 1,
                kind => {
                    let len = usize::from(head[at + 1]);
                    match kind {
                        5 => {
                            for n in 0..(len - 2) / 8 {
                                let block = |at| word(at).wrapping_sub(self.irs);
                                sack.push((block(at + 2 + 8 * n), block(at + 6 + 8 * n)));
                            }
                        }
                        8 => timestamps = Some((word(at + 2), word(at + 6))),
                        _ => {}
                    }
                    at += len;
                }
            }
        }
        if let Some((value, _)) = timestamps {
            self.last_value = value;
        }
        let flags = Flags::from_bits_retain(head[13]);
        Seg {
            flags,
            seq: word(4).wrapping_sub(self.iss),
            ack: if flags.contains(ACK) { word(8).wrapping_sub(self.irs) } else { 0 },
            len: packet.len() - header,
            window: u16::from_be_bytes([head[14], head[15]]),
            sack,
            timestamps,
        }
    }

    /// Where and how much data went out.
    fn sent(&mut self) -> Vec<(u32, usize)> {
        let packets = std::mem::take(&mut self.out);
        packets
            .iter()
            .map(|packet| self.decode(packet))
            .filter(|seg| seg.len > 0)
            .map(|seg| (seg.seq, seg.len))
            .collect()
    }

    fn quiet(&self) {
        assert!(self.out.is_empty(), "{:?}", self.out);
    }

    fn write(&mut self, len: usize) {
        self.write_with(len, WriteFlags::empty());
    }

    fn write_with(&mut self, len: usize, flags: WriteFlags) {
        let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let written = self.connection.write(self.now, &mut SliceSrc::new(&bytes), flags, &mut self.out);
        assert_eq!(written, Ok(len));
    }

    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; 100_000];
        let len = self.connection.read(self.now, &mut &mut buffer[..], ReadMode::Take, &mut self.out)?;
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Lets time pass up to the next deadline, and returns how much that was.
    fn expire(&mut self) -> u64 {
        let at = self.connection.deadline().expect("a timer runs");
        let passed = at.saturating_sub(self.now);
        self.now = self.now.max(at);
        self.connection.poll(self.now, &mut self.out);
        passed
    }

    fn wait(&mut self, ns: u64) {
        let end = self.now + ns;
        while let Some(at) = self.connection.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.connection.poll(self.now, &mut self.out);
        }
        self.now = end;
    }

    fn time_wait(&mut self) -> TimeWait {
        self.connection.take_time_wait().expect("TIME_WAIT")
    }

    fn late(&self, flags: Flags, seq: u32, ack: u32) -> Segment {
        parse(packet(self.irs.wrapping_add(seq), self.iss.wrapping_add(ack), flags, 1000, &[], &[]))
    }
}

#[test]
fn rfc_9293_3_5_a_refused_connection() {
    let mut drill = Drill::begin(&Options::default());
    drill.next();
    // A RST that acknowledges something else is not believed.
    drill.give(Flags::RST | ACK, 0, 7, 0, &[], &[]);
    assert_eq!(drill.connection.state(), State::SynSent);
    drill.out.clear();
    drill.give(Flags::RST | ACK, 0, 1, 0, &[], &[]);
    assert_eq!(
        (drill.connection.state(), drill.connection.take_error()),
        (State::Closed, Some(Errno::ECONNREFUSED))
    );
    assert!(
        drill.connection.readiness().contains(Readiness::HANG_UP | Readiness::WRITABLE | Readiness::READABLE)
    );
}

#[test]
fn rfc_6298_syns_are_repeated_ever_less_often_and_then_given_up() {
    let mut drill = Drill::begin(&Options::default());
    let waits: Vec<u64> = (0..6).map(|_| drill.expire() / SECOND).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
    assert_eq!(drill.out.len(), 7);
    assert_eq!(drill.expire(), 64 * SECOND);
    assert_eq!(
        (drill.connection.state(), drill.connection.take_error()),
        (State::Closed, Some(Errno::ETIMEDOUT))
    );
}

#[test]
fn rfc_9293_3_5_both_ends_begin_at_once() {
    let mut drill = Drill::begin(&Options::default());
    drill.next();
    drill.give(Flags::SYN, 0, 0, 60_000, &[2, 4, 5, 180], &[]);
    let answer = drill.next();
    assert_eq!((answer.flags, answer.seq, answer.ack), (Flags::SYN | ACK, 0, 1));
    assert_eq!(drill.connection.state(), State::SynReceived);
    drill.give(Flags::SYN | ACK, 0, 1, 60_000, &[], &[]);
    assert_eq!(drill.connection.state(), State::Established);
    drill.data(1, b"hello");
    assert_eq!(drill.read().unwrap(), b"hello");
}

#[test]
fn rfc_9293_3_10_7_3_an_acknowledgement_of_nothing_is_reset() {
    let mut drill = Drill::begin(&Options::default());
    drill.next();
    drill.give(Flags::SYN | ACK, 0, 99, 60_000, &[], &[]);
    let reset = drill.next();
    assert_eq!((reset.flags, reset.seq), (Flags::RST, 99));
    assert_eq!(drill.connection.state(), State::SynSent);
}

#[test]
fn rfc_6928_ten_segments_to_begin_with() {
    let mut drill = Drill::established(&Options::default(), ALL);
    assert_eq!(drill.connection.max_segment(), 1448);
    drill.write(20 * 1448);
    assert_eq!(drill.sent(), (0..10).map(|n| (1 + n * 1448, 1448)).collect::<Vec<_>>());
    // Each acknowledgement of two lets four out (RFC 5681, slow start).
    drill.now += 10 * MS;
    drill.ack(1 + 2 * 1448);
    assert_eq!(drill.sent().len(), 4);
}

#[test]
fn rfc_9293_3_7_4_nagle_with_minshall() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(100);
    drill.write(100);
    drill.write(100);
    // One small segment is in flight: the others wait, together.
    assert_eq!(drill.sent(), [(1, 100)]);
    assert!(drill.connection.wants_acknowledgements());
    drill.write(1448 * 2);
    assert_eq!(drill.sent(), [(101, 1448), (1549, 1448)]);
    drill.ack(101);
    assert_eq!(drill.sent(), [(2997, 200)]);
    drill.connection.update_options(drill.now, |options| options.nodelay = true, &mut drill.out);
    drill.write(1);
    drill.write(1);
    assert_eq!(drill.sent(), [(3197, 1), (3198, 1)]);
}

#[test]
fn a_cork_holds_for_200_ms_and_more_for_the_next_write() {
    let mut drill = Drill::established(&Options { cork: true, ..Options::default() }, ALL);
    drill.write(100);
    drill.quiet();
    assert_eq!(drill.expire(), 200 * MS);
    assert_eq!(drill.sent(), [(1, 100)]);
    drill.ack(101);
    drill.write(50);
    drill.quiet();
    drill.connection.update_options(drill.now, |options| options.cork = false, &mut drill.out);
    assert_eq!(drill.sent(), [(101, 50)]);
    drill.ack(151);
    drill.write_with(10, WriteFlags::MORE);
    drill.quiet();
    drill.write(10);
    assert_eq!(drill.sent(), [(151, 20)]);
}

#[test]
fn rfc_9293_3_8_6_3_every_second_segment_is_acknowledged_and_none_waits_long() {
    let mut drill = Drill::established(&Options::default(), ALL);
    // At first each is, so that the other end's window grows.
    let mut seq = 1;
    for _ in 0..20 {
        drill.data(seq, &[1; 1448]);
        seq += 1448;
    }
    assert!(drill.out.len() >= 16);
    drill.read().unwrap();
    drill.out.clear();
    drill.connection.set_quick_acknowledgements(drill.now, false, &mut drill.out);
    drill.data(seq, &[1; 1448]);
    drill.quiet();
    drill.data(seq + 1448, &[1; 1448]);
    assert_eq!(drill.next().ack, seq + 2 * 1448);
    drill.data(seq + 2 * 1448, &[1; 10]);
    drill.quiet();
    assert_eq!(drill.expire(), 40 * MS);
    assert_eq!(drill.next().ack, seq + 2 * 1448 + 10);
    // What is sent carries it.
    drill.connection.set_quick_acknowledgements(drill.now, false, &mut drill.out);
    drill.data(seq + 2 * 1448 + 10, &[1; 10]);
    drill.quiet();
    drill.write(5);
    let answer = drill.next();
    assert_eq!((answer.len, answer.ack), (5, seq + 2 * 1448 + 20));
    assert!(drill.connection.deadline().is_some());
    drill.quiet();
}

#[test]
fn rfc_2018_gaps_are_told_most_recent_first_and_rfc_2883_duplicates_before_them() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.data(101, &[1; 100]);
    assert_eq!(drill.next().sack, [(101, 201)]);
    drill.data(301, &[1; 100]);
    assert_eq!(drill.next().sack, [(301, 401), (101, 201)]);
    drill.data(501, &[1; 100]);
    assert_eq!(drill.next().sack, [(501, 601), (301, 401), (101, 201)]);
    drill.data(201, &[1; 100]);
    assert_eq!(drill.next().sack, [(101, 401), (501, 601)]);
    drill.data(120, &[1; 50]);
    assert_eq!(drill.next().sack, [(120, 170), (101, 401), (501, 601)]);
    drill.data(1, &[1; 100]);
    let answer = drill.next();
    assert_eq!((answer.ack, answer.sack), (401, vec![(501, 601)]));
    drill.data(1, &[1; 100]);
    assert_eq!(drill.next().sack, [(1, 101), (501, 601)]);
    drill.data(401, &[1; 100]);
    let answer = drill.next();
    assert_eq!((answer.ack, answer.sack), (601, vec![]));
    assert_eq!(drill.read().unwrap(), vec![1; 600]);
}

#[test]
fn rfc_8985_what_was_overtaken_is_sent_again() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(10 * 1000);
    let first = drill.sent();
    assert_eq!(first.len(), 7);
    drill.now += 20 * MS;
    drill.sack(1, &[(1449, 2897)]);
    drill.sack(1, &[(1449, 4345)]);
    assert_eq!(drill.sent(), []);
    drill.sack(1, &[(1449, 5793)]);
    assert_eq!(drill.sent(), [(1, 1448)]);
    let info = drill.connection.info(drill.now);
    assert_eq!((info.ca_state, info.sacked, info.retransmits), (3, 3, 0));
    drill.now += 20 * MS;
    drill.ack(10_001);
    let info = drill.connection.info(drill.now);
    // CUBIC: seven tenths of the window.
    assert_eq!((info.ca_state, info.snd_cwnd, info.snd_ssthresh), (0, 7, 7));
}

#[test]
fn rfc_8985_a_late_segment_is_waited_for_a_while() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(5 * 1448);
    drill.sent();
    drill.now += 20 * MS;
    drill.sack(1, &[(1449, 2897)]);
    assert_eq!(drill.sent(), []);
    // A quarter of the least round-trip time, which was 10 ms.
    assert_eq!(drill.expire(), 2_500_000);
    assert_eq!(drill.sent(), [(1, 1448)]);
}

#[test]
fn rfc_8985_7_the_end_of_a_flight_is_probed() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(3 * 1448);
    drill.sent();
    // Two round-trip times of 10 ms and some slack: long before the time-out of 210 ms.
    assert_eq!(drill.expire(), 22 * MS);
    assert_eq!(drill.sent(), [(2897, 1448)]);
    drill.now += 10 * MS;
    drill.sack(1, &[(2897, 4345)]);
    drill.wait(10 * MS);
    assert_eq!(drill.sent(), [(1, 1448), (1449, 1448)]);
}

/// The clocks of two CPUs differ a little, and who waits for a lock has looked at the clock before.
#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut drill = Drill::established(&Options { keepalive: true, ..Options::default() }, ALL);
    let now = drill.now;
    drill.write(5000);
    drill.sent();
    drill.now = now - 5 * MS;
    drill.ack(1449);
    drill.data(1, b"abc");
    drill.data(1, b"abc");
    drill.give(Flags::RST, 50, 0, 0, &[], &[]);
    drill.connection.poll(now - SECOND, &mut drill.out);
    assert_eq!(drill.read().unwrap(), b"abc");
    let info = drill.connection.info(drill.now);
    assert!(info.rtt <= 20_000, "{}", info.rtt);
}

#[test]
fn rfc_6582_three_duplicates_without_sack() {
    let mut drill = Drill::established(&Options::default(), NONE);
    assert_eq!(drill.connection.max_segment(), 1000);
    drill.write(10_000);
    drill.sent();
    drill.now += 10 * MS;
    drill.ack(1);
    drill.ack(1);
    assert_eq!(drill.sent(), []);
    drill.ack(1);
    assert_eq!(drill.sent(), [(1, 1000)]);
    for _ in 0..6 {
        drill.ack(1);
    }
    // A partial acknowledgement: the next hole.
    drill.now += 10 * MS;
    drill.ack(4001);
    assert_eq!(drill.sent(), [(4001, 1000)]);
    drill.now += 10 * MS;
    drill.ack(10_001);
    assert_eq!(drill.connection.info(drill.now).ca_state, 0);
}

#[test]
fn rfc_6298_the_timeout_doubles_and_gives_up_after_a_quarter_of_an_hour() {
    let mut drill = Drill::established(&Options::default(), NONE);
    drill.write(100);
    let start = drill.now;
    let mut waits = Vec::new();
    while drill.connection.state() != State::Closed {
        waits.push(drill.expire() / MS);
    }
    assert_eq!(waits[..4], [210, 420, 840, 1680]);
    assert!(waits.iter().all(|&wait| wait <= 120_000));
    let total = (drill.now - start) / SECOND;
    assert!((920..1100).contains(&total), "{total}");
    assert_eq!(drill.connection.take_error(), Some(Errno::ETIMEDOUT));
    assert!(drill.sent().iter().all(|&sent| sent == (1, 100)));
}

#[test]
fn user_timeouts_and_icmp_reasons() {
    let options = Options { user_timeout_ms: 3000, ..Options::default() };
    let mut drill = Drill::established(&options, ALL);
    drill.write(100);
    let quoted = SeqNumber(drill.iss.wrapping_add(1));
    let unreachable = IcmpError::Unreachable { errno: Errno::EHOSTUNREACH };
    drill.connection.icmp_error(
        drill.now,
        SeqNumber(quoted.0.wrapping_add(5000)),
        unreachable,
        &mut drill.out,
    );
    drill.connection.icmp_error(drill.now, quoted, unreachable, &mut drill.out);
    assert_eq!(drill.connection.state(), State::Established);
    let start = drill.now;
    while drill.connection.state() != State::Closed {
        drill.expire();
    }
    assert!((3..8).contains(&((drill.now - start) / SECOND)));
    assert_eq!(drill.connection.take_error(), Some(Errno::EHOSTUNREACH));
    // Before the connection is established, it is over at once.
    let mut drill = Drill::begin(&Options::default());
    drill.connection.icmp_error(drill.now, SeqNumber(drill.iss), unreachable, &mut drill.out);
    assert_eq!(
        (drill.connection.state(), drill.connection.take_error()),
        (State::Closed, Some(Errno::EHOSTUNREACH))
    );
}

#[test]
fn rfc_1191_smaller_segments_for_a_smaller_path() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(3 * 1448);
    drill.sent();
    let quoted = SeqNumber(drill.iss.wrapping_add(1));
    drill.connection.icmp_error(drill.now, quoted, IcmpError::PacketTooBig { mtu: 1300 }, &mut drill.out);
    assert_eq!(drill.connection.max_segment(), 1248);
    let sent = drill.sent();
    assert!(sent.iter().all(|&(_, len)| len <= 1248), "{sent:?}");
    assert_eq!(sent.iter().map(|&(_, len)| len).sum::<usize>(), 3 * 1448);
    assert_eq!(drill.connection.info(drill.now).snd_cwnd, 10);
    // Nobody makes us send crumbs.
    drill.connection.icmp_error(drill.now, quoted, IcmpError::PacketTooBig { mtu: 68 }, &mut drill.out);
    assert_eq!(drill.connection.max_segment(), 500);
}

#[test]
fn rfc_3522_a_timeout_that_was_none_is_undone() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(10 * 1448);
    drill.sent();
    let value = drill.last_value;
    while drill.connection.info(drill.now).ca_state != 4 {
        drill.expire();
    }
    assert_eq!(drill.connection.info(drill.now).snd_cwnd, 1);
    drill.sent();
    // The first ones were only late: the acknowledgement echoes what the originals carried.
    drill.now += 5 * MS;
    drill.last_value = value;
    drill.ack(1 + 1448);
    let info = drill.connection.info(drill.now);
    assert_eq!((info.ca_state, info.lost), (0, 0));
    assert!(info.snd_cwnd >= 10);
}

#[test]
fn rfc_9293_3_8_6_1_a_closed_window_is_probed() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.give(ACK, 1, 1, 0, &[], &[]);
    drill.write(5000);
    drill.quiet();
    let mut waits = Vec::new();
    for _ in 0..3 {
        waits.push(drill.expire() / MS);
        let probe = drill.next();
        assert_eq!((probe.seq, probe.len), (0, 0));
        drill.give(ACK, 1, 1, 0, &[], &[]);
    }
    assert_eq!(waits, [210, 420, 840]);
    // Too small to be of use; but better than nothing after a while.
    drill.give(ACK, 1, 1, 1, &[], &[]);
    drill.quiet();
    drill.expire();
    assert_eq!(drill.sent(), [(1, 128)]);
    drill.give(ACK, 1, 129, 1000, &[], &[]);
    assert_eq!(drill.sent().len(), 4);
}

#[test]
fn rfc_9293_3_8_6_2_2_windows_open_by_whole_segments() {
    let options = Options { receive_buffer: BufferSize::Fixed(8192), ..Options::default() };
    let mut drill = Drill::established(&options, NONE);
    let window = drill.connection.options().receive_buffer.bytes() / 2;
    let mut seq = 1;
    while seq + 1000 <= window {
        drill.data(seq, &[1; 1000]);
        seq += 1000;
    }
    drill.out.clear();
    drill.data(seq, &[1; 96]);
    let mut last = None;
    while !drill.out.is_empty() {
        last = Some(drill.next());
    }
    if let Some(last) = last {
        assert!(last.window < 200, "{}", last.window);
    }
    // A few bytes read change nothing; all of them do, and are told at once.
    let mut few = [0; 50];
    drill.connection.read(drill.now, &mut &mut few[..], ReadMode::Take, &mut drill.out).unwrap();
    drill.quiet();
    drill.read().unwrap();
    assert!(drill.next().window >= 1000);
}

#[test]
fn rfc_7323_5_old_duplicates_are_dropped_by_their_timestamps() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.their_clock = 2000;
    drill.data(1, b"new");
    drill.out.clear();
    drill.their_clock = 1999;
    drill.data(4, b"old");
    assert_eq!(drill.next().ack, 4);
    assert_eq!(drill.read().unwrap(), b"new");
    // A RST is not held to it.
    drill.give(Flags::RST, 4, 0, 0, &[], &[]);
    assert_eq!(drill.connection.state(), State::Closed);
    assert_eq!(drill.read(), Err(Errno::ECONNRESET));
}

#[test]
fn rfc_9293_3_6_closing_first() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.write(10);
    drill.connection.shutdown(drill.now, Shutdown::Write, &mut drill.out).unwrap();
    assert_eq!(drill.connection.state(), State::FinWait1);
    assert_eq!(drill.next().len, 10);
    let fin = drill.next();
    assert_eq!((fin.flags, fin.seq), (Flags::FIN | ACK, 11));
    drill.ack(12);
    assert_eq!(drill.connection.state(), State::FinWait2);
    // The other half still works.
    drill.give(ACK, 1, 12, 60_000, &[], b"rest");
    drill.out.clear();
    assert_eq!(drill.read().unwrap(), b"rest");
    drill.give(Flags::FIN | ACK, 5, 12, 60_000, &[], &[]);
    assert_eq!(drill.next().ack, 6);
    assert_eq!(drill.read(), Ok(vec![]));
    assert_eq!(drill.connection.state(), State::Closed);
    let mut record = drill.time_wait();
    assert_eq!((record.state(), record.deadline()), (State::TimeWait, drill.now + 60 * SECOND));
    // The other end's FIN again: it has not seen our answer.
    drill.now += 30 * SECOND;
    let again = drill.late(Flags::FIN | ACK, 5, 12);
    assert_eq!(record.segment(drill.now, &again, &mut drill.out), TimeWaitVerdict::Stays);
    assert_eq!(drill.next().ack, 6);
    assert_eq!(record.deadline(), drill.now + 60 * SECOND);
    // A new connection, beyond the old one's numbers.
    let old = drill.late(Flags::SYN, 3, 0);
    assert_eq!(record.segment(drill.now, &old, &mut drill.out), TimeWaitVerdict::Stays);
    let new = drill.late(Flags::SYN, 100, 0);
    let TimeWaitVerdict::NewConnection(isn) = record.segment(drill.now, &new, &mut drill.out) else {
        panic!("a new connection")
    };
    assert!(isn.sequence.distance(SeqNumber(drill.iss)) > 65_535);
    assert_eq!(record.reuse(drill.now).map(|isn| isn.sequence), Some(isn.sequence));
}

#[test]
fn rfc_9293_3_6_closing_second_and_both_at_once() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.give(Flags::FIN | ACK, 1, 1, 60_000, &[], &[]);
    assert_eq!((drill.connection.state(), drill.next().ack), (State::CloseWait, 2));
    assert!(drill.connection.readiness().contains(Readiness::READ_HANG_UP | Readiness::READABLE));
    assert!(!drill.connection.readiness().contains(Readiness::HANG_UP));
    drill.write(3);
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    assert_eq!(drill.connection.state(), State::LastAck);
    drill.give(ACK, 2, 5, 60_000, &[], &[]);
    assert_eq!(drill.connection.state(), State::Closed);
    assert!(drill.connection.take_time_wait().is_none());

    let mut drill = Drill::established(&Options::default(), ALL);
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    drill.out.clear();
    drill.give(Flags::FIN | ACK, 1, 1, 60_000, &[], &[]);
    assert_eq!((drill.connection.state(), drill.next().ack), (State::Closing, 2));
    drill.give(ACK, 2, 2, 60_000, &[], &[]);
    assert_eq!(drill.time_wait().state(), State::TimeWait);
}

#[test]
fn orphans_do_not_wait_for_ever() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    drill.ack(2);
    let mut record = drill.time_wait();
    assert_eq!((record.state(), record.deadline()), (State::FinWait2, drill.now + 60 * SECOND));
    drill.out.clear();
    let fin = drill.late(Flags::FIN | ACK, 1, 2);
    assert_eq!(record.segment(drill.now + SECOND, &fin, &mut drill.out), TimeWaitVerdict::Stays);
    assert_eq!((record.state(), drill.next().ack), (State::TimeWait, 2));
    // Data for an orphan is answered with a RST.
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    drill.out.clear();
    drill.data(1, b"too late");
    assert!(drill.next().flags.contains(Flags::RST));
    assert_eq!(drill.connection.state(), State::Closed);
    // With TCP_LINGER2 below 0, there is no waiting.
    let mut drill = Drill::established(&Options { linger2_s: -1, ..Options::default() }, ALL);
    drill.connection.shutdown(drill.now, Shutdown::Write, &mut drill.out).unwrap();
    drill.ack(2);
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    assert_eq!(drill.connection.state(), State::Closed);
    assert!(drill.decode_last().flags.contains(Flags::RST));
}

impl Drill {
    fn decode_last(&mut self) -> Seg {
        let packet = self.out.pop().expect("something went out");
        self.decode(&packet)
    }
}

#[test]
fn rfc_2525_2_17_unread_data_and_lingering_for_0_seconds_reset() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.data(1, b"unread");
    drill.connection.close(drill.now, Linger::Background, &mut drill.out);
    assert!(drill.decode_last().flags.contains(Flags::RST));
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.connection.close(drill.now, Linger::Reset, &mut drill.out);
    assert_eq!((drill.next().flags, drill.connection.state()), (Flags::RST | ACK, State::Closed));
}

#[test]
fn after_a_reset_what_came_before_can_still_be_read() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.data(1, b"before");
    drill.give(Flags::RST, 7, 0, 0, &[], &[]);
    assert!(drill.connection.readiness().contains(Readiness::ERROR | Readiness::HANG_UP));
    assert_eq!(drill.read().unwrap(), b"before");
    assert_eq!(drill.read(), Err(Errno::ECONNRESET));
    assert_eq!(drill.read(), Ok(vec![]));
    let written =
        drill.connection.write(drill.now, &mut SliceSrc::new(b"x"), WriteFlags::empty(), &mut drill.out);
    assert_eq!(written, Err(Errno::EPIPE));
}

#[test]
fn rfc_9293_3_8_4_keep_alive() {
    let options = Options {
        keepalive: true,
        keepalive_idle_s: 60,
        keepalive_interval_s: 10,
        keepalive_probes: 3,
        ..Options::default()
    };
    let mut drill = Drill::established(&options, ALL);
    drill.wait(60 * SECOND);
    let probe = drill.next();
    assert_eq!((probe.seq, probe.len), (0, 0));
    drill.ack(1);
    drill.wait(59 * SECOND);
    drill.quiet();
    drill.wait(SECOND);
    assert_eq!(drill.next().seq, 0);
    drill.wait(20 * SECOND);
    assert_eq!(drill.out.len(), 2);
    drill.wait(10 * SECOND);
    assert!(drill.decode_last().flags.contains(Flags::RST));
    assert_eq!(
        (drill.connection.state(), drill.connection.take_error()),
        (State::Closed, Some(Errno::ETIMEDOUT))
    );
    // And we answer the other end's probes.
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.give(ACK, 0, 1, 60_000, &[], &[]);
    assert_eq!(drill.next().ack, 1);
}

#[test]
fn rfc_6093_urgent_data_is_out_of_line_unless_asked_for() {
    let urgent = |drill: &mut Drill, seq: u32, pointer: u16, payload: &[u8]| {
        let mut packet = packet(drill.irs + seq, drill.iss + 1, ACK | Flags::URG, 100, &[], payload);
        packet.head_mut()[18..20].copy_from_slice(&pointer.to_be_bytes());
        drill.connection.segment(drill.now, parse(packet), &mut drill.out);
    };
    let mut drill = Drill::established(&Options::default(), NONE);
    assert_eq!(drill.connection.read_urgent(ReadMode::Take), Err(Errno::EINVAL));
    urgent(&mut drill, 1, 4, b"abc!def");
    assert!(drill.connection.readiness().contains(Readiness::URGENT));
    assert_eq!(drill.connection.readable_bytes(), 3);
    assert_eq!(drill.read().unwrap(), b"abc");
    assert!(drill.connection.is_at_mark());
    assert_eq!(drill.connection.read_urgent(ReadMode::Peek(0)), Ok(b'!'));
    assert_eq!(drill.connection.read_urgent(ReadMode::Take), Ok(b'!'));
    assert_eq!(drill.connection.read_urgent(ReadMode::Take), Err(Errno::EINVAL));
    assert_eq!(drill.read().unwrap(), b"def");
    assert!(!drill.connection.is_at_mark());
    let mut drill = Drill::established(&Options { oob_inline: true, ..Options::default() }, NONE);
    urgent(&mut drill, 1, 4, b"abc!def");
    assert_eq!(drill.read().unwrap(), b"abc");
    assert!(drill.connection.is_at_mark());
    assert_eq!(drill.read().unwrap(), b"!def");
    // Sending it.
    drill.out.clear();
    drill.write_with(5, WriteFlags::URGENT);
    let packet = drill.out.remove(0);
    assert_eq!(packet.head()[13] & Flags::URG.bits(), Flags::URG.bits());
    assert_eq!(packet.head()[18..20], [0, 5]);
}

#[test]
fn peeking_leaves_data_and_reading_packets_copies_nothing() {
    let mut drill = Drill::established(&Options::default(), ALL);
    drill.data(1, &[7; 1000]);
    drill.data(1001, &[8; 1000]);
    let mut buffer = [0; 3000];
    let peeked = drill.connection.read(drill.now, &mut &mut buffer[..], ReadMode::Peek(990), &mut drill.out);
    assert_eq!((peeked, buffer[9], buffer[10]), (Ok(1010), 7, 8));
    assert_eq!(drill.connection.discard(drill.now, 10, &mut drill.out), Ok(10));
    let packet = drill.connection.read_packet(drill.now, &mut drill.out).unwrap().unwrap();
    assert_eq!(packet.len(), 990);
    assert_eq!(drill.connection.readable_bytes(), 1000);
}

#[test]
fn writing_is_reported_possible_by_thirds() {
    let options = Options { send_buffer: BufferSize::Fixed(30_000), ..Options::default() };
    let mut drill = Drill::established(&options, ALL);
    drill.give(ACK, 1, 1, 0, &[], &[]);
    let bytes = vec![0; 40_000];
    let written =
        drill.connection.write(drill.now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), &mut drill.out);
    let written = written.unwrap();
    assert!((29_000..=30_000).contains(&written), "{written}");
    assert!(!drill.connection.readiness().contains(Readiness::WRITABLE));
    let more =
        drill.connection.write(drill.now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), &mut drill.out);
    assert!(more == Err(Errno::EAGAIN) || more.is_ok_and(|more| more < 1000));
    drill.give(ACK, 1, 1, 100, &[], &[]);
    assert_eq!(drill.sent().len(), 8);
    drill.now += 10 * MS;
    drill.give(ACK, 1, 8001, 0, &[], &[]);
    assert!(!drill.connection.readiness().contains(Readiness::WRITABLE));
    drill.give(ACK, 1, 8001, 100, &[], &[]);
    drill.now += 10 * MS;
    drill.give(ACK, 1, 8001 + 1448 * 4, 0, &[], &[]);
    assert!(drill.connection.readiness().contains(Readiness::WRITABLE));
}

/// The listener's side of handshakes.
struct Door {
    listener: Listener,
    options: Options,
    queue: AcceptQueue,
    out: Vec<Box<Packet>>,
    now: u64,
}

impl Door {
    fn new(options: Options) -> Self {
        frames::host::init();
        let listener = Listener::new(Arc::new(Secrets::new([5; 48])), 5);
        Self { listener, options, queue: AcceptQueue::HasRoom, out: Vec::new(), now: 10 * SECOND }
    }

    fn give(&mut self, seq: u32, ack: u32, flags: Flags, payload: &[u8]) -> Option<Box<Connection>> {
        let extra: &[u8] = if flags.contains(Flags::SYN) { &[2, 4, 5, 180] } else { &[] };
        let segment = parse(packet(seq, ack, flags, 1000, extra, payload));
        let verdict = self.listener.segment(
            self.now,
            &tuple(),
            PATH,
            segment,
            None,
            self.queue,
            &self.options,
            &mut self.out,
        );
        match verdict {
            Verdict::Established(connection) => Some(connection),
            Verdict::Done => None,
        }
    }

    fn numbers(&mut self) -> (u32, u32, Flags) {
        let packet = self.out.remove(0);
        let word = |at: usize| u32::from_be_bytes(packet.head()[at..at + 4].try_into().unwrap());
        (word(4), word(8), Flags::from_bits_retain(packet.head()[13]))
    }
}

#[test]
fn a_syn_ack_is_repeated_and_the_last_segment_brings_its_data_along() {
    let mut door = Door::new(Options::default());
    assert!(door.give(100, 0, Flags::SYN, &[]).is_none());
    let (iss, ack, flags) = door.numbers();
    assert_eq!((ack, flags), (101, Flags::SYN | ACK));
    let mut repeated = 0;
    while let Some(at) = door.listener.deadline().filter(|_| repeated < 2) {
        door.now = at;
        door.listener.poll(at, &mut |_, _| repeated += 1);
    }
    assert_eq!(door.now, 13 * SECOND);
    // Wrong acknowledgements get a RST, and change nothing.
    assert!(door.give(101, iss.wrapping_add(9), ACK, &[]).is_none());
    assert_eq!(door.numbers(), (iss.wrapping_add(9), 0, Flags::RST));
    door.queue = AcceptQueue::Full;
    assert!(door.give(101, iss.wrapping_add(1), ACK, b"GET").is_none());
    door.queue = AcceptQueue::HasRoom;
    let connection = door.give(101, iss.wrapping_add(1), ACK, b"GET").expect("a connection");
    assert_eq!((connection.state(), connection.readable_bytes()), (State::Established, 3));
    assert_eq!(door.listener.pending().count(), 0);
}

#[test]
fn who_never_answers_is_forgotten_after_five_repetitions() {
    let mut door = Door::new(Options::default());
    door.give(100, 0, Flags::SYN, &[]);
    let mut repeated = 0;
    while let Some(at) = door.listener.deadline() {
        door.now = at;
        door.listener.poll(at, &mut |_, _| repeated += 1);
    }
    assert_eq!((repeated, door.now, door.listener.pending().count()), (5, 73 * SECOND, 0));
}

#[test]
fn rst_and_icmp_end_a_handshake() {
    let mut door = Door::new(Options::default());
    door.give(100, 0, Flags::SYN, &[]);
    let (iss, ..) = door.numbers();
    door.give(102, 0, Flags::RST, &[]);
    assert_eq!(door.listener.pending().count(), 1);
    door.give(101, 0, Flags::RST, &[]);
    assert_eq!(door.listener.pending().count(), 0);
    door.give(100, 0, Flags::SYN, &[]);
    door.listener.icmp_error(&tuple(), SeqNumber(iss), IcmpError::Unreachable { errno: Errno::EHOSTUNREACH });
    assert_eq!(door.listener.pending().count(), 0);
    // Segments that nobody has asked for.
    door.out.clear();
    assert!(door.give(5, 77, ACK, b"x").is_none());
    assert_eq!(door.numbers(), (77, 0, Flags::RST));
}

#[test]
fn accepting_is_deferred_until_there_is_data() {
    let mut door = Door::new(Options { defer_accept_s: 3, ..Options::default() });
    door.give(100, 0, Flags::SYN, &[]);
    let (iss, ..) = door.numbers();
    assert!(door.give(101, iss.wrapping_add(1), ACK, &[]).is_none());
    assert!(door.give(101, iss.wrapping_add(1), ACK, b"GET").is_some());
    // Without data, it is accepted in the end.
    door.out.clear();
    door.give(100, 0, Flags::SYN, &[]);
    let (iss, ..) = door.numbers();
    assert!(door.give(101, iss.wrapping_add(1), ACK, &[]).is_none());
    door.now = door.listener.deadline().unwrap();
    door.listener.poll(door.now, &mut |_, _| {});
    assert!(door.give(101, iss.wrapping_add(1), ACK, &[]).is_some());
}

#[test]
fn strangers_get_a_reset() {
    frames::host::init();
    let reset = |flags, seq, ack, payload: &[u8]| {
        tcp::reset_for(&tuple(), &parse(packet(seq, ack, flags, 0, &[], payload))).map(|packet| {
            let head = packet.head();
            let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            (word(4), word(8), Flags::from_bits_retain(head[13]))
        })
    };
    assert_eq!(reset(Flags::SYN, 9, 0, &[]), Some((0, 10, Flags::RST | ACK)));
    assert_eq!(reset(ACK, 9, 55, b"abc"), Some((55, 0, Flags::RST)));
    assert_eq!(reset(Flags::FIN, 9, 0, b"abc"), Some((0, 13, Flags::RST | ACK)));
    assert_eq!(reset(Flags::RST, 9, 0, &[]), None);
}
