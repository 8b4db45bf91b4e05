//! The thread between the socket and the disk.
//!
//! One client at a time. A second thread reads its requests, so that the first can wait for those and for time at once. Replies to
//! writes and flushes are now and then held back while later requests are answered, as a disk with a queue does; so a client that
//! takes the order of requests for the order of their ends is found out.
//!
//! Locks: `disk` (the model), then `state` (what is to happen). Neither is held while the socket is written.

use std::{
    io::{self, ErrorKind},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    FailingRequest, RequestKind,
    model::{Disk, Number},
    nbd::{self, Command, Durability, Negotiated, Request, RequestError},
};

/// How often the thread looks whether the disk has ended, when there is nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A reply that is held back waits for further requests, but no longer than this.
const HOLD_LIMIT: Duration = Duration::from_millis(1);
/// The share of replies that are held back, and for how many requests at most.
const HELD_SHARE: f64 = 0.25;
const HELD_REQUESTS: u64 = 4;

/// What the server's thread and its owner share.
pub struct Shared {
    disk: Mutex<Disk>,
    state: Mutex<State>,
    cut: Condvar,
    failing: Vec<FailingRequest>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// So many changes more, and the power is gone. It is gone at 0.
    changes_left: Option<u64>,
}

impl Shared {
    pub fn new(disk: Disk, failing: Vec<FailingRequest>) -> Self {
        Self { disk: Mutex::new(disk), state: Mutex::default(), cut: Condvar::new(), failing }
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stop(&self) {
        self.state().stopped = true;
    }

    pub fn cut_after(&self, changes: u64) {
        let mut state = self.state();
        // The power does not come back.
        if state.changes_left != Some(0) {
            state.changes_left = Some(changes);
        }
        self.cut.notify_all();
    }

    pub fn wait_for_cut(&self, patience: Duration) -> bool {
        let waiting =
            self.cut.wait_timeout_while(self.state(), patience, |state| state.changes_left != Some(0));
        waiting.unwrap_or_else(PoisonError::into_inner).0.changes_left == Some(0)
    }

    fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    fn has_power(&self) -> bool {
        self.state().changes_left != Some(0)
    }

    /// Counts a change. Whether there is power still.
    fn count_change(&self) -> bool {
        let mut state = self.state();
        if let Some(left) = &mut state.changes_left {
            *left = left.saturating_sub(1);
            self.cut.notify_all();
        }
        state.changes_left != Some(0)
    }
}

/// Serves one client after the other until the disk is stopped.
pub fn serve(listener: &UnixListener, shared: &Shared) -> io::Result<()> {
    while !shared.is_stopped() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                match attend(stream, shared) {
                    // A client that is killed in the middle of a request is what all this is for.
                    Err(error) if is_client_gone(&error) => {}
                    other => other?,
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK_INTERVAL),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_client_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::TimedOut
    )
}

/// Serves one client until it goes or the disk is stopped.
fn attend(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    if nbd::negotiate(&mut stream, shared.disk().size_bytes())? == Negotiated::Aborted {
        return Ok(());
    }
    let (sender, requests) = mpsc::channel();
    let mut from = stream.try_clone()?;
    let reader = thread::spawn(move || {
        loop {
            let request = nbd::read_request(&mut from)?;
            if request.command == Command::Disconnect || sender.send(request).is_err() {
                return Ok(());
            }
        }
    });
    let attended = Attendance { shared, stream: &mut stream, held: Vec::new(), requests: 0 }.go_on(&requests);
    // The reader may be waiting for a request.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drop(requests);
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    attended?;
    match read {
        Err(error) if !is_client_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// What ends with a reply.
enum Ends {
    Write(Vec<Number>),
    Flush(Number),
}

/// A reply that is held back.
struct Held {
    cookie: u64,
    ends: Ends,
    /// The request with this number lets it go, or the time.
    until_request: u64,
    until: Instant,
}

struct Attendance<'a> {
    shared: &'a Shared,
    stream: &'a mut UnixStream,
    held: Vec<Held>,
    /// How many there have been.
    requests: u64,
}

impl Attendance<'_> {
    fn go_on(mut self, requests: &Receiver<Request>) -> io::Result<()> {
        loop {
            let timeout = if self.held.is_empty() { LOOK_INTERVAL } else { HOLD_LIMIT };
            match requests.recv_timeout(timeout) {
                Ok(request) => self.take(request)?,
                Err(RecvTimeoutError::Timeout) if self.shared.is_stopped() => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.let_go()?;
        }
    }

    fn take(&mut self, request: Request) -> io::Result<()> {
        self.requests += 1;
        if !self.shared.has_power() {
            return Ok(());
        }
        let Request { cookie, command } = request;
        let mut disk = self.shared.disk();
        let (counts, failing) = (disk.counts(), &self.shared.failing);
        let fails = |kind, number| failing.contains(&FailingRequest { kind, number });
        let (begun, durability) = match command {
            Command::Read { offset, len } => {
                let mut bytes = vec![0; len as usize];
                let is_failing = fails(RequestKind::Read, counts.reads + 1);
                let read = disk.read(offset, &mut bytes);
                disk.counts_mut().failed += u64::from(is_failing);
                drop(disk);
                let result = match read {
                    Err(error) => Err(reply_error(&error)),
                    Ok(()) if is_failing => Err(RequestError::Io),
                    Ok(()) => Ok(bytes.as_slice()),
                };
                return nbd::write_reply(self.stream, cookie, result);
            }
            Command::Write { .. } if fails(RequestKind::Write, counts.writes + 1) => {
                disk.counts_mut().writes += 1;
                disk.counts_mut().failed += 1;
                drop(disk);
                return nbd::write_reply(self.stream, cookie, Err(RequestError::Io));
            }
            Command::Write { offset, bytes, durability } => {
                (disk.begin_write(offset, bytes).map(|number| vec![number]), durability)
            }
            Command::WriteZeroes { offset, len, durability } => {
                (disk.begin_zeros(offset, len.into()), durability)
            }
            Command::Discard { offset, len, durability } => {
                (disk.begin_discard(offset, len.into()), durability)
            }
            Command::Flush => {
                let number = disk.begin_flush();
                if fails(RequestKind::Flush, disk.counts().flushes) {
                    disk.fail_flush(number);
                    disk.counts_mut().failed += 1;
                    drop(disk);
                    return nbd::write_reply(self.stream, cookie, Err(RequestError::Io));
                }
                return self.end_or_hold(disk, cookie, Ends::Flush(number));
            }
            Command::Disconnect | Command::Unknown => {
                drop(disk);
                return nbd::write_reply(self.stream, cookie, Err(RequestError::Invalid));
            }
        };
        match begun {
            Ok(numbers) => {
                // Forced ones are durable when they have ended; that they may be so before is no promise kept less.
                if durability == Durability::Forced {
                    numbers.iter().for_each(|number| disk.force(*number));
                }
                self.end_or_hold(disk, cookie, Ends::Write(numbers))
            }
            Err(error) => {
                drop(disk);
                nbd::write_reply(self.stream, cookie, Err(reply_error(&error)))
            }
        }
    }

    /// A change has begun: it ends now or later, or the power goes.
    fn end_or_hold(&mut self, mut disk: MutexGuard<'_, Disk>, cookie: u64, ends: Ends) -> io::Result<()> {
        if !self.shared.count_change() {
            self.held.clear();
            return Ok(());
        }
        if disk.chance().happens(HELD_SHARE) {
            let until_request = self.requests + 1 + disk.chance().below(HELD_REQUESTS);
            self.held.push(Held { cookie, ends, until_request, until: Instant::now() + HOLD_LIMIT });
            return Ok(());
        }
        self.end(disk, cookie, ends)
    }

    fn end(&mut self, mut disk: MutexGuard<'_, Disk>, cookie: u64, ends: Ends) -> io::Result<()> {
        match ends {
            Ends::Write(numbers) => numbers.into_iter().for_each(|number| disk.end_write(number)),
            Ends::Flush(number) => disk.end_flush(number),
        }
        drop(disk);
        nbd::write_reply(self.stream, cookie, Ok(&[]))
    }

    /// Ends what was held back long enough.
    fn let_go(&mut self) -> io::Result<()> {
        if !self.shared.has_power() {
            self.held.clear();
        }
        let now = Instant::now();
        let requests = self.requests;
        let is_due = |held: &Held| held.until_request <= requests || held.until <= now;
        while let Some(at) = self.held.iter().position(is_due) {
            let Held { cookie, ends, .. } = self.held.remove(at);
            self.end(self.shared.disk(), cookie, ends)?;
        }
        Ok(())
    }
}

fn reply_error(error: &io::Error) -> RequestError {
    if error.kind() == ErrorKind::InvalidInput { RequestError::Invalid } else { RequestError::Io }
}
