# Copies and fills: what the compiler calls (memcpy, ...), and the copies to and from the application
# that survive a fault.
#
# SSE2 in 64-byte steps: on hardware within reach of `rep movsb`, and under an emulator, which takes
# `rep movsb` byte by byte, many times faster.

.section .text.memory, "ax"
.code64

# Copies rdx bytes from rsi to rdi, upwards, and leaves rdx = 0. At each access rdx is what is left. Clobbers rcx, xmm0-3.
.macro COPY_FORWARD
    cmp $64, %rdx
    jb 2f
1:  movups (%rsi), %xmm0
    movups 16(%rsi), %xmm1
    movups 32(%rsi), %xmm2
    movups 48(%rsi), %xmm3
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, 32(%rdi)
    movups %xmm3, 48(%rdi)
    add $64, %rsi
    add $64, %rdi
    sub $64, %rdx
    cmp $64, %rdx
    jae 1b
2:  cmp $8, %rdx
    jb 4f
3:  mov (%rsi), %rcx
    mov %rcx, (%rdi)
    add $8, %rsi
    add $8, %rdi
    sub $8, %rdx
    cmp $8, %rdx
    jae 3b
4:  test %rdx, %rdx
    jz 6f
5:  movb (%rsi), %cl
    movb %cl, (%rdi)
    inc %rsi
    inc %rdi
    dec %rdx
    jnz 5b
6:
.endm

# memcpy(rdi = to, rsi = from, rdx = length) -> to
.balign 64
.global memcpy
memcpy:
    mov %rdi, %rax
.Lforward:
    COPY_FORWARD
    ret

# memmove: backwards if the destination starts inside the source.
.balign 16
.global memmove
memmove:
    mov %rdi, %rax
    mov %rdi, %rcx
    sub %rsi, %rcx
    cmp %rdx, %rcx
    jae .Lforward
    add %rdx, %rdi
    add %rdx, %rsi
    cmp $32, %rdx
    jb 2f
1:  movups -16(%rsi), %xmm0
    movups -32(%rsi), %xmm1
    movups %xmm0, -16(%rdi)
    movups %xmm1, -32(%rdi)
    sub $32, %rsi
    sub $32, %rdi
    sub $32, %rdx
    cmp $32, %rdx
    jae 1b
2:  test %edx, %edx
    jz 4f
3:  movb -1(%rsi), %cl
    movb %cl, -1(%rdi)
    dec %rsi
    dec %rdi
    dec %edx
    jnz 3b
4:  ret

# memset(rdi = to, esi = byte, rdx = length) -> to
.balign 16
.global memset
memset:
    mov %rdi, %rax
    movzbl %sil, %ecx
    imul $0x01010101, %ecx, %ecx
    movd %ecx, %xmm0
    pshufd $0, %xmm0, %xmm0
    cmp $64, %rdx
    jb 2f
1:  movups %xmm0, (%rdi)
    movups %xmm0, 16(%rdi)
    movups %xmm0, 32(%rdi)
    movups %xmm0, 48(%rdi)
    add $64, %rdi
    sub $64, %rdx
    cmp $64, %rdx
    jae 1b
2:  cmp $8, %edx
    jb 4f
3:  movq %xmm0, (%rdi)
    add $8, %rdi
    sub $8, %edx
    cmp $8, %edx
    jae 3b
4:  test %edx, %edx
    jz 6f
5:  movb %cl, (%rdi)
    inc %rdi
    dec %edx
    jnz 5b
6:  ret

# memcmp / bcmp (rdi, rsi, rdx = length) -> eax
.balign 16
.global memcmp
.global bcmp
memcmp:
bcmp:
1:  cmp $8, %rdx
    jb 2f
    mov (%rdi), %rax
    cmp (%rsi), %rax
    jne 2f
    add $8, %rdi
    add $8, %rsi
    sub $8, %rdx
    jmp 1b
2:  test %rdx, %rdx
    jz 4f
    movzbl (%rdi), %eax
    movzbl (%rsi), %ecx
    inc %rdi
    inc %rsi
    dec %rdx
    sub %ecx, %eax
    jz 2b
    ret
4:  xor %eax, %eax
    ret

# strlen: `core::ffi::CStr` refers to it.
.balign 16
.global strlen
strlen:
    mov %rdi, %rax
1:  cmpb $0, (%rax)
    je 2f
    inc %rax
    jmp 1b
2:  sub %rdi, %rax
    ret

# From user_access_start to user_access_end, a fault that the memory map cannot serve continues at the
# handler that `user_fault_fixup` returns: an entry function's registers still hold what is left.

.balign 64
.global user_access_start
user_access_start:

# user_copy(rdi = to, rsi = from, rdx = length) -> bytes NOT copied. One side is the application's.
.global user_copy
user_copy:
    COPY_FORWARD
    xor %eax, %eax
    ret
.global user_copy_end
user_copy_end:

# user_load_u32(rdi = address) -> value, or -1 in rax after a fault (a value is zero-extended).
.global user_load_u32
user_load_u32:
    mov (%rdi), %eax
    ret

# user_cmpxchg_u32(rdi = address, esi = expected, edx = new) -> what was there, or -1 in rax.
.global user_cmpxchg_u32
user_cmpxchg_u32:
    mov %esi, %eax
    lock cmpxchg %edx, (%rdi)
    mov %eax, %eax
    ret

# user_store_u32(rdi = address, esi = value) -> 0, or -1 in rax.
.global user_store_u32
user_store_u32:
    mov %esi, (%rdi)
    xor %eax, %eax
    ret
.global user_access_end
user_access_end:

# Fault in user_copy: a step may have stored a part of its bytes, which are counted as not done; the caller
# retries the rest bytewise to find the exact place.
.global user_copy_fault
user_copy_fault:
    mov %rdx, %rax
    ret

.global user_word_fault
user_word_fault:
    mov $-1, %rax
    ret
