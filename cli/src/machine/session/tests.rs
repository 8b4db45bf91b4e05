//! A fake guest at the other end of the channels, and real machines with a kernel of three instructions.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{machine::choice::tests::choice, network::Network, options::MachineKind};

/// What a stream was given.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that nobody reads.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The guest's ends of the channels; all of them close when it is dropped, or when its machine is killed.
struct Guest {
    stdio: UnixStream,
    stderr: UnixStream,
    control: UnixStream,
    kernel_log: UnixStream,
}

impl Guest {
    fn say(&mut self, line: &str) {
        self.control.write_all(line.as_bytes()).unwrap();
    }

    /// The next line from the tool.
    fn hear(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.control.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Waits until the machine is killed.
    fn hang(&mut self) {
        while !self.hear().is_empty() {}
    }
}

struct FakeMachine {
    /// Clones of the guest's ends, to close them by force.
    ends: Vec<UnixStream>,
}

impl Machine for FakeMachine {
    fn kill(&mut self) {
        for end in &self.ends {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }

    fn wait(&mut self, _: Duration) {
        self.kill();
    }
}

struct Outcome {
    report: Report,
    stdout: String,
    stderr: String,
    /// Keeps the files of the run.
    _folder: tempfile::TempDir,
}

struct Play {
    stdin: Input,
    stdout: Option<Output>,
    on_interrupt: OnInterrupt,
    interrupts: Vec<u8>,
    limit: Option<Duration>,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            stdin: Input::Empty,
            stdout: None,
            on_interrupt: OnInterrupt::AskThenEnd,
            interrupts: vec![],
            limit: None,
        }
    }
}

impl Play {
    fn act(self, guest: impl FnOnce(Guest) + Send + 'static) -> Outcome {
        let pair = || UnixStream::pair().unwrap();
        let (stdio, guest_stdio) = pair();
        let (stderr, guest_stderr) = pair();
        let (control, guest_control) = pair();
        let (kernel_log, guest_log) = pair();
        let ends =
            [&guest_stdio, &guest_stderr, &guest_control, &guest_log].map(|end| end.try_clone().unwrap());
        let mut machine = FakeMachine { ends: ends.into() };
        let actor = thread::spawn(move || {
            let guest_end = guest_control.try_clone().unwrap();
            guest(Guest {
                stdio: guest_stdio,
                stderr: guest_stderr,
                control: guest_control,
                kernel_log: guest_log,
            });
            let _ = guest_end.shutdown(std::net::Shutdown::Both);
        });
        let folder = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::channel();
        for signal in self.interrupts {
            sender.send(Event::Interrupt(signal)).unwrap();
        }
        let mut conversation = Conversation {
            folder: RunFolder::at(folder.path()),
            on_interrupt: self.on_interrupt,
            deadline: self.limit.map(|limit| Instant::now() + limit),
            power_off_patience: Duration::from_millis(100),
            activity: Arc::default(),
            names: Sources::default(),
            notices: None,
            sender,
            events,
            state: State::default(),
        };
        let (stdout, stderr_text) = (Captured::default(), Captured::default());
        let streams = Streams {
            stdin: self.stdin,
            stdout: self.stdout.unwrap_or_else(|| Box::new(stdout.clone())),
            stderr: Box::new(stderr_text.clone()),
            kernel_log: None,
            notices: None,
        };
        let connections = Connections { stdio, stderr, control, kernel_log };
        conversation.hold(connections, streams, &mut machine).unwrap();
        actor.join().unwrap();
        let report = conversation.report("", Duration::ZERO);
        Outcome { report, stdout: stdout.text(), stderr: stderr_text.text(), _folder: folder }
    }
}

#[test]
fn streams_and_status_come_through() {
    let outcome = Play { stdin: Input::Bytes(b"input".to_vec()), ..Play::default() }.act(|mut guest| {
        guest.say("boot kernel 10\nboot application 2000\nmemory kernel 4096\n");
        assert_eq!(guest.hear(), "stdin-eof 5");
        let mut input = [0; 5];
        guest.stdio.read_exact(&mut input).unwrap();
        guest.stdio.write_all(&input).unwrap();
        guest.stderr.write_all(b"complaint").unwrap();
        guest.kernel_log.write_all(b"log\n").unwrap();
        guest.say("exit 7\n");
    });
    assert_eq!(outcome.report.end, End::Exit(7));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("input", "complaint"));
    assert_eq!(outcome.report.marks[1], ("application".into(), Duration::from_nanos(2000)));
    assert_eq!(outcome.report.memory, [("kernel".to_string(), 4096)]);
    assert_eq!(outcome.report.folder.last_log_lines(5), "log");
}

#[test]
fn output_written_before_the_end_is_never_lost() {
    const LENGTH: usize = 3 << 20;
    let outcome = Play::default().act(|mut guest| {
        guest.say("exit 0\n");
        guest.stdio.write_all(&[b'x'; LENGTH]).unwrap();
    });
    assert_eq!(outcome.stdout.len(), LENGTH);
}

/// A reader that pauses for longer than a machine may take to power off.
struct Slow(Captured);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(250));
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_reader_gets_everything() {
    const LENGTH: usize = 1 << 20;
    let captured = Captured::default();
    let outcome =
        Play { stdout: Some(Box::new(Slow(captured.clone()))), ..Play::default() }.act(|mut guest| {
            guest.say("exit 0\n");
            guest.stdio.write_all(&[b'x'; LENGTH]).unwrap();
        });
    assert_eq!((outcome.report.end, captured.text().len()), (End::Exit(0), LENGTH));
}

#[test]
fn a_machine_that_does_not_power_off_is_ended() {
    let outcome = Play::default().act(|mut guest| {
        guest.say("exit 4\n");
        guest.hang();
    });
    assert_eq!(outcome.report.end, End::Exit(4));
}

#[test]
fn files_are_kept_and_panics_win() {
    let outcome = Play::default().act(|mut guest| {
        guest.say("file ../hs_err_pid1.log 4\nbad\nexit 1\nfile hs_err_pid1.log 1\nxpanic it broke\nhuh\n");
    });
    let files = &outcome.report.files;
    assert_eq!(files.len(), 2);
    assert_eq!(fs::read(&files[0]).unwrap(), b"bad\n");
    assert!(files[1].ends_with("hs_err_pid1.log.1"));
    assert_eq!(outcome.report.end, End::Panic("it broke".into()));
    assert!(outcome.report.folder.last_log_lines(1).contains("not understood"));
}

#[test]
fn a_guest_that_says_nothing_is_unexplained() {
    assert_eq!(Play::default().act(drop).report.end, End::Unexplained(String::new()));
    let signalled = Play::default().act(|mut guest| guest.say("signal 6\n"));
    assert_eq!(signalled.report.end, End::Signal(6));
}

#[test]
fn the_first_interrupt_asks_and_the_second_ends() {
    let asked = Play { interrupts: vec![3, 15], ..Play::default() }.act(|mut guest| {
        let mut heard = [guest.hear(), guest.hear(), guest.hear()];
        heard.sort();
        assert_eq!(heard, ["signal 15", "signal 3", "stdin-eof 0"]);
        guest.say("exit 143\n");
    });
    assert_eq!(asked.report.end, End::Exit(143));
    let ended = Play { interrupts: vec![2, 2], ..Play::default() }.act(|mut guest| guest.hang());
    assert_eq!(ended.report.end, End::Interrupted(2));
    let at_once = Play { interrupts: vec![2], on_interrupt: OnInterrupt::End, ..Play::default() };
    assert_eq!(at_once.act(|mut guest| guest.hang()).report.end, End::Interrupted(2));
}

#[test]
fn a_machine_that_hangs_is_ended() {
    let limit = Some(Duration::from_millis(50));
    let outcome = Play { limit, ..Play::default() }.act(|mut guest| guest.hang());
    assert_eq!(outcome.report.end, End::OutOfTime);
}

#[test]
fn closed_output_ends_the_machine() {
    let outcome = Play { stdout: Some(Box::new(Closed)), ..Play::default() }.act(|mut guest| {
        guest.stdio.write_all(b"x").unwrap();
        guest.hang();
    });
    assert_eq!(outcome.report.end, End::OutputClosed);
}

/// An ELF file that QEMU boots through PVH: writes a line to COM1 and ends the machine.
fn tiny_kernel() -> Vec<u8> {
    const LOAD_ADDRESS: u32 = 0x10_0000;
    const HEADERS: u32 = 0x34 + 2 * 0x20;
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in b"tiny\n" {
        code.extend_from_slice(&[0xb0, *byte, 0xee]); // mov al, byte; out dx, al
    }
    code.extend_from_slice(&[0xe6, 0xf4, 0xf4]); // out 0xf4, al; hlt
    let mut note: Vec<u8> = Vec::new();
    // Name length, descriptor length, XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h), name, entry.
    for word in [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), LOAD_ADDRESS + HEADERS + 20] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    let length = HEADERS + (note.len() + code.len()) as u32;
    let mut elf: Vec<u8> = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 3] {
        elf.extend_from_slice(&half.to_le_bytes()); // ET_EXEC, EM_386
    }
    for word in [1, LOAD_ADDRESS + HEADERS + 20, 0x34, 0, 0] {
        elf.extend_from_slice(&word.to_le_bytes()); // version, entry, program headers, sections, flags
    }
    for half in [0x34u16, 0x20, 2, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    let load = [1, 0, LOAD_ADDRESS, LOAD_ADDRESS, length, length, 7, 0x1000];
    let notes = [4, HEADERS, LOAD_ADDRESS + HEADERS, LOAD_ADDRESS + HEADERS, 20, 20, 4, 4];
    for word in load.iter().chain(&notes) {
        elf.extend_from_slice(&u32::to_le_bytes(*word));
    }
    elf.extend(note);
    elf.extend(code);
    elf
}

#[test]
fn qemu_takes_the_command_line_of_both_machines() {
    let folder = tempfile::tempdir().unwrap();
    // A comma in the path is a trap of QEMU's option lists.
    let image = folder.path().join("a,b.img");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let kernel = folder.path().join("kernel");
    fs::write(&kernel, tiny_kernel()).unwrap();
    for kind in [MachineKind::Q35, MachineKind::Microvm] {
        let log = Captured::default();
        let run_folder = folder.path().join(format!("{kind:?}"));
        fs::create_dir(&run_folder).unwrap();
        let setup = Setup {
            choice: &choice(kind, 2),
            kernel: &kernel,
            linux: None,
            network: &Network::none(),
            image: &image,
            disks: &[],
            config: &RunConfig::default(),
            folder: RunFolder::at(&run_folder),
            on_interrupt: OnInterrupt::End,
            limit: Some(Duration::from_secs(60)),
            extra: &[],
        };
        let streams = Streams {
            stdin: Input::Empty,
            stdout: Box::new(io::sink()),
            stderr: Box::new(io::sink()),
            kernel_log: Some(Box::new(log.clone())),
            notices: None,
        };
        let report = run(setup, streams, Events::new()).unwrap();
        assert_eq!(report.end, End::Unexplained(String::new()), "{kind:?}");
        assert!(log.text().ends_with("tiny\n"), "{kind:?}: {:?}", log.text());
    }
}

#[test]
fn what_qemu_says_when_it_does_not_start_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        choice: &choice(MachineKind::Q35, 1),
        kernel: &folder.path().join("none"),
        linux: None,
        network: &Network::none(),
        image: &folder.path().join("none"),
        disks: &[],
        config: &RunConfig::default(),
        folder: RunFolder::at(folder.path()),
        on_interrupt: OnInterrupt::End,
        limit: None,
        extra: &[],
    };
    let streams = Streams {
        stdin: Input::Empty,
        stdout: Box::new(io::sink()),
        stderr: Box::new(io::sink()),
        kernel_log: None,
        notices: None,
    };
    // Before it connects or after: that is QEMU's business.
    let sentence = match run(setup, streams, Events::new()).map(|report| report.end) {
        Ok(End::Unexplained(complaint)) => complaint,
        Ok(end) => panic!("{end:?}"),
        Err(failure) => failure.to_string(),
    };
    assert!(sentence.contains("No such file"), "{sentence}");
}
