//! One run of a machine, from its start to its end.
//!
//! Responsible for the guest's streams and messages, for the user's interrupts, and for telling how it all
//! ended. Each stream has a thread that moves bytes; everything else happens in the thread that calls
//! [`run`], which takes events from one queue. Not responsible for what the end means (`command::run`).

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use run_config::RunConfig;

use super::{
    choice::Choice,
    control::{Decoder, Message, Order},
    interrupt::Subscription,
    qemu::{self, Boot, Channels, Connections, Disk, LinuxBoot},
    run_folder::RunFolder,
    stream::{Activity, Input, Output, copy_in, copy_out},
};
use crate::{
    application,
    failure::{Failure, Result},
    network::Network,
    scratch::ScratchFolder,
    symbolize::{Filter, Sources, Symbolizer},
};

/// How long a machine may take to power off after its program has ended.
const POWER_OFF_PATIENCE: Duration = Duration::from_secs(10);

/// What is run.
pub struct Setup<'a> {
    pub choice: &'a Choice,
    pub kernel: &'a Path,
    /// For the Linux guest that Crema is compared with.
    pub linux: Option<&'a LinuxBoot>,
    pub network: &'a Network,
    pub image: &'a Path,
    /// Beside the image's.
    pub disks: &'a [Disk],
    pub config: &'a RunConfig,
    pub folder: RunFolder,
    pub on_interrupt: OnInterrupt,
    /// After so long the machine is ended.
    pub limit: Option<Duration>,
    /// Further words of QEMU's command line.
    pub extra: &'a [String],
}

/// What is done about Ctrl-C and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnInterrupt {
    /// The first asks the program to end, the second ends the machine.
    AskThenEnd,
    /// The first ends the machine.
    End,
}

/// Where the guest's streams lead.
pub struct Streams {
    pub stdin: Input,
    pub stdout: Output,
    pub stderr: Output,
    /// Beside the file in the run's folder, which always gets the kernel's log.
    pub kernel_log: Option<Output>,
    /// Lines of what the user must know at once; the report has it too.
    pub notices: Option<Output>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The program ended with this status.
    Exit(u8),
    /// The program was ended by this signal.
    Signal(u8),
    /// The kernel could not go on.
    Panic(String),
    /// The kernel could not start the program, and why.
    NotStarted(String),
    /// The user ended the machine with this signal.
    Interrupted(u8),
    /// Nobody reads our standard output any more.
    OutputClosed,
    /// It took longer than allowed.
    OutOfTime,
    /// The machine ended, and the guest had not said why.
    Unexplained(String),
}

impl End {
    /// The program's exit status, as a shell would report it, if it was the program that ended the run.
    pub fn status(&self) -> Option<u8> {
        match self {
            Self::Exit(status) => Some(*status),
            // Signal numbers end at 64.
            Self::Signal(number) => Some(128 + number),
            _ => None,
        }
    }
}

/// What is known after a run.
#[derive(Debug)]
pub struct Report {
    pub end: End,
    /// Points of the start, with the time since the kernel's entry.
    pub marks: Vec<(String, Duration)>,
    /// Amounts of memory in bytes.
    pub memory: Vec<(String, u64)>,
    /// How the image's file system showed that it is damaged, if it did.
    pub damage: Option<String>,
    /// What the guest said that the user must know.
    pub notices: Vec<String>,
    /// Files that the guest sent.
    pub files: Vec<PathBuf>,
    pub folder: RunFolder,
    /// From the start of QEMU to its end.
    pub elapsed: Duration,
}

enum Event {
    Message(Message),
    /// The machine has closed the control channel, which it does when it ends.
    Closed,
    Interrupt(u8),
    OutputClosed,
    Order(Order),
}

/// The queue of one run: what [`run`] takes, and what [`Remote`] puts in.
pub struct Events {
    sender: Sender<Event>,
    events: mpsc::Receiver<Event>,
}

/// Gives orders to a run from elsewhere, such as from the stream that takes its output.
#[derive(Clone)]
pub struct Remote(Sender<Event>);

impl Events {
    pub fn new() -> Self {
        let (sender, events) = mpsc::channel();
        Self { sender, events }
    }

    pub fn remote(&self) -> Remote {
        Remote(self.sender.clone())
    }
}

impl Remote {
    /// Has a signal sent to the program.
    pub fn send_signal(&self, number: u8) {
        // A run that has ended needs no orders.
        let _ = self.0.send(Event::Order(Order::Signal(number)));
    }
}

/// Runs a machine until it ends. The calling thread must live on until then: QEMU ends with it.
pub fn run(setup: Setup, streams: Streams, Events { sender, events }: Events) -> Result<Report> {
    qemu::check_installed()?;
    // In the system's temporary folder and not in the cache: the path of a socket is limited to 108 bytes.
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    let config = scratch.path().join("run.conf");
    fs::write(&config, application::encode(setup.config)?).map_err(Failure::io("write", &config))?;
    let channels = Channels::listen(scratch.path())?;

    // From here on an interrupt is an event, and the machine is taken down in order.
    let interrupts = sender.clone();
    let _subscription = Subscription::new(move |signal| {
        let _ = interrupts.send(Event::Interrupt(signal));
    });
    let boot = Boot {
        choice: setup.choice,
        kernel: setup.kernel,
        linux: setup.linux,
        network: setup.network,
        image: setup.image,
        root: setup.config.root,
        disks: setup.disks,
        config: &config,
        channels: scratch.path(),
        extra: setup.extra,
    };
    let started = Instant::now();
    let mut machine = qemu::Process::start(&qemu::arguments(&boot))?;
    let connections = channels.accept(&mut machine)?;

    let mut conversation = Conversation {
        folder: setup.folder,
        on_interrupt: setup.on_interrupt,
        deadline: setup.limit.map(|limit| started + limit),
        power_off_patience: POWER_OFF_PATIENCE,
        activity: Arc::default(),
        // The addresses of a Linux guest are not in our files.
        names: match setup.linux {
            None => Sources { kernel: Some(setup.kernel.into()), image: Some(setup.image.into()) },
            Some(_) => Sources::default(),
        },
        notices: None,
        sender,
        events,
        state: State::default(),
    };
    conversation.hold(connections, streams, &mut machine)?;
    let elapsed = started.elapsed();
    let complaint = machine.complaint();
    if !complaint.is_empty() {
        let _ = fs::write(conversation.folder.qemu_log(), &complaint);
    }
    Ok(conversation.report(&complaint, elapsed))
}

/// What a conversation needs of a machine.
trait Machine {
    fn kill(&mut self);
    /// Lets it end by itself for a while.
    fn wait(&mut self, patience: Duration);
}

impl Machine for qemu::Process {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn wait(&mut self, patience: Duration) {
        Self::wait(self, patience);
    }
}

struct Conversation {
    folder: RunFolder,
    on_interrupt: OnInterrupt,
    deadline: Option<Instant>,
    power_off_patience: Duration,
    activity: Arc<Activity>,
    names: Sources,
    notices: Option<Output>,
    sender: Sender<Event>,
    events: mpsc::Receiver<Event>,
    state: State,
}

/// What the guest has said so far.
#[derive(Default)]
struct State {
    end: Option<End>,
    interrupts: u32,
    marks: Vec<(String, Duration)>,
    memory: Vec<(String, u64)>,
    damage: Option<String>,
    notices: Vec<String>,
    files: Vec<PathBuf>,
    /// The file that is being received; `None` in it if it cannot be kept.
    file: Option<Option<File>>,
}

impl Conversation {
    /// Moves everything until the machine has ended and all it has written is delivered.
    fn hold(&mut self, connections: Connections, streams: Streams, machine: &mut dyn Machine) -> Result<()> {
        let Connections { stdio, stderr, mut control, kernel_log } = connections;
        let clone = |stream: &UnixStream| {
            stream.try_clone().map_err(|error| Failure::new(format!("cannot talk to the machine: {error}")))
        };
        let log_path = self.folder.kernel_log();
        let log_file = File::create(&log_path).map_err(Failure::io("make", &log_path))?;

        let stdin = clone(&stdio)?;
        let sender = self.sender.clone();
        // Not waited for: it may be reading from a terminal until the tool itself ends.
        thread::spawn(move || {
            if let Some(total_bytes) = copy_in(streams.stdin, stdin) {
                let _ = sender.send(Event::Order(Order::StdinEof { total_bytes }));
            }
        });
        let mut movers = Vec::new();
        for (from, mut to) in [(stdio, streams.stdout), (stderr, streams.stderr)] {
            let (sender, activity) = (self.sender.clone(), self.activity.clone());
            movers.push(thread::spawn(move || {
                if copy_out(from, &mut to, &activity).is_err() {
                    let _ = sender.send(Event::OutputClosed);
                }
            }));
        }
        self.notices = streams.notices;
        let tee = Tee { file: log_file, second: streams.kernel_log };
        let mut log = Filter::new(Symbolizer::new(self.names.clone()), tee);
        movers.push(thread::spawn(move || {
            // A full disk must not end the run; what could be written is there.
            let _ = copy_out(kernel_log, &mut log, &Activity::default());
        }));
        let messages = clone(&control)?;
        let sender = self.sender.clone();
        movers.push(thread::spawn(move || receive(messages, &sender)));

        self.take_events(&mut control, machine);
        machine.wait(POWER_OFF_PATIENCE);
        for mover in movers {
            // A mover that panicked has moved what it could.
            let _ = mover.join();
        }
        // What the movers still sent.
        while let Ok(event) = self.events.try_recv() {
            if let Event::Message(message) = event {
                self.take_message(message);
            }
        }
        Ok(())
    }

    /// Takes events until the machine closes the control channel, or has to be killed.
    fn take_events(&mut self, control: &mut UnixStream, machine: &mut dyn Machine) {
        // Set when the program has ended, and put off as long as output is taken.
        let mut power_off: Option<(Instant, Option<u64>)> = None;
        loop {
            let deadline = self.deadline.into_iter().chain(power_off.map(|(at, _)| at)).min();
            let event = match deadline {
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => {
                    self.events.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
            };
            // A guest that does not listen loses orders; it is about to end, or the user will end it.
            let mut order = |order: Order| {
                let _ = control.write_all(order.line().as_bytes());
            };
            match event {
                Ok(Event::Message(message)) => {
                    self.take_message(message);
                    if self.state.end.is_some() && power_off.is_none() {
                        power_off = Some((Instant::now() + self.power_off_patience, None));
                    }
                }
                Ok(Event::Order(given)) => order(given),
                Ok(Event::Interrupt(signal)) => {
                    /// signal(7). Asks a JVM for a thread dump, and not to end.
                    const SIGQUIT: u8 = 3;
                    if signal == SIGQUIT && self.on_interrupt == OnInterrupt::AskThenEnd {
                        order(Order::Signal(signal));
                        continue;
                    }
                    self.state.interrupts += 1;
                    if self.on_interrupt == OnInterrupt::AskThenEnd && self.state.interrupts == 1 {
                        order(Order::Signal(signal));
                        continue;
                    }
                    self.state.end.get_or_insert(End::Interrupted(signal));
                    return machine.kill();
                }
                Ok(Event::OutputClosed) => {
                    self.state.end.get_or_insert(End::OutputClosed);
                    return machine.kill();
                }
                Err(RecvTimeoutError::Timeout) => {
                    let quiet_at = self.activity.quiet_at();
                    if let Some((at, since)) = &mut power_off
                        && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
                        && (quiet_at.is_none() || quiet_at != *since)
                    {
                        (*at, *since) = (Instant::now() + self.power_off_patience, quiet_at);
                        continue;
                    }
                    self.state.end.get_or_insert(End::OutOfTime);
                    return machine.kill();
                }
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take_message(&mut self, message: Message) {
        let state = &mut self.state;
        match message {
            Message::Boot { mark, since_entry_ns } => {
                state.marks.push((mark, Duration::from_nanos(since_entry_ns)));
            }
            Message::Memory { name, bytes } => state.memory.push((name, bytes)),
            // The first word counts, but for a panic, which explains more than what came before it.
            Message::Exit(status) => {
                state.end.get_or_insert(End::Exit(status));
            }
            Message::Signal(number) => {
                state.end.get_or_insert(End::Signal(number));
            }
            Message::Panic(text) => {
                let text = Symbolizer::new(self.names.clone()).annotate(&text).into_owned();
                state.end = Some(End::Panic(text));
            }
            Message::NotStarted(why) => {
                state.end.get_or_insert(End::NotStarted(why));
            }
            Message::Damaged(how) => {
                state.damage.get_or_insert(how);
            }
            Message::Notice(text) => {
                if let Some(output) = &mut self.notices {
                    // Nobody may listen; the report has it all the same.
                    let _ = writeln!(output, "crema: {text}");
                }
                state.notices.push(text);
            }
            Message::FileStart { name, .. } => {
                state.file = Some(self.folder.guest_file(&name).map(|(path, file)| {
                    state.files.push(path);
                    file
                }));
            }
            Message::FileBytes(bytes) => {
                if let Some(Some(file)) = &mut state.file
                    && file.write_all(&bytes).is_err()
                {
                    state.file = Some(None);
                }
            }
            Message::FileEnd => state.file = None,
            Message::Unknown(line) => {
                let log = File::options().append(true).open(self.folder.kernel_log());
                let _ = log.and_then(|mut log| {
                    writeln!(log, "crema: not understood on the control channel: {line}")
                });
            }
        }
    }

    fn report(self, complaint: &str, elapsed: Duration) -> Report {
        let State { end, marks, memory, damage, notices, files, .. } = self.state;
        let end = end.unwrap_or_else(|| End::Unexplained(complaint.to_string()));
        Report { end, marks, memory, damage, notices, files, folder: self.folder, elapsed }
    }
}

/// Decodes the control channel until it closes.
fn receive(mut control: UnixStream, events: &Sender<Event>) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = control.read(&mut buffer) {
        decoder.push(&buffer[..length], |message| {
            let _ = events.send(Event::Message(message));
        });
    }
    let _ = events.send(Event::Closed);
}

/// The kernel's log goes to its file, and perhaps to the user too.
struct Tee {
    file: File,
    second: Option<Output>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.second.as_mut().is_some_and(|second| second.write_all(bytes).is_err()) {
            self.second = None;
        }
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.second.as_mut().map_or(Ok(()), |second| second.flush())
    }
}

#[cfg(test)]
mod tests;
