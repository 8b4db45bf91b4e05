//! The application's memory, as the kernel touches it.
//!
//! What the application passes is an allegation: the address may be unmapped, read-only, or the kernel's own.
//! Every access goes through the copies in `arch/memory.s`, which end at a fault that the memory map cannot
//! serve; here that becomes `EFAULT`. An access may fault a page in, hence wait: never under a spin lock.

use alloc::{string::String, vec::Vec};
use core::{fmt, marker::PhantomData, mem::MaybeUninit};

use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;
use vfs::{ReadDst, WriteSrc};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arch::layout::USER_END;

unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn user_load_u32(address: u64) -> i64;
    fn user_cmpxchg_u32(address: u64, expected: u32, new: u32) -> i64;
    fn user_store_u32(address: u64, value: u32) -> i64;
}

fn check(address: u64, len: usize) -> Result<(), Errno> {
    match address.checked_add(len as u64) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Copies from the application into `to`; returns how many bytes could be copied.
fn copy_in(to: &mut [MaybeUninit<u8>], from: u64) -> usize {
    // SAFETY: a slice is valid for writes of its length.
    unsafe { copy_in_raw(to.as_mut_ptr().cast(), from, to.len()) }
}

/// Copies `len` bytes from the application; returns how many could be copied.
///
/// # Safety
/// `to` is valid for writes of `len` bytes, which others may be reading meanwhile.
unsafe fn copy_in_raw(to: *mut u8, from: u64, len: usize) -> usize {
    if check(from, len).is_err() {
        return 0;
    }
    // SAFETY: `to` is valid, `from` is in the application's half; a fault ends the copy.
    let left = unsafe { user_copy(to, from as *const u8, len) };
    if left == 0 {
        return len;
    }
    retry_bytewise(len, left, |done, step| {
        // SAFETY: as above.
        unsafe { user_copy(to.add(done), (from + done as u64) as *const u8, step) == 0 }
    })
}

/// Copies to the application; returns how many bytes could be copied.
fn copy_out(to: u64, from: &[u8]) -> usize {
    // SAFETY: a slice is valid for reads of its length.
    unsafe { copy_out_raw(to, from.as_ptr(), from.len()) }
}

/// Copies `len` bytes to the application; returns how many could be copied.
///
/// # Safety
/// `from` is valid for reads of `len` bytes, which others may be writing meanwhile.
unsafe fn copy_out_raw(to: u64, from: *const u8, len: usize) -> usize {
    if check(to, len).is_err() {
        return 0;
    }
    // SAFETY: `from` is valid, `to` is in the application's half; a fault ends the copy.
    let left = unsafe { user_copy(to as *mut u8, from, len) };
    if left == 0 {
        return len;
    }
    retry_bytewise(len, left, |done, step| {
        // SAFETY: as above.
        unsafe { user_copy((to + done as u64) as *mut u8, from.add(done), step) == 0 }
    })
}

/// A copy in steps of 64 bytes ended in a fault with `left` of `len` bytes to go: find how far it really
/// goes.
fn retry_bytewise(len: usize, left: usize, mut copy: impl FnMut(usize, usize) -> bool) -> usize {
    let mut done = len - left;
    while done < len && copy(done, 1) {
        done += 1;
    }
    done
}

/// The address of a value in the application's memory.
pub struct UserPtr<T> {
    address: u64,
    _value: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("NULL") } else { write!(f, "{:#x}", self.address) }
    }
}

impl<T> UserPtr<T> {
    /// Takes an address as the application gave it.
    pub const fn new(address: u64) -> Self {
        Self { address, _value: PhantomData }
    }

    /// The address.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// Whether it is the null pointer.
    pub const fn is_null(self) -> bool {
        self.address == 0
    }

    /// The pointer, or `None` if it is null.
    pub fn non_null(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    /// The same address as that of another type.
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.address)
    }

    /// The address `count` values further.
    pub const fn add(self, count: usize) -> Self {
        Self::new(self.address.wrapping_add((count * size_of::<T>()) as u64))
    }

    /// The address `bytes` bytes further, as that of a `U`.
    pub const fn field<U>(self, bytes: usize) -> UserPtr<U> {
        UserPtr::new(self.address.wrapping_add(bytes as u64))
    }
}

impl<T: FromBytes + IntoBytes + Immutable> UserPtr<T> {
    /// Reads the value. `EFAULT` if it is not readable.
    pub fn read(self) -> Result<T, Errno> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: an uninitialised `T` is uninitialised bytes.
        let bytes = unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()) };
        let copied = copy_in(bytes, self.address);
        if copied < size_of::<T>() {
            return Err(Errno::EFAULT);
        }
        // SAFETY: all bytes were written, and any bytes are a value (`FromBytes`).
        Ok(unsafe { value.assume_init() })
    }

    /// Writes the value. `EFAULT` if the place is not writable; a part may have been written.
    pub fn write(self, value: T) -> Result<(), Errno> {
        let bytes = value.as_bytes();
        if copy_out(self.address, bytes) < bytes.len() { Err(Errno::EFAULT) } else { Ok(()) }
    }

    /// Writes the value unless the pointer is null.
    pub fn write_if_some(self, value: T) -> Result<(), Errno> {
        if self.is_null() { Ok(()) } else { self.write(value) }
    }

    /// Reads `count` values.
    pub fn read_vec(self, count: usize) -> Result<Vec<T>, Errno> {
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        let bytes = values.spare_capacity_mut();
        let bytes = &mut bytes[..count];
        // SAFETY: uninitialised `T`s are uninitialised bytes.
        let bytes =
            unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count * size_of::<T>()) };
        if copy_in(bytes, self.address) < bytes.len() {
            return Err(Errno::EFAULT);
        }
        // SAFETY: all bytes of `count` values were written, and any bytes are values (`FromBytes`).
        unsafe { values.set_len(count) };
        Ok(values)
    }

    /// Writes all of `values`.
    pub fn write_slice(self, values: &[T]) -> Result<(), Errno> {
        let bytes = values.as_bytes();
        if copy_out(self.address, bytes) < bytes.len() { Err(Errno::EFAULT) } else { Ok(()) }
    }
}

impl UserPtr<u8> {
    /// Reads the string up to its NUL, `limit` bytes at most with it: `ENAMETOOLONG` beyond.
    pub fn read_c_bytes(self, limit: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        let mut chunk = [MaybeUninit::<u8>::uninit(); 256];
        while bytes.len() < limit {
            let from = self.address.wrapping_add(bytes.len() as u64);
            // Not across a page: what lies behind the NUL may be unmapped.
            let len = (4096 - from as usize % 4096).min(chunk.len()).min(limit - bytes.len());
            let copied = copy_in(&mut chunk[..len], from);
            // SAFETY: `copied` bytes were written.
            let chunk = unsafe { chunk[..copied].assume_init_ref() };
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                bytes.extend_from_slice(&chunk[..end]);
                return Ok(bytes);
            }
            if copied < len {
                return Err(Errno::EFAULT);
            }
            bytes.extend_from_slice(chunk);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads a string of which no more than `limit` bytes count.
    pub fn read_c_bytes_truncated(self, limit: usize) -> Result<Vec<u8>, Errno> {
        match self.read_c_bytes(limit + 1) {
            Err(Errno::ENAMETOOLONG) => self.read_vec(limit),
            result => result,
        }
    }

    /// Reads a path: at most 4096 bytes with its NUL.
    pub fn read_path(self) -> Result<Vec<u8>, Errno> {
        self.read_c_bytes(4096)
    }

    /// Reads a string for show; what is not UTF-8 or not readable is marked as such.
    pub fn read_for_trace(self, limit: usize) -> Result<String, Errno> {
        let bytes = self.read_c_bytes(limit).or_else(|error| match error {
            Errno::ENAMETOOLONG => self.read_vec(limit),
            error => Err(error),
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl UserPtr<u32> {
    /// Loads the word atomically.
    pub fn load(self) -> Result<u32, Errno> {
        self.check_word()?;
        // SAFETY: in the application's half and aligned; a fault gives -1.
        word(unsafe { user_load_u32(self.address) })
    }

    /// Replaces `expected` by `new` atomically; returns what was there.
    pub fn compare_exchange(self, expected: u32, new: u32) -> Result<u32, Errno> {
        self.check_word()?;
        // SAFETY: as above.
        word(unsafe { user_cmpxchg_u32(self.address, expected, new) })
    }

    /// Stores the word atomically.
    pub fn store(self, value: u32) -> Result<(), Errno> {
        self.check_word()?;
        // SAFETY: as above.
        word(unsafe { user_store_u32(self.address, value) }).map(|_| ())
    }

    fn check_word(self) -> Result<(), Errno> {
        check(self.address, 4)?;
        if self.address.is_multiple_of(4) { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

fn word(result: i64) -> Result<u32, Errno> {
    if result == -1 { Err(Errno::EFAULT) } else { Ok(result as u32) }
}

/// A buffer of the application: an address and a length.
#[derive(Clone, Copy, Debug)]
pub struct UserSlice {
    /// Where it starts.
    pub address: u64,
    /// Its length in bytes.
    pub len: usize,
}

impl UserSlice {
    /// Takes an address and length as the application gave them. `EFAULT` if they reach out of its half.
    pub fn new(address: u64, len: usize) -> Result<Self, Errno> {
        check(address, len)?;
        Ok(Self { address, len })
    }

    /// Fills the buffer from `bytes` as far as both go; returns how many bytes that was.
    pub fn copy_from(self, bytes: &[u8]) -> Result<usize, Errno> {
        let len = bytes.len().min(self.len);
        match copy_out(self.address, &bytes[..len]) {
            0 if len > 0 => Err(Errno::EFAULT),
            copied => Ok(copied),
        }
    }
}

/// The most that one read or write transfers, as Linux has it (`MAX_RW_COUNT`).
pub const MAX_TRANSFER: usize = 0x7fff_f000;

/// The buffers of one `read`, `write`, `readv` or `writev`, and how far the transfer has come.
#[derive(Debug)]
pub struct UserBuffers {
    first: UserSlice,
    /// The others: nearly always there are none, and nothing is allocated.
    others: Vec<UserSlice>,
    /// Slice and offset in it where the transfer goes on.
    index: usize,
    offset: usize,
    remaining: usize,
}

impl UserBuffers {
    /// One buffer.
    pub fn single(address: u64, len: usize) -> Result<Self, Errno> {
        // All of the length counts here, though what goes beyond the limit is not transferred (`vfs_read`).
        check(address, len)?;
        let len = len.min(MAX_TRANSFER);
        Ok(Self {
            first: UserSlice::new(address, len)?,
            others: Vec::new(),
            index: 0,
            offset: 0,
            remaining: len,
        })
    }

    /// Several, as an array of `struct iovec`: `EINVAL` if there are more than 1024 or a length is negative.
    pub fn from_iovec(vector: UserPtr<[u64; 2]>, count: usize) -> Result<Self, Errno> {
        if count > 1024 {
            return Err(Errno::EINVAL);
        }
        let mut first = None;
        let mut others = Vec::with_capacity(count.saturating_sub(1));
        let mut remaining = 0usize;
        let vector = vector.read_vec(count)?;
        if vector.iter().any(|[_, len]| *len > isize::MAX as u64) {
            return Err(Errno::EINVAL);
        }
        for [address, len] in vector {
            check(address, len as usize)?;
            // What goes beyond the limit is cut off, without an error.
            let len = (len as usize).min(MAX_TRANSFER - remaining);
            let slice = UserSlice::new(address, len)?;
            if first.is_none() {
                first = Some(slice);
            } else {
                others.push(slice);
            }
            remaining += len;
        }
        let first = first.unwrap_or(UserSlice { address: 0, len: 0 });
        Ok(Self { first, others, index: 0, offset: 0, remaining })
    }

    fn slice(&self, index: usize) -> UserSlice {
        if index == 0 { self.first } else { self.others[index - 1] }
    }

    /// Runs `copy` on what is left of each buffer in turn, until `len` bytes are through or one falls short.
    fn advance(
        &mut self,
        len: usize,
        mut copy: impl FnMut(u64, usize, usize) -> usize,
    ) -> Result<usize, Errno> {
        let len = len.min(self.remaining);
        let mut done = 0;
        while done < len {
            let slice = self.slice(self.index);
            if self.offset == slice.len {
                self.index += 1;
                self.offset = 0;
                continue;
            }
            let step = (slice.len - self.offset).min(len - done);
            let copied = copy(slice.address + self.offset as u64, done, step);
            done += copied;
            self.offset += copied;
            self.remaining -= copied;
            if copied < step {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }
}

impl UserBuffers {
    /// Leaves what is beyond so many bytes from here on.
    pub fn limit(&mut self, bytes: usize) {
        self.remaining = self.remaining.min(bytes);
    }

    /// The bits of all addresses and lengths.
    fn bits(&self) -> usize {
        let slices = core::iter::once(&self.first).chain(&self.others);
        slices.fold(0, |bits, slice| bits | slice.address as usize | slice.len)
    }
}

impl ReadDst for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn alignment_bits(&self) -> usize {
        self.bits()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.advance(bytes.len(), |address, done, step| copy_out(address, &bytes[done..done + step]))
    }

    fn put_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result<usize, Errno> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: inside the frame, which the reference keeps.
        self.advance(len, |address, done, step| unsafe {
            copy_out_raw(address, page.as_ptr().add(offset + done), step)
        })
    }
}

impl WriteSrc for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn alignment_bits(&self) -> usize {
        self.bits()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let len = buffer.len();
        self.advance(len, |address, done, step| {
            // SAFETY: initialised bytes may be seen as maybe-uninitialised ones, which are only written.
            let part = unsafe {
                core::mem::transmute::<&mut [u8], &mut [MaybeUninit<u8>]>(&mut buffer[done..done + step])
            };
            copy_in(part, address)
        })
    }

    fn take_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result<usize, Errno> {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: inside the frame, which the reference keeps.
        self.advance(len, |address, done, step| unsafe {
            copy_in_raw(page.as_ptr().add(offset + done), address, step)
        })
    }

    fn untake(&mut self, mut len: usize) {
        self.remaining += len;
        while len > 0 {
            if self.offset == 0 {
                self.index -= 1;
                self.offset = self.slice(self.index).len;
                continue;
            }
            let step = len.min(self.offset);
            self.offset -= step;
            len -= step;
        }
    }
}
