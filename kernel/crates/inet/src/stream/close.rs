//! Shutting down and closing.

use core::mem;

use ksync::{Interruptible, platform};
use linux_abi::{Errno, socket::ShutdownHow};
use netchannels::Interest;
use tcp::{Linger, Shutdown, State};
use vfs::PollEvents;

use super::{Phase, Role, TcpSocket};

impl TcpSocket {
    pub(super) fn shut(&self, how: ShutdownHow) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.phase == Phase::Connecting {
            let is_over = inner.stream().is_none_or(|stream| {
                matches!(stream.connection.state(), State::SynSent | State::SynReceived | State::Closed)
            });
            inner.phase = if is_over { Phase::Disconnecting } else { Phase::Connected };
        }
        let mut closed = None;
        let result = match &mut inner.role {
            Role::Listening(_) if how == ShutdownHow::Write => Ok(()),
            Role::Listening(_) => {
                closed = self.disconnect_locked(&mut inner);
                Ok(())
            }
            Role::Stream(stream) if stream.connection.state() == State::SynSent => {
                self.disconnect_locked(&mut inner);
                Ok(())
            }
            Role::Stream(stream) => {
                let how = match how {
                    ShutdownHow::Read => Shutdown::Read,
                    ShutdownHow::Write => Shutdown::Write,
                    ShutdownHow::Both => Shutdown::Both,
                };
                stream.connection.shutdown(platform::now_ns(), how, &mut stream.out)
            }
            Role::Idle => {
                inner.shut.reading |= how != ShutdownHow::Write;
                inner.shut.writing |= how != ShutdownHow::Read;
                Err(Errno::ENOTCONN)
            }
        };
        drop(inner);
        if let Some(listener) = closed {
            listener.close();
        }
        self.core().pollee.notify(PollEvents::all());
        result
    }

    /// The last descriptor is closed.
    pub(super) fn close_by_owner(&self) {
        let linger = self.core().with(|options| options.common.linger);
        let mut inner = self.lock();
        if mem::replace(&mut inner.is_closed, true) {
            return;
        }
        if matches!(inner.role, Role::Listening(_)) {
            inner.port_is_bound = false;
            let listener = self.disconnect_locked(&mut inner);
            drop(inner);
            if let Some(listener) = listener {
                listener.close();
            }
            return;
        }
        inner.port_is_bound = false;
        let has_unread = self.unread() > 0;
        let Role::Stream(stream) = &mut inner.role else {
            let claim = inner.claim.take();
            drop(inner);
            drop(claim);
            return;
        };
        if !stream.is_registered {
            let claim = inner.claim.take();
            drop(inner);
            drop(claim);
            return;
        }
        let now_ns = platform::now_ns();
        // What the application has not read is lost; the peer is to know (RFC 2525, 2.17).
        let manner = if has_unread || (linger.on != 0 && linger.seconds == 0) {
            Linger::Reset
        } else {
            Linger::Background
        };
        let may_be_orphan = self.net().tcp_counters.orphan_made().is_ok();
        stream.is_counted_orphan = true;
        stream.connection.close(now_ns, manner, &mut stream.out);
        if !may_be_orphan || self.net().tcp_memory.is_exhausted() {
            self.net().tcp_counters.aborts_on_memory.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            stream.connection.abort(now_ns, &mut stream.out);
        }
        drop(inner);
        self.forget_unread();
        if linger.on != 0 && linger.seconds > 0 {
            self.linger(linger.seconds as u64);
        }
    }

    /// Waits until all is sent and acknowledged (`SO_LINGER`).
    fn linger(&self, seconds: u64) {
        let deadline_ns = platform::now_ns().saturating_add(seconds.saturating_mul(1_000_000_000));
        let _ = self.core().pollee.waiters.wait(Interruptible::Yes, Some(deadline_ns), || {
            loop {
                let mut inner = self.lock();
                let Some(stream) = inner.stream() else { return Some(()) };
                if !stream.is_registered || !stream.connection.has_unsent() {
                    return Some(());
                }
                if self.arm(stream, Interest::READ | Interest::WRITE).is_ok() {
                    return None;
                }
            }
        });
    }

    /// Ends a connection that nobody will accept.
    pub(super) fn abort(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        inner.port_is_bound = false;
        if let Some(stream) = inner.stream()
            && stream.is_registered
        {
            stream.connection.abort(platform::now_ns(), &mut stream.out);
        }
    }
}
