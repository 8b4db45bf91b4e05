// What the calls cost that a JVM leans on: the same binary runs in Crema and in a Linux guest (`crema bench syscall`).
//
// One line per measurement: `NAME UNIT MEDIAN P25 P75 MIN SAMPLES`, where each sample is the mean over a batch of
// operations and a batch lasts at least BATCH_NS. Measurements with two threads pin them: `_same` to one CPU, `_other`
// to two; the latter are left out on a machine with one CPU.
//
// Usage: syscall [WORD...] measures only what has one of the words in its name. `syscall --count` takes no times: it does each operation so
// many times between two marks for the plugin that counts instructions (../net/count.c), and prints `counted NAME TIMES`.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SAMPLES 31
#define BATCH_NS 2000000
#define PAGE 4096UL

#define COUNTED 1000

// Intel SDM volume 2, NOP: eight bytes that do nothing. The plugin knows them.
#define MARK(number) __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'C', 'r', 'm', " #number ::: "memory")

static char **words;
static bool counting;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static bool wanted(const char *name) {
    if (!*words)
        return true;
    for (char **word = words; *word; word++)
        if (strstr(name, *word))
            return true;
    return false;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, const char *unit, double *samples, int count) {
    qsort(samples, (size_t)count, sizeof *samples, compare);
    printf("%s %s %.1f %.1f %.1f %.1f %d\n", name, unit, samples[count / 2], samples[count / 4],
           samples[count * 3 / 4], samples[0], count);
    fflush(stdout);
}

// A batch does `count` operations and returns the nanoseconds that count.
typedef uint64_t (*batch)(long count);

static void measure(const char *name, batch run) {
    if (!wanted(name))
        return;
    if (counting) {
        // What is done for the first time costs more.
        run(COUNTED / 10);
        MARK(1);
        run(COUNTED);
        MARK(2);
        printf("counted %s %d\n", name, COUNTED);
        fflush(stdout);
        return;
    }
    long count = 1;
    uint64_t took;
    while ((took = run(count)) < BATCH_NS)
        count = took < BATCH_NS / 16 ? count * 8 : count * 2;
    double samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = (double)run(count) / (double)count;
    print(name, "ns", samples, SAMPLES);
}

static uint64_t getppid_batch(long count) {
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++)
        syscall(SYS_getppid);
    return now_ns() - start;
}

static uint64_t clock_batch(long count) {
    uint64_t start = now_ns();
    struct timespec now;
    for (long i = 0; i < count; i++)
        clock_gettime(CLOCK_MONOTONIC, &now);
    return now_ns() - start;
}

static uint64_t clock_call_batch(long count) {
    uint64_t start = now_ns();
    struct timespec now;
    for (long i = 0; i < count; i++)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return now_ns() - start;
}

static uint64_t map_batch(long count) {
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++) {
        void *memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED && munmap(memory, 16 * PAGE) == 0, "mmap");
    }
    return now_ns() - start;
}

static uint64_t fault_batch(long count) {
    uint64_t total = 0;
    while (count > 0) {
        long pages = count < 1024 ? count : 1024;
        char *memory = mmap(NULL, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED, "mmap");
        madvise(memory, 1024 * PAGE, MADV_NOHUGEPAGE);
        uint64_t start = now_ns();
        for (long i = 0; i < pages; i++)
            *(volatile char *)(memory + (size_t)i * PAGE) = 1;
        total += now_ns() - start;
        munmap(memory, 1024 * PAGE);
        count -= pages;
    }
    return total;
}

static uint64_t protect_batch(long count) {
    static char *page;
    if (!page) {
        page = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(page != MAP_FAILED, "mmap");
    }
    // What arming and disarming a safepoint page costs; the page is touched so that its entry is in use.
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++) {
        mprotect(page + PAGE, PAGE, PROT_NONE);
        mprotect(page + PAGE, PAGE, PROT_READ | PROT_WRITE);
        *(volatile char *)(page + PAGE) = 1;
    }
    return now_ns() - start;
}

static volatile sig_atomic_t handled;

static void on_signal(int number) {
    (void)number;
    handled++;
}

static uint64_t signal_batch(long count) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    pid_t pid = getpid();
    long tid = syscall(SYS_gettid);
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++)
        syscall(SYS_tgkill, pid, tid, SIGUSR1);
    return now_ns() - start;
}

// The load at the fault is `movb (%rax), %al`, two bytes: the handler steps over it, as HotSpot does for null checks.
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static uint64_t null_check_batch(long count) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++)
        __asm__ volatile("xorl %%eax, %%eax; movb (%%rax), %%al" : : : "rax", "cc", "memory");
    return now_ns() - start;
}

static void *nothing(void *argument) { return argument; }

static uint64_t thread_batch(long count) {
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++) {
        pthread_t thread;
        require(pthread_create(&thread, NULL, nothing, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
    }
    return now_ns() - start;
}

static uint64_t eventfd_batch(long count) {
    static int fd = -1;
    if (fd == -1)
        fd = eventfd(0, 0);
    uint64_t value = 1, start = now_ns();
    for (long i = 0; i < count; i++)
        require(write(fd, &value, 8) == 8 && read(fd, &value, 8) == 8, "eventfd");
    return now_ns() - start;
}

static uint64_t epoll_batch(long count) {
    static int epoll = -1, fd;
    if (epoll == -1) {
        epoll = epoll_create1(0);
        fd = eventfd(1, 0);
        struct epoll_event interest = {.events = EPOLLIN};
        require(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) == 0, "epoll");
    }
    struct epoll_event event;
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++)
        require(epoll_wait(epoll, &event, 1, 0) == 1, "epoll_wait");
    return now_ns() - start;
}

// Two threads that hand something to and fro. The partner runs until told to stop.
enum kind { FUTEX, PIPE, YIELD };

static enum kind kind;
static int cpus[2];
static long rounds;
static uint32_t turn;
static int forth[2], back[2];
static _Atomic bool partner_ready;

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    require(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

static void futex_hand_over(uint32_t from, uint32_t to) {
    while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != from)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, to, NULL, NULL, 0);
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *partner(void *argument) {
    char byte;
    pin(cpus[1]);
    partner_ready = true;
    for (long i = 0; i < rounds; i++) {
        if (kind == FUTEX)
            futex_hand_over(1, 0);
        else if (kind == PIPE)
            require(read(forth[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1, "pipe");
        else
            sched_yield();
    }
    return argument;
}

static uint64_t pair_batch(long count) {
    pthread_t thread;
    char byte = 0;
    rounds = count;
    turn = 0;
    partner_ready = false;
    pin(cpus[0]);
    require(pthread_create(&thread, NULL, partner, NULL) == 0, "pthread_create");
    while (!partner_ready)
        sched_yield();
    uint64_t start = now_ns();
    for (long i = 0; i < count; i++) {
        if (kind == FUTEX)
            futex_hand_over(0, 1);
        else if (kind == PIPE)
            require(write(forth[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "pipe");
        else
            sched_yield();
    }
    if (kind == FUTEX)
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != 0)
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    pthread_join(thread, NULL);
    uint64_t took = now_ns() - start;
    // To and fro are two switches; a yield by each of two threads as well.
    return took / 2;
}

static void measure_pair(const char *name, enum kind which, int first, int second) {
    kind = which;
    cpus[0] = first;
    cpus[1] = second;
    measure(name, pair_batch);
}

#define BLOCK 65536
#define BLOCKS 64

static void *drain(void *argument) {
    static char block[BLOCK];
    long left = (long)BLOCK * BLOCKS;
    if (cpus[1] >= 0)
        pin(cpus[1]);
    while (left > 0) {
        ssize_t got = read(forth[0], block, sizeof block);
        require(got > 0, "read");
        left -= got;
    }
    return argument;
}

static void measure_pipe(const char *name, int first, int second) {
    static char block[BLOCK];
    double samples[SAMPLES];
    if (!wanted(name) || counting)
        return;
    cpus[1] = second;
    pin(first);
    for (int i = 0; i < SAMPLES; i++) {
        pthread_t thread;
        uint64_t start = now_ns();
        require(pthread_create(&thread, NULL, drain, NULL) == 0, "pthread_create");
        for (int j = 0; j < BLOCKS; j++)
            for (size_t at = 0; at < BLOCK;) {
                ssize_t put = write(forth[1], block + at, BLOCK - at);
                require(put > 0, "write");
                at += (size_t)put;
            }
        pthread_join(thread, NULL);
        samples[i] = (double)BLOCK * BLOCKS * 1000 / (double)(now_ns() - start);
    }
    print(name, "MB/s", samples, SAMPLES);
}

int main(int count, char **arguments) {
    counting = count > 1 && strcmp(arguments[1], "--count") == 0;
    words = arguments + (counting ? 2 : 1);
    cpu_set_t all;
    require(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity");
    int first = -1, second = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            if (first == -1)
                first = cpu;
            else if (second == -1)
                second = cpu;
        }
    require(pipe(forth) == 0 && pipe(back) == 0, "pipe");
    pin(first);
    measure("getppid", getppid_batch);
    measure("clock_gettime", clock_batch);
    measure("clock_gettime_syscall", clock_call_batch);
    measure("eventfd_write_read", eventfd_batch);
    measure("epoll_wait_ready", epoll_batch);
    measure("page_fault", fault_batch);
    measure("mmap_munmap", map_batch);
    measure("mprotect_twice_touch", protect_batch);
    measure("signal_round_trip", signal_batch);
    measure("null_check_fault", null_check_batch);
    measure("thread_create_join", thread_batch);
    measure_pair("yield_switch_same", YIELD, first, first);
    measure_pair("futex_switch_same", FUTEX, first, first);
    measure_pair("pipe_switch_same", PIPE, first, first);
    measure_pipe("pipe_throughput_same", first, first);
    if (second != -1) {
        measure_pair("futex_switch_other", FUTEX, first, second);
        measure_pair("pipe_switch_other", PIPE, first, second);
        measure_pipe("pipe_throughput_other", first, second);
    }
    return 0;
}
