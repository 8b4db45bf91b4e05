//! Sending (`udp_sendmsg` in `net/ipv4/udp.c`, `udpv6_sendmsg` in `net/ipv6/udp.c`).

use alloc::{boxed::Box, vec::Vec};

use ipc::socket::SendOptions;
use linux_abi::{Errno, inet::protocol::IPPROTO_UDP, socket::MessageFlags};
use packet::Packet;
use vfs::{SliceSrc, WriteSrc};

use super::{
    Corked, Inner, UdpSocket,
    header::{self, HEADER},
};
use crate::{
    Endpoint, Family, Switches,
    datagram::{Destination, LEN_MAX, QueuedError, SendControl, copy_payload, message_len},
};

/// The most datagrams that one call's data are cut into (`UDP_MAX_SEGMENTS`).
const SEGMENTS_MAX: usize = 128;
/// Bytes of the IP headers.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

impl UdpSocket {
    pub(super) fn send_datagram(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
    ) -> Result<usize, Errno> {
        let len = message_len(src, options.flags)?;
        let named = match options.address {
            Some(address) => self.decode_destination(address)?,
            None => None,
        };
        let mut inner = self.inner.lock();
        if inner.corked.is_some() {
            return self.send_corked(inner, src, options.flags);
        }
        let to = match named.or(self.core.endpoints().remote) {
            Some(to) => to,
            None => return Err(Errno::EDESTADDRREQ),
        };
        self.core.check_error()?;
        self.bind_somewhere(&mut inner)?;
        if inner.shut.sending {
            return Err(Errno::EPIPE);
        }
        let mut control = SendControl::decode(&self.core, &options.control, to.address)?;
        control.segment_bytes = control.segment_bytes.or(Some(inner.options.segment_bytes));
        control.omits_checksum6 = inner.options.no_check6[0];
        if inner.options.corked || options.flags.contains(MessageFlags::MORE) {
            inner.corked = Some(Corked { to, control, data: Vec::new() });
            return self.send_corked(inner, src, options.flags);
        }
        drop(inner);
        self.send_to(to, &control, options.flags, src)?;
        Ok(len)
    }

    fn decode_destination(&self, address: &[u8]) -> Result<Option<Endpoint>, Errno> {
        let Some(to) = Endpoint::decode_to_send(self.core.family, address)? else { return Ok(None) };
        if to.port == 0 {
            return Err(Errno::EINVAL);
        }
        if to.address.is_ipv4() && self.core.family == Family::V6 && self.core.is_v6_only() {
            return Err(Errno::ENETUNREACH);
        }
        // The peer's scope serves for the peer's address.
        match self.core.endpoints().remote {
            Some(remote) if remote.address == to.address && to.scope == 0 => {
                Ok(Some(Endpoint { scope: remote.scope, ..to }))
            }
            _ => Ok(Some(to)),
        }
    }

    fn send_to(
        &self,
        to: Endpoint,
        control: &SendControl,
        flags: MessageFlags,
        src: &mut dyn WriteSrc,
    ) -> Result<(), Errno> {
        let destination = Destination::find(&self.core, IPPROTO_UDP as u8, to, control, flags)?;
        let mut packets = self.datagrams(&destination, control, src)?;
        if flags.contains(MessageFlags::CONFIRM) {
            self.core.net.ip.confirm(&destination.route);
        }
        let sent = destination.send(&self.core, &mut packets);
        let counters = self.core.net.udp_counters(self.core.family);
        match sent {
            Ok(()) => counters.sent(),
            Err(Errno::EMSGSIZE) if self.core.wants_errors() => {
                let mut inner = self.inner.lock();
                inner.inbox.push_error(QueuedError::too_large(to, destination.route.mtu));
            }
            Err(_) => {}
        }
        sent
    }

    /// Cuts the data into datagrams: one, unless `UDP_SEGMENT` says otherwise.
    fn datagrams(
        &self,
        destination: &Destination,
        control: &SendControl,
        src: &mut dyn WriteSrc,
    ) -> Result<Vec<Box<Packet>>, Errno> {
        let len = src.remaining();
        let is_ipv4 = destination.endpoint.address.is_ipv4();
        let ip_header = if is_ipv4 { IPV4_HEADER } else { 0 };
        let no_check =
            if is_ipv4 { self.core.has_switch(Switches::NO_CHECK) } else { control.omits_checksum6 };
        if no_check && control.segment_bytes.is_some_and(|bytes| bytes > 0) {
            // As `udp_send_skb` and `udp_v6_send_skb`: who cuts makes the sums.
            return Err(Errno::EINVAL);
        }
        let segment = match control.segment_bytes.map_or(0, usize::from) {
            0 => len,
            bytes if bytes >= len => len,
            bytes => {
                let headers = HEADER + if is_ipv4 { IPV4_HEADER } else { IPV6_HEADER };
                if len > bytes * SEGMENTS_MAX {
                    return Err(Errno::EINVAL);
                }
                if bytes + headers > destination.most_bytes() as usize {
                    return Err(Errno::EINVAL);
                }
                bytes
            }
        };
        // IPv4's length has 16 bits, too; IPv6's does not count its header.
        if len + HEADER + ip_header > LEN_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let local_port = self.core.endpoints().local.port;
        let mut packets = Vec::new();
        loop {
            let part = segment.min(src.remaining());
            let mut packet = copy_payload(HEADER, part, src)?;
            header::write(
                &mut packet,
                (destination.source, local_port),
                (destination.endpoint.address, destination.endpoint.port),
            );
            if no_check {
                header::without_checksum(&mut packet);
            }
            packets.push(packet);
            if src.remaining() == 0 {
                return Ok(packets);
            }
        }
    }

    /// Adds to the datagram that waits, and sends it unless more is to come.
    fn send_corked(
        &self,
        mut inner: ksync::MutexGuard<'_, Inner>,
        src: &mut dyn WriteSrc,
        flags: MessageFlags,
    ) -> Result<usize, Errno> {
        let len = src.remaining();
        let Some(mut corked) = inner.corked.take() else { return Err(Errno::EINVAL) };
        let is_complete = !inner.options.corked && !flags.contains(MessageFlags::MORE);
        // The application's memory is not touched under the lock.
        drop(inner);
        let before = corked.data.len();
        if before + len > LEN_MAX {
            // What waited is lost, as by Linux (`udp_flush_pending_frames`).
            return Err(Errno::EMSGSIZE);
        }
        corked.data.resize(before + len, 0);
        let mut filled = before;
        while filled < corked.data.len() {
            match src.take(&mut corked.data[filled..]) {
                Ok(0) | Err(_) => return Err(Errno::EFAULT),
                Ok(taken) => filled += taken,
            }
        }
        if is_complete {
            self.send_to(corked.to, &corked.control, flags, &mut SliceSrc::new(&corked.data))?;
        } else {
            self.inner.lock().corked = Some(corked);
        }
        Ok(len)
    }

    /// Sends the datagram that waits.
    pub(super) fn push_corked(&self, inner: &mut Inner) -> Result<(), Errno> {
        let Some(corked) = inner.corked.take() else { return Ok(()) };
        // What goes to ourselves over the loopback goes to a queue, never to this lock.
        self.send_whole(corked)
    }

    fn send_whole(&self, corked: Corked) -> Result<(), Errno> {
        let destination = Destination::find(
            &self.core,
            IPPROTO_UDP as u8,
            corked.to,
            &corked.control,
            MessageFlags::empty(),
        )?;
        let mut packets = self.datagrams(&destination, &corked.control, &mut SliceSrc::new(&corked.data))?;
        destination.send(&self.core, &mut packets)
    }
}
