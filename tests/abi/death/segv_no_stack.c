// A fault whose handler cannot be given a stack kills with SIGSEGV.
#include "check.h"

static void handler(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    TEXT("handler", "ran");
    _exit(1);
}

int main(void) {
    check_catch(SIGSEGV, handler, 0);
    check_catch(SIGILL, handler, 0);
    TEXT("before", "the fault");
    __asm__ volatile("movl $64, %%esp; ud2" : : : "memory");
    return 0;
}
