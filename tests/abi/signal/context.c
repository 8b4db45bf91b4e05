// The ucontext of a handler: what it shows, and that what the handler changes in it is in force afterwards. HotSpot
// lives on this: it steps over a faulting instruction by changing rip, and returns from safepoint polls through a stub.
#include "check.h"
#include <ucontext.h>

static volatile int count;
static volatile uint64_t seen[8];

// Each trigger below is an ud2 of two bytes.
static void change(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    greg_t *registers = machine->uc_mcontext.gregs;
    count++;
    seen[0] = (uint64_t)registers[REG_RBX];
    seen[1] = (uint64_t)registers[REG_R15];
    seen[2] = (uint64_t)registers[REG_EFL];
    seen[3] = machine->uc_mcontext.fpregs->_xmm[3].element[0];
    seen[4] = machine->uc_mcontext.fpregs->mxcsr;
    seen[5] = machine->uc_mcontext.fpregs->cwd;
    registers[REG_RIP] += 2;
    registers[REG_RAX] = 0x1111;
    registers[REG_RBX] = 0x2222;
    registers[REG_RCX] = 0x3333;
    registers[REG_R11] = 0x4444;
    registers[REG_R15] = 0x5555;
    registers[REG_EFL] ^= 1; // CF
    machine->uc_mcontext.fpregs->_xmm[3].element[0] = 0xabcdef01;
    machine->uc_mcontext.fpregs->_xmm[15].element[3] = 0x12345678;
}

static void change_mask(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    sigaddset(&machine->uc_sigmask, SIGUSR2);
    sigaddset(&machine->uc_sigmask, SIGKILL);
}

static void change_rounding(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    machine->uc_mcontext.fpregs->mxcsr |= 0x6000; // round towards zero
    machine->uc_mcontext.gregs[REG_RIP] += 2;
}

static void raise_privilege(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    machine->uc_mcontext.gregs[REG_RIP] += 2;
    // Privileged and reserved bits of rflags are not the program's to change: they are ignored.
    machine->uc_mcontext.gregs[REG_EFL] |= 3 << 12; // IOPL
}

__attribute__((noinline, noclone)) static void landed(void) {
    TEXT("landed in", "the function that rip was set to");
    exit(3);
}

static void divert(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    machine->uc_mcontext.gregs[REG_RIP] = (greg_t)landed;
    // As after a call: rsp + 8 is a multiple of 16.
    machine->uc_mcontext.gregs[REG_RSP] = (machine->uc_mcontext.gregs[REG_RSP] & ~15L) - 8 - 256;
}

int main(void) {
    check_catch(SIGILL, change, 0);
    uint64_t rax, rbx, rcx, r11, r15, flags, xmm[2], xmm15[2];
    __asm__ volatile("movl $0xb0b, %%ebx\n\t"
                     "movl $0xf15, %%r15d\n\t"
                     "movl $0x777, %%eax\n\t"
                     "movq %%rax, %%xmm3\n\t"
                     "pxor %%xmm15, %%xmm15\n\t"
                     "stc\n\t"
                     "ud2\n\t"
                     "pushfq\n\t"
                     "popq %5\n\t"
                     "movq %%rax, %0; movq %%rbx, %1; movq %%rcx, %2; movq %%r11, %3; movq %%r15, %4\n\t"
                     "movdqu %%xmm3, %6; movdqu %%xmm15, %7\n\t"
                     : "=m"(rax), "=m"(rbx), "=m"(rcx), "=m"(r11), "=m"(r15), "=r"(flags), "=m"(xmm), "=m"(xmm15)
                     :
                     : "rax", "rbx", "rcx", "r11", "r15", "xmm3", "xmm15", "cc", "memory");
    VALUE("handler ran", count);
    HEX("handler saw rbx", seen[0]);
    HEX("handler saw r15", seen[1]);
    HEX("handler saw CF and IF", seen[2] & 0x201);
    HEX("handler saw xmm3", seen[3]);
    HEX("handler saw mxcsr", seen[4]);
    HEX("handler saw the x87 control word", seen[5]);
    HEX("rax", rax);
    HEX("rbx", rbx);
    HEX("rcx", rcx);
    HEX("r11", r11);
    HEX("r15", r15);
    HEX("CF", flags & 1);
    HEX("xmm3", xmm[0]);
    HEX("xmm15", xmm15[1]);

    check_catch(SIGUSR1, change_mask, 0);
    raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    IS("a mask set in the context is in force", sigismember(&now, SIGUSR2) == 1);
    IS("but never SIGKILL", sigismember(&now, SIGKILL) == 0);

    check_catch(SIGILL, change_rounding, 0);
    double rounded;
    uint32_t mxcsr;
    __asm__ volatile("ud2; stmxcsr %0" : "=m"(mxcsr) : : "memory");
    volatile double one = 1, three = 3;
    rounded = one / three * three;
    HEX("mxcsr changed by the handler", mxcsr & 0xffc0);
    IS("rounding is towards zero", rounded < 1);

    check_catch(SIGILL, raise_privilege, 0);
    __asm__ volatile("ud2; pushfq; popq %0" : "=r"(flags) : : "memory");
    HEX("IOPL cannot be set by sigreturn", flags >> 12 & 3);

    check_catch(SIGILL, divert, 0);
    __asm__ volatile("ud2");
    TEXT("landed in", "the instruction after ud2");
    return 0;
}
