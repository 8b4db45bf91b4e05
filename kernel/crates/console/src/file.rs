//! The file behind a standard descriptor.

use alloc::{sync::Arc, vec::Vec};
use core::any::Any;

use ksync::SpinLock;
use linux_abi::{
    Errno,
    file::{DeviceNumber, FileType},
    tty::{Termios, Winsize, ioctl},
};
use vfs::{ANONYMOUS_DEVICE, Blocking, File, InodeId, Metadata, PollEvents, Pollee, ReadDst, WriteSrc};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::Input;

/// What a standard stream is on the host, and so what it looks like here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleKind {
    /// A terminal.
    Terminal,
    /// A pipe or a file.
    Pipe,
}

/// The application's memory, for the arguments of `ioctl(2)`.
pub trait ApplicationMemory: Send + Sync {
    /// Fills `bytes` from `address`, or `EFAULT`.
    fn read(&self, address: usize, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Writes `bytes` to `address`, or `EFAULT`.
    fn write(&self, address: usize, bytes: &[u8]) -> Result<(), Errno>;
}

/// A standard stream: reads are from standard input, writes go to `output`.
pub struct Console {
    kind: ConsoleKind,
    input: Arc<Input>,
    output: Arc<dyn File>,
    memory: &'static dyn ApplicationMemory,
    /// What `stat(2)` and `/proc/self/fd` tell it apart by.
    number: u64,
    window: SpinLock<Winsize>,
}

/// The one process is the session leader and the foreground process group of its terminal.
const PROCESS_ID: i32 = 1;

/// The first pseudo-terminal, `/dev/pts/0` (Linux `Documentation/admin-guide/devices.txt`).
const PTS_0: DeviceNumber = DeviceNumber { major: 136, minor: 0 };

impl Console {
    /// A stream; `number` is its descriptor at the start.
    pub fn new(
        kind: ConsoleKind,
        input: Arc<Input>,
        output: Arc<dyn File>,
        memory: &'static dyn ApplicationMemory,
        number: u64,
    ) -> Self {
        Self { kind, input, output, memory, number, window: SpinLock::new(Winsize::default()) }
    }

    /// Sets the size of the terminal, which programs ask for with `TIOCGWINSZ`. It is 0 by 0 as long
    /// as it is not known, as that of a serial line is.
    pub fn set_window_size(&self, rows: u16, columns: u16) {
        *self.window.lock() = Winsize { rows, columns, ..Winsize::default() };
    }

    fn terminal_ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        match request {
            ioctl::TCGETS => self.memory.write(argument, Termios::STANDARD.as_bytes())?,
            // The settings are those of the host's terminal, which the guest cannot change. tcsetattr(3):
            // EINVAL is for "an attribute ... to an unsupported value".
            ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {
                let mut termios = Termios::new_zeroed();
                self.memory.read(argument, termios.as_mut_bytes())?;
                if termios != Termios::STANDARD {
                    return Err(Errno::EINVAL);
                }
            }
            ioctl::TIOCGWINSZ => {
                let window = *self.window.lock();
                self.memory.write(argument, window.as_bytes())?;
            }
            ioctl::TIOCSWINSZ => {
                let mut bytes = [0; size_of::<Winsize>()];
                self.memory.read(argument, &mut bytes)?;
                *self.window.lock() = Winsize::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
            }
            ioctl::TIOCGPGRP | ioctl::TIOCGSID => {
                self.memory.write(argument, &PROCESS_ID.to_ne_bytes())?;
            }
            ioctl::TIOCSPGRP => {
                let mut group = [0; 4];
                self.memory.read(argument, &mut group)?;
                // There is no other group that could be named.
                match i32::from_ne_bytes(group) {
                    PROCESS_ID => {}
                    group if group < 0 => return Err(Errno::EINVAL),
                    _ => return Err(Errno::ESRCH),
                }
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

impl File for Console {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        self.input.read(dst, blocking)
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        self.output.write_at(0, src, blocking)
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let id = InodeId { device: ANONYMOUS_DEVICE, number: 3 + self.number };
        Ok(match self.kind {
            ConsoleKind::Terminal => Metadata {
                device: PTS_0,
                block_bytes: 1024,
                ..Metadata::anonymous(InodeId { number: 3, ..id }, FileType::CharDevice, 0o620)
            },
            ConsoleKind::Pipe => Metadata::anonymous(id, FileType::Fifo, 0o600),
        })
    }

    fn shown_name(&self) -> Vec<u8> {
        match self.kind {
            ConsoleKind::Terminal => b"/dev/pts/0".to_vec(),
            ConsoleKind::Pipe => alloc::format!("pipe:[{}]", 3 + self.number).into_bytes(),
        }
    }

    fn can_reopen(&self) -> bool {
        true
    }

    fn poll(&self) -> PollEvents {
        let input = self.input.poll();
        let output = self.output.poll();
        (input & (PollEvents::IN | PollEvents::RDNORM | PollEvents::HUP))
            | (output & (PollEvents::OUT | PollEvents::WRNORM | PollEvents::ERR))
    }

    fn pollee(&self) -> Option<&Pollee> {
        // Standard error has a stream of its own, and is waited for to be written.
        if self.number == 2 { self.output.pollee() } else { self.input.pollee() }
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        self.input.readable_bytes()
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        match self.kind {
            ConsoleKind::Terminal => self.terminal_ioctl(request, argument),
            ConsoleKind::Pipe => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex, thread, time::Duration};

    use vfs::SliceSrc;

    use super::*;

    /// A stream with a queue each way.
    #[derive(Default)]
    struct Stream {
        input: Mutex<VecDeque<u8>>,
        output: Mutex<Vec<u8>>,
        pollee: Pollee,
    }

    impl Stream {
        fn arrive(&self, bytes: &[u8]) {
            self.input.lock().unwrap().extend(bytes);
            self.pollee.notify(PollEvents::IN);
        }
    }

    impl File for Stream {
        fn read_at(&self, _: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
            assert_eq!(blocking, Blocking::No, "the console waits itself");
            let mut input = self.input.lock().unwrap();
            if input.is_empty() {
                return Err(Errno::EAGAIN);
            }
            let len = dst.put(input.make_contiguous())?;
            input.drain(..len);
            Ok(len)
        }

        fn write_at(&self, _: u64, src: &mut dyn WriteSrc, _: Blocking) -> Result<usize, Errno> {
            let mut bytes = vec![0; src.remaining()];
            let len = src.take(&mut bytes)?;
            self.output.lock().unwrap().extend(&bytes[..len]);
            Ok(len)
        }

        fn poll(&self) -> PollEvents {
            let ready = !self.input.lock().unwrap().is_empty();
            PollEvents::OUT | if ready { PollEvents::IN } else { PollEvents::empty() }
        }

        fn pollee(&self) -> Option<&Pollee> {
            Some(&self.pollee)
        }

        fn readable_bytes(&self) -> Result<usize, Errno> {
            Ok(self.input.lock().unwrap().len())
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    /// One page of the application's memory, at address 0x1000.
    struct Memory(Mutex<[u8; 64]>);

    impl Memory {
        fn range(address: usize, len: usize) -> Result<std::ops::Range<usize>, Errno> {
            let start = address.checked_sub(0x1000).ok_or(Errno::EFAULT)?;
            if start + len > 64 { Err(Errno::EFAULT) } else { Ok(start..start + len) }
        }
    }

    impl ApplicationMemory for Memory {
        fn read(&self, address: usize, bytes: &mut [u8]) -> Result<(), Errno> {
            bytes.copy_from_slice(&self.0.lock().unwrap()[Self::range(address, bytes.len())?]);
            Ok(())
        }

        fn write(&self, address: usize, bytes: &[u8]) -> Result<(), Errno> {
            self.0.lock().unwrap()[Self::range(address, bytes.len())?].copy_from_slice(bytes);
            Ok(())
        }
    }

    fn console(kind: ConsoleKind) -> (Arc<Stream>, Arc<Input>, Arc<Console>, &'static Memory) {
        let stream = Arc::new(Stream::default());
        let input = Arc::new(Input::new(stream.clone()));
        let memory: &'static Memory = Box::leak(Box::new(Memory(Mutex::new([0; 64]))));
        let console = Arc::new(Console::new(kind, input.clone(), stream.clone(), memory, 0));
        (stream, input, console, memory)
    }

    fn read(console: &Console, len: usize, blocking: Blocking) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        let len = console.read_at(0, &mut bytes.as_mut_slice(), blocking)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    #[test]
    fn input_ends_where_the_host_says_whichever_comes_first() {
        let (stream, input, console, _) = console(ConsoleKind::Pipe);
        assert_eq!(read(&console, 9, Blocking::No), Err(Errno::EAGAIN));
        // The end is announced before the last bytes are there.
        stream.arrive(b"abc");
        input.end_at(5);
        input.end_at(1);
        assert_eq!(read(&console, 2, Blocking::Yes), Ok(b"ab".to_vec()));
        assert_eq!(read(&console, 9, Blocking::Yes), Ok(b"c".to_vec()));
        assert_eq!(read(&console, 9, Blocking::No), Err(Errno::EAGAIN));
        assert!(!console.poll().contains(PollEvents::IN));
        stream.arrive(b"de");
        assert_eq!(read(&console, 9, Blocking::Yes), Ok(b"de".to_vec()));
        assert!(console.poll().contains(PollEvents::IN | PollEvents::HUP));
        for _ in 0..2 {
            assert_eq!(read(&console, 9, Blocking::Yes), Ok(vec![]));
        }
    }

    #[test]
    fn the_end_wakes_a_reader() {
        let (_, input, console, _) = console(ConsoleKind::Terminal);
        let reader = thread::spawn(move || read(&console, 9, Blocking::Yes));
        thread::sleep(Duration::from_millis(10));
        input.end_at(0);
        assert_eq!(reader.join().unwrap(), Ok(vec![]));
    }

    #[test]
    fn writes_go_to_the_output() {
        let (stream, _, console, _) = console(ConsoleKind::Pipe);
        assert_eq!(console.write_at(0, &mut SliceSrc::new(b"out"), Blocking::Yes), Ok(3));
        assert_eq!(*stream.output.lock().unwrap(), b"out");
        assert!(console.poll().contains(PollEvents::OUT));
    }

    #[test]
    fn only_a_terminal_answers_as_one() {
        let (stream, _, pipe, _) = console(ConsoleKind::Pipe);
        for request in [ioctl::TCGETS, ioctl::TIOCGWINSZ, ioctl::TCSETS, 0x1234] {
            assert_eq!(pipe.ioctl(request, 0x1000), Err(Errno::ENOTTY));
        }
        stream.arrive(b"xyz");
        assert_eq!(pipe.readable_bytes(), Ok(3));
        assert_eq!(pipe.metadata().unwrap().mode(), 0o10_600);

        let (_, _, terminal, memory) = console(ConsoleKind::Terminal);
        assert_eq!(terminal.metadata().unwrap().mode(), 0o20_620);
        assert_eq!(terminal.ioctl(ioctl::TCGETS, 0x1000), Ok(0));
        assert_eq!(memory.0.lock().unwrap()[..36], *Termios::STANDARD.as_bytes());
        assert_eq!(terminal.ioctl(ioctl::TCSETSF, 0x1000), Ok(0));
        memory.0.lock().unwrap()[12] ^= 8; // no echo
        assert_eq!(terminal.ioctl(ioctl::TCSETS, 0x1000), Err(Errno::EINVAL));
        assert_eq!(terminal.ioctl(ioctl::TCGETS, 0x1020), Err(Errno::EFAULT));
        terminal.set_window_size(25, 80);
        assert_eq!(terminal.ioctl(ioctl::TIOCGWINSZ, 0x1000), Ok(0));
        assert_eq!(memory.0.lock().unwrap()[..8], [25, 0, 80, 0, 0, 0, 0, 0]);
        assert_eq!(terminal.ioctl(ioctl::TIOCGPGRP, 0x1000), Ok(0));
        assert_eq!(memory.0.lock().unwrap()[..4], [1, 0, 0, 0]);
        assert_eq!(terminal.ioctl(ioctl::TIOCSPGRP, 0x1000), Ok(0));
        assert_eq!(terminal.ioctl(0x1234, 0x1000), Err(Errno::ENOTTY));
    }
}
