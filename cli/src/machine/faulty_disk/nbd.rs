//! The server's half of the NBD protocol, as far as QEMU needs it: fixed newstyle negotiation, and simple replies
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>).
//!
//! Only the format: what a request does is the server's matter ([`super::server`]). All numbers are big-endian.

use std::io::{self, ErrorKind, Read, Write};

use super::model::SECTOR_BYTES;

const MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Handshake flags of either side: NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES.
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

/// Transmission flags: NBD_FLAG_HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES.
const EXPORT_FLAGS: u16 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;

/// NBD_CMD_FLAG_FUA.
const COMMAND_FUA: u16 = 1 << 0;
/// NBD_CMD_FLAG_NO_HOLE: a wish about the server's storage that any server may leave open.
const COMMAND_NO_HOLE: u16 = 1 << 1;

/// No option is longer than a name (4096 bytes) with what stands around it.
const OPTION_LIMIT_BYTES: u32 = 16 << 10;
/// The longest read or write that a client may count on (the protocol's default), and that we take.
const PAYLOAD_LIMIT_BYTES: u32 = 32 << 20;

mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const LIST: u32 = 3;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
}

mod option_reply {
    pub const ACK: u32 = 1;
    pub const SERVER: u32 = 2;
    pub const INFO: u32 = 3;
    pub const UNSUPPORTED: u32 = 1 << 31 | 1;
}

mod info {
    pub const EXPORT: u16 = 0;
    pub const BLOCK_SIZE: u16 = 3;
}

/// What is replied when a request fails; the numbers are the protocol's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    Io = 5,
    Invalid = 22,
}

/// Whether a request is durable when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Cached,
    Forced,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Read { offset: u64, len: u32 },
    Write { offset: u64, bytes: Vec<u8>, durability: Durability },
    Flush,
    Discard { offset: u64, len: u32, durability: Durability },
    WriteZeroes { offset: u64, len: u32, durability: Durability },
    Disconnect,
    Unknown,
}

/// A request, and the number that its reply has to carry.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub cookie: u64,
    pub command: Command,
}

/// Whether the client goes on to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiated {
    Transmission,
    Aborted,
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the NBD client sent {what}"))
}

/// Comes to terms with a client about a disk of this size; every export name is that disk's.
pub fn negotiate(stream: &mut (impl Read + Write), size_bytes: u64) -> io::Result<Negotiated> {
    let mut greeting = [MAGIC.as_slice(), OPTION_MAGIC].concat();
    greeting.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    stream.write_all(&greeting)?;
    let client_flags = u32::from_be_bytes(array(stream)?);
    let sends_zeroes = client_flags & u32::from(NO_ZEROES) == 0;
    loop {
        if &array(stream)? != OPTION_MAGIC {
            return Err(broken("no option where one was due"));
        }
        let option = u32::from_be_bytes(array(stream)?);
        let len = u32::from_be_bytes(array(stream)?);
        if len > OPTION_LIMIT_BYTES {
            return Err(broken("an option that is too long"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
            bytes.extend(option.to_be_bytes());
            bytes.extend(kind.to_be_bytes());
            // As short as we make it.
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
            stream.write_all(&bytes)
        };
        match option {
            option::EXPORT_NAME => {
                let mut bytes = size_bytes.to_be_bytes().to_vec();
                bytes.extend(EXPORT_FLAGS.to_be_bytes());
                if sends_zeroes {
                    bytes.extend([0; 124]);
                }
                stream.write_all(&bytes)?;
                return Ok(Negotiated::Transmission);
            }
            option::ABORT => {
                reply(option_reply::ACK, &[])?;
                return Ok(Negotiated::Aborted);
            }
            option::LIST => {
                // One export, whose name is empty.
                reply(option_reply::SERVER, &0_u32.to_be_bytes())?;
                reply(option_reply::ACK, &[])?;
            }
            option::INFO | option::GO => {
                let mut export = info::EXPORT.to_be_bytes().to_vec();
                export.extend(size_bytes.to_be_bytes());
                export.extend(EXPORT_FLAGS.to_be_bytes());
                reply(option_reply::INFO, &export)?;
                let mut block_size = info::BLOCK_SIZE.to_be_bytes().to_vec();
                // Least, best, and the most of a payload.
                for bytes in [SECTOR_BYTES as u32, 4096, PAYLOAD_LIMIT_BYTES] {
                    block_size.extend(bytes.to_be_bytes());
                }
                reply(option_reply::INFO, &block_size)?;
                reply(option_reply::ACK, &[])?;
                if option == option::GO {
                    return Ok(Negotiated::Transmission);
                }
            }
            _ => reply(option_reply::UNSUPPORTED, &[])?,
        }
    }
}

/// The next request.
pub fn read_request(from: &mut impl Read) -> io::Result<Request> {
    if u32::from_be_bytes(array(from)?) != REQUEST_MAGIC {
        return Err(broken("no request where one was due"));
    }
    let flags = u16::from_be_bytes(array(from)?);
    let kind = u16::from_be_bytes(array(from)?);
    let cookie = u64::from_be_bytes(array(from)?);
    let offset = u64::from_be_bytes(array(from)?);
    let len = u32::from_be_bytes(array(from)?);
    let durability = if flags & COMMAND_FUA != 0 { Durability::Forced } else { Durability::Cached };
    let command = match kind {
        0 | 1 if len > PAYLOAD_LIMIT_BYTES => return Err(broken("a request that is too long")),
        0 => Command::Read { offset, len },
        1 => {
            let mut bytes = vec![0; len as usize];
            from.read_exact(&mut bytes)?;
            Command::Write { offset, bytes, durability }
        }
        2 => Command::Disconnect,
        3 => Command::Flush,
        4 => Command::Discard { offset, len, durability },
        6 => Command::WriteZeroes { offset, len, durability },
        _ => Command::Unknown,
    };
    // Those that we have not offered are not to be used.
    let known = flags & !(COMMAND_FUA | COMMAND_NO_HOLE) == 0;
    let is_unknown = !known && command != Command::Disconnect;
    Ok(Request { cookie, command: if is_unknown { Command::Unknown } else { command } })
}

/// Replies to a request, with what was read if it was a read.
pub fn write_reply(to: &mut impl Write, cookie: u64, result: Result<&[u8], RequestError>) -> io::Result<()> {
    let error = result.err().map_or(0, |error| error as u32);
    let mut bytes = REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend(error.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(result.unwrap_or_default());
    to.write_all(&bytes)
}

/// A client, for tests.
#[cfg(test)]
pub mod client {
    use std::{os::unix::net::UnixStream, path::Path};

    use super::*;

    pub struct Client {
        pub stream: UnixStream,
        pub size_bytes: u64,
    }

    impl Client {
        /// Connects, and goes on to requests.
        pub fn connect(socket: &Path) -> io::Result<Self> {
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
            assert_eq!(&array(&mut stream)?, MAGIC);
            assert_eq!(&array(&mut stream)?, OPTION_MAGIC);
            assert_eq!(u16::from_be_bytes(array(&mut stream)?), 3);
            stream.write_all(&3_u32.to_be_bytes())?;
            // Structured replies, which we do not have; then GO with an empty name and no wishes.
            for (option, data) in [(8_u32, &[][..]), (option::GO, &[0; 6])] {
                stream.write_all(OPTION_MAGIC)?;
                stream.write_all(&option.to_be_bytes())?;
                stream.write_all(&(data.len() as u32).to_be_bytes())?;
                stream.write_all(data)?;
            }
            let mut size_bytes = 0;
            loop {
                assert_eq!(u64::from_be_bytes(array(&mut stream)?), OPTION_REPLY_MAGIC);
                let option = u32::from_be_bytes(array(&mut stream)?);
                let kind = u32::from_be_bytes(array(&mut stream)?);
                let mut data = vec![0; u32::from_be_bytes(array(&mut stream)?) as usize];
                stream.read_exact(&mut data)?;
                match (option, kind) {
                    (8, option_reply::UNSUPPORTED) => {}
                    (option::GO, option_reply::INFO) if data[..2] == info::EXPORT.to_be_bytes() => {
                        size_bytes = u64::from_be_bytes(data[2..10].try_into().unwrap());
                        assert_eq!(data[10..], EXPORT_FLAGS.to_be_bytes());
                    }
                    (option::GO, option_reply::INFO) => assert_eq!(data.len(), 14),
                    (option::GO, option_reply::ACK) => return Ok(Self { stream, size_bytes }),
                    _ => panic!("option {option} is answered {kind:#x}"),
                }
            }
        }

        pub fn send(&mut self, kind: u16, flags: u16, offset: u64, len: u32, data: &[u8]) -> u64 {
            // Any number will do that no two requests under way share.
            let cookie = offset ^ u64::from(kind) << 60;
            let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
            bytes.extend(flags.to_be_bytes());
            bytes.extend(kind.to_be_bytes());
            bytes.extend(cookie.to_be_bytes());
            bytes.extend(offset.to_be_bytes());
            bytes.extend(len.to_be_bytes());
            bytes.extend(data);
            self.stream.write_all(&bytes).unwrap();
            cookie
        }

        /// The cookie and the error of the next reply, which is not that of a read.
        pub fn receive(&mut self) -> io::Result<(u64, u32)> {
            assert_eq!(u32::from_be_bytes(array(&mut self.stream)?), REPLY_MAGIC);
            let error = u32::from_be_bytes(array(&mut self.stream)?);
            Ok((u64::from_be_bytes(array(&mut self.stream)?), error))
        }

        /// Sends a request and waits for its end; the error's number is 0 if there is none.
        pub fn perform(&mut self, kind: u16, flags: u16, offset: u64, len: u32, data: &[u8]) -> u32 {
            let sent = self.send(kind, flags, offset, len, data);
            let (cookie, error) = self.receive().unwrap();
            assert_eq!(cookie, sent);
            error
        }

        pub fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
            self.perform(1, 0, offset, data.len() as u32, data)
        }

        pub fn flush(&mut self) -> u32 {
            self.perform(3, 0, 0, 0, &[])
        }

        pub fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
            assert_eq!(self.perform(0, 0, offset, len as u32, &[]), 0);
            let mut bytes = vec![0; len];
            self.stream.read_exact(&mut bytes).unwrap();
            bytes
        }
    }
}
