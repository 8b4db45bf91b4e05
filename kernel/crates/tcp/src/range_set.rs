//! Sets of positions in a stream, as ranges: what the other end has acknowledged selectively.

use alloc::collections::BTreeMap;

/// Disjoint ranges that do not touch, by their beginnings.
#[derive(Debug, Default)]
pub(crate) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range, and calls `newly` for the parts of it that were not in the set, in order.
    pub(crate) fn insert(&mut self, start: u64, end: u64, mut newly: impl FnMut(u64, u64)) {
        if start >= end {
            return;
        }
        let (mut merged_start, mut merged_end) = (start, end);
        let mut at = start;
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            if before_end >= end {
                return;
            }
            merged_start = before;
            at = before_end;
            self.ranges.remove(&before);
        }
        while at <= end
            && let Some((&next, &next_end)) = self.ranges.range(at..=end).next()
        {
            if at < next {
                newly(at, next);
            }
            at = next_end;
            merged_end = merged_end.max(next_end);
            self.ranges.remove(&next);
        }
        if at < end {
            newly(at, end);
        }
        self.ranges.insert(merged_start, merged_end);
    }

    /// Takes away what is below `position`.
    pub(crate) fn remove_below(&mut self, position: u64) {
        while let Some(first) = self.ranges.first_entry()
            && *first.key() < position
        {
            let end = first.remove();
            if end > position {
                self.ranges.insert(position, end);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeSet, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set_of_positions(steps in proptest::collection::vec((0..3_u8, 0..60_u64, 0..20_u64), 1..60)) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (kind, start, len) in steps {
                if kind == 0 {
                    set.remove_below(start);
                    model.retain(|&position| position >= start);
                } else {
                    let mut newly = Vec::new();
                    set.insert(start, start + len, |a, b| newly.extend(a..b));
                    let expected: Vec<_> = (start..start + len).filter(|p| !model.contains(p)).collect();
                    prop_assert_eq!(newly, expected);
                    model.extend(start..start + len);
                }
                let all: Vec<_> = set.ranges.iter().flat_map(|(&a, &b)| a..b).collect();
                prop_assert_eq!(&all, &model.iter().copied().collect::<Vec<_>>());
                let ranges: Vec<_> = set.ranges.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
        }
    }
}
