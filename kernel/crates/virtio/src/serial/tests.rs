//! Against a fake device that speaks the host's side of the protocol, as QEMU does.

use std::{sync::Arc, thread, time::Duration};

use linux_abi::Errno;
use vfs::{Blocking, File, PollEvents, SliceSrc};

use super::*;
use crate::{
    DeviceKind,
    fake::{Chain, FakeTransport, PLATFORM, State},
};

const PORTS: u32 = 4;

struct Host {
    device: Arc<SerialDevice>,
    state: Arc<std::sync::Mutex<State>>,
}

fn message(port: u32, event: u16, value: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes.extend(payload);
    bytes
}

impl Host {
    fn new() -> Self {
        let host = Self::polled();
        host.device.use_interrupts();
        host
    }

    /// A device that does not interrupt.
    fn polled() -> Self {
        let configuration = [0u32.to_le_bytes(), PORTS.to_le_bytes()].concat();
        let queues = 2 * (PORTS as u16 + 1);
        let transport = FakeTransport::new(DeviceKind::Console, feature::MULTIPORT, queues, configuration);
        let state = transport.state.clone();
        let device = Arc::new(SerialDevice::new(Box::new(transport), &PLATFORM, NO_VECTOR).unwrap());
        let host = Self { device, state };
        assert_eq!(host.sent(CONTROL_TRANSMIT_QUEUE), [message(0, 0, 1, &[])]);
        host
    }

    /// A device whose port 1 is called `name` and is open on both sides.
    fn with_port(name: &str) -> (Self, Arc<Port>) {
        Self::new().announce(name)
    }

    fn announce(self, name: &str) -> (Self, Arc<Port>) {
        let host = self;
        host.control(&message(1, 1, 0, &[]));
        host.control(&message(1, 7, 1, format!("{name}\0").as_bytes()));
        host.control(&message(1, 6, 1, &[]));
        let port = host.device.port(name, 0).unwrap();
        assert_eq!(host.sent(CONTROL_TRANSMIT_QUEUE), [message(1, 3, 1, &[]), message(1, 6, 1, &[])]);
        (host, port)
    }

    fn next(&self, queue: u16) -> Option<Chain> {
        self.state.lock().unwrap().queues.get_mut(&queue).unwrap().1.next()
    }

    fn finish(&self, queue: u16, head: u16, written: u32) {
        self.state.lock().unwrap().queues.get_mut(&queue).unwrap().1.finish(head.into(), written);
        self.device.handle_interrupt();
    }

    /// Takes all that the guest has sent on a queue.
    fn sent(&self, queue: u16) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chain) = self.next(queue) {
            all.push(chain.read());
            self.finish(queue, chain.head, 0);
        }
        all
    }

    /// Puts bytes into a receive buffer; `false` if the guest offers none.
    fn give(&self, queue: u16, bytes: &[u8]) -> bool {
        let Some(chain) = self.next(queue) else { return false };
        let written = chain.write(bytes);
        self.finish(queue, chain.head, written);
        true
    }

    fn control(&self, bytes: &[u8]) {
        assert!(self.give(CONTROL_RECEIVE_QUEUE, bytes));
    }
}

fn write(port: &Port, bytes: &[u8], blocking: Blocking) -> Result<usize, Errno> {
    port.write_at(0, &mut SliceSrc::new(bytes), blocking)
}

fn read(port: &Port, len: usize, blocking: Blocking) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    let n = port.read_at(0, &mut bytes.as_mut_slice(), blocking)?;
    bytes.truncate(n);
    Ok(bytes)
}

const RECEIVE: u16 = receive_queue(1);
const TRANSMIT: u16 = RECEIVE + 1;

#[test]
fn ports_are_found_by_name() {
    let (host, port) = Host::with_port("crema.stdio");
    assert_eq!(host.device.port_names(), ["crema.stdio"]);
    assert_eq!(port.name().as_deref(), Some("crema.stdio"));
    assert!(host.device.port("crema.stderr", 0).is_none());
    // One that is announced while somebody waits.
    let waiter = thread::spawn({
        let device = host.device.clone();
        move || device.port("late", u64::MAX).unwrap().id()
    });
    thread::sleep(Duration::from_millis(10));
    host.control(&message(3, 1, 0, &[]));
    host.control(&message(3, 7, 1, b"late"));
    assert_eq!(waiter.join().unwrap(), 3);
}

#[test]
fn bytes_arrive_and_unread_buffers_hold_the_host_back() {
    let (host, port) = Host::with_port("p");
    assert_eq!(read(&port, 10, Blocking::No), Err(Errno::EAGAIN));
    assert_eq!(read(&port, 0, Blocking::No), Ok(vec![]));
    assert!(!port.poll().contains(PollEvents::IN));
    let mut given = Vec::new();
    let mut buffers = 0;
    while host.give(RECEIVE, &vec![buffers; 1000 + usize::from(buffers)]) {
        given.extend(vec![buffers; 1000 + usize::from(buffers)]);
        buffers += 1;
    }
    assert_eq!(buffers, 8);
    assert!(port.poll().contains(PollEvents::IN));
    assert_eq!(port.bytes_available(), given.len());
    let mut got = read(&port, 1500, Blocking::Yes).unwrap();
    assert_eq!(got.len(), 1500);
    assert!(host.give(RECEIVE, b"more"));
    assert!(!host.give(RECEIVE, b"too much"));
    got.extend(read(&port, 100_000, Blocking::Yes).unwrap());
    assert_eq!(got, [given, b"more".to_vec()].concat());
    assert_eq!(port.bytes_read(), got.len() as u64);
}

#[test]
fn a_reader_sleeps_until_bytes_come() {
    let (host, port) = Host::with_port("p");
    let reader = thread::spawn({
        let port = port.clone();
        move || read(&port, 100, Blocking::Yes)
    });
    thread::sleep(Duration::from_millis(10));
    host.give(RECEIVE, b"hello");
    assert_eq!(reader.join().unwrap(), Ok(b"hello".to_vec()));
}

#[test]
fn a_full_queue_holds_writers_back() {
    let (host, port) = Host::with_port("p");
    let data: Vec<u8> = (0..200_000u32).map(|i| (i * 31) as u8).collect();
    let taken = write(&port, &data, Blocking::No).unwrap();
    assert_eq!(taken, 16 * 4096);
    assert_eq!(write(&port, &data, Blocking::No), Err(Errno::EAGAIN));
    assert!(!port.poll().contains(PollEvents::OUT));
    let writer = thread::spawn({
        let (port, data) = (port.clone(), data.clone());
        move || write(&port, &data[taken..], Blocking::Yes)
    });
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(host.sent(TRANSMIT).concat());
        thread::yield_now();
    }
    assert_eq!(writer.join().unwrap(), Ok(data.len() - taken));
    assert_eq!(got, data);
    assert!(port.poll().contains(PollEvents::OUT));
    assert!(port.drain(0));
}

#[test]
fn drain_waits_for_the_host() {
    let (host, port) = Host::with_port("p");
    write(&port, b"last words", Blocking::Yes).unwrap();
    assert!(!port.drain(0));
    let drainer = thread::spawn({
        let port = port.clone();
        move || port.drain(u64::MAX)
    });
    thread::sleep(Duration::from_millis(10));
    assert_eq!(host.sent(TRANSMIT), [b"last words"]);
    assert!(drainer.join().unwrap());
}

#[test]
fn a_closed_host_is_end_of_file_and_broken_pipe() {
    let (host, port) = Host::with_port("p");
    host.give(RECEIVE, b"rest");
    host.control(&message(1, 6, 0, &[]));
    assert!(port.poll().contains(PollEvents::HUP | PollEvents::IN));
    assert_eq!(read(&port, 10, Blocking::Yes), Ok(b"rest".to_vec()));
    assert_eq!(read(&port, 10, Blocking::Yes), Ok(vec![]));
    assert_eq!(write(&port, b"x", Blocking::Yes), Err(Errno::EPIPE));
    // And it may come back.
    host.control(&message(1, 6, 1, &[]));
    assert_eq!(write(&port, b"x", Blocking::Yes), Ok(1));
}

#[test]
fn a_dying_kernel_writes_without_interrupts() {
    let (host, port) = Host::with_port("p");
    let data = vec![7; 100_000];
    let writer = thread::spawn({
        let (port, data) = (port.clone(), data.clone());
        // SAFETY: nothing else uses the port's locks in this test.
        move || unsafe { port.write_all_dying(&data) }
    });
    let mut got = Vec::new();
    while got.len() < data.len() {
        let Some(chain) = host.next(TRANSMIT) else { continue };
        got.extend(chain.read());
        host.state.lock().unwrap().queues.get_mut(&TRANSMIT).unwrap().1.finish(chain.head.into(), 0);
    }
    writer.join().unwrap();
    assert_eq!(got, data);
}

#[test]
fn nonsense_on_the_control_queue_is_passed_over() {
    let (host, _) = Host::with_port("p");
    host.control(&[]);
    host.control(&[1, 2, 3]);
    host.control(&message(1, 99, 0, &[]));
    host.control(&message(77, 1, 0, &[]));
    host.control(&message(u32::MAX, 6, 1, &[]));
    host.control(&message(2, 7, 1, &[0xff, 0xfe]));
    host.control(&message(2, 5, 0, &[1]));
    host.control(&message(1, 1, 0, &[])); // again
    host.control(&message(1, 7, 0, b"renamed"));
    assert_eq!(host.device.port_names(), ["p"]);
    host.control(&message(1, 5, 0, &[80, 0, 25, 0]));
    assert_eq!(host.device.port("p", 0).unwrap().size(), Some((80, 25)));
}

#[test]
fn a_device_that_breaks_the_rules_is_reset_and_its_ports_end() {
    for queue in [CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE, RECEIVE, TRANSMIT] {
        let (host, port) = Host::with_port("p");
        let resets = host.state.lock().unwrap().resets;
        let reader = thread::spawn({
            let port = port.clone();
            move || read(&port, 100, Blocking::Yes)
        });
        host.finish(queue, 999, 1);
        assert_eq!(host.state.lock().unwrap().resets, resets + 1, "queue {queue}");
        assert_eq!(reader.join().unwrap(), Ok(vec![]));
        assert_eq!(write(&port, b"x", Blocking::Yes), Err(Errno::EPIPE));
        assert!(host.device.port("other", u64::MAX).is_none());
    }
}

#[test]
fn a_device_that_cannot_interrupt_is_looked_at_again_and_again() {
    let (host, port) = Host::polled().announce("p");
    host.device.use_timer();
    let reader = thread::spawn({
        let port = port.clone();
        move || read(&port, 100, Blocking::Yes)
    });
    thread::sleep(Duration::from_millis(10));
    let chain = host.next(RECEIVE).unwrap();
    let written = chain.write(b"hello");
    host.state.lock().unwrap().queues.get_mut(&RECEIVE).unwrap().1.finish(chain.head.into(), written);
    assert_eq!(reader.join().unwrap(), Ok(b"hello".to_vec()));
    write(&port, b"x", Blocking::Yes).unwrap();
    assert!(!port.drain(platform::now_ns() + 5_000_000));
}
