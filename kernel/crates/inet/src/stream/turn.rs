//! One turn with a socket's lock: what has come is processed first, what is to be sent is sent last.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    mem,
    ops::{Deref, DerefMut},
    sync::atomic::{Ordering::Relaxed, Ordering::SeqCst, fence},
};

use ksync::{MutexGuard, platform};
use linux_abi::Errno;
use netchannels::{Arm, Headers, Interest, Processing};
use packet::Packet;
use tcp::{BufferGrowth, Flags, Path, Segment, State, TimeWait};
use vfs::PollEvents;

use super::{Inner, Role, Stream, TcpSocket, incoming, shared::events_of, time_wait::TimeWaitFlow};
use crate::{Net, ingress::Flow, ports};

/// The lock of a socket, held. Its drop ends the turn.
pub(super) struct Locked<'a> {
    socket: &'a TcpSocket,
    guard: Option<MutexGuard<'a, Inner>>,
}

impl Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        self.guard.as_ref().expect("there until the drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        self.guard.as_mut().expect("there until the drop")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        self.socket.end_turn(&mut guard);
        let left = guard.left.take();
        drop(guard);
        if let Some(left) = left {
            left.dispose(self.socket.net());
        }
        // The worker may have come meanwhile: it made its note first and looked at the lock after, so one of us sees
        // the other.
        fence(SeqCst);
        if self.socket.pending.load(SeqCst) {
            self.socket.work();
        }
    }
}

/// What is to be done when the lock is free again.
#[derive(Default)]
pub(super) struct Left {
    late: Vec<Box<Packet>>,
    kept: Option<Arc<TcpSocket>>,
    claim: Option<super::TcpClaim>,
}

impl Left {
    /// All of it, if there is anything, which is rare.
    fn take(&mut self) -> Option<Self> {
        let is_empty = self.late.is_empty() && self.kept.is_none() && self.claim.is_none();
        (!is_empty).then(|| mem::take(self))
    }

    fn dispose(self, net: &Arc<Net>) {
        for packet in self.late {
            incoming::late(net, packet);
        }
        drop(self.claim);
        drop(self.kept);
    }
}

impl TcpSocket {
    /// Takes the lock and processes what has come.
    pub(super) fn lock(&self) -> Locked<'_> {
        let mut locked = Locked { socket: self, guard: Some(self.inner.lock()) };
        if let Some(stream) = locked.stream() {
            stream.has_waiting_thread = false;
            self.drain(stream, platform::now_ns());
        }
        locked
    }

    /// Does what the worker is called for, or leaves it to whoever has the lock.
    pub(super) fn work(&self) {
        self.pending.store(true, SeqCst);
        loop {
            fence(SeqCst);
            let Some(mut guard) = self.inner.try_lock() else { return };
            self.pending.store(false, SeqCst);
            let events = self.work_locked(&mut guard);
            self.end_turn(&mut guard);
            let left = guard.left.take();
            drop(guard);
            if let Some(left) = left {
                left.dispose(self.net());
            }
            if !events.is_empty() {
                self.core().pollee.notify(events);
            }
            fence(SeqCst);
            if !self.pending.load(SeqCst) {
                return;
            }
        }
    }

    /// The worker's turn. Returns what those who wait are to be told.
    fn work_locked(&self, inner: &mut Inner) -> PollEvents {
        let now_ns = platform::now_ns();
        match &mut inner.role {
            Role::Idle => PollEvents::empty(),
            Role::Listening(listener) => {
                listener.poll(self, now_ns);
                PollEvents::empty()
            }
            Role::Stream(stream) => {
                let channel = stream.receiver.channel();
                channel.begin_deferred();
                channel.begin_check();
                self.drain(stream, now_ns);
                let before = stream.connection.readiness();
                if stream.armed_ns.is_some_and(|armed_ns| armed_ns <= now_ns) {
                    stream.armed_ns = None;
                }
                if stream.connection.deadline().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
                    stream.connection.poll(now_ns, &mut stream.out);
                }
                let after = stream.connection.readiness();
                if !before.contains(after) {
                    // Time has brought something: an error.
                    return PollEvents::all();
                }
                self.announce(stream)
            }
        }
    }

    /// What the channel did not announce: everything with `--net-channels off`.
    fn announce(&self, stream: &mut Stream) -> PollEvents {
        let interest = stream.receiver.take_interest();
        let mut satisfied = Interest::empty();
        if interest.contains(Interest::READ) && mem::take(&mut stream.is_unannounced) {
            satisfied |= Interest::READ;
        }
        let writable = stream.connection.readiness().contains(tcp::Readiness::WRITABLE);
        if interest.contains(Interest::WRITE) && writable {
            satisfied |= Interest::WRITE;
        }
        // What came between is drained when the turn ends.
        let _ = stream.receiver.arm(interest & !satisfied & !Interest::PROTOCOL);
        events_of(satisfied)
    }

    /// Processes what lies in the channel.
    pub(super) fn drain(&self, stream: &mut Stream, now_ns: u64) {
        let net = self.net();
        let mut segments = 0;
        for packet in stream.receiver.drain() {
            segments += 1;
            if stream.connection.state() == State::Closed {
                stream.late.push(packet);
                continue;
            }
            let Ok(segment) = parse(packet) else {
                net.tcp_counters.in_errors.fetch_add(1, Relaxed);
                continue;
            };
            let brings = !segment.payload.is_empty();
            if brings && net.tcp_memory.is_exhausted() && stream.connection.readable_bytes() > 0 {
                // The peer sends it again; an acknowledgement without it still counts.
                net.tcp_counters.memory_drops.fetch_add(1, Relaxed);
                continue;
            }
            let control = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
            stream.is_unannounced |= brings || control;
            stream.connection.segment(now_ns, segment, &mut stream.out);
        }
        if segments == 0 {
            return;
        }
        net.tcp_counters.in_segments.fetch_add(segments, Relaxed);
        if let Some(route) = &stream.route {
            net.ip.confirm(route);
        }
        if net.processing() == Processing::InReader {
            stream.is_unannounced = false;
        }
    }

    /// Ends a turn: sends, arms, and notices that a connection is over.
    pub(super) fn end_turn(&self, inner: &mut Inner) {
        let Role::Stream(stream) = &mut inner.role else { return };
        loop {
            self.flush(stream);
            if !stream.is_registered {
                break;
            }
            let record = stream.connection.take_time_wait();
            if record.is_some() || stream.connection.state() == State::Closed {
                return self.finish(inner, record);
            }
            // The protocol goes on by itself while nobody waits for what it waits for.
            let waits = stream.connection.wants_acknowledgements() && !stream.has_waiting_thread;
            if waits && stream.receiver.arm(Interest::PROTOCOL) == Arm::LookAgain {
                self.drain(stream, platform::now_ns());
                continue;
            }
            break;
        }
        self.account(stream);
        if stream.is_registered {
            self.arm_timer(stream);
        }
    }

    /// Says what the next packet is to wake, before the caller waits: `Err` if there are packets already, which are
    /// processed now.
    pub(super) fn arm(&self, stream: &mut Stream, interest: Interest) -> Result<(), LookAgain> {
        if stream.receiver.arm(interest) == Arm::Armed {
            return Ok(());
        }
        self.drain(stream, platform::now_ns());
        Err(LookAgain)
    }

    /// Like [`arm`](Self::arm), for a thread that any segment wakes: it processes what comes, and the worker need not.
    pub(super) fn arm_waiting(&self, stream: &mut Stream, interest: Interest) -> Result<(), LookAgain> {
        let others = stream.receiver.take_interest() & !Interest::PROTOCOL;
        stream.has_waiting_thread = true;
        self.arm(stream, others | Interest::WRITE | interest)
    }

    /// Sends what is to be sent.
    fn flush(&self, stream: &mut Stream) {
        if stream.out.is_empty() {
            return;
        }
        let net = self.net();
        let segments = stream.out.iter().map(|packet| incoming::segments_of(packet)).sum();
        net.tcp_counters.out_segments.fetch_add(segments, Relaxed);
        let tuple = *stream.connection.tuple();
        let result = self.refresh_route(stream).and_then(|()| {
            let route = stream.route.as_ref().ok_or(Errno::ENETUNREACH)?;
            net.ip.output(route, tuple.local.ip(), tuple.remote.ip(), stream.output, &mut stream.out)
        });
        if let Err(error) = result {
            stream.connection.set_soft_error(error);
        }
        stream.out.clear();
    }

    /// Asks for the way again if the tables have changed.
    fn refresh_route(&self, stream: &mut Stream) -> Result<(), Errno> {
        if stream.route.as_ref().is_some_and(|route| route.is_current()) {
            return Ok(());
        }
        let tuple = *stream.connection.tuple();
        let interface = self.outgoing_interface();
        let route = self.net().ip.route(tuple.remote.ip(), Some(tuple.local.ip()), interface)?;
        stream.connection.set_path(path_of(&route));
        stream.route = Some(route);
        Ok(())
    }

    fn account(&self, stream: &mut Stream) {
        if let Some(events) = stream.connection.take_events() {
            self.net().tcp_counters.add(&events);
        }
        let bytes = stream.connection.memory_bytes();
        self.net().tcp_memory.account(stream.accounted_bytes, bytes);
        stream.accounted_bytes = bytes;
        let is_tight = self.net().tcp_memory.is_tight();
        stream.connection.set_buffer_growth(if is_tight {
            BufferGrowth::Stopped
        } else {
            BufferGrowth::Allowed
        });
    }

    /// Arms the timer if it would fire too late. One that fires too early is armed again then: that is cheaper than
    /// moving it with each segment.
    fn arm_timer(&self, stream: &mut Stream) {
        let Some(deadline_ns) = stream.connection.deadline() else { return };
        if stream.armed_ns.is_none_or(|armed_ns| deadline_ns < armed_ns) {
            stream.timer.arm(deadline_ns);
            stream.armed_ns = Some(deadline_ns);
        }
    }

    /// A connection is over: takes it out of the table of flows, and leaves its record there if there is one.
    fn finish(&self, inner: &mut Inner, record: Option<TimeWait>) {
        let net = self.net();
        let Role::Stream(stream) = &mut inner.role else { return };
        stream.is_registered = false;
        stream.timer.cancel();
        stream.armed_ns = None;
        let left = &mut inner.left;
        left.kept = self.shared.kept.lock().take();
        match record {
            Some(record) => {
                let claim = if inner.port_is_bound {
                    // The socket keeps its own.
                    inner.claim.as_ref().and_then(|claim| {
                        let binding = claim.binding()?;
                        Some(net.tcp_ports.accept(claim.port(), binding, self.this.clone()))
                    })
                } else {
                    inner.claim.take()
                };
                if let Some(claim) = &claim {
                    claim.update(|binding| binding.phase = ports::Phase::TimeWait);
                }
                let flow = Arc::new(TimeWaitFlow::new(record, stream.key, claim));
                if net.flows.replace(&stream.key, Flow::TimeWait(flow.clone())).is_ok() {
                    net.time_wait.add(net, flow);
                }
            }
            None => {
                let own = stream.receiver.channel();
                net.flows.remove_if(
                    &stream.key,
                    |flow| matches!(flow, Flow::Channel(channel) if Arc::ptr_eq(channel, own)),
                );
                if !inner.port_is_bound {
                    left.claim = inner.claim.take();
                }
            }
        }
        // Nobody finds the channel any more; what was put there until now is for whoever is found instead.
        left.late.append(&mut stream.late);
        left.late.extend(stream.receiver.drain());
        stream.receiver.close();
        self.account(stream);
        if mem::take(&mut stream.is_counted_orphan) {
            net.tcp_counters.orphan_gone();
        }
    }
}

/// There are packets already.
pub(super) struct LookAgain;

/// What TCP is to know of a route. Segments larger than the MTU are cut by IP where the link does not.
pub fn path_of(route: &ip::Route) -> Path {
    Path { mtu: route.mtu, segmentation_offload: true }
}

/// The segment in a packet that begins with its IP header.
pub fn parse(mut packet: Box<Packet>) -> Result<Segment, tcp::Malformed> {
    let headers = Headers::of(&packet).ok_or(tcp::Malformed::Header)?;
    packet.trim_front(headers.ip_header_bytes);
    Segment::parse(headers.source, headers.destination, packet)
}
