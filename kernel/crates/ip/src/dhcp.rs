//! The client of DHCP (RFC 2131, 2132, 3442): its states and messages.
//!
//! It sends and configures nothing itself: [`Client::poll`] says what is to be sent, [`Client::receive`] what became
//! known. Time and randomness come from the caller, as does the lock.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use packet::MacAddress;
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};

use crate::{prefix::Prefix, wire::ipv4_at};

const SECOND_NS: u64 = 1_000_000_000;

/// First and longest time to wait for an answer; each time doubles it (RFC 2131, 4.1 begins with 4 s, which is long if the
/// only packet that is ever lost is the first one of a link that comes up).
const FIRST_WAIT_NS: u64 = SECOND_NS;
const LONGEST_WAIT_NS: u64 = 64 * SECOND_NS;
/// Requests without an answer, after which the client looks for a server anew.
const MAX_REQUESTS: u8 = 4;
/// Least time between two attempts to renew (RFC 2131, 4.4.5).
const LEAST_RENEWAL_NS: u64 = 60 * SECOND_NS;
/// Routes, servers and the like that are taken from one message.
const MAX_ITEMS: usize = 16;

mod option {
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN_NAME: u8 = 15;
    pub(super) const INTERFACE_MTU: u8 = 26;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER_IDENTIFIER: u8 = 54;
    pub(super) const RENEWAL_TIME: u8 = 58;
    pub(super) const REBINDING_TIME: u8 = 59;
    pub(super) const CLASSLESS_ROUTES: u8 = 121;
}

/// What is asked for.
const WANTED: [u8; 7] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::DNS,
    option::DOMAIN_NAME,
    option::INTERFACE_MTU,
    option::HOST_NAME,
];

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
    /// Prefix and gateway; an unspecified gateway: on the link.
    pub(crate) routes: Vec<(Prefix, Ipv4Addr)>,
    pub(crate) dns_servers: Vec<Ipv4Addr>,
    pub(crate) domain: Option<String>,
    pub(crate) mtu: Option<u32>,
    /// `None`: for ever.
    pub(crate) expires_ns: Option<u64>,
    server: Ipv4Addr,
    renew_ns: u64,
    rebind_ns: u64,
}

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// `None`: there is no address yet, and all are addressed.
    pub(crate) from_to: Option<(Ipv4Addr, Ipv4Addr)>,
    /// UDP's payload.
    pub(crate) payload: Vec<u8>,
}

/// What became known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The address may be used, or used longer.
    Bound(Lease),
    /// It may not be used any longer.
    Lost,
}

#[derive(Debug)]
enum State {
    /// Looking for a server.
    Selecting,
    /// Asking a server for what it offered.
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
        sent: u8,
    },
    Bound(Lease),
}

pub(crate) struct Client {
    mac: MacAddress,
    hostname: Option<String>,
    state: State,
    transaction: u32,
    /// When the present attempt began.
    began_ns: u64,
    next_ns: u64,
    wait_ns: u64,
}

impl Client {
    pub(crate) fn new(mac: MacAddress, hostname: Option<String>, now_ns: u64, random: u64) -> Self {
        Self {
            mac,
            hostname: hostname.filter(|name| !name.is_empty() && name.len() < 64),
            state: State::Selecting,
            transaction: random as u32,
            began_ns: now_ns,
            next_ns: now_ns,
            wait_ns: FIRST_WAIT_NS,
        }
    }

    /// When [`poll`](Self::poll) has something to do.
    pub(crate) fn next_deadline_ns(&self) -> u64 {
        self.next_ns
    }

    /// Looks for a server at once, if there is no lease: the link may be another one.
    pub(crate) fn hurry(&mut self, now_ns: u64) {
        if !matches!(self.state, State::Bound(_)) {
            self.next_ns = now_ns;
            self.wait_ns = FIRST_WAIT_NS;
        }
    }

    fn restart(&mut self, now_ns: u64, random: u64) {
        self.state = State::Selecting;
        self.transaction = random as u32;
        self.began_ns = now_ns;
        self.next_ns = now_ns;
        self.wait_ns = FIRST_WAIT_NS;
    }

    /// Waits, randomly a second more or less (RFC 2131, 4.1), and the next time twice as long.
    fn back_off(&mut self, now_ns: u64, random: u64) {
        let jitter_ns = random % (self.wait_ns / 2);
        self.next_ns = now_ns + self.wait_ns - self.wait_ns / 4 + jitter_ns;
        self.wait_ns = (self.wait_ns * 2).min(LONGEST_WAIT_NS);
    }

    /// Does what is due.
    pub(crate) fn poll(&mut self, now_ns: u64, random: u64) -> (Option<Outgoing>, Option<Event>) {
        if now_ns < self.next_ns {
            return (None, None);
        }
        if let State::Requesting { sent: MAX_REQUESTS.., .. } = self.state {
            self.restart(now_ns, random);
        }
        if let State::Bound(lease) = &self.state
            && lease.expires_ns.is_some_and(|expires_ns| expires_ns <= now_ns)
        {
            self.restart(now_ns, random);
            return (Some(self.send_discover(now_ns, random)), Some(Event::Lost));
        }
        let outgoing = match &mut self.state {
            State::Selecting => self.send_discover(now_ns, random),
            State::Requesting { address, server, sent } => {
                *sent += 1;
                let (address, server) = (*address, *server);
                self.back_off(now_ns, random);
                self.message(DhcpMessageType::Request, now_ns, Some((address, server)), None)
            }
            State::Bound(lease) => {
                // RFC 2131, 4.4.5: the server itself first; anybody when that one does not answer.
                let is_rebinding = now_ns >= lease.rebind_ns;
                let until_ns =
                    if is_rebinding { lease.expires_ns.unwrap_or(u64::MAX) } else { lease.rebind_ns };
                let half_ns = until_ns.saturating_sub(now_ns) / 2;
                let next_ns = now_ns.saturating_add(half_ns.max(LEAST_RENEWAL_NS));
                let to = if is_rebinding { Ipv4Addr::BROADCAST } else { lease.server };
                let address = lease.address;
                let expires_ns = lease.expires_ns.unwrap_or(u64::MAX);
                if !is_rebinding && now_ns <= lease.renew_ns.saturating_add(LEAST_RENEWAL_NS) {
                    self.transaction = random as u32;
                    self.began_ns = now_ns;
                }
                self.next_ns = next_ns.min(until_ns.max(now_ns + SECOND_NS)).min(expires_ns);
                let mut outgoing = self.message(DhcpMessageType::Request, now_ns, None, Some(address));
                outgoing.from_to = Some((address, to));
                outgoing
            }
        };
        (Some(outgoing), None)
    }

    fn send_discover(&mut self, now_ns: u64, random: u64) -> Outgoing {
        self.back_off(now_ns, random);
        self.message(DhcpMessageType::Discover, now_ns, None, None)
    }

    /// A message: with what was offered and by whom, or with the address that we use.
    fn message(
        &self,
        kind: DhcpMessageType,
        now_ns: u64,
        offered: Option<(Ipv4Addr, Ipv4Addr)>,
        own: Option<Ipv4Addr>,
    ) -> Outgoing {
        let hostname = self
            .hostname
            .as_ref()
            .map(|name| [DhcpOption { kind: option::HOST_NAME, data: name.as_bytes() }]);
        let mac = EthernetAddress(self.mac.0);
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: self.transaction,
            secs: ((now_ns.saturating_sub(self.began_ns)) / SECOND_NS).min(0xffff) as u16,
            client_hardware_address: mac,
            client_ip: own.unwrap_or(Ipv4Addr::UNSPECIFIED),
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            // We hear what comes to an address that is not ours yet: see `Stack::input_dhcp`.
            broadcast: false,
            requested_ip: offered.map(|(address, _)| address),
            client_identifier: Some(mac),
            server_identifier: offered.map(|(_, server)| server),
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            max_size: Some(1500),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: hostname.as_ref().map_or(&[], |options| options.as_slice()),
        };
        let mut payload = alloc::vec![0; repr.buffer_len()];
        let mut packet = DhcpPacket::new_unchecked(&mut payload[..]);
        // Cannot fail: the buffer has the length that was asked for.
        let _ = repr.emit(&mut packet);
        Outgoing { from_to: None, payload }
    }

    /// Takes UDP's payload of what a server sent. `None` also if it is not for us.
    pub(crate) fn receive(&mut self, payload: &[u8], now_ns: u64, random: u64) -> Option<Event> {
        let packet = DhcpPacket::new_checked(payload).ok()?;
        let is_for_us = u8::from(packet.opcode()) == 2
            && packet.magic_number() == 0x6382_5363
            && packet.transaction_id() == self.transaction
            && packet.client_hardware_address() == EthernetAddress(self.mac.0);
        if !is_for_us {
            return None;
        }
        let options = Options::collect(payload);
        let kind = DhcpMessageType::from(*options.get(option::MESSAGE_TYPE)?.first()?);
        let server = options.address(option::SERVER_IDENTIFIER)?;
        match (kind, &self.state) {
            (DhcpMessageType::Offer, State::Selecting) => {
                let address = packet.your_ip();
                if !is_host(address) {
                    return None;
                }
                self.state = State::Requesting { address, server, sent: 0 };
                self.wait_ns = FIRST_WAIT_NS;
                self.next_ns = now_ns;
                None
            }
            (DhcpMessageType::Ack, State::Requesting { server: asked, .. }) if *asked == server => {
                self.bind(&options, packet.your_ip(), server, now_ns)
            }
            (DhcpMessageType::Ack, State::Bound(lease)) if lease.address == packet.your_ip() => {
                self.bind(&options, packet.your_ip(), server, now_ns)
            }
            (DhcpMessageType::Nak, State::Requesting { server: asked, .. }) if *asked == server => {
                self.restart(now_ns, random);
                // A server that keeps offering what it then refuses is not asked in a tight loop.
                self.next_ns = now_ns + SECOND_NS;
                None
            }
            (DhcpMessageType::Nak, State::Bound(lease)) if now_ns >= lease.renew_ns => {
                self.restart(now_ns, random);
                Some(Event::Lost)
            }
            _ => None,
        }
    }

    fn bind(&mut self, options: &Options, address: Ipv4Addr, server: Ipv4Addr, now_ns: u64) -> Option<Event> {
        if !is_host(address) {
            return None;
        }
        let mask = options.address(option::SUBNET_MASK);
        let prefix_len = match mask.map(|mask| mask.to_bits()) {
            // Ones, then zeros; else no mask.
            Some(bits) if bits.leading_ones() + bits.trailing_zeros() == 32 && bits != 0 => {
                bits.leading_ones() as u8
            }
            Some(_) => return None,
            // Without one, the class of the address decides (RFC 2132 leaves it open; Linux's clients do so).
            None => match address.octets()[0] {
                0..128 => 8,
                128..192 => 16,
                _ => 24,
            },
        };
        let lease_s = options.number(option::LEASE_TIME)?;
        // The times are relative to the request; taking the answer's makes no difference that matters, but for ever is ever.
        let after = |seconds: u64| now_ns.saturating_add(seconds * SECOND_NS);
        let lease = u64::from(lease_s);
        let (renew_s, rebind_s) = (
            options.number(option::RENEWAL_TIME).map_or(lease / 2, u64::from),
            options.number(option::REBINDING_TIME).map_or(lease / 8 * 7, u64::from),
        );
        let is_in_order = renew_s <= rebind_s && rebind_s <= lease;
        let (renew_s, rebind_s) = if is_in_order { (renew_s, rebind_s) } else { (lease / 2, lease / 8 * 7) };
        let is_for_ever = lease_s == u32::MAX;
        let routes = match options.get(option::CLASSLESS_ROUTES) {
            // RFC 3442: then the router option is ignored.
            Some(bytes) => classless_routes(bytes)?,
            None => options
                .addresses(option::ROUTER)
                .into_iter()
                .take(1)
                .map(|gateway| (Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0), gateway))
                .collect(),
        };
        let domain = options.get(option::DOMAIN_NAME).and_then(domain_of);
        let lease = Lease {
            address,
            prefix_len,
            routes,
            dns_servers: options.addresses(option::DNS),
            domain,
            mtu: options
                .get(option::INTERFACE_MTU)
                .and_then(|bytes| crate::wire::be16(bytes, 0))
                .map(u32::from),
            expires_ns: (!is_for_ever).then(|| after(lease)),
            server,
            renew_ns: if is_for_ever { u64::MAX } else { after(renew_s.max(1)) },
            rebind_ns: if is_for_ever { u64::MAX } else { after(rebind_s.max(1)) },
        };
        self.next_ns = lease.renew_ns;
        self.state = State::Bound(lease.clone());
        Some(Event::Bound(lease))
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified()
        && !address.is_broadcast()
        && !address.is_multicast()
        && !address.is_loopback()
        && address.octets()[0] != 0
}

/// A domain name, if it is one: it goes into the resolver's file.
fn domain_of(bytes: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(bytes).ok()?.trim_end_matches('\0').trim_end_matches('.');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!text.is_empty() && text.len() <= 253 && text.bytes().all(is_name)).then(|| text.into())
}

/// RFC 3442: width, as many bytes of the prefix as it needs, gateway.
fn classless_routes(bytes: &[u8]) -> Option<Vec<(Prefix, Ipv4Addr)>> {
    let mut routes = Vec::new();
    let mut rest = bytes;
    while let Some((&len, after)) = rest.split_first() {
        if len > 32 || routes.len() == MAX_ITEMS {
            return None;
        }
        let (significant, after) = after.split_at_checked(usize::from(len.div_ceil(8)))?;
        let mut octets = [0; 4];
        octets[..significant.len()].copy_from_slice(significant);
        routes.push((Prefix::new(IpAddr::from(octets), len), ipv4_at(after, 0)?));
        rest = &after[4..];
    }
    Some(routes)
}

/// All options of a message; those that occur more than once are one (RFC 3396).
struct Options {
    options: Vec<(u8, Vec<u8>)>,
}

impl Options {
    fn collect(payload: &[u8]) -> Self {
        // Behind the fixed part and the magic number (RFC 2131, 2 and 3).
        let mut rest = payload.get(240..).unwrap_or_default();
        let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
        while let Some((&kind, after)) = rest.split_first() {
            match kind {
                0 => rest = after,
                255 => break,
                _ => {
                    let Some((&len, after)) = after.split_first() else { break };
                    let Some((data, after)) = after.split_at_checked(usize::from(len)) else { break };
                    match options.iter_mut().find(|(known, _)| *known == kind) {
                        Some((_, known)) => known.extend(data),
                        None => options.push((kind, data.to_vec())),
                    }
                    rest = after;
                }
            }
        }
        Self { options }
    }

    fn get(&self, kind: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == kind).map(|(_, data)| data.as_slice())
    }

    fn address(&self, kind: u8) -> Option<Ipv4Addr> {
        ipv4_at(self.get(kind)?, 0)
    }

    fn addresses(&self, kind: u8) -> Vec<Ipv4Addr> {
        let data = self.get(kind).unwrap_or_default();
        let addresses = (0..data.len()).step_by(4).filter_map(|at| ipv4_at(data, at));
        addresses.filter(|&address| is_host(address)).take(MAX_ITEMS).collect()
    }

    fn number(&self, kind: u8) -> Option<u32> {
        crate::wire::be32(self.get(kind)?, 0)
    }
}

#[cfg(test)]
mod tests;
