// Waiting for signals: sigsuspend, sigtimedwait, sigwaitinfo, sigwait, signalfd, pause.
#include "check.h"
#include <poll.h>
#include <sys/signalfd.h>

static volatile sig_atomic_t count;
static _Atomic pid_t target_tid;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    count++;
}

static void *send_when_asleep(void *argument) {
    check_await_sleeping(target_tid);
    kill(getpid(), (int)(long)argument);
    return NULL;
}

static pthread_t send_later(int number) {
    pthread_t thread;
    target_tid = check_tid();
    REQUIRE(pthread_create(&thread, NULL, send_when_asleep, (void *)(long)number) == 0);
    return thread;
}

int main(void) {
    sigset_t blocked, set, none, now;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGRTMIN);
    // Blocked before threads exist, so that no other thread takes them.
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    check_catch(SIGUSR1, on_signal, 0);
    check_catch(SIGUSR2, on_signal, 0);

    raise(SIGUSR1);
    CALL("sigsuspend with one pending", sigsuspend(&none));
    VALUE("it was handled", count);
    sigprocmask(SIG_BLOCK, NULL, &now);
    IS("the mask is back", sigismember(&now, SIGUSR1) == 1);
    pthread_t sender = send_later(SIGUSR2);
    CALL("sigsuspend, then a signal", sigsuspend(&none));
    pthread_join(sender, NULL);
    VALUE("handled", count);
    CALL("sigsuspend, wrong size", syscall(SYS_rt_sigsuspend, &none, 16));
    CALL("sigsuspend, bad mask", syscall(SYS_rt_sigsuspend, UNMAPPED, 8));

    siginfo_t info;
    struct timespec zero = {0, 0}, short_time = {0, 20000000}, bad = {0, 1000000000};
    CALL("sigtimedwait, nothing, no time", sigtimedwait(&blocked, &info, &zero));
    CALL("sigtimedwait, nothing, some time", sigtimedwait(&blocked, &info, &short_time));
    CALL("sigtimedwait, bad time", sigtimedwait(&blocked, &info, &bad));
    CALL("sigtimedwait, wrong size", syscall(SYS_rt_sigtimedwait, &blocked, NULL, NULL, 4));
    CALL("sigtimedwait, bad set", syscall(SYS_rt_sigtimedwait, UNMAPPED, NULL, &zero, 8));
    raise(SIGUSR2);
    raise(SIGUSR1);
    count = 0;
    // The raw call: glibc turns SI_TKILL into SI_USER.
    IS("the lowest is taken", syscall(SYS_rt_sigtimedwait, &blocked, &info, NULL, 8) == SIGUSR1);
    IS("its number", info.si_signo == SIGUSR1);
    IS("its code is SI_TKILL", info.si_code == SI_TKILL);
    int number;
    PTHREAD("sigwait", sigwait(&blocked, &number));
    IS("sigwait takes the next", number == SIGUSR2);
    VALUE("no handler ran", count);
    union sigval value = {.sival_int = 31};
    sigqueue(getpid(), SIGRTMIN, value);
    value.sival_int = 32;
    sigqueue(getpid(), SIGRTMIN, value);
    sigwaitinfo(&blocked, &info);
    check_line("queued", "%d %s", info.si_value.sival_int, info.si_code == SI_QUEUE ? "SI_QUEUE" : "other");
    CALL("sigtimedwait, bad info pointer", syscall(SYS_rt_sigtimedwait, &blocked, UNMAPPED, &zero, 8));
    CALL("that one is consumed", sigtimedwait(&blocked, &info, &zero));
    sender = send_later(SIGUSR1);
    IS("sigwaitinfo, then a signal", sigwaitinfo(&blocked, &info) == SIGUSR1);
    pthread_join(sender, NULL);
    IS("sent by kill", info.si_code == SI_USER && info.si_pid == getpid());
    // Ignored signals are not kept, even for one that waits.
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    raise(SIGWINCH);
    IS("a blocked signal with default action ignore can be waited for",
       sigtimedwait(&set, &info, &short_time) == SIGWINCH);

    int fd = signalfd(-1, &blocked, SFD_NONBLOCK | SFD_CLOEXEC);
    CALL_OK("signalfd", fd);
    struct signalfd_siginfo record[4];
    CALL("read, nothing pending", read(fd, record, sizeof record));
    struct pollfd poll_set = {.fd = fd, .events = POLLIN};
    CALL("poll, nothing pending", poll(&poll_set, 1, 0));
    raise(SIGUSR1);
    value.sival_int = 77;
    sigqueue(getpid(), SIGRTMIN, value);
    CALL("poll, pending", poll(&poll_set, 1, 1000));
    HEX("events", poll_set.revents);
    CALL("read, small buffer", read(fd, record, sizeof record[0] - 1));
    CALL("read two", read(fd, record, sizeof record));
    IS("first", record[0].ssi_signo == SIGUSR1 && record[0].ssi_code == SI_TKILL);
    IS("second", record[1].ssi_signo == (uint32_t)SIGRTMIN && record[1].ssi_int == 77);
    IS("second is from us", record[1].ssi_pid == (uint32_t)getpid());
    VALUE("no handler ran for signalfd", count);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    IS("changing the set", signalfd(fd, &set, 0) == fd);
    raise(SIGUSR1);
    CALL("the old set is gone", read(fd, record, sizeof record));
    raise(SIGUSR2);
    CALL("the new one counts", read(fd, record, sizeof record));
    CALL("bad flags", signalfd(-1, &set, 1));
    CALL("bad descriptor", signalfd(1000, &set, 0));
    CALL("descriptor of another kind", signalfd(1, &set, 0));
    CALL("write", write(fd, record, sizeof record[0]));
    CALL("raw, wrong size", syscall(SYS_signalfd4, -1, &set, 4, 0));
    sigtimedwait(&blocked, NULL, &zero);

    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    count = 0;
    // The sender inherits the blocked mask, so that only this thread can take the signal.
    sender = send_later(SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    CALL("pause", pause());
    pthread_join(sender, NULL);
    VALUE("pause: handled", count);
    return 0;
}
