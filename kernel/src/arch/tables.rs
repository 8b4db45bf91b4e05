//! Descriptor tables: GDT and TSS of each CPU, and the one IDT.

use alloc::boxed::Box;

use spin::Once;
use x86_64::{
    PrivilegeLevel, VirtAddr,
    instructions::tables::load_tss,
    registers::{
        model_specific::{Efer, EferFlags, LStar, Msr, SFMask},
        rflags::RFlags,
        segmentation::{CS, SS, Segment},
    },
    structures::{
        gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector},
        idt::InterruptDescriptorTable,
        tss::TaskStateSegment,
    },
};

/// Selector of the only code segment; the data segment follows it, as `syscall` wants (SDM vol. 3, 5.8.8).
pub const CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
const DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);

/// IST of faults and interrupts, and one for each vector that may come while another's stack is in use.
const IST_COMMON: u16 = 0;
const IST_NMI: u16 = 1;
const IST_DOUBLE_FAULT: u16 = 2;
const IST_MACHINE_CHECK: u16 = 3;
const IST_DEBUG: u16 = 4;

/// A stack that holds one hardware frame for a moment; `trap_in_place` vectors run their handler on it.
const IST_STACK_SIZE: usize = 16 * 1024;

unsafe extern "C" {
    static trap_vectors: [[u8; 16]; 256];
    fn syscall_entry();
}

#[repr(C, align(16))]
struct IstStack([u8; IST_STACK_SIZE]);

/// Loads this CPU's GDT, TSS and IDT, and sets up `syscall`.
///
/// # Safety
/// Once on each CPU, after its per-CPU state is there.
pub unsafe fn init() {
    let tss = Box::leak(Box::new(TaskStateSegment::new()));
    for index in [IST_COMMON, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_DEBUG] {
        let stack: &'static mut IstStack = Box::leak(
            // SAFETY: a stack has no invalid contents.
            unsafe { Box::<IstStack>::new_zeroed().assume_init() },
        );
        let top = VirtAddr::from_ptr(stack) + IST_STACK_SIZE as u64;
        tss.interrupt_stack_table[index as usize] = top;
    }

    let gdt = Box::leak(Box::new(GlobalDescriptorTable::<8>::empty()));
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    let tss_selector = gdt.append(Descriptor::tss_segment(tss));
    gdt.load();
    // SAFETY: the selectors name the segments just appended; the tables live for ever.
    unsafe {
        CS::set_reg(CODE);
        SS::set_reg(DATA);
        load_tss(tss_selector);
    }
    idt().load();

    // `syscall` loads CS = STAR[47:32] and SS = that + 8. There is no `sysret`, so STAR[63:48] is unused.
    let star = (CODE.0 as u64) << 32;
    // SAFETY: IA32_STAR; the selectors are right, and `syscall_entry` is the entry they are for.
    unsafe { Msr::new(0xC000_0081).write(star) };
    LStar::write(VirtAddr::new(syscall_entry as *const () as u64));
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK,
    );
    // SAFETY: the entry point is set.
    unsafe { Efer::update(|efer| efer.insert(EferFlags::SYSTEM_CALL_EXTENSIONS)) };
}

fn idt() -> &'static InterruptDescriptorTable {
    static IDT: Once<InterruptDescriptorTable> = Once::new();
    IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        // SAFETY: each stub pushes what its vector's frame needs and ends in `iretq`; each IST index has a
        // stack.
        unsafe {
            let stub = |vector: usize| VirtAddr::from_ptr(&trap_vectors[vector]);
            macro_rules! entry {
                ($field:ident, $vector:literal, $ist:expr) => {
                    idt.$field.set_handler_addr(stub($vector)).set_stack_index($ist);
                };
            }
            entry!(divide_error, 0, IST_COMMON);
            entry!(debug, 1, IST_DEBUG);
            entry!(non_maskable_interrupt, 2, IST_NMI);
            entry!(breakpoint, 3, IST_COMMON);
            entry!(overflow, 4, IST_COMMON);
            entry!(bound_range_exceeded, 5, IST_COMMON);
            entry!(invalid_opcode, 6, IST_COMMON);
            entry!(device_not_available, 7, IST_COMMON);
            entry!(double_fault, 8, IST_DOUBLE_FAULT);
            entry!(invalid_tss, 10, IST_COMMON);
            entry!(segment_not_present, 11, IST_COMMON);
            entry!(stack_segment_fault, 12, IST_COMMON);
            entry!(general_protection_fault, 13, IST_COMMON);
            entry!(page_fault, 14, IST_COMMON);
            entry!(x87_floating_point, 16, IST_COMMON);
            entry!(alignment_check, 17, IST_COMMON);
            entry!(machine_check, 18, IST_MACHINE_CHECK);
            entry!(simd_floating_point, 19, IST_COMMON);
            for vector in 32..=255u8 {
                idt[vector].set_handler_addr(stub(vector as usize)).set_stack_index(IST_COMMON);
            }
        }
        idt
    })
}
