//! What the application does: writing, reading, shutting, closing.

use alloc::{boxed::Box, vec::Vec};

use linux_abi::Errno;
use packet::{Fragment, Packet};
use vfs::{ReadDst, WriteSrc};

use super::{Connection, Linger, ReadMode, Shutdown, State, Urgent, WriteFlags};
use crate::{BufferGrowth, Options};

impl Connection {
    /// Takes bytes of `source`, as far as the send buffer has room, and sends what may be sent. Returns how many.
    ///
    /// Fails with the pending error (and clears it), `EPIPE` when writing is shut, `EAGAIN` when there is no room or
    /// the connection is not established yet, `EFAULT` from the source.
    pub fn write(
        &mut self,
        now_ns: u64,
        source: &mut dyn WriteSrc,
        flags: WriteFlags,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<usize, Errno> {
        let now_ns = self.clock(now_ns);
        let room = self.room_for_writing(source.remaining())?;
        let written = self.buffer.write(source, room)?;
        self.after_writing(now_ns, flags, source.remaining() > 0, out);
        Ok(written)
    }

    /// Like [`write`](Self::write), with bytes that lie in a page frame already (`sendfile(2)`), and are not copied:
    /// all of them or none. They must not change until they are acknowledged.
    pub fn write_fragment(
        &mut self,
        now_ns: u64,
        fragment: Fragment,
        flags: WriteFlags,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        let now_ns = self.clock(now_ns);
        self.room_for_writing(fragment.len())?;
        self.buffer.push(fragment);
        self.after_writing(now_ns, flags, false, out);
        Ok(())
    }

    fn room_for_writing(&mut self, wanted: usize) -> Result<usize, Errno> {
        if self.error.is_some() || self.is_write_shut {
            return Err(self.error.take().unwrap_or(Errno::EPIPE));
        }
        if matches!(self.state, State::SynSent | State::SynReceived) {
            return Err(Errno::EAGAIN);
        }
        match self.send_room() {
            0 if wanted > 0 => Err(Errno::EAGAIN),
            room => Ok(room),
        }
    }

    /// Room in the send buffer, in bytes.
    pub(super) fn send_room(&self) -> usize {
        let limit = self.options.send_buffer.bytes() as usize;
        let by_buffer = limit.saturating_sub(self.queued_bytes());
        let unsent = self.unsent_bytes();
        by_buffer.min((self.options.notsent_low_water as usize).saturating_sub(unsent))
    }

    /// What `SO_SNDBUF` is compared with: data, and the books that are kept of it (Linux's `sk_wmem_queued`).
    pub(super) fn queued_bytes(&self) -> usize {
        self.buffer.accounted_bytes() + self.board.accounted_bytes()
    }

    fn after_writing(
        &mut self,
        now_ns: u64,
        flags: WriteFlags,
        is_more_there: bool,
        out: &mut Vec<Box<Packet>>,
    ) {
        if flags.contains(WriteFlags::URGENT) && !is_more_there {
            self.urgent_end = self.buffer.end();
        }
        self.is_more_expected = flags.contains(WriteFlags::MORE);
        self.transmit(now_ns, out);
    }

    /// Copies received data to `destination`. Returns how many bytes; 0 at the end of the data. Reading opens the
    /// window, which may send an acknowledgement.
    ///
    /// Fails with the pending error (and clears it), `EAGAIN` when there is nothing yet, `ENOTCONN` if there never was
    /// a connection, `EFAULT` from the destination.
    pub fn read(
        &mut self,
        now_ns: u64,
        destination: &mut dyn ReadDst,
        mode: ReadMode,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<usize, Errno> {
        let now_ns = self.clock(now_ns);
        match mode {
            ReadMode::Take => {
                let Some(len) = self.run_to_read()? else { return Ok(0) };
                let read = self.received.read(len, destination)?;
                self.after_reading(now_ns, out);
                Ok(read)
            }
            ReadMode::Peek(offset) => {
                let readable = self.readable_bytes();
                if offset >= readable {
                    return self.nothing_to_read().map(|()| 0);
                }
                // Like reading, it does not go past the urgent mark.
                let skip = self.bytes_at_mark_to_skip(self.received.read_position());
                let len = self.run_length(self.received.read_position() + (offset + skip) as u64);
                self.received.peek(offset + skip, len, destination)
            }
        }
    }

    /// Like [`read`](Self::read), but hands out the next packet, trimmed to its payload, without a copy (`splice(2)`).
    /// `None` at the end of the data.
    pub fn read_packet(
        &mut self,
        now_ns: u64,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<Option<Box<Packet>>, Errno> {
        let now_ns = self.clock(now_ns);
        let Some(len) = self.run_to_read()? else { return Ok(None) };
        let packet = self.received.take_packet(len);
        self.after_reading(now_ns, out);
        Ok(packet)
    }

    /// Drops up to `len` received bytes (`MSG_TRUNC`). Returns and fails like [`read`](Self::read).
    pub fn discard(&mut self, now_ns: u64, len: usize, out: &mut Vec<Box<Packet>>) -> Result<usize, Errno> {
        let now_ns = self.clock(now_ns);
        let Some(run) = self.run_to_read()? else { return Ok(0) };
        let len = len.min(run);
        self.received.discard(len);
        self.after_reading(now_ns, out);
        Ok(len)
    }

    /// How many bytes can be read in one go, at least one; `None` at the end.
    fn run_to_read(&mut self) -> Result<Option<usize>, Errno> {
        let skip = self.bytes_at_mark_to_skip(self.received.read_position());
        if self.received.readable() <= skip {
            self.received.discard(skip);
            return self.nothing_to_read().map(|()| None);
        }
        self.received.discard(skip);
        let position = self.received.read_position();
        match self.urgent {
            Urgent::Here(at, _) | Urgent::Read(at) if at < position => self.urgent = Urgent::None,
            // In line, it is read like any other.
            Urgent::Here(at, _) if at == position => self.urgent = Urgent::None,
            _ => {}
        }
        Ok(Some(self.run_length(position)))
    }

    /// The urgent byte is not in the stream, unless `SO_OOBINLINE` says so.
    fn bytes_at_mark_to_skip(&self, position: u64) -> usize {
        match self.urgent {
            Urgent::Here(at, _) | Urgent::Read(at) if at == position && !self.options.oob_inline => 1,
            _ => 0,
        }
    }

    /// Bytes from `position` to the urgent mark, or to the end.
    fn run_length(&self, position: u64) -> usize {
        let end = self.received.next();
        let end = match self.urgent {
            Urgent::Here(at, _) | Urgent::Read(at) if at > position => at.min(end),
            _ => end,
        };
        (end - position) as usize
    }

    /// Why there is nothing: an error, the end, or that it is early.
    fn nothing_to_read(&mut self) -> Result<(), Errno> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match self.state {
            _ if self.is_fin_received || self.is_read_shut => Ok(()),
            State::Closed if self.was_established => Ok(()),
            State::Closed => Err(Errno::ENOTCONN),
            _ => Err(Errno::EAGAIN),
        }
    }

    /// Tells the other end that there is room again, where that is of use.
    fn after_reading(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        self.adjust_receive_buffer(now_ns);
        if self.is_fin_received || self.state == State::Closed {
            return;
        }
        let owed = self.receive_next() - self.acknowledged;
        // All that came is read, and nothing says that an answer follows: the other end may wait for this.
        let is_owed = self.acknowledging.is_pending
            && (owed > u64::from(self.receive_mss)
                || self.received.readable() == 0 && !self.acknowledging.is_interactive);
        if is_owed || self.is_window_update_due() {
            self.send_acknowledgement(now_ns, out);
        }
    }

    /// The urgent byte (`MSG_OOB`). `EINVAL` if there is none (or it was read, or is in line), `EAGAIN` if it was
    /// announced but is not here yet.
    pub fn read_urgent(&mut self, mode: ReadMode) -> Result<u8, Errno> {
        if self.options.oob_inline {
            return Err(Errno::EINVAL);
        }
        match self.urgent {
            Urgent::Here(at, byte) => {
                if mode == ReadMode::Take {
                    self.urgent = Urgent::Read(at);
                }
                Ok(byte)
            }
            Urgent::Announced(_) if self.state == State::Closed => Err(Errno::EINVAL),
            Urgent::Announced(_) => Err(Errno::EAGAIN),
            Urgent::None | Urgent::Read(_) => Err(Errno::EINVAL),
        }
    }

    /// Shuts one or both directions. `ENOTCONN` if there is no connection.
    pub fn shutdown(&mut self, now_ns: u64, how: Shutdown, out: &mut Vec<Box<Packet>>) -> Result<(), Errno> {
        let now_ns = self.clock(now_ns);
        match self.state {
            State::Closed => return Err(Errno::ENOTCONN),
            State::SynSent => {
                // As Linux's `inet_shutdown`: the attempt is over.
                self.finish(None);
                return Ok(());
            }
            _ => {}
        }
        if how != Shutdown::Write {
            self.is_read_shut = true;
        }
        if how != Shutdown::Read && !self.is_write_shut {
            self.is_write_shut = true;
            self.queue_fin(now_ns, out);
        }
        Ok(())
    }

    /// The FIN follows what was written.
    fn queue_fin(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            // It goes out when the handshake is over.
            State::SynReceived => {}
            _ => return,
        }
        self.fin = Some(self.buffer.end());
        self.is_more_expected = false;
        self.transmit(now_ns, out);
    }

    /// The application is gone: the connection is an orphan from now on, and ends by itself. Unread data makes it end
    /// with a RST (RFC 2525, 2.17). The caller goes on with segments and [`poll`](Self::poll) until
    /// [`state`](Self::state) is [`State::Closed`].
    pub fn close(&mut self, now_ns: u64, linger: Linger, out: &mut Vec<Box<Packet>>) {
        let now_ns = self.clock(now_ns);
        self.is_orphan = true;
        let has_unread = self.received.readable() > 0;
        self.received.purge();
        match self.state {
            State::Closed => return,
            State::SynSent => return self.finish(None),
            _ if has_unread || linger == Linger::Reset => {
                self.send_reset(now_ns, out);
                return self.finish(None);
            }
            _ => {}
        }
        self.is_read_shut = true;
        if !self.is_write_shut {
            self.is_write_shut = true;
            self.queue_fin(now_ns, out);
        }
        if self.state == State::FinWait2 && self.options.linger2_s < 0 {
            self.send_reset(now_ns, out);
            return self.finish(None);
        }
        self.await_fin_as_orphan(now_ns);
    }

    /// Changes options, and does what follows from it: taking the cork out sends what waits.
    pub fn update_options(
        &mut self,
        now_ns: u64,
        change: impl FnOnce(&mut Options),
        out: &mut Vec<Box<Packet>>,
    ) {
        let now_ns = self.clock(now_ns);
        let before = self.options.clone();
        change(&mut self.options);
        if self.options.congestion != before.congestion {
            self.congestion.set_algorithm(self.options.congestion);
        }
        let keepalive = |options: &Options| (options.keepalive, options.keepalive_idle_s);
        if keepalive(&self.options) != keepalive(&before) {
            self.arm_keepalive(now_ns);
        }
        if self.options.max_segment != before.max_segment {
            self.update_mss();
        }
        if !self.options.cork && before.cork || self.options.nodelay && !before.nodelay {
            self.is_more_expected = false;
            self.transmit(now_ns, out);
        }
    }

    /// Lets automatic buffers grow, or stops them.
    pub fn set_buffer_growth(&mut self, growth: BufferGrowth) {
        self.buffer_growth = growth;
    }

    /// `TCP_QUICKACK`: whether acknowledgements go out at once, until the connection decides otherwise. Turning it on
    /// sends one that waits.
    pub fn set_quick_acknowledgements(&mut self, now_ns: u64, on: bool, out: &mut Vec<Box<Packet>>) {
        let now_ns = self.clock(now_ns);
        self.acknowledging.is_interactive = !on;
        if on {
            self.acknowledging.quick = super::create::QUICK_ACKNOWLEDGEMENTS;
            if self.acknowledging.is_pending {
                self.send_acknowledgement(now_ns, out);
            }
        }
    }

    /// `TCP_QUICKACK`, as it is.
    pub fn quick_acknowledgements(&self) -> bool {
        !self.acknowledging.is_interactive
    }
}
