use std::{thread, time::Duration};

use proptest::prelude::*;
use vfs::SliceSrc;

use super::*;

fn read(end: &PipeEnd, len: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; len];
    let done = end.read_at(0, &mut &mut buffer[..], Blocking::No)?;
    buffer.truncate(done);
    Ok(buffer)
}

fn write(end: &PipeEnd, bytes: &[u8]) -> Result<usize, Errno> {
    end.write_at(0, &mut SliceSrc::new(bytes), Blocking::No)
}

fn readable() -> PollEvents {
    PollEvents::IN | PollEvents::RDNORM
}

fn writable() -> PollEvents {
    PollEvents::OUT | PollEvents::WRNORM
}

#[test]
fn what_goes_in_comes_out_and_readiness_follows() {
    let (r, w) = pipe(Mode::Stream);
    assert_eq!(read(&r, 1), Err(Errno::EAGAIN));
    assert_eq!((r.poll(), w.poll()), (PollEvents::empty(), writable()));
    assert_eq!(write(&w, b"hello"), Ok(5));
    assert_eq!((r.poll(), r.readable_bytes()), (readable(), Ok(5)));
    assert_eq!(read(&r, 2).unwrap(), b"he");
    assert_eq!(read(&r, 9).unwrap(), b"llo");
    assert_eq!(write(&r, b"x"), Err(Errno::EBADF));
    assert_eq!(read(&w, 1), Err(Errno::EBADF));
}

#[test]
fn sixty_four_kibibytes_fit_and_small_writes_share_pages() {
    let (r, w) = pipe(Mode::Stream);
    assert_eq!(write(&w, &[1; 70_000]), Ok(65_536));
    assert_eq!(w.poll(), PollEvents::empty());
    assert_eq!(write(&w, b"x"), Err(Errno::EAGAIN));
    read(&r, 4095).unwrap();
    assert_eq!(w.poll(), PollEvents::empty(), "no whole page is free");
    read(&r, 1).unwrap();
    assert_eq!(w.poll(), writable());
    let (_r, w) = pipe(Mode::Stream);
    let ones = (0..).take_while(|_| write(&w, b"x").is_ok()).count();
    assert_eq!(ones, 65_536);
    // As on Linux: two writes of 3000 bytes do not share a page.
    let (_r, w) = pipe(Mode::Stream);
    let threes = (0..).take_while(|_| write(&w, &[0; 3000]) == Ok(3000)).count();
    assert_eq!(threes, 16);
}

#[test]
fn closed_ends() {
    let (r, w) = pipe(Mode::Stream);
    write(&w, b"last").unwrap();
    drop(w);
    assert_eq!(r.poll(), readable() | PollEvents::HUP);
    assert_eq!(read(&r, 10).unwrap(), b"last");
    assert_eq!(r.poll(), PollEvents::HUP);
    assert_eq!(read(&r, 10).unwrap(), b"");
    let (r, w) = pipe(Mode::Stream);
    drop(r);
    assert_eq!(w.poll(), writable() | PollEvents::ERR);
    assert_eq!(write(&w, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&w, b""), Ok(0));
}

#[test]
fn packets_keep_their_borders() {
    let (r, w) = pipe(Mode::Packets);
    write(&w, b"one").unwrap();
    write(&w, b"two").unwrap();
    write(&w, &[7; 5000]).unwrap();
    assert_eq!(read(&r, 100).unwrap(), b"one");
    assert_eq!(read(&r, 1).unwrap(), b"t");
    assert_eq!(read(&r, 9000).unwrap().len(), 4096, "a long write makes several packets");
    assert_eq!(read(&r, 9000).unwrap().len(), 904);
}

#[test]
fn the_capacity_is_rounded_and_limited() {
    let (r, w) = pipe(Mode::Stream);
    assert_eq!(r.capacity(), 65_536);
    assert_eq!(w.set_capacity(1), Ok(4096));
    assert_eq!(w.set_capacity(5000), Ok(8192));
    assert_eq!(w.set_capacity(MAX_CAPACITY), Ok(MAX_CAPACITY));
    assert_eq!(w.set_capacity(MAX_CAPACITY + 1), Err(Errno::EPERM));
    assert_eq!(w.set_capacity((1 << 31) + 1), Err(Errno::EINVAL));
    assert_eq!(write(&w, &[0; 9000]), Ok(9000));
    assert_eq!(r.set_capacity(8192), Err(Errno::EBUSY));
    assert_eq!(r.set_capacity(12_000), Ok(16_384));
}

#[test]
fn a_short_write_that_fits_is_never_torn() {
    const ROUNDS: usize = 300;
    let (r, w) = pipe(Mode::Stream);
    let writers: Vec<_> = (0..4_u8)
        .map(|tag| {
            let w = w.clone();
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    let len = 1000 + (round * 7) % 3000;
                    let mut record = vec![tag; len];
                    record[..2].copy_from_slice(&(len as u16).to_le_bytes());
                    assert_eq!(w.write_at(0, &mut SliceSrc::new(&record), Blocking::Yes), Ok(len));
                }
            })
        })
        .collect();
    drop(w);
    let mut all = Vec::new();
    let mut buffer = [0; 5000];
    loop {
        match r.read_at(0, &mut &mut buffer[..], Blocking::Yes).unwrap() {
            0 => break,
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut records = 0;
    let mut rest = &all[..];
    while !rest.is_empty() {
        let len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        assert!(rest[2..len].iter().all(|byte| *byte == rest[2]), "a torn record");
        rest = &rest[len..];
        records += 1;
    }
    assert_eq!(records, 4 * ROUNDS);
}

#[test]
fn many_readers_and_writers_lose_nothing() {
    let (r, w) = pipe(Mode::Stream);
    w.set_capacity(4096).unwrap();
    let sum: u64 = thread::scope(|scope| {
        for _ in 0..3 {
            let w = w.clone();
            scope.spawn(move || {
                for round in 0..400_usize {
                    let bytes = vec![1; 1 + (round * 131) % 9000];
                    assert_eq!(w.write_at(0, &mut SliceSrc::new(&bytes), Blocking::Yes), Ok(bytes.len()));
                }
            });
        }
        drop(w);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let r = r.clone();
                scope.spawn(move || {
                    let mut total = 0;
                    let mut buffer = [0; 777];
                    loop {
                        match r.read_at(0, &mut &mut buffer[..], Blocking::Yes).unwrap() {
                            0 => break total,
                            n => total += n as u64,
                        }
                    }
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert_eq!(sum, 3 * (0..400_u64).map(|round| 1 + (round * 131) % 9000).sum::<u64>());
}

#[test]
fn closing_the_last_writer_wakes_every_reader() {
    let (r, w) = pipe(Mode::Stream);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let r = r.clone();
            thread::spawn(move || r.read_at(0, &mut &mut [0; 4][..], Blocking::Yes))
        })
        .collect();
    thread::sleep(Duration::from_millis(5));
    drop(w);
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), Ok(0)));
}

#[test]
fn fifo_ends_wait_for_each_other() {
    let fifo = Pipe::new();
    assert_eq!(fifo.open(Access::Write, Blocking::No).err(), Some(Errno::ENXIO));
    let r = fifo.open(Access::Read, Blocking::No).unwrap();
    assert_eq!(r.poll(), PollEvents::empty(), "not hung up before a writer has been there");
    assert_eq!(read(&r, 1).unwrap(), b"", "but at the end of the file");
    let w = fifo.open(Access::Write, Blocking::No).unwrap();
    assert_eq!(read(&r, 1), Err(Errno::EAGAIN));
    drop(w);
    assert_eq!(r.poll(), PollEvents::HUP);
    drop(r);
    let opener = thread::spawn({
        let fifo = fifo.clone();
        move || fifo.open(Access::Read, Blocking::Yes).map(|r| read(&r, 10))
    });
    let w = fifo.open(Access::Write, Blocking::Yes).unwrap();
    let _ = write(&w, b"x");
    drop(w);
    assert!(opener.join().unwrap().is_ok());
    let both = fifo.open(Access::ReadWrite, Blocking::Yes).unwrap();
    write(&both, b"loop").unwrap();
    assert_eq!(read(&both, 9).unwrap(), b"loop");
    write(&both, b"lost").unwrap();
    drop(both);
    assert_eq!(read(&fifo.open(Access::ReadWrite, Blocking::Yes).unwrap(), 9), Err(Errno::EAGAIN));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The bytes are those of a queue, atomic writes are whole or refused, and FIONREAD counts them.
    #[test]
    fn behaves_like_a_queue(operations in proptest::collection::vec((any::<bool>(), 0..9000_usize), 1..120)) {
        let (r, w) = pipe(Mode::Stream);
        let mut model = VecDeque::new();
        let mut next = 0_u8;
        for (is_write, len) in operations {
            if is_write {
                let bytes: Vec<u8> = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
                match write(&w, &bytes) {
                    Ok(done) => {
                        prop_assert!(done == len || (len > PIPE_BUF && done < len));
                        model.extend(&bytes[..done]);
                        next = next.wrapping_add(done as u8);
                    }
                    Err(error) => prop_assert_eq!(error, Errno::EAGAIN),
                }
            } else {
                match read(&r, len) {
                    Ok(bytes) => {
                        prop_assert_eq!(bytes.len(), len.min(model.len()));
                        prop_assert!(bytes.into_iter().eq(model.drain(..len.min(model.len()))));
                    }
                    Err(error) => prop_assert!(error == Errno::EAGAIN && model.is_empty()),
                }
            }
            prop_assert_eq!(r.readable_bytes(), Ok(model.len()));
            prop_assert_eq!(r.poll().contains(PollEvents::IN), !model.is_empty());
            prop_assert!(model.len() <= r.capacity());
        }
    }
}
