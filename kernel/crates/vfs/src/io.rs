//! Where a read puts its bytes and where a write takes them from.
//!
//! The application's memory may be unmapped or read-only, so both can fail half-way; a file learns
//! how much was transferred and reports a short count, as Linux does.

use frames::PageRef;
use linux_abi::Errno;

/// The destination of a read: a cursor over the buffers of `read(2)`, `readv(2)`, or of the kernel.
pub trait ReadDst {
    /// Bytes that there is still room for.
    fn remaining(&self) -> usize;

    /// The bits of all addresses and lengths of its buffers, for who asks whether they are aligned (`O_DIRECT`). Memory of
    /// the kernel counts as aligned.
    fn alignment_bits(&self) -> usize {
        0
    }

    /// Copies as much of `bytes` as there is room for and returns how much that was. Fails with
    /// `EFAULT` only if not one byte could be copied.
    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Like [`put`](Self::put), with `len` bytes at `offset` of a page frame, which the application
    /// may be writing meanwhile. A destination that copies by raw pointer does better than this.
    fn put_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result<usize, Errno> {
        let mut bounce = [0; BOUNCE_BYTES];
        transfer(len, |done, part| {
            page.read(offset + done, &mut bounce[..part]);
            self.put(&bounce[..part])
        })
    }

    /// Like [`put`](Self::put), with `len` zero bytes.
    fn put_zeros(&mut self, len: usize) -> Result<usize, Errno> {
        const ZEROS: [u8; BOUNCE_BYTES] = [0; BOUNCE_BYTES];
        transfer(len, |_, part| self.put(&ZEROS[..part]))
    }
}

/// Size of the buffers, on the stack, through which transfers go that have no better way.
const BOUNCE_BYTES: usize = 512;

/// What one step of a transfer was to do, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes that it was to transfer; 0 if there are no more.
    pub wanted: usize,
    /// Bytes that it did.
    pub done: usize,
}

impl Part {
    /// The end: there is no more to transfer.
    pub const END: Self = Self { wanted: 0, done: 0 };
}

/// Transfers part after part, until one is [`Part::END`] or falls short, and returns how many bytes that was.
/// `step` gets how many are done. The first error counts only if there are none.
pub fn transfer_parts(mut step: impl FnMut(usize) -> Result<Part, Errno>) -> Result<usize, Errno> {
    let mut total = 0;
    loop {
        match step(total) {
            Ok(Part { wanted, done }) => {
                total += done;
                if wanted == 0 || done < wanted {
                    return Ok(total);
                }
            }
            Err(error) if total == 0 => return Err(error),
            Err(_) => return Ok(total),
        }
    }
}

/// Transfers `len` bytes in parts that fit the buffers above: `step` gets how much is done and how much to do, and
/// returns how much of that it did.
fn transfer(len: usize, mut step: impl FnMut(usize, usize) -> Result<usize, Errno>) -> Result<usize, Errno> {
    transfer_parts(|done| {
        let wanted = BOUNCE_BYTES.min(len - done);
        if wanted == 0 { Ok(Part::END) } else { Ok(Part { wanted, done: step(done, wanted)? }) }
    })
}

/// The source of a write.
pub trait WriteSrc {
    /// Bytes that are left to take.
    fn remaining(&self) -> usize;

    /// The bits of all addresses and lengths of its buffers, for who asks whether they are aligned (`O_DIRECT`). Memory of
    /// the kernel counts as aligned.
    fn alignment_bits(&self) -> usize {
        0
    }

    /// Copies up to `buffer.len()` bytes into `buffer` and returns how many. Fails with `EFAULT` only
    /// if not one byte could be copied.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Like [`take`](Self::take), into `len` bytes at `offset` of a page frame, which the application
    /// may be reading meanwhile. A source that copies by raw pointer does better than this.
    fn take_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result<usize, Errno> {
        let mut bounce = [0; BOUNCE_BYTES];
        transfer(len, |done, part| {
            let taken = self.take(&mut bounce[..part])?;
            page.write(offset + done, &bounce[..taken]);
            Ok(taken)
        })
    }

    /// Gives back the last `len` bytes taken, which could not be used after all.
    fn untake(&mut self, len: usize);
}

impl ReadDst for &mut [u8] {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let n = bytes.len().min(self.len());
        let (now, later) = core::mem::take(self).split_at_mut(n);
        now.copy_from_slice(&bytes[..n]);
        *self = later;
        Ok(n)
    }
}

/// A [`WriteSrc`] over kernel memory.
#[derive(Clone, Debug)]
pub struct SliceSrc<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> SliceSrc<'a> {
    /// A source of all of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, taken: 0 }
    }
}

impl WriteSrc for SliceSrc<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let n = buffer.len().min(self.remaining());
        buffer[..n].copy_from_slice(&self.bytes[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }

    fn untake(&mut self, len: usize) {
        self.taken -= len;
    }
}
