// Timers that send signals: alarm, setitimer, timer_create.
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t count, last_value, overrun_seen;
static volatile pid_t handler_tid;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    last_value = info->si_value.sival_int;
    overrun_seen = info->si_code == SI_TIMER ? info->si_overrun : -1;
    handler_tid = check_tid();
    count++;
}

static bool await(int expected) {
    for (int i = 0; i < 10000 && count < expected; i++)
        check_sleep_ms(1);
    return count >= expected;
}

static void on_thread(union sigval value) {
    last_value = value.sival_int;
    count++;
}

static void *wait_for_signal(void *argument) {
    *(_Atomic pid_t *)argument = check_tid();
    while (count == 0)
        check_sleep_ms(1);
    return NULL;
}

int main(void) {
    check_catch(SIGALRM, on_signal, 0);
    check_catch(SIGVTALRM, on_signal, 0);
    check_catch(SIGPROF, on_signal, 0);
    check_catch(SIGRTMIN, on_signal, 0);
    CALL("alarm, none before", alarm(100));
    IS("alarm, rest of the first", alarm(50) >= 99);
    IS("alarm off", alarm(0) >= 49);
    CALL("alarm, none again", alarm(0));

    struct itimerval timer = {{0, 2000}, {0, 2000}}, old;
    CALL("setitimer, periodic", setitimer(ITIMER_REAL, &timer, NULL));
    IS("it fires again and again", await(5));
    CALL("getitimer", getitimer(ITIMER_REAL, &old));
    VALUE("its interval in us", old.it_interval.tv_usec);
    timer = (struct itimerval){0};
    CALL("setitimer, off", setitimer(ITIMER_REAL, &timer, &old));
    VALUE("the old interval", old.it_interval.tv_usec);
    check_sleep_ms(20);
    count = 0;
    check_sleep_ms(20);
    VALUE("none after that", count);
    CALL("setitimer, unknown", setitimer(9, &timer, NULL));
    timer.it_value.tv_usec = 1000000;
    CALL("setitimer, bad microseconds", setitimer(ITIMER_REAL, &timer, NULL));
    timer.it_value = (struct timeval){-1, 0};
    CALL("setitimer, negative", setitimer(ITIMER_REAL, &timer, NULL));
    CALL("setitimer, bad pointer", syscall(SYS_setitimer, ITIMER_REAL, UNMAPPED, NULL));
    CALL("getitimer, bad pointer", syscall(SYS_getitimer, ITIMER_REAL, UNMAPPED));

    timer = (struct itimerval){{0, 0}, {0, 10000}};
    CALL("setitimer, virtual", setitimer(ITIMER_VIRTUAL, &timer, NULL));
    for (volatile long i = 0; count == 0 && i < 20000000000; i++) {
    }
    VALUE("virtual time passes by computing", count);
    count = 0;
    CALL("setitimer, profiling", setitimer(ITIMER_PROF, &timer, NULL));
    for (volatile long i = 0; count == 0 && i < 20000000000; i++) {
    }
    VALUE("profiling time passes by computing", count);

    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 66};
    timer_t first, second;
    count = 0;
    CALL("timer_create", timer_create(CLOCK_MONOTONIC, &event, &first));
    struct itimerspec spec = {.it_value = {0, 5000000}}, before;
    CALL("gettime when disarmed", timer_gettime(first, &before));
    VALUE("disarmed", before.it_value.tv_sec + before.it_value.tv_nsec);
    CALL("settime", timer_settime(first, 0, &spec, &before));
    IS("it fires", await(1));
    VALUE("its value", last_value);
    spec.it_value.tv_sec = 1000;
    CALL("settime far", timer_settime(first, 0, &spec, NULL));
    CALL("gettime", timer_gettime(first, &before));
    IS("what is left", before.it_value.tv_sec >= 990 && before.it_value.tv_sec <= 1000);
    int64_t until = check_now_ns(CLOCK_MONOTONIC) + 10000000;
    spec.it_value = (struct timespec){until / 1000000000, until % 1000000000};
    count = 0;
    CALL("settime absolute", timer_settime(first, TIMER_ABSTIME, &spec, NULL));
    IS("it fires at that time", await(1) && check_now_ns(CLOCK_MONOTONIC) >= until);
    spec.it_value = (struct timespec){1, 0};
    count = 0;
    CALL("settime in the past", timer_settime(first, TIMER_ABSTIME, &spec, NULL));
    IS("it fires at once", await(1));

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    spec = (struct itimerspec){{0, 1000000}, {0, 1000000}};
    CALL("settime periodic", timer_settime(first, 0, &spec, NULL));
    check_sleep_ms(50);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    IS("overruns are counted", overrun_seen > 10);
    CALL("delete", timer_delete(first));
    CALL("delete twice, raw", syscall(SYS_timer_delete, 12345));
    CALL("create, unknown clock", timer_create(77, &event, &second));
    event.sigev_signo = 65;
    CALL("create, bad signal", timer_create(CLOCK_MONOTONIC, &event, &second));
    event.sigev_notify = 99;
    CALL("create, bad notification", timer_create(CLOCK_MONOTONIC, &event, &second));

    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_int = 5};
    count = 0;
    CALL("create with a thread", timer_create(CLOCK_REALTIME, &event, &second));
    spec = (struct itimerspec){.it_value = {0, 1000000}};
    CALL("settime with a thread", timer_settime(second, 0, &spec, NULL));
    IS("the function ran", await(1));
    VALUE("with its value", last_value);
    CALL("delete with a thread", timer_delete(second));

    _Atomic pid_t tid = 0;
    pthread_t thread;
    count = 0;
    REQUIRE(pthread_create(&thread, NULL, wait_for_signal, (void *)&tid) == 0);
    while (tid == 0)
        sched_yield();
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    event._sigev_un._tid = tid;
    CALL("create for one thread", timer_create(CLOCK_MONOTONIC, &event, &second));
    CALL("settime for one thread", timer_settime(second, 0, &spec, NULL));
    pthread_join(thread, NULL);
    IS("that thread got it", handler_tid == tid);
    event.sigev_notify = SIGEV_NONE;
    CALL("create silent", timer_create(CLOCK_MONOTONIC, &event, &second));
    spec = (struct itimerspec){.it_value = {0, 1000000}};
    timer_settime(second, 0, &spec, NULL);
    check_sleep_ms(20);
    timer_gettime(second, &before);
    VALUE("a silent one runs down", before.it_value.tv_sec + before.it_value.tv_nsec);
    return 0;
}
