//! Ports of the host that lead into a guest.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    str::FromStr,
};

use crate::failure::{Failure, Result, reason};

/// What a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the host, and the port of the guest that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortForward {
    pub protocol: Protocol,
    /// Where the host listens. The port 0 means one that is free, until [`PortForward::claim`] has chosen it.
    pub host: SocketAddr,
    pub guest_port: u16,
}

impl FromStr for PortForward {
    type Err = String;

    /// Reads `[HOSTADDR:]HOST:GUEST[/tcp|/udp]`; an IPv6 address stands in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(format!("there is no protocol {other:?}: tcp or udp")),
        };
        let (host, guest) =
            ports.rsplit_once(':').ok_or("it must be HOST:GUEST, such as 8080:80, or ADDRESS:HOST:GUEST")?;
        let guest_port = port(guest)?;
        if guest_port == 0 {
            return Err("the guest has no port 0".into());
        }
        let (address, host_port) = match host.rsplit_once(':') {
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), port(host)?),
            Some((address, host_port)) => (host_address(address)?, port(host_port)?),
        };
        Ok(Self { protocol, host: SocketAddr::new(address, host_port), guest_port })
    }
}

fn port(text: &str) -> Result<u16, String> {
    // A number may not have a sign, which u16's own parser allows.
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(port) = text.parse()
    {
        return Ok(port);
    }
    Err(format!("{text:?} is not a port: a number up to 65535"))
}

fn host_address(text: &str) -> Result<IpAddr, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse() {
            Ok(address) => Ok(IpAddr::V6(address)),
            Err(_) => Err(format!("{inner:?} is not an IPv6 address")),
        };
    }
    match text.parse() {
        Ok(address) => Ok(IpAddr::V4(address)),
        Err(_) if text.contains(':') => {
            Err(format!("an IPv6 address stands in brackets, as in [::1]:8080:80, unlike {text:?}"))
        }
        Err(_) => Err(format!("{text:?} is not an address of this host, such as 127.0.0.1 or 0.0.0.0")),
    }
}

impl PortForward {
    /// Makes sure that the port can be had, by having it for a moment, and chooses one for the port 0.
    pub fn claim(&mut self) -> Result<()> {
        let bound = match self.protocol {
            // Set to reuse the address by the standard library, as by QEMU: connections of an earlier run in TIME_WAIT do not count.
            Protocol::Tcp => TcpListener::bind(self.host).and_then(|listener| listener.local_addr()),
            Protocol::Udp => UdpSocket::bind(self.host).and_then(|socket| socket.local_addr()),
        };
        self.host = bound.map_err(|error| self.cannot_be_had(&error))?;
        Ok(())
    }

    fn cannot_be_had(&self, error: &io::Error) -> Failure {
        let (name, address, port) = (self.protocol.name(), self.host.ip(), self.host.port());
        Failure::new(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{name} port {port} of {address} is taken already: choose another with -p")
            }
            io::ErrorKind::PermissionDenied => {
                format!("only root may listen on port {port}: choose one from 1024 on with -p")
            }
            io::ErrorKind::AddrNotAvailable => format!("this host has no address {address}, which -p names"),
            _ => format!("cannot listen on {name} port {port} of {address}: {}", reason(error)),
        })
    }

    /// What `-p` takes.
    pub fn words(&self) -> String {
        format!("{}:{}/{}", self.host, self.guest_port, self.protocol.name())
    }

    /// How a client of the guest's service spells where it is.
    pub fn location(&self) -> String {
        let ip = match self.host.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            address => address,
        };
        let at = SocketAddr::new(ip, self.host.port());
        match (self.protocol, self.guest_port) {
            // The registered ports of HTTP, and those that servers of it take by default.
            (Protocol::Tcp, 80 | 3000 | 8000 | 8008 | 8080 | 8081 | 8888 | 9090) => format!("http://{at}"),
            (Protocol::Tcp, 443 | 8443) => format!("https://{at}"),
            (protocol, _) => format!("{at}/{}", protocol.name()),
        }
    }
}

/// The one line that the user gets to see.
impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} leads to {} port {} of the guest",
            self.location(),
            self.protocol.name(),
            self.guest_port
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(text: &str) -> PortForward {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<PortForward>().unwrap_err()
    }

    #[test]
    fn forwards_are_read() {
        let all = |protocol, host: &str, guest_port| PortForward {
            protocol,
            host: host.parse().unwrap(),
            guest_port,
        };
        assert_eq!(forward("8080:80"), all(Protocol::Tcp, "127.0.0.1:8080", 80));
        assert_eq!(forward("8080:80/tcp"), all(Protocol::Tcp, "127.0.0.1:8080", 80));
        assert_eq!(forward("5353:53/udp"), all(Protocol::Udp, "127.0.0.1:5353", 53));
        assert_eq!(forward("0:80"), all(Protocol::Tcp, "127.0.0.1:0", 80));
        assert_eq!(forward("0.0.0.0:65535:1"), all(Protocol::Tcp, "0.0.0.0:65535", 1));
        assert_eq!(forward("[::1]:8080:80/udp"), all(Protocol::Udp, "[::1]:8080", 80));
        for text in ["127.0.0.1:8080:80/tcp", "[::1]:8080:80/udp"] {
            assert_eq!(forward(text).words(), text);
        }
        assert_eq!(forward("[fe80::1]:1:2"), all(Protocol::Tcp, "[fe80::1]:1", 2));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(refused("").contains("HOST:GUEST"));
        assert!(refused("80").contains("HOST:GUEST"));
        assert!(refused("80:").contains("\"\" is not a port"));
        assert!(refused(":80").contains("\"\" is not a port"));
        assert!(refused("80:65536").contains("\"65536\" is not a port"));
        assert!(refused("+80:80").contains("\"+80\" is not a port"));
        assert!(refused("80:0").contains("the guest has no port 0"));
        assert!(refused("80:80/sctp").contains("no protocol \"sctp\""));
        assert!(refused("80:80/").contains("no protocol \"\""));
        assert!(refused("80:80/tcp/udp").contains("no protocol"));
        assert!(refused("::1:80:80").contains("brackets"));
        assert!(refused("[::1:80:80").contains("brackets"));
        assert!(refused("[127.0.0.1]:80:80").contains("not an IPv6 address"));
        assert!(refused("localhost:80:80").contains("not an address"));
        assert!(refused("127.0.0.256:80:80").contains("not an address"));
        assert!(refused(":80:80").contains("not an address"));
    }

    #[test]
    fn a_taken_port_is_one_sentence() {
        for (protocol, forward) in [("tcp", "0:80"), ("udp", "0:80/udp")] {
            let mut first = forward.parse::<PortForward>().unwrap();
            first.claim().unwrap();
            assert_ne!(first.host.port(), 0);
            let (_tcp, _udp) = (TcpListener::bind(first.host), UdpSocket::bind(first.host));
            let sentence = first.claim().unwrap_err().to_string();
            assert!(sentence.contains(&format!("{protocol} port {}", first.host.port())), "{sentence}");
            assert!(sentence.contains("is taken already"), "{sentence}");
        }
        let sentence = forward("192.0.2.1:80:80").claim().unwrap_err().to_string();
        assert!(sentence.contains("has no address 192.0.2.1"), "{sentence}");
    }

    #[test]
    fn the_user_gets_what_a_client_needs() {
        assert_eq!(forward("8000:80").location(), "http://127.0.0.1:8000");
        assert_eq!(forward("0.0.0.0:8443:8443").location(), "https://127.0.0.1:8443");
        assert_eq!(
            forward("2181:2181").to_string(),
            "127.0.0.1:2181/tcp leads to tcp port 2181 of the guest"
        );
        assert_eq!(forward("[::1]:53:80/udp").location(), "[::1]:53/udp");
    }
}
