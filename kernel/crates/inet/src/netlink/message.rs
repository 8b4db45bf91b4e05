//! Making messages: a header, a fixed part, and attributes, each padded to four bytes.

use alloc::vec::Vec;

use linux_abi::netlink::NlMsgHdr;
use zerocopy::{Immutable, IntoBytes};

/// Messages that go to one socket, one behind the other.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    /// Adds a message; `fill` writes its attributes.
    pub fn add(
        &mut self,
        header: NlMsgHdr,
        fixed: &(impl IntoBytes + Immutable),
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(fixed.as_bytes());
        pad(&mut self.bytes);
        fill(&mut Attributes { bytes: &mut self.bytes });
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The attributes of a message.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        // Values are short: names, addresses, figures.
        let len = (4 + value.len()) as u16;
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        pad(self.bytes);
    }

    /// Adds a number.
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a text with its NUL.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.put(kind, &bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
