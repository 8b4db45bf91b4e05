//! The bytes of a packet.

use core::{fmt, ptr, sync::atomic::AtomicPtr};

use arrayvec::ArrayVec;
use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;
use vfs::ReadDst;

use crate::{Checksum, Segmentation};

/// Bytes that the head has room for: all headers of a TCP segment over IPv6 with options and over Ethernet
/// (14 + 40 + 60), and small packets whole.
pub const HEAD_BYTES: usize = 192;

/// Most fragments of a packet: 64 KiB, not aligned to pages, in whole pages.
pub const MAX_FRAGMENTS: usize = 18;

/// Bytes in one page frame, kept by a counted reference.
#[derive(Clone)]
pub struct Fragment {
    page: PageRef,
    offset: u16,
    len: u16,
}

impl Fragment {
    /// `len` bytes at `offset` of `page`. Panics if they are not within the page.
    pub fn new(page: PageRef, offset: usize, len: usize) -> Self {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset, "{offset}+{len} beyond a page");
        // Both are at most PAGE_SIZE.
        Self { page, offset: offset as u16, len: len as u16 }
    }

    /// The page frame.
    #[inline]
    pub fn page(&self) -> &PageRef {
        &self.page
    }

    /// First byte within the page.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.offset)
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of `len` bytes from byte `start`. Panics if it has no such part.
    pub fn part(&self, start: usize, len: usize) -> Self {
        assert!(start <= self.len() && len <= self.len() - start, "{start}+{len} beyond a fragment");
        Self::new(self.page.clone(), self.offset() + start, len)
    }

    /// Copies the bytes from byte `start` to `destination`. Panics if they are not all there.
    pub fn read(&self, start: usize, destination: &mut [u8]) {
        assert!(start <= self.len() && destination.len() <= self.len() - start, "beyond a fragment");
        self.page.read(self.offset() + start, destination);
    }

    fn skip(&mut self, bytes: usize) {
        *self = self.part(bytes, self.len() - bytes);
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u16::try_from(len).unwrap_or(u16::MAX));
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragment({:#x}+{}, {})", self.page.phys().as_u64(), self.offset, self.len)
    }
}

/// There is no room for another fragment in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyFragments;

/// A packet on its way in or out.
///
/// Its bytes are those of the head, then those of the fragments. Headers are taken off and put on at the front; the
/// head has room in front for what is put on.
#[derive(Clone)]
pub struct Packet {
    head: [u8; HEAD_BYTES],
    head_start: u8,
    head_end: u8,
    body: ArrayVec<Fragment, MAX_FRAGMENTS>,
    body_len: u32,
    /// What is known of the transport checksum.
    pub checksum: Checksum,
    /// What it is to be cut into, or was put together from.
    pub segmentation: Option<Segmentation>,
    /// Index of the interface that it came in on; 0 until somebody says so.
    pub interface: u32,
    link: Chain,
}

/// The link to another packet. A copy of a packet is in no list.
struct Chain(AtomicPtr<Packet>);

impl Clone for Chain {
    fn clone(&self) -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}

impl Packet {
    /// An empty packet to be sent: what is put on at the front has all the room of the head.
    pub const fn new() -> Self {
        Self::with_front(HEAD_BYTES)
    }

    /// An empty packet of whose head `front` bytes are kept for what is put on at the front, and the others are
    /// for [`append_head`](Self::append_head). Panics if the head is not that large.
    pub const fn with_front(front: usize) -> Self {
        assert!(front <= HEAD_BYTES, "a head is not that large");
        Self {
            head: [0; HEAD_BYTES],
            head_start: front as u8,
            head_end: front as u8,
            body: ArrayVec::new_const(),
            body_len: 0,
            checksum: Checksum::Unverified,
            segmentation: None,
            interface: 0,
            link: Chain(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// A packet whose head begins with a copy of `bytes`: for what was received, and for tests. Panics if they are
    /// more than [`HEAD_BYTES`].
    pub fn from_head(bytes: &[u8]) -> Self {
        let mut packet = Self::with_front(0);
        packet.append_head(bytes.len()).copy_from_slice(bytes);
        packet
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.head().len() + self.body_len as usize
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first bytes, which are in one piece: all headers, unless somebody tries to deceive.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.head[usize::from(self.head_start)..usize::from(self.head_end)]
    }

    /// The first bytes, to be changed.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        &mut self.head[usize::from(self.head_start)..usize::from(self.head_end)]
    }

    /// The bytes that follow the head.
    #[inline]
    pub fn body(&self) -> &[Fragment] {
        &self.body
    }

    /// Puts `len` bytes on at the front, for a header, and returns them, unspecified. A partial checksum's place and a
    /// segmentation's headers move with them. Panics if there is no room: heads are sized for all headers that we
    /// make.
    pub fn prepend(&mut self, len: usize) -> &mut [u8] {
        let start = usize::from(self.head_start).checked_sub(len).expect("no room for a header");
        self.head_start = start as u8;
        if let Checksum::Partial { start, .. } = &mut self.checksum {
            *start += len as u16;
        }
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.header_bytes += len as u16;
        }
        &mut self.head[start..start + len]
    }

    /// Takes `len` bytes off the front: headers that were parsed, or payload that was read. Panics if it has fewer.
    pub fn trim_front(&mut self, len: usize) {
        assert!(len <= self.len(), "more bytes than a packet has");
        match &mut self.checksum {
            Checksum::Partial { start, .. } if usize::from(*start) >= len => *start -= len as u16,
            // What the sum covers begins to go: whoever trims that has looked at it, or trusts its local sender.
            partial @ Checksum::Partial { .. } => *partial = Checksum::Verified,
            _ => {}
        }
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.header_bytes = segmentation.header_bytes.saturating_sub(len as u16);
        }
        let of_head = len.min(self.head().len());
        self.head_start += of_head as u8;
        let mut left = len - of_head;
        self.body_len -= left as u32;
        let mut gone = 0;
        for fragment in &mut self.body {
            if left < fragment.len() {
                fragment.skip(left);
                break;
            }
            left -= fragment.len();
            gone += 1;
        }
        self.body.drain(..gone);
    }

    /// Cuts the end off, if it is longer than `len`: padding of the link.
    pub fn truncate(&mut self, len: usize) {
        let of_head = len.min(self.head().len());
        self.head_end = self.head_start + of_head as u8;
        let mut left = len - of_head;
        let mut kept = 0;
        for fragment in &mut self.body {
            if left == 0 {
                break;
            }
            fragment.truncate(left);
            left -= fragment.len();
            kept += 1;
        }
        self.body.truncate(kept);
        self.body_len = self.body.iter().map(|fragment| fragment.len() as u32).sum();
    }

    /// Room that is left behind the head's bytes.
    pub fn head_room_behind(&self) -> usize {
        HEAD_BYTES - usize::from(self.head_end)
    }

    /// Room that is left in front of the head's bytes.
    #[inline]
    pub fn head_room_in_front(&self) -> usize {
        usize::from(self.head_start)
    }

    /// Puts `len` bytes behind the head's and returns them, unspecified. Panics if there is no room behind, or if
    /// fragments follow already.
    pub fn append_head(&mut self, len: usize) -> &mut [u8] {
        assert!(self.body.is_empty(), "the head ends where fragments begin");
        let start = usize::from(self.head_end);
        assert!(len <= HEAD_BYTES - start, "no room behind the head");
        self.head_end += len as u8;
        &mut self.head[start..start + len]
    }

    /// Puts a fragment behind all bytes.
    pub fn push(&mut self, fragment: Fragment) -> Result<(), TooManyFragments> {
        if fragment.is_empty() {
            return Ok(());
        }
        // Data that lies side by side in one frame, such as a send buffer's, is one fragment.
        if let Some(last) = self.body.last_mut()
            && last.page == fragment.page
            && last.offset() + last.len() == fragment.offset()
        {
            last.len += fragment.len;
            self.body_len += fragment.len() as u32;
            return Ok(());
        }
        let len = fragment.len() as u32;
        self.body.try_push(fragment).map_err(|_| TooManyFragments)?;
        self.body_len += len;
        Ok(())
    }

    /// Copies the bytes from byte `start` to `destination` and returns how many there were.
    pub fn read(&self, start: usize, destination: &mut [u8]) -> usize {
        let mut done = 0;
        self.for_each_part(start, destination.len(), |part| {
            let len = part.len();
            match part {
                Part::Head(bytes) => destination[done..done + len].copy_from_slice(bytes),
                Part::Body(fragment, at, len) => fragment.read(at, &mut destination[done..done + len]),
            }
            done += len;
            Ok::<_, core::convert::Infallible>(len)
        })
        .unwrap_or_else(|never| match never {})
    }

    /// Copies up to `len` bytes from byte `start` to a reader, and returns how many.
    pub fn read_to(&self, start: usize, len: usize, destination: &mut dyn ReadDst) -> Result<usize, Errno> {
        self.for_each_part(start, len, |part| match part {
            Part::Head(bytes) => destination.put(bytes),
            Part::Body(fragment, at, len) => {
                destination.put_page(fragment.page(), fragment.offset() + at, len)
            }
        })
    }

    /// Frames' worth of memory that the packet keeps from other uses, in bytes: what a socket's buffer accounts for.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() * PAGE_SIZE
    }

    /// The link of a list whose members are packets, for whoever owns the packet to use as it likes: nothing here
    /// looks at it. Null from the beginning.
    #[inline]
    pub fn link(&mut self) -> &mut *mut Self {
        self.link.0.get_mut()
    }

    /// Calls `each` for the parts of the range until one falls short; sums up what they did. The first error counts
    /// only if there was nothing before it.
    fn for_each_part<E>(
        &self,
        start: usize,
        len: usize,
        mut each: impl FnMut(Part<'_>) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut skip = start;
        let mut done = 0;
        let head = core::iter::once(None);
        for fragment in head.chain(self.body.iter().map(Some)) {
            let size = fragment.map_or(self.head().len(), Fragment::len);
            if skip >= size {
                skip -= size;
                continue;
            }
            let wanted = (size - skip).min(len - done);
            if wanted == 0 {
                break;
            }
            let part = match fragment {
                None => Part::Head(&self.head()[skip..skip + wanted]),
                Some(fragment) => Part::Body(fragment, skip, wanted),
            };
            match each(part) {
                Ok(n) => {
                    done += n;
                    if n < wanted {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            skip = 0;
        }
        Ok(done)
    }
}

enum Part<'a> {
    Head(&'a [u8]),
    Body(&'a Fragment, usize, usize),
}

impl Part<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Head(bytes) => bytes.len(),
            Self::Body(_, _, len) => *len,
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("head", &self.head())
            .field("body", &self.body)
            .field("checksum", &self.checksum)
            .field("segmentation", &self.segmentation)
            .finish()
    }
}

#[cfg(test)]
mod tests;
