//! TCP sockets over the whole stack, with real threads.

#![expect(clippy::vec_box, reason = "links take packets so")]

#[path = "stream/machine.rs"]
mod machine;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use inet::TcpSocket;
use ipc::socket::{Socket, SocketFile};
use linux_abi::{
    Errno,
    socket::{Linger, MessageFlags, SOL_SOCKET, ShutdownHow, option::SO_LINGER},
};
use netchannels::Processing;
use packet::Offloads;
use proptest::prelude::*;
use vfs::{Blocking, PollEvents};
use zerocopy::IntoBytes;

use machine::*;

const BOTH: [Processing; 2] = [Processing::InReader, Processing::InWorker];

#[test]
fn bytes_arrive_in_order_both_ways() {
    for processing in BOTH {
        let host = Host::new(processing);
        let (client, server) = host.pair();
        send_all(&*client, b"hello");
        assert_eq!(receive(&*server, 99).unwrap(), b"hello");
        send_all(&*server, b"welcome");
        assert_eq!(receive(&*client, 4).unwrap(), b"welc");
        assert_eq!(client.readable_bytes(), Ok(3));
        assert_eq!(receive(&*client, 99).unwrap(), b"ome");
        let sent = bytes(5_000_000, 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                send_all(&*client, &sent);
                client.shutdown(ShutdownHow::Write).unwrap();
            });
            assert!(receive_all(&*server).unwrap() == sent);
            send_all(&*server, b"end");
            server.close();
        });
        assert_eq!(receive_all(&*client).unwrap(), b"end");
        client.close();
        drop((client, server));
        host.assert_clean();
    }
}

#[test]
fn nobody_listens() {
    let host = Host::new(Processing::InReader);
    assert_eq!(host.connect(Ipv4Addr::LOCALHOST, 9).err(), Some(Errno::ECONNREFUSED));
    let socket = host.socket();
    let to = address(Ipv4Addr::LOCALHOST, 9);
    assert_eq!(socket.connect(&to, Blocking::No), Err(Errno::EINPROGRESS));
    eventually(|| socket.poll().contains(PollEvents::ERR));
    assert_eq!(socket.connect(&to, Blocking::No), Err(Errno::ECONNREFUSED));
    socket.close();
    drop(socket);
    host.assert_clean();
}

#[test]
fn a_peer_that_ends_or_resets() {
    for processing in BOTH {
        let host = Host::new(processing);
        let (client, server) = host.pair();
        server.close();
        assert_eq!(receive(&*client, 1).unwrap(), b"");
        client.close();
        drop((client, server));
        let (client, server) = host.pair();
        let now = Linger { on: 1, seconds: 0 };
        server.set_option(SOL_SOCKET, SO_LINGER, now.as_bytes()).unwrap();
        server.close();
        assert_eq!(receive(&*client, 1), Err(Errno::ECONNRESET));
        assert_eq!(send(&*client, b"x", Blocking::Yes), Err(Errno::EPIPE));
        client.close();
        drop((client, server));
        host.assert_clean();
    }
}

#[test]
fn blocked_threads_learn_of_the_end() {
    for processing in BOTH {
        let host = Host::new(processing);
        let (client, server) = host.pair();
        thread::scope(|scope| {
            let reader = scope.spawn(|| receive(&*client, 1));
            let writer = scope.spawn(|| send(&*client, &bytes(20_000_000, 1), Blocking::Yes));
            thread::sleep(Duration::from_millis(5));
            // It has not read what came: a reset.
            eventually(|| server.readable_bytes().unwrap() > 0);
            server.close();
            let ends = [reader.join().unwrap().map(|_| ()), writer.join().unwrap().map(|_| ())];
            // One of them takes the error; what was sent counts first.
            assert!(ends.contains(&Err(Errno::ECONNRESET)) || ends[1] == Ok(()), "{ends:?}");
        });
        client.close();
        let (listener, _) = host.listener(1);
        thread::scope(|scope| {
            let acceptor = scope.spawn(|| listener.accept(Blocking::Yes).err());
            thread::sleep(Duration::from_millis(5));
            listener.shutdown(ShutdownHow::Read).unwrap();
            assert_eq!(acceptor.join().unwrap(), Some(Errno::EINVAL));
        });
        listener.close();
        drop((client, server, listener));
        host.assert_clean();
    }
}

fn echo(socket: &TcpSocket) {
    loop {
        let some = receive(socket, 8192).unwrap();
        if some.is_empty() {
            return;
        }
        send_all(socket, &some);
    }
}

#[test]
fn many_threads_connect_talk_and_go() {
    const ROUNDS: usize = 40;
    for processing in BOTH {
        let host = Host::new(processing);
        let (listener, port) = host.listener(16);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Ok(socket) = listener.accept(Blocking::Yes) {
                        let file = SocketFile::new(socket);
                        echo(&tcp_of(file.socket().clone()));
                    }
                });
            }
            let clients: Vec<_> = (0..6)
                .map(|client| {
                    let host = &host;
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let socket = host.connect(Ipv4Addr::LOCALHOST, port).unwrap();
                            let message = bytes(1 + (round * 7919) % 50_000, client);
                            send_all(&*socket, &message);
                            let answer =
                                receive_with(&*socket, message.len(), MessageFlags::WAITALL, Blocking::Yes);
                            assert!(answer.unwrap() == message);
                            socket.close();
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            listener.shutdown(ShutdownHow::Read).unwrap();
        });
        listener.close();
        drop(listener);
        host.assert_clean();
    }
}

#[test]
fn a_full_queue_lets_others_wait() {
    let host = Host::new(Processing::InReader);
    let (listener, port) = host.listener(2);
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..12).map(|_| scope.spawn(|| host.connect(Ipv4Addr::LOCALHOST, port).unwrap())).collect();
        thread::sleep(Duration::from_millis(20));
        let accepted: Vec<_> = (0..12).map(|_| accept(&listener)).collect();
        for (client, server) in clients.into_iter().map(|client| client.join().unwrap()).zip(accepted) {
            client.close();
            server.close();
        }
    });
    listener.close();
    drop(listener);
    host.assert_clean();
}

#[test]
fn ten_thousand_connections_at_once() {
    const COUNT: usize = 10_000;
    let host = Host::new(Processing::InReader);
    let (listener, port) = host.listener(1000);
    let (clients, servers) = thread::scope(|scope| {
        let servers = scope.spawn(|| (0..COUNT).map(|_| accept(&listener)).collect::<Vec<_>>());
        let clients: Vec<_> = (0..COUNT).map(|_| host.connect(Ipv4Addr::LOCALHOST, port).unwrap()).collect();
        (clients, servers.join().unwrap())
    });
    for (n, client) in clients.iter().enumerate() {
        send_all(&**client, &(n as u32).to_ne_bytes());
    }
    for (n, server) in servers.iter().enumerate() {
        let number = receive_with(&**server, 4, MessageFlags::WAITALL, Blocking::Yes).unwrap();
        assert_eq!(number, (n as u32).to_ne_bytes());
    }
    assert!(host.net.tcp_memory.used_bytes() < COUNT * 16_384, "an idle connection keeps little");
    for socket in clients.iter().chain(&servers) {
        socket.close();
    }
    listener.close();
    drop((clients, servers, listener));
    host.assert_clean();
}

#[test]
fn a_listener_that_closes_resets_who_waits() {
    let host = Host::new(Processing::InReader);
    let (listener, port) = host.listener(4);
    let clients: Vec<_> = (0..3).map(|_| host.connect(Ipv4Addr::LOCALHOST, port).unwrap()).collect();
    eventually(|| listener.poll().contains(PollEvents::IN));
    listener.close();
    for client in &clients {
        assert_eq!(receive(&**client, 1), Err(Errno::ECONNRESET));
        client.close();
    }
    drop((clients, listener));
    host.assert_clean();
}

fn transfer_between(joined: &Joined, len: usize) {
    let (listener, port) = joined.hosts[1].listener(4);
    let sent = bytes(len, 3);
    let back = bytes(len / 2, 4);
    thread::scope(|scope| {
        scope.spawn(|| {
            let server = accept(&listener);
            thread::scope(|scope| {
                scope.spawn(|| {
                    send_all(&*server, &back);
                    server.shutdown(ShutdownHow::Write).unwrap();
                });
                assert!(receive_all(&*server).unwrap() == sent);
            });
            server.close();
        });
        let client = joined.hosts[0].connect(SECOND, port).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                send_all(&*client, &sent);
                client.shutdown(ShutdownHow::Write).unwrap();
            });
            assert!(receive_all(&*client).unwrap() == back);
        });
        client.close();
    });
    listener.close();
    drop(listener);
    joined.hosts.iter().for_each(Host::assert_clean);
}

#[test]
fn two_machines_exchange_bytes() {
    for processing in BOTH {
        for offloads in [Offloads::empty(), Offloads::all()] {
            transfer_between(&Joined::new(processing, offloads, Faults::default()), 2_000_000);
        }
    }
}

#[test]
fn a_bad_wire_loses_nothing_in_the_end() {
    for processing in BOTH {
        let faults = Faults { lost: 20, held_back: 20, doubled: 20 };
        transfer_between(&Joined::new(processing, Offloads::CHECKSUM, faults), 300_000);
    }
}

#[test]
fn a_signal_of_room_comes_to_whoever_polls() {
    for processing in BOTH {
        let host = Host::new(processing);
        let (client, server) = host.pair();
        let block = bytes(60_000, 5);
        let mut sent = 0;
        while let Ok(bytes) = send(&*client, &block, Blocking::No) {
            sent += bytes;
        }
        assert!(!client.poll().contains(PollEvents::OUT));
        let waits = AtomicUsize::new(0);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                client.pollee().wait(None, || {
                    waits.fetch_add(1, SeqCst);
                    client.poll().contains(PollEvents::OUT).then_some(())
                })
            });
            let mut received = 0;
            while received < sent {
                received += receive(&*server, 50_000).unwrap().len();
            }
            waiter.join().unwrap().unwrap();
        });
        client.close();
        server.close();
        drop((client, server));
        host.assert_clean();
    }
}

#[test]
fn a_link_that_is_down_for_a_while_is_waited_for() {
    let joined = Joined::new(Processing::InReader, Offloads::CHECKSUM, Faults::default());
    let (listener, port) = joined.hosts[1].listener(4);
    let client = joined.hosts[0].connect(SECOND, port).unwrap();
    let server = accept(&listener);
    joined.wires.iter().for_each(|wire| wire.set_stopped(true));
    send_all(&*client, b"late");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(receive_with(&*server, 9, MessageFlags::empty(), Blocking::No), Err(Errno::EAGAIN));
    joined.wires.iter().for_each(|wire| wire.set_stopped(false));
    assert_eq!(receive(&*server, 9).unwrap(), b"late");
    client.close();
    server.close();
    listener.close();
    drop((client, server, listener));
    joined.hosts.iter().for_each(Host::assert_clean);
}

#[test]
fn a_port_in_time_wait_is_used_again_when_there_is_no_other() {
    let host = Host::new(Processing::InReader);
    host.net.settings.set_local_ports(inet::PortRange { first: 40_000, last: 40_003 });
    let (listener, port) = host.listener(8);
    for round in 0..12_u8 {
        let client = host.connect(Ipv4Addr::LOCALHOST, port);
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                // All are too young: their clock of timestamps has to move on.
                assert_eq!(error, Errno::EADDRNOTAVAIL);
                thread::sleep(Duration::from_millis(1100));
                host.connect(Ipv4Addr::LOCALHOST, port).unwrap()
            }
        };
        let server = accept(&listener);
        send_all(&*client, &[round]);
        client.close();
        assert_eq!(receive_all(&*server).unwrap(), [round]);
        server.close();
        eventually(|| host.net.tcp_counters.orphans() == 0);
    }
    assert!(host.net.flows.len() <= 4);
    listener.close();
    drop(listener);
    host.assert_clean();
}

#[test]
fn a_flood_of_handshakes_leaves_nothing_and_stops_nobody() {
    const FLOOD: usize = 3000;
    let joined = Joined::new(Processing::InReader, Offloads::CHECKSUM, Faults::default());
    let [attacker, victim] = &joined.hosts;
    let (listener, port) = victim.listener(64);
    // The neighbours know each other.
    attacker.connect(SECOND, port).unwrap().close();
    accept(&listener).close();
    // Answers are lost: the handshakes never end.
    joined.wires[1].set_stopped(true);
    let before = victim.net.tcp_counters.in_segments.load(SeqCst);
    let start = |port| {
        let socket = attacker.socket();
        assert_eq!(socket.connect(&address(SECOND, port), Blocking::No), Err(Errno::EINPROGRESS));
        socket
    };
    let flood: Vec<_> = (0..FLOOD).map(|_| start(port)).collect();
    // The slow path drops what it has no room for.
    eventually(|| victim.net.tcp_counters.in_segments.load(SeqCst) > before + 100);
    assert!(victim.net.flows.len() <= 2, "nothing is kept of a handshake but its place in the cache");
    assert!(!listener.poll().contains(PollEvents::IN));
    joined.wires[1].set_stopped(false);
    let client = attacker.connect(SECOND, port).unwrap();
    client.close();
    for socket in &flood {
        socket.close();
    }
    drop((flood, client));
    // Strangers are told so, but not as often as they like.
    let started_ns = ksync::platform::now_ns();
    let strangers: Vec<_> = (0..FLOOD).map(|_| start(9)).collect();
    thread::sleep(Duration::from_millis(50));
    let seconds = (ksync::platform::now_ns() - started_ns) / 1_000_000_000 + 1;
    assert!(victim.net.tcp_counters.resets_sent.load(SeqCst) < 4000 + 2000 * seconds);
    for socket in &strangers {
        socket.close();
    }
    drop(strangers);
    listener.close();
    drop(listener);
    joined.hosts.iter().for_each(Host::assert_clean);
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Receive(usize),
    Peek(usize),
    Poll,
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..70_000_usize).prop_map(Step::Send),
        (1..90_000_usize).prop_map(Step::Receive),
        (1..5000_usize).prop_map(Step::Peek),
        Just(Step::Poll),
        Just(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order of calls and whoever runs the protocol, a connection is two queues of bytes.
    #[test]
    fn a_connection_is_a_queue_of_bytes(steps in proptest::collection::vec(step(), 1..60), in_reader: bool) {
        let host = Host::new(if in_reader { Processing::InReader } else { Processing::InWorker });
        let (client, server) = host.pair();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Send(len) => {
                    let more = bytes(len, n as u32);
                    match send(&*client, &more, Blocking::No) {
                        Ok(len) => sent.extend_from_slice(&more[..len]),
                        Err(error) => prop_assert_eq!(error, Errno::EAGAIN),
                    }
                }
                Step::Receive(len) => {
                    match receive_with(&*server, len, MessageFlags::empty(), Blocking::No) {
                        Ok(some) => received.extend(some),
                        Err(error) => prop_assert_eq!(error, Errno::EAGAIN),
                    }
                }
                Step::Peek(len) => {
                    if let Ok(some) = receive_with(&*server, len, MessageFlags::PEEK, Blocking::No) {
                        prop_assert!(sent[received.len()..].starts_with(&some));
                    }
                }
                Step::Poll => {
                    let readable = server.poll().contains(PollEvents::IN);
                    prop_assert!(!readable || server.readable_bytes() != Ok(0));
                    client.poll();
                }
                Step::Pause => thread::sleep(Duration::from_micros(300)),
            }
        }
        client.close();
        received.extend(receive_all(&*server).unwrap());
        prop_assert!(received == sent);
        server.close();
        drop((client, server));
        host.assert_clean();
    }
}

#[test]
fn a_socket_that_is_dropped_unused_leaves_nothing() {
    let host = Host::new(Processing::InReader);
    let (socket, _) = host.listener(1);
    let file = SocketFile::new(socket);
    let other = SocketFile::new(host.socket());
    drop((file, other));
    host.assert_clean();
    let (client, server): (Arc<TcpSocket>, Arc<TcpSocket>) = host.pair();
    drop((SocketFile::new(client), SocketFile::new(server)));
    host.assert_clean();
}
