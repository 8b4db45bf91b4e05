// Which thread gets a signal, dispositions that are shared, masks that are not.
#include "check.h"

static volatile pid_t handled_by;
static volatile sig_atomic_t count;
static _Atomic pid_t tids[3];
static _Atomic bool stop;
static sigset_t usr1;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    handled_by = check_tid();
    count++;
}

static void *blocked(void *argument) {
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    tids[(long)argument] = check_tid();
    while (!stop)
        check_sleep_ms(1);
    sigset_t pending;
    sigpending(&pending);
    return (void *)(long)sigismember(&pending, SIGUSR1);
}

static void *open_thread(void *argument) {
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    tids[(long)argument] = check_tid();
    while (!stop)
        check_sleep_ms(1);
    return NULL;
}

static void *inherited(void *argument) {
    sigset_t now, pending;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    sigpending(&pending);
    *(int *)argument = sigismember(&pending, SIGUSR2);
    return (void *)(long)sigismember(&now, SIGUSR2);
}

static void await_count(int expected) {
    for (int i = 0; i < 5000 && count < expected; i++)
        check_sleep_ms(1);
}

int main(void) {
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    check_catch(SIGUSR1, on_signal, 0);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    pthread_t first, second;
    REQUIRE(pthread_create(&first, NULL, blocked, (void *)0) == 0);
    REQUIRE(pthread_create(&second, NULL, open_thread, (void *)1) == 0);
    while (!tids[0] || !tids[1])
        sched_yield();
    for (int i = 1; i <= 20; i++) {
        kill(getpid(), SIGUSR1);
        await_count(i);
        if (handled_by != tids[1])
            break;
    }
    VALUE("a process signal goes to the only open thread", count);
    IS("always to that one", handled_by == tids[1]);
    count = 0;
    pthread_kill(first, SIGUSR1);
    check_sleep_ms(20);
    VALUE("one sent to a blocked thread waits there", count);
    stop = true;
    void *result;
    pthread_join(first, &result);
    VALUE("it is pending in that thread", (long)result);
    pthread_join(second, NULL);
    sigset_t pending;
    sigpending(&pending);
    VALUE("and gone with it", sigismember(&pending, SIGUSR1));

    sigset_t usr2;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &usr2, NULL);
    pthread_kill(pthread_self(), SIGUSR2);
    int is_pending = -1;
    REQUIRE(pthread_create(&first, NULL, inherited, &is_pending) == 0);
    pthread_join(first, &result);
    VALUE("a new thread inherits the mask", (long)result);
    VALUE("but not what is pending", is_pending);
    kill(getpid(), SIGUSR2);
    REQUIRE(pthread_create(&first, NULL, inherited, &is_pending) == 0);
    pthread_join(first, &result);
    VALUE("what is pending for the process, all threads see", is_pending);
    PTHREAD("signal to a bad number", pthread_kill(pthread_self(), 65));
    return 0;
}
