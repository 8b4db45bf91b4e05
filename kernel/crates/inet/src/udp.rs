//! UDP sockets (`udp(7)`).

use crate::SocketCore;

/// A UDP socket.
pub struct UdpSocket {
    /// What all sockets have.
    pub core: SocketCore,
}
