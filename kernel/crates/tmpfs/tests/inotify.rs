//! inotify against Linux's own: the same steps in a directory of the host and in a name space of ours have to
//! give the same results and the same events, in the same order.

use std::{
    collections::HashMap,
    ffi::CString,
    fmt::Write as _,
    ops::ControlFlow,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use linux_abi::{
    Errno,
    event::InotifyMask,
    file::{AccessMode, DeviceNumber, FileType, OpenFlags, RenameFlags, StatfsFlags},
};
use proptest::prelude::*;
use tempfile::TempDir;
use tmpfs::Tmpfs;
use vfs::{
    AttributeChanges, Blocking, File, FinalLink, Inode, Inotify, MountRequest, Namespace, NewInode, OpenFile,
    OpenRequest, PollEvents, SliceSrc, SpecialFiles, Timestamp, WatchRequest,
};

/// Slots for open files.
const SLOTS: usize = 3;

/// The directory that a test works in, below the root of each world.
const HOME: &str = "home";

fn at(path: &str) -> String {
    format!("{HOME}/{path}")
}

/// One step; paths are relative to [`HOME`], which is the empty one.
#[derive(Clone, Debug)]
enum Step {
    Watch(&'static str, u32),
    Unwatch(i32),
    /// Opens into a slot; what was there is closed after.
    Open(usize, &'static str, Opening),
    Close(usize),
    Read(usize),
    Write(usize),
    List(usize),
    Truncate(&'static str),
    Permissions(&'static str),
    Owner(&'static str),
    /// Which of access and modification time to set.
    Times(&'static str, bool, bool),
    Mkdir(&'static str),
    Rmdir(&'static str),
    Unlink(&'static str),
    Rename(&'static str, &'static str),
    Exchange(&'static str, &'static str),
    Link(&'static str, &'static str),
    Symlink(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Opening {
    Read,
    ReadWrite,
    Create,
    Truncate,
    PathOnly,
    Directory,
}

impl Opening {
    fn flags(self) -> i32 {
        match self {
            Self::Read => libc::O_RDONLY,
            Self::ReadWrite => libc::O_RDWR,
            Self::Create => libc::O_RDWR | libc::O_CREAT,
            Self::Truncate => libc::O_RDWR | libc::O_TRUNC,
            Self::PathOnly => libc::O_PATH,
            Self::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
        }
    }
}

/// What a step's call returned, and the bytes of the events after it.
trait World {
    fn perform(&mut self, step: &Step) -> Result<i32, i32>;
    fn events(&mut self) -> Vec<u8>;
}

/// Runs the steps, and writes down what they gave. Cookies are renamed by the order in which they appear.
fn transcript(world: &mut dyn World, steps: &[Step]) -> String {
    let mut text = String::new();
    let mut cookies = HashMap::from([(0, 0)]);
    for step in steps {
        let result = world.perform(step);
        writeln!(text, "{step:x?}: {result:?}").unwrap();
        let bytes = world.events();
        let mut at = 0;
        while at < bytes.len() {
            let word = |index: usize| {
                u32::from_ne_bytes(bytes[at + 4 * index..at + 4 * index + 4].try_into().unwrap())
            };
            let (descriptor, mask, length) =
                (word(0) as i32, InotifyMask::from_bits_retain(word(1)), word(3));
            let known = cookies.len();
            let cookie = *cookies.entry(word(2)).or_insert(known);
            let name = &bytes[at + 16..at + 16 + length as usize];
            writeln!(text, "    {descriptor} {mask:?} {cookie} {length} {}", name.escape_ascii()).unwrap();
            at += 16 + length as usize;
        }
    }
    text
}

struct Host {
    directory: TempDir,
    notify: i32,
    slots: [Option<i32>; SLOTS],
}

impl Host {
    fn new() -> Self {
        // On a RAM file system if there is one: it is the same kind of file system then.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::create_dir(directory.path().join(HOME)).unwrap();
        // SAFETY: no pointers.
        let notify = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        assert!(notify >= 0);
        Self { directory, notify, slots: [None; SLOTS] }
    }

    fn path(&self, path: &str) -> CString {
        CString::new(self.directory.path().join(at(path)).as_os_str().as_bytes()).unwrap()
    }

    fn close(&mut self, slot: usize) {
        if let Some(fd) = self.slots[slot].take() {
            // SAFETY: the descriptor is ours.
            unsafe { libc::close(fd) };
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        (0..SLOTS).for_each(|slot| self.close(slot));
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(self.notify) };
    }
}

impl World for Host {
    fn perform(&mut self, step: &Step) -> Result<i32, i32> {
        let fd = |slot: &usize| self.slots[*slot].unwrap_or(-1);
        let mut buffer = [0u8; 4096];
        let omit = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let some_time = libc::timespec { tv_sec: 1_000_000, tv_nsec: 0 };
        // SAFETY: paths are strings that live to the end of the call, and `buffer` has the length that is
        // told.
        let result = unsafe {
            match step {
                Step::Watch(path, mask) => {
                    libc::inotify_add_watch(self.notify, self.path(path).as_ptr(), *mask)
                }
                Step::Unwatch(descriptor) => libc::inotify_rm_watch(self.notify, *descriptor),
                Step::Open(slot, path, opening) => {
                    let fd = libc::open(self.path(path).as_ptr(), opening.flags(), 0o644);
                    if fd >= 0 {
                        self.close(*slot);
                        self.slots[*slot] = Some(fd);
                    }
                    fd.min(0)
                }
                Step::Close(slot) => {
                    self.close(*slot);
                    0
                }
                Step::Read(slot) => libc::read(fd(slot), buffer.as_mut_ptr().cast(), 4) as i32,
                Step::Write(slot) => libc::write(fd(slot), buffer.as_ptr().cast(), 2) as i32,
                Step::List(slot) => {
                    let length = buffer.len();
                    libc::syscall(libc::SYS_getdents64, fd(slot), buffer.as_mut_ptr(), length).min(0) as i32
                }
                Step::Truncate(path) => libc::truncate(self.path(path).as_ptr(), 1),
                Step::Permissions(path) => libc::chmod(self.path(path).as_ptr(), 0o755),
                Step::Owner(path) => {
                    let (uid, gid) = (libc::getuid(), libc::getgid());
                    libc::chown(self.path(path).as_ptr(), uid, gid)
                }
                Step::Times(path, accessed, modified) => {
                    let times = [accessed, modified].map(|is_set| if *is_set { some_time } else { omit });
                    libc::utimensat(libc::AT_FDCWD, self.path(path).as_ptr(), times.as_ptr(), 0)
                }
                Step::Mkdir(path) => libc::mkdir(self.path(path).as_ptr(), 0o755),
                Step::Rmdir(path) => libc::rmdir(self.path(path).as_ptr()),
                Step::Unlink(path) => libc::unlink(self.path(path).as_ptr()),
                Step::Rename(old, new) => libc::rename(self.path(old).as_ptr(), self.path(new).as_ptr()),
                Step::Exchange(old, new) => libc::renameat2(
                    libc::AT_FDCWD,
                    self.path(old).as_ptr(),
                    libc::AT_FDCWD,
                    self.path(new).as_ptr(),
                    libc::RENAME_EXCHANGE,
                ),
                Step::Link(old, new) => libc::link(self.path(old).as_ptr(), self.path(new).as_ptr()),
                Step::Symlink(path) => libc::symlink(c"x".as_ptr(), self.path(path).as_ptr()),
            }
        };
        if result >= 0 { Ok(result) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap()) }
    }

    fn events(&mut self) -> Vec<u8> {
        let mut bytes = vec![0u8; 1 << 20];
        // SAFETY: the buffer has the length that is told.
        let read = unsafe { libc::read(self.notify, bytes.as_mut_ptr().cast(), bytes.len()) };
        bytes.truncate(read.max(0) as usize);
        bytes
    }
}

struct NoSpecialFiles;

impl SpecialFiles for NoSpecialFiles {
    fn open_device(&self, _: FileType, _: DeviceNumber, _: AccessMode) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    fn open_fifo(&self, _: &Arc<dyn Inode>, _: AccessMode, _: Blocking) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
}

struct Ours {
    notify: Inotify,
    slots: [Option<Arc<OpenFile>>; SLOTS],
    namespace: Namespace,
}

impl Ours {
    fn new() -> Self {
        frames::host::init();
        let file_system = Tmpfs::new("tmpfs", 10_000, 0o755);
        let flags = StatfsFlags::empty();
        let request = MountRequest { file_system, source: "tmpfs", flags, options: "" };
        let unnamed = Tmpfs::new("tmpfs", 10_000, 0o755);
        let namespace = Namespace::new(request, unnamed, Box::new(NoSpecialFiles)).unwrap();
        namespace.create(namespace.root(), HOME.as_bytes(), NewInode::Directory, 0o755).unwrap();
        Self { notify: Inotify::new().unwrap(), slots: Default::default(), namespace }
    }

    fn find(&self, path: &str, last: FinalLink) -> Result<vfs::Path, Errno> {
        self.namespace.resolve(self.namespace.root(), at(path).as_bytes(), last)
    }

    fn make(&self, path: &str) -> Result<vfs::Path, Errno> {
        self.namespace.create(self.namespace.root(), at(path).as_bytes(), NewInode::Regular, 0o644)
    }

    fn attempt(&mut self, step: &Step) -> Result<i32, Errno> {
        let root = self.namespace.root().clone();
        let slot = |slot: &usize| self.slots[*slot].clone().ok_or(Errno::EBADF);
        let found = |path: &str| self.find(path, FinalLink::Follow);
        match step {
            Step::Watch(path, mask) => {
                let request = WatchRequest::new(*mask)?;
                request.require_consistent()?;
                let stays = request.mask().contains(InotifyMask::DONT_FOLLOW);
                let path = self.find(path, if stays { FinalLink::Stay } else { FinalLink::Follow })?;
                if request.mask().contains(InotifyMask::ONLYDIR) && !path.dentry.is_directory() {
                    return Err(Errno::ENOTDIR);
                }
                return self.notify.add_watch(&path, request);
            }
            Step::Unwatch(descriptor) => self.notify.remove_watch(*descriptor)?,
            Step::Open(slot, path, opening) => {
                let access = match opening {
                    Opening::Read | Opening::PathOnly | Opening::Directory => AccessMode::ReadOnly,
                    _ => AccessMode::ReadWrite,
                };
                let flags = opening.flags() & !libc::O_ACCMODE;
                let flags = OpenFlags::from_bits_retain(flags as u32);
                let request = OpenRequest { access, flags, permissions: 0o644 };
                let file = self.namespace.open(&root, at(path).as_bytes(), &request)?;
                let former = self.slots[*slot].replace(file);
                drop(former);
            }
            Step::Close(slot) => drop(self.slots[*slot].take()),
            Step::Read(which) => {
                return slot(which)?.read(&mut &mut [0; 4][..], Blocking::Yes).map(|n| n as i32);
            }
            Step::Write(which) => {
                return slot(which)?.write(&mut SliceSrc::new(&[0; 2]), Blocking::Yes).map(|n| n as i32);
            }
            Step::List(which) => slot(which)?.read_directory(&mut |_| ControlFlow::Continue(()))?,
            Step::Truncate(path) => {
                let path = found(path)?;
                match path.inode().kind() {
                    FileType::Directory => return Err(Errno::EISDIR),
                    _ => path.truncate(1)?,
                }
            }
            Step::Permissions(path) => {
                let changes = AttributeChanges { permissions: Some(0o755), ..AttributeChanges::default() };
                found(path)?.set_attributes(&changes)?;
            }
            Step::Owner(path) => {
                let changes = AttributeChanges { uid: Some(0), gid: Some(0), ..AttributeChanges::default() };
                found(path)?.set_attributes(&changes)?;
            }
            // Nothing to set: Linux does not even look for the file, nor does our system call.
            Step::Times(_, false, false) => {}
            Step::Times(path, accessed, modified) => {
                let path = found(path)?;
                let time = |is_set: &bool| is_set.then_some(Timestamp { seconds: 1_000_000, nanoseconds: 0 });
                let (accessed, modified) = (time(accessed), time(modified));
                let changes = AttributeChanges { accessed, modified, ..AttributeChanges::default() };
                path.set_attributes(&changes)?;
            }
            Step::Mkdir(path) => {
                self.namespace.create(&root, at(path).as_bytes(), NewInode::Directory, 0o755)?;
            }
            Step::Rmdir(path) => self.namespace.rmdir(&root, at(path).as_bytes())?,
            Step::Unlink(path) => self.namespace.unlink(&root, at(path).as_bytes())?,
            Step::Rename(old, new) => {
                let flags = RenameFlags::empty();
                self.namespace.rename(&root, at(old).as_bytes(), &root, at(new).as_bytes(), flags)?;
            }
            Step::Exchange(old, new) => {
                let flags = RenameFlags::EXCHANGE;
                self.namespace.rename(&root, at(old).as_bytes(), &root, at(new).as_bytes(), flags)?;
            }
            Step::Link(old, new) => {
                let old = self.find(old, FinalLink::Stay)?;
                self.namespace.link(&old, &root, at(new).as_bytes())?;
            }
            Step::Symlink(path) => {
                self.namespace.create(&root, at(path).as_bytes(), NewInode::Symlink(b"x"), 0o777)?;
            }
        }
        Ok(0)
    }
}

impl World for Ours {
    fn perform(&mut self, step: &Step) -> Result<i32, i32> {
        self.attempt(step).map_err(|error| error as i32)
    }

    fn events(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        match self.notify.read_at(0, &mut &mut bytes[..], Blocking::No) {
            Ok(read) => bytes.truncate(read),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                bytes.clear();
            }
        }
        bytes
    }
}

/// Watches are numbered per instance, but counted for all: the tests of one process take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn compare(steps: &[Step]) {
    let _turn = turn();
    let expected = transcript(&mut Host::new(), steps);
    assert_eq!(transcript(&mut Ours::new(), steps), expected);
}

const ALL: u32 = libc::IN_ALL_EVENTS;

#[test]
fn events_of_a_directory_and_a_file_in_it_are_linuxs() {
    compare(&[
        Step::Mkdir("d"),
        Step::Watch("d", ALL),
        Step::Open(0, "d/f", Opening::Create),
        Step::Watch("d/f", ALL),
        Step::Write(0),
        Step::Write(0),
        Step::Read(0),
        Step::Open(1, "d/f", Opening::Truncate),
        Step::Read(1),
        Step::Write(1),
        Step::Truncate("d/f"),
        Step::Permissions("d/f"),
        Step::Owner("d/f"),
        Step::Times("d/f", true, true),
        Step::Times("d/f", true, false),
        Step::Times("d/f", false, true),
        Step::Times("d/f", false, false),
        Step::Link("d/f", "d/g"),
        Step::Link("d/f", "h"),
        Step::Symlink("d/s"),
        Step::Open(2, "d", Opening::Directory),
        Step::List(2),
        Step::List(2),
        Step::Close(2),
        Step::Open(2, "d/g", Opening::PathOnly),
        Step::Close(2),
        Step::Rename("d/f", "d/i"),
        Step::Rename("d/i", "d/i"),
        Step::Rename("h", "d/h"),
        Step::Rename("d/g", "g"),
        Step::Close(0),
        Step::Unlink("d/h"),
        Step::Unlink("g"),
        Step::Unlink("d/i"),
        Step::Write(1),
        Step::Close(1),
        Step::Unlink("d/s"),
        Step::Rmdir("d"),
    ]);
}

#[test]
fn directories_tell_of_themselves() {
    compare(&[
        Step::Watch("", ALL),
        Step::Mkdir("a"),
        Step::Watch("a", ALL | libc::IN_ONLYDIR),
        Step::Mkdir("a/b"),
        Step::Watch("a/b", ALL),
        Step::Open(0, "a/b", Opening::Directory),
        Step::List(0),
        Step::Rename("a/b", "c"),
        Step::Permissions("c"),
        Step::Mkdir("d"),
        Step::Rename("c", "d"),
        Step::Exchange("d", "a"),
        Step::Rmdir("a"),
        Step::Close(0),
        Step::Rmdir("d"),
        Step::Watch("d", ALL),
    ]);
}

#[test]
fn a_replaced_file_is_told_of_its_end() {
    compare(&[
        Step::Watch("", ALL),
        Step::Open(0, "a", Opening::Create),
        Step::Close(0),
        Step::Open(0, "b", Opening::Create),
        Step::Close(0),
        Step::Watch("a", ALL),
        Step::Watch("b", ALL),
        Step::Rename("a", "b"),
        Step::Open(0, "c", Opening::Create),
        Step::Watch("c", ALL),
        Step::Rename("b", "c"),
        Step::Write(0),
        Step::Close(0),
    ]);
}

#[test]
fn options_of_watches() {
    let late = libc::IN_EXCL_UNLINK;
    compare(&[
        Step::Watch("", libc::IN_CREATE | libc::IN_ONESHOT),
        Step::Open(0, "f", Opening::Create),
        Step::Open(1, "g", Opening::Create),
        Step::Watch("f", libc::IN_MODIFY),
        Step::Watch("f", libc::IN_ATTRIB | libc::IN_MASK_ADD),
        Step::Write(0),
        Step::Permissions("f"),
        Step::Watch("f", libc::IN_OPEN),
        Step::Write(0),
        Step::Watch("f", libc::IN_OPEN | libc::IN_MASK_CREATE),
        Step::Watch("f", libc::IN_OPEN | libc::IN_MASK_CREATE | libc::IN_MASK_ADD),
        Step::Watch("g", libc::IN_OPEN | libc::IN_MASK_CREATE),
        Step::Watch("f", libc::IN_OPEN | libc::IN_ONLYDIR),
        Step::Watch("f", 0),
        Step::Watch("f", 1 << 16),
        Step::Watch("f", libc::IN_ONESHOT),
        Step::Watch("missing", libc::IN_OPEN),
        Step::Watch("f/x", libc::IN_OPEN),
        Step::Symlink("s"),
        Step::Watch("s", ALL),
        Step::Watch("s", ALL | libc::IN_DONT_FOLLOW),
        Step::Unlink("s"),
        Step::Unwatch(2),
        Step::Unwatch(2),
        Step::Unwatch(77),
        Step::Watch("", ALL | late),
        Step::Watch("f", ALL | late),
        Step::Write(0),
        Step::Unlink("f"),
        Step::Write(0),
        Step::Close(0),
        Step::Watch("", ALL),
        Step::Unlink("g"),
        Step::Write(1),
        Step::Close(1),
    ]);
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"])
}

fn opening() -> impl Strategy<Value = Opening> {
    prop::sample::select(vec![
        Opening::Read,
        Opening::ReadWrite,
        Opening::Create,
        Opening::Truncate,
        Opening::PathOnly,
        Opening::Directory,
    ])
}

fn mask() -> impl Strategy<Value = u32> {
    let options = prop::sample::select(vec![
        0,
        libc::IN_ONESHOT,
        libc::IN_EXCL_UNLINK,
        libc::IN_MASK_ADD,
        libc::IN_MASK_CREATE,
        libc::IN_ONLYDIR,
    ]);
    (prop_oneof![Just(ALL), 1..=ALL], options).prop_map(|(events, options)| events | options)
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    prop_oneof![
        4 => (path(), mask()).prop_map(|(path, mask)| Step::Watch(path, mask)),
        1 => (1..6i32).prop_map(Step::Unwatch),
        6 => (slot(), path(), opening()).prop_map(|(slot, path, opening)| Step::Open(slot, path, opening)),
        2 => slot().prop_map(Step::Close),
        2 => slot().prop_map(Step::Read),
        3 => slot().prop_map(Step::Write),
        1 => slot().prop_map(Step::List),
        1 => path().prop_map(Step::Truncate),
        1 => path().prop_map(Step::Permissions),
        1 => (path(), any::<bool>(), any::<bool>()).prop_map(|(path, a, m)| Step::Times(path, a, m)),
        4 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Rmdir),
        3 => path().prop_map(Step::Unlink),
        3 => (path(), path()).prop_map(|(old, new)| Step::Rename(old, new)),
        1 => (path(), path()).prop_map(|(old, new)| Step::Exchange(old, new)),
        2 => (path(), path()).prop_map(|(old, new)| Step::Link(old, new)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_steps_give_linuxs_events(steps in prop::collection::vec(step(), 1..40)) {
        compare(&steps);
    }
}

#[test]
fn a_full_queue_says_so_once() {
    const LIMIT: usize = 16_384;
    let _turn = turn();
    let mut ours = Ours::new();
    ours.perform(&Step::Mkdir("d")).unwrap();
    ours.perform(&Step::Watch("d", libc::IN_CREATE | libc::IN_DELETE)).unwrap();
    for _ in 0..LIMIT / 2 + 10 {
        ours.perform(&Step::Mkdir("d/a")).unwrap();
        ours.perform(&Step::Rmdir("d/a")).unwrap();
    }
    assert_eq!(ours.notify.readable_bytes(), Ok(LIMIT * 32 + 16));
    let bytes = ours.events();
    assert_eq!(bytes.len(), LIMIT * 32 + 16);
    let last = &bytes[LIMIT * 32..];
    assert_eq!(last[..4], (-1i32).to_ne_bytes());
    assert_eq!(last[4..8], libc::IN_Q_OVERFLOW.to_ne_bytes());
    ours.perform(&Step::Mkdir("d/a")).unwrap();
    assert_eq!(ours.events().len(), 32);
}

#[test]
fn readers_wait_and_buffers_have_to_hold_an_event() {
    let _turn = turn();
    let mut ours = Ours::new();
    assert_eq!(ours.notify.poll(), PollEvents::empty());
    ours.perform(&Step::Watch("", libc::IN_CREATE)).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| ours.notify.read_at(0, &mut &mut [0; 64][..], Blocking::Yes));
        let made = ours.make("new");
        assert!(made.is_ok());
        assert_eq!(reader.join().unwrap(), Ok(32));
    });
    for name in ["one", "two", "a-name-of-sixteen"] {
        ours.make(name).unwrap();
    }
    assert_eq!(ours.notify.poll(), PollEvents::IN | PollEvents::RDNORM);
    assert_eq!(ours.notify.readable_bytes(), Ok(32 + 32 + 48));
    assert_eq!(ours.notify.read_at(0, &mut &mut [0; 31][..], Blocking::No), Err(Errno::EINVAL));
    assert_eq!(ours.notify.read_at(0, &mut &mut [0; 32 + 32 + 47][..], Blocking::No), Ok(64));
    assert_eq!(ours.notify.read_at(0, &mut &mut [0; 48][..], Blocking::No), Ok(48));
}

#[test]
fn a_closed_instance_leaves_nothing_behind() {
    let _turn = turn();
    let mut ours = Ours::new();
    ours.perform(&Step::Watch("", ALL)).unwrap();
    let inode = ours.find("", FinalLink::Follow).unwrap().inode().clone();
    let held = Arc::strong_count(&inode);
    let former = std::mem::replace(&mut ours.notify, Inotify::new().unwrap());
    drop(former);
    assert_eq!(Arc::strong_count(&inode), held - 1);
    let instances: Vec<_> = std::iter::from_fn(|| Inotify::new().ok()).collect();
    assert_eq!((instances.len(), Inotify::new().err()), (127, Some(Errno::EMFILE)));
}
