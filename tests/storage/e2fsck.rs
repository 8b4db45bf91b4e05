//! What `e2fsck -fn` may say of a volume that is in order, for all tests that ask it: the only such list. Tests of several crates have
//! this file by its path, so that it stays the only one.

/// A flaw of `rsext4` 0.9.2 that shows in the file system. A test that may run into one says so; everywhere else it is damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A directory whose blocks lie in more than four runs has a tree of extents, whose own blocks are not counted
    /// (`append_directory_block`): e2fsck wants a higher i_blocks.
    DirectoryBlocks,
    /// A block that is marked as used and is nobody's: room that is lost until e2fsck finds it, and no danger to data. They are of extent
    /// trees: of a removed file that had unwritten extents, or of one that was under way at a power cut.
    LostBlock,
}

impl Flaw {
    /// For a file system that has seen everything.
    pub const ALL: [Self; 2] = [Self::DirectoryBlocks, Self::LostBlock];

    fn explains(self, complaint: &str) -> bool {
        match self {
            // Inode 17, i_blocks is 48, should be 56.  Fix? no
            Self::DirectoryBlocks => missing_i_blocks(complaint).is_some_and(|sectors| sectors > 0),
            // Block bitmap differences:  -1234 -(2000--2003) Fix? no
            Self::LostBlock => complaint.strip_prefix("Block bitmap differences:").is_some_and(|blocks| {
                let blocks = blocks.trim_end_matches("Fix? no");
                blocks.split_whitespace().all(|block| block.starts_with('-'))
            }),
        }
    }
}

/// What i_blocks is short of, if that is the complaint.
fn missing_i_blocks(complaint: &str) -> Option<i64> {
    let (_, numbers) = complaint.strip_prefix("Inode ")?.split_once(", i_blocks is ")?;
    let (is, should_be) = numbers.split_once(", should be ")?;
    let should_be = should_be.strip_suffix(".  Fix? no")?;
    Some(should_be.parse::<i64>().ok()? - is.parse::<i64>().ok()?)
}

/// What `e2fsck -fn`, which ended with `status`, complains of and none of `flaws` explains.
pub fn complaints(status: i32, said: &str, flaws: &[Flaw]) -> Vec<String> {
    if status == 0 {
        return Vec::new();
    }
    let all = questions(said);
    if all.is_empty() {
        return vec![said.to_string()];
    }
    let is_known = |complaint: &str| {
        // A wish for fewer blocks of extents, which Linux's own ext4 gives rise to just as well: alone it is no error to e2fsck either.
        complaint.ends_with("Optimize? no") || flaws.iter().any(|flaw| flaw.explains(complaint))
    };
    all.into_iter().filter(|complaint| !is_known(complaint)).collect()
}

/// Each complaint ends with a question, which is answered with no, or with e2fsck's own end; it may take several lines.
fn questions(said: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("Pass "))
    {
        lines.push(line);
        if line.ends_with("? no") || line.ends_with("aborted") {
            found.push(std::mem::take(&mut lines).join(" "));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Pass 1: Checking inodes, blocks, and sizes\n\
        Inode 17, i_blocks is 48, should be 56.  Fix? no\n\n\
        Inode 18 extent tree (at level 1) could be narrower.  Optimize? no\n\n\
        Pass 5: Checking group summary information\n\
        Block bitmap differences:  -1234 -(2000--2003)\nFix? no\n\n\
        Free blocks count wrong (4, counted=5).\nFix? no\n\n\
        v: ********** WARNING: Filesystem still has errors **********\n\n\
        v: 20/64 files (0.0% non-contiguous), 60/64 blocks\n";

    #[test]
    fn only_what_is_known_passes() {
        let free = "Free blocks count wrong (4, counted=5). Fix? no";
        assert_eq!(complaints(4, SAID, &Flaw::ALL), [free]);
        let lost = "Block bitmap differences:  -1234 -(2000--2003) Fix? no";
        assert_eq!(complaints(4, SAID, &[Flaw::DirectoryBlocks]), [lost, free]);
        let directory = "Inode 17, i_blocks is 48, should be 56.  Fix? no";
        assert_eq!(complaints(4, SAID, &[]), [directory, lost, free]);
        assert_eq!(complaints(0, SAID, &[]), [""; 0]);
    }

    #[test]
    fn what_resembles_it_does_not() {
        for said in [
            "Block bitmap differences:  +1234\nFix? no\n",
            "Block bitmap differences:  -1 +1234\nFix? no\n",
            "Inode 17, i_blocks is 56, should be 48.  Fix? no\n",
            "Padding at end of inode bitmap is not set. Fix? no\n",
        ] {
            assert_eq!(complaints(4, said, &Flaw::ALL).len(), 1, "{said}");
        }
        // Whatever ends e2fsck without a question.
        assert_eq!(complaints(8, "Bad magic number", &Flaw::ALL), ["Bad magic number"]);
    }
}
