//! Changes images field by field: knows where each field of each structure lies, and what would be nasty in it.
//!
//! The fields are found by walking a good image, by the format's documentation (Linux Documentation/filesystems/ext4) and not with the code
//! under test. Blocks have 1 KiB there, inodes 256 bytes.

use std::collections::BTreeMap;

use crate::support::Random;

const BLOCK: usize = 1024;
const INODE_BYTES: usize = 256;
const SUPERBLOCK: usize = 1024;
const DESCRIPTORS: usize = 2 * BLOCK;

/// A place in the image: offset and width in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    at: usize,
    width: usize,
}

/// A change of an image.
pub type Edit = (usize, Vec<u8>);

/// All fields of an image, by kind of structure, so that what there is little of is changed as often as all else.
pub struct Map {
    kinds: BTreeMap<&'static str, Vec<Field>>,
    /// Blocks that it would be nasty to be led to.
    blocks: Vec<u32>,
    /// Structures that may take each other's place: offset and length.
    exchangeable: BTreeMap<&'static str, Vec<(usize, usize)>>,
}

struct Image<'a>(&'a [u8]);

impl Image<'_> {
    fn half(&self, at: usize) -> usize {
        u16::from_le_bytes([self.0[at], self.0[at + 1]]).into()
    }

    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    fn big_word(&self, at: usize) -> usize {
        u32::from_be_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }
}

/// Of the superblock: what a reader computes with. The rest is changed as well, but less often.
const SUPERBLOCK_FIELDS: [(usize, usize); 44] = [
    (0x0, 4),
    (0x4, 4),
    (0xc, 4),
    (0x10, 4),
    (0x14, 4),
    (0x18, 4),
    (0x1c, 4),
    (0x20, 4),
    (0x24, 4),
    (0x28, 4),
    (0x38, 2),
    (0x3a, 2),
    (0x3c, 2),
    (0x48, 4),
    (0x4c, 4),
    (0x54, 4),
    (0x58, 2),
    (0x5a, 2),
    (0x5c, 4),
    (0x60, 4),
    (0x64, 4),
    (0xce, 2),
    (0xd0, 4),
    (0xe0, 4),
    (0xe4, 4),
    (0xe8, 4),
    (0xec, 4),
    (0xfc, 1),
    (0xfd, 1),
    (0xfe, 2),
    (0x100, 4),
    (0x104, 4),
    (0x10c, 4),
    (0x150, 4),
    (0x154, 4),
    (0x15c, 2),
    (0x15e, 2),
    (0x160, 4),
    (0x166, 2),
    (0x168, 4),
    (0x174, 1),
    (0x175, 1),
    (0x194, 4),
    (0x270, 4),
];

/// Of an inode, beside its 15 words of blocks.
const INODE_FIELDS: [(usize, usize); 14] = [
    (0x0, 2),
    (0x4, 4),
    (0x14, 4),
    (0x1a, 2),
    (0x1c, 4),
    (0x20, 4),
    (0x64, 4),
    (0x68, 4),
    (0x6c, 4),
    (0x74, 2),
    (0x76, 2),
    (0x80, 2),
    (0x82, 2),
    (0x98, 4),
];

const S_IFMT: usize = 0xf000;
const S_IFDIR: usize = 0x4000;
const EXTENTS: usize = 0x80000;
const INDEX: usize = 0x1000;
const JOURNAL_INODE: usize = 8;
const JOURNAL_MAGIC: usize = 0xc03b_3998;
const XATTR_MAGIC: usize = 0xea02_0000;

impl Map {
    pub fn of(bytes: &[u8]) -> Self {
        let image = &Image(bytes);
        let mut map = Self { kinds: BTreeMap::new(), blocks: vec![], exchangeable: BTreeMap::new() };
        SUPERBLOCK_FIELDS.iter().for_each(|(at, width)| map.add("superblock", SUPERBLOCK + at, *width));
        map.words("rest of the superblock", SUPERBLOCK..SUPERBLOCK + 1020);
        let is_64bit = image.word(SUPERBLOCK + 0x60) & 0x80 != 0;
        let descriptor_bytes = if is_64bit { 64 } else { 32 };
        let per_group = image.word(SUPERBLOCK + 0x28);
        let count = image.word(SUPERBLOCK);
        for group in 0..count / per_group {
            let at = DESCRIPTORS + group * descriptor_bytes;
            (0..12).step_by(4).for_each(|field| map.add("group descriptor", at + field, 4));
            (12..descriptor_bytes).step_by(2).for_each(|field| map.add("group descriptor", at + field, 2));
            let [blocks, inodes, table] = [0, 4, 8].map(|field| image.word(at + field));
            map.words("bitmap", blocks * BLOCK..blocks * BLOCK + 512);
            map.words("bitmap", inodes * BLOCK..inodes * BLOCK + per_group / 8);
            map.blocks.extend([blocks, inodes, table, table + 1].map(|block| block as u32));
            for index in 0..per_group {
                let inode = table * BLOCK + index * INODE_BYTES;
                if image.half(inode) != 0 {
                    map.inode(image, group * per_group + index + 1, inode);
                }
            }
        }
        let end = (bytes.len() / BLOCK) as u32;
        map.blocks.extend([0, 1, 2, end - 1, end, end + 1, u32::MAX]);
        map
    }

    fn add(&mut self, kind: &'static str, at: usize, width: usize) {
        self.kinds.entry(kind).or_default().push(Field { at, width });
    }

    fn words(&mut self, kind: &'static str, range: std::ops::Range<usize>) {
        range.step_by(4).for_each(|at| self.add(kind, at, 4));
    }

    fn inode(&mut self, image: &Image<'_>, number: usize, at: usize) {
        INODE_FIELDS.iter().for_each(|(field, width)| self.add("inode", at + field, *width));
        self.exchangeable.entry("inode").or_default().push((at, INODE_BYTES));
        let (mode, flags) = (image.half(at), image.word(at + 0x20));
        let in_inode = at + 128 + image.half(at + 0x80).min(124);
        if image.word(in_inode) == XATTR_MAGIC {
            self.xattrs(image, in_inode + 4, at + INODE_BYTES);
        }
        let acl = image.word(at + 0x68) * BLOCK;
        if acl != 0 {
            self.words("attribute block", acl..acl + 32);
            self.xattrs(image, acl + 32, acl + BLOCK);
        }
        let mut blocks = Vec::new();
        if flags & EXTENTS != 0 {
            self.extents(image, at + 0x28, 4, &mut blocks);
        } else {
            (0..15).for_each(|index| self.add("block map", at + 0x28 + 4 * index, 4));
            blocks.extend((0..12).map(|index| image.word(at + 0x28 + 4 * index)).filter(|block| *block != 0));
            for index in 12..15 {
                let indirect = image.word(at + 0x28 + 4 * index) * BLOCK;
                if indirect != 0 && mode & S_IFMT != 0xa000 {
                    self.words("block map", indirect..indirect + 64);
                    self.blocks.push((indirect / BLOCK) as u32);
                }
            }
        }
        self.blocks.extend(blocks.first().map(|block| *block as u32));
        if mode & S_IFMT == S_IFDIR {
            for (index, block) in blocks.iter().enumerate() {
                self.exchangeable.entry("directory block").or_default().push((block * BLOCK, BLOCK));
                if flags & INDEX != 0 && index == 0 {
                    self.directory_index(image, block * BLOCK);
                } else {
                    self.directory(image, block * BLOCK);
                }
            }
        }
        if number == JOURNAL_INODE {
            blocks.iter().for_each(|block| self.journal(image, block * BLOCK));
        }
    }

    /// A node of a tree of extents, and those below it.
    fn extents(&mut self, image: &Image<'_>, node: usize, most: usize, blocks: &mut Vec<usize>) {
        (0..12).step_by(2).for_each(|field| self.add("extent header", node + field, 2));
        let (entries, depth) = (image.half(node + 2), image.half(node + 6));
        for entry in (0..entries.min(most)).map(|index| node + 12 + 12 * index) {
            self.add("extent", entry, 4);
            (4..12).step_by(2).for_each(|field| self.add("extent", entry + field, 2));
            self.exchangeable.entry("extent").or_default().push((entry, 12));
            if depth > 0 {
                let child = image.word(entry + 4);
                self.blocks.push(child as u32);
                self.exchangeable.entry("extent node").or_default().push((child * BLOCK, BLOCK));
                self.extents(image, child * BLOCK, 84, blocks);
            } else {
                let start = image.word(entry + 8);
                blocks.extend(start..start + image.half(entry + 4) % 0x8000);
            }
        }
    }

    fn directory(&mut self, image: &Image<'_>, block: usize) {
        let mut at = block;
        while at + 8 <= block + BLOCK {
            let length = image.half(at + 4);
            for (field, width) in [(0, 4), (4, 2), (6, 1), (7, 1), (8, 1), (8, 4)] {
                self.add("directory entry", (at + field).min(block + BLOCK - width), width);
            }
            if length < 8 {
                break;
            }
            at += length;
        }
    }

    fn directory_index(&mut self, image: &Image<'_>, root: usize) {
        for (field, width) in [(0, 4), (4, 2), (6, 1), (12, 4), (16, 2), (18, 1)] {
            self.add("directory index", root + field, width);
        }
        for (field, width) in
            [(0x18, 4), (0x1c, 1), (0x1d, 1), (0x1e, 1), (0x1f, 1), (0x20, 2), (0x22, 2), (0x24, 4)]
        {
            self.add("directory index", root + field, width);
        }
        for index in 1..image.half(root + 0x22).min(32) {
            self.add("directory index", root + 0x20 + 8 * index, 4);
            self.add("directory index", root + 0x24 + 8 * index, 4);
        }
    }

    fn xattrs(&mut self, image: &Image<'_>, first: usize, end: usize) {
        let mut at = first;
        while at + 16 <= end && image.word(at) != 0 {
            for (field, width) in [(0, 1), (1, 1), (2, 2), (4, 4), (8, 4), (12, 4)] {
                self.add("attribute", at + field, width);
            }
            at += 16 + usize::from(image.0[at]).next_multiple_of(4);
        }
        if at + 4 <= end {
            self.add("attribute", at, 4);
        }
    }

    fn journal(&mut self, image: &Image<'_>, block: usize) {
        if image.big_word(block) != JOURNAL_MAGIC {
            return;
        }
        self.words("journal record", block..block + 12);
        self.blocks.push((block / BLOCK) as u32);
        self.exchangeable.entry("journal record").or_default().push((block, BLOCK));
        match image.big_word(block + 4) {
            3 | 4 => self.words("journal superblock", block + 12..block + 0x60),
            1 => self.words("journal descriptor", block + 12..block + 12 + 16 * 16),
            5 => self.words("journal revocation", block + 12..block + 12 + 64),
            _ => {}
        }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }

    /// One change: of a field, or of a whole structure into another of its kind.
    pub fn change(&self, image: &[u8], random: &mut Random) -> Edit {
        let pick = |random: &mut Random, count: usize| random.below(count as u64) as usize;
        if random.below(8) == 0 {
            let kind = pick(random, self.exchangeable.len());
            let places = self.exchangeable.values().nth(kind).unwrap();
            let (from, length) = places[pick(random, places.len())];
            let (to, _) = places[pick(random, places.len())];
            return (to, image[from..from + length].to_vec());
        }
        let kind = pick(random, self.kinds.len());
        let fields = self.kinds.values().nth(kind).unwrap();
        let Field { at, width } = fields[pick(random, fields.len())];
        let mut old = [0; 4];
        old[..width].copy_from_slice(&image[at..at + width]);
        let old = u32::from_le_bytes(old);
        let value = match random.below(10) {
            0 => 0,
            1 => u32::MAX,
            2 => old.wrapping_add(1),
            3 => old.wrapping_sub(1),
            4 => old ^ 1 << random.below(8 * width as u64),
            5 => 1 << random.below(8 * width as u64),
            6 => u32::MAX >> 1,
            7 => random.below(64) as u32,
            8 => random.below(1 << 32) as u32,
            _ => self.blocks[pick(random, self.blocks.len())],
        };
        // The journal is big endian; elsewhere that is one more wrong value.
        let bytes = if random.below(4) == 0 {
            value.to_be_bytes()[4 - width..].to_vec()
        } else {
            value.to_le_bytes()[..width].to_vec()
        };
        (at, bytes)
    }
}

/// Makes the changes.
pub fn apply(image: &mut [u8], edits: &[Edit]) {
    for (at, bytes) in edits {
        image[*at..at + bytes.len()].copy_from_slice(bytes);
    }
}
