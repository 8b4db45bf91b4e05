//! From pages to the cards of a card table.

use core::ops::Range;

use crate::PAGE_BYTES;

/// Bytes that a card stands for (HotSpot 17: `CardTable::card_size`); eight cards are a page.
pub const CARD_BYTES: usize = 512;

/// Gives `mark` the addresses whose cards must be dirty: of the written pages what lies in `live`, and everything in
/// `live` from `tracked.end` on, which was not tracked. Ranges come in order, and pages next to each other come as
/// one.
///
/// `bitmap` is about the pages of `tracked`, as [`collect`](crate::WriteTracker::collect) fills it in; `live` is from
/// the old generation's bottom to its top, which need not be a whole page: objects end there. If `live` begins
/// before `tracked`, all of it is given.
pub fn card_runs(
    bitmap: &[u64],
    tracked: Range<usize>,
    live: Range<usize>,
    mut mark: impl FnMut(Range<usize>),
) {
    if live.is_empty() {
        return;
    }
    if live.start < tracked.start || bitmap.len() * 64 * PAGE_BYTES < tracked.len() {
        return mark(live);
    }
    let pages = tracked.len() / PAGE_BYTES;
    let mut run: Option<Range<usize>> = None;
    for page in set_bits(bitmap).take_while(|&page| page < pages) {
        let start = tracked.start + page * PAGE_BYTES;
        match &mut run {
            Some(run) if run.end == start => run.end += PAGE_BYTES,
            _ => give(run.replace(start..start + PAGE_BYTES), &live, &mut mark),
        }
    }
    let rest = tracked.end.max(live.start)..live.end;
    match &mut run {
        Some(run) if run.end == rest.start && !rest.is_empty() => run.end = rest.end,
        _ => {
            give(run.take(), &live, &mut mark);
            run = Some(rest);
        }
    }
    give(run, &live, &mut mark);
}

/// Cuts a run to what lives, and gives that.
fn give(run: Option<Range<usize>>, live: &Range<usize>, mark: &mut impl FnMut(Range<usize>)) {
    let Some(run) = run else { return };
    let cut = run.start.max(live.start)..run.end.min(live.end);
    if !cut.is_empty() {
        mark(cut);
    }
}

/// The numbers of the bits that are set. Words of zeros, which are most, take one look each.
fn set_bits(bitmap: &[u64]) -> impl Iterator<Item = usize> + '_ {
    bitmap.iter().enumerate().flat_map(|(index, &word)| {
        let mut rest = word;
        core::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(index * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: usize = 0x7f00_0000_0000;

    fn runs(bitmap: &[u64], tracked: Range<usize>, live: Range<usize>) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        card_runs(bitmap, tracked, live, |run| runs.push(run));
        runs
    }

    #[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
    #[test]
    fn neighbours_are_one_run_and_the_untracked_end_is_dirty() {
        let tracked = BASE..BASE + 64 * PAGE_BYTES;
        let live = BASE..tracked.end + 1000;
        let expected = [BASE..BASE + 2 * PAGE_BYTES, tracked.end - PAGE_BYTES..live.end];
        assert_eq!(runs(&[1 << 63 | 0b11], tracked.clone(), live.clone()), expected);
        assert_eq!(runs(&[0], tracked.clone(), live.clone()), [tracked.end..live.end]);
        // The generation has shrunk: pages above its top are nobody's.
        assert!(runs(&[1 << 63], tracked, BASE..BASE + 512).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_all_dirty() {
        let tracked = BASE..BASE + 65 * PAGE_BYTES;
        assert_eq!(runs(&[0], tracked.clone(), tracked.clone()), std::slice::from_ref(&tracked));
        let live = BASE - PAGE_BYTES..BASE + PAGE_BYTES;
        assert_eq!(runs(&[0, 0], tracked, live.clone()), [live]);
    }

    proptest! {
        /// Against a look at each card by itself.
        #[test]
        fn exactly_the_cards_of_dirty_live_memory_are_marked(
            bitmap in prop::collection::vec(prop_oneof![Just(0u64), Just(u64::MAX), any::<u64>()], 2),
            tracked_pages in 0usize..=128,
            live_words in 0usize..140 * PAGE_BYTES / 8,
        ) {
            let tracked = BASE..BASE + tracked_pages * PAGE_BYTES;
            let live = BASE..BASE + live_words * 8;
            let runs = runs(&bitmap, tracked.clone(), live.clone());
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            for word in (BASE..BASE + 140 * PAGE_BYTES).step_by(CARD_BYTES) {
                let page = (word - BASE) / PAGE_BYTES;
                let is_dirty = word >= tracked.end || bitmap[page / 64] >> (page % 64) & 1 == 1;
                let is_marked = runs.iter().any(|run| run.contains(&word));
                prop_assert_eq!(is_marked, is_dirty && word < live.end);
            }
        }
    }
}
