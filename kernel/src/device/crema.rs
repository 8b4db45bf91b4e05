//! `/dev/crema`: where kernel and JVM bridge meet.
//!
//! Responsible for the open file and for handing each request to its family. What is said is in the crate
//! `crema-device`; what a family does is in a module of its own. State of a family belongs to the open file
//! and goes with it, so that a bridge that ends leaves nothing behind.

mod write_tracking;

use alloc::sync::Arc;
use core::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
};

use crema_device::{device, write_tracking as tracking};
use linux_abi::Errno;
use vfs::File;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{arch::cpu, user::UserPtr};

/// Linux's range of numbers for local and experimental use (`Documentation/admin-guide/devices.txt`: 240-254 char).
pub const MAJOR: u32 = 240;
/// The one device there.
pub const MINOR: u32 = 0;

/// An open file; its number tells the families whose state is whose.
struct Crema {
    number: u64,
}

/// Opens the device.
pub fn open() -> Arc<dyn File> {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    Arc::new(Crema { number: OPENED.fetch_add(1, Ordering::Relaxed) })
}

impl File for Crema {
    fn ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        match request {
            device::INFO => {
                let info = device::Info { version: device::VERSION, cpus: cpu::all().count() as u32 };
                fill(argument, info)
            }
            tracking::ARM => write_tracking::arm(self.number, taken(argument)?).map(|()| 0),
            tracking::COLLECT => {
                let mut collect = taken(argument)?;
                write_tracking::collect(self.number, &mut collect)?;
                fill(argument, collect)
            }
            tracking::DISARM => {
                write_tracking::disarm(self.number);
                Ok(0)
            }
            tracking::COUNTERS => fill(argument, write_tracking::counters()),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Crema {
    fn drop(&mut self) {
        write_tracking::disarm(self.number);
    }
}

/// The argument of a request that reads it.
fn taken<T: FromBytes + IntoBytes + Immutable>(argument: usize) -> Result<T, Errno> {
    UserPtr::<T>::new(argument as u64).read()
}

/// Answers a request that fills its argument in.
fn fill<T: FromBytes + IntoBytes + Immutable>(argument: usize, value: T) -> Result<usize, Errno> {
    UserPtr::<T>::new(argument as u64).write(value).map(|()| 0)
}
