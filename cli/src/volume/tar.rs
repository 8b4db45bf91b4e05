//! tar archives: one entry after the other, in and out.
//!
//! Written is the pax format of POSIX.1-2008 (pax(1), "Extended Header"), with extended attributes as `SCHILY.xattr.NAME`, as star, GNU
//! tar and bsdtar have them; without need of an extended header an entry is plain ustar. Read is that, GNU's long names and numbers, and
//! what came before ustar. Archives that GNU tar made with `--sparse` are refused.
//!
//! Of our own and not the `tar` crate's: that one takes a line feed in a value for its end, and attributes are any bytes.

use std::io::{self, Read, Write};

use vfs::Timestamp;

const BLOCK_BYTES: usize = 512;

/// Longest extended header or long name, so that an archive cannot fill the memory.
const EXTENSION_LIMIT_BYTES: u64 = 64 << 20;

/// RFC 1952, 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

const XATTR_KEY: &[u8] = b"SCHILY.xattr.";

/// Offsets and lengths of the fields of a header.
mod field {
    use std::ops::Range;

    pub const NAME: Range<usize> = 0..100;
    pub const MODE: Range<usize> = 100..108;
    pub const UID: Range<usize> = 108..116;
    pub const GID: Range<usize> = 116..124;
    pub const SIZE: Range<usize> = 124..136;
    pub const MTIME: Range<usize> = 136..148;
    pub const CHECKSUM: Range<usize> = 148..156;
    pub const TYPE: usize = 156;
    pub const LINK: Range<usize> = 157..257;
    pub const MAGIC: Range<usize> = 257..265;
    pub const MAJOR: Range<usize> = 329..337;
    pub const MINOR: Range<usize> = 337..345;
    pub const PREFIX: Range<usize> = 345..500;
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, whose contents follow.
    Regular {
        size: u64,
    },
    Directory,
    Symlink(Vec<u8>),
    /// Another name of an entry before this one.
    HardLink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in the archive.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permissions with set-id and sticky bits (07777).
    pub permissions: u16,
    pub uid: u32,
    pub gid: u32,
    pub modified: Timestamp,
    /// Name and value of each extended attribute.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no tar archive, or a damaged one: {what}"))
}

/// Reads an archive.
pub struct Reader<R> {
    source: R,
    /// Bytes of contents that were not read yet, and what fills their last block.
    left: u64,
    padding: u64,
    /// Records that hold for all entries that follow.
    global: Records,
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl<R: Read> Reader<R> {
    pub fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, global: Records::new() }
    }

    /// The next entry; what was not read of the one before is passed over.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut records = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(&header[field::SIZE])?;
            match header[field::TYPE] {
                b'x' => records.extend(parse_records(&self.extension(size)?)?),
                b'g' => {
                    let new = parse_records(&self.extension(size)?)?;
                    self.global.extend(new);
                    records = self.global.clone();
                }
                b'L' => long_name = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(size)?).to_vec()),
                b'S' => return Err(bad("it was made with tar --sparse, which is not read here")),
                _ => return self.entry(&header, &records, long_name, long_link).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &[u8; BLOCK_BYTES],
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Entry> {
        // The last record with a key counts; an empty value takes it back.
        let record = |key: &str| {
            let found = records.iter().rev().find(|(name, _)| name == key.as_bytes());
            found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
        };
        if records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
            return Err(bad("it was made with tar --sparse, which is not read here"));
        }
        let decimal = |key: &str| {
            record(key).map(|value| parse(value).ok_or_else(|| bad("a record that is no number"))).transpose()
        };
        let path = match (record("path"), long_name) {
            (Some(path), _) => path.to_vec(),
            (None, Some(path)) => path,
            (None, None) => {
                let name = until_nul(&header[field::NAME]);
                let prefix = until_nul(&header[field::PREFIX]);
                // GNU's own format has other things there, and another magic.
                let is_ustar = &header[field::MAGIC] == b"ustar\x0000";
                if is_ustar && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
            }
        };
        let link = match (record("linkpath"), long_link) {
            (Some(link), _) => link.to_vec(),
            (None, Some(link)) => link,
            (None, None) => until_nul(&header[field::LINK]).to_vec(),
        };
        let size = decimal("size")?.map_or_else(|| number(&header[field::SIZE]), Ok)?;
        let device = || -> io::Result<(u32, u32)> {
            Ok((small(&header[field::MAJOR])?, small(&header[field::MINOR])?))
        };
        let kind = match header[field::TYPE] {
            // Before ustar, a directory was a file with a slash at its end.
            b'\0' | b'0' if path.ends_with(b"/") => Kind::Directory,
            b'\0' | b'0' | b'7' => Kind::Regular { size },
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(bad(&format!("an entry of the unknown type {:?}", char::from(other)))),
        };
        // Of a link or a directory a size may be told that means nothing; only pax's hard links have contents.
        let has_contents = matches!(kind, Kind::Regular { .. });
        self.expect_contents(if has_contents { size } else { 0 });
        let modified = match record("mtime") {
            Some(text) => parse_time(text).ok_or_else(|| bad("a record that is no time"))?,
            None => {
                let seconds = i64::try_from(number(&header[field::MTIME])?).map_err(|_| bad("a time"))?;
                Timestamp { seconds, nanoseconds: 0 }
            }
        };
        let owner = |key, range| -> io::Result<u32> {
            let number = decimal(key)?.map_or_else(|| number(&header[range]), Ok)?;
            u32::try_from(number).map_err(|_| bad("an owner out of range"))
        };
        let mut xattrs: Records = Vec::new();
        for (key, value) in records {
            if let Some(name) = key.strip_prefix(XATTR_KEY) {
                xattrs.retain(|(other, _)| other != name);
                xattrs.push((name.to_vec(), value.clone()));
            }
        }
        Ok(Entry {
            path,
            kind,
            permissions: (number(&header[field::MODE])? & 0o7777) as u16,
            uid: owner("uid", field::UID)?,
            gid: owner("gid", field::GID)?,
            modified,
            xattrs,
        })
    }

    /// The next header, `None` at the end of the archive.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK_BYTES]>> {
        let mut header = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.source.read(&mut header[filled..]) {
                // Also without a block of zeros: what ends before it is an archive that a pipe lost the end of.
                Ok(0) if header.starts_with(&GZIP_MAGIC) => break,
                Ok(0) => return Err(bad("it ends too early")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if header.starts_with(&GZIP_MAGIC) {
            return Err(bad("it is compressed: zcat ARCHIVE | crema volume import VOLUME"));
        }
        if header.iter().all(|byte| *byte == 0) {
            // Whoever writes the archive to us must not get SIGPIPE for the rest.
            io::copy(&mut self.source, &mut io::sink())?;
            return Ok(None);
        }
        // Some summed signed bytes (tar(5), "Old-Style Archive Format").
        let sum = |value: &dyn Fn(u8) -> i64| -> i64 {
            let bytes = header.iter().enumerate();
            bytes.map(|(at, byte)| if field::CHECKSUM.contains(&at) { 32 } else { value(*byte) }).sum()
        };
        let told = number(&header[field::CHECKSUM])?;
        let told = i64::try_from(told).map_err(|_| bad("a checksum"))?;
        if told != sum(&|byte| i64::from(byte)) && told != sum(&|byte| i64::from(byte.cast_signed())) {
            return Err(bad("a header with a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn expect_contents(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK_BYTES as u64) - size;
    }

    /// The contents of an extended header.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_LIMIT_BYTES {
            return Err(bad("an extended header of more than 64 MiB"));
        }
        self.expect_contents(size);
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())?;
        if skipped == rest { Ok(()) } else { Err(bad("it ends too early")) }
    }
}

/// The contents of the entry that was read last.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if part == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..part])?;
        if read == 0 {
            return Err(bad("it ends too early"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..len]
}

fn parse(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number in octal, or GNU's and star's in base 256.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        // Negative ones, of which only times are, begin with 0xff.
        if field[0] != 0x80 || field.len() > 8 && field[1..field.len() - 8].iter().any(|byte| *byte != 0) {
            return Err(bad("a number out of range"));
        }
        let low = &field[field.len().saturating_sub(8).max(1)..];
        return Ok(low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let text: Vec<u8> = until_nul(field).iter().copied().filter(|byte| *byte != b' ').collect();
    if text.is_empty() {
        return Ok(0);
    }
    let text = std::str::from_utf8(&text).map_err(|_| bad("a number that is none"))?;
    u64::from_str_radix(text, 8).map_err(|_| bad("a number that is none"))
}

fn small(field: &[u8]) -> io::Result<u32> {
    u32::try_from(number(field)?).map_err(|_| bad("a number out of range"))
}

/// Records: a length in decimal, which counts itself, a space, `key=value`, and a line feed.
fn parse_records(mut bytes: &[u8]) -> io::Result<Records> {
    let broken = || bad("an extended header that cannot be read");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let len = parse(&bytes[..space]).and_then(|len| usize::try_from(len).ok()).ok_or_else(broken)?;
        let record =
            bytes.get(space + 1..len).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[len..];
    }
    Ok(records)
}

/// Seconds with a fraction, perhaps before 1970.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse::<u64>().ok()?.try_into().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, nanoseconds) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

fn show_time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    match (seconds, nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        (0.., nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        (_, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

/// Writes an archive.
pub struct Writer<W> {
    to: W,
    /// Bytes of contents that are still to come, and what fills their last block.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Self {
        Self { to, left: 0, padding: 0 }
    }

    /// Begins an entry; the contents of a file are to be written next.
    pub fn start(&mut self, entry: &Entry) -> io::Result<()> {
        self.finish_entry()?;
        let mut header = Header::new();
        let (size, link, kind) = match &entry.kind {
            Kind::Regular { size } => (*size, &[][..], b'0'),
            Kind::HardLink(to) => (0, to.as_slice(), b'1'),
            Kind::Symlink(to) => (0, to.as_slice(), b'2'),
            Kind::CharDevice { .. } => (0, &[][..], b'3'),
            Kind::BlockDevice { .. } => (0, &[][..], b'4'),
            Kind::Directory => (0, &[][..], b'5'),
            Kind::Fifo => (0, &[][..], b'6'),
        };
        header.set_text("path", field::NAME, &entry.path);
        header.set_text("linkpath", field::LINK, link);
        header.set_number("size", field::SIZE, size);
        header.set_number("uid", field::UID, entry.uid.into());
        header.set_number("gid", field::GID, entry.gid.into());
        header.set_octal(field::MODE, entry.permissions.into());
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            header.set_octal(field::MAJOR, major.into());
            header.set_octal(field::MINOR, minor.into());
        }
        match u64::try_from(entry.modified.seconds) {
            Ok(seconds) if entry.modified.nanoseconds == 0 => {
                header.set_number("mtime", field::MTIME, seconds)
            }
            seconds => {
                header.set_octal(field::MTIME, seconds.unwrap_or(0));
                header.record(b"mtime", show_time(entry.modified).as_bytes());
            }
        }
        for (name, value) in &entry.xattrs {
            header.record(&[XATTR_KEY, name].concat(), value);
        }
        header.bytes[field::TYPE] = kind;
        let records = std::mem::take(&mut header.records);
        if !records.is_empty() {
            let mut extended = Header::new();
            extended.set_text("path", field::NAME, b"./PaxHeaders/entry");
            extended.set_octal(field::MODE, 0o644);
            extended.set_octal(field::SIZE, records.len() as u64);
            extended.bytes[field::TYPE] = b'x';
            self.to.write_all(&extended.finished())?;
            self.to.write_all(&records)?;
            self.to.write_all(&zeros(records.len()))?;
        }
        self.to.write_all(&header.finished())?;
        self.left = size;
        self.padding = zeros((size % BLOCK_BYTES as u64) as usize).len();
        Ok(())
    }

    fn finish_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("a file turned out shorter than it was said to be"));
        }
        self.to.write_all(&vec![0; std::mem::take(&mut self.padding)])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.finish_entry()?;
        self.to.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.to.flush()
    }
}

/// The contents of the entry that was begun last.
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let written = self.to.write(&bytes[..part])?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What fills the last block after `len` bytes.
fn zeros(len: usize) -> Vec<u8> {
    vec![0; len.next_multiple_of(BLOCK_BYTES) - len]
}

/// A header under way, with the records for what does not fit into it.
struct Header {
    bytes: [u8; BLOCK_BYTES],
    records: Vec<u8>,
}

impl Header {
    fn new() -> Self {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[field::MAGIC].copy_from_slice(b"ustar\x0000");
        Self { bytes, records: Vec::new() }
    }

    /// Sets what fits, and says whether all of it did. A NUL ends each number.
    fn set_octal(&mut self, range: std::ops::Range<usize>, number: u64) -> bool {
        let width = range.len() - 1;
        let text = format!("{number:0width$o}");
        let fits = text.len() == width;
        if fits {
            self.bytes[range.start..range.end - 1].copy_from_slice(text.as_bytes());
        }
        fits
    }

    fn set_number(&mut self, key: &str, range: std::ops::Range<usize>, number: u64) {
        if !self.set_octal(range, number) {
            self.record(key.as_bytes(), number.to_string().as_bytes());
        }
    }

    fn set_text(&mut self, key: &str, range: std::ops::Range<usize>, text: &[u8]) {
        let len = text.len().min(range.len());
        self.bytes[range.start..range.start + len].copy_from_slice(&text[..len]);
        if len < text.len() {
            self.record(key.as_bytes(), text);
        }
    }

    fn record(&mut self, key: &[u8], value: &[u8]) {
        // The space, the equals sign and the line feed; the length counts its own digits.
        let without_len = key.len() + value.len() + 3;
        let mut len = without_len + 1;
        while len != without_len + len.to_string().len() {
            len = without_len + len.to_string().len();
        }
        self.records.extend_from_slice(format!("{len} ").as_bytes());
        self.records.extend_from_slice(key);
        self.records.push(b'=');
        self.records.extend_from_slice(value);
        self.records.push(b'\n');
    }

    fn finished(mut self) -> [u8; BLOCK_BYTES] {
        self.bytes[field::CHECKSUM].fill(b' ');
        let sum: u64 = self.bytes.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, a NUL and a space, as ever since.
        let text = format!("{sum:06o}\0 ");
        self.bytes[field::CHECKSUM].copy_from_slice(text.as_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests;
