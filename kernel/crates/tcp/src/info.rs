//! `TCP_INFO`: uapi `linux/tcp.h`, `struct tcp_info`.

/// The figures of a connection, by Linux's names; times in microseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of struct tcp_info, and documented there")]
pub struct Info {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub fackets: u32,
    pub last_data_sent_ms: u32,
    pub last_ack_sent_ms: u32,
    pub last_data_recv_ms: u32,
    pub last_ack_recv_ms: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
}

/// Size of `struct tcp_info` as Linux 6.1 has it.
pub const LINUX_INFO_BYTES: usize = 232;

impl Info {
    /// The structure as `getsockopt(TCP_INFO)` gives it.
    pub fn linux_bytes(&self) -> [u8; LINUX_INFO_BYTES] {
        let mut bytes = [0; LINUX_INFO_BYTES];
        let head = [
            self.state,
            self.ca_state,
            self.retransmits,
            self.probes,
            self.backoff,
            self.options,
            self.snd_wscale & 15 | self.rcv_wscale << 4,
            0,
        ];
        bytes[..8].copy_from_slice(&head);
        let words = [
            self.rto,
            self.ato,
            self.snd_mss,
            self.rcv_mss,
            self.unacked,
            self.sacked,
            self.lost,
            self.retrans,
            self.fackets,
            self.last_data_sent_ms,
            self.last_ack_sent_ms,
            self.last_data_recv_ms,
            self.last_ack_recv_ms,
            self.pmtu,
            self.rcv_ssthresh,
            self.rtt,
            self.rttvar,
            self.snd_ssthresh,
            self.snd_cwnd,
            self.advmss,
            self.reordering,
            self.rcv_rtt,
            self.rcv_space,
            self.total_retrans,
        ];
        let mut at = put_words(&mut bytes, 8, &words);
        at = put_long_words(
            &mut bytes,
            at,
            &[self.pacing_rate, self.max_pacing_rate, self.bytes_acked, self.bytes_received],
        );
        at = put_words(
            &mut bytes,
            at,
            &[
                self.segs_out,
                self.segs_in,
                self.notsent_bytes,
                self.min_rtt,
                self.data_segs_in,
                self.data_segs_out,
            ],
        );
        at = put_long_words(
            &mut bytes,
            at,
            &[self.delivery_rate, self.busy_time, self.rwnd_limited, self.sndbuf_limited],
        );
        at = put_words(&mut bytes, at, &[self.delivered, self.delivered_ce]);
        at = put_long_words(&mut bytes, at, &[self.bytes_sent, self.bytes_retrans]);
        put_words(&mut bytes, at, &[self.dsack_dups, self.reord_seen, self.rcv_ooopack, self.snd_wnd]);
        bytes
    }
}

fn put_words(bytes: &mut [u8], at: usize, words: &[u32]) -> usize {
    for (n, word) in words.iter().enumerate() {
        bytes[at + n * 4..at + n * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    at + words.len() * 4
}

fn put_long_words(bytes: &mut [u8], at: usize, words: &[u64]) -> usize {
    for (n, word) in words.iter().enumerate() {
        bytes[at + n * 8..at + n * 8 + 8].copy_from_slice(&word.to_ne_bytes());
    }
    at + words.len() * 8
}
