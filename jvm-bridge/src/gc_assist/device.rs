//! `/dev/crema`, for write tracking.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use crema_device::write_tracking::{
    ARM, Arm, COLLECT, COUNTERS, Collect, Counters, ENGINE_DIRTY, ENGINE_TRAP,
};
use crema_device::{PATH, device};

use super::Mode;

/// The open device and the engine that is wanted of it.
pub struct Device {
    file: File,
    engine: u32,
}

impl Device {
    /// Opens it, or says why there is none.
    pub fn open(mode: Mode) -> Result<Self, String> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(PATH)
            .map_err(|error| format!("{PATH}: {error} (it exists in Crema only)"))?;
        let engine = if mode == Mode::Trap { ENGINE_TRAP } else { ENGINE_DIRTY };
        let this = Self { file, engine };
        let mut info = device::Info::default();
        this.request(device::INFO, &mut info).map_err(|error| format!("{PATH}: {error}"))?;
        if info.version != device::VERSION {
            return Err(format!("{PATH} has version {}, not {}", info.version, device::VERSION));
        }
        Ok(this)
    }

    /// Takes all pages of `range` for unwritten from now on.
    pub fn arm(&self, range: Range<usize>) -> io::Result<()> {
        let mut arm =
            Arm { start: range.start as u64, len: range.len() as u64, engine: self.engine, reserved: 0 };
        self.request(ARM, &mut arm)
    }

    /// Sets the bits of the pages of `range` that were written since.
    pub fn collect(&self, range: Range<usize>, bitmap: &mut [u64]) -> io::Result<Collect> {
        let mut collect = Collect {
            start: range.start as u64,
            len: range.len() as u64,
            bitmap: bitmap.as_mut_ptr() as u64,
            bitmap_words: bitmap.len() as u64,
            ..Collect::default()
        };
        self.request(COLLECT, &mut collect)?;
        Ok(collect)
    }

    /// What tracking has cost.
    pub fn counters(&self) -> io::Result<Counters> {
        let mut counters = Counters::default();
        self.request(COUNTERS, &mut counters)?;
        Ok(counters)
    }

    fn request<T>(&self, request: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: the request's number has the argument's size, which the kernel reads and fills in at most; a bitmap
        // that it names is borrowed for writing by the caller.
        match unsafe { libc::ioctl(self.file.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
