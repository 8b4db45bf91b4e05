// Names, limits and accounts: PR_SET_NAME, prlimit, getrusage, times, sysinfo against each other.
#include "check.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static void spin_ms(long milliseconds) {
    int64_t until = check_now_ns(CLOCK_THREAD_CPUTIME_ID) + milliseconds * 1000000;
    while (check_now_ns(CLOCK_THREAD_CPUTIME_ID) < until) {
    }
}

static int64_t us(struct timeval time) { return time.tv_sec * 1000000L + time.tv_usec; }

static void *named(void *argument) {
    char name[32] = "";
    prctl(PR_SET_NAME, "a name that is longer than fifteen");
    prctl(PR_GET_NAME, name);
    TEXT("long name is cut", name);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", check_tid());
    int fd = open(path, O_RDWR);
    ssize_t length = read(fd, name, sizeof name - 1);
    check_line("comm of the task", "%.*s", (int)(length > 0 ? length - 1 : 0), name);
    close(fd);
    fd = open(path, O_WRONLY);
    CALL("write a name to comm", write(fd, "other", 5));
    prctl(PR_GET_NAME, name);
    TEXT("it took", name);
    spin_ms(30);
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    IS("thread's own usage", us(usage.ru_utime) + us(usage.ru_stime) >= 15000);
    return argument;
}

int main(void) {
    char name[32] = "";
    CALL("set name", prctl(PR_SET_NAME, "main name"));
    CALL("get name", prctl(PR_GET_NAME, name));
    TEXT("name", name);
    CALL("set name, bad pointer", prctl(PR_SET_NAME, UNMAPPED));
    CALL("get name, bad pointer", prctl(PR_GET_NAME, UNMAPPED));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, named, NULL) == 0);
    pthread_join(thread, NULL);
    prctl(PR_GET_NAME, name);
    TEXT("main's name is its own", name);
    PTHREAD("pthread_setname_np, too long", pthread_setname_np(pthread_self(), "sixteen letters!"));
    CALL("dumpable", prctl(PR_GET_DUMPABLE));
    CALL("set dumpable 0", prctl(PR_SET_DUMPABLE, 0));
    CALL("dumpable", prctl(PR_GET_DUMPABLE));
    CALL("set dumpable 7", prctl(PR_SET_DUMPABLE, 7));
    prctl(PR_SET_DUMPABLE, 1);
    CALL("no new privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CALL("timer slack", prctl(PR_SET_TIMERSLACK, 60000));
    CALL("timer slack", prctl(PR_GET_TIMERSLACK));
    CALL("death signal", (prctl(PR_SET_PDEATHSIG, SIGUSR1), prctl(PR_SET_PDEATHSIG, 0)));
    CALL("unknown prctl", prctl(9999, 0, 0, 0, 0));

    struct rlimit limit, old;
    const struct {
        const char *name;
        int number;
    } limits[] = {{"AS", RLIMIT_AS}, {"CPU", RLIMIT_CPU}, {"DATA", RLIMIT_DATA}, {"FSIZE", RLIMIT_FSIZE},
                  {"STACK", RLIMIT_STACK}, {"NOFILE", RLIMIT_NOFILE}, {"RSS", RLIMIT_RSS}, {"NPROC", RLIMIT_NPROC},
                  {"CORE", RLIMIT_CORE}, {"MEMLOCK", RLIMIT_MEMLOCK}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        CALL(limits[i].name, getrlimit(limits[i].number, &limit));
        IS("soft is not above hard", limit.rlim_cur <= limit.rlim_max);
    }
    getrlimit(RLIMIT_NOFILE, &old);
    limit = (struct rlimit){100, old.rlim_max};
    CALL("prlimit, set", prlimit(0, RLIMIT_NOFILE, &limit, &old));
    CALL("prlimit, get", prlimit(getpid(), RLIMIT_NOFILE, NULL, &limit));
    VALUE("it holds", limit.rlim_cur);
    limit = (struct rlimit){200, 100};
    CALL("soft above hard", setrlimit(RLIMIT_NOFILE, &limit));
    CALL("restore", setrlimit(RLIMIT_NOFILE, &old));
    CALL("unknown limit", getrlimit(99, &limit));
    CALL("bad pointer", getrlimit(RLIMIT_NOFILE, UNMAPPED));
    CALL("bad new pointer", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, UNMAPPED, NULL));
    CALL("no such process", prlimit(0x3ffffff, RLIMIT_NOFILE, NULL, &limit));
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){4096, old.rlim_max};
    CALL("file size limit", setrlimit(RLIMIT_FSIZE, &limit));
    check_enter_scratch();
    signal(SIGXFSZ, SIG_IGN);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    CALL("write up to it", pwrite(fd, name, 10, 4090));
    CALL("write past it", pwrite(fd, name, 10, 4096));
    CALL("truncate past it", ftruncate(fd, 5000));
    setrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){1UL << 40, RLIM_INFINITY};
    getrlimit(RLIMIT_AS, &old);
    limit.rlim_max = old.rlim_max;
    CALL("address space limit of 1 TiB", setrlimit(RLIMIT_AS, &limit));
    CALL_OK("reserve 2 TiB", mmap(NULL, 2UL << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    CALL_OK("reserve 1 GiB", mmap(NULL, 1UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    setrlimit(RLIMIT_AS, &old);

    struct rusage before, after;
    CALL("getrusage", getrusage(RUSAGE_SELF, &before));
    spin_ms(50);
    getrusage(RUSAGE_SELF, &after);
    int64_t used = us(after.ru_utime) + us(after.ru_stime) - us(before.ru_utime) - us(before.ru_stime);
    IS("50 ms of computing are accounted", used >= 30000);
    char *touched = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(touched, 16 << 20, MADV_NOHUGEPAGE);
    getrusage(RUSAGE_SELF, &before);
    memset(touched, 1, 16 << 20);
    getrusage(RUSAGE_SELF, &after);
    IS("minor faults are counted", after.ru_minflt - before.ru_minflt >= 4000);
    IS("the largest size grew", after.ru_maxrss >= 16384);
    CALL("getrusage of children", getrusage(RUSAGE_CHILDREN, &after));
    VALUE("there are none", us(after.ru_utime));
    CALL("getrusage, unknown", getrusage(9, &after));
    CALL("getrusage, bad pointer", syscall(SYS_getrusage, RUSAGE_SELF, UNMAPPED));
    struct tms account;
    clock_t start = times(&account);
    IS("times counts up", start != -1);
    IS("user and system time", account.tms_utime + account.tms_stime >= 4);
    VALUE("children's", account.tms_cutime);
    VALUE("ticks per second", sysconf(_SC_CLK_TCK));
    check_sleep_ms(100);
    IS("a hundred milliseconds are ten ticks", times(&account) - start >= 9);
    return 0;
}
