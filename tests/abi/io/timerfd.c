// timerfd: expirations, absolute and relative, blocking, poll, errors.
#include "check.h"
#include <poll.h>
#include <sys/timerfd.h>

int main(void) {
    uint64_t ticks = 0;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    CALL_OK("create", fd);
    CALL("create, unknown clock", timerfd_create(77, 0));
    CALL("create, CPU clock", timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
    CALL("create, unknown flag", timerfd_create(CLOCK_MONOTONIC, 1));
    CALL("read, not armed", read(fd, &ticks, 8));
    struct itimerspec spec = {.it_value = {1000, 0}}, old;
    CALL("settime, far ahead", timerfd_settime(fd, 0, &spec, NULL));
    CALL("read, too early", read(fd, &ticks, 8));
    spec.it_value = (struct timespec){0, 10000000};
    CALL("settime", timerfd_settime(fd, 0, &spec, NULL));
    struct pollfd set = {fd, POLLIN, 0};
    CALL("poll", poll(&set, 1, 10000));
    CALL("read", read(fd, &ticks, 8));
    VALUE("ticks", ticks);
    CALL("read again", read(fd, &ticks, 8));
    CALL("gettime after one shot", timerfd_gettime(fd, &old));
    VALUE("disarmed", old.it_value.tv_sec + old.it_value.tv_nsec);
    spec = (struct itimerspec){{0, 2000000}, {0, 2000000}};
    timerfd_settime(fd, 0, &spec, NULL);
    check_sleep_ms(40);
    CALL("read, periodic", read(fd, &ticks, 8));
    IS("several ticks at once", ticks >= 10);
    CALL("gettime, periodic", timerfd_gettime(fd, &old));
    VALUE("interval", old.it_interval.tv_nsec);
    IS("next within the interval", old.it_value.tv_sec == 0 && old.it_value.tv_nsec <= 2000000);
    spec = (struct itimerspec){0};
    CALL("disarm", timerfd_settime(fd, 0, &spec, &old));
    VALUE("old interval", old.it_interval.tv_nsec);
    CALL("read, disarmed", read(fd, &ticks, 8));
    spec.it_value.tv_sec = 1;
    CALL("absolute, in the past", timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL));
    CALL("poll", poll(&set, 1, 10000));
    read(fd, &ticks, 8);
    VALUE("one tick", ticks);
    int blocking = timerfd_create(CLOCK_REALTIME, 0);
    int64_t until = check_now_ns(CLOCK_REALTIME) + 20000000;
    spec.it_value = (struct timespec){until / 1000000000, until % 1000000000};
    CALL("absolute on the realtime clock", timerfd_settime(blocking, TFD_TIMER_ABSTIME, &spec, NULL));
    CALL("blocking read", read(blocking, &ticks, 8));
    IS("not before its time", check_now_ns(CLOCK_REALTIME) >= until);
    CALL("read, small buffer", read(fd, &ticks, 4));
    CALL("write", write(fd, &ticks, 8));
    spec.it_value.tv_nsec = 1000000000;
    CALL("settime, bad nanoseconds", timerfd_settime(fd, 0, &spec, NULL));
    spec.it_value = (struct timespec){-1, 0};
    CALL("settime, negative", timerfd_settime(fd, 0, &spec, NULL));
    spec.it_value = (struct timespec){1, 0};
    CALL("settime, unknown flag", timerfd_settime(fd, 64, &spec, NULL));
    CALL("settime, bad pointer", timerfd_settime(fd, 0, UNMAPPED, NULL));
    CALL("settime, other descriptor", timerfd_settime(1, 0, &spec, NULL));
    CALL("gettime, closed", timerfd_gettime(1000, &old));
    for (int clock = 0; clock < 12; clock++) {
        char name[32];
        snprintf(name, sizeof name, "clock %d", clock);
        CALL_OK(name, timerfd_create(clock, 0));
    }
    return 0;
}
