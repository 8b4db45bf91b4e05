//! An interface: a link, and what IP knows of it.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use packet::{Link, MacAddress, Packet};

use crate::{
    InterfaceFlags,
    neighbour::NeighbourCache,
    wire::{ETHERNET_HEADER_BYTES, IPV6_MIN_MTU, ensure_front, put_ethernet_header, put_frame_header},
};

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Default hop limit (RFC 1700, "IP TIME TO LIVE PARAMETER").
const DEFAULT_HOP_LIMIT: u8 = 64;

pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) link: Arc<dyn Link>,
    /// `None` on the loopback.
    pub(crate) mac: Option<MacAddress>,
    pub(crate) neighbours: NeighbourCache,
    /// MTUs of IPv4 and of IPv6: the link's, or what DHCP or a router says.
    mtu: [AtomicU32; 2],
    /// Hop limit of IPv6, as the router says.
    hop_limit: AtomicU8,
}

impl core::fmt::Debug for Interface {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Interface({}, {})", self.index, self.name)
    }
}

impl Interface {
    pub(crate) fn new(index: u32, link: Arc<dyn Link>) -> Self {
        let mtu = link.mtu();
        Self {
            index,
            name: link.name().into(),
            mac: link.hardware_address(),
            neighbours: NeighbourCache::new(),
            mtu: [AtomicU32::new(mtu), AtomicU32::new(mtu)],
            hop_limit: AtomicU8::new(DEFAULT_HOP_LIMIT),
            link,
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.mac.is_none()
    }

    /// Largest packet of a family, headers included.
    pub(crate) fn mtu(&self, family: Family) -> u32 {
        self.mtu[family as usize].load(Ordering::Relaxed)
    }

    /// Sets what DHCP or a router says of the MTU, within what the link and the protocol can do; `None` for the link's
    /// own.
    pub(crate) fn set_mtu(&self, family: Family, mtu: Option<u32>) {
        let least = match family {
            // What every host must be able to take (RFC 791, 3.1).
            Family::V4 => 576,
            Family::V6 => IPV6_MIN_MTU,
        };
        let link = self.link.mtu();
        let mtu = mtu.unwrap_or(link).clamp(least.min(link), link);
        self.mtu[family as usize].store(mtu, Ordering::Relaxed);
    }

    pub(crate) fn hop_limit(&self, family: Family) -> u8 {
        match family {
            Family::V4 => DEFAULT_HOP_LIMIT,
            Family::V6 => self.hop_limit.load(Ordering::Relaxed),
        }
    }

    /// Sets IPv6's hop limit; 0 is no statement (RFC 4861, 4.2).
    pub(crate) fn set_hop_limit(&self, hop_limit: u8) {
        if hop_limit != 0 {
            self.hop_limit.store(hop_limit, Ordering::Relaxed);
        }
    }

    pub(crate) fn flags(&self) -> InterfaceFlags {
        let mut flags = InterfaceFlags::UP;
        if self.link.carrier() {
            flags |= InterfaceFlags::RUNNING | InterfaceFlags::LOWER_UP;
        }
        flags
            | if self.is_loopback() {
                InterfaceFlags::LOOPBACK
            } else {
                InterfaceFlags::BROADCAST | InterfaceFlags::MULTICAST
            }
    }

    /// Sends packets that begin with an IP header, to a hardware address on links that have these.
    pub(crate) fn transmit(&self, packets: &mut Vec<Box<Packet>>, to: MacAddress) {
        if let Some(mac) = self.mac {
            packets.retain_mut(|packet| {
                let has_room = ensure_front(packet, ETHERNET_HEADER_BYTES).is_ok();
                if has_room {
                    put_ethernet_header(packet, to, mac);
                }
                has_room
            });
        }
        if !packets.is_empty() {
            self.link.transmit(packets);
        }
    }

    /// Sends a frame of another protocol than IP.
    pub(crate) fn transmit_frame(&self, mut packet: Box<Packet>, to: MacAddress, ethertype: u16) {
        if let Some(mac) = self.mac {
            put_frame_header(&mut packet, to, mac, ethertype);
            self.link.transmit(&mut Vec::from([packet]));
        }
    }
}
