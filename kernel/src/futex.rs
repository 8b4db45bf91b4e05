//! Futexes: `futex(2)` over the crate `futex`'s table, and the robust list.
//!
//! The table's buckets are spin locks, and the application's word is looked at under them. A fault cannot be served there: the
//! access fails at once (see `arch::trap`), everything is undone, the word is touched with no lock held, and the call begins again.

use alloc::sync::Arc;
use core::num::NonZeroU32;

use ::futex::{Cancel, FutexTable, Key, Waiter};
use ksync::platform::Parker;
use linux_abi::{
    Errno,
    futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead, WakeOp},
};
use spin::Lazy;

use crate::{
    arch::cpu,
    mm, task::{self, Thread},
    user::UserPtr,
};
