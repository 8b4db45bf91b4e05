// Faults of the stack pointer itself: they can be handled, on the alternate stack. In ring 0 they would be double
// faults if the exception were pushed where rsp points.
#include "fault.h"

static char alternate[64 * 1024] __attribute__((aligned(16)));

#define WITH_STACK_AT(address, body)                                                                                  \
    __asm__ volatile("movq %%rsp, %%rbx; movq %0, %%rsp; " body "; movq %%rbx, %%rsp" : : "r"(address) : "rbx", "rax", "memory")

int main(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    REQUIRE(sigaltstack(&stack, NULL) == 0);
    check_catch(SIGSEGV, fault_handler, SA_ONSTACK);
    check_catch(SIGBUS, fault_handler, SA_ONSTACK);
    check_catch(SIGILL, fault_handler, SA_ONSTACK);
    char *guard = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(guard != MAP_FAILED);
    FAULT("push with rsp at 64", (void *)56, WITH_STACK_AT(64UL, "pushq $1"));
    FAULT("pop with rsp at 64", (void *)64, WITH_STACK_AT(64UL, "popq %%rax"));
    FAULT("push on a page without access", guard, WITH_STACK_AT(guard + 128, "pushq $1"));
    FAULT("call on a page without access", guard, WITH_STACK_AT(guard + 128, "call 1f; 1: popq %%rax"));
    FAULT("ud2 with rsp at 64", fault_info.si_addr, WITH_STACK_AT(64UL, "ud2"));
    // A system call does not need a stack.
    long result;
    __asm__ volatile("movq %%rsp, %%rbx; xorl %%esp, %%esp; movl $39, %%eax; syscall; movq %%rbx, %%rsp"
                     : "=a"(result) : : "rbx", "rcx", "r11", "memory");
    IS("getpid with rsp at 0", result == getpid());
    // Preempted with a useless stack pointer.
    __asm__ volatile("movq %%rsp, %%rbx; xorl %%esp, %%esp; movl $50000000, %%ecx; 1: decl %%ecx; jnz 1b; movq %%rbx, %%rsp"
                     : "=c"(result) : : "rbx", "memory", "cc");
    VALUE("computed with rsp at 0 until", result);
    return 0;
}
