//! Whether a file system is in order, and what is done about damage: no more changes, and a note of it.

use alloc::{
    format,
    string::{String, ToString},
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ksync::Mutex;
use rsext4::{Ext4Error, Ext4ErrorKind};
use spin::Once;

/// How a file system is: as the mount found it, until damage shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was left in order.
    Good,
    /// It was not, after a power cut for example: the journal was replayed, and files that nobody had a name
    /// for any more were freed. Nothing that was durable is lost.
    Recovered,
    /// It is damaged, and for reading only: changes fail with `EROFS`. In words, what is wrong.
    Damaged(String),
}

/// The health, which gets worse at most once.
pub(crate) struct HealthRecord {
    health: Mutex<Health>,
    is_damaged: AtomicBool,
}

impl HealthRecord {
    pub(crate) fn new(health: Health) -> Self {
        let is_damaged = AtomicBool::new(matches!(health, Health::Damaged(_)));
        Self { health: Mutex::new(health), is_damaged }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// Returns whether it is news.
    pub(crate) fn note_damage(&self, reason: String) -> bool {
        let is_news = !self.is_damaged.swap(true, Ordering::AcqRel);
        if is_news {
            *self.health.lock() = Health::Damaged(reason);
        }
        is_news
    }
}

/// How the first damage showed that any file system here was found to have.
static FIRST_DAMAGE: Once<String> = Once::new();

/// How many times damage is logged: a program may run into it without end.
const LOGGED_DAMAGES: u32 = 16;

/// How the first damage showed that was found, if there was any: the operation, and what is wrong.
pub fn first_damage() -> Option<&'static str> {
    FIRST_DAMAGE.get().map(String::as_str)
}

/// Says in words what is damaged, if `error` means that something is.
pub(crate) fn damage(error: &Ext4Error) -> Option<String> {
    let what = match error.kind() {
        Ext4ErrorKind::ChecksumMismatch => "a wrong checksum",
        Ext4ErrorKind::BadSuperblock => "a bad superblock",
        Ext4ErrorKind::Corrupted => "a corrupted structure",
        _ => return None,
    };
    Some(match error.context() {
        Some(context) => format!("{what}, {context}"),
        None => what.to_string(),
    })
}

/// Remembers and logs damage.
pub(crate) fn report_damage(reason: &str) {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    FIRST_DAMAGE.call_once(|| reason.to_string());
    if SEEN.fetch_add(1, Ordering::Relaxed) < LOGGED_DAMAGES {
        log::error!("ext4: the file system is damaged: {reason}");
    }
}
