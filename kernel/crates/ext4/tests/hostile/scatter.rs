//! Changes images, mostly where a structure lies.

use crate::support::Random;

/// Values that are wrong in ways of their own.
fn bad_value(random: &mut Random) -> u32 {
    match random.below(6) {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << random.below(32),
        3 => random.below(4096) as u32,
        4 => u32::MAX - random.below(64) as u32,
        _ => random.below(1 << 32) as u32,
    }
}

fn put(image: &mut [u8], at: usize, random: &mut Random) {
    let value = bad_value(random).to_le_bytes();
    let width = [1, 2, 4][random.below(3) as usize];
    image[at..at + width].copy_from_slice(&value[..width]);
}

const BLOCK: usize = 1024;

/// Where a block of directory entries, an extent node or a block of the journal begins.
fn structures(image: &[u8]) -> Vec<usize> {
    let is_structure = |block: &[u8]| {
        let begins = |bytes: &[u8]| block.starts_with(bytes);
        begins(&[0x0a, 0xf3]) || begins(&[0xc0, 0x3b, 0x39, 0x98]) || block[6..9] == [1, 2, b'.'] || {
            block[4] < 64
                && block[4] >= 12
                && block[5] == 0
                && block[4].is_multiple_of(4)
                && block[6] > 0
                && block[7] == 1
        }
    };
    (0..image.len() / BLOCK).map(|n| n * BLOCK).filter(|at| is_structure(&image[*at..*at + BLOCK])).collect()
}

/// Changes an image in a few places.
pub fn damage(image: &mut [u8], random: &mut Random) {
    let group = 2 * BLOCK;
    let word = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let inode_table = word(image, group + 8) * BLOCK;
    for _ in 0..1 + random.below(4) {
        match random.below(9) {
            0 => put(image, 1024 + random.below(1020) as usize, random),
            1 => put(image, group + random.below(64) as usize, random),
            // Bitmaps of blocks and inodes.
            2 => {
                let at = word(image, group + 4 * random.below(2) as usize) * BLOCK;
                if at + BLOCK <= image.len() {
                    put(image, at + random.below(BLOCK as u64 - 4) as usize, random);
                }
            }
            3 | 4 => {
                let inode = inode_table + random.below(140) as usize * 256;
                let length = if random.below(2) == 0 { 100 } else { 252 };
                let at = inode + random.below(length) as usize;
                if at + 4 <= image.len() {
                    put(image, at, random);
                }
            }
            5 | 6 => {
                let found = structures(image);
                let at = found[random.below(found.len() as u64) as usize];
                let near = if random.below(2) == 0 { 48 } else { BLOCK as u64 - 4 };
                put(image, at + random.below(near) as usize, random);
            }
            7 => {
                let (from, to) =
                    (random.below(image.len() as u64 / 1024), random.below(image.len() as u64 / 1024));
                let from = from as usize * BLOCK;
                image.copy_within(from..from + BLOCK, to as usize * BLOCK);
            }
            _ => {
                let at = random.below(image.len() as u64) as usize;
                image[at] ^= 1 << random.below(8);
            }
        }
    }
}
