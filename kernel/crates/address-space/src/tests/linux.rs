//! The same random calls to the host's Linux and to the code under test must give the same results, the same
//! contents and the same rights.

use linux_abi::memory::MremapFlags;
use proptest::prelude::*;

use super::*;

const PAGES: usize = 40;
const FILE_PAGES: usize = 12;

/// Sorted by how often they come up.
#[derive(Clone, Debug)]
enum Step {
    Map { at: usize, len: usize, prot: i32, kind: Kind, replace: bool, offset: usize },
    Unmap { at: usize, len: usize },
    Protect { at: usize, len: usize, prot: i32 },
    Advise { at: usize, len: usize, advice: i32 },
    Remap { at: usize, len: usize, new_len: usize, flags: i32, to: usize },
    Write { at: usize, value: u8 },
    Read { at: usize },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Anonymous,
    SharedAnonymous,
    PrivateFile,
    SharedFile,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..PAGES;
    let len = 1usize..10;
    let prot = || {
        prop_oneof![
            1 => Just(libc::PROT_NONE),
            1 => Just(libc::PROT_READ),
            3 => Just(libc::PROT_READ | libc::PROT_WRITE),
            1 => Just(libc::PROT_READ | libc::PROT_EXEC),
        ]
    };
    let kind = prop::sample::select(vec![
        Kind::Anonymous,
        Kind::Anonymous,
        Kind::SharedAnonymous,
        Kind::PrivateFile,
        Kind::SharedFile,
    ]);
    let advice = prop_oneof![
        4 => Just(libc::MADV_DONTNEED),
        1 => Just(libc::MADV_WILLNEED),
        1 => Just(libc::MADV_POPULATE_READ),
        1 => Just(libc::MADV_POPULATE_WRITE),
        1 => Just(libc::MADV_COLD),
        1 => Just(5),
    ];
    let remap_flags = prop::sample::select(vec![0, 1, 2, 3, 3, 3, 5, 7, 8]);
    prop_oneof![
        4 => (at.clone(), len.clone(), prot(), kind, any::<bool>(), 0..FILE_PAGES + 2)
            .prop_map(|(at, len, prot, kind, replace, offset)| Step::Map { at, len, prot, kind, replace, offset }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Step::Unmap { at, len }),
        3 => (at.clone(), len.clone(), prot()).prop_map(|(at, len, prot)| Step::Protect { at, len, prot }),
        2 => (at.clone(), len.clone(), advice).prop_map(|(at, len, advice)| Step::Advise { at, len, advice }),
        2 => (at.clone(), 0usize..8, 0usize..10, remap_flags, 0..PAGES)
            .prop_map(|(at, len, new_len, flags, to)| Step::Remap { at, len, new_len, flags, to }),
        6 => (at.clone(), 1u8..0x7f).prop_map(|(at, value)| Step::Write { at, value }),
        4 => at.prop_map(|at| Step::Read { at }),
    ]
}

fn address(page: usize) -> usize {
    BASE + page * PAGE_SIZE
}

fn errno() -> Errno {
    Errno::from_number(std::io::Error::last_os_error().raw_os_error().unwrap() as u16).unwrap()
}

fn result(value: libc::c_int) -> Result<usize, Errno> {
    if value < 0 { Err(errno()) } else { Ok(value as usize) }
}

fn pointer_result(value: *mut libc::c_void) -> Result<usize, Errno> {
    if value == libc::MAP_FAILED { Err(errno()) } else { Ok(value.addr()) }
}

/// Reads or writes a byte of this process the way the kernel does, which fails instead of raising a signal.
fn poke(address: usize, value: Option<u8>) -> Result<u8, ()> {
    let mut byte = value.unwrap_or(0);
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: 1 };
    // SAFETY: the local vector is valid; the remote one is checked by the kernel, and nothing of this
    // process's own memory lies there.
    let n = unsafe {
        let pid = libc::getpid();
        match value {
            None => libc::process_vm_readv(pid, &local, 1, &remote, 1, 0),
            Some(_) => libc::process_vm_writev(pid, &local, 1, &remote, 1, 0),
        }
    };
    if n == 1 { Ok(byte) } else { Err(()) }
}

/// Rights and object offset of each page of the region, as `/proc/self/maps` has them.
fn linux_maps() -> Vec<Option<(String, u64)>> {
    let mut pages = vec![None; PAGES];
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        let rights = fields.next().unwrap();
        let offset = u64::from_str_radix(fields.next().unwrap(), 16).unwrap();
        let is_file = fields.nth(1).unwrap() != "0";
        for (n, page) in pages.iter_mut().enumerate() {
            if (start..end).contains(&address(n)) {
                let offset = if is_file { offset + (address(n) - start) as u64 } else { 0 };
                *page = Some((rights.to_string(), offset));
            }
        }
    }
    pages
}

/// What an area's later fate depends on: its rights, and whether it ever had the right to write, as its memory is accounted
/// for then. Whether that ends with the right depends on Linux's version, and with it what is merged.
fn kept_rights(before: i32, prot: i32) -> i32 {
    const WAS_WRITABLE: i32 = 1 << 8;
    let is_writable = prot & libc::PROT_WRITE != 0;
    prot | before & WAS_WRITABLE | if is_writable { WAS_WRITABLE } else { 0 }
}

fn our_maps(machine: &Machine) -> Vec<Option<(String, u64)>> {
    (0..PAGES)
        .map(|n| {
            let area = machine.space.area_from(address(n)).filter(|area| area.range.start <= address(n))?;
            let letter = |flag, letter| if area.flags.contains(flag) { letter } else { '-' };
            let rights = [
                letter(vma::VmFlags::READ, 'r'),
                letter(vma::VmFlags::WRITE, 'w'),
                letter(vma::VmFlags::EXEC, 'x'),
                if area.flags.contains(vma::VmFlags::SHARED) { 's' } else { 'p' },
            ];
            let offset = area.object.map_or(0, |(_, offset)| offset + (address(n) - area.range.start) as u64);
            Some((rights.iter().collect(), offset))
        })
        .collect()
}

/// One at a time: all use the same addresses of this process.
static REGION: Mutex<()> = Mutex::new(());

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let _guard = REGION.lock().unwrap_or_else(|error| error.into_inner());
    let machine = Machine::new();
    let file = TestFile::new(FILE_PAGES as u64);
    // SAFETY: plain calls; the region is used by this test only.
    let fd = unsafe {
        libc::munmap(BASE as *mut _, 2 * PAGES * PAGE_SIZE);
        libc::memfd_create(c"test".as_ptr(), 0)
    };
    for index in 0..FILE_PAGES {
        let bytes = [pattern(index as u64); PAGE_SIZE];
        // SAFETY: the buffer is valid.
        let written =
            unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), PAGE_SIZE, (index * PAGE_SIZE) as i64) };
        assert_eq!(written, PAGE_SIZE as isize);
    }
    // Which mapping each page belongs to: what Linux may have merged with its neighbour, or not, is not
    // remapped.
    let mut mappings = vec![(0, 0); PAGES * 2];
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Map { at, len, prot, kind, replace, offset } => {
                let fixed = if replace { MapFlags::FIXED } else { MapFlags::FIXED_NOREPLACE };
                let is_file = matches!(kind, Kind::PrivateFile | Kind::SharedFile);
                let is_shared = matches!(kind, Kind::SharedAnonymous | Kind::SharedFile);
                let map_type = if is_shared { 1 } else { 2 };
                let flags = if is_file { fixed } else { fixed | MapFlags::ANONYMOUS };
                // SAFETY: the region is this test's.
                let linux = pointer_result(unsafe {
                    libc::mmap(
                        address(at) as *mut _,
                        len * PAGE_SIZE,
                        prot,
                        map_type | flags.bits() as i32,
                        if is_file { fd } else { -1 },
                        (offset * PAGE_SIZE) as i64,
                    )
                });
                let ours = machine.space.mmap(MapRequest {
                    address: address(at),
                    len: len * PAGE_SIZE,
                    prot: Prot::from_raw(prot as u32).unwrap(),
                    map_type: map_type as u32,
                    flags,
                    source: is_file.then(|| source(&file)),
                    offset: (offset * PAGE_SIZE) as u64,
                });
                prop_assert_eq!(&ours, &linux, "step {} {:?}", number, step);
                if ours.is_ok() {
                    mappings[at..at + len].fill((number + 1, kept_rights(0, prot)));
                }
            }
            Step::Unmap { at, len } => {
                // SAFETY: the region is this test's.
                let linux = result(unsafe { libc::munmap(address(at) as *mut _, len * PAGE_SIZE) });
                let ours = machine.space.munmap(address(at), len * PAGE_SIZE).map(|()| 0);
                prop_assert_eq!(&ours, &linux, "step {} {:?}", number, step);
                mappings[at..at + len].fill((0, 0));
            }
            Step::Protect { at, len, prot } => {
                // SAFETY: the region is this test's.
                let linux = result(unsafe { libc::mprotect(address(at) as *mut _, len * PAGE_SIZE, prot) });
                let ours = machine.space.mprotect(address(at), len * PAGE_SIZE, prot as u32).map(|()| 0);
                prop_assert_eq!(&ours, &linux, "step {} {:?}", number, step);
                for page in mappings[at..at + len].iter_mut().take_while(|page| page.0 != 0) {
                    page.1 = kept_rights(page.1, prot);
                }
            }
            Step::Advise { at, len, advice } => {
                // SAFETY: the region is this test's.
                let linux = result(unsafe { libc::madvise(address(at) as *mut _, len * PAGE_SIZE, advice) });
                let ours = machine.space.madvise(address(at), len * PAGE_SIZE, advice as u32).map(|()| 0);
                prop_assert_eq!(&ours, &linux, "step {} {:?}", number, step);
            }
            Step::Remap { at, len, new_len, flags, to } => {
                let id = mappings[at];
                let is_one = mappings[at..at + len.max(1)].iter().all(|page| *page == id);
                let is_bounded = mappings.get(at + len) != Some(&id) || new_len <= len || flags & 2 != 0;
                // Without FIXED it may move anywhere: both must choose to stay.
                let may_wander = flags & 1 != 0 && flags & 2 == 0;
                if !is_one || !is_bounded || may_wander {
                    continue;
                }
                // SAFETY: the region is this test's.
                let linux = pointer_result(unsafe {
                    libc::mremap(
                        address(at) as *mut _,
                        len * PAGE_SIZE,
                        new_len * PAGE_SIZE,
                        flags,
                        address(to) as *mut libc::c_void,
                    )
                });
                let ours = MremapFlags::from_raw(flags as u32).and_then(|flags| {
                    machine.space.mremap(
                        address(at),
                        len * PAGE_SIZE,
                        new_len * PAGE_SIZE,
                        flags,
                        address(to),
                    )
                });
                prop_assert_eq!(&ours, &linux, "step {} {:?}", number, step);
                if ours.is_ok() {
                    if flags & 2 != 0 {
                        if flags & 4 == 0 {
                            mappings[at..at + len].fill((0, 0));
                        } else {
                            mappings[at..at + len].fill((number + 1_000, id.1));
                        }
                        mappings[to..to + new_len].fill((number + 1, id.1));
                    } else {
                        mappings[at..at + len.max(new_len)].fill((0, 0));
                        mappings[at..at + new_len].fill(id);
                    }
                }
            }
            Step::Write { at, value } => {
                let place = address(at) + 100;
                let linux = poke(place, Some(value)).map(drop);
                let ours = machine.write(place, value).map_err(drop);
                prop_assert_eq!(ours, linux, "step {} {:?}", number, step);
            }
            Step::Read { at } => {
                let place = address(at) + 100;
                prop_assert_eq!(
                    machine.read(place).map_err(drop),
                    poke(place, None),
                    "step {} {:?}",
                    number,
                    step
                );
            }
        }
        prop_assert_eq!(our_maps(&machine), linux_maps(), "rights after step {} {:?}", number, step);
    }
    for page in 0..PAGES {
        for place in [address(page) + 100, address(page) + 101] {
            prop_assert_eq!(
                machine.read(place).map_err(drop),
                poke(place, None),
                "contents of page {}",
                page
            );
        }
    }
    let before = machine.space.resident().total();
    prop_assert!(before <= 2 * PAGES * PAGE_SIZE);
    machine.space.munmap(BASE, 2 * PAGES * PAGE_SIZE).unwrap();
    prop_assert_eq!(machine.space.resident().total(), 0);
    prop_assert_eq!(machine.space.table_bytes(), 0);
    // Only the file refers to its pages now.
    prop_assert!(file.state().pages.values().all(|page| page.ref_count() == 1));
    // SAFETY: the region and the descriptor are this test's.
    unsafe {
        libc::munmap(BASE as *mut _, 2 * PAGES * PAGE_SIZE);
        libc::close(fd);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn behaves_as_linux(steps in proptest::collection::vec(step(), 1..60)) {
        run(&steps)?;
    }
}
