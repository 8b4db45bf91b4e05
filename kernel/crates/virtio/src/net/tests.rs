//! The driver against a device that the tests play.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use packet::{Checksum, Fragment, HEAD_BYTES, Segmentation, SegmentationKind};
use proptest::prelude::*;

use super::{header::HEADER_BYTES, negotiate::feature, transmit::BACKLOG_PACKETS, *};
use crate::{
    DeviceKind, RingFeatures,
    fake::{Chain, FakeTransport, PLATFORM, State},
};

thread_local! {
    static MEMORY_IS_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is to find no page for buffers.
pub fn is_memory_short() -> bool {
    MEMORY_IS_SHORT.get()
}

/// Keeps what comes in.
#[derive(Default)]
struct Collector {
    packets: Mutex<Vec<Box<Packet>>>,
    batches: AtomicUsize,
    carrier_changes: AtomicUsize,
}

impl LinkReceiver for Collector {
    fn receive(&self, batch: &mut Vec<Box<Packet>>) {
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.packets.lock().unwrap().append(batch);
    }

    fn carrier_changed(&self) {
        self.carrier_changes.fetch_add(1, Ordering::SeqCst);
    }
}

struct Nic {
    device: Arc<NetDevice>,
    state: Arc<Mutex<State>>,
    received: Arc<Collector>,
}

const OFFLOADS: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6;
const EVENT_INDEX: u64 = RingFeatures::EVENT_INDEX.bits();
const INDIRECT: u64 = RingFeatures::INDIRECT_DESCRIPTORS.bits();

/// Combinations under which the data must move alike.
const VARIANTS: [u64; 6] = [
    0,
    feature::MRG_RXBUF,
    feature::MRG_RXBUF | EVENT_INDEX,
    feature::MRG_RXBUF | INDIRECT | OFFLOADS,
    feature::MRG_RXBUF | EVENT_INDEX | INDIRECT,
    feature::MRG_RXBUF | EVENT_INDEX | INDIRECT | OFFLOADS | feature::MAC | feature::STATUS,
];

impl Nic {
    fn new(features: u64) -> Self {
        Self::with_pairs(features, 1, 1, 2)
    }

    /// A device of `max_pairs`, and a machine for which `wanted` would be of use.
    fn with_pairs(features: u64, max_pairs: u16, wanted: u16, vectors: u16) -> Self {
        frames::host::init();
        let mut configuration = vec![0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0];
        configuration.extend(max_pairs.to_le_bytes());
        configuration.extend(1500_u16.to_le_bytes());
        let queues = 2 * max_pairs + 1;
        let mut transport = FakeTransport::new(DeviceKind::Network, features, queues, configuration);
        transport.max_queue_size = 1024;
        let state = transport.state.clone();
        let configuration = Configuration {
            name: "eth0".into(),
            pairs: wanted,
            vectors,
            random: [0x1234_5678_9abc_def0, 0x0102_0304_0506_0708],
        };
        let done = AtomicBool::new(false);
        let device = thread::scope(|scope| {
            let control = 2 * max_pairs;
            scope.spawn({
                let (done, state) = (&done, &state);
                move || {
                    while !done.load(Ordering::SeqCst) {
                        serve_control(&mut state.lock().unwrap(), control);
                        thread::yield_now();
                    }
                }
            });
            let device = NetDevice::new(Box::new(transport), &PLATFORM, configuration);
            done.store(true, Ordering::SeqCst);
            Arc::new(device.unwrap())
        });
        let received = Arc::new(Collector::default());
        device.start(received.clone());
        Self { device, state, received }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn interrupt(&self) {
        (0..self.device.vectors_used()).for_each(|vector| self.device.handle_interrupt(vector));
    }

    /// Puts a packet into as many buffers of pair 0 as it takes, or says that there are not enough.
    fn put(&self, mut header: [u8; HEADER_BYTES], bytes: &[u8]) -> bool {
        let mut state = self.state();
        let queue = state.queue(0);
        let mut chains: Vec<Chain> = Vec::new();
        let mut room = 0;
        while room < bytes.len() + HEADER_BYTES {
            let Some(chain) = queue.next() else { return false };
            room += chain.room();
            chains.push(chain);
        }
        header[10] = chains.len() as u8;
        let all = [header.as_slice(), bytes].concat();
        let mut rest = all.as_slice();
        for chain in chains {
            let written = chain.write(rest);
            rest = &rest[written as usize..];
            queue.finish(chain.head.into(), written);
        }
        true
    }

    /// Does as `finish` says with the next buffer of pair 0.
    fn put_raw(&self, bytes: &[u8], written: u32) {
        let mut state = self.state();
        let queue = state.queue(0);
        let chain = queue.next().expect("a buffer");
        chain.write(bytes);
        queue.finish(chain.head.into(), written);
    }

    fn take(&self) -> Vec<Box<Packet>> {
        core::mem::take(&mut self.received.packets.lock().unwrap())
    }

    /// What the device finds to be sent by `pair`, each with its header.
    fn sent(&self, pair: u16) -> Vec<Vec<u8>> {
        let mut state = self.state();
        let queue = state.queue(2 * pair + 1);
        let mut sent = Vec::new();
        while let Some(chain) = queue.next() {
            sent.push(chain.read());
            queue.finish(chain.head.into(), 0);
        }
        sent
    }

    fn transmit(&self, packets: impl IntoIterator<Item = Packet>) {
        let mut batch = packets.into_iter().map(Box::new).collect();
        self.device.transmit(&mut batch);
        assert!(batch.is_empty());
    }
}

/// Answers a command, if there is one.
fn serve_control(state: &mut State, index: u16) {
    let Some((_, queue)) = state.queues.get_mut(&index) else { return };
    if let Some(chain) = queue.next() {
        let command = chain.read();
        assert!(matches!(command[..2], [0, 0 | 1] | [4, 0]), "{command:?}");
        chain.write(&[0]);
        queue.finish(chain.head.into(), 1);
    }
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte * 7 + byte / 256 + seed * 31) as u8).collect()
}

fn contents(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    assert_eq!(packet.read(0, &mut bytes), bytes.len());
    bytes
}

/// A packet to be sent whose head is `head` bytes, and the rest in pages.
fn outgoing(all: &[u8], head: usize) -> Packet {
    let mut packet = Packet::new();
    let head = head.min(all.len());
    packet.prepend(head).copy_from_slice(&all[..head]);
    for part in all[head..].chunks(4000) {
        let page = PageRef::new_zeroed().unwrap();
        page.write(50, part);
        packet.push(Fragment::new(page, 50, part.len())).unwrap();
    }
    packet
}

#[test]
fn received_packets_are_whole() {
    for features in VARIANTS {
        let nic = Nic::new(features);
        for round in 0..300 {
            let len = [14, 60, HEAD_BYTES, HEAD_BYTES + 1, 1000, 1514][round % 6];
            assert!(nic.put([0; _], &bytes(len, round)));
            if round % 5 == 4 {
                nic.interrupt();
                for (index, packet) in nic.take().iter().enumerate() {
                    let round = round - 4 + index;
                    let len = [14, 60, HEAD_BYTES, HEAD_BYTES + 1, 1000, 1514][round % 6];
                    assert_eq!(contents(packet), bytes(len, round));
                    assert_eq!(packet.head().len(), len.min(HEAD_BYTES));
                    assert_eq!(packet.body().len(), usize::from(len > HEAD_BYTES));
                }
            }
        }
        let statistics = nic.device.statistics();
        assert_eq!((statistics.received_packets, statistics.receive_errors), (300, 0));
        assert_eq!(statistics.received_bytes, 50 * (14 + 60 + 192 + 193 + 1000 + 1514));
    }
}

#[test]
fn a_large_packet_lies_in_several_buffers() {
    let nic = Nic::new(feature::MRG_RXBUF | OFFLOADS);
    let all = bytes(65_000, 3);
    let header = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    assert!(nic.put(header, &all));
    nic.interrupt();
    let packets = nic.take();
    assert_eq!(contents(&packets[0]), all);
    assert_eq!(packets[0].body().len(), 16);
    assert_eq!(packets[0].checksum, Checksum::Partial { start: 34, offset: 16 });
    let segmentation = packets[0].segmentation.unwrap();
    assert_eq!((segmentation.kind, segmentation.segment_bytes), (SegmentationKind::Tcp4, 1460));
}

#[test]
fn small_packets_give_their_buffers_back_at_once() {
    let nic = Nic::new(feature::MRG_RXBUF | EVENT_INDEX);
    // As many as there are, several times: nothing is allocated.
    MEMORY_IS_SHORT.set(true);
    for round in 0..1000 {
        assert!(nic.put([0; _], &bytes(100, round)));
        nic.interrupt();
        assert_eq!(contents(&nic.take()[0]), bytes(100, round));
    }
    MEMORY_IS_SHORT.set(false);
    assert_eq!(nic.device.driver_statistics().starved, 0);
}

#[test]
fn bad_packets_are_counted_and_dropped() {
    let nic = Nic::new(feature::MRG_RXBUF | OFFLOADS);
    let header = |bytes: [u8; 12]| [bytes.as_slice(), &[0; 60]].concat();
    let one = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let cases: [(Vec<u8>, u32); 9] = [
        (vec![], 0),
        (header(one), 11),
        (header(one), 12),
        (header(one), 12 + 13),
        // No buffers, more than there are.
        (header([0; 12]), 72),
        (header([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]), 72),
        (header([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), 72),
        // A checksum beyond the head, segments of no size.
        (header([1, 0, 0, 0, 0, 0, 59, 0, 5, 0, 1, 0]), 72),
        (header([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 72),
    ];
    for (index, (bytes, written)) in cases.iter().enumerate() {
        nic.put_raw(bytes, *written);
        nic.interrupt();
        assert_eq!(nic.take().len(), 0, "case {index}");
        assert_eq!(nic.device.statistics().receive_errors, index as u64 + 1, "case {index}");
    }
    // More buffers than a packet can have fragments.
    {
        let mut state = nic.state();
        let queue = state.queue(0);
        for index in 0..40 {
            let chain = queue.next().unwrap();
            let first = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0];
            chain.write(if index == 0 { &first } else { &[1; 12] });
            queue.finish(chain.head.into(), 4096);
        }
    }
    nic.interrupt();
    assert_eq!((nic.take().len(), nic.device.statistics().receive_errors), (0, 10));
    // And it goes on: a length beyond the buffer is clamped to it.
    nic.put_raw(&header(one), u32::MAX);
    nic.interrupt();
    assert_eq!(nic.take()[0].len(), 4096 - HEADER_BYTES);
}

#[test]
fn a_device_that_breaks_the_rules_is_given_up() {
    for queue in [0, 1] {
        let nic = Nic::new(feature::MRG_RXBUF | EVENT_INDEX);
        nic.transmit((0..3).map(|round| outgoing(&bytes(60, round), 60)));
        nic.state().queue(queue).finish(9999, 0);
        let resets = nic.state().resets;
        nic.interrupt();
        nic.interrupt();
        assert!(!nic.device.carrier());
        assert_eq!(nic.state().resets, resets + 1);
        assert_eq!(nic.received.carrier_changes.load(Ordering::SeqCst), 1);
        nic.transmit([outgoing(&bytes(60, 0), 60)]);
        let statistics = nic.device.statistics();
        assert_eq!((statistics.send_dropped, statistics.send_errors), (1, 3));
    }
}

#[test]
fn want_of_memory_is_survived() {
    let nic = Nic::new(feature::MRG_RXBUF | EVENT_INDEX);
    MEMORY_IS_SHORT.set(true);
    let mut put = 0;
    while nic.put([0; _], &bytes(1000, put)) {
        put += 1;
        if put % 10 == 0 {
            nic.interrupt();
        }
    }
    nic.interrupt();
    assert_eq!(nic.take().len(), put);
    assert!(nic.device.driver_statistics().starved > 0);
    // The poller finds none either, and tries again in time.
    nic.device.work(0, || ());
    assert!(!nic.put([0; _], &bytes(1000, 0)));
    MEMORY_IS_SHORT.set(false);
    nic.device.work(0, || ());
    for round in 0..200 {
        assert!(nic.put([0; _], &bytes(1000, round)));
    }
    nic.interrupt();
    nic.device.work(0, || ());
    assert_eq!(nic.take().len(), 200);
}

#[test]
fn an_interrupt_leaves_a_flood_to_the_poller() {
    for features in [feature::MRG_RXBUF, feature::MRG_RXBUF | EVENT_INDEX] {
        let nic = Nic::new(features);
        let take_interrupt = || nic.state().queue(0).wants_interrupt();
        for round in 0..200 {
            assert!(nic.put([0; _], &bytes(100, round)));
        }
        assert!(take_interrupt());
        nic.interrupt();
        assert_eq!(nic.take().len(), BUDGET);
        assert_eq!(nic.device.driver_statistics().handed_over, 1);
        assert!(nic.put([0; _], &bytes(100, 200)));
        assert!(!take_interrupt(), "the poller comes by itself");
        let mut gave_way = 0;
        nic.device.work(0, || gave_way += 1);
        assert!(gave_way >= 2);
        let rest = nic.take();
        assert_eq!(rest.len(), 201 - BUDGET);
        assert_eq!(contents(rest.last().unwrap()), bytes(100, 200));
        assert!(nic.put([0; _], &bytes(100, 201)));
        assert!(take_interrupt(), "when it is through, interrupts are back");
    }
}

#[test]
fn sent_packets_reach_the_device_in_order_and_without_a_copy() {
    for features in VARIANTS {
        let nic = Nic::new(features);
        for round in 0..300 {
            let len = [20, 60, 192, 1000, 1514][round % 5];
            let all = bytes(len, round);
            // From a head with no room in front, too.
            let head = [14, 54, 180, 192][round % 4];
            let packet = outgoing(&all, head);
            let page = packet.body().first().map(|part| part.page().as_ptr() as u64 + 50);
            nic.transmit([packet]);
            let mut state = nic.state();
            let queue = state.queue(1);
            let chain = queue.next().unwrap();
            assert_eq!(chain.read(), [[0; HEADER_BYTES].as_slice(), &all].concat());
            let in_front = HEAD_BYTES - head.min(len) >= HEADER_BYTES;
            assert_eq!(chain.readable.len(), 1 + usize::from(!in_front) + usize::from(page.is_some()));
            if let Some(page) = page {
                assert_eq!(chain.readable.last().unwrap().0, page);
            }
            queue.finish(chain.head.into(), 0);
            assert!(features & EVENT_INDEX == 0 || !queue.wants_interrupt());
        }
        let statistics = nic.device.statistics();
        assert_eq!((statistics.sent_packets, statistics.send_errors), (300, 0));
        assert_eq!(statistics.sent_bytes, 60 * (20 + 60 + 192 + 1000 + 1514));
    }
}

#[test]
fn sent_packets_are_freed_when_somebody_looks() {
    let nic = Nic::new(feature::MRG_RXBUF | EVENT_INDEX);
    let page = PageRef::new_zeroed().unwrap();
    let send = || {
        let mut packet = outgoing(&[0; 54], 54);
        packet.push(Fragment::new(page.clone(), 0, 100)).unwrap();
        nic.transmit([packet]);
    };
    send();
    assert_eq!(nic.sent(0).len(), 1);
    assert_eq!(page.ref_count(), 2);
    nic.interrupt();
    assert_eq!(page.ref_count(), 1);
    send();
    assert_eq!(nic.sent(0).len(), 1);
    send();
    assert_eq!(page.ref_count(), 2);
}

#[test]
fn large_segments_go_to_devices_that_cut_them() {
    let nic = Nic::new(feature::MRG_RXBUF | OFFLOADS | INDIRECT);
    let large = |kind| {
        let mut packet = outgoing(&bytes(60_000, 1), 54);
        packet.checksum = Checksum::Partial { start: 34, offset: 16 };
        packet.segmentation = Some(Segmentation { kind, segment_bytes: 1448, header_bytes: 54 });
        packet
    };
    nic.transmit([
        large(SegmentationKind::Tcp4),
        large(SegmentationKind::Udp),
        large(SegmentationKind::Tcp6),
    ]);
    let sent = nic.sent(0);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0][..12], [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
    assert_eq!(sent[1][1], 4);
    assert_eq!(sent[0][12..], bytes(60_000, 1));
    // The device has no UDP segmentation; and without a kind it is too long.
    let mut too_long = large(SegmentationKind::Tcp4);
    too_long.segmentation = None;
    nic.transmit([too_long]);
    assert_eq!(nic.sent(0).len(), 0);
    assert_eq!(nic.device.statistics().send_errors, 2);
}

#[test]
fn a_full_queue_holds_packets_back_and_then_drops_them() {
    for features in [0, EVENT_INDEX, INDIRECT, EVENT_INDEX | INDIRECT] {
        let nic = Nic::new(feature::MRG_RXBUF | features);
        let packet = |round| outgoing(&bytes(400, round), 54);
        // Two segments each.
        let size = usize::from(transmit::QUEUE_SIZE);
        let room = if features & INDIRECT != 0 { size } else { size / 2 };
        nic.transmit((0..room).map(packet));
        nic.transmit((room..room + BACKLOG_PACKETS + 7).map(packet));
        assert_eq!(nic.device.statistics().send_dropped, 7);
        let mut sent = Vec::new();
        let mut interrupts = 0;
        loop {
            // The device takes them one by one, and interrupts as it was told.
            let next = nic.state().queue(1).next();
            let Some(chain) = next else { break };
            sent.push(chain.read());
            let wanted = {
                let mut state = nic.state();
                let queue = state.queue(1);
                queue.finish(chain.head.into(), 0);
                queue.wants_interrupt()
            };
            if wanted {
                interrupts += 1;
                nic.interrupt();
            }
        }
        assert_eq!(sent.len(), room + BACKLOG_PACKETS);
        for (round, bytes_sent) in sent.iter().enumerate() {
            assert_eq!(bytes_sent[12..], bytes(400, round));
        }
        if features & EVENT_INDEX != 0 {
            assert!(interrupts < sent.len() / 10, "{interrupts} interrupts");
        }
        // Then all is as it was.
        nic.transmit([packet(0)]);
        assert_eq!(nic.sent(0).len(), 1);
        assert!(features & EVENT_INDEX == 0 || !nic.state().queue(1).wants_interrupt());
    }
}

#[test]
fn a_queue_too_small_for_a_packet_refuses_it() {
    frames::host::init();
    let mut transport =
        FakeTransport::new(DeviceKind::Network, feature::CSUM | feature::HOST_TSO4, 2, vec![]);
    transport.max_queue_size = 4;
    let state = transport.state.clone();
    let configuration = Configuration { name: "eth0".into(), pairs: 1, vectors: 0, random: [7, 8] };
    let device = NetDevice::new(Box::new(transport), &PLATFORM, configuration).unwrap();
    let MacAddress(address) = device.hardware_address().unwrap();
    assert_eq!(address, [10, 0, 0, 0, 0, 0], "a random one");
    let mut packet = outgoing(&bytes(30_000, 0), 54);
    packet.checksum = Checksum::Partial { start: 34, offset: 16 };
    packet.segmentation =
        Some(Segmentation { kind: SegmentationKind::Tcp4, segment_bytes: 1448, header_bytes: 54 });
    let small = || Box::new(outgoing(&bytes(100, 5), 54));
    device.transmit(&mut vec![small(), Box::new(packet), small()]);
    let mut state = state.lock().unwrap();
    let chain = state.queue(1).next().unwrap();
    state.queue(1).finish(chain.head.into(), 0);
    assert!(state.queue(1).wants_interrupt());
    drop(state);
    device.handle_wired_interrupt();
    let statistics = device.statistics();
    assert_eq!((statistics.sent_packets, statistics.send_errors), (2, 1));
}

#[test]
fn the_device_is_told_once_of_a_batch_and_not_while_it_works() {
    for features in [0, EVENT_INDEX] {
        let nic = Nic::new(feature::MRG_RXBUF | features);
        nic.state().queue(1).notify_after(0);
        nic.transmit((0..20).map(|round| outgoing(&bytes(60, round), 60)));
        assert!(nic.state().take_notification(1));
        nic.state().queue(1).do_not_notify();
        nic.transmit((0..20).map(|round| outgoing(&bytes(60, round), 60)));
        assert!(!nic.state().take_notification(1));
        assert_eq!(nic.sent(0).len(), 40);
    }
}

#[test]
fn pairs_of_queues_are_used_as_far_as_they_are_of_use() {
    let features = feature::MRG_RXBUF | feature::CTRL_VQ | feature::CTRL_RX | feature::MQ | EVENT_INDEX;
    let pairs = |max, wanted, vectors| Nic::with_pairs(features, max, wanted, vectors).device.pairs();
    assert_eq!(pairs(4, 2, 10), 2);
    assert_eq!(pairs(4, 8, 10), 4);
    assert_eq!(pairs(4, 8, 3), 2);
    assert_eq!(pairs(4, 8, 0), 1);
    let nic = Nic::with_pairs(features, 4, 4, 5);
    let of_vector = |vector| nic.device.pairs_of_vector(vector).collect::<Vec<_>>();
    assert_eq!(nic.device.vectors_used(), 5);
    assert_eq!((of_vector(0), of_vector(1), of_vector(4)), (vec![], vec![0], vec![3]));
}

/// A TCP segment over IPv4 from a port.
fn flow(port: u16, number: u8) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
    bytes[23] = 6;
    bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[34..36].copy_from_slice(&port.to_be_bytes());
    bytes[59] = number;
    bytes
}

#[test]
fn a_flow_keeps_its_queue_and_many_flows_use_all() {
    let features = feature::MRG_RXBUF | feature::CTRL_VQ | feature::MQ | EVENT_INDEX | INDIRECT;
    let nic = Nic::with_pairs(features, 4, 4, 5);
    for number in 0..10 {
        nic.transmit((0..20).map(|port| outgoing(&flow(port, number), 60)));
    }
    let mut flows = 0;
    for pair in 0..4 {
        let sent = nic.sent(pair);
        let mut ports: Vec<u8> = sent.iter().map(|bytes| bytes[12 + 35]).collect();
        assert!(!ports.is_empty(), "pair {pair}");
        ports.sort_unstable();
        ports.dedup();
        flows += ports.len();
        for port in ports {
            let numbers = sent.iter().filter(|bytes| bytes[12 + 35] == port).map(|bytes| bytes[12 + 59]);
            assert!(numbers.eq(0..10));
        }
    }
    assert_eq!(flows, 20);
    for head in [vec![], vec![0; 13], flow(1, 1)[..30].to_vec(), [0x86, 0xdd].repeat(20)] {
        flow_hash(&head, 12345);
    }
}

#[test]
fn the_cable_is_watched() {
    let nic = Nic::new(feature::STATUS);
    assert!(nic.device.carrier());
    nic.state().configure(6, 0);
    nic.device.handle_interrupt(0);
    nic.device.handle_interrupt(0);
    assert!(!nic.device.carrier());
    assert_eq!(nic.received.carrier_changes.load(Ordering::SeqCst), 1);
    nic.state().configure(6, 1);
    nic.state().cause = Some(InterruptCause::CONFIGURATION);
    nic.device.handle_wired_interrupt();
    assert!(nic.device.carrier());
    let status = Status::DEVICE_NEEDS_RESET.bits();
    nic.state().status |= status;
    nic.device.handle_interrupt(0);
    assert!(!nic.device.carrier());
    assert!(nic.device.description().contains("link down"));
}

#[test]
fn a_device_that_does_not_answer_commands_has_one_pair() {
    frames::host::init();
    let mut configuration = vec![0; 12];
    configuration[8] = 4;
    let features = feature::CTRL_VQ | feature::MQ;
    let transport = FakeTransport::new(DeviceKind::Network, features, 9, configuration);
    let configuration = Configuration { name: "eth0".into(), pairs: 4, vectors: 5, random: [7, 8] };
    let device = NetDevice::new(Box::new(transport), &PLATFORM, configuration).unwrap();
    assert_eq!(device.pairs(), 1);
}

/// Sends everything back as soon as it is there, and interrupts only if it is asked to.
fn echo(nic: &Nic, pairs: u16, stop: &AtomicBool) {
    let mut buffers: Vec<Option<Chain>> = vec![None; pairs.into()];
    while !stop.load(Ordering::SeqCst) {
        for pair in 0..pairs {
            let mut interrupt = false;
            let mut work = 0;
            {
                let mut state = nic.state();
                loop {
                    // Nothing is taken before there is room for the answer, so nothing is lost.
                    let buffer = &mut buffers[usize::from(pair)];
                    if buffer.is_none() {
                        *buffer = state.queue(2 * pair).next();
                    }
                    let Some(out) = buffer.as_ref().and_then(|_| state.queue(2 * pair + 1).next()) else {
                        state.queue(2 * pair + 1).notify_after(0);
                        break;
                    };
                    let mut bytes = out.read();
                    bytes[10] = 1;
                    state.queue(2 * pair + 1).finish(out.head.into(), 0);
                    if let Some(chain) = buffer.take() {
                        let written = chain.write(&bytes);
                        state.queue(2 * pair).finish(chain.head.into(), written);
                    }
                    work += 1;
                    if work == 50 {
                        break;
                    }
                }
                interrupt |= state.queue(2 * pair).wants_interrupt();
                interrupt |= state.queue(2 * pair + 1).wants_interrupt();
            }
            if interrupt {
                nic.device.handle_interrupt(1 + pair);
            }
        }
        thread::yield_now();
    }
}

#[test]
fn threads_interrupts_and_pollers_lose_nothing() {
    const SENDERS: u16 = 3;
    const ROUNDS: u8 = 200;
    let features =
        feature::MRG_RXBUF | feature::CTRL_VQ | feature::MQ | EVENT_INDEX | INDIRECT | feature::CSUM;
    let nic = Nic::with_pairs(features, 2, 2, 3);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Also if an assertion fails, the others must end.
    struct Stop<'a>(&'a AtomicBool, &'a NetDevice);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            self.1.pairs.iter().for_each(Pair::schedule);
        }
    }
    thread::scope(|scope| {
        let _stop = Stop(&stop, &nic.device);
        scope.spawn(|| echo(&nic, 2, &stop));
        for pair in 0..2 {
            let (nic, stop) = (&nic, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    nic.device.work(pair, thread::yield_now);
                }
            });
        }
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (nic, sent) = (&nic, &sent);
                scope.spawn(move || {
                    for number in 0..ROUNDS {
                        let packets = (0..4).map(|port| outgoing(&flow(4 * sender + port, number), 54));
                        nic.transmit(packets);
                        // Not more than what has room under way.
                        let sent = sent.fetch_add(4, Ordering::SeqCst);
                        while nic.device.statistics().received_packets as usize + 150 < sent {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let all = usize::from(SENDERS) * usize::from(ROUNDS) * 4;
        let is_complete = || {
            let statistics = nic.device.statistics();
            let lost = statistics.send_dropped + statistics.receive_dropped + statistics.receive_errors;
            assert_eq!(lost, 0);
            nic.received.packets.lock().unwrap().len() == all
        };
        while !is_complete() {
            thread::yield_now();
        }
    });
    let packets = nic.take();
    for port in 0..4 * SENDERS {
        let of_flow = packets.iter().map(|packet| contents(packet)).filter(|bytes| bytes[35] == port as u8);
        assert!(of_flow.map(|bytes| bytes[59]).eq(0..ROUNDS), "flow {port} in order");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a device answers, nothing panics and no more memory is kept than the queues' own.
    #[test]
    fn any_device_is_survived(
        variant in 0..VARIANTS.len(),
        steps in proptest::collection::vec((any::<[u8; 16]>(), any::<u32>(), 0..12_u8), 1..200),
    ) {
        let nic = Nic::new(VARIANTS[variant]);
        for (bytes, number, action) in steps {
            if nic.state().queues.is_empty() {
                break;
            }
            match action {
                0..=5 => {
                    let mut state = nic.state();
                    if let Some(chain) = state.queue(0).next() {
                        // Often a header that is nearly right.
                        let mut header = bytes;
                        if action < 4 {
                            header[..12].copy_from_slice(&[number as u8 & 3, 0, 0, 0, 0, 0, 34, 0, 16, 0, number as u8 % 20, 0]);
                        }
                        chain.write(&header);
                        state.queue(0).finish(chain.head.into(), if action == 5 { number } else { number % 5000 });
                    }
                }
                6..=8 => nic.interrupt(),
                9 => nic.transmit([outgoing(&self::bytes(number as usize % 1514, 0), 54)]),
                10 => drop(nic.sent(0)),
                _ if number % 16 == 0 => nic.state().queue(number as u16 >> 8 & 1).finish(number, number),
                _ => nic.state().queue(number as u16 & 1).notify_after(number as u16 >> 1),
            }
        }
        nic.interrupt();
    }
}
