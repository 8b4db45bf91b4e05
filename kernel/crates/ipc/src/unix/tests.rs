//! Expectations are what Linux 6.18 answers to the same calls.

use std::{collections::BTreeMap, sync::Mutex as StdMutex, thread, time::Duration};

use linux_abi::{
    file::OpenFlags,
    socket::{SOL_SOCKET, option::*},
    time::Timeval,
};
use proptest::prelude::*;
use vfs::{AccessMode, InodeId, OpenFile, SliceSrc};
use zerocopy::IntoBytes;

use super::*;
use crate::{
    eventfd::{EventFd, Take},
    socket::SocketFile,
};

const STREAM: SocketType = SocketType::Stream;
const DGRAM: SocketType = SocketType::Datagram;
const SEQ: SocketType = SocketType::SeqPacket;
const ME: Ucred = Ucred { pid: 1, uid: 0, gid: 0 };

#[derive(Default)]
struct Nodes(StdMutex<BTreeMap<Vec<u8>, u64>>);

impl SocketNodes for Nodes {
    fn create(&self, path: &[u8]) -> Result<InodeId, Errno> {
        let mut nodes = self.0.lock().unwrap();
        if nodes.contains_key(path) {
            return Err(Errno::EADDRINUSE);
        }
        let number = nodes.len() as u64;
        nodes.insert(path.to_vec(), number);
        Ok(InodeId { device: 1, number })
    }

    fn lookup(&self, path: &[u8]) -> Result<InodeId, Errno> {
        let nodes = self.0.lock().unwrap();
        nodes.get(path).map(|number| InodeId { device: 1, number: *number }).ok_or(Errno::ENOENT)
    }
}

fn domain() -> Arc<Domain> {
    Domain::new(Box::new(Nodes::default()))
}

fn pair(kind: SocketType) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    UnixSocket::pair(&domain(), kind, ME)
}

fn at(path: &str) -> Vec<u8> {
    [&1_u16.to_ne_bytes(), path.as_bytes()].concat()
}

fn send(socket: &UnixSocket, bytes: &[u8]) -> Result<usize, Errno> {
    socket.send(&mut SliceSrc::new(bytes), SendOptions::default(), Blocking::No)
}

fn send_to(socket: &UnixSocket, path: &str, bytes: &[u8]) -> Result<usize, Errno> {
    let address = at(path);
    let options = SendOptions { address: Some(&address), ..SendOptions::default() };
    socket.send(&mut SliceSrc::new(bytes), options, Blocking::No)
}

fn receive_with(
    socket: &UnixSocket,
    len: usize,
    flags: MessageFlags,
    blocking: Blocking,
) -> Result<(Vec<u8>, Received), Errno> {
    let mut buffer = vec![0; len];
    let received = socket.receive(&mut &mut buffer[..], flags, blocking)?;
    buffer.truncate(received.len);
    Ok((buffer, received))
}

fn receive(socket: &UnixSocket, len: usize) -> Result<Vec<u8>, Errno> {
    receive_with(socket, len, MessageFlags::empty(), Blocking::No).map(|(bytes, _)| bytes)
}

fn poll(socket: &UnixSocket) -> u32 {
    socket.poll().bits()
}

fn error(socket: &UnixSocket) -> i32 {
    number(socket, SO_ERROR)
}

fn number(socket: &UnixSocket, option: i32) -> i32 {
    i32::from_ne_bytes(socket.option(SOL_SOCKET, option).unwrap().try_into().unwrap())
}

#[test]
fn a_fresh_socket_can_do_little() {
    let domain = domain();
    let new = |kind| UnixSocket::new(&domain, kind, ME);
    let (stream, dgram, seq) = (new(STREAM), new(DGRAM), new(SEQ));
    assert_eq!([poll(&stream), poll(&dgram), poll(&seq)], [0x314, 0x304, 0x314]);
    assert_eq!(receive(&stream, 1), Err(Errno::EINVAL));
    assert_eq!(receive(&dgram, 1), Err(Errno::EAGAIN));
    assert_eq!(receive(&seq, 1), Err(Errno::ENOTCONN));
    for socket in [&stream, &dgram, &seq] {
        assert_eq!(send(socket, b"x"), Err(Errno::ENOTCONN));
        assert_eq!(socket.peer_address(), Err(Errno::ENOTCONN));
        assert_eq!(socket.local_address(), Ok(vec![1, 0]));
        assert_eq!(socket.connect(&at("/missing"), Blocking::No), Err(Errno::ENOENT));
        assert_eq!(socket.connect(&at("\0missing"), Blocking::No), Err(Errno::ECONNREFUSED));
        assert_eq!(socket.connect(&[1, 0], Blocking::No), Err(Errno::EINVAL));
    }
    assert_eq!(stream.listen(1), Err(Errno::EINVAL));
    assert_eq!(dgram.listen(1), Err(Errno::EOPNOTSUPP));
    assert_eq!(stream.accept(Blocking::No).err(), Some(Errno::EINVAL));
    assert_eq!(dgram.accept(Blocking::No).err(), Some(Errno::EOPNOTSUPP));
    stream.shutdown(ShutdownHow::Both).unwrap();
    dgram.shutdown(ShutdownHow::Both).unwrap();
    assert_eq!([poll(&stream), poll(&dgram)], [0x2355, 0x2355]);
}

#[test]
fn as_much_fits_as_on_linux() {
    for kind in [STREAM, DGRAM, SEQ] {
        let (a, b) = pair(kind);
        assert_eq!(poll(&a), 0x304);
        assert_eq!((0..).take_while(|_| send(&a, b"x").is_ok()).count(), 278);
        assert_eq!((poll(&a), a.unsent_bytes()), (0, Ok(213_504)));
        assert_eq!(b.readable_bytes(), Ok(if kind == DGRAM { 1 } else { 278 }));
        let (a, _b) = pair(kind);
        let expected = if kind == STREAM { Ok(219_264) } else { Err(Errno::EMSGSIZE) };
        assert_eq!(send(&a, &vec![0; 1_000_000]), expected);
        let expected = if kind == STREAM { Err(Errno::EAGAIN) } else { Ok(212_960) };
        assert_eq!(send(&a, &vec![0; 212_960]), expected);
    }
}

#[test]
fn the_end_of_a_peer() {
    for kind in [STREAM, SEQ] {
        let (a, b) = pair(kind);
        send(&b, b"hello").unwrap();
        b.close();
        assert_eq!((poll(&a), send(&a, b"x")), (0x2355, Err(Errno::EPIPE)));
        assert_eq!((receive(&a, 9), receive(&a, 9)), (Ok(b"hello".to_vec()), Ok(vec![])));
        let (a, b) = pair(kind);
        send(&a, b"unread").unwrap();
        b.close();
        assert_eq!(poll(&a), 0x235d);
        assert_eq!((receive(&a, 9), receive(&a, 9)), (Err(Errno::ECONNRESET), Ok(vec![])));
        let (a, b) = pair(kind);
        send(&a, b"unread").unwrap();
        b.close();
        assert_eq!([error(&a), error(&a)], [104, 0]);
    }
    let (a, b) = pair(DGRAM);
    send(&b, b"hello").unwrap();
    b.close();
    assert_eq!((poll(&a), send(&a, b"x")), (0x345, Err(Errno::ECONNREFUSED)));
    assert_eq!((send(&a, b"x"), receive(&a, 9), poll(&a)), (Err(Errno::ENOTCONN), Err(Errno::EAGAIN), 0x304));
}

#[test]
fn shutting_one_direction_down() {
    for kind in [STREAM, SEQ, DGRAM] {
        let is_connection = kind != DGRAM;
        let end = |is_end| if is_end { Ok(vec![]) } else { Err(Errno::EAGAIN) };
        let (a, b) = pair(kind);
        a.shutdown(ShutdownHow::Write).unwrap();
        assert_eq!([poll(&a), poll(&b)], [0x304, if is_connection { 0x2345 } else { 0x304 }]);
        assert_eq!((send(&a, b"x"), receive(&b, 1)), (Err(Errno::EPIPE), end(is_connection)));
        assert_eq!((send(&b, b"x"), receive(&a, 1)), (Ok(1), Ok(b"x".to_vec())));
        let (a, b) = pair(kind);
        a.shutdown(ShutdownHow::Read).unwrap();
        assert_eq!([poll(&a), poll(&b)], [0x2345, 0x304]);
        assert_eq!((receive(&a, 1), send(&b, b"x")), (end(is_connection), Err(Errno::EPIPE)));
        assert_eq!(send(&a, b"x"), Ok(1));
        let (a, b) = pair(kind);
        a.shutdown(ShutdownHow::Both).unwrap();
        assert_eq!([poll(&a), poll(&b)], [0x2355, if is_connection { 0x2355 } else { 0x304 }]);
    }
}

#[test]
fn messages_keep_their_borders() {
    for kind in [DGRAM, SEQ] {
        let (a, b) = pair(kind);
        for message in [&b"one"[..], b"", b"three"] {
            send(&a, message).unwrap();
        }
        let (bytes, received) = receive_with(&b, 2, MessageFlags::PEEK, Blocking::No).unwrap();
        assert_eq!((&bytes[..], received.flags), (&b"on"[..], MessageFlags::TRUNC));
        assert_eq!(receive(&b, 9).unwrap(), b"one");
        assert_eq!(receive(&b, 9).unwrap(), b"");
        let (_, received) = receive_with(&b, 2, MessageFlags::TRUNC, Blocking::No).unwrap();
        assert_eq!((received.len, received.flags), (5, MessageFlags::TRUNC));
        assert_eq!(receive(&b, 9), Err(Errno::EAGAIN));
        if kind == SEQ {
            assert_eq!(send_to(&a, "\0ignored", b"x"), Ok(1));
        }
    }
}

#[test]
fn streams_join_peek_and_wait_for_all() {
    let (a, b) = pair(STREAM);
    assert_eq!((send(&a, b""), receive(&b, 9)), (Ok(0), Err(Errno::EAGAIN)));
    send(&a, b"abc").unwrap();
    send(&a, b"def").unwrap();
    let peeked = receive_with(&b, 5, MessageFlags::PEEK, Blocking::No).unwrap().0;
    assert_eq!((&peeked[..], b.readable_bytes()), (&b"abcde"[..], Ok(6)));
    assert_eq!(receive(&b, 4).unwrap(), b"abcd");
    assert_eq!(receive(&b, 4).unwrap(), b"ef");
    assert_eq!(send_to(&a, "\0x", b"x"), Err(Errno::EISCONN));
    let reader = thread::spawn(move || receive_with(&b, 6, MessageFlags::WAITALL, Blocking::Yes).unwrap().0);
    send(&a, b"12").unwrap();
    thread::sleep(Duration::from_millis(2));
    send(&a, b"3456").unwrap();
    assert_eq!(reader.join().unwrap(), b"123456");
}

#[test]
fn listening_connecting_and_accepting() {
    for path in ["/run/a", "\0abstract"] {
        for kind in [STREAM, SEQ] {
            let domain = domain();
            let listener = UnixSocket::new(&domain, kind, ME);
            listener.bind(&at(path)).unwrap();
            assert_eq!(listener.bind(&at("\0other")), Err(Errno::EINVAL));
            let taken = UnixSocket::new(&domain, kind, ME);
            assert_eq!(taken.bind(&at(path)), Err(Errno::EADDRINUSE));
            assert_eq!(taken.connect(&at(path), Blocking::No), Err(Errno::ECONNREFUSED));
            listener.listen(1).unwrap();
            assert_eq!((poll(&listener), number(&listener, SO_ACCEPTCONN)), (0, 1));
            let other = UnixSocket::new(&domain, if kind == SEQ { STREAM } else { SEQ }, ME);
            assert_eq!(other.connect(&at(path), Blocking::No), Err(Errno::EPROTOTYPE));
            let clients: Vec<_> = (0..3).map(|_| UnixSocket::new(&domain, kind, ME)).collect();
            let results: Vec<_> =
                clients.iter().map(|client| client.connect(&at(path), Blocking::No)).collect();
            assert_eq!(results, [Ok(()), Ok(()), Err(Errno::EAGAIN)]);
            assert_eq!(clients[0].connect(&at(path), Blocking::No), Err(Errno::EISCONN));
            assert_eq!(poll(&listener), 0x41);
            send(&clients[0], b"early").unwrap();
            let server = listener.take_connection(Blocking::No).unwrap();
            assert_eq!(receive(&server, 9).unwrap(), b"early");
            let mut name = at(path);
            if path.starts_with('/') {
                name.push(0);
            }
            assert_eq!((server.local_address(), clients[0].peer_address()), (Ok(name.clone()), Ok(name)));
            assert_eq!(server.peer_address(), Ok(vec![1, 0]));
            for socket in [&server, &clients[0]] {
                assert_eq!(socket.option(SOL_SOCKET, SO_PEERCRED).unwrap(), ME.as_bytes());
            }
            assert_eq!(clients[2].option(SOL_SOCKET, SO_PEERCRED).unwrap(), Ucred::NOBODY.as_bytes());
            clients[2].connect(&at(path), Blocking::No).unwrap();
            listener.close();
            assert_eq!(receive(&clients[2], 1), Err(Errno::ECONNRESET));
            let result = taken.connect(&at(path), Blocking::No);
            assert_eq!(result, Err(Errno::ECONNREFUSED), "also at a path, whose inode stays");
            server.close();
            assert_eq!(receive(&clients[0], 1), Ok(vec![]));
        }
    }
}

#[test]
fn any_name_is_five_digits() {
    let domain = domain();
    let sockets: Vec<_> = (0..3).map(|_| UnixSocket::new(&domain, STREAM, ME)).collect();
    for (n, socket) in sockets.iter().enumerate() {
        socket.bind(&[1, 0]).unwrap();
        assert_eq!(socket.local_address().unwrap(), at(&format!("\0{n:05x}")));
        assert_eq!(socket.bind(&[1, 0]), Ok(()));
    }
    sockets[1].close();
    let next = UnixSocket::new(&domain, STREAM, ME);
    next.bind(&[1, 0]).unwrap();
    assert_eq!(next.local_address().unwrap(), at("\x0000001"));
}

#[test]
fn datagrams_between_names() {
    let domain = domain();
    let new = |path: &str| {
        let socket = UnixSocket::new(&domain, DGRAM, ME);
        socket.bind(&at(path)).unwrap();
        socket
    };
    let (server, client, stranger) = (new("\0server"), new("\0client"), new("\0stranger"));
    assert_eq!(send_to(&client, "\0server", b"hi"), Ok(2));
    let (bytes, received) = receive_with(&server, 9, MessageFlags::empty(), Blocking::No).unwrap();
    assert_eq!((&bytes[..], received.address), (&b"hi"[..], Some(at("\0client"))));
    assert_eq!(send_to(&client, "\0nobody", b"hi"), Err(Errno::ECONNREFUSED));
    server.connect(&at("\0client"), Blocking::No).unwrap();
    assert_eq!(send_to(&stranger, "\0server", b"hi"), Err(Errno::EPERM));
    assert_eq!(stranger.connect(&at("\0server"), Blocking::No), Err(Errno::EPERM));
    server.connect(&[0, 0], Blocking::No).unwrap();
    assert_eq!(send(&server, b"x"), Err(Errno::ENOTCONN));
    // Linux lets eleven in.
    stranger.connect(&at("\0server"), Blocking::No).unwrap();
    assert_eq!((0..).take_while(|_| send(&stranger, b"x").is_ok()).count(), 11);
    assert_eq!(poll(&stranger), 0);
    let sender = thread::spawn({
        let stranger = stranger.clone();
        move || stranger.send(&mut SliceSrc::new(b"12th"), SendOptions::default(), Blocking::Yes)
    });
    thread::sleep(Duration::from_millis(2));
    for _ in 0..11 {
        receive(&server, 1).unwrap();
    }
    assert_eq!(sender.join().unwrap(), Ok(4));
    assert_eq!(poll(&stranger), 0x304);
}

fn open_counter() -> (Arc<EventFd>, Arc<OpenFile>) {
    let counter = Arc::new(EventFd::new(0, Take::All));
    let open = OpenFile::anonymous(counter.clone(), AccessMode::ReadWrite, OpenFlags::empty());
    (counter, open)
}

fn rights(received: Received) -> Vec<Arc<OpenFile>> {
    received
        .control
        .into_iter()
        .flat_map(|control| match control {
            Control::Rights(files) => files,
            Control::Credentials(_) | Control::Other { .. } => vec![],
        })
        .collect()
}

#[test]
fn open_files_travel_with_their_bytes() {
    for kind in [STREAM, DGRAM, SEQ] {
        let (a, b) = pair(kind);
        let (counter, open) = open_counter();
        let options = SendOptions { control: vec![Control::Rights(vec![open])], ..SendOptions::default() };
        send(&a, b"1").unwrap();
        a.send(&mut SliceSrc::new(b"2"), options, Blocking::No).unwrap();
        send(&a, b"3").unwrap();
        if kind != STREAM {
            receive(&b, 1).unwrap();
        }
        // Of a stream the bytes before are received with it, those after are not.
        let (bytes, received) = receive_with(&b, 9, MessageFlags::PEEK, Blocking::No).unwrap();
        assert_eq!(bytes, if kind == STREAM { &b"12"[..] } else { b"2" });
        assert_eq!(rights(received).len(), 1);
        let (bytes, received) = receive_with(&b, 9, MessageFlags::empty(), Blocking::No).unwrap();
        assert_eq!(bytes, if kind == STREAM { &b"12"[..] } else { b"2" });
        let files = rights(received);
        assert!(Arc::ptr_eq(
            &counter,
            &(files[0].file().clone() as Arc<dyn Any + Send + Sync>).downcast().unwrap()
        ));
        drop(files);
        assert_eq!(Arc::strong_count(&counter), 1);
        assert_eq!(receive(&b, 9).unwrap(), b"3");
        // What nobody received ends with the queue.
        let (counter, open) = open_counter();
        let options = SendOptions { control: vec![Control::Rights(vec![open])], ..SendOptions::default() };
        a.send(&mut SliceSrc::new(b"4"), options, Blocking::No).unwrap();
        b.close();
        assert_eq!(Arc::strong_count(&counter), 1);
    }
}

#[test]
fn credentials_are_checked_and_passed_on_request() {
    let (a, b) = pair(DGRAM);
    let claim = |pid| SendOptions {
        control: vec![Control::Credentials(Ucred { pid, uid: 5, gid: 6 })],
        ..SendOptions::default()
    };
    assert_eq!(a.send(&mut SliceSrc::new(b"x"), claim(2), Blocking::No), Err(Errno::ESRCH));
    a.send(&mut SliceSrc::new(b"x"), claim(1), Blocking::No).unwrap();
    b.set_option(SOL_SOCKET, SO_PASSCRED, &1_i32.to_ne_bytes()).unwrap();
    let (_, received) = receive_with(&b, 9, MessageFlags::empty(), Blocking::No).unwrap();
    assert!(matches!(received.control[..], [Control::Credentials(Ucred { pid: 1, uid: 5, gid: 6 })]));
}

#[test]
fn options_have_linuxs_values() {
    let (a, _b) = pair(STREAM);
    let set = |name, value: i32| a.set_option(SOL_SOCKET, name, &value.to_ne_bytes());
    assert_eq!([SO_TYPE, SO_DOMAIN, SO_SNDBUF, SO_RCVLOWAT].map(|name| number(&a, name)), [1, 1, 212_992, 1]);
    set(SO_SNDBUF, 65_536).unwrap();
    set(SO_RCVBUF, 1).unwrap();
    set(SO_KEEPALIVE, 7).unwrap();
    assert_eq!([SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE].map(|name| number(&a, name)), [131_072, 2304, 1]);
    assert_eq!(set(SO_TYPE, 1), Err(Errno::ENOPROTOOPT));
    assert_eq!(a.set_option(SOL_SOCKET, SO_SNDBUF, &[1, 2]), Err(Errno::EINVAL));
    assert_eq!(a.option(SOL_SOCKET, SO_PEERSEC), Err(Errno::ENOPROTOOPT));
    assert_eq!(a.option(6, 1), Err(Errno::EOPNOTSUPP));
    let soon = Timeval { sec: 0, usec: 2_000 };
    a.set_option(SOL_SOCKET, SO_RCVTIMEO, soon.as_bytes()).unwrap();
    assert_eq!(a.option(SOL_SOCKET, SO_RCVTIMEO).unwrap(), soon.as_bytes());
    let started_ns = platform::now_ns();
    let result = receive_with(&a, 1, MessageFlags::empty(), Blocking::Yes);
    assert_eq!(result.err(), Some(Errno::EAGAIN));
    assert!(platform::now_ns() >= started_ns + 2_000_000);
}

#[test]
fn many_clients_and_servers_over_one_listener() {
    const CLIENTS: usize = 60;
    let domain = domain();
    let listener = UnixSocket::new(&domain, STREAM, ME);
    listener.bind(&at("\0busy")).unwrap();
    listener.listen(2).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..CLIENTS / 3 {
                    let socket = listener.accept(Blocking::Yes).unwrap();
                    let file = SocketFile::new(socket.clone());
                    let mut buffer = [0; 64];
                    loop {
                        let n = socket
                            .receive(&mut &mut buffer[..], MessageFlags::empty(), Blocking::Yes)
                            .unwrap()
                            .len;
                        if n == 0 {
                            break;
                        }
                        let echo = &mut SliceSrc::new(&buffer[..n]);
                        assert_eq!(socket.send(echo, SendOptions::default(), Blocking::Yes), Ok(n));
                    }
                    drop(file);
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..CLIENTS / 4 {
                    let socket = UnixSocket::new(&domain, STREAM, ME);
                    socket.connect(&at("\0busy"), Blocking::Yes).unwrap();
                    let message = [round as u8; 33];
                    let options = SendOptions::default();
                    socket.send(&mut SliceSrc::new(&message), options, Blocking::Yes).unwrap();
                    let echo = receive_with(&socket, 33, MessageFlags::WAITALL, Blocking::Yes).unwrap().0;
                    assert_eq!(echo, message);
                    socket.close();
                }
            });
        }
    });
    listener.close();
    assert_eq!(Arc::strong_count(&listener), 1);
}

#[test]
fn a_long_stream_through_a_small_buffer() {
    let (a, b) = pair(STREAM);
    a.set_option(SOL_SOCKET, SO_SNDBUF, &4096_i32.to_ne_bytes()).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let result = a.send(&mut SliceSrc::new(&bytes), SendOptions::default(), Blocking::Yes);
            a.shutdown(ShutdownHow::Write).unwrap();
            result
        });
        let mut all = Vec::new();
        loop {
            let some = receive_with(&b, 777, MessageFlags::empty(), Blocking::Yes).unwrap().0;
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        assert_eq!(sender.join().unwrap(), Ok(bytes.len()));
        assert!(all == bytes);
    });
    assert_eq!(a.unsent_bytes(), Ok(0));
    a.close();
    b.close();
    assert_eq!((Arc::strong_count(&a), Arc::strong_count(&b)), (1, 1));
}

#[test]
fn a_blocked_sender_learns_of_its_peers_end() {
    for kind in [STREAM, SEQ, DGRAM] {
        let (a, b) = pair(kind);
        while send(&a, &[0; 1000]).is_ok() {}
        let sender = thread::spawn({
            let a = a.clone();
            move || a.send(&mut SliceSrc::new(b"x"), SendOptions::default(), Blocking::Yes)
        });
        thread::sleep(Duration::from_millis(2));
        b.close();
        let expected = if kind == DGRAM { Errno::ECONNREFUSED } else { Errno::EPIPE };
        assert_eq!(sender.join().unwrap(), Err(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A stream is a queue of bytes, whatever pieces it came in.
    #[test]
    fn a_stream_is_a_queue(operations in proptest::collection::vec((0..3_u8, 0..60_000_usize), 1..60)) {
        let (a, b) = pair(STREAM);
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0_u8;
        for (operation, len) in operations {
            match operation {
                0 => {
                    let bytes: Vec<u8> = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
                    if let Ok(sent) = send(&a, &bytes) {
                        model.extend(&bytes[..sent]);
                        next = next.wrapping_add(sent as u8);
                    }
                }
                1 => {
                    let (bytes, _) = match receive_with(&b, len, MessageFlags::PEEK, Blocking::No) {
                        Ok(peeked) => peeked,
                        Err(error) => { prop_assert!(error == Errno::EAGAIN && model.is_empty()); continue }
                    };
                    prop_assert!(bytes.iter().eq(model.iter().take(len)));
                }
                _ => {
                    let bytes = match receive(&b, len) {
                        Ok(bytes) => bytes,
                        Err(error) => { prop_assert!(error == Errno::EAGAIN && model.is_empty()); continue }
                    };
                    prop_assert!(bytes.into_iter().eq(model.drain(..len.min(model.len()))));
                }
            }
            prop_assert_eq!(b.readable_bytes(), Ok(model.len()));
            prop_assert_eq!(model.is_empty(), a.unsent_bytes() == Ok(0));
        }
    }
}
