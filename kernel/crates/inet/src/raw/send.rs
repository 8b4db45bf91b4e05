//! Sending (`raw_sendmsg`, `rawv6_sendmsg`, `ping_common_sendmsg`).

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use ipc::socket::SendOptions;
use linux_abi::Errno;
use packet::{Checksum, Packet, internet_checksum};
use vfs::WriteSrc;

use super::{RawMode, RawSocket};
use crate::{
    Endpoint, Family,
    datagram::{Destination, SendControl, copy_payload, message_len},
};

/// Where ICMP's checksum is.
const ICMP_CHECKSUM: u16 = 2;
/// The header of an echo request: type, code, checksum, identifier, sequence number.
const ECHO_HEADER: usize = 8;
/// Types of echo requests.
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;

impl RawSocket {
    pub(super) fn send_datagram(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
    ) -> Result<usize, Errno> {
        let len = message_len(src, options.flags)?;
        let to = match options.address {
            Some(address) => self.decode_destination(address)?,
            None => None,
        };
        let to = to.or(self.core.endpoints().remote).ok_or(Errno::EDESTADDRREQ)?;
        self.core.check_error()?;
        let control = SendControl::decode(&self.core, &options.control, to.address)?;
        {
            let mut inner = self.inner.lock();
            if inner.shut.sending {
                return Err(Errno::EPIPE);
            }
            self.identify(&mut inner, self.core.endpoints().local)?;
        }
        let destination = Destination::find(&self.core, self.core.protocol, to, &control, options.flags)?;
        let has_header =
            self.core.family == Family::V4 && self.core.with(|options| options.ip.header_included);
        if has_header {
            let packet = copy_payload(0, len, src)?;
            if len > destination.route.mtu as usize {
                return Err(Errno::EMSGSIZE);
            }
            self.core.net.ip.output_with_header(&destination.route, packet)?;
            return Ok(len);
        }
        let mut packet = copy_payload(0, len, src)?;
        if self.mode == RawMode::Ping {
            self.complete_echo(&mut packet)?;
        }
        self.prepare_checksum(&mut packet, &destination)?;
        let mut packets: Vec<Box<Packet>> = alloc::vec![packet];
        destination.send(&self.core, &mut packets)?;
        Ok(len)
    }

    fn decode_destination(&self, address: &[u8]) -> Result<Option<Endpoint>, Errno> {
        let Some(to) = Endpoint::decode_to_send(self.core.family, address)? else { return Ok(None) };
        if self.core.family == Family::V6 {
            if to.address.is_ipv4() {
                return Err(Errno::EINVAL);
            }
            // The port is the protocol, or nothing (RFC 3542, 3).
            let is_own = to.port == 0 || to.port == u16::from(self.core.protocol);
            if self.mode == RawMode::Raw && !is_own {
                return Err(Errno::EINVAL);
            }
        }
        Ok(Some(to))
    }

    /// Checks that it is an echo request, and puts the socket's identifier in.
    fn complete_echo(&self, packet: &mut Packet) -> Result<(), Errno> {
        let identifier = self.core.endpoints().local.port;
        let kind = if self.core.family == Family::V4 { ECHO_V4 } else { ECHO_V6 };
        let is_ipv4 = self.core.family == Family::V4;
        if packet.len() < ECHO_HEADER {
            return Err(Errno::EINVAL);
        }
        bring_into_head(packet, ECHO_HEADER)?;
        let header = &mut packet.head_mut()[..ECHO_HEADER];
        if header[0] != kind || header[1] != 0 {
            return Err(Errno::EINVAL);
        }
        header[2..4].fill(0);
        header[4..6].copy_from_slice(&identifier.to_be_bytes());
        if is_ipv4 {
            let sum = internet_checksum::fold(sum_of(packet));
            packet.head_mut()[2..4].copy_from_slice(&(!sum).to_be_bytes());
        }
        Ok(())
    }

    /// IPv6's checksums are the kernel's: ICMPv6's always, others' where the program said (`IPV6_CHECKSUM`).
    fn prepare_checksum(&self, packet: &mut Packet, destination: &Destination) -> Result<(), Errno> {
        if self.core.family == Family::V4 {
            return Ok(());
        }
        let offset = if self.is_icmp() {
            ICMP_CHECKSUM
        } else {
            match u16::try_from(self.core.with(|options| options.ipv6.checksum_offset)) {
                Ok(offset) => offset,
                Err(_) => return Ok(()),
            }
        };
        let end = usize::from(offset) + 2;
        if packet.len() < end {
            return Err(Errno::EINVAL);
        }
        bring_into_head(packet, end)?;
        let sum = pseudo_header_sum(destination, self.core.protocol, packet.len());
        let place = usize::from(offset);
        packet.head_mut()[place..end].copy_from_slice(&internet_checksum::fold(sum).to_be_bytes());
        packet.checksum = Checksum::Partial { start: 0, offset };
        Ok(())
    }
}

fn pseudo_header_sum(destination: &Destination, protocol: u8, len: usize) -> u64 {
    match (destination.source, destination.endpoint.address) {
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            let sum = internet_checksum::add(internet_checksum::add(0, &source.octets()), &to.octets());
            sum + u64::from(protocol) + len as u64
        }
        _ => 0,
    }
}

fn sum_of(packet: &Packet) -> u64 {
    let mut sum = 0;
    let mut part = [0; 512];
    let mut at = 0;
    loop {
        let len = packet.read(at, &mut part);
        if len == 0 {
            return sum;
        }
        sum = internet_checksum::add(sum, &part[..len]);
        at += len;
    }
}

/// Moves the first `len` bytes into the head, if they lie in frames.
fn bring_into_head(packet: &mut Packet, len: usize) -> Result<(), Errno> {
    if packet.head().len() >= len {
        return Ok(());
    }
    let mut bytes = [0; packet::HEAD_BYTES];
    let room = packet.head_room_in_front();
    let missing = len - packet.head().len();
    if missing > room || !packet.head().is_empty() {
        return Err(Errno::EMSGSIZE);
    }
    packet.read(0, &mut bytes[..len]);
    packet.trim_front(len);
    packet.prepend(len).copy_from_slice(&bytes[..len]);
    Ok(())
}
