# Entry into the kernel and exit from it: exceptions, interrupts, system calls; the context switch.
#
# Everything is ring 0, so what usually comes with a ring switch is done here:
#
# * The application uses the red zone, so an exception or interrupt must not push on its stack: each
#   vector has an IST stack, and the CPU always switches to it (SDM vol. 3, 6.14.5). The IST stack
#   holds the hardware's frame only for a moment; the whole TrapFrame is built on the thread's own kernel
#   stack, where a handler may block. If the kernel itself was interrupted, the frame goes below its
#   stack pointer and its red zone (the prebuilt `core` uses one).
# * Who was interrupted is told by the address: the kernel's text is at KERNEL_OFFSET and above.
# * `syscall` does not change the stack; the entry finds the kernel stack through GS, which belongs to the
#   kernel for good: no swapgs anywhere.
#
# Linux keeps every register but rax, rcx and r11 across a system call, and Rust code uses
# xmm0-15: the frame holds them. The upper halves of vector registers are never touched here.

.set FRAME_XMM, 0
.set FRAME_R15, 256
.set FRAME_R14, 264
.set FRAME_R13, 272
.set FRAME_R12, 280
.set FRAME_RBP, 288
.set FRAME_RBX, 296
.set FRAME_R11, 304
.set FRAME_R10, 312
.set FRAME_R9, 320
.set FRAME_R8, 328
.set FRAME_RAX, 336
.set FRAME_RCX, 344
.set FRAME_RDX, 352
.set FRAME_RSI, 360
.set FRAME_RDI, 368
.set FRAME_VECTOR, 376
.set FRAME_ERROR, 384
.set FRAME_RIP, 392
.set FRAME_CS, 400
.set FRAME_RFLAGS, 408
.set FRAME_RSP, 416
.set FRAME_SS, 424
.set FRAME_SIZE, 432

.set CPU_KERNEL_STACK, 8
.set CPU_USER_RSP, 16

.macro SAVE_XMM base
    movaps %xmm0, 0(\base)
    movaps %xmm1, 16(\base)
    movaps %xmm2, 32(\base)
    movaps %xmm3, 48(\base)
    movaps %xmm4, 64(\base)
    movaps %xmm5, 80(\base)
    movaps %xmm6, 96(\base)
    movaps %xmm7, 112(\base)
    movaps %xmm8, 128(\base)
    movaps %xmm9, 144(\base)
    movaps %xmm10, 160(\base)
    movaps %xmm11, 176(\base)
    movaps %xmm12, 192(\base)
    movaps %xmm13, 208(\base)
    movaps %xmm14, 224(\base)
    movaps %xmm15, 240(\base)
.endm

.macro RESTORE_XMM base
    movaps 0(\base), %xmm0
    movaps 16(\base), %xmm1
    movaps 32(\base), %xmm2
    movaps 48(\base), %xmm3
    movaps 64(\base), %xmm4
    movaps 80(\base), %xmm5
    movaps 96(\base), %xmm6
    movaps 112(\base), %xmm7
    movaps 128(\base), %xmm8
    movaps 144(\base), %xmm9
    movaps 160(\base), %xmm10
    movaps 176(\base), %xmm11
    movaps 192(\base), %xmm12
    movaps 208(\base), %xmm13
    movaps 224(\base), %xmm14
    movaps 240(\base), %xmm15
.endm

.section .text.entry, "ax"
.code64

# On the IST stack: [rcx] [rax] vector error rip cs rflags rsp ss. Builds the frame at %rcx - FRAME_SIZE.
# `rcx` and `rax` were pushed.
.macro BUILD_FRAME
    and $-16, %rcx
    sub $FRAME_SIZE, %rcx
    mov %r15, FRAME_R15(%rcx)
    mov %r14, FRAME_R14(%rcx)
    mov %r13, FRAME_R13(%rcx)
    mov %r12, FRAME_R12(%rcx)
    mov %rbp, FRAME_RBP(%rcx)
    mov %rbx, FRAME_RBX(%rcx)
    mov %r11, FRAME_R11(%rcx)
    mov %r10, FRAME_R10(%rcx)
    mov %r9, FRAME_R9(%rcx)
    mov %r8, FRAME_R8(%rcx)
    mov %rdx, FRAME_RDX(%rcx)
    mov %rsi, FRAME_RSI(%rcx)
    mov %rdi, FRAME_RDI(%rcx)
    mov 0(%rsp), %rax
    mov 8(%rsp), %rdx
    mov %rax, FRAME_RCX(%rcx)
    mov %rdx, FRAME_RAX(%rcx)
    mov 16(%rsp), %rax
    mov 24(%rsp), %rdx
    mov %rax, FRAME_VECTOR(%rcx)
    mov %rdx, FRAME_ERROR(%rcx)
    mov 32(%rsp), %rax
    mov 40(%rsp), %rdx
    mov %rax, FRAME_RIP(%rcx)
    mov %rdx, FRAME_CS(%rcx)
    mov 48(%rsp), %rax
    mov 56(%rsp), %rdx
    mov %rax, FRAME_RFLAGS(%rcx)
    mov %rdx, FRAME_RSP(%rcx)
    mov 64(%rsp), %rax
    mov %rax, FRAME_SS(%rcx)
    mov %rcx, %rsp
    SAVE_XMM %rsp
.endm

trap_common:
    cld
    push %rax
    push %rcx
    mov 32(%rsp), %rax
    mov %gs:CPU_KERNEL_STACK, %rcx
    cmp $-0x80000000, %rax          # sign-extended: KERNEL_OFFSET
    jb 1f
    mov 56(%rsp), %rcx
    sub $128, %rcx
1:  BUILD_FRAME
    mov %rsp, %rdi
    call trap_handler
# Leaves through a frame at %rsp, with interrupts masked.
.global return_to_frame
return_to_frame:
    RESTORE_XMM %rsp
    add $256, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rax
    pop %rcx
    pop %rdx
    pop %rsi
    pop %rdi
    add $16, %rsp
    iretq

# A single step of the application (it set TF itself) becomes a signal, like any exception. Of the kernel, it may come
# at any instruction.
trap_debug:
    cmpq $-0x80000000, 16(%rsp)     # vector, error, rip
    jb trap_common

# Vectors that may come at any instruction, also with no usable kernel stack (NMI, double fault, machine
# check, debug): the frame stays on their own IST stack.
trap_in_place:
    cld
    push %rax
    push %rcx
    mov %rsp, %rcx
    BUILD_FRAME
    mov %rsp, %rdi
    call trap_in_place_handler
    jmp return_to_frame

.macro VECTOR number, has_error, target
.balign 16
    .if \has_error == 0
    push $0
    .endif
    push $\number
    jmp \target
.endm

# All 256 stubs, 16 bytes apart.
.balign 16
.global trap_vectors
trap_vectors:
.set vector, 0
.rept 256
    .if vector == 1
    VECTOR vector, 0, trap_debug
    .elseif vector == 2 || vector == 18
    VECTOR vector, 0, trap_in_place
    .elseif vector == 8
    VECTOR vector, 1, trap_in_place
    .elseif vector == 10 || vector == 11 || vector == 12 || vector == 13 || vector == 14 || vector == 17 || vector == 21 || vector == 29 || vector == 30
    VECTOR vector, 1, trap_common
    .else
    VECTOR vector, 0, trap_common
    .endif
    .set vector, vector + 1
.endr

# System call: rax = number; rdi, rsi, rdx, r10, r8, r9 = arguments; rcx = return address, r11 = rflags.
# FMASK has masked interrupts, DF and TF.
.balign 64
.global syscall_entry
syscall_entry:
    mov %rsp, %gs:CPU_USER_RSP
    mov %gs:CPU_KERNEL_STACK, %rsp
    sub $FRAME_SIZE, %rsp
    mov %rcx, FRAME_RIP(%rsp)
    mov %r11, FRAME_RFLAGS(%rsp)
    mov %rax, FRAME_VECTOR(%rsp)
    mov %rax, FRAME_RAX(%rsp)
    mov %rcx, FRAME_RCX(%rsp)
    mov %gs:CPU_USER_RSP, %rcx
    movq $8, FRAME_CS(%rsp)
    movq $16, FRAME_SS(%rsp)
    mov %rcx, FRAME_RSP(%rsp)
    mov %r15, FRAME_R15(%rsp)
    mov %r14, FRAME_R14(%rsp)
    mov %r13, FRAME_R13(%rsp)
    mov %r12, FRAME_R12(%rsp)
    mov %rbp, FRAME_RBP(%rsp)
    mov %rbx, FRAME_RBX(%rsp)
    mov %r11, FRAME_R11(%rsp)
    mov %r10, FRAME_R10(%rsp)
    mov %r9, FRAME_R9(%rsp)
    mov %r8, FRAME_R8(%rsp)
    mov %rdx, FRAME_RDX(%rsp)
    mov %rsi, FRAME_RSI(%rsp)
    mov %rdi, FRAME_RDI(%rsp)
    SAVE_XMM %rsp
    sti
    mov %rsp, %rdi
    call syscall_handler            # comes back with interrupts masked
    test %al, %al
    jnz return_to_frame             # the frame was changed: all of it counts

    # The quick way back. rcx and r11 are the application's to lose, the flags are not. Interrupts
    # must stay masked until the stack is the application's, or the frame of one would land on a
    # stack with a red zone below it: `sti` takes effect after the instruction that follows it
    # (SDM vol. 2, STI), which is the jump.
    RESTORE_XMM %rsp
    mov FRAME_R15(%rsp), %r15
    mov FRAME_R14(%rsp), %r14
    mov FRAME_R13(%rsp), %r13
    mov FRAME_R12(%rsp), %r12
    mov FRAME_RBP(%rsp), %rbp
    mov FRAME_RBX(%rsp), %rbx
    mov FRAME_R10(%rsp), %r10
    mov FRAME_R9(%rsp), %r9
    mov FRAME_R8(%rsp), %r8
    mov FRAME_RDX(%rsp), %rdx
    mov FRAME_RSI(%rsp), %rsi
    mov FRAME_RDI(%rsp), %rdi
    mov FRAME_RIP(%rsp), %rcx
    mov FRAME_RFLAGS(%rsp), %r11
    # `popfq` is dear on a processor (microcode) and under an emulator (it ends a block). The six flags of arithmetic
    # are put back without it: OF by an addition that overflows if it is to be set, the others by `sahf` (SDM vol. 2,
    # SAHF; bits by vol. 1, 3.4.3). None of the moves after that touches them.
    test $~(0x8d5 | 0x202), %r11d
    jnz 1f
    mov %r11d, %eax
    shl $8, %eax                    # ah = SF ZF AF PF CF, OF in bit 19
    bt $19, %eax
    setc %al
    add $0x7f, %al
    sahf
    mov FRAME_RAX(%rsp), %rax
    mov FRAME_RSP(%rsp), %rsp       # the application's stack pointer
    sti
    jmp *%rcx
1:  mov FRAME_RAX(%rsp), %rax
    andl $~0x200, FRAME_RFLAGS(%rsp)
    add $FRAME_RFLAGS, %rsp
    popfq
    pop %rsp
    sti
    jmp *%rcx

# fn context_switch(save: *mut u64 [rdi], load: u64 [rsi]): keeps the callee-saved registers on the old stack.
.balign 16
.global context_switch
context_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

# First code of a new thread: `context_switch` returns to here with its entry function in rbx and the argument in
# r12. The stack is 16-byte aligned at a call.
.global thread_start
thread_start:
    xor %ebp, %ebp
    mov %r12, %rdi
    call *%rbx
    ud2
