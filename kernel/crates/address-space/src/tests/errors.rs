//! Errnos, asked of Linux and of the code under test with the same arguments.

use super::*;

const REGION: usize = 0x1100_0000_0000;

/// The errno, 0 for success.
fn ours(result: Result<impl Sized, Errno>) -> i32 {
    result.map_or_else(|error| error as i32, |_| 0)
}

fn linux(is_error: bool) -> i32 {
    if is_error { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

#[test]
fn mmap() {
    let machine = Machine::new();
    let file = TestFile::new(4);
    // SAFETY: plain calls.
    let [rw, ro, wo] = unsafe {
        let rw = libc::memfd_create(c"test".as_ptr(), 0);
        libc::ftruncate(rw, 4 * 4096);
        let path = format!("/proc/self/fd/{rw}\0");
        [
            rw,
            libc::open(path.as_ptr().cast(), libc::O_RDONLY),
            libc::open(path.as_ptr().cast(), libc::O_WRONLY),
        ]
    };
    let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    let (shared, private, anon, fixed) =
        (libc::MAP_SHARED, libc::MAP_PRIVATE, libc::MAP_ANONYMOUS, libc::MAP_FIXED);
    let huge = libc::MAP_HUGETLB;
    let cases: &[(usize, usize, i32, i32, i32, i64)] = &[
        (0, 0, r, private | anon, -1, 0),
        (0, 4096, r, anon, -1, 0),
        (0, 4096, r, 4 | anon, -1, 0),
        (0, 4096, r, libc::MAP_SHARED_VALIDATE | anon, -1, 0),
        (0, 4096, r, private | anon, -1, 1),
        (0, 4096, r, private | anon, -1, 4096),
        (0, usize::MAX, r, private | anon, -1, 0),
        (0, 1 << 47, r, private | anon, -1, 0),
        (0, 1 << 46, 0, private | anon | libc::MAP_NORESERVE, -1, 0),
        (REGION + 1, 4096, r, private | anon | fixed, -1, 0),
        (REGION + 1, 4096, r, private | anon, -1, 0),
        (0x7fff_ffff_f000, 4096, r, private | anon | fixed, -1, 0),
        (0x7fff_ffff_e000, 8192, r, private | anon | fixed, -1, 0),
        (0, 4096, r, shared | anon | libc::MAP_GROWSDOWN, -1, 0),
        (0, 4096, r, private | rw_flag(), rw, 0),
        (0, 4096, r | w, shared, ro, 0),
        (0, 4096, r, shared, ro, 0),
        (0, 4096, r | w | x, private, ro, 0),
        (0, 4096, r, private, wo, 0),
        (0, 4096, w, shared, wo, 0),
        (0, 4096, r, 0, rw, 0),
        (0, 4096, r, private, rw, 1),
        (0, 4096, r, private, rw, i64::MAX & !4095),
        (0, 4096, r, libc::MAP_SHARED_VALIDATE, rw, 0),
        (0, 4096, r, libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC, rw, 0),
        (0, 4096, r, libc::MAP_SHARED_VALIDATE | libc::MAP_NORESERVE | libc::MAP_STACK, rw, 0),
        (0, 4096, r, libc::MAP_SHARED_VALIDATE | 0x80_0000, rw, 0),
        (0, 4096, r, libc::MAP_SHARED | 0x80_0000, rw, 0),
        (REGION + (1 << 40), 4096, r, libc::MAP_SHARED_VALIDATE | libc::MAP_FIXED_NOREPLACE, rw, 0),
        (0, 4096, r, private | anon | huge, -1, 0),
        (0, 4096, r, private | anon | huge | 21 << 26, -1, 0),
        (0, 4096, r, private | anon | huge | 13 << 26, -1, 0),
        (0, 4096, r, private | huge, rw, 0),
        (0, 4096, r, private | anon | libc::MAP_32BIT, -1, 0),
    ];
    for case in cases {
        let &(address, len, prot, flags, fd, offset) = case;
        // SAFETY: none of these replaces a mapping of this process.
        let theirs = unsafe {
            let result = libc::mmap(address as *mut _, len, prot, flags, fd, offset);
            let errno = linux(result == libc::MAP_FAILED);
            if errno == 0 {
                libc::munmap(result, len);
            }
            errno
        };
        let grant = |is_granted| if is_granted { Permission::Granted } else { Permission::Denied };
        let result = machine.space.mmap(MapRequest {
            address,
            len,
            prot: Prot::from_bits_truncate(prot as u32),
            map_type: flags as u32 & linux_abi::memory::MAP_TYPE,
            flags: MapFlags::from_bits_retain(flags as u32 & !linux_abi::memory::MAP_TYPE),
            source: (fd >= 0).then(|| MapSource {
                told: None,
                object: file.clone(),
                readable: grant(fd != wo),
                writable: grant(fd != ro),
                unsealed: Permission::Granted,
                executable: Permission::Granted,
            }),
            offset: offset as u64,
        });
        assert_eq!(ours(result), theirs, "mmap{case:x?}");
    }
    // Not compared: for root Linux has no lowest address.
    for address in [0, 4096, 0xf000] {
        assert_eq!(machine.map_anonymous(address, 4096, MapFlags::FIXED), Err(Errno::EPERM));
    }
    // What exceeds the machine is refused unless it is not reserved.
    assert_eq!(machine.map_anonymous(0, 2 << 30, MapFlags::empty()), Err(Errno::ENOMEM));
    assert!(machine.map_anonymous(0, 16 << 40, MapFlags::NORESERVE).is_ok());
}

/// A flag that Linux ignores.
fn rw_flag() -> i32 {
    libc::MAP_DENYWRITE
}

#[test]
fn the_others() {
    let machine = Machine::new();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // Four pages, a gap of one, a page.
    for (at, len) in [(REGION, 4 * 4096), (REGION + 5 * 4096, 4096)] {
        machine.map_anonymous(at, len, MapFlags::FIXED).unwrap();
        // SAFETY: nothing else is there.
        let place =
            unsafe { libc::mmap(at as *mut _, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert_eq!(place.addr(), at);
    }
    let addresses =
        [0, REGION, REGION + 1, REGION + 4096, REGION + 4 * 4096, REGION + 6 * 4096, 1 << 47, !4095];
    let lens = [0, 1, 4096, 3 * 4096, 6 * 4096, 7 * 4096, 1 << 47, usize::MAX - 4094, usize::MAX];
    for address in addresses {
        for len in lens {
            // Of this process's own memory nothing may be reached.
            if len == 1 << 47 && address < 1 << 47 && address % 4096 == 0 {
                continue;
            }
            // munmap(2) with success would pull the region away.
            let end = address.wrapping_add(len);
            let is_harmless =
                !(address..end).contains(&REGION) && !(REGION..REGION + 6 * 4096).contains(&address);
            if address % 4096 != 0 || len == 0 || is_harmless && end < 1 << 47 && end > address {
                // SAFETY: it is refused, or nothing is there.
                let theirs = linux(unsafe { libc::munmap(address as *mut _, len) } != 0);
                assert_eq!(
                    ours(machine.space.munmap(address, len)),
                    theirs,
                    "munmap({address:#x}, {len:#x})"
                );
            }
            for prot in [1, 3, 8, 0x10, 0x0100_0001, 0x0200_0001, 0x0300_0001] {
                // SAFETY: of this process's memory only the region can be reached.
                let theirs = linux(unsafe { libc::mprotect(address as *mut _, len, prot) } != 0);
                let result = machine.space.mprotect(address, len, prot as u32);
                assert_eq!(ours(result), theirs, "mprotect({address:#x}, {len:#x}, {prot:#x})");
            }
            for advice in [0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 20, 21, 22, 23, 24, 5, 7, 26, 99] {
                // SAFETY: as above.
                let theirs = linux(unsafe { libc::madvise(address as *mut _, len, advice) } != 0);
                let result = machine.space.madvise(address, len, advice as u32);
                assert_eq!(ours(result), theirs, "madvise({address:#x}, {len:#x}, {advice})");
            }
            for flags in [0, 1, 2, 3, 4, 5, 6, 8] {
                // SAFETY: as above.
                let theirs = linux(unsafe { libc::msync(address as *mut _, len, flags) } != 0);
                let result = machine.space.msync(address, len, flags as u32);
                assert_eq!(ours(result), theirs, "msync({address:#x}, {len:#x}, {flags})");
            }
            if len <= 7 * 4096 || len > 1 << 47 {
                let mut answers = [0u8; 16];
                // SAFETY: there is room for the answers; lengths beyond are refused.
                let theirs =
                    linux(unsafe { libc::mincore(address as *mut _, len, answers.as_mut_ptr()) } != 0);
                let result = machine.space.mincore(address, len, |_| Ok(()));
                assert_eq!(ours(result), theirs, "mincore({address:#x}, {len:#x})");
            }
        }
    }
    for (old, old_len, new_len, flags) in [
        (REGION + 1, 4096, 4096, 0),
        (REGION, 4096, 0, 0),
        (REGION, 4096, 4096, 2),
        (REGION, 4096, 8192, 0),
        (REGION, 4 * 4096, 6 * 4096, 0),
        (REGION, 0, 4096, 1),
        (REGION + 4 * 4096, 4096, 8192, 1),
        (REGION, 4096, 8192, 5),
        (REGION, 4096, 1 << 47, 1),
        (REGION, 5 * 4096, 6 * 4096, 1),
    ] {
        // SAFETY: of this process's memory only the region can be reached.
        let theirs =
            linux(unsafe { libc::mremap(old as *mut _, old_len, new_len, flags) } == libc::MAP_FAILED);
        let result = linux_abi::memory::MremapFlags::from_raw(flags as u32)
            .and_then(|flags| machine.space.mremap(old, old_len, new_len, flags, 0));
        assert_eq!(ours(result), theirs, "mremap({old:#x}, {old_len:#x}, {new_len:#x}, {flags})");
    }
}

#[test]
fn locks() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 4 * 4096, MapFlags::empty()).unwrap();
    let space = &machine.space;
    assert_eq!(space.mlock(at + 100, 4096, 0), Ok(()));
    assert_eq!(space.resident().anonymous, 2 * 4096);
    assert_eq!(space.madvise(at, 4 * 4096, 4), Err(Errno::EINVAL));
    assert_eq!(space.msync(at, 4096, 2), Err(Errno::EBUSY));
    assert_eq!(space.madvise(at, 4096, 24), Ok(()));
    assert_eq!(space.munlock(at, 4 * 4096), Ok(()));
    assert_eq!(space.madvise(at, 4 * 4096, 4), Ok(()));
    assert_eq!(space.mlock(at, 5 * 4096, 0), Err(Errno::ENOMEM));
    assert_eq!(space.mlock(at, 4096, 2), Err(Errno::EINVAL));
    assert_eq!(space.mlock(at, usize::MAX - 8192, 0), Err(Errno::EINVAL));
    assert_eq!([0, 4, 8].map(|flags| space.mlockall(flags)), [Err(Errno::EINVAL); 3]);
    assert_eq!(space.mlockall(3), Ok(()));
    machine.map_anonymous(0, 3 * 4096, MapFlags::empty()).unwrap();
    assert_eq!(space.resident().anonymous, 7 * 4096);
    assert_eq!(space.munlockall(), Ok(()));
    machine.map_anonymous(0, 3 * 4096, MapFlags::empty()).unwrap();
    assert_eq!(space.resident().anonymous, 7 * 4096);
}

#[test]
fn the_break_and_the_stack() {
    let machine = Machine::new();
    let space = &machine.space;
    let start = 0x5555_0000_1234;
    space.set_heap_start(start);
    assert_eq!(space.brk(0), start);
    assert_eq!(space.brk(start + 100_000), start + 100_000);
    machine.write(start + 99_000, 1).unwrap();
    assert_eq!(machine.read(start + 110_000), Err(FaultError::NotMapped));
    assert_eq!(space.brk(start + 50), start + 50);
    assert_eq!(machine.read(start + 99_000), Err(FaultError::NotMapped));
    assert!(space.area_from(start).is_none_or(|area| area.is_heap));
    // Something is in the way.
    machine.map_anonymous(0x5555_0010_0000, 4096, MapFlags::FIXED).unwrap();
    assert_eq!(space.brk(0x5555_0010_0000), start + 50);
    assert_eq!(space.brk(0x5555_000f_f000), 0x5555_000f_f000);

    let top = 0x7fff_ff00_0000;
    space.map_stack(top).unwrap();
    machine.write(top - 8, 1).unwrap();
    machine.write(top - (1 << 20), 1).unwrap();
    machine.write(top - (8 << 20), 1).unwrap();
    assert_eq!(machine.write(top - (8 << 20) - 1, 1), Err(FaultError::NotMapped));
    // A stack keeps its distance.
    let other = 0x7fff_0000_0000;
    space.map_stack(other).unwrap();
    machine.map_anonymous(other - (3 << 20), 4096, MapFlags::FIXED).unwrap();
    assert_eq!(machine.write(other - (2 << 20) - 1, 1), Err(FaultError::NotMapped));
    machine.write(other - (2 << 20) + 4096, 1).unwrap();
}

#[test]
fn too_many_areas() {
    let machine = Machine::new();
    let len = 2 * (vma::MAX_MAP_COUNT + 2) * 4096;
    let at = machine.map_anonymous(0, len, MapFlags::NORESERVE).unwrap();
    let mut page = at;
    // Each takes one out of the middle and makes two areas more.
    while machine.space.mprotect(page + 4096, 4096, 0).is_ok() {
        page += 8192;
        assert!(page < at + len);
    }
    assert!(machine.space.layout.read().areas.len() > vma::MAX_MAP_COUNT - 2);
    assert_eq!(machine.space.munmap(page + 4 * 4096, 4096), Ok(()));
    assert_eq!(machine.space.munmap(page + 8 * 4096, 4096), Err(Errno::ENOMEM));
    assert_eq!(machine.space.mprotect(page + 4096, 4096, 0), Err(Errno::ENOMEM));
    assert_eq!(machine.space.munmap(at, 4096), Ok(()));
}
