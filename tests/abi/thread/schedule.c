// Scheduling calls: affinity, policies, priorities, getcpu, yield.
#include "check.h"
#include <sched.h>
#include <sys/resource.h>

static pthread_barrier_t barrier;
static _Atomic pid_t other_tid;

static void *idle(void *argument) {
    other_tid = check_tid();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return argument;
}

int main(void) {
    cpu_set_t all, one, now;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    IS("sched_getaffinity returns bytes", syscall(SYS_sched_getaffinity, 0, sizeof all, &all) % 8 == 0);
    CALL("affinity", sched_getaffinity(0, sizeof all, &all));
    IS("count is that of online processors", CPU_COUNT(&all) == cpus);
    int first = 0;
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CALL("bind to one", sched_setaffinity(0, sizeof one, &one));
    CALL("query", sched_getaffinity(0, sizeof now, &now));
    IS("it holds", CPU_EQUAL(&one, &now));
    IS("we run there", sched_getcpu() == first);
    unsigned cpu = 99, node = 99;
    CALL("getcpu", syscall(SYS_getcpu, &cpu, &node, NULL));
    check_line("cpu and node", "%s %u", cpu == (unsigned)first ? "that one" : "another", node);
    CALL("getcpu, nothing asked", syscall(SYS_getcpu, NULL, NULL, NULL));
    CALL("getcpu, bad pointer", syscall(SYS_getcpu, UNMAPPED, NULL, NULL));
    int last = CPU_SETSIZE - 1;
    while (last >= 0 && !CPU_ISSET(last, &all))
        last--;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    CALL("bind to the last", sched_setaffinity(0, sizeof one, &one));
    IS("we run there at once", sched_getcpu() == last);
    CPU_ZERO(&one);
    CALL("bind to none", sched_setaffinity(0, sizeof one, &one));
    CPU_SET(1000, &one);
    CALL("bind to one that does not exist", sched_setaffinity(0, sizeof one, &one));
    CALL("back to all", sched_setaffinity(0, sizeof all, &all));
    CALL("raw, mask of 1 byte", syscall(SYS_sched_getaffinity, 0, 1, &now));
    CALL("raw, mask not a multiple of 8", syscall(SYS_sched_getaffinity, 0, 12, &now));
    CALL("raw, bad pointer", syscall(SYS_sched_getaffinity, 0, 128, UNMAPPED));
    CALL("no such thread", sched_getaffinity(0x3ffffff, sizeof now, &now));
    CALL("set, no such thread", sched_setaffinity(0x3ffffff, sizeof all, &all));
    CALL("set, bad pointer", syscall(SYS_sched_setaffinity, 0, 8, UNMAPPED));

    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    sched_setaffinity(0, sizeof one, &one);
    REQUIRE(pthread_create(&thread, NULL, idle, NULL) == 0);
    pthread_barrier_wait(&barrier);
    CALL("query of another thread", sched_getaffinity(other_tid, sizeof now, &now));
    IS("it inherited ours", CPU_EQUAL(&one, &now));
    CALL("change another thread", sched_setaffinity(other_tid, sizeof all, &all));
    sched_getaffinity(0, sizeof now, &now);
    IS("ours is unchanged", CPU_EQUAL(&one, &now));
    CALL("its policy", sched_getscheduler(other_tid));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    sched_setaffinity(0, sizeof all, &all);

    struct sched_param parameter = {0};
    CALL("policy", sched_getscheduler(0));
    CALL("getparam", sched_getparam(0, &parameter));
    VALUE("priority", parameter.sched_priority);
    CALL("set other, priority 0", sched_setscheduler(0, SCHED_OTHER, &parameter));
    parameter.sched_priority = 5;
    CALL("set other, priority 5", sched_setscheduler(0, SCHED_OTHER, &parameter));
    CALL("set unknown", sched_setscheduler(0, 77, &parameter));
    CALL("set, negative thread", sched_setscheduler(-1, SCHED_OTHER, &parameter));
    parameter.sched_priority = 100;
    CALL("FIFO, priority 100", sched_setscheduler(0, SCHED_FIFO, &parameter));
    parameter.sched_priority = 0;
    CALL("FIFO, priority 0", sched_setscheduler(0, SCHED_FIFO, &parameter));
    CALL("batch", sched_setscheduler(0, SCHED_BATCH, &parameter));
    CALL("policy", sched_getscheduler(0));
    CALL("idle", sched_setscheduler(0, SCHED_IDLE, &parameter));
    CALL("back", sched_setscheduler(0, SCHED_OTHER, &parameter));
    CALL("no such thread", sched_getscheduler(0x3ffffff));
    for (int policy = 0; policy <= 6; policy++) {
        char name[48];
        snprintf(name, sizeof name, "priorities of policy %d", policy);
        check_line(name, "%d %d", sched_get_priority_min(policy), sched_get_priority_max(policy));
    }
    struct timespec slice;
    CALL("interval", sched_rr_get_interval(0, &slice));
    CALL("yield", sched_yield());
    CALL("set nice value 0", setpriority(PRIO_PROCESS, 0, 0));
    CALL("nice value", getpriority(PRIO_PROCESS, 0));
    CALL("raw nice value", syscall(SYS_getpriority, PRIO_PROCESS, 0));
    CALL("set nice value 5", setpriority(PRIO_PROCESS, 0, 5));
    CALL("nice value", getpriority(PRIO_PROCESS, 0));
    CALL("nice value 100 is cut", setpriority(PRIO_PROCESS, 0, 100));
    CALL("nice value", getpriority(PRIO_PROCESS, 0));
    CALL("root may lower it", setpriority(PRIO_PROCESS, 0, 0));
    CALL("nice value, unknown which", getpriority(9, 0));
    CALL("nice value, no such process", getpriority(PRIO_PROCESS, 0x3ffffff));
    CALL("unshare nothing", unshare(0));
    return 0;
}
