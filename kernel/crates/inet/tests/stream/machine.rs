//! Machines of the tests: a network each, with its worker in a thread, on a loopback or joined by a wire.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use inet::{Endpoint, Family, Ingress, Keys, Machine, Net, TcpSocket, Transports};
use ip::{InterfaceConfig, Ipv4Config, Loopback, Stack};
use ipc::socket::{SendOptions, Socket};
use ksync::platform;
use linux_abi::{Errno, socket::MessageFlags};
use netchannels::{Framing, Processing};
use packet::{Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet};
use vfs::{Blocking, SliceSrc};

/// A machine.
pub struct Host {
    pub net: Arc<Net>,
    worker: Option<JoinHandle<()>>,
}

impl Host {
    /// One with a loopback only.
    pub fn new(processing: Processing) -> Self {
        frames::host::init();
        static SEED: AtomicU8 = AtomicU8::new(1);
        let seed = SEED.fetch_add(1, SeqCst);
        let keys = ip::Keys { hash: [seed; 16], stable_privacy: [seed; 16], random: [seed; 32] };
        let stack = Arc::new(Stack::new(keys, Box::new(platform::now_ns)));
        let keys = Keys {
            port_choice: [[seed; 16]; 2],
            port_sharing: [[seed; 16]; 2],
            tcp: [seed; 48],
            flows: [seed; 16],
        };
        let machine = Machine { cpus: 1, memory_bytes: 256 << 20, processing };
        let net = Net::new(stack.clone(), &keys, machine);
        stack.set_transport(Transports::new(&net));
        let loopback = Arc::new(Loopback::new());
        let index = stack.add_link(loopback.clone());
        loopback.start(Ingress::new(&net, index, Framing::Ip));
        let worker = thread::spawn({
            let net = net.clone();
            move || net.worker.run(&net)
        });
        Self { net, worker: Some(worker) }
    }

    /// A socket.
    pub fn socket(&self) -> Arc<TcpSocket> {
        TcpSocket::new(&self.net, Family::V4)
    }

    /// A socket that listens at a port of its own on all addresses.
    pub fn listener(&self, backlog: u32) -> (Arc<TcpSocket>, u16) {
        let socket = self.socket();
        socket.bind(&Endpoint::unspecified(Family::V4).encode(Family::V4)).unwrap();
        socket.listen(backlog).unwrap();
        let port = socket.core().endpoints().local.port;
        (socket, port)
    }

    /// A socket that is connected to an address.
    pub fn connect(&self, to: Ipv4Addr, port: u16) -> Result<Arc<TcpSocket>, Errno> {
        let socket = self.socket();
        socket.connect(&address(to, port), Blocking::Yes).inspect_err(|_| socket.close())?;
        Ok(socket)
    }

    /// Both ends of a connection over the loopback.
    pub fn pair(&self) -> (Arc<TcpSocket>, Arc<TcpSocket>) {
        let (listener, port) = self.listener(1);
        let client = self.connect(Ipv4Addr::LOCALHOST, port).unwrap();
        let server = accept(&listener);
        listener.close();
        (client, server)
    }

    /// All sockets have been closed: nothing is left of them.
    pub fn assert_clean(&self) {
        self.net.time_wait.clear(&self.net);
        let deadline_ns = platform::now_ns() + 10_000_000_000;
        let state = || {
            (
                self.net.tcp_counters.sockets(),
                self.net.tcp_counters.orphans(),
                self.net.flows.len(),
                self.net.tcp_memory.used_bytes(),
                self.net.tcp_ports.owners().len(),
            )
        };
        while state() != (0, 0, 0, 0, 0) {
            // Orphans end by themselves.
            assert!(platform::now_ns() < deadline_ns, "sockets, orphans, flows, bytes, ports: {:?}", state());
            thread::sleep(Duration::from_millis(2));
            self.net.time_wait.clear(&self.net);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.net.worker.stop();
        let result = self.worker.take().map(JoinHandle::join);
        if !thread::panicking() {
            result.unwrap().unwrap();
        }
    }
}

pub fn address(address: Ipv4Addr, port: u16) -> Vec<u8> {
    Endpoint::new(IpAddr::V4(address), port).encode(Family::V4)
}

pub fn accept(listener: &TcpSocket) -> Arc<TcpSocket> {
    tcp_of(listener.accept(Blocking::Yes).unwrap())
}

pub fn tcp_of(socket: Arc<dyn Socket>) -> Arc<TcpSocket> {
    (socket as Arc<dyn core::any::Any + Send + Sync>).downcast().unwrap()
}

pub fn send(socket: &dyn Socket, bytes: &[u8], blocking: Blocking) -> Result<usize, Errno> {
    socket.send(&mut SliceSrc::new(bytes), SendOptions::default(), blocking)
}

pub fn send_all(socket: &dyn Socket, bytes: &[u8]) {
    assert_eq!(send(socket, bytes, Blocking::Yes), Ok(bytes.len()));
}

pub fn receive_with(
    socket: &dyn Socket,
    most: usize,
    flags: MessageFlags,
    blocking: Blocking,
) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; most];
    let len = socket.receive(&mut &mut buffer[..], flags, blocking)?.len;
    buffer.truncate(len);
    Ok(buffer)
}

pub fn receive(socket: &dyn Socket, most: usize) -> Result<Vec<u8>, Errno> {
    receive_with(socket, most, MessageFlags::empty(), Blocking::Yes)
}

/// All bytes up to the end.
pub fn receive_all(socket: &dyn Socket) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    loop {
        let some = receive(socket, 30_000)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// Waits for what another thread does soon.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline_ns = platform::now_ns() + 20_000_000_000;
    while !condition() {
        assert!(platform::now_ns() < deadline_ns, "it does not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (state >> 16) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What a wire does to packets.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Of 1000 packets so many are lost, held back behind the next, sent twice.
    pub lost: u64,
    pub held_back: u64,
    pub doubled: u64,
}

/// One end of a wire between two machines.
pub struct Wire {
    mac: MacAddress,
    offloads: Offloads,
    receiver: OnceLock<Arc<dyn LinkReceiver>>,
    peer: OnceLock<mpsc::Sender<Vec<Box<Packet>>>>,
    faults: Faults,
    random: AtomicU64,
    held: Mutex<Option<Box<Packet>>>,
    stopped: AtomicBool,
}

impl Wire {
    fn new(number: u8, offloads: Offloads, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            mac: MacAddress([2, 0, 0, 0, 0, number]),
            offloads,
            receiver: OnceLock::new(),
            peer: OnceLock::new(),
            faults,
            random: AtomicU64::new(u64::from(number) * 77 + 1),
            held: Mutex::new(None),
            stopped: AtomicBool::new(false),
        })
    }

    fn chance(&self, of_1000: u64) -> bool {
        let next = |seed: u64| {
            Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        };
        let seed = self.random.fetch_update(SeqCst, SeqCst, next).unwrap();
        (seed >> 33) % 1000 < of_1000
    }

    /// Nothing gets through any more, or again.
    pub fn set_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, SeqCst);
    }

    fn deliver(self: &Arc<Self>, packets: mpsc::Receiver<Vec<Box<Packet>>>) {
        let wire = Arc::downgrade(self);
        thread::spawn(move || {
            for mut batch in packets {
                let Some(wire) = Weak::upgrade(&wire) else { return };
                if let Some(receiver) = wire.receiver.get() {
                    // As from an interrupt.
                    let state = platform::irq_save();
                    receiver.receive(&mut batch);
                    platform::irq_restore(state);
                }
            }
        });
    }
}

impl Link for Wire {
    fn name(&self) -> &str {
        "eth0"
    }

    fn hardware_address(&self) -> Option<MacAddress> {
        Some(self.mac)
    }

    fn mtu(&self) -> u32 {
        1500
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn carrier(&self) -> bool {
        true
    }

    fn transmit(&self, batch: &mut Vec<Box<Packet>>) {
        let mut through = Vec::new();
        for packet in batch.drain(..) {
            if self.stopped.load(SeqCst) || self.chance(self.faults.lost) {
                continue;
            }
            if self.chance(self.faults.doubled) {
                through.push(packet.clone());
            }
            if self.chance(self.faults.held_back) {
                through.extend(self.held.lock().unwrap().replace(packet));
                continue;
            }
            through.push(packet);
            through.extend(self.held.lock().unwrap().take());
        }
        if let Some(peer) = self.peer.get() {
            // The other machine may be gone.
            let _ = peer.send(through);
        }
    }

    fn start(&self, receiver: Arc<dyn LinkReceiver>) {
        assert!(self.receiver.set(receiver).is_ok());
    }

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }
}

/// Two machines, 10.0.0.1 and 10.0.0.2, joined by a wire.
pub struct Joined {
    pub hosts: [Host; 2],
    pub wires: [Arc<Wire>; 2],
}

pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

impl Joined {
    pub fn new(processing: Processing, offloads: Offloads, faults: Faults) -> Self {
        let hosts = [Host::new(processing), Host::new(processing)];
        let wires = [1, 2].map(|number| Wire::new(number, offloads, faults));
        for (from, to) in [(0, 1), (1, 0)] {
            let (sender, receiver) = mpsc::channel();
            assert!(wires[from].peer.set(sender).is_ok());
            wires[to].deliver(receiver);
        }
        for ((host, wire), own) in hosts.iter().zip(&wires).zip([FIRST, SECOND]) {
            let index = host.net.ip.add_link(wire.clone());
            wire.start(Ingress::new(&host.net, index, Framing::Ethernet(wire.mac)));
            let ipv4 = Ipv4Config::Static { addresses: vec![(own, 24)], gateways: vec![] };
            host.net.ip.configure(index, InterfaceConfig { ipv4, ..Default::default() }).unwrap();
        }
        Self { hosts, wires }
    }
}
