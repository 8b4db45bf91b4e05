//! Which sockets must not be bound to the same port.

use super::{Binding, BoundAddress, ConflictRule, Phase, Ports};

/// Whether a program chose the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It did.
    Given,
    /// It is one of many: there is no need to share.
    Free,
}

impl<T> Ports<T> {
    pub fn conflicts(&self, rule: ConflictRule, port: u16, binding: &Binding, choice: Choice) -> bool {
        self.by_number
            .get(&port)
            .is_some_and(|port| port.entries().any(|other| conflicts(rule, binding, &other.binding, choice)))
    }
}

/// Whether `new` cannot be bound where `old` is (`inet_bind_conflict` in `net/ipv4/inet_connection_sock.c`,
/// `udp_lib_lport_inuse2` in `net/ipv4/udp.c`). There is one user.
pub fn conflicts(rule: ConflictRule, new: &Binding, old: &Binding, choice: Choice) -> bool {
    let on_same_interface = new.interface == 0 || old.interface == 0 || new.interface == old.interface;
    if !on_same_interface || !overlap(new.address, old.address) {
        return false;
    }
    let both_share = new.reuse_port && old.reuse_port;
    match rule {
        ConflictRule::Udp => !(new.reuse_address && old.reuse_address || both_share),
        ConflictRule::Tcp if choice == Choice::Free => true,
        ConflictRule::Tcp => {
            let both_reuse = new.reuse_address && old.reuse_address && old.phase != Phase::Listening;
            !(both_reuse || both_share)
        }
    }
}

/// Whether a packet could be for both (`inet_rcv_saddr_equal` with wildcards in
/// `net/ipv4/inet_connection_sock.c`).
fn overlap(a: BoundAddress, b: BoundAddress) -> bool {
    use BoundAddress::{Any, AnyV6, V4, V6};
    match (a, b) {
        (Any, _) | (_, Any) | (AnyV6, AnyV6 | V6(_)) | (V6(_), AnyV6) => true,
        (AnyV6, V4(_)) | (V4(_), AnyV6) => false,
        (V4(a), V4(b)) => a.is_unspecified() || b.is_unspecified() || a == b,
        (V6(a), V6(b)) => a == b,
        (V4(_), V6(_)) | (V6(_), V4(_)) => false,
    }
}
