//! The guest's network: what the user asks for, and what QEMU and the kernel are told of it.
//!
//! [`forward`] has ports of the host, [`link`] what the device is connected to; [`Network::plan`] checks that they and the addresses
//! go together. Not responsible for the device itself (`machine::qemu`), nor for anything in the guest.

pub mod faulty_link;
pub mod forward;
pub mod link;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use run_config::{AddressSource, InterfaceAddress, NetConfig, RunConfig};
use sha2::{Digest, Sha256};

use self::{
    forward::PortForward,
    link::{Link, Reach},
};
use crate::{
    failure::{Failure, Result},
    options::NetworkOptions,
};

/// The network of QEMU's user networking, and who is in it: the documentation of QEMU, "Using the user mode network stack".
const USER_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 0), 24);
const USER_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const USER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const USER_DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const USER_NETWORK_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 64);
const USER_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);

/// A network with nothing left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    link: Link,
    /// Free when they were looked at.
    forwards: Vec<PortForward>,
    mac: [u8; 6],
    config: NetConfig,
    hostname: String,
}

impl Network {
    /// No device; the guest has its loopback interface.
    pub fn none() -> Self {
        Self {
            link: Link::None,
            forwards: vec![],
            mac: [0; 6],
            config: NetConfig::default(),
            hostname: String::new(),
        }
    }

    /// Checks what the user asks for, completes it, and takes a look at the ports.
    pub fn plan(options: &NetworkOptions) -> Result<Self> {
        let link = options.link.clone().unwrap_or(Link::User(Reach::Host));
        link.check()?;
        let mut config = NetConfig {
            source: AddressSource::Dhcp,
            addresses: options.addresses.clone(),
            gateways: options.gateways.clone(),
            dns: options.dns.clone(),
            channels: options.channels.into(),
        };
        if config.addresses.iter().any(|own| own.address().is_ipv4()) {
            config.source = AddressSource::Static;
        }
        check_addresses(&link, &config)?;
        let on_user_network = matches!(link, Link::User(_));
        if on_user_network && config.source == AddressSource::Static {
            complete_for_user(&mut config);
        }
        if !on_user_network && !options.forwards.is_empty() {
            return Err(Failure::new(
                "-p needs --net user: on another network the guest is reached at its own address",
            ));
        }
        let mut forwards: Vec<PortForward> = Vec::new();
        for wanted in &options.forwards {
            let mut forward = *wanted;
            let twice =
                forwards.iter().any(|other| (other.host, other.protocol) == (forward.host, forward.protocol));
            if twice && forward.host.port() != 0 {
                return Err(Failure::new(format!(
                    "-p names {} port {} of the host twice",
                    forward.protocol.name(),
                    forward.host.port()
                )));
            }
            if forward.host.is_ipv6() {
                return Err(Failure::new(format!(
                    "QEMU's user networking listens on IPv4 addresses only, not on {}, which -p names",
                    forward.host.ip()
                )));
            }
            forward.claim()?;
            forwards.push(forward);
        }
        let mac = mac_address(&link, &config);
        Ok(Self { link, forwards, mac, config, hostname: options.hostname.clone().unwrap_or_default() })
    }

    /// Tells the kernel.
    pub fn configure(&self, config: &mut RunConfig) {
        config.net = self.config.clone();
        config.hostname = self.hostname.clone();
    }

    /// Tells a kernel without a DHCP client: the same, with what QEMU's user networking would have told it.
    pub fn configure_statically(&self, config: &mut RunConfig) {
        self.configure(config);
        if let (Link::User(_), AddressSource::Dhcp) = (&self.link, config.net.source) {
            config.net.source = AddressSource::Static;
            config.net.addresses.extend(InterfaceAddress::new(USER_GUEST.into(), USER_NETWORK.1));
            complete_for_user(&mut config.net);
        }
    }

    pub fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// The words of QEMU's command line. `bus` ends the name of the device's type.
    pub fn arguments(&self, bus: &str) -> Vec<String> {
        let Some(mut netdev) = self.link.netdev() else { return vec![] };
        // Without an address it is the one that QEMU's own DHCP server gives.
        let guest = self.config.addresses.iter().map(InterfaceAddress::address).find(IpAddr::is_ipv4);
        let guest = guest.map_or(String::new(), |address| address.to_string());
        for forward in &self.forwards {
            let PortForward { protocol, host, guest_port } = forward;
            netdev += &format!(",hostfwd={}:{host}-{guest}:{guest_port}", protocol.name());
        }
        let [a, b, c, d, e, f] = self.mac;
        let mut device = format!(
            "virtio-net-{bus},netdev={},mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}",
            link::NETDEV
        );
        if bus == "pci" {
            // Nothing boots from the network, and the file for that is in another package.
            device += ",romfile=";
        }
        let queues = self.link.queues();
        if queues > 1 {
            device += ",mq=on";
            if bus == "pci" {
                // Virtio 1.2, 5.1.2: a pair for each, and the control queue; and one vector for changes of the configuration.
                device += &format!(",vectors={}", 2 * queues + 2);
            }
        }
        ["-netdev", &netdev, "-device", &device].map(String::from).to_vec()
    }
}

fn check_addresses(link: &Link, config: &NetConfig) -> Result<()> {
    if *link == Link::None {
        let given = [
            (config.addresses.is_empty(), "--ip"),
            (config.gateways.is_empty(), "--gateway"),
            (config.dns.is_empty(), "--dns"),
        ];
        return match given.iter().find(|(absent, _)| !absent) {
            Some((_, option)) => Err(Failure::new(format!("{option} makes no sense with --net none"))),
            None => Ok(()),
        };
    }
    for (number, own) in config.addresses.iter().enumerate() {
        if config.addresses[..number].iter().any(|other| other.address() == own.address()) {
            return Err(Failure::new(format!("--ip names {} twice", own.address())));
        }
        if let Link::User(_) = link {
            check_user_address(own)?;
        }
    }
    for gateway in &config.gateways {
        let mut own = config.addresses.iter().filter(|own| own.address().is_ipv4() == gateway.is_ipv4());
        let link_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
        // Without a static address of the family the network is not known yet.
        if own.clone().next().is_some() && !link_local && !own.any(|own| own.contains(*gateway)) {
            return Err(Failure::new(format!("the gateway {gateway} is in no network of --ip")));
        }
    }
    Ok(())
}

/// QEMU's user networking answers to nobody outside of its networks.
fn check_user_address(own: &InterfaceAddress) -> Result<()> {
    let (network, length, taken): (IpAddr, u8, &[IpAddr]) = match own.address() {
        IpAddr::V4(_) => (USER_NETWORK.0.into(), USER_NETWORK.1, &[USER_GATEWAY.into(), USER_DNS.into()]),
        IpAddr::V6(_) => (USER_NETWORK_V6.0.into(), USER_NETWORK_V6.1, &[USER_GATEWAY_V6.into()]),
    };
    let inside = InterfaceAddress::new(own.address(), length).is_some_and(|own| own.contains(network));
    if !inside || own.prefix_len() != length {
        return Err(Failure::new(format!(
            "{own} is not in QEMU's user network, {network}/{length}: with other addresses use --net tap or --net socket"
        )));
    }
    if taken.contains(&own.address()) || own.address() == network {
        return Err(Failure::new(format!("{} is taken in QEMU's user network", own.address())));
    }
    Ok(())
}

/// What DHCP would have said.
fn complete_for_user(config: &mut NetConfig) {
    if !config.gateways.iter().any(IpAddr::is_ipv4) {
        config.gateways.push(USER_GATEWAY.into());
    }
    if config.dns.is_empty() {
        config.dns.push(USER_DNS.into());
    }
}

/// A hardware address that no other guest on the link has.
///
/// One that is the same each time for a guest with an address of its own, so that its neighbours need not learn another when it comes
/// back; for others it is as good as random.
fn mac_address(link: &Link, config: &NetConfig) -> [u8; 6] {
    static NETWORKS: AtomicU32 = AtomicU32::new(0);
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", std::mem::discriminant(link)));
    match config.addresses.first() {
        Some(own) => hash.update(own.to_string()),
        None => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
            hash.update(format!("{} {} {number}", now.as_nanos(), process::id()));
        }
    }
    let digest = hash.finalize();
    let mut mac = [0x52, 0, 0, 0, 0, 0];
    // 0x52 is a locally administered address of one station (IEEE 802, 8.2.2), as QEMU's own are.
    mac[1..].copy_from_slice(&digest[..5]);
    mac
}

/// Reads a host name: labels of letters, digits and hyphens, RFC 1123, 2.1; at most 64 bytes as on Linux.
pub fn parse_hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.into());
    }
    Err("it must be a name of letters, digits and hyphens, at most 64 long".into())
}

/// Reads an address and a prefix length.
pub fn parse_interface_address(text: &str) -> Result<InterfaceAddress, String> {
    text.parse().map_err(|_| {
        "it must be an address that a host can have and the length of its prefix, such as 10.0.0.5/24 or fd00::5/64".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::NetChannelsChoice;

    fn options(link: &str, addresses: &[&str], forwards: &[&str]) -> NetworkOptions {
        NetworkOptions {
            forwards: forwards.iter().map(|text| text.parse().unwrap()).collect(),
            link: Some(link.parse().unwrap()),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..NetworkOptions::default()
        }
    }

    fn refused(options: &NetworkOptions) -> String {
        Network::plan(options).unwrap_err().to_string()
    }

    #[test]
    fn by_default_it_is_user_networking_with_dhcp() {
        let network = Network::plan(&NetworkOptions::default()).unwrap();
        let words = network.arguments("pci");
        assert_eq!(words[..3], ["-netdev", "user,id=net0", "-device"]);
        assert!(words[3].starts_with("virtio-net-pci,netdev=net0,mac=52:"), "{words:?}");
        assert!(words[3].ends_with(",romfile="), "{words:?}");
        let mut config = RunConfig::default();
        network.configure(&mut config);
        assert_eq!(config, RunConfig::default());
        network.configure_statically(&mut config);
        assert_eq!(config.net.addresses, ["10.0.2.15/24"].map(|text| text.parse().unwrap()));
        assert_eq!(config.net.gateways, [IpAddr::V4(USER_GATEWAY)]);
        assert_eq!(Network::none().arguments("pci"), [""; 0]);
    }

    #[test]
    fn ports_lead_to_the_guests_address() {
        let dynamic = Network::plan(&options("user", &[], &["0:80", "0:53/udp"])).unwrap();
        let [web, names] = dynamic.forwards() else { panic!() };
        let (web, names) = (web.host.port(), names.host.port());
        assert_eq!(
            dynamic.arguments("device")[1],
            format!("user,id=net0,hostfwd=tcp:127.0.0.1:{web}-:80,hostfwd=udp:127.0.0.1:{names}-:53")
        );
        let fixed = Network::plan(&options("user:restrict", &["10.0.2.40/24"], &["0:80"])).unwrap();
        let port = fixed.forwards()[0].host.port();
        assert_eq!(
            fixed.arguments("device")[1],
            format!("user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.40:80")
        );
        assert_eq!(fixed.config.source, AddressSource::Static);
        assert_eq!(fixed.config.gateways, [IpAddr::V4(USER_GATEWAY)]);
        assert_eq!(fixed.config.dns, [IpAddr::V4(USER_DNS)]);
    }

    #[test]
    fn queues_need_vectors() {
        let network = Network::plan(&options("tap:lo,queues=4", &[], &[])).unwrap();
        assert!(network.arguments("pci")[3].ends_with(",romfile=,mq=on,vectors=10"));
        assert!(network.arguments("device")[3].ends_with(",mq=on"));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert!(refused(&options("none", &[], &["0:80"])).contains("-p needs --net user"));
        assert!(refused(&options("none", &["10.0.0.1/8"], &[])).contains("--ip makes no sense"));
        let dns = NetworkOptions { dns: vec!["10.0.0.1".parse().unwrap()], ..options("none", &[], &[]) };
        assert!(refused(&dns).contains("--dns makes no sense"));
        assert!(
            refused(&options("user", &["192.168.0.1/24"], &[])).contains("is not in QEMU's user network")
        );
        assert!(refused(&options("user", &["10.0.2.15/16"], &[])).contains("is not in QEMU's user network"));
        assert!(refused(&options("user", &["fd00::1/64"], &[])).contains("fec0::/64"));
        assert!(refused(&options("user", &["10.0.2.2/24"], &[])).contains("is taken"));
        assert!(refused(&options("user", &["10.0.2.9/24", "10.0.2.9/24"], &[])).contains("twice"));
        assert!(refused(&options("user", &[], &["9:80", "9:81"])).contains("port 9"));
        assert!(refused(&options("user", &[], &["[::1]:9000:80"])).contains("IPv4 addresses only"));
        let socket = options("socket:listen=127.0.0.1:1", &["10.1.0.5/24", "fd00::5/64"], &[]);
        let with =
            |gateway: &str| NetworkOptions { gateways: vec![gateway.parse().unwrap()], ..socket.clone() };
        assert!(refused(&with("10.2.0.1")).contains("is in no network of --ip"));
        assert!(refused(&with("fd01::1")).contains("is in no network of --ip"));
        for gateway in ["10.1.0.1", "fd00::1", "fe80::1"] {
            assert!(Network::plan(&with(gateway)).is_ok(), "{gateway}");
        }
    }

    #[test]
    fn a_static_address_of_one_family_leaves_the_other_alone() {
        let network = Network::plan(&options("user", &["fec0::50/64"], &[])).unwrap();
        assert_eq!(network.config.source, AddressSource::Dhcp);
        assert!(network.config.gateways.is_empty());
    }

    #[test]
    fn guests_on_one_link_have_different_hardware_addresses() {
        let link = "socket:mcast=230.0.0.1:1000";
        let mac = |addresses: &[&str]| Network::plan(&options(link, addresses, &[])).unwrap().mac;
        assert_ne!(mac(&[]), mac(&[]));
        assert_eq!(mac(&["10.0.0.5/24"]), mac(&["10.0.0.5/24"]));
        assert_ne!(mac(&["10.0.0.5/24"]), mac(&["10.0.0.6/24"]));
        // Neither of a group nor universally administered.
        assert_eq!(mac(&[])[0] & 3, 2);
    }

    #[test]
    fn host_names_are_checked() {
        for name in ["a", "zoo-1", "host.example.org", "1a"] {
            assert_eq!(parse_hostname(name), Ok(name.to_string()));
        }
        for name in ["", "-a", "a-", "a..b", "a_b", "é", &"a".repeat(65)] {
            assert!(parse_hostname(name).is_err(), "{name}");
        }
    }

    #[test]
    fn channels_can_be_turned_off() {
        let network =
            Network::plan(&NetworkOptions { channels: NetChannelsChoice::Off, ..NetworkOptions::default() });
        assert_eq!(network.unwrap().config.channels, run_config::NetChannels::Off);
    }
}
