use std::{thread, time::Duration};

use linux_abi::Errno;
use vfs::{Blocking, SliceSrc};

use super::*;
use crate::{
    eventfd::{EventFd, Take},
    pipe::{Mode, pipe},
};

fn entry(file: &Arc<dyn File>, events: PollEvents) -> PollEntry {
    PollEntry { file: Some(file.clone()), events: events | PollEvents::ALWAYS, revents: PollEvents::empty() }
}

fn counters(n: usize) -> Vec<(Arc<EventFd>, Arc<dyn File>)> {
    (0..n)
        .map(|_| {
            let counter = Arc::new(EventFd::new(0, Take::All));
            (counter.clone(), counter as Arc<dyn File>)
        })
        .collect()
}

fn after_ms(ms: u64) -> Option<u64> {
    Some(platform::now_ns() + ms * 1_000_000)
}

#[test]
fn reports_all_that_is_ready_and_nothing_unasked() {
    let files = counters(3);
    files[1].0.signal(1);
    let mut entries: Vec<_> = files.iter().map(|(_, file)| entry(file, PollEvents::IN)).collect();
    assert_eq!(wait(&mut entries, None), Ok(1));
    assert_eq!(entries[1].revents, PollEvents::IN);
    entries.iter_mut().for_each(|entry| entry.events = PollEvents::IN | PollEvents::OUT);
    assert_eq!(wait(&mut entries, Some(0)), Ok(3));
    assert_eq!(entries[0].revents, PollEvents::OUT);
    let (r, w) = pipe(Mode::Stream);
    drop(r);
    let w: Arc<dyn File> = w;
    assert_eq!(wait(&mut [entry(&w, PollEvents::empty())], None), Ok(1), "an error is reported unasked");
}

#[test]
fn times_out_and_leaves_no_registration() {
    let files = counters(1);
    let references = Arc::strong_count(&files[0].1);
    assert_eq!(wait(&mut [entry(&files[0].1, PollEvents::IN)], after_ms(2)), Ok(0));
    assert_eq!(wait(&mut [], after_ms(1)), Ok(0));
    assert_eq!(Arc::strong_count(&files[0].1), references);
}

#[test]
fn a_report_between_asking_and_parking_is_not_lost() {
    let (ping, pong) = (counters(8), counters(8));
    let bounce = |inbound: &[(Arc<EventFd>, Arc<dyn File>)], outbound: &[(Arc<EventFd>, Arc<dyn File>)]| {
        for round in 0..2_000_usize {
            let mut entries: Vec<_> = inbound.iter().map(|(_, file)| entry(file, PollEvents::IN)).collect();
            assert_eq!(wait(&mut entries, None), Ok(1));
            let at = entries.iter().position(|entry| !entry.revents.is_empty()).unwrap();
            inbound[at].1.read_at(0, &mut &mut [0; 8][..], Blocking::No).unwrap();
            outbound[round % 8].0.signal(1);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| bounce(&ping, &pong));
        ping[3].0.signal(1);
        bounce(&pong, &ping);
    });
}

#[test]
fn several_threads_wait_for_one_file() {
    let files = counters(1);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let file = files[0].1.clone();
            thread::spawn(move || wait(&mut [entry(&file, PollEvents::IN)], None))
        })
        .collect();
    thread::sleep(Duration::from_millis(5));
    files[0].0.signal(1);
    waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Ok(1)));
}

#[test]
fn select_answers_in_its_sets() {
    let (r, w) = pipe(Mode::Stream);
    let files: [Arc<dyn File>; 2] = [r, w.clone()];
    let lookup = |fd: usize| files.get(fd).cloned().ok_or(Errno::EBADF);
    let all = || SelectSets { read: vec![0b11], write: vec![0b11], except: vec![0b11] };
    let mut sets = all();
    assert_eq!(sets.wait(2, None, lookup), Ok(1));
    assert_eq!(sets, SelectSets { read: vec![0], write: vec![0b10], except: vec![0] });
    w.write_at(0, &mut SliceSrc::new(b"x"), Blocking::No).unwrap();
    let mut sets = all();
    assert_eq!(sets.wait(2, None, lookup), Ok(2));
    assert_eq!(sets, SelectSets { read: vec![0b01], write: vec![0b10], except: vec![0] });
    assert_eq!(SelectSets { read: vec![0b101], ..all() }.wait(3, None, lookup), Err(Errno::EBADF));
    assert_eq!(SelectSets { read: vec![0b101], ..all() }.wait(2, None, lookup), Ok(2));
    let mut none = SelectSets { except: vec![0b11], ..SelectSets::default() };
    assert_eq!(none.wait(2, after_ms(1), lookup), Ok(0));
    assert_eq!(none.except, [0]);
}

#[test]
fn select_does_not_count_a_hang_up_for_writing() {
    let (r, w) = pipe(Mode::Stream);
    drop(w);
    let r: Arc<dyn File> = r;
    let lookup = |_| Ok::<_, Errno>(r.clone());
    let mut sets = SelectSets { write: vec![1], ..SelectSets::default() };
    assert_eq!(sets.wait(1, after_ms(1), lookup), Ok(0));
    let mut sets = SelectSets { read: vec![1], ..SelectSets::default() };
    assert_eq!(sets.wait(1, None, lookup), Ok(1));
}
