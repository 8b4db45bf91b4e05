//! How large the process may make files (`RLIMIT_FSIZE`, `setrlimit(2)`).

use core::sync::atomic::{AtomicU64, Ordering};

use frames::PageRef;
use linux_abi::Errno;

use crate::WriteSrc;

static LIMIT_BYTES: AtomicU64 = AtomicU64::new(u64::MAX);
static ON_EXCESS: spin::Once<fn()> = spin::Once::new();

/// Sets the limit; `u64::MAX` is none.
pub fn set_file_size_limit(bytes: u64) {
    LIMIT_BYTES.store(bytes, Ordering::Relaxed);
}

/// Gives the function that is called when a file would get too large (it sends `SIGXFSZ`); once.
pub fn set_file_size_alarm(alarm: fn()) {
    ON_EXCESS.call_once(|| alarm);
}

fn exceeded() -> Errno {
    if let Some(alarm) = ON_EXCESS.get() {
        alarm();
    }
    Errno::EFBIG
}

/// `EFBIG` if a file may not grow to `size` (`inode_newsize_ok`). Files that are too large already may
/// shrink.
pub fn check_new_size(size: u64, old_size: u64) -> Result<(), Errno> {
    if size > old_size && size > LIMIT_BYTES.load(Ordering::Relaxed) { Err(exceeded()) } else { Ok(()) }
}

/// How many bytes may be written at `offset`: `None` if any number, `EFBIG` if not one
/// (`generic_write_check_limits`).
pub(crate) fn room_at(offset: u64, wanted: usize) -> Result<Option<usize>, Errno> {
    let limit = LIMIT_BYTES.load(Ordering::Relaxed);
    match limit.checked_sub(offset) {
        _ if wanted == 0 || limit == u64::MAX => Ok(None),
        None | Some(0) => Err(exceeded()),
        Some(room) if room >= wanted as u64 => Ok(None),
        Some(room) => Ok(Some(room as usize)),
    }
}

/// Whether there is a limit, so that [`room_at`] has to be asked.
pub(crate) fn is_limited() -> bool {
    LIMIT_BYTES.load(Ordering::Relaxed) != u64::MAX
}

/// The first `left` bytes of a source.
pub(crate) struct Limited<'a> {
    pub src: &'a mut dyn WriteSrc,
    pub left: usize,
}

impl WriteSrc for Limited<'_> {
    fn remaining(&self) -> usize {
        self.src.remaining().min(self.left)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let len = buffer.len().min(self.left);
        let taken = self.src.take(&mut buffer[..len])?;
        self.left -= taken;
        Ok(taken)
    }

    fn take_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result<usize, Errno> {
        let taken = self.src.take_page(page, offset, len.min(self.left))?;
        self.left -= taken;
        Ok(taken)
    }

    fn untake(&mut self, len: usize) {
        self.src.untake(len);
        self.left += len;
    }
}
