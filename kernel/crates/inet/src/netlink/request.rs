//! Requests (`netlink_rcv_skb` in `net/netlink/af_netlink.c`, `rtnetlink_rcv_msg` in `net/core/rtnetlink.c`).

use alloc::vec::Vec;

use linux_abi::{
    Errno,
    netlink::{
        IfInfoMsg, NlMsgErr, NlMsgHdr, RtMsg,
        flag::{NLM_F_ACK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_MULTI, NLM_F_REQUEST},
        link_attribute::IFLA_IFNAME,
        message::*,
        option::{NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK},
        route::RTA_DST,
    },
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    NetlinkSocket,
    dump::{self, Answer},
    message::Messages,
};

const HEADER: usize = size_of::<NlMsgHdr>();
/// Messages of routes are below this (`RTM_MAX` of Linux 6.1, rounded up to a whole group).
const RTM_END: u16 = 124;
/// Bytes of answers that are received at once (`NLMSG_GOODSIZE`, and glibc's and iproute2's least buffer).
const PART_BYTES: usize = 3800;

/// A request in pieces.
pub(super) struct Request<'a> {
    pub(super) header: NlMsgHdr,
    /// What follows the header.
    pub(super) body: &'a [u8],
    /// The asker's port.
    pub(super) port: u32,
    /// Whether filters in the body count (`NETLINK_GET_STRICT_CHK`).
    pub(super) is_strict: bool,
}

impl Request<'_> {
    /// The family in the body's first byte.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The header of an answer.
    pub(super) fn answer(&self, kind: u16, flags: u16) -> NlMsgHdr {
        NlMsgHdr { len: 0, kind, flags, sequence: self.header.sequence, port: self.port }
    }

    /// The value of an attribute behind a fixed part of `fixed` bytes.
    pub(super) fn attribute(&self, fixed: usize, kind: u16) -> Option<&[u8]> {
        let mut rest = self.body.get(fixed.next_multiple_of(4)..)?;
        loop {
            let header: [u8; 4] = *rest.first_chunk()?;
            let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
            // The upper two bits are flags (`NLA_TYPE_MASK`).
            let found = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
            let value = rest.get(4..len)?;
            if found == kind {
                return Some(value);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
    }
}

/// Answers all requests in `bytes`.
pub(super) fn answer(socket: &NetlinkSocket, port: u32, bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((header, _)) = NlMsgHdr::read_from_prefix(rest) {
        let len = header.len as usize;
        if len < HEADER || len > rest.len() {
            return;
        }
        let body = &rest[HEADER..len];
        let is_strict = socket.inner.lock().is_on(NETLINK_GET_STRICT_CHK);
        let request = Request { header, body, port, is_strict };
        let is_request = header.flags & NLM_F_REQUEST != 0 && header.kind >= NLMSG_MIN_TYPE;
        let result = if is_request { handle(socket, &request) } else { Ok(()) };
        if header.flags & NLM_F_ACK != 0 || result.is_err() {
            acknowledge(socket, &request, result);
        }
        rest = &rest[len.next_multiple_of(4).min(rest.len())..];
    }
}

fn handle(socket: &NetlinkSocket, request: &Request<'_>) -> Result<(), Errno> {
    if request.header.kind >= RTM_END {
        return Err(Errno::EOPNOTSUPP);
    }
    // All begin with the family (`struct rtgenmsg`).
    if request.body.is_empty() {
        return Ok(());
    }
    // The kinds come in groups of four: new, delete, get, set.
    if request.header.kind & 3 != RTM_GETLINK & 3 {
        return Err(Errno::EPERM);
    }
    let is_dump = request.header.flags & NLM_F_DUMP != 0;
    if is_dump {
        return send_dump(socket, request);
    }
    let net = &socket.core.net;
    let mut messages = Messages::default();
    match request.header.kind {
        RTM_GETLINK => {
            let wanted = IfInfoMsg::read_from_prefix(request.body).map_err(|_| Errno::EINVAL)?.0;
            let name = request.attribute(size_of::<IfInfoMsg>(), IFLA_IFNAME);
            let index = match (u32::try_from(wanted.index), name) {
                (Ok(index), _) if index != 0 => index,
                (_, Some(name)) => {
                    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                    let name = core::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
                    net.ip.interface_index(name).ok_or(Errno::ENODEV)?
                }
                _ => return Err(Errno::EINVAL),
            };
            let interface = net.ip.interface(index).ok_or(Errno::ENODEV)?;
            dump::link(&mut messages, request.answer(RTM_NEWLINK, 0), &interface);
        }
        RTM_GETROUTE => {
            let wanted = RtMsg::read_from_prefix(request.body).map_err(|_| Errno::EINVAL)?.0;
            let to = request.attribute(size_of::<RtMsg>(), RTA_DST).ok_or(Errno::EINVAL)?;
            let to = dump::address(wanted.family, to).ok_or(Errno::EINVAL)?;
            let route = net.ip.route(to, None, None)?;
            dump::route_to(&mut messages, request.answer(RTM_NEWROUTE, 0), to, &route);
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    socket.queue(messages.into_bytes());
    Ok(())
}

/// A dump: parts, and a message that says that it is done.
fn send_dump(socket: &NetlinkSocket, request: &Request<'_>) -> Result<(), Errno> {
    let mut parts: Vec<Messages> = Vec::new();
    let mut add = |answer: Answer<'_>| {
        if parts.last().is_none_or(|part| part.len() >= PART_BYTES) {
            parts.push(Messages::default());
        }
        if let Some(part) = parts.last_mut() {
            answer(part);
        }
    };
    dump::all(&socket.core.net, request, &mut add)?;
    let mut done = Messages::default();
    done.add(request.answer(NLMSG_DONE, NLM_F_MULTI), &0_i32, |_| {});
    for part in parts.into_iter().chain([done]) {
        socket.queue(part.into_bytes());
    }
    Ok(())
}

/// `netlink_ack`: an error repeats the request, unless the asker does not want that.
fn acknowledge(socket: &NetlinkSocket, request: &Request<'_>, result: Result<(), Errno>) {
    let is_capped = result.is_ok() || socket.inner.lock().is_on(NETLINK_CAP_ACK);
    let error = result.err().map_or(0, |error| -(error as i32));
    let flags = if is_capped { NLM_F_CAPPED } else { 0 };
    let mut bytes = NlMsgErr { error, header: request.header }.as_bytes().to_vec();
    if !is_capped {
        bytes.extend(request.body);
    }
    let mut message = NlMsgHdr { len: (HEADER + bytes.len()) as u32, ..request.answer(NLMSG_ERROR, flags) }
        .as_bytes()
        .to_vec();
    message.extend(bytes);
    message.resize(message.len().next_multiple_of(4), 0);
    socket.queue(message);
}
