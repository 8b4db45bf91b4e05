//! What a guest's network device is connected to on the host.
//!
//! Responsible for the words of `--net`, and for the words of QEMU's `-netdev` that mean the same.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::failure::{Failure, Result};

/// QEMU's name for the host's end of the link.
pub const NETDEV: &str = "net0";

/// The host's end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is no network device.
    None,
    /// QEMU's user networking.
    User(Reach),
    /// A TAP device of the host's, tuntap.rst in the kernel's documentation.
    Tap { name: String, queues: u32 },
    /// Ethernet frames over a socket: from guest to guest.
    Socket(Socket),
}

/// Whether a guest on user networking gets further than to whoever connects to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As far as the host itself, and to the host's own loopback services.
    Host,
    /// No further: `restrict=on`.
    Nowhere,
}

/// The forms of a socket link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// A stream, waiting for the other end.
    Listen(Endpoint),
    /// A stream to one that waits.
    Connect(Endpoint),
    /// Datagrams to a group that any number of guests are in.
    Multicast { group: SocketAddrV4, local: Ipv4Addr },
    /// Datagrams between two.
    Datagram { remote: Endpoint, local: Endpoint },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Inet(SocketAddrV4),
    Unix(PathBuf),
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, detail) = match text.split_once(':') {
            None => (text, None),
            Some((kind, detail)) => (kind, Some(detail)),
        };
        match (kind, detail) {
            ("none", None) => Ok(Self::None),
            ("user", None) => Ok(Self::User(Reach::Host)),
            ("user", Some("restrict")) => Ok(Self::User(Reach::Nowhere)),
            ("tap", Some(detail)) => tap(detail),
            ("socket", Some(detail)) => socket(detail).map(Self::Socket),
            _ => Err("it must be user, user:restrict, none, tap:NAME, or socket:listen=ADDRESS:PORT, socket:connect=..., \
                      socket:mcast=... or socket:dgram=..."
                .into()),
        }
    }
}

fn tap(detail: &str) -> Result<Link, String> {
    let mut parts = detail.split(',');
    let name = parts.next().unwrap_or_default();
    // IFNAMSIZ, with the NUL byte; what else the kernel refuses in a name is in dev_valid_name(), net/core/dev.c.
    let valid = (1..16).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if !valid {
        return Err(format!("{name:?} cannot be the name of a network interface"));
    }
    let mut queues = 1;
    for part in parts {
        queues = match part.split_once('=') {
            Some(("queues", count)) => match count.parse() {
                Ok(count @ 1..=64) => count,
                _ => return Err(format!("{count:?} is not a number of queues from 1 to 64")),
            },
            _ => return Err(format!("a TAP device has no option {part:?}: queues=NUMBER")),
        };
    }
    Ok(Link::Tap { name: name.into(), queues })
}

fn socket(detail: &str) -> Result<Socket, String> {
    let (first, second) = match detail.split_once(',') {
        None => (detail, None),
        Some((first, second)) => (first, Some(second)),
    };
    let (kind, value) = first.split_once('=').ok_or("it must be socket:KIND=ADDRESS:PORT")?;
    let without_more = |socket| match second {
        None => Ok(socket),
        Some(more) => Err(format!("socket:{kind} has no option {more:?}")),
    };
    match kind {
        "listen" => without_more(Socket::Listen(endpoint(value)?)),
        "connect" => without_more(Socket::Connect(endpoint(value)?)),
        "mcast" => {
            let group: SocketAddrV4 = value.parse().map_err(|_| not_an_endpoint(value))?;
            if !group.ip().is_multicast() {
                return Err(format!(
                    "{} is not the address of a group: 224.0.0.0 to 239.255.255.255",
                    group.ip()
                ));
            }
            // Frames stay on this host, unless the user says otherwise.
            let local = match second {
                None => Ipv4Addr::LOCALHOST,
                Some(option) => option
                    .strip_prefix("localaddr=")
                    .and_then(|address| address.parse().ok())
                    .ok_or_else(|| format!("socket:mcast has no option {option:?}: localaddr=ADDRESS"))?,
            };
            Ok(Socket::Multicast { group, local })
        }
        "dgram" => {
            let local = second
                .and_then(|option| option.strip_prefix("local="))
                .ok_or("socket:dgram needs both ends: socket:dgram=REMOTE,local=LOCAL")?;
            let (remote, local) = (endpoint(value)?, endpoint(local)?);
            if matches!(remote, Endpoint::Inet(_)) != matches!(local, Endpoint::Inet(_)) {
                return Err("both ends of socket:dgram must be of one kind: ADDRESS:PORT or unix:PATH".into());
            }
            Ok(Socket::Datagram { remote, local })
        }
        _ => Err(format!("there is no socket:{kind}: listen, connect, mcast, dgram")),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse()
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Inet).map_err(|_| not_an_endpoint(text)),
        }
    }
}

fn not_an_endpoint(text: &str) -> String {
    format!("{text:?} is not ADDRESS:PORT, such as 127.0.0.1:10000")
}

impl Link {
    /// The value of QEMU's `-netdev`, but for what is particular to one run; `None` if there is no link.
    pub fn netdev(&self) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::User(Reach::Host) => format!("user,id={NETDEV}"),
            Self::User(Reach::Nowhere) => format!("user,id={NETDEV},restrict=on"),
            Self::Tap { name, queues } => {
                // Set up by the user: QEMU's scripts would change the host.
                let queues = if *queues > 1 { format!(",queues={queues}") } else { String::new() };
                format!("tap,id={NETDEV},ifname={},script=no,downscript=no{queues}", doubled_commas(name))
            }
            Self::Socket(socket) => socket.netdev(),
        })
    }

    /// How many pairs of queues the device should have.
    pub fn queues(&self) -> u32 {
        match self {
            Self::Tap { queues, .. } => *queues,
            _ => 1,
        }
    }

    /// Says so in a sentence if the link cannot be there.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Tap { name, .. } if !Path::new("/sys/class/net").join(name).exists() => {
                Err(Failure::new(format!(
                    "there is no network interface {name}: as root, ip tuntap add dev {name} mode tap user YOU"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Socket {
    fn netdev(&self) -> String {
        // The older backend for the Internet's streams: it waits for another peer when one has gone. It knows no UNIX sockets.
        match self {
            Self::Listen(Endpoint::Inet(at)) => format!("socket,id={NETDEV},listen={at}"),
            Self::Connect(Endpoint::Inet(to)) => format!("socket,id={NETDEV},connect={to}"),
            Self::Listen(Endpoint::Unix(path)) => {
                format!("stream,id={NETDEV},server=on,addr.type=unix,addr.path={}", quoted(path))
            }
            Self::Connect(Endpoint::Unix(path)) => {
                format!("stream,id={NETDEV},server=off,addr.type=unix,addr.path={}", quoted(path))
            }
            Self::Multicast { group, local } => {
                format!("socket,id={NETDEV},mcast={group},localaddr={local}")
            }
            Self::Datagram { remote, local } => {
                format!("dgram,id={NETDEV},{},{}", local.words("local"), remote.words("remote"))
            }
        }
    }
}

impl Endpoint {
    /// The keys of a `SocketAddress`, qapi/sockets.json.
    fn words(&self, prefix: &str) -> String {
        match self {
            Self::Inet(at) => {
                format!("{prefix}.type=inet,{prefix}.host={},{prefix}.port={}", at.ip(), at.port())
            }
            Self::Unix(path) => format!("{prefix}.type=unix,{prefix}.path={}", quoted(path)),
        }
    }
}

fn quoted(path: &Path) -> String {
    doubled_commas(&path.display().to_string())
}

/// As QEMU's lists of options want it.
fn doubled_commas(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netdev(text: &str) -> String {
        text.parse::<Link>().unwrap().netdev().unwrap_or_default()
    }

    #[test]
    fn links_become_words_for_qemu() {
        for (text, words) in [
            ("none", ""),
            ("user", "user,id=net0"),
            ("user:restrict", "user,id=net0,restrict=on"),
            ("tap:tap0", "tap,id=net0,ifname=tap0,script=no,downscript=no"),
            ("tap:t0,queues=4", "tap,id=net0,ifname=t0,script=no,downscript=no,queues=4"),
            ("socket:listen=127.0.0.1:10000", "socket,id=net0,listen=127.0.0.1:10000"),
            ("socket:connect=10.0.0.1:10000", "socket,id=net0,connect=10.0.0.1:10000"),
            ("socket:listen=unix:/a,b", "stream,id=net0,server=on,addr.type=unix,addr.path=/a"),
            ("socket:connect=unix:/a", "stream,id=net0,server=off,addr.type=unix,addr.path=/a"),
            ("socket:mcast=230.0.0.1:10000", "socket,id=net0,mcast=230.0.0.1:10000,localaddr=127.0.0.1"),
            (
                "socket:mcast=230.0.0.1:1,localaddr=10.0.0.1",
                "socket,id=net0,mcast=230.0.0.1:1,localaddr=10.0.0.1",
            ),
            (
                "socket:dgram=127.0.0.1:1,local=127.0.0.1:2",
                "dgram,id=net0,local.type=inet,local.host=127.0.0.1,local.port=2,\
                 remote.type=inet,remote.host=127.0.0.1,remote.port=1",
            ),
            (
                "socket:dgram=unix:/r,local=unix:/l",
                "dgram,id=net0,local.type=unix,local.path=/l,remote.type=unix,remote.path=/r",
            ),
        ] {
            // A comma ends a path: there it is an option that does not exist.
            if text.contains("/a,b") {
                assert!(text.parse::<Link>().is_err());
            } else {
                assert_eq!(netdev(text), words, "{text}");
            }
        }
        assert_eq!("tap:a".parse::<Link>().unwrap().queues(), 1);
        assert_eq!("tap:a,queues=2".parse::<Link>().unwrap().queues(), 2);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("", "it must be user"),
            ("bridge", "it must be user"),
            ("user:all", "it must be user"),
            ("none:x", "it must be user"),
            ("tap", "it must be user"),
            ("tap:", "cannot be the name"),
            ("tap:a/b", "cannot be the name"),
            ("tap:interfacenametoolong", "cannot be the name"),
            ("tap:a,queues=0", "from 1 to 64"),
            ("tap:a,vhost=on", "no option"),
            ("socket:", "socket:KIND"),
            ("socket:serve=127.0.0.1:1", "there is no socket:serve"),
            ("socket:listen=:1", "is not ADDRESS:PORT"),
            ("socket:listen=127.0.0.1:70000", "is not ADDRESS:PORT"),
            ("socket:listen=127.0.0.1:1,x=y", "has no option"),
            ("socket:listen=unix:", "needs a path"),
            ("socket:mcast=10.0.0.1:1", "not the address of a group"),
            ("socket:mcast=230.0.0.1:1,ttl=1", "has no option"),
            ("socket:dgram=127.0.0.1:1", "needs both ends"),
            ("socket:dgram=127.0.0.1:1,local=unix:/x", "of one kind"),
        ] {
            let sentence = text.parse::<Link>().unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }

    #[test]
    fn a_tap_device_must_be_there() {
        let sentence = "tap:nonesuch0".parse::<Link>().unwrap().check().unwrap_err().to_string();
        assert!(sentence.contains("there is no network interface nonesuch0"), "{sentence}");
        assert!("tap:lo".parse::<Link>().unwrap().check().is_ok());
    }
}
