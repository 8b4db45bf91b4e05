//! The control channel: the lines and files that the guest sends, and the orders it is sent.
//!
//! Responsible for the protocol alone, as `docs/control-channel.md` has it: [`Decoder`] takes bytes in pieces
//! of any size. The guest is not trusted: lengths are bounded, names are made harmless, and what is not
//! understood is a [`Message::Unknown`], never a panic. Not responsible for where files go (`run_folder`).

/// Longest line. A panic's text is the longest message there is.
const LINE_LIMIT_BYTES: usize = 16 << 10;
/// Longest file: a heap dump of the largest machine does not come this way.
const FILE_LIMIT_BYTES: u64 = 1 << 30;
/// Longest name of a file, as in ext4.
const NAME_LIMIT_BYTES: usize = 255;

/// From the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The guest came to a point of its start, so long after the kernel's entry.
    Boot {
        mark: String,
        since_entry_ns: u64,
    },
    /// The program ended with this status.
    Exit(u8),
    /// The program was ended by this signal.
    Signal(u8),
    /// The kernel cannot go on.
    Panic(String),
    /// The kernel could not start the program, and why.
    NotStarted(String),
    /// The image's file system turned out to be damaged, and how.
    Damaged(String),
    /// What the user must know.
    Notice(String),
    /// An amount of memory.
    Memory {
        name: String,
        bytes: u64,
    },
    /// A file begins; its bytes follow in one or more [`Message::FileBytes`], then [`Message::FileEnd`].
    FileStart {
        name: String,
        length_bytes: u64,
    },
    FileBytes(Vec<u8>),
    FileEnd,
    /// What this version does not understand, as text for the log.
    Unknown(String),
}

/// To the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send this signal to the program.
    Signal(u8),
    /// The program's standard input ends after so many bytes in all.
    StdinEof { total_bytes: u64 },
}

impl Order {
    /// The line to send, with its end.
    pub fn line(self) -> String {
        match self {
            Self::Signal(number) => format!("signal {number}\n"),
            Self::StdinEof { total_bytes } => format!("stdin-eof {total_bytes}\n"),
        }
    }
}

/// Turns bytes into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// The line in hand is too long, and is thrown away up to its end.
    overlong: bool,
    /// Bytes of a file still to come.
    file_left_bytes: Option<u64>,
}

impl Decoder {
    /// Takes the next bytes, and gives the messages that are now complete to `sink`.
    pub fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Message)) {
        while !bytes.is_empty() {
            if let Some(left) = self.file_left_bytes {
                let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                sink(Message::FileBytes(bytes[..take].to_vec()));
                bytes = &bytes[take..];
                self.file_left_bytes = Some(left - take as u64).filter(|left| *left > 0);
                if self.file_left_bytes.is_none() {
                    sink(Message::FileEnd);
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > LINE_LIMIT_BYTES {
                self.overlong = true;
                self.line.clear();
            } else if !self.overlong {
                self.line.extend_from_slice(part);
            }
            let Some(end) = end else { return };
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.overlong) {
                sink(Message::Unknown("an overlong line".into()));
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            let message = parse_line(line.trim_end_matches('\r'));
            let message = message.unwrap_or_else(|| Message::Unknown(line.escape_debug().to_string()));
            let starts_file = match &message {
                Message::FileStart { length_bytes, .. } => Some(*length_bytes),
                _ => None,
            };
            sink(message);
            match starts_file {
                Some(0) => sink(Message::FileEnd),
                length => self.file_left_bytes = length,
            }
        }
    }
}

fn parse_line(line: &str) -> Option<Message> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "boot" => {
            let (mark, nanoseconds) = rest.rsplit_once(' ')?;
            Some(Message::Boot { mark: mark.to_string(), since_entry_ns: nanoseconds.parse().ok()? })
        }
        "exit" => Some(Message::Exit(rest.parse().ok()?)),
        // signal(7): 64 is the last real-time signal, and 128+64 still fits an exit status.
        "signal" => rest.parse().ok().filter(|number| (1..=64).contains(number)).map(Message::Signal),
        "panic" => Some(Message::Panic(rest.to_string())),
        "not-started" => Some(Message::NotStarted(rest.to_string())),
        "damaged" => Some(Message::Damaged(rest.to_string())),
        "notice" => Some(Message::Notice(printable(rest))),
        "memory" => {
            let (name, bytes) = rest.rsplit_once(' ')?;
            Some(Message::Memory { name: name.to_string(), bytes: bytes.parse().ok()? })
        }
        "file" => {
            let (name, length) = rest.rsplit_once(' ')?;
            let length_bytes = length.parse().ok().filter(|length| *length <= FILE_LIMIT_BYTES)?;
            Some(Message::FileStart { name: harmless_name(name), length_bytes })
        }
        _ => None,
    }
}

/// Text for the user's terminal, which the guest must not be able to steer.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The last component of the name, without anything that could surprise a shell or a terminal.
fn harmless_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let mut name: String = last
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(NAME_LIMIT_BYTES - "guest".len())
        .collect();
    if name.is_empty() || name.starts_with('.') || name.starts_with('-') {
        name.insert_str(0, "guest");
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Message> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for piece in pieces {
            decoder.push(piece, |message| messages.push(message));
        }
        messages
    }

    #[test]
    fn each_message_is_read() {
        let text = b"boot application 1234\nmemory kernel heap 42\nexit 7\nsignal 6\npanic oh no: x\n\
            not-started no such file\ndamaged a directory\nnotice \x1b[1mx\n";
        assert_eq!(
            decode(&[text]),
            [
                Message::Boot { mark: "application".into(), since_entry_ns: 1234 },
                Message::Memory { name: "kernel heap".into(), bytes: 42 },
                Message::Exit(7),
                Message::Signal(6),
                Message::Panic("oh no: x".into()),
                Message::NotStarted("no such file".into()),
                Message::Damaged("a directory".into()),
                Message::Notice(" [1mx".into()),
            ]
        );
    }

    #[test]
    fn a_file_is_cut_out_byte_for_byte() {
        let messages = decode(&[b"file hs_err_pid1.log 5\nab", b"\nexit 0\nfile e 0\nexit 1\n"]);
        assert_eq!(
            messages,
            [
                Message::FileStart { name: "hs_err_pid1.log".into(), length_bytes: 5 },
                Message::FileBytes(b"ab".to_vec()),
                Message::FileBytes(b"\nex".to_vec()),
                Message::FileEnd,
                Message::Unknown("it 0".into()),
                Message::FileStart { name: "e".into(), length_bytes: 0 },
                Message::FileEnd,
                Message::Exit(1),
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_unknown() {
        for line in [
            "exit 256",
            "exit",
            "exit -1",
            "signal 0",
            "signal 65",
            "boot x",
            "boot x -1",
            "file x",
            "",
            "hello",
            "file x 99999999999",
        ] {
            let messages = decode(&[line.as_bytes(), b"\n"]);
            assert!(matches!(messages[..], [Message::Unknown(_)]), "{line:?}: {messages:?}");
        }
        let long = vec![b'x'; LINE_LIMIT_BYTES * 3];
        assert_eq!(
            decode(&[&long, b"\nexit 3\n"]),
            [Message::Unknown("an overlong line".into()), Message::Exit(3)]
        );
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        for (name, harmless) in [
            ("../../etc/passwd", "passwd"),
            ("..", "guest.."),
            ("", "guest"),
            ("a/", "guest"),
            ("-rf", "guest-rf"),
            ("a b\x1b[2J", "a_b__2J"),
        ] {
            assert_eq!(harmless_name(name), harmless);
        }
        assert!(harmless_name(&"é".repeat(1000)).len() <= NAME_LIMIT_BYTES);
    }

    #[test]
    fn orders_are_lines() {
        assert_eq!(Order::Signal(15).line(), "signal 15\n");
        assert_eq!(Order::StdinEof { total_bytes: 9 }.line(), "stdin-eof 9\n");
    }

    proptest! {
        #[test]
        fn the_size_of_pieces_makes_no_difference(
            text in prop::collection::vec(prop_oneof![
                Just(b"exit 1\n".to_vec()), Just(b"file a 6\n123456".to_vec()), Just(b"boot k 5\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..20),
            ], 0..12),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let bytes = text.concat();
            let merge = |messages: Vec<Message>| {
                let mut merged: Vec<Message> = Vec::new();
                for message in messages {
                    match (merged.last_mut(), message) {
                        (Some(Message::FileBytes(old)), Message::FileBytes(new)) => old.extend(new),
                        (_, message) => merged.push(message),
                    }
                }
                merged
            };
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(merge(decode(&pieces)), merge(decode(&[&bytes])));
        }
    }
}
