// The 128 bytes below rsp belong to the function that runs (System V ABI 3.2.2): no fault, no signal and no
// interrupt may touch them. In ring 0 the processor itself would, if an exception did not switch stacks.
#include "check.h"
#include <ucontext.h>

static volatile sig_atomic_t handled;

static void skip(int number, siginfo_t *info, void *context) {
    (void)info;
    ucontext_t *machine = context;
    if (number == SIGILL)
        machine->uc_mcontext.gregs[REG_RIP] += 2;
    handled++;
}

static char *page;

static void open_page(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    handled++;
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

// Fills the red zone with a pattern, executes the body, and says whether the pattern is still there.
#define RED_ZONE(body, result)                                                                                        \
    __asm__ volatile("movabsq $0x5a5a5a5aa5a5a5a5, %%rax\n\t"                                                         \
                     "movl $-16, %%ecx\n\t"                                                                           \
                     "movslq %%ecx, %%rcx\n\t"                                                                        \
                     "1: movq %%rax, (%%rsp,%%rcx,8)\n\t"                                                             \
                     "incq %%rcx\n\t"                                                                                 \
                     "jnz 1b\n\t" body "\n\t"                                                                         \
                     "movabsq $0x5a5a5a5aa5a5a5a5, %%rax\n\t"                                                         \
                     "movq $-16, %%rcx\n\t"                                                                           \
                     "xorl %k0, %k0\n\t"                                                                              \
                     "2: cmpq %%rax, (%%rsp,%%rcx,8)\n\t"                                                             \
                     "je 3f\n\t"                                                                                      \
                     "incl %k0\n\t"                                                                                   \
                     "3: incq %%rcx\n\t"                                                                              \
                     "jnz 2b\n\t"                                                                                     \
                     : "=&r"(result)                                                                                  \
                     : "D"(first), "S"(second), "b"(argument)                                                         \
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc")

static void *fire(void *argument) {
    pthread_t target = *(pthread_t *)argument;
    for (int i = 0; i < 100; i++) {
        pthread_kill(target, SIGUSR1);
        check_sleep_ms(1);
    }
    return NULL;
}

// It calls other functions, so the compiler keeps none of its variables in the red zone that we fill.
__attribute__((noinline)) static void run(void) {
    long lost, first = 0, second = 0, argument = 0;
    check_catch(SIGILL, skip, 0);
    check_catch(SIGTRAP, skip, 0);
    check_catch(SIGUSR1, skip, 0);
    check_catch(SIGSEGV, open_page, 0);
    RED_ZONE("ud2", lost);
    VALUE("bytes lost over ud2 / 8", lost);
    RED_ZONE("int3", lost);
    VALUE("over int3", lost);
    page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    argument = (long)page;
    RED_ZONE("movb $1, (%%rbx)", lost);
    VALUE("over a fault that the handler repairs", lost);
    VALUE("page written", page[0]);
    argument = (long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    RED_ZONE("movb $1, (%%rbx)", lost);
    VALUE("over a first touch", lost);
    first = check_tid();
    second = SIGUSR1;
    RED_ZONE("movl $200, %%eax; syscall", lost); // tkill
    VALUE("over tkill to oneself", lost);
    RED_ZONE("movl $24, %%eax; syscall", lost); // sched_yield
    VALUE("over sched_yield", lost);
    VALUE("handled so far", handled);
    // Spins for some milliseconds, so that timer interrupts and signals from elsewhere hit the code.
    pthread_t self = pthread_self(), thread;
    REQUIRE(pthread_create(&thread, NULL, fire, &self) == 0);
    long all = 0;
    for (int i = 0; i < 60; i++) {
        RED_ZONE("movl $2000000, %%edx; 4: decl %%edx; jnz 4b", lost);
        all += lost;
    }
    pthread_join(thread, NULL);
    VALUE("over interrupts and signals from another thread", all);
    IS("signals arrived", handled > 5);
}

int main(void) {
    run();
    return 0;
}
