//! A disk with a volatile write cache, and what a power cut leaves of it.
//!
//! A write that has ended may be lost until a flush that began after its end has ended as well, and so may each of its sectors: that
//! is all that a disk promises (NVM Express, "Volatile Write Cache"; ATA FLUSH CACHE; virtio 1.2, 5.2.6). What is not promised is
//! here left to chance, from a seed. Sectors of 512 bytes are never torn.
//!
//! The file always holds what a reader of the disk sees. Beside it, in memory, are the writes that may still be lost, and for each
//! sector that they touch what is known to be durable. So a disk may be of any size, and costs what its cache costs.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    fs::File,
    io::{self, ErrorKind},
    ops::{AddAssign, Range},
    os::unix::fs::FileExt,
};

use crate::chance::Chance;

pub const SECTOR_BYTES: usize = 512;

/// As many bytes as the cache holds. What is more reaches the medium, as chance has it.
const CACHE_LIMIT_BYTES: usize = 32 << 20;
/// A long request of zeros is as many writes.
const ZEROS_AT_ONCE_BYTES: u64 = 1 << 20;

/// What has been asked of a disk, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub reads: u64,
    pub writes: u64,
    /// Of the writes, those that had to be durable when they ended (FUA).
    pub forced_writes: u64,
    pub flushes: u64,
    pub discards: u64,
    /// Requests that were failed on purpose.
    pub failed: u64,
    /// What cuts found in the cache: writes that were kept, lost, and kept in part.
    pub kept: u64,
    pub lost: u64,
    pub torn: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.forced_writes += other.forced_writes;
        self.flushes += other.flushes;
        self.discards += other.discards;
        self.failed += other.failed;
        self.kept += other.kept;
        self.lost += other.lost;
        self.torn += other.torn;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, writes, forced_writes, flushes, discards, failed, kept, lost, torn } = self;
        write!(
            f,
            "{reads} reads, {writes} writes ({forced_writes} forced), {flushes} flushes, {discards} discards, {failed} failed; \
             of unflushed writes {kept} kept, {lost} lost, {torn} torn"
        )
    }
}

/// Numbers writes and flushes in the order in which they began.
pub type Number = u64;

struct Write {
    number: Number,
    first_sector: u64,
    bytes: Vec<u8>,
    has_ended: bool,
    /// The flush that will have made it durable, once that has ended.
    flush: Option<Number>,
}

impl Write {
    fn sectors(&self) -> Range<u64> {
        self.first_sector..self.first_sector + (self.bytes.len() / SECTOR_BYTES) as u64
    }

    fn contents(&self) -> impl Iterator<Item = (u64, Sector)> {
        self.sectors().zip(self.bytes.as_chunks::<SECTOR_BYTES>().0.iter().copied())
    }
}

type Sector = [u8; SECTOR_BYTES];

/// What is on the medium where the cache has something else.
struct Durable {
    /// The write that it is from; 0 if from before all in the cache.
    number: Number,
    contents: Sector,
    /// How many writes in the cache touch the sector.
    touched: u32,
}

pub struct Disk {
    file: File,
    size_bytes: u64,
    chance: Chance,
    /// The cache, oldest first.
    writes: VecDeque<Write>,
    cached_bytes: usize,
    /// Has each sector that a write in the cache touches.
    durable: HashMap<u64, Durable>,
    last_number: Number,
    counts: Counts,
}

impl Disk {
    /// A disk whose contents are those of a file, less a tail that is no whole sector.
    pub fn new(file: File, seed: u64) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len() / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
        Ok(Self {
            file,
            size_bytes,
            chance: Chance::new(seed),
            writes: VecDeque::new(),
            cached_bytes: 0,
            durable: HashMap::new(),
            last_number: 0,
            counts: Counts::default(),
        })
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Whether a range is whole sectors of the disk.
    fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        let sector = SECTOR_BYTES as u64;
        let is_aligned = offset.is_multiple_of(sector) && len.is_multiple_of(sector);
        if is_aligned && offset.checked_add(len).is_some_and(|end| end <= self.size_bytes) {
            return Ok(());
        }
        Err(ErrorKind::InvalidInput.into())
    }

    /// Reads what was written last, durable or not.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len() as u64)?;
        self.counts.reads += 1;
        self.file.read_exact_at(buffer, offset)
    }

    /// Begins a write. Readers see it from now on.
    pub fn begin_write(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<Number> {
        self.check(offset, bytes.len() as u64)?;
        self.counts.writes += 1;
        self.put(offset, bytes)
    }

    /// Begins a write of zeros, however long.
    pub fn begin_zeros(&mut self, offset: u64, len: u64) -> io::Result<Vec<Number>> {
        self.check(offset, len)?;
        self.counts.writes += 1;
        self.put_zeros(offset, len)
    }

    /// Begins to discard a range: afterwards it holds what it held, or zeros.
    pub fn begin_discard(&mut self, offset: u64, len: u64) -> io::Result<Vec<Number>> {
        self.check(offset, len)?;
        self.counts.discards += 1;
        if self.chance.happens(0.5) { self.put_zeros(offset, len) } else { Ok(vec![]) }
    }

    fn put_zeros(&mut self, offset: u64, len: u64) -> io::Result<Vec<Number>> {
        let starts = (offset..offset + len).step_by(ZEROS_AT_ONCE_BYTES as usize);
        starts
            .map(|start| self.put(start, vec![0; ZEROS_AT_ONCE_BYTES.min(offset + len - start) as usize]))
            .collect()
    }

    fn put(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<Number> {
        self.last_number += 1;
        let write = Write {
            number: self.last_number,
            first_sector: offset / SECTOR_BYTES as u64,
            bytes,
            has_ended: false,
            flush: None,
        };
        for sector in write.sectors() {
            match self.durable.entry(sector) {
                Entry::Occupied(mut entry) => entry.get_mut().touched += 1,
                Entry::Vacant(entry) => {
                    let mut contents = [0; SECTOR_BYTES];
                    self.file.read_exact_at(&mut contents, sector * SECTOR_BYTES as u64)?;
                    entry.insert(Durable { number: 0, contents, touched: 1 });
                }
            }
        }
        self.file.write_all_at(&write.bytes, offset)?;
        self.cached_bytes += write.bytes.len();
        self.writes.push_back(write);
        while self.cached_bytes > CACHE_LIMIT_BYTES {
            let victim = self.chance.below(self.writes.len() as u64) as usize;
            self.writes[victim].flush = Some(0);
            self.make_durable(|write| write.flush == Some(0));
        }
        Ok(self.last_number)
    }

    /// A write has ended: whoever asked for it has been told so.
    pub fn end_write(&mut self, number: Number) {
        // One that is durable already is not in the cache any more.
        if let Some(write) = self.writes.iter_mut().find(|write| write.number == number) {
            write.has_ended = true;
        }
    }

    /// Makes one write durable (FUA).
    pub fn force(&mut self, number: Number) {
        self.counts.forced_writes += 1;
        self.make_durable(|write| write.number == number);
    }

    /// Begins a flush of all that has ended by now.
    pub fn begin_flush(&mut self) -> Number {
        self.counts.flushes += 1;
        self.last_number += 1;
        let number = self.last_number;
        for write in self.writes.iter_mut().filter(|write| write.has_ended) {
            write.flush.get_or_insert(number);
        }
        number
    }

    /// A flush ends. It is given up for lost if nobody calls this, as when it fails.
    pub fn end_flush(&mut self, number: Number) {
        self.make_durable(|write| write.flush.is_some_and(|flush| flush <= number));
    }

    /// A flush fails: what it would have made durable waits for another.
    pub fn fail_flush(&mut self, number: Number) {
        for write in self.writes.iter_mut().filter(|write| write.flush == Some(number)) {
            write.flush = None;
        }
    }

    fn make_durable(&mut self, which: impl Fn(&Write) -> bool) {
        let (durable, cached): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.writes).into_iter().partition(|write| which(write));
        self.writes = cached;
        for write in durable {
            self.cached_bytes -= write.bytes.len();
            self.settle(write.number, write.contents());
            // What no write in the cache touches is as in the file.
            for sector in write.sectors() {
                if let Entry::Occupied(mut entry) = self.durable.entry(sector) {
                    entry.get_mut().touched -= 1;
                    if entry.get().touched == 0 {
                        entry.remove();
                    }
                }
            }
        }
    }

    /// Has sectors on the medium, unless a later write is there already.
    fn settle(&mut self, number: Number, sectors: impl Iterator<Item = (u64, Sector)>) {
        for (sector, contents) in sectors {
            // All sectors of the cache are there.
            if let Some(durable) = self.durable.get_mut(&sector)
                && durable.number <= number
            {
                (durable.number, durable.contents) = (number, contents);
            }
        }
    }

    /// The power goes: of what is in the cache, chance decides. Afterwards the file is what the next boot finds.
    pub fn cut(&mut self) -> io::Result<()> {
        // As it is with disks, some cuts spare nearly all, and some nearly nothing.
        let likelihoods = [0.0, 0.15, 0.5, 0.85, 1.0];
        let keep = likelihoods[self.chance.below(likelihoods.len() as u64) as usize];
        for write in std::mem::take(&mut self.writes) {
            let count = write.sectors().count() as u64;
            let sectors: Vec<_> = if count > 1 && self.chance.happens(0.2) {
                self.counts.torn += 1;
                if self.chance.happens(0.5) {
                    let until = self.chance.below(count) as usize;
                    write.contents().take(until).collect()
                } else {
                    write.contents().filter(|_| self.chance.happens(keep)).collect()
                }
            } else if self.chance.happens(keep) {
                self.counts.kept += 1;
                write.contents().collect()
            } else {
                self.counts.lost += 1;
                continue;
            };
            self.settle(write.number, sectors.into_iter());
        }
        self.cached_bytes = 0;
        for (sector, durable) in self.durable.drain() {
            self.file.write_all_at(&durable.contents, sector * SECTOR_BYTES as u64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 16;

    fn disk(seed: u64) -> Disk {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SECTORS * SECTOR_BYTES as u64).unwrap();
        Disk::new(file, seed).unwrap()
    }

    /// The first byte of each sector; all others are to be equal.
    fn contents(disk: &mut Disk) -> Vec<u8> {
        let mut bytes = vec![0; disk.size_bytes() as usize];
        disk.read(0, &mut bytes).unwrap();
        let sectors = bytes.as_chunks::<SECTOR_BYTES>().0;
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a torn sector");
        sectors.iter().map(|sector| sector[0]).collect()
    }

    fn write(disk: &mut Disk, sector: u64, count: usize, value: u8) -> Number {
        disk.begin_write(sector * SECTOR_BYTES as u64, vec![value; count * SECTOR_BYTES]).unwrap()
    }

    #[test]
    fn what_was_flushed_stays() {
        for seed in 0..50 {
            let mut disk = disk(seed);
            let number = write(&mut disk, 0, 4, 1);
            disk.end_write(number);
            let flush = disk.begin_flush();
            disk.end_flush(flush);
            write(&mut disk, 2, 4, 2);
            assert_eq!(contents(&mut disk)[..7], [1, 1, 2, 2, 2, 2, 0], "a reader sees what was written");
            disk.cut().unwrap();
            let left = contents(&mut disk);
            assert_eq!(left[..2], [1, 1]);
            assert!(left[2..4].iter().all(|value| [1, 2].contains(value)), "{left:?}");
            assert!(left[4..6].iter().all(|value| [0, 2].contains(value)), "{left:?}");
            assert!(left[6..].iter().all(|value| *value == 0));
        }
    }

    /// How often a write of four sectors is wholly lost, kept or torn if it is under way like this.
    fn fates(prepare: fn(&mut Disk)) -> (u32, u32, u32) {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let mut disk = disk(seed);
            prepare(&mut disk);
            disk.cut().unwrap();
            match contents(&mut disk)[..4] {
                [0, 0, 0, 0] => lost += 1,
                [1, 1, 1, 1] => kept += 1,
                _ => torn += 1,
            }
        }
        (lost, kept, torn)
    }

    #[test]
    fn a_flush_covers_only_what_had_ended_when_it_began_and_only_once_it_has_ended() {
        let too_early = fates(|disk| {
            let number = write(disk, 0, 4, 1);
            let flush = disk.begin_flush();
            disk.end_write(number);
            disk.end_flush(flush);
        });
        let under_way = fates(|disk| {
            let number = write(disk, 0, 4, 1);
            disk.end_write(number);
            disk.begin_flush();
        });
        let failed = fates(|disk| {
            let number = write(disk, 0, 4, 1);
            disk.end_write(number);
            let flush = disk.begin_flush();
            disk.fail_flush(flush);
            let second = disk.begin_flush();
            disk.fail_flush(second);
        });
        for (lost, kept, torn) in [too_early, under_way, failed] {
            assert!(lost > 0 && kept > 0 && torn > 0, "{lost} {kept} {torn}");
        }
        let flushed_again = fates(|disk| {
            let number = write(disk, 0, 4, 1);
            disk.end_write(number);
            let flush = disk.begin_flush();
            disk.fail_flush(flush);
            let second = disk.begin_flush();
            disk.end_flush(second);
        });
        assert_eq!(flushed_again, (0, 300, 0));
        let forced = fates(|disk| {
            let number = write(disk, 0, 4, 1);
            disk.force(number);
        });
        assert_eq!(forced, (0, 300, 0));
    }

    #[test]
    fn writes_to_different_sectors_are_lost_in_any_order() {
        let mut seen = HashSet::new();
        for seed in 0..300 {
            let mut disk = disk(seed);
            for sector in 0..2 {
                let number = write(&mut disk, sector, 1, 1);
                disk.end_write(number);
            }
            disk.cut().unwrap();
            seen.insert(contents(&mut disk)[..2].to_vec());
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn what_does_not_fit_the_cache_reaches_the_medium() {
        let file = tempfile::tempfile().unwrap();
        let size = 4 * CACHE_LIMIT_BYTES as u64;
        file.set_len(size).unwrap();
        let mut disk = Disk::new(file, 1).unwrap();
        disk.begin_zeros(0, size).unwrap();
        assert!(disk.cached_bytes <= CACHE_LIMIT_BYTES);
        assert_eq!(disk.durable.len() * SECTOR_BYTES, disk.cached_bytes);
    }

    #[test]
    fn a_range_off_the_disk_is_refused() {
        let mut disk = disk(1);
        let size = disk.size_bytes();
        assert!(disk.begin_write(size, vec![0; SECTOR_BYTES]).is_err());
        assert!(disk.begin_write(100, vec![0; SECTOR_BYTES]).is_err());
        assert!(disk.begin_write(0, vec![0; 100]).is_err());
        assert!(disk.begin_zeros(u64::MAX - 511, 512).is_err());
        assert!(disk.read(0, &mut [0; 10]).is_err());
        assert_eq!(disk.counts(), Counts::default());
    }

    /// What a write has touched.
    type Sectors = (Number, Range<u64>);

    #[derive(Clone, Debug)]
    enum Step {
        Write { sector: u64, count: usize },
        EndWrite(usize),
        BeginFlush,
        EndFlush(usize),
        Cut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..SECTORS - 4, 1..4_usize).prop_map(|(sector, count)| Step::Write { sector, count }),
            4 => (0..4_usize).prop_map(Step::EndWrite),
            2 => Just(Step::BeginFlush),
            2 => (0..4_usize).prop_map(Step::EndFlush),
            1 => Just(Step::Cut),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Against the promise itself, sector by sector: after a cut each holds its last durable value or a later one.
        #[test]
        fn nothing_promised_is_lost(steps in steps(), seed in any::<u64>()) {
            let mut disk = disk(seed);
            // Of each sector: its writes since the last durable one, with their numbers; the durable one comes first.
            let mut sectors: Vec<Vec<(Number, u8)>> = vec![vec![(0, 0)]; SECTORS as usize];
            let mut under_way: Vec<Sectors> = Vec::new();
            let mut ended: Vec<Sectors> = Vec::new();
            let mut flushes: Vec<(Number, Vec<Sectors>)> = Vec::new();
            for (value, step) in (1_u8..).zip(steps) {
                match step {
                    // As the kernel does, nobody writes where a write is under way.
                    Step::Write { sector, count } => {
                        let range = sector..sector + count as u64;
                        if under_way.iter().any(|(_, other)| other.start < range.end && range.start < other.end) {
                            continue;
                        }
                        let number = write(&mut disk, sector, count, value);
                        for sector in range.clone() {
                            sectors[sector as usize].push((number, value));
                        }
                        under_way.push((number, range));
                    }
                    Step::EndWrite(which) if which < under_way.len() => {
                        let write = under_way.remove(which);
                        disk.end_write(write.0);
                        ended.push(write);
                    }
                    Step::BeginFlush => flushes.push((disk.begin_flush(), ended.clone())),
                    Step::EndFlush(which) if which < flushes.len() => {
                        let (number, covered) = flushes.remove(which);
                        disk.end_flush(number);
                        for (write, range) in covered {
                            for sector in range {
                                let writes = &mut sectors[sector as usize];
                                if let Some(at) = writes.iter().position(|(number, _)| *number == write) {
                                    writes.drain(..at);
                                }
                            }
                        }
                    }
                    Step::Cut => {
                        disk.cut().unwrap();
                        for (writes, value) in sectors.iter_mut().zip(contents(&mut disk)) {
                            prop_assert!(writes.iter().any(|(_, possible)| *possible == value), "{writes:?} {value}");
                            *writes = vec![(0, value)];
                        }
                        under_way.clear();
                        ended.clear();
                        flushes.clear();
                    }
                    Step::EndWrite(_) | Step::EndFlush(_) => {}
                }
                let last: Vec<u8> = sectors.iter().map(|writes| writes[writes.len() - 1].1).collect();
                prop_assert_eq!(contents(&mut disk), last);
            }
        }
    }
}
