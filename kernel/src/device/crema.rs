//! `/dev/crema`: where kernel and JVM bridge meet.
//!
//! Responsible for the open file and for handing each request to its family. What is said is in the crate
//! `crema-device`; what a family does is in a module of its own. State of a family belongs to the open file
//! and goes with it, so that a bridge that ends leaves nothing behind.

use alloc::sync::Arc;
use core::any::Any;

use crema_device::device;
use linux_abi::Errno;
use vfs::File;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{arch::cpu, user::UserPtr};

/// Linux's range of numbers for local and experimental use (`Documentation/admin-guide/devices.txt`: 240-254 char).
pub const MAJOR: u32 = 240;
/// The one device there.
pub const MINOR: u32 = 0;

struct Crema;

/// Opens the device.
pub fn open() -> Arc<dyn File> {
    Arc::new(Crema)
}

impl File for Crema {
    fn ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        match request {
            device::INFO => {
                let info = device::Info { version: device::VERSION, cpus: cpu::all().count() as u32 };
                fill(argument, info)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Answers a request that fills its argument in.
fn fill<T: FromBytes + IntoBytes + Immutable>(argument: usize, value: T) -> Result<usize, Errno> {
    UserPtr::<T>::new(argument as u64).write(value).map(|()| 0)
}
