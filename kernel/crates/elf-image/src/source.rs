//! Where the bytes of an ELF file come from.

use linux_abi::Errno;

/// A file that can be read at any offset.
pub trait Source {
    /// Fills `buffer` from the file's bytes at `offset`. A file that ends before that is `ENOEXEC`: a program
    /// that is cut short. Other errors (`EIO`) are handed on.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno>;
}

impl Source for [u8] {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let start = usize::try_from(offset).map_err(|_| Errno::ENOEXEC)?;
        let end = start.checked_add(buffer.len()).ok_or(Errno::ENOEXEC)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(Errno::ENOEXEC)?);
        Ok(())
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        (**self).read_exact_at(offset, buffer)
    }
}
