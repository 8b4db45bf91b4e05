// sigaction(2): flags, masks during a handler, what the old action says, and refusals.
#include "check.h"

static volatile sig_atomic_t depth, deepest, count, in_handler_mask_usr1, in_handler_mask_usr2, default_restored;

static void nest(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    in_handler_mask_usr1 = (sig_atomic_t)sigismember(&now, SIGUSR1);
    in_handler_mask_usr2 = (sig_atomic_t)sigismember(&now, SIGUSR2);
    count++;
    depth++;
    if (depth > deepest)
        deepest = depth;
    if (count < 3)
        raise(number);
    depth--;
}

static void once(int number) {
    struct sigaction now;
    sigaction(number, NULL, &now);
    default_restored = now.sa_handler == SIG_DFL;
    count++;
}

static void try(const char *name, int flags, bool mask_other) {
    struct sigaction action = {.sa_sigaction = nest, .sa_flags = SA_SIGINFO | flags};
    if (mask_other)
        sigaddset(&action.sa_mask, SIGUSR2);
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    depth = deepest = count = 0;
    raise(SIGUSR1);
    check_line(name, "handled %d, nested %d deep, mask USR1 %d USR2 %d", (int)count, (int)deepest,
               (int)in_handler_mask_usr1, (int)in_handler_mask_usr2);
}

int main(void) {
    try("plain", 0, false);
    try("with a mask", 0, true);
    try("SA_NODEFER", SA_NODEFER, false);
    try("SA_NODEFER with a mask", SA_NODEFER, true);

    struct sigaction action = {.sa_handler = once, .sa_flags = (int)SA_RESETHAND}, old;
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    count = 0;
    raise(SIGUSR1);
    VALUE("SA_RESETHAND handled", count);
    IS("SA_RESETHAND: default inside the handler", default_restored);
    sigaction(SIGUSR1, NULL, &old);
    IS("SA_RESETHAND: default afterwards", old.sa_handler == SIG_DFL);
    HEX("SA_RESETHAND: flags afterwards", (unsigned)old.sa_flags & ~0x04000000);

    action = (struct sigaction){.sa_sigaction = nest, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigaddset(&action.sa_mask, SIGHUP);
    sigaddset(&action.sa_mask, SIGKILL);
    CALL("set", sigaction(SIGUSR1, &action, NULL));
    CALL("query", sigaction(SIGUSR1, NULL, &old));
    IS("query: handler", old.sa_sigaction == nest);
    HEX("query: flags without SA_RESTORER", old.sa_flags & ~0x04000000);
    IS("query: mask has SIGHUP", sigismember(&old.sa_mask, SIGHUP) == 1);
    IS("query: mask lost SIGKILL", sigismember(&old.sa_mask, SIGKILL) == 0);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    CALL("ignore", sigaction(SIGUSR1, &action, &old));
    IS("the old handler is told", old.sa_sigaction == nest);

    CALL("SIGKILL handler", sigaction(SIGKILL, &action, NULL));
    CALL("SIGSTOP handler", sigaction(SIGSTOP, &action, NULL));
    action.sa_handler = SIG_DFL;
    CALL("SIGKILL default", sigaction(SIGKILL, &action, NULL));
    CALL("SIGKILL query", sigaction(SIGKILL, NULL, &old));
    CALL("signal 0", syscall(SYS_rt_sigaction, 0, NULL, NULL, 8));
    CALL("signal 65", syscall(SYS_rt_sigaction, 65, NULL, NULL, 8));
    CALL("signal 64", syscall(SYS_rt_sigaction, 64, NULL, NULL, 8));
    CALL("wrong size", syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16));
    CALL("bad new action", syscall(SYS_rt_sigaction, SIGUSR1, UNMAPPED, NULL, 8));
    CALL("bad old action", syscall(SYS_rt_sigaction, SIGUSR1, NULL, UNMAPPED, 8));
    // Flags nobody knows are cleared, so that a program can find out what is supported (sigaction(2), SA_UNSUPPORTED).
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } raw = {SIG_IGN, 0x00000400 | 0x04000000 | 0x80000, 0, 0}, raw_old;
    CALL("unknown flags", syscall(SYS_rt_sigaction, SIGUSR2, &raw, NULL, 8));
    syscall(SYS_rt_sigaction, SIGUSR2, NULL, &raw_old, 8);
    HEX("what is left of them", raw_old.flags);

    // The mask in force before the handler comes back after it, also when the handler changed it.
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGTERM);
    sigprocmask(SIG_SETMASK, &before, NULL);
    action = (struct sigaction){.sa_sigaction = nest, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    count = 5;
    raise(SIGUSR1);
    sigprocmask(SIG_BLOCK, NULL, &after);
    IS("mask restored", memcmp(&before, &after, 8) == 0);
    return 0;
}
