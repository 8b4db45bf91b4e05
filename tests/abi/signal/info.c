// siginfo_t for each way to send a signal, and the errors of sending.
#include "check.h"
#include <sys/time.h>

static siginfo_t seen;
static volatile sig_atomic_t count;

static void record(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    seen = *info;
    count++;
}

static void print_info(const char *name) {
    const char *code = "other";
    switch (seen.si_code) {
    case SI_USER: code = "SI_USER"; break;
    case SI_TKILL: code = "SI_TKILL"; break;
    case SI_QUEUE: code = "SI_QUEUE"; break;
    case SI_TIMER: code = "SI_TIMER"; break;
    case SI_KERNEL: code = "SI_KERNEL"; break;
    case -44: code = "-44"; break;
    }
    bool sent = seen.si_code == SI_USER || seen.si_code == SI_TKILL || seen.si_code == SI_QUEUE;
    check_line(name, "%s x%d %s errno %d%s%s value %d", sigabbrev_np(seen.si_signo), (int)count, code, seen.si_errno,
               sent && seen.si_pid == getpid() ? " from us" : "", sent && seen.si_uid == getuid() ? " our uid" : "",
               seen.si_code == SI_QUEUE || seen.si_code == SI_TIMER || seen.si_code == -44 ? seen.si_value.sival_int : -1);
    memset(&seen, 0, sizeof seen);
    count = 0;
}

int main(void) {
    check_catch(SIGUSR1, record, 0);
    check_catch(SIGALRM, record, 0);
    check_catch(SIGPIPE, record, 0);
    check_catch(SIGRTMIN, record, 0);
    pid_t pid = getpid(), tid = check_tid();
    CALL("kill", kill(pid, SIGUSR1));
    print_info("info of kill");
    CALL("kill 0, the process group with signal 0", kill(0, 0));
    CALL("tgkill", syscall(SYS_tgkill, pid, tid, SIGUSR1));
    print_info("info of tgkill");
    CALL("tkill", syscall(SYS_tkill, tid, SIGUSR1));
    print_info("info of tkill");
    PTHREAD("pthread_kill", pthread_kill(pthread_self(), SIGUSR1));
    print_info("info of pthread_kill");
    union sigval value = {.sival_int = 4711};
    CALL("sigqueue", sigqueue(pid, SIGUSR1, value));
    print_info("info of sigqueue");
    siginfo_t own = {0};
    own.si_signo = SIGRTMIN;
    own.si_code = -44;
    own.si_errno = 5;
    own.si_value.sival_int = 12;
    CALL("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGRTMIN, &own));
    memcpy(&own, &seen, sizeof own);
    check_line("info of rt_tgsigqueueinfo", "%s errno %d code %d value %d", own.si_signo == SIGRTMIN ? "RTMIN" : "other",
               own.si_errno, own.si_code, own.si_value.sival_int);
    count = 0;
    own.si_code = SI_USER;
    CALL("a forged SI_USER to oneself", syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &own));
    count = 0;

    struct itimerval soon = {.it_value = {0, 1000}};
    CALL("setitimer", setitimer(ITIMER_REAL, &soon, NULL));
    while (count == 0)
        check_sleep_ms(1);
    print_info("info of setitimer");
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 99};
    timer_t timer;
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec once = {.it_value = {0, 1000000}};
    CALL("timer_settime", timer_settime(timer, 0, &once, NULL));
    while (count == 0)
        check_sleep_ms(1);
    print_info("info of a timer");
    int ends[2];
    REQUIRE(pipe(ends) == 0 && close(ends[0]) == 0);
    CALL("write without reader", write(ends[1], "x", 1));
    print_info("info of SIGPIPE");

    CALL("signal 0 to oneself", kill(pid, 0));
    CALL("signal 65", kill(pid, 65));
    CALL("signal 64", (check_catch(64, record, 0), kill(pid, 64)));
    VALUE("signal 64 arrived", count);
    CALL("signal -1", kill(pid, -1));
    CALL("no such process", kill(0x3ffffff, 0));
    CALL("no such thread group", syscall(SYS_tgkill, 0x3ffffff, tid, 0));
    CALL("no such thread", syscall(SYS_tgkill, pid, 0x3ffffff, 0));
    CALL("thread 0", syscall(SYS_tgkill, pid, 0, SIGUSR1));
    CALL("thread group -1", syscall(SYS_tgkill, -1, tid, SIGUSR1));
    CALL("tkill 0", syscall(SYS_tkill, 0, SIGUSR1));
    CALL("tgkill signal 65", syscall(SYS_tgkill, pid, tid, 65));
    CALL("sigqueue signal 65", sigqueue(pid, 65, value));
    CALL("rt_sigqueueinfo, bad pointer", syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, UNMAPPED));
    return 0;
}
