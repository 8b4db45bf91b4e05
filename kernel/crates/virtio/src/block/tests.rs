//! The driver against a fake device.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{operation::STATUS_OK, *};
use crate::{
    DeviceKind, RingFeatures,
    fake::{Chain, FakeTransport, PLATFORM, hide_from_devices},
};

const SECTORS: usize = 4096;
const CPUS: usize = 4;

/// Kind, first sector, number of sectors and flags of a request without data.
type RangeRequest = (u32, u64, u32, u32);

/// The fields of the configuration that tests set.
#[derive(Clone, Copy, Default)]
struct Fields {
    size_max: u32,
    seg_max: u32,
    blk_size: u32,
    physical_exponent: u8,
    writeback: u8,
    num_queues: u16,
    max_discard: u32,
    discard_alignment: u32,
    max_zeroes: u32,
    may_unmap: u8,
}

impl Fields {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = (SECTORS as u64).to_le_bytes().to_vec();
        bytes.extend(self.size_max.to_le_bytes());
        bytes.extend(self.seg_max.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.blk_size.to_le_bytes());
        bytes.extend([self.physical_exponent, 0, 0, 0, 0, 0, 0, 0, self.writeback, 0]);
        bytes.extend(self.num_queues.to_le_bytes());
        bytes.extend(
            [self.max_discard, 1, self.discard_alignment, self.max_zeroes, 1].map(u32::to_le_bytes).concat(),
        );
        bytes.push(self.may_unmap);
        bytes
    }
}

/// What the fake disk does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Status(u8),
    BadId,
    NoStatus,
}

struct FakeDisk {
    disk: Arc<Disk>,
    contents: Arc<Mutex<Vec<u8>>>,
    most_segments: Arc<Mutex<usize>>,
    flushes: Arc<Mutex<usize>>,
    /// Ranges that were discarded or made zeros.
    ranges: Arc<Mutex<Vec<RangeRequest>>>,
    /// Requests on each queue.
    on_queue: Arc<Mutex<Vec<usize>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for FakeDisk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let result = self.thread.take().unwrap().join();
        if !thread::panicking() {
            result.unwrap();
        }
    }
}

fn serve(chain: &Chain, contents: &mut [u8], flushes: &mut usize, ranges: &mut Vec<RangeRequest>) -> u32 {
    let sent = chain.read();
    let kind = u32::from_le_bytes(sent[..4].try_into().unwrap());
    let at = u64::from_le_bytes(sent[8..16].try_into().unwrap()) as usize * SECTOR_BYTES;
    let mut answer = match kind {
        TYPE_IN => contents[at..at + chain.room() - 1].to_vec(),
        TYPE_OUT => {
            contents[at..at + sent.len() - 16].copy_from_slice(&sent[16..]);
            Vec::new()
        }
        TYPE_FLUSH => {
            *flushes += 1;
            Vec::new()
        }
        TYPE_GET_ID => b"crema-root\0\0\0\0\0\0\0\0\0\0".to_vec(),
        TYPE_DISCARD | TYPE_WRITE_ZEROES => {
            let sector = u64::from_le_bytes(sent[16..24].try_into().unwrap());
            let sectors = u32::from_le_bytes(sent[24..28].try_into().unwrap());
            let flags = u32::from_le_bytes(sent[28..32].try_into().unwrap());
            assert_eq!(sent.len(), 32);
            ranges.push((kind, sector, sectors, flags));
            let value = if kind == TYPE_DISCARD { 0xdd } else { 0 };
            contents[sector as usize * SECTOR_BYTES..][..sectors as usize * SECTOR_BYTES].fill(value);
            Vec::new()
        }
        kind => panic!("request of type {kind}"),
    };
    answer.push(STATUS_OK);
    chain.write(&answer)
}

/// A disk whose requests a thread serves, several at a time and in reverse order.
fn fake(features: u64, size_max: u32, seg_max: u32, fault: Fault) -> FakeDisk {
    fake_with(features, Fields { size_max, seg_max, ..Fields::default() }, fault)
}

fn fake_with(features: u64, fields: Fields, fault: Fault) -> FakeDisk {
    let queues = fields.num_queues.max(1);
    let transport = FakeTransport::new(DeviceKind::Block, features, queues, fields.bytes());
    let state = transport.state.clone();
    let disk = Arc::new(Disk::new(Box::new(transport), &PLATFORM, Vectors::Messages(8), CPUS).unwrap());
    let contents: Vec<u8> = (0..SECTORS * SECTOR_BYTES).map(|i| (i / 7) as u8).collect();
    let contents = Arc::new(Mutex::new(contents));
    let stop = Arc::new(AtomicBool::new(false));
    let most_segments = Arc::new(Mutex::new(0));
    let flushes = Arc::new(Mutex::new(0));
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let on_queue = Arc::new(Mutex::new(vec![0; usize::from(queues)]));
    let thread = thread::spawn({
        let (disk, contents, stop, most, flushes) =
            (disk.clone(), contents.clone(), stop.clone(), most_segments.clone(), flushes.clone());
        let (ranges, on_queue) = (ranges.clone(), on_queue.clone());
        move || {
            while !stop.load(Ordering::SeqCst) {
                let mut finished = Vec::new();
                for (index, (_, queue)) in &mut state.lock().unwrap().queues {
                    let mut chains: VecDeque<Chain> = VecDeque::new();
                    while let Some(chain) = queue.next() {
                        chains.push_front(chain);
                    }
                    for chain in chains {
                        on_queue.lock().unwrap()[usize::from(*index)] += 1;
                        let segments = chain.readable.len() + chain.writable.len() - 2;
                        let mut most = most.lock().unwrap();
                        *most = segments.max(*most);
                        let head = u32::from(chain.head);
                        match fault {
                            Fault::None => {
                                let mut flushes = flushes.lock().unwrap();
                                let mut ranges = ranges.lock().unwrap();
                                let mut contents = contents.lock().unwrap();
                                queue.finish(head, serve(&chain, &mut contents, &mut flushes, &mut ranges));
                            }
                            Fault::Status(status) => {
                                chain.write(&[vec![0; chain.room() - 1], vec![status]].concat());
                                queue.finish(head, 1);
                            }
                            Fault::BadId => queue.finish(head + 9999, 1),
                            Fault::NoStatus => queue.finish(head, 0),
                        }
                        finished.push(*index);
                    }
                }
                finished.dedup();
                for queue in &finished {
                    disk.handle_vector(if disk.vectors_used() == 1 { 0 } else { queue + 1 });
                }
                if finished.is_empty() {
                    thread::yield_now();
                }
            }
        }
    });
    disk.set_completion_mode(CompletionMode::Interrupts);
    FakeDisk { disk, contents, most_segments, flushes, ranges, on_queue, stop, thread: Some(thread) }
}

#[test]
fn reads_and_writes_scattered_buffers() {
    for (size_max, seg_max) in [(0, 0), (1024, 3), (700, 1)] {
        let features = if size_max == 0 { 0 } else { feature::SIZE_MAX | feature::SEG_MAX };
        let fake = fake(features, size_max, seg_max, Fault::None);
        let mut small = vec![0; 512];
        let mut large = vec![0; 512 * 301];
        let mut last = vec![0; 4096];
        fake.disk.read_scattered(5, &mut [&mut small, &mut large, &mut last]).unwrap();
        let expected = fake.contents.lock().unwrap()[5 * 512..][..512 * 310].to_vec();
        assert_eq!([small, large.clone(), last].concat(), expected);

        large.iter_mut().for_each(|byte| *byte ^= 0x55);
        fake.disk.write_gathered(100, &[&large[..1024], &large[1024..]]).unwrap();
        assert_eq!(fake.contents.lock().unwrap()[51_200..][..large.len()], large);
        if seg_max != 0 {
            assert!(*fake.most_segments.lock().unwrap() <= seg_max as usize);
        }
    }
}

#[test]
fn copies_what_the_device_cannot_reach() {
    let fake = fake(0, 0, 0, Fault::None);
    let mut before = vec![0; 1024];
    let mut hidden = vec![0; 512 * 200];
    let mut after = vec![0; 1024];
    hide_from_devices(hidden.as_ptr());
    fake.disk.read_scattered(7, &mut [&mut before, &mut hidden, &mut after]).unwrap();
    let expected = fake.contents.lock().unwrap()[7 * 512..][..512 * 204].to_vec();
    assert_eq!([before, hidden.clone(), after].concat(), expected);
    hidden.reverse();
    fake.disk.write(1000, &hidden).unwrap();
    assert_eq!(fake.contents.lock().unwrap()[512_000..][..hidden.len()], hidden);
}

#[test]
fn many_threads_share_the_queue() {
    let fake = fake(0, 0, 0, Fault::None);
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let disk = &fake.disk;
            scope.spawn(move || {
                for round in 0..100 {
                    let pattern = vec![(thread * 31 + round) as u8; 512 * 8];
                    disk.write(thread * 64, &pattern).unwrap();
                    let mut back = vec![0; 512 * 8];
                    disk.read(thread * 64, &mut back).unwrap();
                    assert_eq!(back, pattern);
                }
            });
        }
    });
}

#[test]
fn flushes_only_what_can_be_flushed() {
    let without = fake(0, 0, 0, Fault::None);
    assert_eq!(without.disk.write_cache(), WriteCache::None);
    without.disk.flush().unwrap();
    assert_eq!(*without.flushes.lock().unwrap(), 0);
    let with = fake(feature::FLUSH, 0, 0, Fault::None);
    assert_eq!(with.disk.write_cache(), WriteCache::Volatile);
    with.disk.flush().unwrap();
    assert_eq!(*with.flushes.lock().unwrap(), 1);
    assert_eq!(with.disk.id().unwrap(), "crema-root");
}

#[test]
fn refuses_ranges_and_writes_that_cannot_be() {
    let fake = fake(feature::RO, 0, 0, Fault::None);
    let mut buffer = vec![0; 1024];
    let disk = &fake.disk;
    assert_eq!(disk.read(SECTORS as u64 - 1, &mut buffer), Err(Errno::EINVAL));
    assert_eq!(disk.read(u64::MAX, &mut buffer), Err(Errno::EINVAL));
    assert_eq!(disk.read(0, &mut buffer[..100]), Err(Errno::EINVAL));
    assert_eq!(disk.write(0, &buffer), Err(Errno::EROFS));
}

#[test]
fn device_errors_are_errors() {
    for (fault, errno) in [
        (Fault::Status(1), Errno::EIO),
        (Fault::Status(2), Errno::EOPNOTSUPP),
        (Fault::Status(77), Errno::EIO),
        (Fault::NoStatus, Errno::EIO),
        (Fault::BadId, Errno::EIO),
    ] {
        let fake = fake(feature::FLUSH, 0, 0, fault);
        assert_eq!(fake.disk.read(0, &mut vec![0; 512]), Err(errno));
        // And again, also if the device had to be given up.
        assert_eq!(fake.disk.flush(), Err(errno));
    }
}

#[test]
fn requests_take_one_descriptor_where_the_device_has_tables() {
    for ring in [RingFeatures::INDIRECT_DESCRIPTORS, RingFeatures::all()] {
        let fake = fake(ring.bits(), 0, 0, Fault::None);
        let mut buffers: Vec<Vec<u8>> = (0..300).map(|_| vec![0; 512]).collect();
        let mut slices: Vec<&mut [u8]> = buffers.iter_mut().map(|buffer| &mut buffer[..]).collect();
        fake.disk.read_scattered(3, &mut slices).unwrap();
        assert_eq!(buffers.concat(), fake.contents.lock().unwrap()[3 * 512..][..300 * 512]);
        assert!((2..=62).contains(&*fake.most_segments.lock().unwrap()));
    }
}

#[test]
fn neighbouring_buffers_are_one_segment() {
    let fake = fake(0, 0, 0, Fault::None);
    let bytes = vec![9; 512 * 100];
    let parts: Vec<&[u8]> = bytes.chunks(512).collect();
    fake.disk.write_gathered(0, &parts).unwrap();
    assert_eq!(*fake.most_segments.lock().unwrap(), 1);
    assert_eq!(fake.contents.lock().unwrap()[..bytes.len()], bytes);
}

#[test]
fn each_cpu_has_a_queue_of_its_own() {
    let fields = Fields { num_queues: 3, ..Fields::default() };
    let fake = fake_with(feature::MQ | RingFeatures::all().bits(), fields, Fault::None);
    assert_eq!((fake.disk.queue_count(), fake.disk.vectors_used()), (3, 4));
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let disk = &fake.disk;
            scope.spawn(move || {
                for round in 0..50 {
                    let pattern = vec![(thread * 31 + round) as u8; 512 * 8];
                    disk.write(thread * 64, &pattern).unwrap();
                    let mut back = vec![0; 512 * 8];
                    disk.read(thread * 64, &mut back).unwrap();
                    assert_eq!(back, pattern);
                }
            });
        }
    });
    assert_eq!(fake.on_queue.lock().unwrap().iter().sum::<usize>(), 8 * 50 * 2);
}

#[test]
fn few_messages_are_shared_by_all_queues() {
    for (vectors, own) in [(Vectors::None, 1), (Vectors::Messages(3), 1), (Vectors::Messages(4), 4)] {
        let fields = Fields { num_queues: 7, ..Fields::default() };
        let transport = FakeTransport::new(DeviceKind::Block, feature::MQ, 7, fields.bytes());
        let disk = Disk::new(Box::new(transport), &PLATFORM, vectors, 3).unwrap();
        assert_eq!((disk.queue_count(), disk.vectors_used()), (3, own));
    }
}

#[test]
fn ranges_are_discarded_and_zeroed_within_the_limits() {
    let fields =
        Fields { max_discard: 100, discard_alignment: 8, max_zeroes: 64, may_unmap: 1, ..Fields::default() };
    let fake = fake_with(feature::DISCARD | feature::WRITE_ZEROES, fields, Fault::None);
    fake.disk.discard(5, 200).unwrap();
    fake.disk.write_zeroes(1000, 100, Unmap::Allowed).unwrap();
    fake.disk.write_zeroes(1200, 1, Unmap::Forbidden).unwrap();
    let mut ranges = fake.ranges.lock().unwrap().clone();
    ranges.sort_unstable();
    let expected = [
        (TYPE_DISCARD, 5, 91, 0),
        (TYPE_DISCARD, 96, 96, 0),
        (TYPE_DISCARD, 192, 13, 0),
        (TYPE_WRITE_ZEROES, 1000, 64, RANGE_UNMAP),
        (TYPE_WRITE_ZEROES, 1064, 36, RANGE_UNMAP),
        (TYPE_WRITE_ZEROES, 1200, 1, 0),
    ];
    assert_eq!(ranges, expected);
    assert_eq!(fake.disk.discard(SECTORS as u64, 1), Err(Errno::EINVAL));
    assert_eq!(fake.disk.write_zeroes(u64::MAX, 2, Unmap::Allowed), Err(Errno::EINVAL));
    let without = fake_with(0, Fields::default(), Fault::None);
    assert_eq!(without.disk.discard(0, 8), Err(Errno::EOPNOTSUPP));
    assert_eq!(without.disk.write_zeroes(0, 8, Unmap::Allowed), Err(Errno::EOPNOTSUPP));
    without.disk.zero_out(3, 500).unwrap();
    assert!(without.contents.lock().unwrap()[3 * 512..503 * 512].iter().all(|byte| *byte == 0));
}

#[test]
fn large_blocks_are_kept_to() {
    let fields = Fields { blk_size: 4096, physical_exponent: 1, ..Fields::default() };
    let features = feature::BLK_SIZE | feature::TOPOLOGY | feature::DISCARD | feature::WRITE_ZEROES;
    let fake = fake_with(features, fields, Fault::None);
    let disk = &fake.disk;
    assert_eq!((disk.logical_block_bytes(), disk.physical_block_bytes()), (4096, 8192));
    assert_eq!(disk.read(1, &mut [0; 4096]), Err(Errno::EINVAL));
    assert_eq!(disk.write(8, &[0; 512]), Err(Errno::EINVAL));
    assert_eq!(disk.write_zeroes(8, 4, Unmap::Allowed), Err(Errno::EINVAL));
    disk.discard(9, 30).unwrap();
    assert_eq!(fake.ranges.lock().unwrap()[..], [(TYPE_DISCARD, 16, 16, 0)]);
    disk.discard(9, 6).unwrap();
    let small = block::with_small_sectors(disk.clone());
    small.write(3, &[0xab; 1024]).unwrap();
    let mut back = [0; 512];
    small.read(4, &mut back).unwrap();
    assert_eq!(back, [0xab; 512]);
    assert_eq!(fake.contents.lock().unwrap()[5 * 512], (5 * 512 / 7) as u8);
}

#[test]
fn a_device_says_whether_it_writes_back() {
    for (writeback, expected) in [(0, WriteCache::None), (1, WriteCache::Volatile)] {
        let fields = Fields { writeback, ..Fields::default() };
        let fake = fake_with(feature::FLUSH | feature::CONFIG_WCE, fields, Fault::None);
        assert_eq!(fake.disk.write_cache(), expected);
        fake.disk.flush().unwrap();
        assert_eq!(*fake.flushes.lock().unwrap(), usize::from(writeback));
    }
}

#[test]
fn senseless_configurations_are_refused() {
    for fields in [
        Fields { blk_size: 1000, ..Fields::default() },
        Fields { blk_size: 256, ..Fields::default() },
        Fields { blk_size: 4096, size_max: 2048, ..Fields::default() },
    ] {
        let features = feature::BLK_SIZE | feature::SIZE_MAX;
        let transport = FakeTransport::new(DeviceKind::Block, features, 1, fields.bytes());
        let error = Disk::new(Box::new(transport), &PLATFORM, Vectors::None, 1).err();
        assert_eq!(error, Some(InitError::Configuration));
    }
}
