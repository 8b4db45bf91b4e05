//! A simulated Ethernet with several stacks, and a clock that the test moves.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::vec_box, reason = "batches of packets are handed on")]

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ip::{Change, Claim, Datagram, IcmpError, Keys, Loopback, OutputOptions, Stack, Transport};
use packet::{Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet};

pub const SECOND_NS: u64 = 1_000_000_000;

/// The wire: frames on their way, with the index of their sender.
#[derive(Default)]
pub struct Wire {
    frames: Mutex<VecDeque<(usize, Vec<u8>)>>,
}

pub struct SimLink {
    index: usize,
    mac: MacAddress,
    mtu: u32,
    offloads: Offloads,
    wire: Arc<Wire>,
}

/// All bytes of a packet.
pub fn bytes_of(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    assert_eq!(packet.read(0, &mut bytes), bytes.len());
    bytes
}

/// A packet as a driver makes it: the first bytes in the head.
pub fn received(bytes: &[u8]) -> Box<Packet> {
    let head = bytes.len().min(packet::HEAD_BYTES);
    let mut packet = Box::new(Packet::from_head(&bytes[..head]));
    for part in bytes[head..].chunks(frames::PAGE_SIZE) {
        let page = frames::PageRef::new_zeroed().unwrap();
        page.write(0, part);
        packet.push(packet::Fragment::new(page, 0, part.len())).unwrap();
    }
    packet
}

impl Link for SimLink {
    fn name(&self) -> &str {
        "eth0"
    }

    fn hardware_address(&self) -> Option<MacAddress> {
        Some(self.mac)
    }

    fn mtu(&self) -> u32 {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn carrier(&self) -> bool {
        true
    }

    fn transmit(&self, batch: &mut Vec<Box<Packet>>) {
        for packet in batch.drain(..) {
            let bytes = bytes_of(&packet);
            assert!(bytes.len() <= self.mtu as usize + 14, "{} bytes", bytes.len());
            self.wire.frames.lock().unwrap().push_back((self.index, bytes));
        }
    }

    fn start(&self, _: Arc<dyn LinkReceiver>) {}

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }
}

/// What a stack's transports got.
#[derive(Default)]
pub struct Upper {
    pub datagrams: Mutex<Vec<Datagram>>,
    pub errors: Mutex<Vec<IcmpError>>,
    pub changes: Mutex<Vec<Change>>,
    pub poll_wanted: AtomicBool,
}

impl Transport for Upper {
    fn deliver(&self, datagram: Datagram) -> Claim {
        let is_spoken = matches!(datagram.protocol, 1 | 2 | 6 | 17 | 58);
        self.datagrams.lock().unwrap().push(datagram);
        if is_spoken { Claim::Claimed } else { Claim::Unclaimed }
    }

    fn icmp_error(&self, error: IcmpError) {
        self.errors.lock().unwrap().push(error);
    }

    fn poll_wanted(&self) {
        self.poll_wanted.store(true, Ordering::Relaxed);
    }

    fn changed(&self, change: Change) {
        self.changes.lock().unwrap().push(change);
    }
}

/// What comes by the loopback.
#[derive(Default)]
pub struct LoopQueue(Mutex<Vec<Box<Packet>>>);

impl LinkReceiver for LoopQueue {
    fn receive(&self, batch: &mut Vec<Box<Packet>>) {
        self.0.lock().unwrap().append(batch);
    }
}

pub struct Host {
    pub stack: Arc<Stack>,
    pub upper: Arc<Upper>,
    pub mac: MacAddress,
    looped: Arc<LoopQueue>,
}

impl Host {
    /// The payloads of UDP that came, with their sources.
    pub fn datagrams(&self, protocol: u8) -> Vec<(IpAddr, Vec<u8>)> {
        let datagrams = self.upper.datagrams.lock().unwrap();
        let wanted = datagrams.iter().filter(|datagram| datagram.protocol == protocol);
        wanted.map(|datagram| (datagram.source, bytes_of(&datagram.packet))).collect()
    }

    pub fn send(&self, to: IpAddr, options: OutputOptions, bytes: &[u8]) -> Result<(), linux_abi::Errno> {
        let route = self.stack.route(to, None, (!to.is_loopback()).then_some(2))?;
        self.stack.output(&route, route.source, to, options, &mut vec![outgoing(bytes)])
    }

    pub fn address_v6(&self, wanted: impl Fn(&std::net::Ipv6Addr) -> bool) -> Option<std::net::Ipv6Addr> {
        let addresses = self.stack.interface(2)?.addresses;
        addresses.into_iter().find_map(|info| match info.address {
            IpAddr::V6(address)
                if wanted(&address)
                    && !info.flags.intersects(ip::AddressFlags::TENTATIVE | ip::AddressFlags::DAD_FAILED) =>
            {
                Some(address)
            }
            _ => None,
        })
    }
}

/// A packet as a transport makes it: room in front, a small head, the rest in pages.
pub fn outgoing(bytes: &[u8]) -> Box<Packet> {
    let head = bytes.len().min(20);
    let mut packet = Box::new(Packet::with_front(128));
    packet.append_head(head).copy_from_slice(&bytes[..head]);
    for part in bytes[head..].chunks(4000) {
        let page = frames::PageRef::new_zeroed().unwrap();
        page.write(7, part);
        packet.push(packet::Fragment::new(page, 7, part.len())).unwrap();
    }
    packet
}

pub struct Net {
    pub now_ns: Arc<AtomicU64>,
    pub hosts: Vec<Host>,
    wire: Arc<Wire>,
    /// Frames that were carried, if they are wanted.
    pub log: Vec<Vec<u8>>,
}

impl Net {
    pub fn new() -> Self {
        frames::host::init();
        Self { now_ns: Arc::new(AtomicU64::new(SECOND_NS)), hosts: vec![], wire: Arc::default(), log: vec![] }
    }

    pub fn add_host(&mut self, mtu: u32, offloads: Offloads) -> usize {
        let index = self.hosts.len();
        let seed = index as u8 + 1;
        let keys = Keys { hash: [seed; 16], stable_privacy: [seed; 16], random: [seed; 32] };
        let now_ns = self.now_ns.clone();
        let stack = Arc::new(Stack::new(keys, Box::new(move || now_ns.load(Ordering::Relaxed))));
        let upper = Arc::new(Upper::default());
        stack.set_transport(upper.clone());
        let loopback = Arc::new(Loopback::new());
        let looped = Arc::new(LoopQueue::default());
        loopback.start(looped.clone());
        assert_eq!(stack.add_link(loopback), 1);
        let mac = MacAddress([2, 0, 0, 0, 0, seed]);
        let link = SimLink { index, mac, mtu, offloads, wire: self.wire.clone() };
        assert_eq!(stack.add_link(Arc::new(link)), 2);
        self.hosts.push(Host { stack, upper, mac, looped });
        index
    }

    /// Puts a frame on the wire that comes from none of the hosts.
    pub fn inject(&self, frame: Vec<u8>) {
        self.wire.frames.lock().unwrap().push_back((usize::MAX, frame));
    }

    /// Carries frames, and polls, until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            for host in &self.hosts {
                host.upper.poll_wanted.store(false, Ordering::Relaxed);
                host.stack.poll();
                for packet in std::mem::take(&mut *host.looped.0.lock().unwrap()) {
                    host.stack.input(1, packet);
                }
            }
            let frame = self.wire.frames.lock().unwrap().pop_front();
            let is_quiet = self.hosts.iter().all(|host| {
                !host.upper.poll_wanted.load(Ordering::Relaxed) && host.looped.0.lock().unwrap().is_empty()
            });
            let Some((from, frame)) = frame else {
                if is_quiet {
                    return;
                }
                continue;
            };
            for (index, host) in self.hosts.iter().enumerate() {
                if index != from {
                    host.stack.input(2, received(&frame));
                }
            }
            self.log.push(frame);
        }
        panic!("the network does not come to rest");
    }

    /// Lets time pass in steps of a tenth of a second.
    pub fn pass(&mut self, seconds: f64) {
        for _ in 0..(seconds * 10.0) as u64 {
            self.settle();
            self.now_ns.fetch_add(SECOND_NS / 10, Ordering::Relaxed);
        }
        self.settle();
    }
}
