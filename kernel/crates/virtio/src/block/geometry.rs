//! What a disk's configuration says (5.2.4), checked.

use block::SECTOR_BYTES;

use crate::{InitError, Transport};

pub(super) mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const CONFIG_WCE: u64 = 1 << 11;
    pub const MQ: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;

    pub const WANTED: u64 =
        SIZE_MAX | SEG_MAX | RO | BLK_SIZE | FLUSH | TOPOLOGY | CONFIG_WCE | MQ | DISCARD | WRITE_ZEROES;
}

/// Offsets in the configuration.
mod at {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
    pub const BLK_SIZE: usize = 20;
    pub const PHYSICAL_BLOCK_EXPONENT: usize = 24;
    pub const WRITEBACK: usize = 32;
    pub const NUM_QUEUES: usize = 34;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const DISCARD_SECTOR_ALIGNMENT: usize = 44;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
}

/// Most sectors of one request without data: 1 GiB, so that a length in bytes fits into 32 bits anywhere.
const MAX_RANGE_SECTORS: u32 = 1 << 21;
/// The largest blocks that make sense.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// A disk's properties.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub sector_count: u64,
    /// Of one segment; whole logical blocks.
    pub max_segment_bytes: usize,
    /// As the device says; there are also the limits of the queue.
    pub max_segments: usize,
    pub logical_block_bytes: usize,
    pub physical_block_bytes: usize,
    pub has_write_cache: bool,
    pub queues: u16,
    pub discard: Option<RangeLimit>,
    pub write_zeroes: Option<RangeLimit>,
    /// Zeros may be made by giving space back.
    pub zeroes_may_unmap: bool,
}

/// How much one request of a kind takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangeLimit {
    /// Sectors, a multiple of `alignment_sectors`.
    pub max_sectors: u32,
    /// Where it is best to cut.
    pub alignment_sectors: u32,
}

impl RangeLimit {
    fn new(max_sectors: u32, alignment_sectors: u32) -> Self {
        // 0 is no limit, as Linux reads it.
        let max_sectors =
            if max_sectors == 0 { MAX_RANGE_SECTORS } else { max_sectors.min(MAX_RANGE_SECTORS) };
        let alignment_sectors = alignment_sectors.clamp(1, max_sectors);
        Self { max_sectors: max_sectors / alignment_sectors * alignment_sectors, alignment_sectors }
    }

    /// The first piece of `sectors` sectors from `sector` on: cut so that the next one begins well.
    pub(super) fn first_piece(&self, sector: u64, sectors: u64) -> u32 {
        if sectors <= u64::from(self.max_sectors) {
            return sectors as u32;
        }
        let off = (sector % u64::from(self.alignment_sectors)) as u32;
        self.max_sectors - off
    }
}

impl Geometry {
    pub(super) fn read(
        transport: &dyn Transport,
        features: u64,
        max_request_bytes: usize,
    ) -> Result<Self, InitError> {
        let has = |feature: u64| features & feature != 0;
        let u32_if = |feature: u64, offset: usize, otherwise: u32| {
            if has(feature) { transport.configuration_u32(offset) } else { otherwise }
        };
        let logical_block_bytes = u32_if(feature::BLK_SIZE, at::BLK_SIZE, SECTOR_BYTES as u32) as usize;
        if !logical_block_bytes.is_power_of_two()
            || !(SECTOR_BYTES..=MAX_BLOCK_BYTES).contains(&logical_block_bytes)
        {
            return Err(InitError::Configuration);
        }
        let exponent =
            if has(feature::TOPOLOGY) { transport.configuration_u8(at::PHYSICAL_BLOCK_EXPONENT) } else { 0 };
        let physical_block_bytes = logical_block_bytes.checked_shl(exponent.into()).unwrap_or(0);
        let size_max = u32_if(feature::SIZE_MAX, at::SIZE_MAX, u32::MAX) as usize;
        let max_segment_bytes = size_max.min(max_request_bytes) / logical_block_bytes * logical_block_bytes;
        if max_segment_bytes == 0 {
            return Err(InitError::Configuration);
        }
        let queues = if has(feature::MQ) { transport.configuration_u16(at::NUM_QUEUES).max(1) } else { 1 };
        let discard = has(feature::DISCARD).then(|| {
            let alignment = transport.configuration_u32(at::DISCARD_SECTOR_ALIGNMENT);
            RangeLimit::new(transport.configuration_u32(at::MAX_DISCARD_SECTORS), alignment)
        });
        let block_sectors = (logical_block_bytes / SECTOR_BYTES) as u32;
        let write_zeroes = has(feature::WRITE_ZEROES).then(|| {
            RangeLimit::new(transport.configuration_u32(at::MAX_WRITE_ZEROES_SECTORS), block_sectors)
        });
        // A device that lets the driver choose says what is chosen; the others write back if they can flush (5.2.5).
        let writes_back = !has(feature::CONFIG_WCE) || transport.configuration_u8(at::WRITEBACK) != 0;
        Ok(Self {
            sector_count: transport.configuration_u64(at::CAPACITY),
            max_segment_bytes,
            max_segments: u32_if(feature::SEG_MAX, at::SEG_MAX, u32::MAX).max(1) as usize,
            logical_block_bytes,
            // What is beyond reason is left out of account.
            physical_block_bytes: match physical_block_bytes {
                bytes if bytes <= MAX_BLOCK_BYTES => bytes.max(logical_block_bytes),
                _ => logical_block_bytes,
            },
            has_write_cache: has(feature::FLUSH) && writes_back,
            queues,
            discard,
            write_zeroes,
            zeroes_may_unmap: has(feature::WRITE_ZEROES)
                && transport.configuration_u8(at::WRITE_ZEROES_MAY_UNMAP) != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_multiples_of_the_alignment() {
        let limit = RangeLimit::new(100, 8);
        assert_eq!(limit.max_sectors, 96);
        assert_eq!(limit.first_piece(5, 90), 90);
        assert_eq!((limit.first_piece(5, 1000), (5 + 91) % 8), (91, 0));
        assert_eq!(limit.first_piece(96, 1000), 96);
        assert_eq!(RangeLimit::new(0, 0).max_sectors, MAX_RANGE_SECTORS);
        assert_eq!(RangeLimit::new(3, 8).first_piece(1, 9), 2);
    }
}
