// nanosleep and clock_nanosleep: how long, on which clocks, errors.
#include "check.h"

static void timed(const char *name, clockid_t clock, int flags, int64_t offset_ns) {
    int64_t start = check_now_ns(CLOCK_MONOTONIC), from = flags ? check_now_ns(clock) : 0;
    struct timespec time = {(from + offset_ns) / 1000000000, (from + offset_ns) % 1000000000};
    int error = clock_nanosleep(clock, flags, &time, NULL);
    int64_t took = check_now_ns(CLOCK_MONOTONIC) - start;
    check_line(name, "%s, %s", check_errno_name(error), took >= offset_ns ? "slept" : "did not sleep");
}

int main(void) {
    timed("monotonic", CLOCK_MONOTONIC, 0, 20000000);
    timed("realtime", CLOCK_REALTIME, 0, 20000000);
    timed("boot time", CLOCK_BOOTTIME, 0, 20000000);
    timed("atomic time", CLOCK_TAI, 0, 20000000);
    timed("monotonic, absolute", CLOCK_MONOTONIC, TIMER_ABSTIME, 20000000);
    timed("realtime, absolute", CLOCK_REALTIME, TIMER_ABSTIME, 20000000);
    timed("monotonic, past", CLOCK_MONOTONIC, TIMER_ABSTIME, -20000000);
    timed("nothing", CLOCK_MONOTONIC, 0, 0);
    timed("one nanosecond", CLOCK_MONOTONIC, 0, 1);
    struct timespec time = {0, 1000000000};
    CALL("too many nanoseconds", nanosleep(&time, NULL));
    time = (struct timespec){-1, 0};
    CALL("negative", nanosleep(&time, NULL));
    time = (struct timespec){0, -1};
    CALL("negative nanoseconds", nanosleep(&time, NULL));
    CALL("bad pointer", nanosleep(UNMAPPED, NULL));
    time = (struct timespec){0, 1000};
    PTHREAD("unknown clock", clock_nanosleep(77, 0, &time, NULL));
    PTHREAD("raw monotonic", clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &time, NULL));
    PTHREAD("coarse", clock_nanosleep(CLOCK_MONOTONIC_COARSE, 0, &time, NULL));
    PTHREAD("thread's CPU time", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL));
    CALL("raw, thread's CPU time", syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL));
    int64_t start = check_now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < 20; i++)
        check_sleep_ms(2);
    IS("twenty sleeps of 2 ms", check_now_ns(CLOCK_MONOTONIC) - start >= 40000000);
    return 0;
}
