//! Sending.

use ksync::platform;
use linux_abi::{Errno, socket::MessageFlags};
use netchannels::Interest;
use packet::Fragment;
use tcp::{Readiness, State, WriteFlags};
use vfs::{Blocking, SliceSrc, WriteSrc};

use super::{Role, Stream, TcpSocket};

impl TcpSocket {
    pub(super) fn send_bytes(
        &self,
        src: &mut dyn WriteSrc,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        if flags.intersects(MessageFlags::FASTOPEN | MessageFlags::ZEROCOPY) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut write_flags = WriteFlags::empty();
        write_flags.set(WriteFlags::MORE, flags.contains(MessageFlags::MORE));
        write_flags.set(WriteFlags::URGENT, flags.contains(MessageFlags::OOB));
        let mut sent = 0;
        let result = self.core().wait(blocking, self.core().send_timeout(), || {
            loop {
                let mut inner = self.lock();
                let stream = match &mut inner.role {
                    Role::Stream(stream) => stream,
                    // Not connected: a broken pipe (`sk_stream_wait_connect`).
                    Role::Idle | Role::Listening(_) => {
                        return Some(Err(self.core().take_error().unwrap_or(Errno::EPIPE)));
                    }
                };
                match self.write_some(stream, src, write_flags, &mut sent) {
                    Some(result) => return Some(result),
                    None if blocking == Blocking::No => {
                        // An edge tells when there is room.
                        if self.arm(stream, Interest::WRITE).is_ok() {
                            return None;
                        }
                    }
                    None => {
                        if self.arm_waiting(stream, Interest::WRITE).is_ok() {
                            return None;
                        }
                    }
                }
            }
        });
        if result.is_err() && blocking == Blocking::Yes {
            // Nobody waits any more: the turn's end lets the worker see to the rest.
            drop(self.lock());
        }
        match result {
            Err(_) if sent > 0 => Ok(sent),
            Err(error) => Err(error),
            Ok(()) => Ok(sent),
        }
    }

    /// Writes what there is room for. `None`: there is none now.
    fn write_some(
        &self,
        stream: &mut Stream,
        src: &mut dyn WriteSrc,
        flags: WriteFlags,
        sent: &mut usize,
    ) -> Option<Result<(), Errno>> {
        let connection = &mut stream.connection;
        if matches!(connection.state(), State::SynSent | State::SynReceived) {
            return None;
        }
        // Woken for less than a third of the buffer, a sender would be woken for each acknowledgement.
        if stream.has_waiting_thread && !connection.readiness().contains(Readiness::WRITABLE) {
            return None;
        }
        loop {
            // An error is for the call that has sent nothing.
            if *sent > 0 && connection.readiness().intersects(Readiness::ERROR | Readiness::HANG_UP) {
                return Some(Ok(()));
            }
            if self.net().tcp_memory.is_exhausted() && connection.unacknowledged_bytes() > 0 {
                return None;
            }
            match connection.write(platform::now_ns(), src, flags, &mut stream.out) {
                Ok(bytes) => {
                    *sent += bytes;
                    if src.remaining() == 0 {
                        return Some(Ok(()));
                    }
                    if bytes == 0 {
                        return None;
                    }
                }
                Err(Errno::EAGAIN) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Sends bytes that lie in a page frame without copying them (`sendfile(2)`): all, or `EAGAIN`. More is expected to
    /// follow; [`push_out`](Self::push_out) says that it does not.
    pub fn send_fragment(&self, fragment: Fragment) -> Result<(), Errno> {
        let mut inner = self.lock();
        let Role::Stream(stream) = &mut inner.role else {
            return Err(self.core().take_error().unwrap_or(Errno::EPIPE));
        };
        if self.net().tcp_memory.is_exhausted() && stream.connection.unacknowledged_bytes() > 0 {
            return Err(Errno::EAGAIN);
        }
        stream.connection.write_fragment(platform::now_ns(), fragment, WriteFlags::MORE, &mut stream.out)
    }

    /// Sends what waits for more.
    pub fn push_out(&self) {
        let mut inner = self.lock();
        if let Some(stream) = inner.stream() {
            let nothing = &mut SliceSrc::new(&[]);
            let readiness = stream.connection.readiness();
            if !readiness.intersects(Readiness::ERROR | Readiness::HANG_UP) {
                // Nothing is written, and nothing that can fail.
                let _ = stream.connection.write(
                    platform::now_ns(),
                    nothing,
                    WriteFlags::empty(),
                    &mut stream.out,
                );
            }
        }
    }

    /// Waits until there is much room in the send buffer, or sending fails at once.
    pub fn wait_for_room(&self) -> Result<(), Errno> {
        let result = self.core().wait(Blocking::Yes, self.core().send_timeout(), || {
            loop {
                let mut inner = self.lock();
                let Role::Stream(stream) = &mut inner.role else { return Some(Ok(())) };
                let ends = Readiness::ERROR | Readiness::HANG_UP | Readiness::WRITABLE;
                if stream.connection.readiness().intersects(ends) {
                    return Some(Ok(()));
                }
                if self.arm_waiting(stream, Interest::WRITE).is_ok() {
                    return None;
                }
            }
        });
        // Nobody waits any more, after a signal or too long: the turn's end lets the worker see to the rest.
        drop(self.lock());
        result
    }
}
