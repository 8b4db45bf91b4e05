//! Futexes: `futex(2)` over the crate `futex`'s table, and the robust list.
//!
//! The table's buckets are spin locks, and the application's word is looked at under them. A fault cannot be
//! served there: the access fails at once (see `arch::trap`), everything is undone, the word is touched with
//! no lock held, and the call begins again.

use core::num::NonZeroU32;

use ::futex::{Cancel, FutexTable, Key, Node, Requeued, Waiter};
use address_space::Identity;
use ksync::platform::Parker;
use linux_abi::{
    Errno,
    futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, WakeOp},
};
use spin::LazyLock;

use crate::{
    arch::cpu,
    mm,
    task::{self, Thread},
    user::UserPtr,
};

static TABLE: LazyLock<FutexTable<Thread>> = LazyLock::new(|| FutexTable::new(cpu::count()));

impl Waiter for Thread {
    fn node(&self) -> &Node<Self> {
        &self.futex_node
    }

    fn wake(&self) {
        self.unpark();
    }
}

/// Why a look at the word under the bucket's lock did not end in a wait.
enum Check {
    /// The word has another value, or another error.
    Failed(Errno),
    /// Its page is not there: touch it and begin again.
    PageAbsent,
}

/// Who may use a word: whether the call had `FUTEX_PRIVATE_FLAG`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Threads of this process by this address: nothing has to be looked up.
    Private,
    /// Whoever maps the same memory.
    Shared,
}

/// The key of a futex word. Words in shared mappings are known by the object, so that two mappings of it
/// meet.
fn key(address: UserPtr<u32>, scope: Scope) -> Result<Key, Errno> {
    let address = address.address();
    match scope {
        Scope::Private => Key::private(address),
        Scope::Shared => match mm::space().identify(address as usize)? {
            Identity::Shared { object, offset } => Key::shared(object, offset),
            Identity::Private => Key::in_private_mapping(address),
        },
    }
}

/// Runs `operation` again and again until no page was absent.
fn retry<T>(address: UserPtr<u32>, mut operation: impl FnMut() -> Result<T, Check>) -> Result<T, Errno> {
    loop {
        match operation() {
            Ok(value) => return Ok(value),
            Err(Check::Failed(error)) => return Err(error),
            // With no lock held a fault is served; if it cannot be, this is the EFAULT. A
            // compare-and-exchange that changes nothing makes the page writable too, for `wake_op`.
            Err(Check::PageAbsent) => {
                let value = address.load()?;
                address.compare_exchange(value, value)?;
            }
        }
    }
}

fn look(address: UserPtr<u32>) -> Result<u32, Check> {
    address
        .load()
        .map_err(|error| if error == Errno::EFAULT { Check::PageAbsent } else { Check::Failed(error) })
}

fn expect(address: UserPtr<u32>, expected: u32) -> Result<(), Check> {
    if look(address)? == expected { Ok(()) } else { Err(Check::Failed(Errno::EAGAIN)) }
}

/// `FUTEX_WAIT_BITSET`: waits while the word has the value `expected`, until `deadline_ns` on the monotonic
/// clock. `EAGAIN` if it has not, `ETIMEDOUT`, or an interruption.
pub fn wait(
    address: UserPtr<u32>,
    scope: Scope,
    expected: u32,
    bitset: NonZeroU32,
    deadline_ns: Option<u64>,
) -> Result<(), Errno> {
    let thread = task::current_arc();
    let key = key(address, scope)?;
    loop {
        match TABLE.wait(key, bitset, &thread, || expect(address, expected)) {
            Ok(()) => break,
            Err(Check::Failed(error)) => return Err(error),
            Err(Check::PageAbsent) => {
                address.load()?;
            }
        }
    }
    while thread.futex_node.is_queued() {
        let given_up = if thread.interrupted() {
            Some(Errno::ERESTARTSYS)
        } else if deadline_ns.is_some_and(|deadline_ns| ksync::platform::now_ns() >= deadline_ns) {
            Some(Errno::ETIMEDOUT)
        } else {
            None
        };
        match given_up {
            None => thread.park(deadline_ns),
            Some(error) => match TABLE.cancel(&thread) {
                Cancel::Cancelled => return Err(error),
                Cancel::AlreadyWoken => return Ok(()),
            },
        }
    }
    Ok(())
}

/// Wakes one waiter, as the kernel does of its own accord; Linux takes such words for shared ones.
pub fn wake_one(address: UserPtr<u32>) {
    let _ = wake(address, Scope::Shared, 1, FutexTable::<Thread>::ANY);
}

/// `FUTEX_WAKE_BITSET`: wakes up to `count` waiters.
pub fn wake(address: UserPtr<u32>, scope: Scope, count: usize, bitset: NonZeroU32) -> Result<usize, Errno> {
    Ok(TABLE.wake(key(address, scope)?, count, bitset))
}

/// `FUTEX_REQUEUE` and, with a value that the word must have, `FUTEX_CMP_REQUEUE`.
pub fn requeue(
    from: UserPtr<u32>,
    to: UserPtr<u32>,
    scope: Scope,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result<Requeued, Errno> {
    let (from_key, to_key) = (key(from, scope)?, key(to, scope)?);
    retry(from, || {
        TABLE.requeue(from_key, to_key, wake_count, move_count, || match expected {
            Some(expected) => expect(from, expected),
            None => Ok(()),
        })
    })
}

/// `FUTEX_WAKE_OP`: changes the second word, and wakes on the first, and on the second if its old value asks
/// for it.
pub fn wake_op(
    first: UserPtr<u32>,
    second: UserPtr<u32>,
    scope: Scope,
    wake_first: usize,
    wake_second: usize,
    operation: WakeOp,
) -> Result<usize, Errno> {
    let (first_key, second_key) = (key(first, scope)?, key(second, scope)?);
    retry(second, || {
        TABLE.wake_op(first_key, wake_first, second_key, wake_second, || {
            let mut old = look(second)?;
            loop {
                let seen = second.compare_exchange(old, operation.apply(old)).map_err(|error| {
                    if error == Errno::EFAULT { Check::PageAbsent } else { Check::Failed(error) }
                })?;
                if seen == old {
                    return Ok(operation.holds(old));
                }
                old = seen;
            }
        })
    })
}

/// Marks the robust futexes that an ending thread holds, and wakes one waiter on each (Linux
/// kernel/futex/core.c, `exit_robust_list`). The list is the application's memory: whatever it holds, this
/// ends.
pub fn release_robust_list(thread: &Thread) {
    let head_address = thread.robust_list.load(core::sync::atomic::Ordering::Relaxed);
    if head_address == 0 {
        return;
    }
    let Ok([mut entry, offset, pending]) = UserPtr::<[u64; 3]>::new(head_address).read() else { return };
    // Bit 0 of an entry marks a priority-inheritance futex, which are not offered.
    let word = |entry: u64| UserPtr::<u32>::new((entry & !1).wrapping_add(offset));
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !1 == head_address {
            break;
        }
        // Read the link first: once the word is released, the entry may go.
        let next = UserPtr::<u64>::new(entry & !1).read();
        if entry & !1 != pending & !1 {
            release_robust(word(entry), thread.tid, Pending::No);
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => break,
        }
    }
    if pending & !1 != 0 {
        release_robust(word(pending), thread.tid, Pending::Yes);
    }
}

/// Whether a robust futex was being taken or released when its thread ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Yes,
    No,
}

fn release_robust(word: UserPtr<u32>, tid: u32, pending: Pending) {
    let Ok(mut value) = word.load() else { return };
    if pending == Pending::Yes && value == 0 {
        // It was released already, but the wake-up may not have been made.
        wake_one(word);
        return;
    }
    while value & FUTEX_TID_MASK == tid {
        let released = value & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        match word.compare_exchange(value, released) {
            Ok(seen) if seen == value => {
                if value & FUTEX_WAITERS != 0 {
                    wake_one(word);
                }
                return;
            }
            Ok(seen) => value = seen,
            Err(_) => return,
        }
    }
}
