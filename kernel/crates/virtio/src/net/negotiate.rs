//! Which features are accepted, and what they and the configuration mean (5.1.3, 5.1.4).

use packet::{MacAddress, Offloads};

use super::header::Accepted;
use crate::{InitError, RingFeatures, Transport, begin_with};

pub mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const CTRL_RX: u64 = 1 << 18;
    pub const MQ: u64 = 1 << 22;
    /// virtio 1.2.
    pub const HOST_USO: u64 = 1 << 56;
}

/// Features that are accepted wherever they are offered.
const WANTED: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::MTU
    | feature::MAC
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::MRG_RXBUF
    | feature::STATUS
    | feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::MQ
    | feature::HOST_USO;

/// Features that make sense only with others (5.1.3.1). Large packets are received only if they may be in several
/// buffers: else every buffer would have to have room for one. A chain of requirements is in its order.
const REQUIREMENTS: [(u64, u64); 7] = [
    (feature::GUEST_TSO4, feature::GUEST_CSUM | feature::MRG_RXBUF),
    (feature::GUEST_TSO6, feature::GUEST_CSUM | feature::MRG_RXBUF),
    (feature::HOST_TSO4, feature::CSUM),
    (feature::HOST_TSO6, feature::CSUM),
    (feature::HOST_USO, feature::CSUM),
    (feature::CTRL_RX, feature::CTRL_VQ),
    (feature::MQ, feature::CTRL_VQ),
];

/// Offsets in the configuration (5.1.4).
mod configuration {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const MAX_VIRTQUEUE_PAIRS: usize = 8;
    pub const MTU: usize = 10;
}

const STATUS_LINK_UP: u16 = 1;

const ETHERNET_MTU: u16 = 1500;
/// Least MTU of an IPv4 link (RFC 791), below which a device's word is no MTU (5.1.4.1).
const MIN_MTU: u16 = 68;
/// Most queue pairs that the specification allows (5.1.4).
const MAX_PAIRS: u16 = 0x8000;

/// Bytes of a page, and of half a page: what is offered for receiving at a time.
const LARGE_BUFFER: usize = crate::dma::PAGE_SIZE;
const SMALL_BUFFER: usize = crate::dma::PAGE_SIZE / 2;
/// Ethernet's header, with a VLAN tag.
const LINK_HEADER_BYTES: usize = 18;

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    pub features: u64,
    /// The device's address, if it has one that can be used.
    pub mac: Option<MacAddress>,
    pub mtu: u16,
    /// Pairs of queues that the device has; the control queue comes after them.
    pub max_pairs: u16,
    pub offloads: Offloads,
    pub accepted: Accepted,
    /// Bytes of a receive buffer.
    pub buffer_bytes: usize,
}

/// Of what is offered, what is accepted.
fn choose(offered: u64) -> u64 {
    let mut chosen = offered & WANTED;
    for (feature, required) in REQUIREMENTS {
        if chosen & required != required {
            chosen &= !feature;
        }
    }
    chosen
}

/// Resets the device and agrees on features.
pub fn negotiate(transport: &dyn Transport) -> Result<Negotiated, InitError> {
    let features = begin_with(transport, |offered| {
        let chosen = choose(offered);
        // Who accepts an MTU must be able to receive packets of that size (5.1.4.2).
        let fits = usize::from(transport.configuration_u16(configuration::MTU)) <= largest_packet(chosen);
        if fits { chosen } else { chosen & !feature::MTU }
    })?;
    let has = |feature: u64| features & feature != 0;
    let mac = has(feature::MAC)
        .then(|| core::array::from_fn(|byte| transport.configuration_u8(configuration::MAC + byte)));
    // Neither nobody's nor everybody's.
    let mac = mac.filter(|mac| *mac != [0; 6] && mac[0] & 1 == 0).map(MacAddress);
    let mtu = match has(feature::MTU).then(|| transport.configuration_u16(configuration::MTU)) {
        Some(mtu) if mtu >= MIN_MTU => mtu,
        Some(_) => return Err(InitError::Configuration),
        None => ETHERNET_MTU,
    };
    let max_pairs =
        if has(feature::MQ) { transport.configuration_u16(configuration::MAX_VIRTQUEUE_PAIRS) } else { 1 };
    if !(1..=MAX_PAIRS).contains(&max_pairs) {
        return Err(InitError::Configuration);
    }
    let mut offloads = Offloads::empty();
    offloads.set(Offloads::CHECKSUM, has(feature::CSUM));
    offloads.set(Offloads::TCP4_SEGMENTATION, has(feature::HOST_TSO4));
    offloads.set(Offloads::TCP6_SEGMENTATION, has(feature::HOST_TSO6));
    offloads.set(Offloads::UDP_SEGMENTATION, has(feature::HOST_USO));
    let accepted = Accepted {
        checksum: has(feature::GUEST_CSUM),
        tcp4: has(feature::GUEST_TSO4),
        tcp6: has(feature::GUEST_TSO6),
    };
    let small = SMALL_BUFFER - super::header::HEADER_BYTES - LINK_HEADER_BYTES;
    let is_small = !accepted.tcp4 && !accepted.tcp6 && usize::from(mtu) <= small;
    let buffer_bytes = if is_small { SMALL_BUFFER } else { LARGE_BUFFER };
    Ok(Negotiated { features, mac, mtu, max_pairs, offloads, accepted, buffer_bytes })
}

/// The largest MTU whose packets can be received.
fn largest_packet(features: u64) -> usize {
    if features & feature::MRG_RXBUF != 0 {
        usize::from(u16::MAX)
    } else {
        LARGE_BUFFER - super::header::HEADER_BYTES - LINK_HEADER_BYTES
    }
}

/// Whether the cable is in; it always is if the device does not tell.
pub fn carrier(transport: &dyn Transport, features: u64) -> bool {
    features & feature::STATUS == 0
        || transport.configuration_u16(configuration::STATUS) & STATUS_LINK_UP != 0
}

/// The names of features, as a log shows them.
pub fn names(features: u64) -> impl Iterator<Item = &'static str> {
    [
        (feature::CSUM, "tx-checksum"),
        (feature::HOST_TSO4, "tso4"),
        (feature::HOST_TSO6, "tso6"),
        (feature::HOST_USO, "uso"),
        (feature::GUEST_CSUM, "rx-checksum"),
        (feature::GUEST_TSO4, "lro4"),
        (feature::GUEST_TSO6, "lro6"),
        (feature::MRG_RXBUF, "mergeable"),
        (feature::MQ, "multiqueue"),
        (feature::CTRL_RX, "rx-filter"),
        (feature::STATUS, "status"),
        (RingFeatures::EVENT_INDEX.bits(), "event-index"),
        (RingFeatures::INDIRECT_DESCRIPTORS.bits(), "indirect"),
    ]
    .into_iter()
    .filter(move |(feature, _)| features & feature != 0)
    .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceKind, VERSION_1, fake::FakeTransport};

    fn device(features: u64, mtu: u16, pairs: u16) -> FakeTransport {
        let mut configuration = vec![0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0];
        configuration.extend(pairs.to_le_bytes());
        configuration.extend(mtu.to_le_bytes());
        FakeTransport::new(DeviceKind::Network, features, 3, configuration)
    }

    #[test]
    fn features_need_those_they_rest_on() {
        assert_eq!(choose(u64::MAX), WANTED);
        assert_eq!(choose(WANTED & !feature::CSUM) & (feature::HOST_TSO4 | feature::HOST_USO), 0);
        assert_eq!(choose(WANTED & !feature::CTRL_VQ) & (feature::MQ | feature::CTRL_RX), 0);
        let without = choose(WANTED & !feature::MRG_RXBUF);
        assert_eq!(without & (feature::GUEST_TSO4 | feature::GUEST_TSO6), 0);
        assert_ne!(without & feature::GUEST_CSUM, 0);
    }

    #[test]
    fn a_plain_device_has_defaults() {
        let negotiated = negotiate(&device(0, 9000, 7)).unwrap();
        assert_eq!(negotiated.features, VERSION_1);
        assert_eq!((negotiated.mac, negotiated.mtu, negotiated.max_pairs), (None, 1500, 1));
        assert_eq!(negotiated.buffer_bytes, SMALL_BUFFER);
        assert!(negotiated.offloads.is_empty());
    }

    #[test]
    fn a_device_with_all_features_is_used_to_the_full() {
        let negotiated = negotiate(&device(u64::MAX, 9000, 7)).unwrap();
        assert_eq!(negotiated.mac, Some(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        assert_eq!((negotiated.mtu, negotiated.max_pairs), (9000, 7));
        assert_eq!(negotiated.offloads, Offloads::all());
        assert_eq!(negotiated.buffer_bytes, LARGE_BUFFER);
    }

    #[test]
    fn an_mtu_that_cannot_be_received_is_not_accepted() {
        let negotiated = negotiate(&device(feature::MTU, 9000, 1)).unwrap();
        assert_eq!((negotiated.mtu, negotiated.features & feature::MTU), (1500, 0));
        let negotiated = negotiate(&device(feature::MTU, 4000, 1)).unwrap();
        assert_eq!((negotiated.mtu, negotiated.buffer_bytes), (4000, LARGE_BUFFER));
        assert_eq!(negotiate(&device(feature::MTU, 20, 1)), Err(InitError::Configuration));
    }

    #[test]
    fn nonsense_is_refused() {
        let multiqueue = feature::CTRL_VQ | feature::MQ;
        assert_eq!(negotiate(&device(multiqueue, 0, 0)), Err(InitError::Configuration));
        assert_eq!(negotiate(&device(multiqueue, 0, 0x8001)), Err(InitError::Configuration));
        for mac in [[0; 6], [1, 2, 3, 4, 5, 6], [0xff; 6]] {
            let mut device = device(feature::MAC, 0, 1);
            device.configuration[..6].copy_from_slice(&mac);
            assert_eq!(negotiate(&device).unwrap().mac, None);
        }
    }
}
