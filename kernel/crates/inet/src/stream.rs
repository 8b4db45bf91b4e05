//! TCP sockets.

use crate::SocketCore;

/// A TCP socket.
pub struct TcpSocket {
    /// What all sockets have.
    pub core: SocketCore,
}
