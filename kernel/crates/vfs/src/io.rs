//! Where a read puts its bytes and where a write takes them from.
//!
//! The application's memory may be unmapped or read-only, so both can fail half-way; a file learns
//! how much was transferred and reports a short count, as Linux does.

use linux_abi::Errno;

/// The destination of a read: a cursor over the buffers of `read(2)`, `readv(2)`, or of the kernel.
pub trait ReadDst {
    /// Bytes that there is still room for.
    fn remaining(&self) -> usize;

    /// Copies as much of `bytes` as there is room for and returns how much that was. Fails with
    /// `EFAULT` only if not one byte could be copied.
    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Like [`put`](Self::put), with `len` zero bytes.
    fn put_zeros(&mut self, len: usize) -> Result<usize, Errno> {
        const ZEROS: [u8; 512] = [0; 512];
        let mut done = 0;
        while done < len && self.remaining() > 0 {
            match self.put(&ZEROS[..ZEROS.len().min(len - done)]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// The source of a write.
pub trait WriteSrc {
    /// Bytes that are left to take.
    fn remaining(&self) -> usize;

    /// Copies up to `buffer.len()` bytes into `buffer` and returns how many. Fails with `EFAULT` only
    /// if not one byte could be copied.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

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
