//! What is counted of a connection for `/proc/net/snmp` and `netstat` (Linux's `SNMP_MIB` names in
//! `net/ipv4/proc.c`).
//!
//! A connection notes what happens; its owner takes the notes after each turn, and adds them up for all connections.

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident => $column:literal,)*) => {
        /// What happens to connections.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$meta])* $name,)*
        }

        impl Event {
            /// All of them, in Linux's order.
            pub const ALL: [Self; [$($column),*].len()] = [$(Self::$name),*];

            /// The column's name.
            pub const fn column(self) -> &'static str {
                match self {
                    $(Self::$name => $column,)*
                }
            }
        }
    };
}

events! {
    /// In `/proc/net/snmp`: a connection went from ESTABLISHED or CLOSE_WAIT to its end at once.
    EstablishedReset => "EstabResets",
    /// In `/proc/net/snmp`: a segment was sent again. All that follow are in `netstat`.
    Retransmitted => "RetransSegs",
    /// Data ahead of order were dropped, as memory was short.
    AheadPruned => "OfoPruned",
    /// An acknowledgement waited for data to go with, and went alone.
    AcknowledgementDelayed => "DelayedACKs",
    /// A loss was found by duplicate acknowledgements.
    RenoRecovery => "TCPRenoRecovery",
    /// A loss was found by selective acknowledgements.
    SackRecovery => "TCPSackRecovery",
    /// The other end has dropped what it had acknowledged selectively.
    Reneged => "TCPSACKReneging",
    /// What was taken for a loss was none, and the congestion window is what it was.
    Undone => "TCPFullUndo",
    /// The retransmission timer has expired.
    Timeout => "TCPTimeouts",
    /// A tail-loss probe was sent.
    LossProbe => "TCPLossProbes",
    /// Received packets were copied together to save memory.
    Collapsed => "TCPRcvCollapsed",
    /// The other end has told of something that came twice.
    DuplicateTold => "TCPDSACKRecv",
    /// The other end was given up.
    GivenUp => "TCPAbortOnTimeout",
    /// A segment came ahead of order.
    Ahead => "TCPOFOQueue",
    /// There was no memory for a segment ahead of order.
    AheadDropped => "TCPOFODrop",
    /// A challenge acknowledgement was sent (RFC 5961).
    Challenge => "TCPChallengeACK",
    /// A SYN was sent again.
    SynRetransmitted => "TCPSynRetrans",
    /// It was asked whether a window is still closed.
    WindowProbe => "TCPWinProbe",
    /// A keep-alive probe was sent.
    KeepAlive => "TCPKeepAlive",
}

/// How often each has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events([u32; Event::ALL.len()]);

impl Events {
    pub(crate) fn note(&mut self, event: Event) {
        self.add(event, 1);
    }

    pub(crate) fn add(&mut self, event: Event, count: u32) {
        let noted = &mut self.0[event as usize];
        *noted = noted.saturating_add(count);
    }

    /// Those that have happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Event, u32)> {
        Event::ALL.into_iter().zip(self.0).filter(|&(_, count)| count > 0)
    }
}
