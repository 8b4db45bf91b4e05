//! The lines of the control channel.

use core::fmt;

/// What the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// The process gets this signal, as by `kill(2)`.
    Signal(u8),
    /// Standard input ends after so many bytes in all.
    StdinEnd(u64),
    /// The machine is to be switched off, in order.
    PowerOff,
}

/// What the guest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestMessage<'a> {
    /// A stage of the boot was reached, so long after kernel entry.
    Boot {
        /// The stage.
        name: &'a str,
        /// Nanoseconds since kernel entry.
        ns: u64,
    },
    /// The process has ended.
    Exit(u8),
    /// The process died of a signal.
    Signal(u8),
    /// The kernel is dying.
    Panic(&'a str),
    /// The program could not be started, and why.
    NotStarted(&'a str),
    /// The image's file system turned out to be damaged, and how.
    Damaged(&'a str),
    /// What the user must know, in a sentence.
    Notice(&'a str),
    /// So many bytes of a file follow.
    File {
        /// Its name.
        name: &'a str,
        /// Its length in bytes.
        len: u64,
    },
    /// A figure for the benchmarks.
    Memory {
        /// What it is.
        name: &'a str,
        /// How much.
        bytes: u64,
    },
}

/// A text that stays on its line: no control characters, and no spaces where `Word`.
enum Clean<'a> {
    Word(&'a str),
    Line(&'a str),
}

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let (text, space) = match *self {
            Self::Word("") => ("_", '_'),
            Self::Word(text) => (text, '_'),
            Self::Line(text) => (text, ' '),
        };
        text.chars()
            .map(|c| if c.is_control() || c.is_whitespace() { space } else { c })
            .try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Display for GuestMessage<'_> {
    /// The message as a line, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Boot { name, ns } => write!(f, "boot {} {ns}", Clean::Word(name)),
            Self::Exit(status) => write!(f, "exit {status}"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Panic(text) => write!(f, "panic {}", Clean::Line(text)),
            Self::NotStarted(text) => write!(f, "not-started {}", Clean::Line(text)),
            Self::Damaged(text) => write!(f, "damaged {}", Clean::Line(text)),
            Self::Notice(text) => write!(f, "notice {}", Clean::Line(text)),
            Self::File { name, len } => write!(f, "file {} {len}", Clean::Word(name)),
            Self::Memory { name, bytes } => write!(f, "memory {} {bytes}", Clean::Word(name)),
        }
    }
}

/// A line that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine;

/// Highest signal number on Linux x86-64.
const MAX_SIGNAL: u8 = 64;

impl HostMessage {
    /// Reads a line, without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, BadLine> {
        let line = core::str::from_utf8(line).map_err(|_| BadLine)?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "signal" => match number(rest)?.try_into() {
                Ok(signal @ 1..=MAX_SIGNAL) => Ok(Self::Signal(signal)),
                _ => Err(BadLine),
            },
            "stdin-eof" => Ok(Self::StdinEnd(number(rest)?)),
            "poweroff" if rest.is_empty() => Ok(Self::PowerOff),
            _ => Err(BadLine),
        }
    }
}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Result<u64, BadLine> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| BadLine)
    } else {
        Err(BadLine)
    }
}

/// Longest line; every message is much shorter.
const MAX_LINE: usize = 128;

/// Puts lines together from the pieces that arrive.
#[derive(Debug)]
pub struct LineReader {
    line: [u8; MAX_LINE],
    len: usize,
    /// The line is too long, and is dropped up to its end.
    too_long: bool,
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new()
    }
}

impl LineReader {
    /// A reader at the start of a line.
    pub const fn new() -> Self {
        Self { line: [0; MAX_LINE], len: 0, too_long: false }
    }

    /// Takes `bytes`, and hands over each message that is complete now, or that a line was none.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Result<HostMessage, BadLine>)) {
        for byte in bytes {
            if *byte == b'\n' {
                let message =
                    if self.too_long { Err(BadLine) } else { HostMessage::parse(&self.line[..self.len]) };
                self.len = 0;
                self.too_long = false;
                take(message);
            } else if let Some(place) = self.line.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            } else {
                self.too_long = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_host_says() {
        assert_eq!(HostMessage::parse(b"signal 15"), Ok(HostMessage::Signal(15)));
        assert_eq!(HostMessage::parse(b"stdin-eof 0"), Ok(HostMessage::StdinEnd(0)));
        assert_eq!(
            HostMessage::parse(b"stdin-eof 18446744073709551615"),
            Ok(HostMessage::StdinEnd(u64::MAX))
        );
        assert_eq!(HostMessage::parse(b"poweroff"), Ok(HostMessage::PowerOff));
    }

    #[test]
    fn refuses_what_is_no_message() {
        for line in [
            "",
            " ",
            "signal",
            "signal 0",
            "signal 65",
            "signal -1",
            "signal +1",
            "signal 15 ",
            "signal 1e1",
            "stdin-eof",
            "stdin-eof ",
            "stdin-eof 18446744073709551616",
            "poweroff now",
            "Signal 1",
        ] {
            assert_eq!(HostMessage::parse(line.as_bytes()), Err(BadLine), "{line:?}");
        }
        assert_eq!(HostMessage::parse(b"\xff"), Err(BadLine));
    }

    #[test]
    fn puts_lines_together_however_they_arrive() {
        let mut text = b"signal 2\nrubbish\n".to_vec();
        text.extend([b'x'; 1000]);
        text.extend(b"\nstdin-eof 7\npoweroff\nsig");
        let expected = [
            Ok(HostMessage::Signal(2)),
            Err(BadLine),
            Err(BadLine),
            Ok(HostMessage::StdinEnd(7)),
            Ok(HostMessage::PowerOff),
        ];
        for step in [1, 2, 3, 7, 100, text.len()] {
            let mut reader = LineReader::new();
            let mut got = Vec::new();
            text.chunks(step).for_each(|chunk| reader.feed(chunk, |message| got.push(message)));
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn every_message_is_one_line() {
        let line = |message: GuestMessage<'_>| message.to_string();
        assert_eq!(line(GuestMessage::Boot { name: "kernel", ns: 12 }), "boot kernel 12");
        assert_eq!(line(GuestMessage::Exit(143)), "exit 143");
        assert_eq!(line(GuestMessage::Signal(9)), "signal 9");
        assert_eq!(line(GuestMessage::Panic("a\nb\tc\0d")), "panic a b c d");
        assert_eq!(line(GuestMessage::NotStarted("no\nsuch file")), "not-started no such file");
        assert_eq!(line(GuestMessage::Damaged("a directory")), "damaged a directory");
        assert_eq!(line(GuestMessage::File { name: "hs err\n.log", len: 5 }), "file hs_err_.log 5");
        assert_eq!(line(GuestMessage::Memory { name: "", bytes: 1 }), "memory _ 1");
    }
}
