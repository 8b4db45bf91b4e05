//! An AVL tree of disjoint ranges in which each subtree knows its largest gap.
//!
//! Nodes are named by index and lie in chunks, so that growing never needs much memory in one piece.
//! What a subtree knows (its extent, its largest inner gap, its height) follows from its children
//! alone and is put right on the way back from every change.
//!
//! The shape: G. Adelson-Velsky and E. Landis, 1962; as in D. Knuth, TAOCP vol. 3, 6.2.3.

use alloc::{boxed::Box, collections::TryReserveError, vec::Vec};
use core::{cmp::Ordering, ops::Range};

/// Names a node. `NIL` is no node.
pub type Index = u32;
pub const NIL: Index = u32::MAX;

const CHUNK_SHIFT: u32 = 6;
const CHUNK: usize = 1 << CHUNK_SHIFT;

struct Node<V> {
    range: Range<usize>,
    /// `None` only while the node is on the free list; `left` is then the next free node.
    value: Option<V>,
    left: Index,
    right: Index,
    height: u8,
    /// From the start of the subtree's first range to the end of its last.
    extent: Range<usize>,
    /// The largest gap between two ranges of the subtree.
    largest_gap: usize,
}

pub struct Tree<V> {
    chunks: Vec<Box<[Node<V>]>>,
    root: Index,
    free: Index,
    free_count: usize,
    len: usize,
}

impl<V> Tree<V> {
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), root: NIL, free: NIL, free_count: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn node(&self, index: Index) -> &Node<V> {
        &self.chunks[(index >> CHUNK_SHIFT) as usize][index as usize % CHUNK]
    }

    fn node_mut(&mut self, index: Index) -> &mut Node<V> {
        &mut self.chunks[(index >> CHUNK_SHIFT) as usize][index as usize % CHUNK]
    }

    pub fn range(&self, index: Index) -> Range<usize> {
        self.node(index).range.clone()
    }

    pub fn value(&self, index: Index) -> &V {
        self.node(index).value.as_ref().expect("a node in the tree has a value")
    }

    /// Makes sure that `count` insertions need no memory.
    pub fn reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        while self.free_count < count {
            self.chunks.try_reserve(1)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK)?;
            let first = (self.chunks.len() << CHUNK_SHIFT) as Index;
            for n in 0..CHUNK as Index {
                let next = if n + 1 < CHUNK as Index { first + n + 1 } else { self.free };
                chunk.push(Node {
                    range: 0..0,
                    value: None,
                    left: next,
                    right: NIL,
                    height: 0,
                    extent: 0..0,
                    largest_gap: 0,
                });
            }
            self.chunks.push(chunk.into_boxed_slice());
            self.free = first;
            self.free_count += CHUNK;
        }
        Ok(())
    }

    /// First range that ends after `address`: the one that contains it, or else the next.
    pub fn first_ending_after(&self, address: usize) -> Index {
        let (mut index, mut found) = (self.root, NIL);
        while index != NIL {
            let node = self.node(index);
            if node.range.end > address {
                found = index;
                index = node.left;
            } else {
                index = node.right;
            }
        }
        found
    }

    /// Last range that starts before `address`.
    pub fn last_starting_before(&self, address: usize) -> Index {
        let (mut index, mut found) = (self.root, NIL);
        while index != NIL {
            let node = self.node(index);
            if node.range.start < address {
                found = index;
                index = node.right;
            } else {
                index = node.left;
            }
        }
        found
    }

    /// Adds a range that overlaps none here. Room has been [reserved](Self::reserve).
    pub fn insert(&mut self, range: Range<usize>, value: V) {
        let index = self.free;
        assert_ne!(index, NIL, "the caller reserves");
        let node = self.node_mut(index);
        let next_free = node.left;
        *node = Node {
            extent: range.clone(),
            range,
            value: Some(value),
            left: NIL,
            right: NIL,
            height: 1,
            largest_gap: 0,
        };
        self.free = next_free;
        self.free_count -= 1;
        self.len += 1;
        self.root = self.insert_below(self.root, index);
    }

    fn insert_below(&mut self, root: Index, new: Index) -> Index {
        if root == NIL {
            return new;
        }
        if self.node(new).range.start < self.node(root).range.start {
            let left = self.insert_below(self.node(root).left, new);
            self.node_mut(root).left = left;
        } else {
            let right = self.insert_below(self.node(root).right, new);
            self.node_mut(root).right = right;
        }
        self.rebalance(root)
    }

    /// Takes the range that starts at `start` out.
    pub fn remove(&mut self, start: usize) -> Option<(Range<usize>, V)> {
        let (root, removed) = self.remove_below(self.root, start);
        self.root = root;
        if removed == NIL {
            return None;
        }
        let free = self.free;
        let node = self.node_mut(removed);
        node.left = free;
        let entry = (node.range.clone(), node.value.take().expect("a node in the tree has a value"));
        self.free = removed;
        self.free_count += 1;
        self.len -= 1;
        Some(entry)
    }

    /// The subtree without the node at `start`, and that node.
    fn remove_below(&mut self, root: Index, start: usize) -> (Index, Index) {
        if root == NIL {
            return (NIL, NIL);
        }
        let (left, right) = (self.node(root).left, self.node(root).right);
        let removed = match start.cmp(&self.node(root).range.start) {
            Ordering::Less => {
                let (left, removed) = self.remove_below(left, start);
                self.node_mut(root).left = left;
                removed
            }
            Ordering::Greater => {
                let (right, removed) = self.remove_below(right, start);
                self.node_mut(root).right = right;
                removed
            }
            Ordering::Equal if left == NIL => return (right, root),
            Ordering::Equal if right == NIL => return (left, root),
            Ordering::Equal => {
                // The successor takes the node's place.
                let (right, successor) = self.remove_first(right);
                let node = self.node_mut(successor);
                node.left = left;
                node.right = right;
                return (self.rebalance(successor), root);
            }
        };
        (self.rebalance(root), removed)
    }

    /// The subtree without its first node, and that node.
    fn remove_first(&mut self, root: Index) -> (Index, Index) {
        let left = self.node(root).left;
        if left == NIL {
            return (self.node(root).right, root);
        }
        let (left, first) = self.remove_first(left);
        self.node_mut(root).left = left;
        (self.rebalance(root), first)
    }

    /// Changes the end of the range that starts at `start`; it must not reach the next.
    pub fn set_end(&mut self, start: usize, end: usize) {
        self.set_end_below(self.root, start, end);
    }

    fn set_end_below(&mut self, root: Index, start: usize, end: usize) {
        let node = self.node_mut(root);
        match start.cmp(&node.range.start) {
            Ordering::Equal => node.range.end = end,
            Ordering::Less => {
                let left = node.left;
                self.set_end_below(left, start, end);
            }
            Ordering::Greater => {
                let right = node.right;
                self.set_end_below(right, start, end);
            }
        }
        self.pull(root);
    }

    fn height(&self, index: Index) -> i32 {
        if index == NIL { 0 } else { i32::from(self.node(index).height) }
    }

    /// Puts what the subtree knows right after a change of its children.
    fn pull(&mut self, index: Index) {
        let node = self.node(index);
        let mut extent = node.range.clone();
        let mut largest_gap = 0;
        if node.left != NIL {
            let left = self.node(node.left);
            largest_gap = left.largest_gap.max(node.range.start - left.extent.end);
            extent.start = left.extent.start;
        }
        if node.right != NIL {
            let right = self.node(node.right);
            largest_gap = largest_gap.max(right.largest_gap).max(right.extent.start - node.range.end);
            extent.end = right.extent.end;
        }
        let height = 1 + self.height(node.left).max(self.height(node.right));
        let node = self.node_mut(index);
        (node.extent, node.largest_gap, node.height) = (extent, largest_gap, height as u8);
    }

    fn rotate_right(&mut self, root: Index) -> Index {
        let left = self.node(root).left;
        self.node_mut(root).left = self.node(left).right;
        self.node_mut(left).right = root;
        self.pull(root);
        self.pull(left);
        left
    }

    fn rotate_left(&mut self, root: Index) -> Index {
        let right = self.node(root).right;
        self.node_mut(root).right = self.node(right).left;
        self.node_mut(right).left = root;
        self.pull(root);
        self.pull(right);
        right
    }

    /// Restores the balance of a node whose children's heights differ by two at most.
    fn rebalance(&mut self, root: Index) -> Index {
        let (left, right) = (self.node(root).left, self.node(root).right);
        let balance = self.height(left) - self.height(right);
        if balance > 1 {
            if self.height(self.node(left).left) < self.height(self.node(left).right) {
                let left = self.rotate_left(left);
                self.node_mut(root).left = left;
            }
            self.rotate_right(root)
        } else if balance < -1 {
            if self.height(self.node(right).right) < self.height(self.node(right).left) {
                let right = self.rotate_right(right);
                self.node_mut(root).right = right;
            }
            self.rotate_left(root)
        } else {
            self.pull(root);
            root
        }
    }

    /// The highest gap inside `bounds` with room for `len` bytes, cut to the bounds.
    pub fn highest_gap(&self, bounds: Range<usize>, len: usize) -> Option<Range<usize>> {
        self.gap(self.root, 0..usize::MAX, &bounds, len, Prefer::High)
    }

    /// The lowest gap inside `bounds` with room for `len` bytes, cut to the bounds.
    pub fn lowest_gap(&self, bounds: Range<usize>, len: usize) -> Option<Range<usize>> {
        self.gap(self.root, 0..usize::MAX, &bounds, len, Prefer::Low)
    }

    /// `around` is the space from the range before the subtree to the range after it.
    ///
    /// A subtree that passes the test holds a gap that is large enough, save where the bounds cut it.
    /// They do so on two paths only, hence O(log n).
    fn gap(
        &self,
        root: Index,
        around: Range<usize>,
        bounds: &Range<usize>,
        len: usize,
        prefer: Prefer,
    ) -> Option<Range<usize>> {
        let cut = around.start.max(bounds.start)..around.end.min(bounds.end);
        if cut.end < cut.start || cut.len() < len {
            return None;
        }
        if root == NIL {
            return Some(cut);
        }
        let node = self.node(root);
        let edges = (node.extent.start - around.start).max(around.end - node.extent.end);
        if node.largest_gap.max(edges) < len {
            return None;
        }
        let below = || self.gap(node.left, around.start..node.range.start, bounds, len, prefer);
        let above = || self.gap(node.right, node.range.end..around.end, bounds, len, prefer);
        match prefer {
            Prefer::High => above().or_else(below),
            Prefer::Low => below().or_else(above),
        }
    }

    #[cfg(test)]
    pub fn check(&self) {
        fn walk<V>(
            tree: &Tree<V>,
            index: Index,
            ranges: &mut Vec<Range<usize>>,
        ) -> (i32, Range<usize>, usize) {
            let node = tree.node(index);
            let first = ranges.len();
            let left = if node.left == NIL { 0 } else { walk(tree, node.left, ranges).0 };
            ranges.push(node.range.clone());
            let right = if node.right == NIL { 0 } else { walk(tree, node.right, ranges).0 };
            assert!((left - right).abs() <= 1, "out of balance");
            let own = &ranges[first..];
            let gap = own.windows(2).map(|pair| pair[1].start - pair[0].end).max().unwrap_or(0);
            let knows = (1 + left.max(right), own[0].start..own[own.len() - 1].end, gap);
            assert_eq!((i32::from(node.height), node.extent.clone(), node.largest_gap), knows);
            knows
        }
        let mut ranges = Vec::new();
        if self.root != NIL {
            walk(self, self.root, &mut ranges);
        }
        assert_eq!(ranges.len(), self.len);
    }
}

#[derive(Clone, Copy)]
enum Prefer {
    High,
    Low,
}
