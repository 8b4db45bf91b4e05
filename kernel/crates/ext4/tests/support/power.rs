//! A disk that remembers what it was asked to do, so that the power can be cut at any point of it.

use std::sync::Mutex;

use block::{BlockDevice, MemoryDisk, SECTOR_BYTES, WriteCache};
use linux_abi::Errno;

use super::{Random, Scratch, complaints, e2fsck::Flaw, tool};

#[derive(Clone)]
pub enum Event {
    Write { sector: u64, bytes: Vec<u8> },
    Discard { sector: u64, sectors: u64 },
    Flush,
}

/// A disk with a volatile cache, and a record of what it was asked to do.
pub struct Recorder {
    pub disk: MemoryDisk,
    pub events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub fn new(image: Vec<u8>) -> Self {
        Self { disk: MemoryDisk::new(image), events: Mutex::default() }
    }

    pub fn event_count(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

impl BlockDevice for Recorder {
    fn sector_count(&self) -> u64 {
        self.disk.sector_count()
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::Volatile
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.disk.read_scattered(sector, buffers)
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        self.disk.write_gathered(sector, buffers)?;
        self.events.lock().unwrap().push(Event::Write { sector, bytes: buffers.concat() });
        Ok(())
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn discard(&self, sector: u64, sectors: u64) -> Result<(), Errno> {
        self.disk.discard(sector, sectors)?;
        self.events.lock().unwrap().push(Event::Discard { sector, sectors });
        Ok(())
    }

    fn flush(&self) -> Result<(), Errno> {
        self.events.lock().unwrap().push(Event::Flush);
        Ok(())
    }
}

/// What a disk writes whole or not at all.
const ATOMIC_BYTES: usize = 4096;

/// The disk as a power cut after `cut` events leaves it: of what was written since the last flush, every block is
/// lost or not by itself in half of the cuts, and every request in the other half. What was discarded is what it was, or anything.
pub fn cut_power(base: &[u8], events: &[Event], cut: usize, random: &mut Random) -> Vec<u8> {
    let flushed = events[..cut].iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
    let by_block = random.below(2) == 0;
    let mut image = base.to_vec();
    for (index, event) in events[..cut].iter().enumerate() {
        let (sector, bytes) = match event {
            Event::Write { sector, bytes } => (sector, bytes),
            Event::Discard { sector, sectors } => {
                let at = *sector as usize * SECTOR_BYTES;
                if random.below(2) == 0 {
                    image[at..at + *sectors as usize * SECTOR_BYTES].fill(0xdd);
                }
                continue;
            }
            Event::Flush => continue,
        };
        let at = *sector as usize * SECTOR_BYTES;
        if index < flushed {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        } else if by_block {
            for (piece, from) in bytes.chunks(ATOMIC_BYTES).zip((at..).step_by(ATOMIC_BYTES)) {
                if random.below(2) == 0 {
                    image[from..from + piece.len()].copy_from_slice(piece);
                }
            }
        } else if random.below(2) == 0 {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
    image
}

/// What e2fsck complains of once it has replayed the journal, on a copy of its own. Free counts in the superblock are
/// not journaled, and any recovery sets them right.
pub fn complaints_after_replay(image: &[u8]) -> Vec<String> {
    let Some(e2fsck) = tool("e2fsck") else { return Vec::new() };
    let scratch = Scratch::new();
    let path = scratch.path("image");
    std::fs::write(&path, image).unwrap();
    let output =
        std::process::Command::new(e2fsck).args(["-E", "journal_only", "-y"]).arg(&path).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
    // After a power cut there may be all of them.
    let mut found = complaints(&std::fs::read(&path).unwrap(), &Flaw::ALL);
    found.retain(|line| !line.contains("count wrong"));
    found
}
