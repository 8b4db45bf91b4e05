// Stress for the scheduler, the futex table and the memory map: threads that map, touch, protect and unmap memory, fault,
// signal each other, hand tokens through pipes and meet at locks, for a bounded number of rounds.
//
// Everything that happens is counted twice, by the one who does it and by the one who sees it, so the single line it
// prints is the same on every system and at every speed.
//
// Usage: stress [THREADS [ROUNDS]]

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 32
#define LOCKS 7
#define THREADS_LIMIT 512

// Bounded for an emulated machine with more CPUs than the host has to give: each unmap there interrupts all of them.
static int threads = 8, rounds = 25;

struct lock {
    _Atomic uint32_t word; // 0 free, 1 held, 2 held and waited for (Drepper, "Futexes Are Tricky", section 5)
    long guarded;
};

struct worker {
    pthread_t thread;
    int number, in[2];
    uint64_t random;
    long locked, mapped, faulted, forwarded, sent;
    _Atomic long received;
    sigjmp_buf on_fault;
    char *volatile faults_in;
};

static struct lock locks[LOCKS];
static struct worker workers[THREADS_LIMIT];
static _Thread_local struct worker *me;
static pthread_barrier_t barrier;
static _Atomic long wrong;

static void require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "stress: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

// xorshift64, Marsaglia 2003: each worker's sequence of deeds is its own, and the same in each run.
static uint64_t next_random(struct worker *worker) {
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random;
}

static void lock_take(struct lock *lock) {
    uint32_t seen = 0;
    if (atomic_compare_exchange_strong(&lock->word, &seen, 1))
        return;
    if (seen != 2)
        seen = atomic_exchange(&lock->word, 2);
    while (seen != 0) {
        // Now and then with a timeout, so that sleepers also leave the queue by themselves.
        struct timespec limit = {0, 2000000};
        bool timed = next_random(me) % 4 == 0;
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, timed ? &limit : NULL, NULL, 0);
        seen = atomic_exchange(&lock->word, 2);
    }
}

static void lock_give(struct lock *lock) {
    if (atomic_exchange(&lock->word, 0) == 2)
        syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    workers[info->si_value.sival_int].received++;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    if (!me || (char *)info->si_addr != me->faults_in)
        _exit(3);
    siglongjmp(me->on_fault, 1);
}

static void guarded_addition(struct worker *worker) {
    struct lock *lock = &locks[next_random(worker) % LOCKS];
    lock_take(lock);
    long before = lock->guarded;
    if (next_random(worker) % 8 == 0)
        sched_yield();
    lock->guarded = before + 1;
    lock_give(lock);
    worker->locked++;
}

static void memory(struct worker *worker) {
    char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(area != MAP_FAILED, "mmap");
    for (int page = 0; page < PAGES; page++) {
        long *word = (long *)(area + (size_t)page * PAGE);
        if (*word != 0)
            wrong++;
        *word = worker->number * 1000L + page;
    }
    size_t closed = next_random(worker) % (PAGES - 2), gone = closed + 1;
    require(mprotect(area + closed * PAGE, PAGE, PROT_NONE) == 0, "mprotect");
    require(munmap(area + gone * PAGE, PAGE) == 0, "munmap");
    // The unmapped page may have been mapped by another thread meanwhile; the closed one must fault.
    worker->faults_in = area + closed * PAGE;
    if (sigsetjmp(worker->on_fault, 1) == 0) {
        *(volatile char *)worker->faults_in = 1;
        wrong++;
    } else {
        worker->faulted++;
    }
    require(mprotect(area + closed * PAGE, PAGE, PROT_READ) == 0, "mprotect");
    for (size_t page = 0; page < PAGES; page++)
        if (page != gone && *(long *)(area + page * PAGE) != worker->number * 1000L + (long)page)
            wrong++;
    require(madvise(area, closed * PAGE, MADV_DONTNEED) == 0 || closed == 0, "madvise");
    for (size_t page = 0; page < closed; page++)
        if (*(long *)(area + page * PAGE) != 0)
            wrong++;
    require(munmap(area, gone * PAGE) == 0 && munmap(area + (gone + 1) * PAGE, (PAGES - gone - 1) * PAGE) == 0, "munmap");
    worker->mapped++;
}

static void send_signal(struct worker *worker) {
    int target = (int)(next_random(worker) % (uint64_t)threads);
    union sigval value = {.sival_int = target};
    // The queue of real-time signals is bounded (RLIMIT_SIGPENDING): then the receiver needs time.
    while (pthread_sigqueue(workers[target].thread, SIGRTMIN, value) == EAGAIN)
        sched_yield();
    worker->sent++;
}

// A ring of pipes: each worker puts one token in its successor's pipe and takes one from its own.
static void forward(struct worker *worker) {
    uint32_t token = (uint32_t)worker->number, got = 0;
    struct worker *successor = &workers[(worker->number + 1) % threads];
    ssize_t done;
    while ((done = write(successor->in[1], &token, sizeof token)) == -1 && errno == EINTR) {
    }
    require(done == sizeof token, "write");
    while ((done = read(worker->in[0], &got, sizeof got)) == -1 && errno == EINTR) {
    }
    require(done == sizeof got, "read");
    if (got != (uint32_t)((worker->number + threads - 1) % threads))
        wrong++;
    worker->forwarded++;
}

static void *work(void *argument) {
    struct worker *worker = me = argument;
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 8; i++)
            guarded_addition(worker);
        memory(worker);
        send_signal(worker);
        forward(worker);
    }
    // Nobody leaves while signals for it may be on their way.
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(int count, char **arguments) {
    if (count > 1)
        threads = atoi(arguments[1]);
    if (count > 2)
        rounds = atoi(arguments[2]);
    if (threads < 2 || threads > THREADS_LIMIT || rounds < 1) {
        fprintf(stderr, "usage: stress [THREADS (2 to %d) [ROUNDS]]\n", THREADS_LIMIT);
        return 2;
    }
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGRTMIN, &action, NULL);
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, NULL);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].random = 0x9e3779b97f4a7c15 * (uint64_t)(i + 1);
        require(pipe(workers[i].in) == 0, "pipe");
    }
    for (int i = 0; i < threads; i++)
        require(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    long locked = 0, guarded = 0, mapped = 0, faulted = 0, sent = 0, received = 0, forwarded = 0;
    for (int i = 0; i < threads; i++) {
        locked += workers[i].locked;
        mapped += workers[i].mapped;
        faulted += workers[i].faulted;
        sent += workers[i].sent;
        received += workers[i].received;
        forwarded += workers[i].forwarded;
    }
    for (int i = 0; i < LOCKS; i++)
        guarded += locks[i].guarded;
    printf("stress: %d threads, %d rounds, locked %ld guarded %ld, mapped %ld, faulted %ld, sent %ld received %ld, "
           "forwarded %ld, wrong %ld\n",
           threads, rounds, locked, guarded, mapped, faulted, sent, received, forwarded, wrong);
    return 0;
}
