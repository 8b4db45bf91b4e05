//! Two machines, and a wire between them that damages what one sends to the other, and adds frames of its own.
//!
//! The whole receive path of a machine, as it is in the guest: classifier, table of flows, channels, IP, TCP and UDP, the
//! worker in a thread of its own. Meanwhile a client of the other machine connects, sends, and closes, so that there are
//! connections in every state. At the end, on a sound wire, the service must answer as before, and memory must be back.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use frames::PageRef;
use inet::{Endpoint, Family, Ingress, Keys, Machine, Net, TcpSocket, Transports, UdpSocket};
use ip::{InterfaceConfig, Ipv4Config, Ipv6Config, Loopback, Stack};
use ipc::socket::{SendOptions, Socket};
use linux_abi::{Errno, socket::MessageFlags};
use netchannels::{Framing, Processing};
use packet::{Fragment, HEAD_BYTES, Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet};
use receive_fuzz::{Mutator, received, rounds, seed, seeds};
use vfs::{Blocking, SliceSrc};

fn page_of(bytes: &[u8]) -> Fragment {
    let page = PageRef::new_zeroed().expect("host memory");
    page.write(0, bytes);
    Fragment::new(page, 0, bytes.len())
}

/// One end of the wire.
struct Wire {
    mac: MacAddress,
    out: Mutex<Sender<Vec<u8>>>,
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
        Offloads::empty()
    }

    fn carrier(&self) -> bool {
        true
    }

    fn transmit(&self, batch: &mut Vec<Box<Packet>>) {
        let out = self.out.lock().unwrap();
        for packet in batch.drain(..) {
            let mut bytes = vec![0; packet.len()];
            packet.read(0, &mut bytes);
            // Nobody listens any more when the test ends.
            let _ = out.send(bytes);
        }
    }

    fn start(&self, _: Arc<dyn LinkReceiver>) {}

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }
}

/// A machine with a loopback and an end of the wire.
struct Host {
    net: Arc<Net>,
    ingress: Arc<Ingress>,
    worker: Option<JoinHandle<()>>,
    sent: Mutex<Receiver<Vec<u8>>>,
}

impl Host {
    fn new(
        number: u8,
        mac: [u8; 6],
        v4: std::net::Ipv4Addr,
        v6: std::net::Ipv6Addr,
        processing: Processing,
    ) -> Self {
        let keys = ip::Keys { hash: [number; 16], stable_privacy: [number; 16], random: [number; 32] };
        let stack = Arc::new(Stack::new(keys, Box::new(ksync::platform::now_ns)));
        let keys = Keys {
            port_choice: [[number; 16]; 2],
            port_sharing: [[number; 16]; 2],
            tcp: [number; 48],
            flows: [number; 16],
        };
        let machine = Machine { cpus: 2, memory_bytes: 256 << 20, processing };
        let net = Net::new(stack.clone(), &keys, machine);
        stack.set_transport(Transports::new(&net));
        let loopback = Arc::new(Loopback::new());
        let index = stack.add_link(loopback.clone());
        loopback.start(Ingress::new(&net, index, Framing::Ip));
        let (out, sent) = channel();
        let mac = MacAddress(mac);
        let index = stack.add_link(Arc::new(Wire { mac, out: Mutex::new(out) }));
        let ingress = Ingress::new(&net, index, Framing::Ethernet(mac));
        let config = InterfaceConfig {
            ipv4: Ipv4Config::Static { addresses: vec![(v4, 24)], gateways: vec![] },
            ipv6: Ipv6Config { addresses: vec![(v6, 64)], ..Ipv6Config::default() },
            ..InterfaceConfig::default()
        };
        stack.configure(index, config).unwrap();
        let worker = thread::spawn({
            let net = net.clone();
            move || net.worker.run(&net)
        });
        Self { net, ingress, worker: Some(worker), sent: Mutex::new(sent) }
    }

    /// Brings frames, as one look at a receive queue would.
    fn receive(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        let mut batch =
            frames.into_iter().filter_map(|bytes| received(&bytes, HEAD_BYTES, page_of)).collect();
        self.ingress.receive(&mut batch);
    }

    fn stop(&mut self) {
        self.net.worker.stop();
        if let Some(worker) = self.worker.take() {
            worker.join().expect("the worker panicked");
        }
    }
}

fn address(family: Family, ip: std::net::IpAddr, port: u16) -> Vec<u8> {
    let at = SocketAddr::new(ip, port);
    Endpoint { address: at.ip(), port: at.port(), scope: 0, flow_info: 0 }.encode(family)
}

/// Echoes on all connections, by polling, until it is told to end.
fn serve(net: Arc<Net>, end: Arc<AtomicBool>) {
    let listener = TcpSocket::new(&net, Family::V6);
    listener.bind(&address(Family::V6, std::net::Ipv6Addr::UNSPECIFIED.into(), seeds::TCP_PORT)).unwrap();
    listener.listen(64).unwrap();
    let datagrams = UdpSocket::new(&net, Family::V6);
    datagrams.bind(&address(Family::V6, std::net::Ipv6Addr::UNSPECIFIED.into(), seeds::UDP_PORT)).unwrap();
    let mut open: Vec<Arc<dyn Socket>> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while !end.load(Relaxed) {
        while let Ok(socket) = listener.accept(Blocking::No) {
            open.push(socket);
            if open.len() > 64 {
                open.remove(0).close();
            }
        }
        open.retain(|socket| match receive(&**socket, &mut buffer) {
            Err(Errno::EAGAIN) => true,
            Ok(len @ 1..) => {
                let sent =
                    socket.send(&mut SliceSrc::new(&buffer[..len]), SendOptions::default(), Blocking::No);
                if sent.is_err() {
                    socket.close();
                }
                sent.is_ok()
            }
            _ => {
                socket.close();
                false
            }
        });
        while receive(&*datagrams, &mut buffer).is_ok() {}
        thread::sleep(Duration::from_micros(200));
    }
    open.iter().for_each(|socket| socket.close());
    datagrams.close();
    listener.close();
}

fn receive(socket: &dyn Socket, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut buffer = buffer;
    socket.receive(&mut buffer, MessageFlags::empty(), Blocking::No).map(|received| received.len)
}

/// One connection: sends some, reads some, closes. Whether all came back.
fn visit(net: &Arc<Net>, mutator: &mut Mutator, patience: Duration) -> bool {
    let (family, to) = match mutator.dice.once_in(2) {
        true => (Family::V4, seeds::OWN.into()),
        false => (Family::V6, seeds::OWN_V6.into()),
    };
    let socket = TcpSocket::new(net, family);
    let deadline = Instant::now() + patience;
    let to = address(family, to, seeds::TCP_PORT);
    let sent = vec![0x61; 1 + mutator.dice.below(20_000)];
    let mut buffer = vec![0; 64 << 10];
    let (mut connected, mut written, mut read) = (false, 0, 0);
    while read < sent.len() && Instant::now() < deadline {
        if !connected {
            match socket.connect(&to, Blocking::No) {
                Ok(()) | Err(Errno::EISCONN) => connected = true,
                Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
                Err(_) => break,
            }
        }
        if connected && written < sent.len() {
            match socket.send(&mut SliceSrc::new(&sent[written..]), SendOptions::default(), Blocking::No) {
                Ok(len) => written += len,
                Err(Errno::EAGAIN) => {}
                Err(_) => break,
            }
        }
        match receive(&*socket, &mut buffer) {
            Ok(0) => break,
            Ok(len) => read += len,
            Err(Errno::EAGAIN | Errno::ENOTCONN) => thread::sleep(Duration::from_micros(100)),
            Err(_) => break,
        }
    }
    socket.close();
    read == sent.len()
}

/// Carries frames from one to the other until `end`; with a mutator, damaged, and with others between them.
fn carry(from: &Host, to: &Host, mut damage: Option<(&mut Mutator, &[Vec<u8>], u64)>, end: &AtomicBool) {
    let mut made = 0;
    let sent = from.sent.lock().unwrap();
    while !end.load(Relaxed) {
        let mut batch: Vec<Vec<u8>> = Vec::new();
        match sent.recv_timeout(Duration::from_micros(500)) {
            Ok(frame) => batch.push(frame),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(_) => return,
        }
        batch.extend(sent.try_iter().take(32));
        if let Some((mutator, seeds, rounds)) = &mut damage {
            let mut worse = Vec::new();
            for frame in batch.drain(..) {
                // A stream of damaged copies of what is in order goes beside it, more rarely in place of it.
                if mutator.dice.once_in(4) {
                    let mut copy = frame.clone();
                    mutator.damage(&mut copy, seeds);
                    worse.push(copy);
                }
                if !mutator.dice.once_in(50) {
                    worse.push(frame);
                }
            }
            // Mostly so few that the slow path has room for all, now and then a flood.
            let flood = if mutator.dice.once_in(200) { 4_000 } else { 32 };
            for _ in 0..mutator.dice.below(flood) {
                worse.push(mutator.frame(seeds));
                made += 1;
            }
            batch = worse;
            if made >= *rounds {
                end.store(true, Relaxed);
            }
        }
        to.receive(batch);
    }
}

/// Whether a client is served over a sound wire. The first tries may find neighbours and paths that were poisoned; it must
/// get over that.
fn is_answered(victim: &Host, client: &Host, number: u64) -> bool {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| carry(victim, client, None, &end));
        scope.spawn(|| carry(client, victim, None, &end));
        let mut mutator = Mutator::new(seed() + number);
        let answered = (0..20).any(|_| visit(&client.net, &mut mutator, Duration::from_secs(3)));
        end.store(true, Relaxed);
        answered
    })
}

fn run(processing: Processing) {
    static MEMORY: Once = Once::new();
    MEMORY.call_once(frames::host::init);
    let seeds = seeds::all();
    let mut victim = Host::new(1, seeds::OWN_MAC, seeds::OWN, seeds::OWN_V6, processing);
    let mut client = Host::new(2, seeds::PEER_MAC, seeds::PEER, seeds::PEER_V6, processing);
    let end_service = Arc::new(AtomicBool::new(false));
    let service = thread::spawn({
        let (net, end) = (victim.net.clone(), end_service.clone());
        move || serve(net, end)
    });

    assert!(is_answered(&victim, &client, 0), "the service never answered");

    // The attack.
    let end = AtomicBool::new(false);
    let mut mutator = Mutator::new(seed());
    thread::scope(|scope| {
        scope.spawn(|| carry(&victim, &client, None, &end));
        scope.spawn(|| {
            let mut mutator = Mutator::new(seed() + 1);
            while !end.load(Relaxed) {
                visit(&client.net, &mut mutator, Duration::from_millis(100));
            }
        });
        carry(&client, &victim, Some((&mut mutator, &seeds, rounds(30_000))), &end);
    });

    assert!(
        is_answered(&victim, &client, 2),
        "the service does not answer any more\n{}",
        victim.net.counters
    );
    end_service.store(true, Relaxed);
    service.join().expect("the service panicked");
    victim.stop();
    client.stop();
    // A flow for each connection that is still ending, and none for what never was one.
    assert!(victim.net.flows.len() < 2_000, "{} flows", victim.net.flows.len());
}

#[test]
fn a_machine_with_channels_survives() {
    run(Processing::InReader);
}

#[test]
fn a_machine_without_channels_survives() {
    run(Processing::InWorker);
}
