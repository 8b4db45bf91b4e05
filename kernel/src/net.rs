//! The network put together: IP, the sockets, the links, the thread that works for them, and how the run wants its
//! interfaces.
//!
//! Everything is made once, by the thread `net`, and lives for ever. The program need not wait for it to start: [`net`] waits,
//! so that a socket or a file of `/proc/net` finds the interfaces as if they had been there before. Nothing here locks.

pub mod ioctl;
mod proc_files;
mod resolver;

use alloc::{boxed::Box, format, string::String, sync::Arc};
use core::net::IpAddr;

use inet::{
    Family, Ingress, Keys, Machine, Net, NetlinkSocket, RawMode, RawSocket, TcpSocket, Transports, UdpSocket,
};
use ip::{Autoconfiguration, Change, InterfaceConfig, Ipv4Config, Ipv6Config, Loopback, Stack};
use ipc::socket::Socket;
use ksync::{Interruptible, WaitQueue, platform};
use linux_abi::{
    Errno,
    inet::protocol::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_MAX, IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP},
    netlink::NETLINK_ROUTE,
    socket::SocketType,
};
use netchannels::{Framing, Processing};
use packet::Link;
use run_config::{AddressSource, NetChannels, NetConfig};
use spin::Once;

pub use self::{proc_files::proc_file, resolver::write_names};
use crate::{
    arch::cpu,
    device::{network, random},
    mm, task,
};

static NET: Once<Arc<Net>> = Once::new();
/// Who waits for [`NET`].
static STARTED: WaitQueue = WaitQueue::new();
/// How the run wants the network.
static CONFIG: Once<NetConfig> = Once::new();

/// Who waits for the first address.
static CONFIGURED: WaitQueue = WaitQueue::new();

/// The network, with all its interfaces. May wait, just after the program's start.
pub fn net() -> &'static Arc<Net> {
    NET.get().unwrap_or_else(|| STARTED.wait_uninterruptible(|| NET.get()))
}

/// Random bytes for a key.
fn key<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    random::fill(&mut bytes);
    bytes
}

/// Has the network brought up by a thread of its own, which is the worker then. The error says in a sentence what is wrong.
pub fn start(config: NetConfig) -> Result<(), String> {
    CONFIG.call_once(|| config);
    task::spawn_kernel_thread("net", work, 0).map_err(|error| format!("no thread for the network: {error:?}"))
}

extern "C" fn work(_: usize) -> ! {
    let config = CONFIG.get().expect("`start` has set it");
    let net = NET.call_once(|| bring_up(config));
    STARTED.wake_all();
    net.worker.run(net);
    task::park_forever()
}

/// Brings the network up: the loopback, and an interface for each network device. Nothing in here may use [`net`].
fn bring_up(config: &NetConfig) -> Arc<Net> {
    let keys = ip::Keys { hash: key(), stable_privacy: key(), random: key() };
    let stack = Arc::new(Stack::new(keys, Box::new(platform::now_ns)));
    let keys = Keys { port_choice: [key(), key()], port_sharing: [key(), key()], tcp: key(), flows: key() };
    let processing = match config.channels {
        NetChannels::On => Processing::InReader,
        NetChannels::Off => Processing::InWorker,
    };
    let memory_bytes = usize::try_from(mm::memory_figures().total_bytes).unwrap_or(usize::MAX);
    let net = Net::new(stack.clone(), &keys, Machine { cpus: cpu::count(), memory_bytes, processing });
    stack.set_transport(Transports::new(&net));
    add_link(&net, Arc::new(Loopback::new()));
    network::describe();
    for (n, card) in network::links().enumerate() {
        let index = add_link(&net, card);
        // What the run says is for the first card; others find out themselves.
        let wanted = if n == 0 { interface_config(config) } else { automatic() };
        if let Err(error) = net.ip.configure(index, wanted) {
            log::error!("the interface {index} cannot be configured: {error:?}");
        }
    }
    let followed = net.clone();
    net.follow_changes(Box::new(move |change| {
        resolver::follow(&followed, change);
        if *change == Change::Configured {
            CONFIGURED.wake_all();
        }
    }));
    net
}

/// Adds a link and lets its packets come in; returns its interface's index.
fn add_link(net: &Arc<Net>, link: Arc<dyn Link>) -> u32 {
    let framing = link.hardware_address().map_or(Framing::Ip, Framing::Ethernet);
    let index = net.ip.add_link(link.clone());
    link.start(Ingress::new(net, index, framing));
    index
}

/// An interface that finds out all by itself.
fn automatic() -> InterfaceConfig {
    InterfaceConfig {
        ipv4: Ipv4Config::Dhcp,
        hostname: Some(crate::syscall::info::hostname()),
        ..InterfaceConfig::default()
    }
}

/// How the run wants its first interface to be configured.
fn interface_config(net: &NetConfig) -> InterfaceConfig {
    let of_v4 = net.addresses.iter().filter_map(|own| match own.address() {
        IpAddr::V4(address) => Some((address, own.prefix_len())),
        IpAddr::V6(_) => None,
    });
    let of_v6 = net.addresses.iter().filter_map(|own| match own.address() {
        IpAddr::V6(address) => Some((address, own.prefix_len())),
        IpAddr::V4(_) => None,
    });
    let v4_gateways = net.gateways.iter().filter_map(|gateway| match gateway {
        IpAddr::V4(gateway) => Some(*gateway),
        IpAddr::V6(_) => None,
    });
    let v6_gateways = net.gateways.iter().filter_map(|gateway| match gateway {
        IpAddr::V6(gateway) => Some(*gateway),
        IpAddr::V4(_) => None,
    });
    let v6_addresses: alloc::vec::Vec<_> = of_v6.collect();
    InterfaceConfig {
        ipv4: match net.source {
            AddressSource::Dhcp => Ipv4Config::Dhcp,
            AddressSource::Static => {
                Ipv4Config::Static { addresses: of_v4.collect(), gateways: v4_gateways.collect() }
            }
        },
        ipv6: Ipv6Config {
            autoconfiguration: if v6_addresses.is_empty() {
                Autoconfiguration::On
            } else {
                Autoconfiguration::Off
            },
            addresses: v6_addresses,
            gateways: v6_gateways.collect(),
            ..Ipv6Config::default()
        },
        dns: net.dns.clone(),
        hostname: Some(crate::syscall::info::hostname()),
    }
}

/// Waits for the address that DHCP is about to bring, for at most a few seconds after the boot.
///
/// The boot does not wait: by the time a JVM looks at the network, the answer is there. A smaller program is quicker than
/// the server, and would find a machine without addresses, where on Linux services are started when the network is
/// there (systemd's `network-online.target`).
fn await_address() -> Result<(), Errno> {
    let is_there = || (!net().ip.is_configuring()).then_some(());
    match is_there() {
        Some(()) => Ok(()),
        None => CONFIGURED.wait(Interruptible::Yes, None, is_there).map_err(Errno::from),
    }
}

/// Makes a socket of the Internet (`inet_create`, `inet6_create`).
pub fn create(family: Family, kind: SocketType, protocol: i32) -> Result<Arc<dyn Socket>, Errno> {
    if !(0..IPPROTO_MAX).contains(&protocol) {
        return Err(Errno::EINVAL);
    }
    await_address()?;
    match (kind, protocol) {
        (SocketType::Stream, 0 | IPPROTO_TCP) => Ok(TcpSocket::new(net(), family)),
        (SocketType::Datagram, 0 | IPPROTO_UDP) => Ok(UdpSocket::new(net(), family)),
        (SocketType::Datagram, IPPROTO_ICMP) if family == Family::V4 => {
            Ok(RawSocket::new(net(), family, RawMode::Ping, IPPROTO_ICMP as u8))
        }
        (SocketType::Datagram, IPPROTO_ICMPV6) if family == Family::V6 => {
            Ok(RawSocket::new(net(), family, RawMode::Ping, IPPROTO_ICMPV6 as u8))
        }
        // A raw socket would not see TCP's and UDP's packets that go through channels: better none than one that
        // sees half of them.
        (SocketType::Raw, 0 | IPPROTO_TCP | IPPROTO_UDP) => Err(Errno::EPROTONOSUPPORT),
        (SocketType::Raw, protocol) if protocol <= IPPROTO_RAW => {
            Ok(RawSocket::new(net(), family, RawMode::Raw, protocol as u8))
        }
        (SocketType::Stream | SocketType::Datagram | SocketType::Raw, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// Makes a netlink socket (`netlink_create`).
pub fn create_netlink(kind: SocketType, protocol: i32) -> Result<Arc<dyn Socket>, Errno> {
    await_address()?;
    match (kind, protocol) {
        (SocketType::Raw | SocketType::Datagram, NETLINK_ROUTE) => {
            Ok(NetlinkSocket::new(net(), kind, task::PID))
        }
        (SocketType::Raw | SocketType::Datagram, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
