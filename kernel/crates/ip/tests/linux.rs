//! The stack and Linux on one link: a TAP device in a network namespace of its own. Needs root:
//! `cargo test -p ip --test linux -- --ignored`.

mod ethernet;

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd, FromRawFd},
    process::Command,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ethernet::{bytes_of, outgoing, received};
use ip::{
    Change, Claim, Datagram, IcmpError, IcmpErrorKind, InterfaceConfig, Ipv4Config, Ipv6Config, Keys,
    Loopback, OutputOptions, Stack, Transport, protocol,
};
use linux_abi::Errno;
use packet::{Checksum, Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet, internet_checksum};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0x77, 1]);

struct TapLink {
    tap: File,
}

impl Link for TapLink {
    fn name(&self) -> &str {
        "eth0"
    }

    fn hardware_address(&self) -> Option<MacAddress> {
        Some(MAC)
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
        for packet in batch.drain(..) {
            let bytes = bytes_of(&packet);
            assert_eq!((&self.tap).write(&bytes).unwrap(), bytes.len());
        }
    }

    fn start(&self, _: Arc<dyn LinkReceiver>) {}

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }
}

/// Echoes UDP at port 7, and has nobody at all others.
struct Echo {
    stack: Mutex<Option<Arc<Stack>>>,
    poll_wanted: (Mutex<bool>, Condvar),
    errors: Mutex<Vec<IcmpError>>,
}

impl Echo {
    fn stack(&self) -> Arc<Stack> {
        self.stack.lock().unwrap().clone().unwrap()
    }

    /// Waits until `done`, at most ten seconds.
    fn wait<T>(&self, mut done: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = done() {
                return value;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "nothing happened");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn send_udp(stack: &Stack, from: Option<IpAddr>, to: IpAddr, ports: [u16; 2], data: &[u8]) {
    let route = stack.route(to, from, Some(2)).unwrap();
    let mut segment = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
    let len = 8 + data.len();
    segment.extend((len as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(data);
    let sum = [route.source, to].into_iter().fold(17 + len as u64, |sum, address| match address {
        IpAddr::V4(address) => internet_checksum::add(sum, &address.octets()),
        IpAddr::V6(address) => internet_checksum::add(sum, &address.octets()),
    });
    segment[6..8].copy_from_slice(&internet_checksum::fold(sum).to_be_bytes());
    let mut packet = outgoing(&segment);
    packet.checksum = Checksum::Partial { start: 0, offset: 6 };
    stack.output(&route, route.source, to, OutputOptions::new(protocol::UDP), &mut vec![packet]).unwrap();
}

impl Transport for Echo {
    fn deliver(&self, datagram: Datagram) -> Claim {
        if datagram.protocol == protocol::UDP {
            let bytes = bytes_of(&datagram.packet);
            let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            if port(2) == 7 {
                let (to, from) = (datagram.source, datagram.destination);
                send_udp(&self.stack(), Some(from), to, [7, port(0)], &bytes[8..]);
            } else {
                self.stack().port_unreachable(&datagram);
            }
        }
        Claim::Claimed
    }

    fn icmp_error(&self, error: IcmpError) {
        self.errors.lock().unwrap().push(error);
    }

    fn poll_wanted(&self) {
        *self.poll_wanted.0.lock().unwrap() = true;
        self.poll_wanted.1.notify_one();
    }

    fn changed(&self, change: Change) {
        println!("{change:?}");
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Puts this thread, and what it starts, into a network namespace with a TAP device, `tap0`.
fn tap() -> File {
    // SAFETY: plain system calls; this thread shares nothing of the network with others.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    let tap = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // uapi linux/if_tun.h.
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TAP_NO_PI: u16 = 0x1002;
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"tap0");
    request[16..18].copy_from_slice(&IFF_TAP_NO_PI.to_ne_bytes());
    // SAFETY: the request reads and writes an `ifreq`, which has 40 bytes.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // No privacy addresses and no wait for uniqueness on Linux's side.
    std::fs::write("/proc/sys/net/ipv6/conf/tap0/accept_dad", "0").unwrap();
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    ip("link set lo up");
    ip("link set tap0 up");
    ip("addr add 10.9.0.1/24 dev tap0");
    ip("addr add fd00:9::1/64 dev tap0 nodad");
    tap
}

struct Fixture {
    upper: Arc<Echo>,
    stack: Arc<Stack>,
    ends: Arc<AtomicBool>,
}

impl Fixture {
    fn new(config: InterfaceConfig) -> Self {
        frames::host::init();
        let tap = tap();
        let keys = Keys { hash: [1; 16], stable_privacy: [2; 16], random: [3; 32] };
        let start = Instant::now();
        let clock = move || start.elapsed().as_nanos() as u64 + 1;
        let stack = Arc::new(Stack::new(keys, Box::new(clock)));
        let upper = Arc::new(Echo {
            stack: Mutex::new(Some(stack.clone())),
            poll_wanted: Default::default(),
            errors: Mutex::default(),
        });
        stack.set_transport(upper.clone());
        stack.add_link(Arc::new(Loopback::new()));
        stack.add_link(Arc::new(TapLink { tap: tap.try_clone().unwrap() }));
        let ends = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let (stack, mut tap) = (stack.clone(), tap);
            move || {
                let mut buffer = [0; 2000];
                while let Ok(len) = tap.read(&mut buffer) {
                    stack.input(2, received(&buffer[..len]));
                }
            }
        });
        thread::spawn({
            let (stack, upper, ends) = (stack.clone(), upper.clone(), ends.clone());
            move || {
                while !ends.load(Ordering::Relaxed) {
                    let deadline_ns = stack.poll().unwrap_or(u64::MAX);
                    let wait = Duration::from_nanos(deadline_ns.saturating_sub(clock()))
                        .min(Duration::from_millis(100));
                    let wanted = upper.poll_wanted.0.lock().unwrap();
                    let (mut wanted, _) =
                        upper.poll_wanted.1.wait_timeout_while(wanted, wait, |wanted| !*wanted).unwrap();
                    *wanted = false;
                }
            }
        });
        stack.configure(2, config).unwrap();
        Self { upper, stack, ends }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// A socket of Linux that sends echo requests and gets the replies.
fn ping_socket(is_v6: bool) -> UdpSocket {
    let (family, protocol) =
        if is_v6 { (libc::AF_INET6, libc::IPPROTO_ICMPV6) } else { (libc::AF_INET, libc::IPPROTO_ICMP) };
    // SAFETY: a plain system call, whose result is a new descriptor that nobody else has.
    let socket = unsafe {
        let fd = libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        UdpSocket::from_raw_fd(fd)
    };
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ping(to: IpAddr, len: usize) {
    let socket = ping_socket(to.is_ipv6());
    let mut request: Vec<u8> = (0..len + 8).map(|at| (at * 13) as u8).collect();
    request[..8].copy_from_slice(&[if to.is_ipv6() { 128 } else { 8 }, 0, 0, 0, 0, 0, 0, 1]);
    // The first one may come before our address is known to be unique.
    let start = Instant::now();
    loop {
        socket.send_to(&request, SocketAddr::new(to, 0)).unwrap();
        let mut reply = vec![0; 65_536];
        match socket.recv_from(&mut reply) {
            Ok((got, from)) => {
                assert_eq!(from.ip(), to);
                assert_eq!(&reply[8..got], &request[8..], "{to} {len}");
                return;
            }
            Err(error) => assert!(start.elapsed() < Duration::from_secs(8), "{to} {len}: {error}"),
        }
    }
}

fn static_config() -> InterfaceConfig {
    InterfaceConfig {
        ipv4: Ipv4Config::Static { addresses: vec![(Ipv4Addr::new(10, 9, 0, 2), 24)], gateways: vec![] },
        ipv6: Ipv6Config { addresses: vec![("fd00:9::2".parse().unwrap(), 64)], ..Ipv6Config::default() },
        ..InterfaceConfig::default()
    }
}

#[test]
#[ignore = "needs root"]
fn linux_talks_with_the_stack() {
    let fixture = Fixture::new(static_config());
    thread::sleep(Duration::from_millis(1500));
    let addresses: [IpAddr; 2] = ["10.9.0.2".parse().unwrap(), "fd00:9::2".parse().unwrap()];
    let linux: [IpAddr; 2] = ["10.9.0.1".parse().unwrap(), "fd00:9::1".parse().unwrap()];
    for to in addresses {
        // The last ones are fragmented both ways.
        for len in [0, 56, 1400, 3000, 20_000, 60_000] {
            ping(to, len);
        }
    }
    for (to, own) in addresses.into_iter().zip(linux) {
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for len in [0, 1, 1472, 1473, 5_000, 60_000] {
            let data: Vec<u8> = (0..len).map(|at| (at * 7 + at / 256) as u8).collect();
            socket.send_to(&data, (to, 7)).unwrap();
            let mut got = vec![0; 65_536];
            let (got_len, from) = socket.recv_from(&mut got).unwrap();
            assert_eq!((from, &got[..got_len]), (SocketAddr::new(to, 7), data.as_slice()));
        }
        // A port of ours where nobody is.
        socket.connect((to, 9)).unwrap();
        socket.send(b"x").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // A port of Linux where nobody is.
        send_udp(&fixture.stack, None, own, [1000, 1001], b"hello");
        let is_refused = |error: &IcmpError| {
            error.kind == IcmpErrorKind::Unreachable { errno: Errno::ECONNREFUSED, fatal: true }
                && error.destination == own
                && error.quoted[..4] == [3, 232, 3, 233]
        };
        fixture.upper.wait(|| fixture.upper.errors.lock().unwrap().iter().any(is_refused).then_some(()));
    }
    let arp = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap();
    assert!(arp.contains("10.9.0.2         0x1         0x2         02:00:00:00:77:01"), "{arp}");
    // Nobody is there: the stack says so itself.
    send_udp(&fixture.stack, None, "10.9.0.77".parse().unwrap(), [1, 2], b"hello");
    fixture.upper.wait(|| {
        let errors = fixture.upper.errors.lock().unwrap();
        let is_absent = |error: &IcmpError| error.destination == IpAddr::from([10, 9, 0, 77]);
        errors.iter().any(is_absent).then_some(())
    });
    // Groups: Linux sends to one that the stack has joined.
    let group: IpAddr = [239, 9, 9, 9].into();
    let any = ip::SourceFilter::ANY;
    fixture.stack.set_membership(2, group, 1, Some(any)).unwrap();
    let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let before = fixture.stack.ipv4_counters().in_delivers;
    ip("route add 239.0.0.0/8 dev tap0");
    socket.send_to(b"group", "239.9.9.9:5").unwrap();
    fixture.upper.wait(|| (fixture.stack.ipv4_counters().in_delivers > before).then_some(()));
}

#[test]
#[ignore = "needs root"]
fn a_router_on_linux_configures_the_stack() {
    let fixture = Fixture::new(InterfaceConfig::default());
    ip("addr add 2001:db8:77::1/64 dev tap0 nodad");
    // SAFETY: plain system calls on a descriptor of our own; the options are of the sizes that are given.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMPV6);
        assert!(fd >= 0);
        let hops: libc::c_int = 255;
        let result = libc::setsockopt(
            fd,
            libc::IPPROTO_IPV6,
            libc::IPV6_MULTICAST_HOPS,
            (&raw const hops).cast(),
            size_of_val(&hops) as u32,
        );
        assert_eq!(result, 0);
        UdpSocket::from_raw_fd(fd)
    };
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend("2001:db8:77::".parse::<Ipv6Addr>().unwrap().octets());
    let name = c"tap0";
    // SAFETY: the name ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let all_nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    fixture.upper.wait(|| socket.send_to(&message, all_nodes).ok());
    ping("2001:db8:77::ff:fe00:7701".parse().unwrap(), 56);
    let route = fixture.stack.route("2001:db8::1".parse().unwrap(), None, None).unwrap();
    assert!(matches!(route.next_hop, IpAddr::V6(router) if router.is_unicast_link_local()));
}

#[test]
#[ignore = "needs root"]
fn a_dhcp_server_on_linux_configures_the_stack() {
    let fixture = {
        let config = InterfaceConfig { ipv4: Ipv4Config::Dhcp, ..InterfaceConfig::default() };
        Fixture::new(config)
    };
    ip("route add default dev tap0");
    let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for kind in [2, 5] {
        let mut request = [0; 1500];
        let (len, from) = socket.recv_from(&mut request).unwrap();
        assert!(len > 240 && from.port() == 68);
        let mut reply = request[..240].to_vec();
        reply[0] = 2;
        reply[16..20].copy_from_slice(&[10, 9, 0, 50]);
        reply.extend([53, 1, kind, 54, 4, 10, 9, 0, 1, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
        reply.extend([3, 4, 10, 9, 0, 1, 255]);
        socket.send_to(&reply, "255.255.255.255:68").unwrap();
    }
    fixture.upper.wait(|| (!fixture.stack.is_configuring()).then_some(()));
    ping([10, 9, 0, 50].into(), 56);
    let route = fixture.stack.route([8, 8, 8, 8].into(), None, None).unwrap();
    assert_eq!((route.source, route.next_hop), ([10, 9, 0, 50].into(), [10, 9, 0, 1].into()));
}
