//! The cache against a plain vector, over storage that can fail and that counts.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex as StdMutex, PoisonError, RwLock as StdRwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use frames::PAGE_SIZE;
use linux_abi::Errno;
use proptest::prelude::*;
use vfs::{ErrorCursor, PageAccess, SliceSrc, WritePosition};

use crate::{PageCache, PageSource, Protection};

/// Held for writing by who must see no eviction: evictions take from the caches of all tests of this process.
static EVICTIONS: StdRwLock<()> = StdRwLock::new(());

fn evict(count: usize) -> usize {
    let _guard = EVICTIONS.read().unwrap_or_else(PoisonError::into_inner);
    crate::evict(count)
}

#[derive(Default)]
struct Storage {
    bytes: StdMutex<Vec<u8>>,
    reads: AtomicUsize,
    is_broken: AtomicBool,
    /// A byte that cannot be written.
    bad_offset: StdMutex<Option<u64>>,
    /// Somebody takes the right to write from mappings, and how often.
    protects: AtomicBool,
    protected: AtomicUsize,
    reserved: AtomicUsize,
}

impl Storage {
    fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.bytes.lock().unwrap().resize(size as usize, 0);
        Ok(())
    }
}

impl PageSource for Storage {
    fn read_pages(&self, first: u64, pages: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        let bytes = self.bytes.lock().unwrap();
        for (page, index) in pages.iter_mut().zip(first as usize..) {
            let start = (index * PAGE_SIZE).min(bytes.len());
            let end = (start + PAGE_SIZE).min(bytes.len());
            page[..end - start].copy_from_slice(&bytes[start..end]);
            page[end - start..].fill(0);
        }
        Ok(())
    }

    fn write_bytes(&self, offset: u64, new: &[u8]) -> Result<(), Errno> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        if self
            .bad_offset
            .lock()
            .unwrap()
            .is_some_and(|bad| (offset..offset + new.len() as u64).contains(&bad))
        {
            return Err(Errno::EIO);
        }
        let mut bytes = self.bytes.lock().unwrap();
        let end = offset as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn write_protect(&self, _pages: Range<u64>) -> Protection {
        if !self.protects.load(Ordering::Relaxed) {
            return Protection::Impossible;
        }
        self.protected.fetch_add(1, Ordering::Relaxed);
        Protection::Done
    }

    fn reserve_page(&self) -> Result<(), Errno> {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn retain_page(&self) {
        self.reserved.fetch_add(1, Ordering::Relaxed);
    }

    fn release_pages(&self, count: usize) {
        self.reserved.fetch_sub(count, Ordering::Relaxed);
    }
}

fn read(cache: &PageCache, storage: &Storage, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0xee; len];
    let done = cache.read(storage, offset, &mut &mut bytes[..])?;
    bytes.truncate(done);
    Ok(bytes)
}

fn write(cache: &PageCache, storage: &Storage, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    Ok(cache.write(storage, WritePosition::At(offset), &mut SliceSrc::new(bytes))?.bytes)
}

#[test]
fn sequential_reading_needs_few_requests() {
    frames::host::init();
    let storage = Storage::default();
    let contents: Vec<u8> = (0..4 << 20).map(|i| (i / 4096) as u8).collect();
    *storage.bytes.lock().unwrap() = contents.clone();
    let cache = PageCache::new(contents.len() as u64);
    let mut all = Vec::new();
    let _nothing_evicted = EVICTIONS.write().unwrap_or_else(PoisonError::into_inner);
    while all.len() < contents.len() {
        all.extend(read(&cache, &storage, all.len() as u64, 8192).unwrap());
    }
    assert_eq!(all, contents);
    assert!(storage.reads.load(Ordering::Relaxed) <= 15, "{:?} requests", storage.reads);
    assert_eq!(read(&cache, &storage, 4 << 20, 1), Ok(vec![]));
}

#[test]
fn errors_reach_the_caller_and_lose_nothing() {
    frames::host::init();
    let storage = Storage::default();
    storage.set_size(100).unwrap();
    let cache = PageCache::new(100);
    storage.is_broken.store(true, Ordering::Relaxed);
    assert_eq!(read(&cache, &storage, 0, 10), Err(Errno::EIO));
    assert_eq!(write(&cache, &storage, 4096, &[7; 4096]), Ok(4096));
    assert_eq!(cache.write_back_all(&storage), Err(Errno::EIO));
    assert_eq!(cache.dirty_count(), 1);
    storage.is_broken.store(false, Ordering::Relaxed);
    assert_eq!(cache.write_back_all(&storage), Ok(()));
    assert_eq!(storage.bytes.lock().unwrap()[4096..], [7; 4096]);
    assert_eq!((cache.dirty_count(), storage.reserved.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn pages_mapped_for_writing_stay_dirty_until_unmapped() {
    frames::host::init();
    let storage = Storage::default();
    storage.set_size(5000).unwrap();
    let cache = PageCache::new(5000);
    assert_eq!(cache.mapped_page(&storage, 2, PageAccess::Read).err(), Some(Errno::EFAULT));
    let page = cache.mapped_page(&storage, 1, PageAccess::SharedWrite).unwrap();
    page.write(0, b"one");
    cache.write_back_all(&storage).unwrap();
    assert_eq!(&storage.bytes.lock().unwrap()[4096..4099], b"one");
    page.write(0, b"two");
    cache.write_back_all(&storage).unwrap();
    assert_eq!(&storage.bytes.lock().unwrap()[4096..4099], b"two");
    assert_eq!(cache.dirty_count(), 1);
    // Beyond the end of the file nothing is kept, and growing shows zeros.
    page.write(950, b"beyond");
    drop(page);
    cache.write_back_all(&storage).unwrap();
    assert_eq!((cache.dirty_count(), storage.bytes.lock().unwrap().len()), (0, 5000));
    cache.truncate(&storage, 6000, || storage.set_size(6000)).unwrap();
    assert_eq!(read(&cache, &storage, 5000, 1000).unwrap(), vec![0; 1000]);
}

#[test]
fn a_page_that_cannot_be_written_keeps_no_other_from_storage() {
    frames::host::init();
    let storage = Storage::default();
    let cache = PageCache::new(0);
    let cursor = ErrorCursor::at_open(Some(cache.write_errors()));
    *storage.bad_offset.lock().unwrap() = Some(3 * 4096);
    for page in [1, 3, 5] {
        write(&cache, &storage, page * 4096, &[page as u8; 4096]).unwrap();
    }
    assert_eq!(cache.write_back_all(&storage), Err(Errno::EIO));
    {
        let bytes = storage.bytes.lock().unwrap();
        assert_eq!([bytes[4096], bytes[3 * 4096], bytes[5 * 4096]], [1, 0, 5]);
    }
    assert_eq!((cache.dirty_count(), storage.reserved.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(cursor.check(Some(cache.write_errors())), Err(Errno::EIO));
    assert_eq!(cursor.check(Some(cache.write_errors())), Ok(()));
    // Memory has what was written, and a later attempt writes it.
    evict(10_000);
    assert_eq!(read(&cache, &storage, 3 * 4096, 1).unwrap(), [3]);
    *storage.bad_offset.lock().unwrap() = None;
    assert_eq!(cache.write_back_all(&storage), Ok(()));
    assert_eq!(storage.bytes.lock().unwrap()[3 * 4096], 3);
    assert_eq!(cursor.check(Some(cache.write_errors())), Ok(()));
    assert_eq!((cache.dirty_count(), storage.reserved.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_file_that_cannot_be_written_takes_no_memory_without_bound() {
    frames::host::init();
    let storage = Storage::default();
    storage.is_broken.store(true, Ordering::Relaxed);
    let cache = PageCache::new(0);
    let total = frames::statistics().total as u64;
    let mut pages = 0;
    let error = loop {
        match write(&cache, &storage, pages * 4096, &[1; 4096]) {
            Ok(_) => pages += 1,
            Err(error) => break error,
        }
        assert!(pages < total / 2, "{pages} of {total} pages are dirty");
    };
    assert_eq!(error, Errno::EIO);
    storage.is_broken.store(false, Ordering::Relaxed);
    cache.write_back_all(&storage).unwrap();
    assert_eq!(write(&cache, &storage, pages * 4096, &[1; 4096]), Ok(4096));
    assert_eq!(storage.bytes.lock().unwrap().len() as u64, pages * 4096);
}

#[test]
fn who_dirties_beyond_the_limit_writes_back() {
    frames::host::init();
    let storage = Storage::default();
    let cache = PageCache::new(0);
    let total = frames::statistics().total as u64;
    for page in 0..total / 2 {
        write(&cache, &storage, page * 4096, &[page as u8; 4096]).unwrap();
    }
    let dirty = cache.dirty_count();
    assert!(dirty <= crate::dirty_limits().foreground + 512, "{dirty} pages are dirty");
    assert_eq!(read(&cache, &storage, 4096, 1), Ok(vec![1]));
}

#[test]
fn pages_mapped_for_writing_become_clean_where_that_can_be_noticed() {
    frames::host::init();
    let storage = Storage::default();
    storage.protects.store(true, Ordering::Relaxed);
    storage.set_size(8192).unwrap();
    let cache = PageCache::new(8192);
    let page = cache.mapped_page(&storage, 1, PageAccess::SharedWrite).unwrap();
    page.write(0, b"one");
    cache.write_back_all(&storage).unwrap();
    cache.write_back_all(&storage).unwrap();
    assert_eq!((cache.dirty_count(), storage.protected.load(Ordering::Relaxed)), (0, 1));
    // The fault that the next write makes.
    cache.mapped_page(&storage, 1, PageAccess::SharedWrite).unwrap();
    page.write(0, b"two");
    cache.write_back_all(&storage).unwrap();
    assert_eq!(&storage.bytes.lock().unwrap()[4096..4099], b"two");
    assert_eq!(storage.reserved.load(Ordering::Relaxed), 0);
}

#[test]
fn eviction_takes_clean_unused_pages_only() {
    frames::host::init();
    let storage = Storage::default();
    storage.set_size(64 << 12).unwrap();
    let cache = PageCache::new(64 << 12);
    read(&cache, &storage, 0, 64 << 12).unwrap();
    write(&cache, &storage, 0, b"dirty").unwrap();
    let mapped = cache.mapped_page(&storage, 9, PageAccess::Read).unwrap();
    // Other tests' caches take part, too: until nothing of this one goes any more.
    for _ in 0..64 {
        evict(1000);
    }
    assert!(cache.has_page(0) && cache.has_page(9));
    assert_eq!(cache.page_count(), 2);
    drop(mapped);
    assert_eq!(read(&cache, &storage, 0, 5).unwrap(), b"dirty");
}

#[test]
fn dropping_no_whole_page_drops_nothing() {
    frames::host::init();
    let storage = Storage::default();
    storage.set_size(8192).unwrap();
    let cache = PageCache::new(8192);
    read(&cache, &storage, 0, 8192).unwrap();
    for (first, last) in [(1, 0), (1, 1), (5, 2)] {
        assert_eq!(cache.drop_clean(first..last), 0);
    }
    assert_eq!((cache.page_count(), cache.drop_clean(0..2)), (2, 2));
}

#[test]
fn threads_read_and_write_and_evict_at_once() {
    frames::host::init();
    let storage = Arc::new(Storage::default());
    storage.set_size(256 << 12).unwrap();
    let cache = PageCache::new(256 << 12);
    let threads: Vec<_> = (0..4u64)
        .map(|id| {
            let (cache, storage) = (cache.clone(), storage.clone());
            thread::spawn(move || {
                let mut random = id + 1;
                for round in 0..2_000u64 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    // Each thread has every fourth 512-byte block for itself.
                    let offset = (random >> 33) % 512 * 2048 + id * 512;
                    let value = [(round % 251) as u8; 512];
                    write(&cache, &storage, offset, &value).unwrap();
                    match round % 16 {
                        0 => cache.write_back_all(&*storage).unwrap(),
                        1 => drop(evict(64)),
                        _ => {}
                    }
                    assert_eq!(read(&cache, &storage, offset, 512).unwrap(), value);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    cache.write_back_all(&*storage).unwrap();
    assert_eq!(read(&cache, &storage, 0, 256 << 12).unwrap(), *storage.bytes.lock().unwrap());
    assert_eq!(storage.reserved.load(Ordering::Relaxed), cache.dirty_count());
}

#[derive(Clone, Debug)]
enum Operation {
    Read(u64, usize),
    Write(u64, usize, u8),
    Append(usize, u8),
    Truncate(u64),
    Zero(u64, u64),
    WriteBack,
    Evict,
    MapAndWrite(u64, u16, u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let offset = || 0..40_000u64;
    prop_oneof![
        (offset(), 0..20_000usize).prop_map(|(o, n)| Operation::Read(o, n)),
        (offset(), 0..20_000usize, any::<u8>()).prop_map(|(o, n, v)| Operation::Write(o, n, v)),
        (0..10_000usize, any::<u8>()).prop_map(|(n, v)| Operation::Append(n, v)),
        offset().prop_map(Operation::Truncate),
        (offset(), 1..9_000u64).prop_map(|(o, n)| Operation::Zero(o, n)),
        Just(Operation::WriteBack),
        Just(Operation::Evict),
        (0..10u64, 0..4096u16, any::<u8>()).prop_map(|(i, o, v)| Operation::MapAndWrite(i, o, v)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn behaves_like_a_vector(operations in prop::collection::vec(operation(), 1..60)) {
        frames::host::init();
        let storage = Storage::default();
        let cache = PageCache::new(0);
        let mut model: Vec<u8> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Read(offset, len) => {
                    let start = model.len().min(offset as usize);
                    let end = model.len().min(offset as usize + len);
                    prop_assert_eq!(read(&cache, &storage, offset, len).unwrap(), &model[start..end]);
                }
                Operation::Write(offset, len, value) => {
                    prop_assert_eq!(write(&cache, &storage, offset, &vec![value; len]), Ok(len));
                    if len > 0 {
                        let end = offset as usize + len;
                        model.resize(model.len().max(end), 0);
                        model[offset as usize..end].fill(value);
                    }
                }
                Operation::Append(len, value) => {
                    let bytes = vec![value; len];
                    let written = cache.write(&storage, WritePosition::End, &mut SliceSrc::new(&bytes)).unwrap();
                    model.extend(bytes);
                    prop_assert_eq!((written.bytes, written.end), (len, model.len() as u64));
                }
                Operation::Truncate(size) => {
                    cache.truncate(&storage, size, || storage.set_size(size)).unwrap();
                    model.resize(size as usize, 0);
                }
                Operation::Zero(offset, len) => {
                    let end = model.len().min((offset + len) as usize);
                    cache.zero_range(offset, offset + len, || {
                        let mut bytes = storage.bytes.lock().unwrap();
                        let end = bytes.len().min((offset + len) as usize);
                        if (offset as usize) < end { bytes[offset as usize..end].fill(0); }
                        Ok(())
                    }).unwrap();
                    if (offset as usize) < end { model[offset as usize..end].fill(0); }
                }
                Operation::WriteBack => {
                    cache.write_back_all(&storage).unwrap();
                    let bytes = storage.bytes.lock().unwrap();
                    // Storage may lack a hole at the end, which reads as zeros anyway.
                    let common = bytes.len().min(model.len());
                    prop_assert_eq!(&bytes[..common], &model[..common]);
                    prop_assert!(model[common..].iter().all(|byte| *byte == 0));
                }
                Operation::Evict => { evict(1000); }
                Operation::MapAndWrite(index, offset, value) => {
                    match cache.mapped_page(&storage, index, PageAccess::SharedWrite) {
                        Ok(page) => {
                            page.write(offset as usize, &[value]);
                            let at = index as usize * PAGE_SIZE + offset as usize;
                            if at < model.len() { model[at] = value; }
                        }
                        Err(error) => {
                            prop_assert_eq!(error, Errno::EFAULT);
                            prop_assert!(index as usize * PAGE_SIZE >= model.len());
                        }
                    }
                }
            }
            prop_assert_eq!(cache.size(), model.len() as u64);
            prop_assert_eq!(storage.reserved.load(Ordering::Relaxed), cache.dirty_count());
        }
        prop_assert_eq!(read(&cache, &storage, 0, 100_000).unwrap(), model);
    }
}
