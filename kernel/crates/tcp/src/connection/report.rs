//! What a connection tells of itself.

use linux_abi::{Errno, inet::TcpInfo};

use super::{Connection, Events, Readiness, State, Urgent, create::announced_mss, recovery::Phase};
use crate::{Options, TimeWait, Tuple};

impl Connection {
    /// The addresses.
    #[inline]
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// The state.
    #[inline]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether reading has come to the urgent mark (`SIOCATMARK`).
    pub fn is_at_mark(&self) -> bool {
        matches!(
            self.urgent,
            Urgent::Announced(at) | Urgent::Here(at, _) | Urgent::Read(at)
                if at == self.received.read_position()
        )
    }

    /// Bytes that can be read at once (`FIONREAD`).
    #[inline]
    pub fn readable_bytes(&self) -> usize {
        let readable = self.received.readable();
        match self.urgent {
            // The urgent byte is not in line, and reading stops at the mark.
            Urgent::Here(at, _) | Urgent::Read(at) if !self.options.oob_inline => {
                match at.checked_sub(self.received.read_position()) {
                    Some(0) => readable.saturating_sub(1),
                    Some(before) => readable.min(before as usize),
                    None => readable,
                }
            }
            _ => readable,
        }
    }

    /// Bytes in the send buffer, acknowledged ones excepted (`SIOCOUTQ`).
    #[inline]
    pub fn unacknowledged_bytes(&self) -> usize {
        (self.buffer.end() - self.buffer.start()) as usize
    }

    /// Bytes in the send buffer that were never sent (`SIOCOUTQNSD`).
    #[inline]
    pub fn unsent_bytes(&self) -> usize {
        self.buffer.end().saturating_sub(self.next.max(self.buffer.start())) as usize
    }

    /// Whether data, or the FIN, is not acknowledged yet: what `SO_LINGER` waits for.
    pub fn has_unsent(&self) -> bool {
        self.state != State::Closed
            && (!self.buffer.is_empty() || self.fin.is_some() && !self.is_fin_acknowledged())
    }

    /// Whether the application has closed it.
    pub fn is_orphan(&self) -> bool {
        self.is_orphan
    }

    /// What the caller knows of the route's last attempt: nothing can be sent now, for this reason. It becomes the
    /// error if the connection times out.
    pub fn set_soft_error(&mut self, errno: Errno) {
        self.soft_error = Some(errno);
    }

    /// Takes the pending error away (`SO_ERROR`).
    pub fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// What `poll(2)` tells (Linux's `tcp_poll`).
    pub fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::empty();
        let mut set = |bits, is_so| readiness.set(bits, is_so);
        let is_closed = self.state == State::Closed;
        let has_ended = self.is_fin_received || self.is_read_shut;
        set(Readiness::ERROR, self.error.is_some());
        set(Readiness::HANG_UP, is_closed || has_ended && self.is_write_shut);
        set(Readiness::READ_HANG_UP, has_ended);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            return readiness;
        }
        let enough = (self.options.receive_low_water.max(1) as usize)
            .min((self.options.receive_buffer.bytes() / 2) as usize);
        let is_readable = self.readable_bytes() >= enough || has_ended || is_closed || self.error.is_some();
        readiness.set(Readiness::READABLE, is_readable);
        readiness.set(Readiness::WRITABLE, self.is_write_shut || self.error.is_some() || self.is_writable());
        readiness.set(Readiness::URGENT, matches!(self.urgent, Urgent::Here(..)));
        readiness
    }

    /// A third of the buffer is free (Linux's `sk_stream_is_writeable`).
    fn is_writable(&self) -> bool {
        let limit = self.options.send_buffer.bytes() as usize;
        let queued = self.queued_bytes();
        limit.saturating_sub(queued) >= queued / 2
            && queued < limit
            && self.unsent_bytes() < self.options.notsent_low_water as usize
    }

    /// Whether a pure acknowledgement would be of use now though nobody waits for space: unsent data, or a FIN, waits
    /// for the window or for what is in flight; or the handshake or the end of the connection is under way.
    pub fn wants_acknowledgements(&self) -> bool {
        match self.state {
            State::Established | State::CloseWait => {
                self.has_unsent_data_or_fin() || self.recovery.phase != Phase::Open
            }
            State::Closed => false,
            _ => true,
        }
    }

    /// The record that answers in the connection's place once it has come to TIME_WAIT, or to FIN_WAIT2 as an orphan.
    /// The state is [`State::Closed`] from then on; received data can still be read.
    #[inline]
    pub fn take_time_wait(&mut self) -> Option<TimeWait> {
        // Asked for after each turn, and large: moved only if it is there.
        if self.time_wait.is_some() { self.time_wait.take() } else { None }
    }

    /// Options as they are.
    #[inline]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `TCP_MAXSEG`: payload bytes of a full segment.
    pub fn max_segment(&self) -> u16 {
        self.mss.min(u32::from(u16::MAX)) as u16
    }

    /// Memory that its buffers keep, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.memory_bytes() + self.board.memory_bytes() + self.received.memory_bytes()
    }

    /// What has happened since this was asked last.
    #[inline]
    pub fn take_events(&mut self) -> Option<Events> {
        // Asked for after each turn, most of which bring none.
        if self.events == Events::default() { None } else { Some(core::mem::take(&mut self.events)) }
    }

    /// `TCP_INFO`.
    pub fn info(&self, now_ns: u64) -> TcpInfo {
        let mss = u64::from(self.mss.max(1));
        let segments = |bytes: u64| bytes.div_ceil(mss) as u32;
        let us = |ns: u64| (ns / 1000).min(u32::MAX.into()) as u32;
        let ms_since = |at_ns: u64| (now_ns.saturating_sub(at_ns) / 1_000_000) as u32;
        let flag = |is_so: bool, bit: u8| if is_so { bit } else { 0 };
        let counters = &self.counters;
        TcpInfo {
            state: self.state as u8,
            ca_state: match self.recovery.phase {
                Phase::Open if self.board.sacked_bytes() > 0 => 1,
                Phase::Open => 0,
                Phase::Recovery => 3,
                Phase::Loss => 4,
            },
            retransmits: self.timers.attempts,
            probes: self.timers.probes,
            backoff: self.timers.backoff,
            options: flag(self.timestamps.is_some(), 1)
                | flag(self.has_sack, 2)
                | flag(self.has_window_scaling, 4),
            wscale: self.send_shift & 15 | self.receive_shift << 4,
            rto: us(self.rtt.timeout(self.timers.backoff)),
            ato: us(super::timer::DELAYED_ACK_NS),
            snd_mss: self.mss,
            rcv_mss: self.receive_mss,
            unacked: segments(self.board.total_bytes()),
            sacked: segments(self.board.sacked_bytes()),
            lost: segments(self.board.lost_bytes()),
            last_data_sent: ms_since(counters.last_data_sent_ns),
            last_data_recv: ms_since(counters.last_data_received_ns),
            last_ack_recv: ms_since(counters.last_ack_received_ns),
            pmtu: self.path.mtu,
            rcv_ssthresh: self.receive_room().min(u32::MAX.into()) as u32,
            rtt: us(self.rtt.smoothed().unwrap_or(0)),
            rttvar: us(self.rtt.variation()),
            // Linux shows "none" as this.
            snd_ssthresh: match self.congestion.threshold() {
                u64::MAX => 0x7fff_ffff,
                threshold => segments(threshold),
            },
            snd_cwnd: (self.congestion.window() / mss) as u32,
            advmss: announced_mss(&self.tuple, self.path, &self.options).into(),
            reordering: if self.rack.has_reordering { 4 } else { 3 },
            rcv_rtt: us(self.read_rate.rtt_ns),
            rcv_space: self.read_rate.bytes.min(u32::MAX.into()) as u32,
            total_retrans: counters.retransmissions,
            max_pacing_rate: u64::MAX,
            bytes_acked: counters.bytes_acknowledged,
            bytes_received: counters.bytes_received,
            segs_out: counters.segments_out,
            segs_in: counters.segments_in,
            notsent_bytes: self.unsent_bytes() as u32,
            min_rtt: us(self.rtt.least().unwrap_or(0)),
            data_segs_in: counters.data_segments_in,
            data_segs_out: counters.data_segments_out,
            delivered: segments(counters.delivered),
            bytes_sent: counters.bytes_sent,
            bytes_retrans: counters.bytes_retransmitted,
            dsack_dups: counters.duplicates_told,
            reord_seen: counters.reorderings,
            rcv_ooopack: counters.ahead,
            snd_wnd: self.window.min(u32::MAX.into()) as u32,
            ..TcpInfo::default()
        }
    }
}
