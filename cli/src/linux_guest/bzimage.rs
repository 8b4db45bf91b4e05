//! The kernel inside a bzImage: `vmlinux`, which has the PVH entry point that QEMU's `-kernel` looks for.
//!
//! A bzImage is a program that unpacks a compressed `vmlinux` at boot. Where that lies is in its setup
//! header: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". Debian 12 compresses with LZ4.

use std::fmt;

/// "HdrS" in the header.
const MAGIC_OFFSET: usize = 0x202;
const SETUP_SECTORS_OFFSET: usize = 0x1f1;
const PROTOCOL_OFFSET: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first protocol whose header says where the payload is.
const PROTOCOL_WITH_PAYLOAD: u16 = 0x0208;
const SECTOR_BYTES: usize = 512;

/// The legacy frame of LZ4 (doc/lz4_Frame_format.md, "Legacy frame"): blocks of up to 8 MiB, each after its
/// length.
const LZ4_LEGACY_MAGIC: u32 = 0x184c_2102;
const LZ4_LEGACY_BLOCK_BYTES: usize = 8 << 20;
/// No kernel is larger; a damaged file may claim to be.
const VMLINUX_LIMIT_BYTES: usize = 1 << 30;

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Why there is no kernel in the file.
#[derive(Debug, PartialEq, Eq)]
pub enum BzImageError {
    NotABzImage,
    OldProtocol(u16),
    /// The header points out of the file, or the compressed data ends too early or does not decompress.
    Damaged,
    /// Compressed by a method that we do not read; the first bytes.
    UnknownCompression([u8; 4]),
}

impl fmt::Display for BzImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABzImage => f.write_str("it is no bzImage"),
            Self::OldProtocol(version) => write!(f, "its boot protocol {version:#06x} is too old"),
            Self::Damaged => f.write_str("it is damaged"),
            Self::UnknownCompression(magic) => {
                write!(f, "it is not compressed with LZ4 but begins {magic:02x?}")
            }
        }
    }
}

pub fn is_bzimage(image: &[u8]) -> bool {
    image.get(MAGIC_OFFSET..MAGIC_OFFSET + 4) == Some(b"HdrS")
}

/// Decompresses the kernel.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>, BzImageError> {
    if !is_bzimage(image) {
        return Err(BzImageError::NotABzImage);
    }
    let protocol = image.get(PROTOCOL_OFFSET..).and_then(|bytes| bytes.first_chunk());
    let protocol = u16::from_le_bytes(*protocol.ok_or(BzImageError::NotABzImage)?);
    if protocol < PROTOCOL_WITH_PAYLOAD {
        return Err(BzImageError::OldProtocol(protocol));
    }
    // Zero means four, for the sake of boot loaders from before the field.
    let setup_sectors = match image[SETUP_SECTORS_OFFSET] {
        0 => 4,
        count => usize::from(count),
    };
    let field = |offset| word(image, offset).map(|value| value as usize);
    let start = (setup_sectors + 1) * SECTOR_BYTES + field(PAYLOAD_OFFSET)?;
    let payload = image.get(start..start + field(PAYLOAD_LENGTH)?).ok_or(BzImageError::Damaged)?;
    let magic = word(payload, 0)?;
    if magic != LZ4_LEGACY_MAGIC {
        return Err(BzImageError::UnknownCompression(magic.to_le_bytes()));
    }
    // The kernel's build appends the size of the decompressed kernel.
    let size_offset = payload.len().checked_sub(4).ok_or(BzImageError::Damaged)?;
    let size = word(payload, size_offset)? as usize;
    let elf = lz4_legacy(&payload[4..size_offset.max(4)], size)?;
    if elf.starts_with(ELF_MAGIC) { Ok(elf) } else { Err(BzImageError::Damaged) }
}

fn lz4_legacy(mut blocks: &[u8], size: usize) -> Result<Vec<u8>, BzImageError> {
    if size > VMLINUX_LIMIT_BYTES {
        return Err(BzImageError::Damaged);
    }
    let mut out = vec![0; size];
    let mut filled = 0;
    while !blocks.is_empty() {
        let length = word(blocks, 0)? as usize;
        let block = blocks.get(4..4 + length).ok_or(BzImageError::Damaged)?;
        let end = size.min(filled + LZ4_LEGACY_BLOCK_BYTES);
        filled += lz4_flex::block::decompress_into(block, &mut out[filled..end])
            .map_err(|_| BzImageError::Damaged)?;
        blocks = &blocks[4 + length..];
    }
    if filled == size { Ok(out) } else { Err(BzImageError::Damaged) }
}

fn word(bytes: &[u8], offset: usize) -> Result<u32, BzImageError> {
    let bytes = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(BzImageError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(elf: &[u8]) -> Vec<u8> {
        let mut payload = LZ4_LEGACY_MAGIC.to_le_bytes().to_vec();
        for part in elf.chunks(LZ4_LEGACY_BLOCK_BYTES) {
            let block = lz4_flex::block::compress(part);
            payload.extend((block.len() as u32).to_le_bytes());
            payload.extend(block);
        }
        payload.extend((elf.len() as u32).to_le_bytes());
        let mut image = vec![0; 2 * SECTOR_BYTES];
        image[SETUP_SECTORS_OFFSET] = 1;
        image[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(b"HdrS");
        image[PROTOCOL_OFFSET..PROTOCOL_OFFSET + 2].copy_from_slice(&0x020fu16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16u32.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend([0; 16]);
        image.extend(payload);
        image
    }

    /// Larger than a block, and not all the same.
    fn elf() -> Vec<u8> {
        let mut elf = ELF_MAGIC.to_vec();
        elf.extend((0..LZ4_LEGACY_BLOCK_BYTES + 1000).map(|i| (i / 777) as u8));
        elf
    }

    #[test]
    fn the_kernel_comes_out_whole() {
        assert!(vmlinux(&image(&elf())).is_ok_and(|found| found == elf()));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let whole = image(&elf());
        assert_eq!(vmlinux(b"MZ"), Err(BzImageError::NotABzImage));
        assert_eq!(vmlinux(&whole[..whole.len() - 1]), Err(BzImageError::Damaged));
        let mut wrong = whole.clone();
        let last = wrong.len() - 1;
        wrong[last] = 0x7f;
        assert_eq!(vmlinux(&wrong), Err(BzImageError::Damaged));
        let mut old = whole.clone();
        old[PROTOCOL_OFFSET..PROTOCOL_OFFSET + 2].copy_from_slice(&0x0207u16.to_le_bytes());
        assert_eq!(vmlinux(&old), Err(BzImageError::OldProtocol(0x0207)));
        let mut other = whole.clone();
        other[2 * SECTOR_BYTES + 16..][..4].copy_from_slice(b"\x28\xb5\x2f\xfd");
        assert_eq!(vmlinux(&other), Err(BzImageError::UnknownCompression(*b"\x28\xb5\x2f\xfd")));
        assert_eq!(vmlinux(&image(b"no elf")), Err(BzImageError::Damaged));
    }
}
