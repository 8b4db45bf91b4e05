//! The header of UDP (RFC 768) and its checksum.

use core::net::IpAddr;

use packet::{Checksum, Packet, internet_checksum};

/// Bytes of the header.
pub const HEADER: usize = 8;
/// Where in it the checksum is.
const CHECKSUM_OFFSET: usize = 6;
/// IP's number of the protocol.
const PROTOCOL: u8 = 17;

/// A header as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub source_port: u16,
    pub destination_port: u16,
    /// Of header and data.
    pub len: usize,
    /// Whether its sender has made one: IPv4 leaves that to it (RFC 768), IPv6 allows it for tunnels only
    /// (RFC 6935), so that the socket is asked.
    pub has_checksum: bool,
}

/// What is wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is too short, or shorter than it says.
    Length,
    /// Its checksum is wrong.
    Checksum,
}

/// The sum of the pseudo-header (RFC 768, RFC 8200 section 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            internet_checksum::add(internet_checksum::add(0, &source.octets()), &destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            internet_checksum::add(internet_checksum::add(0, &source.octets()), &destination.octets())
        }
        // Source and destination are always of one version.
        _ => 0,
    };
    addresses + u64::from(PROTOCOL) + len as u64
}

/// Fills in the header at the front of `packet`, whose checksum is left to the link.
pub fn write(packet: &mut Packet, source: (IpAddr, u16), destination: (IpAddr, u16)) {
    let len = packet.len();
    let sum = internet_checksum::fold(pseudo_header(source.0, destination.0, len));
    let header = &mut packet.head_mut()[..HEADER];
    header[0..2].copy_from_slice(&source.1.to_be_bytes());
    header[2..4].copy_from_slice(&destination.1.to_be_bytes());
    // Never above 65,535: the sender has checked.
    header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    header[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Partial { start: 0, offset: CHECKSUM_OFFSET as u16 };
}

/// Switches the checksum off (`SO_NO_CHECK`, `UDP_NO_CHECK6_TX`).
pub fn without_checksum(packet: &mut Packet) {
    packet.head_mut()[CHECKSUM_OFFSET..HEADER].fill(0);
    packet.checksum = Checksum::Unverified;
}

/// Reads and checks the header at the front of `packet`, and cuts off what is behind the datagram.
pub fn read(packet: &mut Packet, source: IpAddr, destination: IpAddr) -> Result<Header, Bad> {
    let mut bytes = [0; HEADER];
    if packet.read(0, &mut bytes) < HEADER {
        return Err(Bad::Length);
    }
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let len = usize::from(word(4));
    if len < HEADER || len > packet.len() {
        return Err(Bad::Length);
    }
    let has_padding = packet.len() > len;
    packet.truncate(len);
    let is_open = matches!(packet.checksum, Checksum::Unverified) || has_padding;
    let has_checksum = word(CHECKSUM_OFFSET) != 0 || !matches!(packet.checksum, Checksum::Unverified);
    if has_checksum
        && is_open
        && matches!(packet.checksum, Checksum::Unverified)
        && !sums_up(packet, source, destination)
    {
        return Err(Bad::Checksum);
    }
    Ok(Header { source_port: word(0), destination_port: word(2), len, has_checksum })
}

fn sums_up(packet: &Packet, source: IpAddr, destination: IpAddr) -> bool {
    let mut sum = pseudo_header(source, destination, packet.len());
    let mut part = [0; 512];
    let mut at = 0;
    loop {
        let len = packet.read(at, &mut part);
        if len == 0 {
            break;
        }
        // All parts but the last have an even length.
        sum = internet_checksum::add(sum, &part[..len]);
        at += len;
    }
    internet_checksum::fold(sum) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_from_the_wire_is_checked() {
        // A DNS-like datagram of two bytes, its checksum worked out by hand: 10.0.0.1:4000 to 10.0.0.2:53.
        let (source, destination) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let sum = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 10 + 4000 + 53 + 10 + 0x6869;
        let checksum = !internet_checksum::fold(sum);
        let mut bytes = alloc::vec![0x0f, 0xa0, 0, 53, 0, 10];
        bytes.extend(checksum.to_be_bytes());
        bytes.extend(b"hi");
        let good = Header { source_port: 4000, destination_port: 53, len: 10, has_checksum: true };
        assert_eq!(read(&mut Packet::from_head(&bytes), source, destination), Ok(good));
        bytes[9] ^= 1;
        assert_eq!(read(&mut Packet::from_head(&bytes), source, destination), Err(Bad::Checksum));
        bytes[6..8].fill(0);
        let unchecked = Header { has_checksum: false, ..good };
        assert_eq!(read(&mut Packet::from_head(&bytes), source, destination), Ok(unchecked));
        bytes[5] = 11;
        assert_eq!(read(&mut Packet::from_head(&bytes), source, destination), Err(Bad::Length));
        bytes[5] = 7;
        assert_eq!(read(&mut Packet::from_head(&bytes), source, destination), Err(Bad::Length));
    }

    #[test]
    fn padding_is_cut_off() {
        let bytes = [0, 1, 0, 2, 0, 9, 0, 0, b'x', 0, 0, 0];
        let mut packet = Packet::from_head(&bytes);
        let address = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(read(&mut packet, address, address).unwrap().len, 9);
        assert_eq!(packet.len(), 9);
    }
}
