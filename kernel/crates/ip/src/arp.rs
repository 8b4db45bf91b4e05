//! ARP (RFC 826, RFC 5227).
//!
//! A sender is believed as far as Linux believes it by default: a request to us tells its sender's address; an answer is
//! believed for a neighbour that we know; nothing else makes a new entry (`arp_accept` = 0).

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr};

use packet::{MacAddress, Packet};

use crate::{
    Stack,
    interface::Interface,
    neighbour::Evidence,
    wire::{BROADCAST_MAC, FRONT_BYTES, be16, ethertype, ipv4_at, is_group_mac, mac_at},
};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const ETHERNET: u16 = 1;
const MESSAGE_BYTES: usize = 28;

struct Message {
    operation: u16,
    sender_mac: MacAddress,
    sender: Ipv4Addr,
    target_mac: MacAddress,
    target: Ipv4Addr,
}

impl Message {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let is_ours =
            be16(bytes, 0)? == ETHERNET && be16(bytes, 2)? == ethertype::IPV4 && bytes.get(4..6)? == [6, 4];
        if !is_ours {
            return None;
        }
        Some(Self {
            operation: be16(bytes, 6)?,
            sender_mac: mac_at(bytes, 8)?,
            sender: ipv4_at(bytes, 14)?,
            target_mac: mac_at(bytes, 18)?,
            target: ipv4_at(bytes, 24)?,
        })
    }

    fn packet(&self) -> Box<Packet> {
        let mut packet = Box::new(Packet::with_front(FRONT_BYTES));
        let bytes = packet.append_head(MESSAGE_BYTES);
        bytes[..2].copy_from_slice(&ETHERNET.to_be_bytes());
        bytes[2..4].copy_from_slice(&ethertype::IPV4.to_be_bytes());
        bytes[4..6].copy_from_slice(&[6, 4]);
        bytes[6..8].copy_from_slice(&self.operation.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..].copy_from_slice(&self.target.octets());
        packet
    }
}

impl Stack {
    /// Takes an ARP message.
    pub(crate) fn input_arp(&self, link: &Interface, packet: &Packet) {
        let Some(message) = Message::parse(packet.head()) else { return };
        let Some(mac) = link.mac else { return };
        let is_odd =
            |address: Ipv4Addr| address.is_multicast() || address.is_loopback() || address.is_broadcast();
        if is_odd(message.sender) || is_odd(message.target) || is_group_mac(message.sender_mac) {
            return;
        }
        let sender = IpAddr::V4(message.sender);
        let (is_for_us, sender_is_us, sender_is_on_link) = {
            let tables = self.tables.read();
            let sender_is_on_link = tables
                .lookup(sender, None, None)
                .is_ok_and(|found| found.interface.index == link.index && found.next_hop == sender);
            let is_ours = |address: Ipv4Addr| tables.is_local(address.into(), None);
            (is_ours(message.target), is_ours(message.sender), sender_is_on_link)
        };
        // Somebody else has our address: nothing good comes of believing him.
        if sender_is_us {
            return;
        }
        let now_ns = self.now_ns();
        if message.operation == REQUEST && is_for_us {
            // A probe (RFC 5227, 1.1) has no sender's address yet.
            if !message.sender.is_unspecified() && sender_is_on_link {
                let neighbour = self.neighbour(link, sender);
                let mut ready =
                    link.neighbours.learn(&neighbour, message.sender_mac, Evidence::Unasked, now_ns);
                link.transmit(&mut ready, message.sender_mac);
            }
            let reply = Message {
                operation: REPLY,
                sender_mac: mac,
                sender: message.target,
                target_mac: message.sender_mac,
                target: message.sender,
            };
            link.transmit_frame(reply.packet(), message.sender_mac, ethertype::ARP);
            return;
        }
        if let Some(neighbour) = link.neighbours.find(sender).filter(|_| !message.sender.is_unspecified()) {
            let is_answer = message.operation == REPLY && message.target_mac == mac && is_for_us;
            let evidence = if is_answer { Evidence::Answer { overrides: true } } else { Evidence::Unasked };
            let mut ready = link.neighbours.learn(&neighbour, message.sender_mac, evidence, now_ns);
            link.transmit(&mut ready, message.sender_mac);
            self.poll_wanted();
        }
    }

    /// Asks who has `target`; `to` whom, or all.
    pub(crate) fn send_arp_request(
        &self,
        link: &Interface,
        sender: Ipv4Addr,
        target: Ipv4Addr,
        to: Option<MacAddress>,
    ) {
        let Some(mac) = link.mac else { return };
        let request = Message {
            operation: REQUEST,
            sender_mac: mac,
            sender,
            target_mac: MacAddress::default(),
            target,
        };
        link.transmit_frame(request.packet(), to.unwrap_or(BROADCAST_MAC), ethertype::ARP);
    }

    /// Asks a neighbour for its hardware address.
    pub(crate) fn solicit(&self, link: &Interface, address: IpAddr, to: Option<MacAddress>) {
        match address {
            IpAddr::V4(target) => {
                let sender = self.tables.read().select_source_v4(link.index, target);
                if let Some(sender) = sender {
                    self.send_arp_request(link, sender, target, to);
                }
            }
            IpAddr::V6(target) => self.send_neighbour_solicitation(link, target, to),
        }
    }
}
