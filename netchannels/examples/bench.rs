//! What each step of a packet's way costs on this host: `cargo run --release -p netchannels --example bench`.
//!
//! The fastest of several rounds is printed, as the others have been disturbed.

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use netchannels::{
    Batch, Channel, Classified, Consumer, Counters, FlowKey, FlowTable, Framing, HashKey, Headers, Interest,
    Processing, Receiver, Transport, classify,
};
use packet::{MacAddress, Packet, internet_checksum};

const ROUNDS: usize = 20;

fn measure(what: &str, operations: usize, mut round: impl FnMut()) {
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::ZERO);
    println!("{what:<44} {:>8.1} ns", fastest.as_nanos() as f64 / operations as f64);
}

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// A segment from port `port` with this many bytes of payload.
fn segment(port: u16, payload_bytes: usize) -> Packet {
    let mut bytes = vec![0; 14 + 20 + 20 + payload_bytes];
    bytes[..6].copy_from_slice(&OWN.0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    let len = (bytes.len() - 14) as u16;
    let ip = &mut bytes[14..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[8..10].copy_from_slice(&[64, 6]);
    ip[12..20].copy_from_slice(&[10, 0, 2, 2, 10, 0, 2, 15]);
    let checksum = !internet_checksum::fold(internet_checksum::add(0, &ip[..20]));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip[20..22].copy_from_slice(&port.to_be_bytes());
    ip[22..24].copy_from_slice(&8080_u16.to_be_bytes());
    ip[32..34].copy_from_slice(&[0x50, 0x18]);
    Packet::from_head(&bytes)
}

fn key(flow: usize) -> FlowKey {
    let remote = SocketAddr::from(([10, (flow >> 14) as u8, 2, 2], 10_000 + (flow & 0x3fff) as u16));
    FlowKey::connection(Transport::Tcp, SocketAddr::from(([10, 0, 2, 15], 8080)), remote)
}

struct Nobody;

impl Consumer for Nobody {
    fn wake(&self, _: Interest) {}
    fn defer(&self) {}
    fn check_later(&self) {}
}

fn channel() -> (Arc<Channel>, Receiver) {
    Channel::new(256, Box::new(Nobody))
}

fn main() {
    const N: usize = 100_000;
    let framing = Framing::Ethernet(OWN);
    let packet = segment(40_000, 64);
    measure("classify (Ethernet, IPv4, TCP)", N, || {
        (0..N).for_each(|_| _ = black_box(classify(black_box(&packet), framing)));
    });

    for flows in [10, 1_000, 10_000, 100_000] {
        let table = FlowTable::new(HashKey::new([5; 16]));
        for flow in 0..flows {
            assert!(table.insert(key(flow), Arc::new(flow)).is_ok());
        }
        // In an order that caches cannot foresee.
        let keys: Vec<FlowKey> = (0..N).map(|i| key(i.wrapping_mul(2_654_435_761) % flows)).collect();
        measure(&format!("lookup among {flows} flows"), N, || {
            keys.iter().for_each(|key| drop(black_box(table.get(key))));
        });
    }
    let table = FlowTable::new(HashKey::new([5; 16]));
    measure("insert and remove", N, || {
        for flow in 0..N {
            let _ = black_box(table.insert(key(flow), ()));
        }
        for flow in 0..N {
            table.remove(&key(flow));
        }
    });

    let counters = Counters::new(1);
    for burst in [1, 8, 64] {
        let (channel, mut receiver) = channel();
        let mut packets: Vec<Box<Packet>> = (0..burst).map(|_| Box::new(packet.clone())).collect();
        measure(&format!("push, settle and drain, {burst} at a time"), N / burst * burst, || {
            for _ in 0..N / burst {
                let mut batch = Batch::new(&counters, Processing::InReader);
                for packet in packets.drain(..) {
                    let pushed = batch.push(&channel, packet, netchannels::Arrival::DATA);
                    assert!(pushed.is_ok());
                }
                batch.finish();
                channel.begin_check();
                packets.extend(receiver.drain());
            }
        });
    }

    let flows = 100;
    let table = FlowTable::new(HashKey::new([5; 16]));
    let mut receivers = Vec::new();
    for flow in 0..flows {
        let (channel, receiver) = channel();
        assert!(table.insert(key(flow), channel).is_ok());
        receivers.push(receiver);
    }
    let mut packets: Vec<Box<Packet>> = Vec::new();
    measure("all of it, with allocation, 100 flows, 64 at a time", N, || {
        for first in (0..N).step_by(64) {
            for i in first..(first + 64).min(N) {
                packets.push(Box::new(segment(10_000 + (i % flows) as u16, 64)));
            }
            let mut batch = Batch::new(&counters, Processing::InReader);
            for mut packet in packets.drain(..) {
                if let Classified::Flow(flow) = classify(&packet, framing)
                    && let Some(channel) = table.get(&flow.key)
                {
                    flow.strip(&mut packet);
                    let pushed = batch.push(&channel, packet, flow.arrival);
                    assert!(pushed.is_ok());
                }
            }
            batch.finish();
            for receiver in &mut receivers {
                receiver.channel().begin_check();
                receiver.drain().for_each(|packet| _ = black_box(Headers::of(&packet)));
            }
        }
    });
}
