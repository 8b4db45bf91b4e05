// Handlers that do not return: siglongjmp, nested handlers, faults inside handlers, and many times over.
#include "fault.h"

static sigjmp_buf outer, inner;
static volatile int level, deepest;
static char alternate[64 * 1024] __attribute__((aligned(16)));

static void nested(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    level++;
    if (level > deepest)
        deepest = level;
    if (number == SIGUSR1)
        raise(SIGUSR2);
    else if (number == SIGUSR2)
        (void)*(volatile char *)UNMAPPED;
    else
        siglongjmp(outer, level);
    level--;
}

static void jump_inner(int number) {
    (void)number;
    siglongjmp(inner, 1);
}

static bool masked(int number) {
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, number) == 1;
}

int main(void) {
    check_catch(SIGUSR1, nested, 0);
    check_catch(SIGUSR2, nested, 0);
    check_catch(SIGSEGV, nested, 0);
    int depth = sigsetjmp(outer, 1);
    if (depth == 0)
        raise(SIGUSR1);
    VALUE("jumped out of nesting level", depth);
    IS("mask restored", !masked(SIGUSR1) && !masked(SIGUSR2) && !masked(SIGSEGV));
    level = 0;
    if ((depth = sigsetjmp(outer, 0)) == 0)
        raise(SIGUSR1);
    VALUE("jumped without saving the mask from level", depth);
    IS("masks stay", masked(SIGUSR1) && masked(SIGUSR2) && masked(SIGSEGV));
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    struct sigaction action = {.sa_handler = jump_inner};
    sigaction(SIGSEGV, &action, NULL);
    volatile int faults = 0;
    for (int i = 0; i < 20000; i++) {
        if (sigsetjmp(inner, 1) == 0)
            (void)*(volatile char *)UNMAPPED;
        else
            faults++;
    }
    VALUE("twenty thousand null checks", faults);

    // On the alternate stack, jumped out of each time: the stack must count as free again.
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, now;
    sigaltstack(&stack, NULL);
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, NULL);
    volatile int free_again = 0;
    for (int i = 0; i < 1000; i++)
        if (sigsetjmp(inner, 1) != 0) {
            sigaltstack(NULL, &now);
            free_again += now.ss_flags == 0;
        } else {
            (void)*(volatile char *)UNMAPPED;
        }
    VALUE("alternate stack free after a jump", free_again);
    return 0;
}
