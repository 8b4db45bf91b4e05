// Synchronous signals: their code, address, trap number and error code for each kind of fault.
#include "fault.h"

static long divide(long a, long b) {
    __asm__ volatile("cqto; idivq %1" : "+a"(a) : "r"(b) : "rdx", "cc");
    return a;
}

int main(void) {
    fault_catch_all();
    check_enter_scratch();
    char *hole = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(hole != MAP_FAILED && munmap(hole + PAGE, PAGE) == 0);

    FAULT("read at 0", NULL, (void)*(volatile char *)NULL);
    FAULT("read at 8, the JVM's null check", NULL, (void)*(volatile long *)UNMAPPED);
    FAULT("write at 16", NULL, *(volatile long *)16 = 1);
    FAULT("read at 4 GiB - 8", NULL, (void)*(volatile long *)0xfffffff8UL);
    READ_BYTE("read of a hole", hole, PAGE + 5);
    WRITE_BYTE("write of a hole", hole, 2 * PAGE - 1);
    WRITE_BYTE("write of read-only", hole, 0);
    READ_BYTE("touch read-only", hole, 0);
    WRITE_BYTE("write of read-only, touched", hole, 9);
    // A read that begins in a mapping and ends in a hole: the address is that of the first byte that is not there.
    FAULT("read across into a hole", hole, (void)*(volatile long *)(hole + PAGE - 4));
    FAULT("16-byte read across into a hole", hole,
          __asm__ volatile("movdqu (%0), %%xmm0" : : "r"(hole + PAGE - 1) : "xmm0", "memory"));
    FAULT("string copy into a hole", hole,
          __asm__ volatile("movq %0, %%rdi; leaq 4096(%%rdi), %%rsi; movl $4096, %%ecx; addq $4096, %%rsi; rep movsb"
                           : : "r"(hole + PAGE) : "rdi", "rsi", "rcx", "memory"));
    FAULT("read of a non-canonical address", NULL, (void)*(volatile char *)NON_CANONICAL);
    FAULT("write of a non-canonical address", NULL, *(volatile char *)0xdeadbeefdeadbeefUL = 1);
    FAULT("jump to 0", NULL, ((void (*)(void))0)());
    FAULT("jump to a non-canonical address", NULL, ((void (*)(void))(uintptr_t)NON_CANONICAL)());
    FAULT("jump to memory without exec", hole, ((void (*)(void))(uintptr_t)hole)());

    FAULT("integer division by zero", fault_info.si_addr, divide(1, 0));
    FAULT("integer division overflow", fault_info.si_addr, divide(LONG_MIN, -1));
    FAULT("undefined instruction", fault_info.si_addr, __asm__ volatile("ud2"));
    FAULT("breakpoint", fault_info.si_addr, __asm__ volatile("int3"));
    FAULT("single step", fault_info.si_addr,
          __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" : : : "memory", "cc"));
    int fd = open("short", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, 100) == 0);
    char *file = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    READ_BYTE("file map inside its last page", file, 4000);
    READ_BYTE("file map past the end, read", file, PAGE);
    WRITE_BYTE("file map past the end, write", file, PAGE + 50);
    REQUIRE(ftruncate(fd, 0) == 0);
    READ_BYTE("file map after truncation", file, 0);
    REQUIRE(ftruncate(fd, PAGE) == 0);
    READ_BYTE("file map after growing", file, 0);

    IS("si_addr of ud2 is the instruction", ({
           uintptr_t address;
           bool same = false;
           if (sigsetjmp(fault_return, 1) == 0) {
               __asm__ volatile("leaq 1f(%%rip), %0; movq %0, %1; 1: ud2" : "=&r"(address), "=m"(*(uintptr_t *)file));
           } else {
               same = (uintptr_t)fault_info.si_addr == *(uintptr_t *)file;
           }
           same;
       }));
    IS("si_addr of a division is the instruction", ({
           bool same = false;
           if (sigsetjmp(fault_return, 1) == 0) {
               __asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0; xorl %%ecx, %%ecx; movl $1, %%eax; xorl %%edx, %%edx; "
                                "1: divl %%ecx" : "=m"(*(uintptr_t *)file) : : "rax", "rcx", "rdx");
           } else {
               same = (uintptr_t)fault_info.si_addr == *(uintptr_t *)file;
           }
           same;
       }));
    return 0;
}
