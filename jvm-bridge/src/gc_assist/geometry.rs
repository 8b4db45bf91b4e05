//! Where the old generation and the card table are.

use std::ops::Range;

use mmu_gc::CARD_BYTES;

use super::symbols::Symbols;
use crate::vm_structs::{Field, Missing, StaticField, VmStructs};

/// A collector that can be assisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collector {
    Serial,
    Parallel,
}

/// The fields to follow, all of them found and checked.
pub struct Geometry {
    heap: StaticField<usize>,
    /// What the first word of a heap object is (the Itanium C++ ABI: the address of the third slot).
    serial_vtable: usize,
    parallel_vtable: usize,
    serial_old: Field<usize>,
    tenured_space: Field<usize>,
    space_bottom: Field<usize>,
    space_top: Field<usize>,
    parallel_old: StaticField<usize>,
    old_space: Field<usize>,
    mutable_bottom: Field<usize>,
    mutable_top: Field<usize>,
    barrier_set: StaticField<usize>,
    card_table: Field<usize>,
    byte_map_base: Field<usize>,
}

impl Geometry {
    pub fn find(tables: &VmStructs, symbols: &Symbols) -> Result<Self, Missing> {
        let shift = tables.int_constant("CardTable::card_shift")?;
        let dirty = tables.int_constant("CardTable::dirty_card")?;
        if shift != CARD_BYTES.ilog2() as i32 || dirty != i32::from(DIRTY_CARD) {
            return Err(Missing(format!("cards are of 2^{shift} bytes, and {dirty} if dirty")));
        }
        Ok(Self {
            heap: tables.static_field("Universe", "_collectedHeap", "CollectedHeap*")?,
            serial_vtable: symbols.object("_ZTV10SerialHeap")?.address + 16,
            parallel_vtable: symbols.object("_ZTV20ParallelScavengeHeap")?.address + 16,
            serial_old: tables.field("GenCollectedHeap", "_old_gen", "Generation*")?,
            tenured_space: tables.field("TenuredGeneration", "_the_space", "ContiguousSpace*")?,
            space_bottom: tables.field("Space", "_bottom", "HeapWord*")?,
            space_top: tables.field("ContiguousSpace", "_top", "HeapWord*")?,
            parallel_old: tables.static_field("ParallelScavengeHeap", "_old_gen", "PSOldGen*")?,
            old_space: tables.field("PSOldGen", "_object_space", "MutableSpace*")?,
            mutable_bottom: tables.field("MutableSpace", "_bottom", "HeapWord*")?,
            mutable_top: tables.field("MutableSpace", "_top", "HeapWord*")?,
            barrier_set: tables.static_field("BarrierSet", "_barrier_set", "BarrierSet*")?,
            card_table: tables.field("CardTableBarrierSet", "_card_table", "CardTable*")?,
            byte_map_base: tables.field("CardTable", "_byte_map_base", "CardTable::CardValue*")?,
        })
    }

    /// The VM's collector, if it is one of the two. For after the VM has been made.
    pub fn collector(&self) -> Option<Collector> {
        let heap = self.heap.read();
        if heap == 0 {
            return None;
        }
        // SAFETY: a heap object, which lives as long as the VM; its first word is its vtable.
        match unsafe { (heap as *const usize).read() } {
            vtable if vtable == self.serial_vtable => Some(Collector::Serial),
            vtable if vtable == self.parallel_vtable => Some(Collector::Parallel),
            _ => None,
        }
    }

    /// From the old generation's bottom to its top.
    ///
    /// # Safety
    /// Called at a safepoint, from a hook of that collector.
    pub unsafe fn old_live(&self, collector: Collector) -> Range<usize> {
        // SAFETY: from one of the collector's own virtual functions its heap is complete, and generations and
        // spaces are never replaced; each pointer leads to an object of the next field's type.
        unsafe {
            let (bottom, top) = match collector {
                Collector::Serial => {
                    let space = self.tenured_space.read(self.serial_old.read(self.heap.read()));
                    (self.space_bottom.read(space), self.space_top.read(space))
                }
                Collector::Parallel => {
                    let space = self.old_space.read(self.parallel_old.read());
                    (self.mutable_bottom.read(space), self.mutable_top.read(space))
                }
            };
            bottom..top
        }
    }

    /// Makes the cards of `range` dirty.
    ///
    /// # Safety
    /// Called at a safepoint, from a hook of Serial or Parallel, with a range of the old generation.
    pub unsafe fn dirty_cards(&self, range: Range<usize>) {
        // SAFETY: both collectors' barrier set is a CardTableBarrierSet. Its table has a byte for each card of the heap,
        // which nobody else writes now.
        unsafe {
            let base = self.byte_map_base.read(self.card_table.read(self.barrier_set.read()));
            let card = |address: usize| base.wrapping_add(address / CARD_BYTES);
            let first = card(range.start);
            let count = card(range.end - 1) - first + 1;
            (first as *mut u8).write_bytes(DIRTY_CARD, count);
        }
    }
}

/// HotSpot's `CardTable::dirty_card_val()`.
const DIRTY_CARD: u8 = 0;
