//! Sequence numbers (RFC 9293, 3.4).

/// A sequence number: a position on the circle of 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The number `by` further on.
    #[must_use]
    pub const fn add(self, by: u32) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// The number `by` further back.
    #[must_use]
    pub const fn sub(self, by: u32) -> Self {
        Self(self.0.wrapping_sub(by))
    }

    /// How far it is from `earlier` to this one: negative if this one comes first. Right if they are less than
    /// 2^31 apart.
    pub const fn distance(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Whether it comes before `other`.
    pub const fn is_before(self, other: Self) -> bool {
        self.distance(other) < 0
    }
}
