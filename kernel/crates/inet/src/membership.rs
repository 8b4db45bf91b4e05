//! Membership in multicast groups.

use linux_abi::Errno;

use crate::socket_core::SocketCore;

impl SocketCore {
    pub(crate) fn set_ipv4_membership(&self, _name: i32, _value: &[u8]) -> Option<Result<(), Errno>> {
        None
    }

    pub(crate) fn set_ipv6_membership(&self, _name: i32, _value: &[u8]) -> Option<Result<(), Errno>> {
        None
    }
}
