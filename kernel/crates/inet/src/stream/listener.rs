//! Listening sockets: handshakes, and connections to be accepted.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;

use ksync::{Interruptible, Mutex, SpinLock, Timer, WaitError, WaitQueue, platform};
use linux_abi::Errno;
use packet::Packet;
use tcp::{AcceptQueue, Connection, Isn, Segment, SeqNumber, Tuple, Verdict};
use vfs::{Blocking, PollEvents};

use super::{Phase, Role, TcpSocket, incoming::is_syn, shared::TimerHook, turn::path_of};
use crate::{Endpoint, Timeout};

/// Handshakes that are remembered at least, however short the queue. Beyond, cookies are sent, and who answers one while the
/// queue is full is forgotten until he sends something; so a burst should not get that far.
const LEAST_HANDSHAKES: usize = 128;

/// What a listening socket has.
pub struct Listener {
    handshakes: Mutex<Handshakes>,
    queue: SpinLock<Queue>,
    /// Threads in `accept`, one of which is woken for each connection.
    acceptors: WaitQueue,
    /// The socket's, which its connections inherit.
    options: SpinLock<Arc<tcp::Options>>,
}

struct Handshakes {
    cache: tcp::Listener,
    timer: Timer,
    armed_ns: Option<u64>,
}

struct Queue {
    connections: VecDeque<Arc<TcpSocket>>,
    /// So many may wait besides one, as on Linux (`sk_acceptq_is_full`).
    backlog: usize,
    is_closed: bool,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.connections.len() > self.backlog
    }
}

impl Listener {
    fn new(socket: &TcpSocket, options: &tcp::Options, backlog: usize) -> Arc<Self> {
        let cache = tcp::Listener::new(socket.net().tcp_secrets.clone(), backlog.max(LEAST_HANDSHAKES));
        let timer = Timer::new(Arc::new(TimerHook(socket.shared.clone())));
        Arc::new(Self {
            handshakes: Mutex::new(Handshakes { cache, timer, armed_ns: None }),
            queue: SpinLock::new(Queue { connections: VecDeque::new(), backlog, is_closed: false }),
            acceptors: WaitQueue::new(),
            options: SpinLock::new(Arc::new(options.clone())),
        })
    }

    /// What its next connections inherit.
    pub fn set_options(&self, options: &tcp::Options) {
        let before = core::mem::replace(&mut *self.options.lock(), Arc::new(options.clone()));
        drop(before);
    }

    /// Connections to be accepted, and how many there may be: `TCP_INFO` and `/proc/net/tcp` show both.
    pub fn queue_lengths(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.connections.len(), queue.backlog)
    }

    /// Whether a connection can be accepted.
    pub fn has_connections(&self) -> bool {
        !self.queue.lock().connections.is_empty()
    }

    /// Takes a segment of no connection.
    pub fn segment(&self, socket: &Arc<TcpSocket>, tuple: Tuple, segment: Segment, isn: Option<Isn>) {
        let net = socket.net();
        let interface = socket.outgoing_interface();
        // No way back, no connection.
        let Ok(route) = net.ip.route(tuple.remote.ip(), Some(tuple.local.ip()), interface.or(scope(&tuple)))
        else {
            return;
        };
        let mut out = Vec::new();
        let options = self.options.lock().clone();
        let queue_state = {
            let queue = self.queue.lock();
            if queue.is_full() { AcceptQueue::Full } else { AcceptQueue::HasRoom }
        };
        if queue_state == AcceptQueue::Full && is_syn(&segment) {
            net.tcp_counters.listen_overflows.fetch_add(1, Relaxed);
        }
        if net.tcp_memory.is_exhausted() && is_syn(&segment) {
            net.tcp_counters.memory_drops.fetch_add(1, Relaxed);
            return;
        }
        let now_ns = platform::now_ns();
        let verdict = {
            let mut handshakes = self.handshakes.lock();
            let path = path_of(&route);
            let before = handshakes.cache.cookie_counts();
            let verdict =
                handshakes.cache.segment(now_ns, &tuple, path, segment, isn, queue_state, &options, &mut out);
            let after = handshakes.cache.cookie_counts();
            net.tcp_counters.cookies_sent.fetch_add(after.0 - before.0, Relaxed);
            net.tcp_counters.cookies_received.fetch_add(after.1 - before.1, Relaxed);
            handshakes.arm_timer();
            verdict
        };
        match verdict {
            Verdict::Done => net.send_tcp(&tuple, socket.output_options(), &mut out),
            Verdict::Established(connection) => {
                self.establish(socket, tuple, *connection, route, out);
            }
        }
    }

    /// Makes the socket of a new connection and queues it.
    fn establish(
        &self,
        socket: &Arc<TcpSocket>,
        tuple: Tuple,
        connection: Connection,
        route: ip::Route,
        out: Vec<Box<Packet>>,
    ) {
        let net = socket.net();
        net.tcp_counters.passive_opens.fetch_add(1, Relaxed);
        let Some(accepted) = socket.accepted(tuple, connection, route, out) else { return };
        let refused = {
            let mut queue = self.queue.lock();
            if queue.is_closed {
                Some(accepted)
            } else {
                queue.connections.push_back(accepted);
                None
            }
        };
        if let Some(accepted) = refused {
            return accepted.abort();
        }
        self.acceptors.wake_one();
        socket.core().pollee.notify(PollEvents::IN | PollEvents::RDNORM);
    }

    /// Repeats what was not answered.
    pub fn poll(&self, socket: &TcpSocket, now_ns: u64) {
        let mut answers: Vec<(Tuple, Box<Packet>)> = Vec::new();
        // The worker's turn, under the socket's lock: who else has this one sleeps on nothing.
        let mut handshakes = self.handshakes.lock();
        handshakes.armed_ns = handshakes.armed_ns.filter(|armed_ns| *armed_ns > now_ns);
        if handshakes.cache.deadline().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            handshakes.cache.poll(now_ns, &mut |tuple, packet| answers.push((*tuple, packet)));
        }
        handshakes.arm_timer();
        drop(handshakes);
        for (tuple, packet) in answers {
            socket.net().send_tcp(&tuple, socket.output_options(), &mut alloc::vec![packet]);
        }
    }

    /// An ICMP error quotes a segment of a handshake.
    pub fn icmp_error(&self, tuple: &Tuple, quoted_sequence: SeqNumber, error: tcp::IcmpError) {
        self.handshakes.lock().cache.icmp_error(tuple, quoted_sequence, error);
    }

    /// Handshakes under way.
    pub fn pending(&self) -> Vec<Tuple> {
        self.handshakes.lock().cache.pending().copied().collect()
    }

    fn set_backlog(&self, backlog: usize) {
        self.queue.lock().backlog = backlog;
        self.handshakes.lock().cache.set_backlog(backlog.max(LEAST_HANDSHAKES));
    }

    /// It listens no more: nobody will accept what waits. Called without a lock.
    pub fn close(&self) {
        let connections = {
            let mut queue = self.queue.lock();
            queue.is_closed = true;
            core::mem::take(&mut queue.connections)
        };
        self.handshakes.lock().timer.cancel();
        for connection in connections {
            connection.abort();
        }
        self.acceptors.wake_all();
    }
}

impl Handshakes {
    fn arm_timer(&mut self) {
        let Some(deadline_ns) = self.cache.deadline() else { return };
        if self.armed_ns.is_none_or(|armed_ns| deadline_ns < armed_ns) {
            self.timer.arm(deadline_ns);
            self.armed_ns = Some(deadline_ns);
        }
    }
}

fn scope(tuple: &Tuple) -> Option<u32> {
    match tuple.remote {
        core::net::SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    }
}

impl TcpSocket {
    /// What it has as a listener, if it is one.
    pub fn listener(&self) -> Option<Arc<Listener>> {
        match &self.inner.lock().role {
            Role::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    pub(super) fn start_listening(&self, backlog: u32) -> Result<(), Errno> {
        let mut inner = self.lock();
        let backlog = backlog.min(self.net().settings.max_backlog.load(Relaxed)) as usize;
        if inner.phase != Phase::Unconnected {
            return Err(Errno::EINVAL);
        }
        match &inner.role {
            Role::Listening(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            Role::Stream(stream) if stream.is_registered => return Err(Errno::EINVAL),
            _ => {}
        }
        if inner.claim.is_none() {
            let local = Endpoint { port: 0, ..self.core().endpoints().local };
            self.claim_port(&mut inner, local)?;
        }
        inner.claim.as_ref().ok_or(Errno::EINVAL)?.listen()?;
        let listener = Listener::new(self, &inner.options, backlog);
        inner.role = Role::Listening(listener);
        Ok(())
    }

    pub(super) fn take_connection(&self, blocking: Blocking) -> Result<Arc<TcpSocket>, Errno> {
        let listener = self.listener().ok_or(Errno::EINVAL)?;
        let attempt = || {
            let mut queue = listener.queue.lock();
            match queue.connections.pop_front() {
                Some(connection) => Some(Ok(connection)),
                None if queue.is_closed => Some(Err(Errno::EINVAL)),
                None => None,
            }
        };
        let timeout = self.core().receive_timeout();
        if blocking == Blocking::No || timeout == Timeout::Never {
            return attempt().unwrap_or(Err(Errno::EAGAIN));
        }
        let deadline_ns = match timeout {
            Timeout::AfterNs(ns) => Some(platform::now_ns().saturating_add(ns)),
            _ => None,
        };
        match listener.acceptors.wait(Interruptible::Yes, deadline_ns, attempt) {
            Ok(result) => result,
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN),
            Err(WaitError::Interrupted) if deadline_ns.is_some() => Err(Errno::EINTR),
            Err(WaitError::Interrupted) => Err(Errno::ERESTARTSYS),
        }
    }
}
