//! Receiving.
//!
//! Packets are taken out of the connection, which gives their window back, and copied to the application without the
//! connection's lock: a page that has to be faulted in stops only those who read as well.

use alloc::collections::VecDeque;
use core::sync::atomic::Ordering::{Acquire, Release};

use ipc::socket::Received;
use ksync::platform;
use linux_abi::{Errno, socket::MessageFlags};
use netchannels::Interest;
use packet::Packet;
use tcp::{ReadMode, Readiness, State};
use vfs::{Blocking, ReadDst};

use super::{Role, Stream, TcpSocket};
use alloc::boxed::Box;

/// What one look at the connection brought.
enum Look {
    /// There are packets in [`TcpSocket::reading`] now.
    Packets,
    /// There are, and the connection has no more.
    LastPackets,
    /// The call is over.
    Over(Result<(), Errno>),
    /// Nothing yet.
    Nothing,
}

/// A receiving call.
struct Call {
    /// How many bytes it waits for.
    target: usize,
    done: usize,
    blocking: Blocking,
    /// What is received is thrown away (`MSG_TRUNC`).
    discards: bool,
}

impl TcpSocket {
    pub(super) fn receive_bytes(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        if flags.contains(MessageFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let len = if flags.contains(MessageFlags::OOB) {
            return self.receive_urgent(dst, flags, blocking);
        } else if flags.contains(MessageFlags::PEEK) {
            self.peek(dst, flags, blocking)?
        } else {
            self.take(dst, flags, blocking)?
        };
        Ok(Received { len, ..Received::default() })
    }

    /// How many bytes a call waits for (`sock_rcvlowat`).
    fn target(&self, flags: MessageFlags, wanted: usize) -> usize {
        let low_water = self.core().with(|options| options.common.receive_low_water) as usize;
        let target = if flags.contains(MessageFlags::WAITALL) { wanted } else { low_water.min(wanted) };
        target.max(1)
    }

    fn take(&self, dst: &mut dyn ReadDst, flags: MessageFlags, blocking: Blocking) -> Result<usize, Errno> {
        let wanted = dst.remaining();
        let mut call = Call {
            target: self.target(flags, wanted),
            done: 0,
            blocking,
            discards: flags.contains(MessageFlags::TRUNC),
        };
        let result = self.core().wait(blocking, self.core().receive_timeout(), || {
            let mut reading = self.reading.lock();
            let mut is_all = false;
            loop {
                match self.copy_out(&mut reading, dst, wanted, &mut call) {
                    Ok(()) if call.done == wanted && (wanted > 0 || !reading.is_empty()) => {
                        return Some(Ok(()));
                    }
                    // It is enough, and there was no more: another turn with the lock would find nothing.
                    Ok(()) if is_all && call.done >= call.target => return Some(Ok(())),
                    Ok(()) => {}
                    Err(error) => return Some(Err(error)),
                }
                match self.look(&mut reading, wanted - call.done, &call) {
                    Look::Packets => is_all = false,
                    Look::LastPackets => is_all = true,
                    Look::Over(result) => return Some(result),
                    Look::Nothing => return None,
                }
            }
        });
        match result {
            Err(_) if call.done > 0 => Ok(call.done),
            Err(error) => Err(error),
            Ok(()) => Ok(call.done),
        }
    }

    /// Copies what was taken out of the connection.
    fn copy_out(
        &self,
        reading: &mut VecDeque<Box<Packet>>,
        dst: &mut dyn ReadDst,
        wanted: usize,
        call: &mut Call,
    ) -> Result<(), Errno> {
        while call.done < wanted
            && let Some(packet) = reading.front_mut()
        {
            let len = packet.len().min(wanted - call.done);
            let copied = if call.discards { len } else { packet.read_to(0, len, dst)? };
            packet.trim_front(copied);
            call.done += copied;
            self.unread_bytes.fetch_sub(copied, Release);
            if packet.is_empty() {
                reading.pop_front();
            }
            if copied < len {
                // The rest of the application's buffer is bad.
                return Err(Errno::EFAULT);
            }
        }
        Ok(())
    }

    /// Takes packets of up to `wanted` bytes, and one more for the rest, out of the connection.
    fn look(&self, reading: &mut VecDeque<Box<Packet>>, wanted: usize, call: &Call) -> Look {
        let mut inner = self.lock();
        let Role::Stream(stream) = &mut inner.role else {
            return Look::Over(self.unconnected_end());
        };
        loop {
            let mut taken = 0;
            // Before urgent data a call ends, and the next one goes on behind.
            while taken < wanted.max(1) && !(call.done + taken > 0 && stream.connection.is_at_mark()) {
                match self.next_packet(stream, call.done + taken) {
                    Ok(Some(packet)) => {
                        taken += packet.len();
                        self.unread_bytes.fetch_add(packet.len(), Release);
                        reading.push_back(packet);
                    }
                    Ok(None) if taken > 0 => break,
                    Ok(None) => return Look::Over(Ok(())),
                    Err(Errno::EAGAIN) if taken > 0 => return Look::LastPackets,
                    Err(_) if taken > 0 => break,
                    Err(Errno::EAGAIN) => break,
                    Err(error) => return Look::Over(Err(error)),
                }
            }
            if taken > 0 {
                return Look::Packets;
            }
            if call.done >= call.target || (call.done > 0 && stream.connection.is_at_mark()) {
                return Look::Over(Ok(()));
            }
            let waits = call.blocking == Blocking::Yes;
            if self.arm(stream, Interest::READ).is_ok() {
                return if waits || call.done == 0 { Look::Nothing } else { Look::Over(Ok(())) };
            }
        }
    }

    /// The next packet; an error only if nothing was received before it, since it is taken by telling it.
    fn next_packet(&self, stream: &mut Stream, done: usize) -> Result<Option<Box<Packet>>, Errno> {
        let connection = &mut stream.connection;
        let ends = Readiness::ERROR | Readiness::HANG_UP | Readiness::READ_HANG_UP;
        if done > 0 && connection.readable_bytes() == 0 {
            return if connection.readiness().intersects(ends) { Ok(None) } else { Err(Errno::EAGAIN) };
        }
        if connection.readable_bytes() == 0
            && matches!(connection.state(), State::SynSent | State::SynReceived)
        {
            return Err(Errno::EAGAIN);
        }
        connection.read_packet(platform::now_ns(), &mut stream.out)
    }

    /// What a socket without a connection answers.
    fn unconnected_end(&self) -> Result<(), Errno> {
        Err(self.core().take_error().unwrap_or(Errno::ENOTCONN))
    }

    fn peek(&self, dst: &mut dyn ReadDst, flags: MessageFlags, blocking: Blocking) -> Result<usize, Errno> {
        let wanted = dst.remaining();
        let target = self.target(flags, wanted);
        self.core().wait(blocking, self.core().receive_timeout(), || {
            let reading = self.reading.lock();
            let unread = self.unread_bytes.load(Acquire);
            loop {
                let mut inner = self.lock();
                let Role::Stream(stream) = &mut inner.role else {
                    return Some(self.unconnected_end().map(|()| 0));
                };
                let there = unread + stream.connection.readable_bytes();
                let ends = Readiness::ERROR | Readiness::HANG_UP | Readiness::READ_HANG_UP;
                let is_over = stream.connection.readiness().intersects(ends);
                if there < target && !is_over {
                    if self.arm(stream, Interest::READ).is_err() {
                        continue;
                    }
                    // Not to wait is to be content with less.
                    if there == 0 || blocking == Blocking::Yes {
                        return None;
                    }
                }
                return Some(peek_into(&reading, stream, dst, wanted));
            }
        })
    }

    fn receive_urgent(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        _blocking: Blocking,
    ) -> Result<Received, Errno> {
        let mut inner = self.lock();
        let Role::Stream(stream) = &mut inner.role else {
            return self.unconnected_end().map(|()| Received::default());
        };
        let mode = if flags.contains(MessageFlags::PEEK) { ReadMode::Peek(0) } else { ReadMode::Take };
        // There is no waiting for it (`tcp_recv_urg`).
        let byte = stream.connection.read_urgent(mode)?;
        drop(inner);
        let mut received = Received { flags: MessageFlags::OOB, ..Received::default() };
        if dst.remaining() == 0 {
            received.flags |= MessageFlags::TRUNC;
        } else if flags.contains(MessageFlags::TRUNC) {
            received.len = 1;
        } else {
            received.len = dst.put(&[byte])?;
        }
        Ok(received)
    }

    /// Bytes that were taken out of the connection and are not with the application yet.
    pub(super) fn unread(&self) -> usize {
        self.unread_bytes.load(Acquire)
    }

    /// Throws them away. With the socket's lock held, so not waiting for a reader: he finds what he holds.
    pub(super) fn forget_unread(&self) {
        if let Some(mut reading) = self.reading.try_lock() {
            reading.clear();
            self.unread_bytes.store(0, Release);
        }
    }
}

/// Copies without taking.
fn peek_into(
    reading: &VecDeque<Box<Packet>>,
    stream: &mut Stream,
    dst: &mut dyn ReadDst,
    wanted: usize,
) -> Result<usize, Errno> {
    let mut done = 0;
    for packet in reading {
        let len = packet.len().min(wanted - done);
        let copied = packet.read_to(0, len, dst)?;
        done += copied;
        if copied < len || done == wanted {
            return Ok(done);
        }
    }
    if stream.connection.readable_bytes() == 0 && done > 0 {
        return Ok(done);
    }
    match stream.connection.read(platform::now_ns(), dst, ReadMode::Peek(0), &mut stream.out) {
        Ok(bytes) => Ok(done + bytes),
        Err(_) if done > 0 => Ok(done),
        Err(error) => Err(error),
    }
}
