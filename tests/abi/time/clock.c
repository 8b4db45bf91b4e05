// Clocks: all ids, resolutions, agreement of vDSO and system call, CPU clocks, errors.
#include "check.h"
#include <sys/auxv.h>
#include <sys/time.h>

static int64_t raw_ns(clockid_t clock) {
    struct timespec now;
    REQUIRE(syscall(SYS_clock_gettime, clock, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *spin(void *argument) {
    int64_t until = check_now_ns(CLOCK_THREAD_CPUTIME_ID) + 30000000;
    while (check_now_ns(CLOCK_THREAD_CPUTIME_ID) < until) {
    }
    return argument;
}

static _Atomic bool stop;
static _Atomic int64_t newest;
static _Atomic long backwards;

// CLOCK_MONOTONIC never goes backwards, also not from one CPU to another.
static void *watch_order(void *argument) {
    while (!stop) {
        int64_t seen = newest, now = check_now_ns(CLOCK_MONOTONIC);
        if (now < seen)
            backwards++;
        while (seen < now && !atomic_compare_exchange_weak(&newest, &seen, now)) {
        }
    }
    return argument;
}

int main(void) {
    struct timespec now, resolution;
    for (int clock = -1; clock < 13; clock++) {
        char name[32];
        // Clock 10 was CLOCK_SGI_CYCLE; 8 and 9 wake from suspend and ask for a real-time clock device.
        if (clock == 8 || clock == 9)
            continue;
        snprintf(name, sizeof name, "clock %d", clock);
        CALL(name, syscall(SYS_clock_gettime, clock, &now));
        snprintf(name, sizeof name, "resolution of %d", clock);
        CALL(name, syscall(SYS_clock_getres, clock, &resolution));
    }
    CALL("resolution of monotonic", clock_getres(CLOCK_MONOTONIC, &resolution));
    check_line("it is", "%ld %ld", resolution.tv_sec, resolution.tv_nsec);
    CALL("resolution of coarse", clock_getres(CLOCK_MONOTONIC_COARSE, &resolution));
    IS("it is a tick", resolution.tv_nsec >= 1000000 && resolution.tv_nsec <= 10000000);
    CALL("resolution, null pointer", syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
    CALL("gettime, bad pointer", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, UNMAPPED));
    CALL("gettime, null pointer", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL));
    CALL("settime of monotonic", clock_settime(CLOCK_MONOTONIC, &now));
    now.tv_nsec = -1;
    CALL("settime, bad nanoseconds", clock_settime(CLOCK_REALTIME, &now));

    IS("there is a vDSO", getauxval(AT_SYSINFO_EHDR) != 0);
    bool ordered = true;
    for (int i = 0; i < 1000; i++) {
        int64_t first = raw_ns(CLOCK_MONOTONIC), second = check_now_ns(CLOCK_MONOTONIC), third = raw_ns(CLOCK_MONOTONIC);
        ordered = ordered && first <= second && second <= third;
    }
    IS("vDSO and system call agree on monotonic", ordered);
    for (int i = 0; i < 1000; i++) {
        int64_t first = raw_ns(CLOCK_REALTIME), second = check_now_ns(CLOCK_REALTIME), third = raw_ns(CLOCK_REALTIME);
        ordered = ordered && first <= second && second <= third;
    }
    IS("and on realtime", ordered);
    struct timeval day;
    int64_t before = raw_ns(CLOCK_REALTIME) / 1000;
    CALL("gettimeofday", gettimeofday(&day, NULL));
    int64_t at = day.tv_sec * 1000000L + day.tv_usec;
    IS("it agrees", before <= at && at <= raw_ns(CLOCK_REALTIME) / 1000);
    IS("time agrees", ({ time_t seconds = time(NULL); seconds >= at / 1000000 - 1 && seconds <= at / 1000000 + 1; }));
    IS("it is after 2024", at / 1000000 > 1704067200);
    int64_t coarse = check_now_ns(CLOCK_MONOTONIC_COARSE), fine = check_now_ns(CLOCK_MONOTONIC);
    IS("coarse is a little behind", coarse <= fine && fine - coarse < 1000000000);
    IS("boot time is not behind monotonic", raw_ns(CLOCK_BOOTTIME) >= fine);
    int64_t tai = raw_ns(CLOCK_TAI) - raw_ns(CLOCK_REALTIME);
    IS("atomic time is near realtime", tai > -1000000000 && tai < 60000000000);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&thread[i], NULL, watch_order, NULL) == 0);
    check_sleep_ms(200);
    stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    VALUE("monotonic went backwards", backwards);

    int64_t process = check_now_ns(CLOCK_PROCESS_CPUTIME_ID), mine = check_now_ns(CLOCK_THREAD_CPUTIME_ID);
    REQUIRE(pthread_create(&thread[0], NULL, spin, NULL) == 0);
    clockid_t its_clock, our_clock;
    PTHREAD("clock of a thread", pthread_getcpuclockid(thread[0], &its_clock));
    pthread_join(thread[0], NULL);
    IS("process time has the other thread's", check_now_ns(CLOCK_PROCESS_CPUTIME_ID) - process >= 30000000);
    IS("this thread's has not", check_now_ns(CLOCK_THREAD_CPUTIME_ID) - mine < 30000000);
    CALL("clock of a thread that is gone", ({
             // The joined thread may still be on its way out.
             long result;
             for (int i = 0; i < 1000 && (result = syscall(SYS_clock_gettime, its_clock, &now)) == 0; i++)
                 check_sleep_ms(1);
             result;
         }));
    PTHREAD("our own", pthread_getcpuclockid(pthread_self(), &our_clock));
    int64_t by_id = check_now_ns(our_clock), by_name = check_now_ns(CLOCK_THREAD_CPUTIME_ID);
    IS("it is the thread clock", by_name >= by_id && by_name - by_id < 20000000);
    CALL("clock of the process", clock_getcpuclockid(0, &our_clock));
    CALL("clock of no process", syscall(SYS_clock_gettime, (int)(~0x3ffffffU << 3 | 2), &now));
    mine = check_now_ns(CLOCK_THREAD_CPUTIME_ID);
    check_sleep_ms(50);
    IS("sleep costs no CPU time", check_now_ns(CLOCK_THREAD_CPUTIME_ID) - mine < 25000000);
    return 0;
}
