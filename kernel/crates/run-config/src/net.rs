//! The network settings of a run.
//!
//! Responsible for the keys that begin with `net.`:
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `net.config` | `dhcp` or `static` | where the IPv4 address comes from; `dhcp` if the key is absent |
//! | `net.address` | `ADDRESS/LENGTH` | an address of the first interface; may be given again |
//! | `net.gateway` | an address | the default route of its family; may be given again |
//! | `net.dns` | an address | a name server, in place of what DHCP or router advertisements name; may be given again |
//! | `net.hostname` | a name | the host name, in `/etc/hosts` too; `hostname` is its older spelling |
//! | `net.channels` | `on` or `off` | whether established flows have net channels; `on` if the key is absent |
//!
//! A static IPv6 address turns address autoconfiguration off, a static IPv4 address (`net.config=static`) DHCP: each for its own
//! family. A machine without a network device has only the loopback interface, whatever stands here.

use alloc::vec::Vec;
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Where the first interface gets its IPv4 address from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressSource {
    /// DHCP, RFC 2131.
    #[default]
    Dhcp,
    /// [`NetConfig::addresses`] alone.
    Static,
}

/// Whether established flows have net channels, or all packets go through the network thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetChannels {
    #[default]
    On,
    Off,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    address: IpAddr,
    prefix_len: u8,
}

/// Settings of the first network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetConfig {
    pub source: AddressSource,
    pub addresses: Vec<InterfaceAddress>,
    pub gateways: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
    pub channels: NetChannels,
}

impl InterfaceAddress {
    /// `None` if the prefix is longer than the address, or no interface can have the address: an unspecified one, a loopback one, or
    /// one of a group.
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let usable =
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !broadcast;
        (usable && u32::from(prefix_len) <= bits).then_some(Self { address, prefix_len })
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether another address is in the same network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let length = u32::from(self.prefix_len);
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= length
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= length
            }
            _ => false,
        }
    }
}

/// Not an address and a prefix length, as in `10.0.0.5/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnInterfaceAddress;

impl FromStr for InterfaceAddress {
    type Err = NotAnInterfaceAddress;

    fn from_str(text: &str) -> Result<Self, NotAnInterfaceAddress> {
        let (address, length) = text.split_once('/').ok_or(NotAnInterfaceAddress)?;
        // A number may not have a sign, which u8's own parser allows.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnInterfaceAddress);
        }
        let address = address.parse().map_err(|_| NotAnInterfaceAddress)?;
        let length = length.parse().map_err(|_| NotAnInterfaceAddress)?;
        Self::new(address, length).ok_or(NotAnInterfaceAddress)
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl NetConfig {
    /// Takes the value of a key without its `net.`. `None` if the key has no such value.
    pub(crate) fn set(&mut self, key: Key, value: &str) -> Option<()> {
        match key {
            Key::Config => {
                self.source = match value {
                    "dhcp" => AddressSource::Dhcp,
                    "static" => AddressSource::Static,
                    _ => return None,
                }
            }
            Key::Address => self.addresses.push(value.parse().ok()?),
            Key::Gateway => self.gateways.push(value.parse().ok()?),
            Key::Dns => self.dns.push(value.parse().ok()?),
            Key::Channels => {
                self.channels = match value {
                    "on" => NetChannels::On,
                    "off" => NetChannels::Off,
                    _ => return None,
                }
            }
        }
        Some(())
    }

    /// Gives the records that say the same, but for those that say what would be without them.
    pub(crate) fn records(&self, mut record: impl FnMut(&str, &dyn fmt::Display)) {
        if self.source == AddressSource::Static {
            record(Key::Config.name(), &"static");
        }
        self.addresses.iter().for_each(|address| record(Key::Address.name(), address));
        self.gateways.iter().for_each(|gateway| record(Key::Gateway.name(), gateway));
        self.dns.iter().for_each(|server| record(Key::Dns.name(), server));
        if self.channels == NetChannels::Off {
            record(Key::Channels.name(), &"off");
        }
    }
}

/// The keys, but for the host name's, which is not a matter of the network alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Config,
    Address,
    Gateway,
    Dns,
    Channels,
}

impl Key {
    const ALL: [Self; 5] = [Self::Config, Self::Address, Self::Gateway, Self::Dns, Self::Channels];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Config => "net.config",
            Self::Address => "net.address",
            Self::Gateway => "net.gateway",
            Self::Dns => "net.dns",
            Self::Channels => "net.channels",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn address(text: &str) -> Option<InterfaceAddress> {
        text.parse().ok()
    }

    #[test]
    fn addresses_have_a_prefix() {
        for text in ["10.0.2.15/24", "192.168.1.1/32", "fd00::5/64", "2001:db8::1/128", "1.2.3.4/0"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in [
            "10.0.2.15",
            "10.0.2.15/33",
            "10.0.2/24",
            "10.0.2.15/+8",
            "10.0.2.15/",
            "fd00::5/129",
            "/24",
            "::/64",
            "0.0.0.0/8",
            "127.0.0.1/8",
            "::1/128",
            "224.0.0.1/24",
            "ff02::1/64",
            "255.255.255.255/24",
            "fe80::1%2/64",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let contains =
            |network: &str, other: &str| address(network).unwrap().contains(other.parse().unwrap());
        assert!(contains("10.0.2.15/24", "10.0.2.2"));
        assert!(!contains("10.0.2.15/24", "10.0.3.2"));
        assert!(contains("10.0.2.15/32", "10.0.2.15"));
        assert!(contains("10.0.2.15/0", "192.0.2.1"));
        assert!(!contains("10.0.2.15/0", "fd00::1"));
        assert!(contains("fd00::5/64", "fd00::ffff:1"));
        assert!(!contains("fd00::5/64", "fd00:0:0:1::1"));
    }
}
