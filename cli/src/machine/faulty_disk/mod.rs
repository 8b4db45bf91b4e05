//! A disk for guests that loses power: an NBD server on a UNIX socket, over a file (`crema faulty-disk`, and in process for tests).
//!
//! [`model`] is the disk: what has been written, and what a cut leaves of it. [`nbd`] is the format of what goes through the
//! socket, [`server`] the thread that lies between the two. QEMU is the client: `crema run --volume-server SOCKET:/data`.
//!
//! In tests: [`FaultyDisk::serve`] a file, boot a guest on it, have it write, [`FaultyDisk::cut_after`] some more requests,
//! [`FaultyDisk::wait_for_cut`], kill the machine, [`FaultyDisk::end`]. The file then is what the next boot finds.

mod model;
mod nbd;
mod server;

use std::{
    fs::File,
    io,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
    str::FromStr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::model::Counts;
use self::{model::Disk, server::Shared};
use crate::failure::{Failure, Result};

/// What a request is, for those that fail on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Read,
    Write,
    Flush,
}

/// A request that fails with EIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingRequest {
    pub kind: RequestKind,
    /// Which of its kind, from 1.
    pub number: u64,
}

impl FromStr for FailingRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "it must be read:N, write:N or flush:N, with N from 1";
        let (kind, number) = text.split_once(':').ok_or(wrong)?;
        let kind = match kind {
            "read" => RequestKind::Read,
            "write" => RequestKind::Write,
            "flush" => RequestKind::Flush,
            _ => return Err(wrong.into()),
        };
        let number = number.parse().ok().filter(|number| *number > 0).ok_or(wrong)?;
        Ok(Self { kind, number })
    }
}

/// A disk that is served until it is ended or dropped.
pub struct FaultyDisk {
    shared: Arc<Shared>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl FaultyDisk {
    /// Serves a file on a socket. The seed decides what chance does to it.
    pub fn serve(file: &Path, socket: &Path, seed: u64, failing: &[FailingRequest]) -> Result<Self> {
        let opened = File::options().read(true).write(true).open(file).map_err(Failure::io("open", file))?;
        let disk = Disk::new(opened, seed).map_err(Failure::io("read", file))?;
        // What an earlier server left behind is in the way.
        if std::fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(socket).map_err(Failure::io("remove", socket))?;
        }
        let listener = UnixListener::bind(socket).map_err(Failure::io("listen on", socket))?;
        listener.set_nonblocking(true).map_err(Failure::io("listen on", socket))?;
        let shared = Arc::new(Shared::new(disk, failing.to_vec()));
        let server = thread::spawn({
            let shared = shared.clone();
            move || server::serve(&listener, &shared)
        });
        Ok(Self { shared, server: Some(server) })
    }

    /// Has the power go with the `changes`th write, flush or discard from now on: it is not answered, nor is any other request.
    pub fn cut_after(&self, changes: u64) {
        self.shared.cut_after(changes);
    }

    /// Has the power go now.
    pub fn cut(&self) {
        self.shared.cut_after(0);
    }

    /// Waits until the power is gone. False if time is up before.
    pub fn wait_for_cut(&self, patience: Duration) -> bool {
        self.shared.wait_for_cut(patience)
    }

    pub fn counts(&self) -> Counts {
        self.shared.disk().counts()
    }

    /// Ends the disk, and the power with it: of what is not durable chance decides. Afterwards the file is what the next boot finds. To be
    /// called when the machine has ended, for else it would see its disk go.
    pub fn end(mut self) -> Result<Counts> {
        self.shared.stop();
        if let Some(server) = self.server.take() {
            match server.join() {
                Ok(result) => {
                    result.map_err(|error| Failure::new(format!("the disk's server: {error}")))?;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let mut disk = self.shared.disk();
        disk.cut().map_err(|error| Failure::new(format!("the disk's file: {error}")))?;
        Ok(disk.counts())
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::{nbd::client::Client, *};

    const SIZE: u64 = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { folder: tempfile::tempdir().unwrap() };
            File::create(fixture.path("disk")).unwrap().set_len(SIZE).unwrap();
            fixture
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        fn serve(&self, seed: u64, failing: &[FailingRequest]) -> (FaultyDisk, Client) {
            let disk = FaultyDisk::serve(&self.path("disk"), &self.path("socket"), seed, failing).unwrap();
            let client = Client::connect(&self.path("socket")).unwrap();
            assert_eq!(client.size_bytes, SIZE);
            (disk, client)
        }
    }

    #[test]
    fn requests_are_answered() {
        let fixture = Fixture::new();
        let (disk, mut client) = fixture.serve(1, &[]);
        assert_eq!(client.write(4096, &[7; 1024]), 0);
        assert_eq!(client.read(4096, 1536), [[7; 1024].as_slice(), &[0; 512]].concat());
        assert_eq!(client.flush(), 0);
        // TRIM, WRITE_ZEROES with FUA, and what is not known or off the disk.
        assert_eq!(client.perform(4, 0, 8192, 4096, &[]), 0);
        assert_eq!(client.perform(6, 1, 4096, 512, &[]), 0);
        assert_eq!(client.read(4096, 1024), [[0; 512], [7; 512]].concat());
        assert_eq!(client.perform(9, 0, 0, 0, &[]), 22);
        assert_eq!(client.write(SIZE, &[7; 512]), 22);
        drop(client);
        // The next client of the same disk.
        let mut client = Client::connect(&fixture.path("socket")).unwrap();
        assert_eq!(client.read(4608, 512), [7; 512]);
        let counts = disk.end().unwrap();
        let expected = Counts {
            reads: 3,
            writes: 2,
            forced_writes: 1,
            flushes: 1,
            discards: 1,
            kept: counts.kept,
            lost: counts.lost,
            torn: counts.torn,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn writes_end_in_any_order_and_flushes_are_not_held_up() {
        let fixture = Fixture::new();
        let (disk, mut client) = fixture.serve(3, &[]);
        let sent: Vec<u64> = (0..200).map(|number| client.send(1, 0, number * 512, 512, &[1; 512])).collect();
        let mut ended: Vec<u64> = (0..200).map(|_| client.receive().unwrap().0).collect();
        assert_ne!(ended, sent);
        ended.sort_unstable();
        assert_eq!(ended, sent);
        assert_eq!(client.flush(), 0);
        disk.end().unwrap();
        assert_eq!(std::fs::read(fixture.path("disk")).unwrap()[..200 * 512], [1; 200 * 512]);
    }

    #[test]
    fn the_power_goes_with_a_request() {
        for seed in 0..10 {
            let fixture = Fixture::new();
            let (disk, mut client) = fixture.serve(seed, &[]);
            assert_eq!(client.write(0, &[1; 512]), 0);
            assert_eq!(client.flush(), 0);
            disk.cut_after(3);
            assert_eq!(client.write(512, &[2; 512]), 0);
            assert!(!disk.wait_for_cut(Duration::ZERO));
            assert_eq!(client.write(1024, &[3; 512]), 0);
            // Neither this nor any other is answered.
            client.send(3, 0, 0, 0, &[]);
            assert!(disk.wait_for_cut(PATIENCE));
            client.send(1, 0, 0, 512, &[4; 512]);
            client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            assert!(client.receive().is_err());
            disk.end().unwrap();
            let bytes = std::fs::read(fixture.path("disk")).unwrap();
            assert_eq!(bytes[0], 1);
            assert!([0, 2].contains(&bytes[512]) && [0, 3].contains(&bytes[1024]));
        }
    }

    #[test]
    fn requests_fail_on_purpose() {
        let fixture = Fixture::new();
        let failing = ["write:2", "flush:1", "read:1"].map(|text| text.parse().unwrap());
        let (disk, mut client) = fixture.serve(1, &failing);
        assert_eq!(client.write(0, &[1; 512]), 0);
        assert_eq!(client.write(0, &[2; 512]), 5);
        assert_eq!((client.flush(), client.flush()), (5, 0));
        assert_eq!(client.perform(0, 0, 0, 512, &[]), 5);
        assert_eq!(client.read(0, 512), [1; 512]);
        assert_eq!(disk.end().unwrap().failed, 3);
        for text in ["write", "write:0", "trim:1", "write:x"] {
            assert!(text.parse::<FailingRequest>().is_err(), "{text}");
        }
    }
}
