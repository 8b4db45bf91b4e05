//! What makes two futex words the same.

use linux_abi::Errno;

/// The identity of a futex word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A word of this process (`FUTEX_PRIVATE_FLAG`): its address.
    Private {
        /// The virtual address.
        address: u64,
    },
    /// A word that is asked for without `FUTEX_PRIVATE_FLAG` but lies in a private mapping. Linux does not
    /// let it meet the same word with the flag (`FUT_OFF_MMSHARED`).
    InPrivateMapping {
        /// The virtual address.
        address: u64,
    },
    /// A word in a shared mapping, which several addresses may show: what is mapped, and where in it.
    Shared {
        /// Identity of the object: unique, and not used again while the object can be waited on.
        object: u64,
        /// Byte offset in it.
        offset: u64,
    },
}

impl Key {
    /// The key of a private word.
    ///
    /// # Errors
    /// `EINVAL` if the address is not a multiple of 4.
    pub const fn private(address: u64) -> Result<Self, Errno> {
        if address.is_multiple_of(4) { Ok(Self::Private { address }) } else { Err(Errno::EINVAL) }
    }

    /// The key of a word in a private mapping, asked for as if it could be shared.
    ///
    /// # Errors
    /// `EINVAL` if the address is not a multiple of 4.
    pub const fn in_private_mapping(address: u64) -> Result<Self, Errno> {
        if address.is_multiple_of(4) { Ok(Self::InPrivateMapping { address }) } else { Err(Errno::EINVAL) }
    }

    /// The key of a word in a shared mapping.
    ///
    /// # Errors
    /// `EINVAL` if the offset is not a multiple of 4.
    pub const fn shared(object: u64, offset: u64) -> Result<Self, Errno> {
        if offset.is_multiple_of(4) { Ok(Self::Shared { object, offset }) } else { Err(Errno::EINVAL) }
    }

    /// A well-mixed hash. It needs no secret: whoever could make words collide shares the address space
    /// anyway.
    pub(crate) const fn hash(self) -> u64 {
        let (high, low) = match self {
            Self::Private { address } => (0, address),
            Self::InPrivateMapping { address } => (1, address),
            Self::Shared { object, offset } => (mix(object.wrapping_add(2)), offset),
        };
        mix(high ^ (low >> 2))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
/// 2014): every bit of the input changes about half of the output's.
const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
