# From the PVH entry point to 64-bit Rust code, for the boot CPU and, through a trampoline in low
# memory, for the others.
#
# PVH (Xen docs/misc/pvh.pandoc; the note is type 18, XEN_ELFNOTE_PHYS32_ENTRY): 32-bit protected
# mode, paging off, flat segments, %ebx = physical address of struct hvm_start_info.
#
# The boot page tables map the first 4 GiB of physical memory with 2 MiB pages three times: where
# it is (the code below runs there), at the direct map, and its first GiB at KERNEL_OFFSET.

.section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_start

.section .boot.text, "ax"
.code32
.global pvh_start
pvh_start:
    cli
    cld
    mov %ebx, %esi
    # Fill the four page directories: 2048 entries of 2 MiB, present, writable, large.
    mov $boot_pd, %edi
    mov $0x83, %eax
    mov $2048, %ecx
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    mov $boot_stack_physical_top, %esp
    call enable_long_mode
    lgdt boot_gdtr
    ljmp $8, $boot64

# Page tables, SSE, NX and long mode on; paging goes on last. Clobbers eax, ecx, edx.
enable_long_mode:
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $((1 << 5) | (1 << 7) | (1 << 9) | (1 << 10)), %eax    # PAE, PGE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xC0000080, %ecx                                    # EFER
    rdmsr
    or $((1 << 0) | (1 << 8) | (1 << 11)), %eax              # SCE, LME, NXE
    wrmsr
    mov %cr0, %eax
    and $~((1 << 2) | (1 << 3)), %eax                        # EM, TS off
    or $((1 << 31) | (1 << 16) | (1 << 5) | (1 << 1) | 1), %eax  # PG, WP, NE, MP, PE
    mov %eax, %cr0
    ret

.code64
boot64:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    movabs $boot_stack_top, %rsp
    xor %ebp, %ebp
    mov %esi, %edi                                           # start_info, zero-extended
    movabs $kernel_entry, %rax
    call *%rax
    ud2

# The trampoline: copied to TRAMPOLINE (a page below 1 MiB), where a start-up IPI begins in real mode
# with CS = page >> 4. Addresses are computed for that place.
.set TRAMPOLINE, 0x8000
.global ap_trampoline
.global ap_trampoline_end
.code16
ap_trampoline:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + (trampoline_gdtr - ap_trampoline)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $0x18, $(TRAMPOLINE + (ap_protected - ap_trampoline))
trampoline_gdtr:
    .word 39
    .long boot_gdt
.code32
ap_protected:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %ss
    # They all start at the same time: a CPU's index is the order of its arrival, and its own eight
    # bytes in the trampoline page are its stack for one call.
    mov $1, %ebx
    lock xadd %ebx, ap_arrivals
    lea (TRAMPOLINE + 0x800)(,%ebx,8), %esp
    mov $enable_long_mode, %eax
    call *%eax
    ljmp $8, $ap64
ap_trampoline_end:
.code64
ap64:
    # Up to the kernel's own addresses, which the boot page tables map too; then to the kernel's page
    # tables, which do not map this code.
    movabs $ap_high, %rax
    jmp *%rax

.section .text.ap, "ax"
.code64
ap_high:
    mov KERNEL_ROOT, %rax
    mov %rax, %cr3
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    # ebx = 1, 2, ...: this CPU's index. Its stack was prepared before the start-up IPI.
    mov %ebx, %edi
    mov AP_STACK_TOPS(,%rdi,8), %rsp
    xor %ebp, %ebp
    call ap_entry
    ud2

.section .boot.data, "aw"
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9A000000FFFF    # 0x08 code, 64 bit
    .quad 0x00CF92000000FFFF    # 0x10 data
    .quad 0x00CF9A000000FFFF    # 0x18 code, 32 bit, for the trampoline
    .quad 0
boot_gdtr:
    .word 39
    .quad boot_gdt
.global ap_arrivals
ap_arrivals:
    .long 1
    .balign 16
    .skip 64
boot_stack_physical_top:

.balign 4096
.global boot_pml4
boot_pml4:
    .quad boot_pdpt + 3
    .fill 272, 8, 0
    .quad boot_pdpt + 3         # 273: 0xffff888000000000, the direct map
    .fill 237, 8, 0
    .quad boot_pdpt_kernel + 3
boot_pdpt:
    .quad boot_pd + 3
    .quad boot_pd + 0x1000 + 3
    .quad boot_pd + 0x2000 + 3
    .quad boot_pd + 0x3000 + 3
    .fill 508, 8, 0
boot_pdpt_kernel:
    .fill 510, 8, 0
    .quad boot_pd + 3
    .quad 0
boot_pd:
    .fill 2048, 8, 0

.section .bss
.balign 4096
.global boot_stack_bottom
boot_stack_bottom:
    .skip 65536
boot_stack_top:
