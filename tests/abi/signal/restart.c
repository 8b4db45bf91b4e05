// What a signal does to a thread that sleeps in a system call: EINTR, or a restart with SA_RESTART (signal(7),
// "Interruption of system calls and library functions by signal handlers").
#include "futex.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static int pipe_end[2], event, epoll, socket_end[2], timer;
static uint32_t word;
static volatile sig_atomic_t handled;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    handled++;
}

struct operation {
    const char *name;
    long (*sleep)(void);
    // Ends the sleep; its absence means that the sleep ends by its timeout.
    void (*wake)(void);
};

static char byte;

static long sleep_read(void) { return read(pipe_end[0], &byte, 1); }
static void wake_read(void) { REQUIRE(write(pipe_end[1], "x", 1) == 1); }
static long sleep_socket(void) { return recv(socket_end[0], &byte, 1, 0); }
static void wake_socket(void) { REQUIRE(write(socket_end[1], "x", 1) == 1); }
static uint64_t number;
static long sleep_event(void) { return read(event, &number, 8); }
static void wake_event(void) {
    uint64_t one = 1;
    REQUIRE(write(event, &one, 8) == 8);
}
static long sleep_futex(void) { return futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); }
static long sleep_futex_shared(void) { return futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0); }
static void wake_futex(void) { futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
static void wake_futex_shared(void) { futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0); }
static long sleep_futex_timeout(void) {
    struct timespec limit = {10, 0};
    return futex(&word, FUTEX_WAIT_PRIVATE, 0, &limit, NULL, 0);
}
static long sleep_futex_until(void) {
    int64_t until = check_now_ns(CLOCK_MONOTONIC) + 10000000000;
    struct timespec limit = {until / 1000000000, until % 1000000000};
    return futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &limit, NULL, FUTEX_BITSET_MATCH_ANY);
}
static long sleep_poll(void) {
    struct pollfd set = {.fd = pipe_end[0], .events = POLLIN};
    return poll(&set, 1, 10000);
}
static long sleep_ppoll(void) {
    struct pollfd set = {.fd = pipe_end[0], .events = POLLIN};
    struct timespec limit = {10, 0};
    return ppoll(&set, 1, &limit, NULL);
}
static long sleep_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_end[0], &set);
    struct timeval limit = {10, 0};
    return select(pipe_end[0] + 1, &set, NULL, NULL, &limit);
}
static long sleep_epoll(void) {
    struct epoll_event happened;
    return epoll_wait(epoll, &happened, 1, 10000);
}
static long sleep_nanosleep(void) {
    struct timespec rest = {10, 0};
    return nanosleep(&rest, NULL);
}
static long sleep_clock_absolute(void) {
    int64_t until = check_now_ns(CLOCK_MONOTONIC) + 10000000000;
    struct timespec limit = {until / 1000000000, until % 1000000000};
    return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &limit, NULL);
}
static long sleep_pause(void) { return pause(); }
static long sleep_suspend(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none);
}
static long sleep_timed_wait(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    struct timespec limit = {10, 0};
    return sigtimedwait(&set, NULL, &limit);
}
static long sleep_timer(void) {
    uint64_t ticks;
    return read(timer, &ticks, 8);
}
static void wake_timer(void) {
    struct itimerspec soon = {.it_value = {0, 1000000}};
    REQUIRE(timerfd_settime(timer, 0, &soon, NULL) == 0);
}
static char filler[65536];
static long sleep_write(void) { return write(pipe_end[1], filler, sizeof filler); }
static void wake_write(void) {
    static char sink[131072];
    while (read(pipe_end[0], sink, sizeof sink) == sizeof filler)
        break;
}
static void drain(void) {
    static char sink[131072];
    REQUIRE(fcntl(pipe_end[0], F_SETFL, O_NONBLOCK) == 0);
    while (read(pipe_end[0], sink, sizeof sink) > 0) {
    }
    REQUIRE(fcntl(pipe_end[0], F_SETFL, 0) == 0);
}

static const struct operation *current;
static long result;
static int error;
static _Atomic pid_t sleeper_tid;
static _Atomic bool finished;

static void *sleeper(void *argument) {
    sleeper_tid = check_tid();
    result = current->sleep();
    error = errno;
    finished = true;
    return argument;
}

static void run(const struct operation *operation, int flags, const char *suffix) {
    char name[80];
    snprintf(name, sizeof name, "%s, %s", operation->name, suffix);
    check_catch(SIGUSR1, on_signal, flags);
    current = operation;
    finished = false;
    handled = 0;
    sleeper_tid = 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, sleeper, NULL) == 0);
    while (sleeper_tid == 0)
        sched_yield();
    check_await_sleeping(sleeper_tid);
    pthread_kill(thread, SIGUSR1);
    while (!handled)
        check_sleep_ms(1);
    // If the call was restarted, the thread sleeps again: then end it. If it was not, it comes back by itself.
    while (!finished && operation->wake) {
        check_await_sleeping(sleeper_tid);
        check_sleep_ms(20);
        if (!finished) {
            operation->wake();
            break;
        }
    }
    pthread_join(thread, NULL);
    check_result(name, result, error);
}

int main(void) {
    REQUIRE(pipe(pipe_end) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, socket_end) == 0);
    REQUIRE((event = eventfd(0, 0)) >= 0);
    REQUIRE((epoll = epoll_create1(0)) >= 0);
    REQUIRE((timer = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
    struct epoll_event interest = {.events = EPOLLIN};
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_end[0], &interest) == 0);
    const struct operation operations[] = {
        {"read of a pipe", sleep_read, wake_read},
        {"recv of a socket", sleep_socket, wake_socket},
        {"read of an eventfd", sleep_event, wake_event},
        {"read of a timerfd", sleep_timer, wake_timer},
        {"futex wait", sleep_futex, wake_futex},
        {"shared futex wait", sleep_futex_shared, wake_futex_shared},
        {"futex wait with timeout", sleep_futex_timeout, NULL},
        {"futex wait until", sleep_futex_until, NULL},
        {"poll", sleep_poll, NULL},
        {"ppoll", sleep_ppoll, NULL},
        {"select", sleep_select, NULL},
        {"epoll_wait", sleep_epoll, NULL},
        {"nanosleep", sleep_nanosleep, NULL},
        {"clock_nanosleep until", sleep_clock_absolute, NULL},
        {"pause", sleep_pause, NULL},
        {"sigsuspend", sleep_suspend, NULL},
        {"sigtimedwait", sleep_timed_wait, NULL},
    };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        run(&operations[i], 0, "EINTR");
        run(&operations[i], SA_RESTART, "SA_RESTART");
    }
    const struct operation write_operation = {"write of a full pipe", sleep_write, wake_write};
    for (int restart = 0; restart < 2; restart++) {
        REQUIRE(write(pipe_end[1], filler, sizeof filler) == sizeof filler);
        run(&write_operation, restart ? SA_RESTART : 0, restart ? "SA_RESTART" : "EINTR");
        drain();
    }

    // nanosleep says how much was left.
    struct timespec rest = {5, 0}, left = {0, 0};
    timer_t alarm_timer;
    struct sigevent notify = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    REQUIRE(timer_create(CLOCK_MONOTONIC, &notify, &alarm_timer) == 0);
    struct itimerspec soon = {.it_value = {0, 20000000}};
    check_catch(SIGUSR1, on_signal, 0);
    timer_settime(alarm_timer, 0, &soon, NULL);
    CALL("interrupted nanosleep", nanosleep(&rest, &left));
    IS("it says how much was left", left.tv_sec < 5 && left.tv_sec >= 1);
    // An ignored signal interrupts nothing.
    signal(SIGUSR1, SIG_IGN);
    timer_settime(alarm_timer, 0, &soon, NULL);
    rest = (struct timespec){0, 60000000};
    CALL("nanosleep with an ignored signal", nanosleep(&rest, NULL));
    return 0;
}
