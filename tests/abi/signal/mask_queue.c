// Signal masks, pending sets, and the order in which pending signals arrive: signal(7), "Queueing and delivery
// semantics for real-time signals".
#include "check.h"

static volatile sig_atomic_t order[64];
static volatile int values[64];
static volatile sig_atomic_t arrived;

static void record(int number, siginfo_t *info, void *context) {
    (void)context;
    order[arrived] = number;
    values[arrived] = info->si_value.sival_int;
    arrived++;
}

static void print_order(const char *name) {
    char text[512] = "";
    for (int i = 0; i < arrived; i++) {
        size_t used = strlen(text);
        if (order[i] >= SIGRTMIN)
            snprintf(text + used, sizeof text - used, " RT+%d=%d", (int)order[i] - SIGRTMIN, values[i]);
        else
            snprintf(text + used, sizeof text - used, " %s", sigabbrev_np((int)order[i]));
    }
    check_line(name, "%s", *text ? text + 1 : "none");
    arrived = 0;
}

static void print_set(const char *name, const sigset_t *set) {
    char text[512] = "";
    for (int number = 1; number < NSIG; number++)
        if (sigismember(set, number) == 1)
            snprintf(text + strlen(text), sizeof text - strlen(text), " %d", number);
    check_line(name, "%s", *text ? text + 1 : "empty");
}

static void queue(int number, int value) {
    union sigval data = {.sival_int = value};
    REQUIRE(sigqueue(getpid(), number, data) == 0);
}

int main(void) {
    sigset_t all, none, set, old;
    sigfillset(&all);
    sigemptyset(&none);
    int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
        sigfillset(&action.sa_mask);
        REQUIRE(sigaction(signals[i], &action, NULL) == 0);
    }

    CALL("block all", sigprocmask(SIG_SETMASK, &all, &old));
    print_set("mask before", &old);
    sigprocmask(SIG_BLOCK, NULL, &old);
    IS("SIGKILL cannot be blocked", sigismember(&old, SIGKILL) == 0);
    IS("SIGSTOP cannot be blocked", sigismember(&old, SIGSTOP) == 0);
    IS("SIGUSR1 is", sigismember(&old, SIGUSR1) == 1);

    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGHUP);
    CALL("sigpending", sigpending(&set));
    print_set("pending", &set);
    CALL("unblock all", sigprocmask(SIG_SETMASK, &none, NULL));
    print_order("standard signals, lowest first, once each");
    sigpending(&set);
    print_set("pending after", &set);

    sigprocmask(SIG_SETMASK, &all, NULL);
    queue(SIGRTMIN + 5, 1);
    queue(SIGRTMIN, 2);
    queue(SIGRTMIN + 1, 3);
    queue(SIGRTMIN, 4);
    queue(SIGRTMIN, 5);
    queue(SIGUSR1, 6);
    queue(SIGUSR1, 7);
    raise(SIGTERM);
    sigprocmask(SIG_SETMASK, &none, NULL);
    print_order("standard before real-time, real-time queued in order");

    sigprocmask(SIG_SETMASK, &all, NULL);
    kill(getpid(), SIGUSR1);
    syscall(SYS_tgkill, getpid(), check_tid(), SIGUSR2);
    syscall(SYS_tgkill, getpid(), check_tid(), SIGRTMIN);
    kill(getpid(), SIGRTMIN);
    sigpending(&set);
    print_set("pending for thread and process", &set);
    sigprocmask(SIG_SETMASK, &none, NULL);
    print_order("the thread's own before the process's");

    sigprocmask(SIG_SETMASK, &all, NULL);
    kill(getpid(), SIGUSR1);
    syscall(SYS_tgkill, getpid(), check_tid(), SIGUSR1);
    sigprocmask(SIG_SETMASK, &none, NULL);
    print_order("same number pending for both");

    sigprocmask(SIG_SETMASK, &all, NULL);
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    print_order("unblock of one");
    signal(SIGUSR1, SIG_IGN);
    sigpending(&set);
    print_set("ignoring it discards what is pending", &set);
    raise(SIGUSR1);
    sigpending(&set);
    print_set("blocked and ignored, then sent", &set);
    signal(SIGWINCH, SIG_DFL);
    raise(SIGWINCH);
    sigpending(&set);
    print_set("blocked with default action ignore", &set);
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Without a mask in the actions the second frame is built upon the first, so its handler runs first.
    print_order("with empty masks");

    CALL("unknown how", sigprocmask(77, &set, NULL));
    CALL("unknown how without set", sigprocmask(77, NULL, &old));
    CALL("raw, wrong size", syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4));
    CALL("raw, bad set", syscall(SYS_rt_sigprocmask, SIG_BLOCK, UNMAPPED, NULL, 8));
    CALL("raw, bad old set", syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, UNMAPPED, 8));
    CALL("raw pending, too large", syscall(SYS_rt_sigpending, &set, 16));
    CALL("raw pending, bad set", syscall(SYS_rt_sigpending, UNMAPPED, 8));

    // A queue of thousands, each with its value.
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < 1000; i++)
        queue(SIGRTMIN, i);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN);
    int in_order = 0;
    for (int i = 0; i < 1000; i++) {
        siginfo_t info;
        if (sigwaitinfo(&one, &info) == SIGRTMIN && info.si_value.sival_int == i)
            in_order++;
    }
    VALUE("a thousand queued in order", in_order);
    return 0;
}
