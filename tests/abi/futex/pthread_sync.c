// The locks of glibc that stand on futexes, used as the JVM and its libraries use them.
#include "check.h"
#include <semaphore.h>

#define THREADS 8
#define ROUNDS 2000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER, monotonic_condition;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static long counter, turn, reads, once_runs;
static _Atomic long serial_threads;

static void *count(void *argument) {
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *take_turns(void *argument) {
    long me = (long)argument;
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % THREADS != me)
            pthread_cond_wait(&condition, &mutex);
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *read_and_write(void *argument) {
    long me = (long)argument;
    for (int i = 0; i < 500; i++) {
        if (me % 4 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            reads++;
        } else {
            pthread_rwlock_rdlock(&rwlock);
        }
        pthread_rwlock_unlock(&rwlock);
    }
    return NULL;
}

static void *meet(void *argument) {
    (void)argument;
    for (int i = 0; i < 50; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            serial_threads++;
    return NULL;
}

static void *post(void *argument) {
    (void)argument;
    for (int i = 0; i < 100; i++)
        sem_post(&semaphore);
    return NULL;
}

static void run_once(void) { once_runs++; }

static void *call_once(void *argument) {
    (void)argument;
    pthread_once(&once, run_once);
    return NULL;
}

static void run(void *(*body)(void *)) {
    pthread_t thread[THREADS];
    for (long i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, body, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

static struct timespec in_ms(clockid_t clock, long milliseconds) {
    int64_t limit = check_now_ns(clock) + milliseconds * 1000000;
    return (struct timespec){limit / 1000000000, limit % 1000000000};
}

int main(void) {
    run(count);
    VALUE("mutex: counted", counter);
    run(take_turns);
    VALUE("condition: turns", turn);
    run(read_and_write);
    VALUE("rwlock: writes", reads);
    pthread_barrier_init(&barrier, NULL, THREADS);
    run(meet);
    VALUE("barrier: one serial thread each round", serial_threads);
    sem_init(&semaphore, 0, 0);
    run(post);
    int taken = 0;
    while (sem_trywait(&semaphore) == 0)
        taken++;
    VALUE("semaphore: taken", taken);
    run(call_once);
    VALUE("once: runs", once_runs);

    struct timespec limit = in_ms(CLOCK_REALTIME, 20);
    CALL("semaphore: timed wait", sem_timedwait(&semaphore, &limit));
    limit = in_ms(CLOCK_MONOTONIC, 20);
    CALL("semaphore: monotonic wait", sem_clockwait(&semaphore, CLOCK_MONOTONIC, &limit));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&monotonic_condition, &attributes);
    pthread_mutex_lock(&mutex);
    limit = in_ms(CLOCK_REALTIME, 20);
    PTHREAD("condition: timed wait", pthread_cond_timedwait(&condition, &mutex, &limit));
    limit = in_ms(CLOCK_MONOTONIC, 20);
    PTHREAD("condition: monotonic wait", pthread_cond_timedwait(&monotonic_condition, &mutex, &limit));
    limit = (struct timespec){0, 0};
    PTHREAD("condition: past", pthread_cond_timedwait(&condition, &mutex, &limit));
    limit.tv_nsec = 1000000000;
    PTHREAD("condition: too many nanoseconds", pthread_cond_timedwait(&condition, &mutex, &limit));
    PTHREAD("mutex: trylock when held", pthread_mutex_trylock(&mutex));
    limit = in_ms(CLOCK_REALTIME, 20);
    PTHREAD("mutex: timed lock when held", pthread_mutex_timedlock(&mutex, &limit));
    pthread_mutex_unlock(&mutex);

    pthread_mutex_t checking;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checking, &kind);
    PTHREAD("checking: lock", pthread_mutex_lock(&checking));
    PTHREAD("checking: lock twice", pthread_mutex_lock(&checking));
    PTHREAD("checking: unlock", pthread_mutex_unlock(&checking));
    PTHREAD("checking: unlock twice", pthread_mutex_unlock(&checking));
    return 0;
}
