// A synchronous fault whose signal is blocked kills, although a handler is there: sigprocmask(2), "If SIGBUS,
// SIGFPE, SIGILL, or SIGSEGV are generated while they are blocked".
#include "check.h"

static void handler(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    TEXT("handler", "ran");
    _exit(1);
}

int main(void) {
    sigset_t set;
    check_catch(SIGSEGV, handler, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    CALL("block", sigprocmask(SIG_BLOCK, &set, NULL));
    (void)*(volatile char *)UNMAPPED;
    TEXT("after", "the fault");
    return 0;
}
