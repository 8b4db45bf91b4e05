// futex(2) and threads that sleep on one.
#ifndef CREMA_TESTS_ABI_FUTEX_H
#define CREMA_TESTS_ABI_FUTEX_H

#include "check.h"
#include <linux/futex.h>

static inline long futex(const void *word, int operation, uint32_t value, const void *timeout_or_value2, void *word2,
                         uint32_t value3) {
    return syscall(SYS_futex, word, operation, value, timeout_or_value2, word2, value3);
}

// The second value of the requeueing operations travels in the place of the timeout.
#define VALUE2(number) ((void *)(uintptr_t)(number))

struct futex_sleeper {
    pthread_t thread;
    _Atomic pid_t tid;
    _Atomic bool woken;
    uint32_t *word;
    uint32_t value;
    int operation;
    uint32_t bits;
    long result;
    int error;
};

static void *futex_sleep(void *argument) {
    struct futex_sleeper *sleeper = argument;
    sleeper->tid = check_tid();
    sleeper->result = futex(sleeper->word, sleeper->operation, sleeper->value, NULL, NULL, sleeper->bits);
    sleeper->error = errno;
    sleeper->woken = true;
    return NULL;
}

// Starts a thread and returns when it sleeps on its word.
static inline void futex_start(struct futex_sleeper *sleeper, uint32_t *word, int operation, uint32_t bits) {
    *sleeper = (struct futex_sleeper){.word = word, .value = *word, .operation = operation, .bits = bits};
    REQUIRE(pthread_create(&sleeper->thread, NULL, futex_sleep, sleeper) == 0);
    while (sleeper->tid == 0)
        sched_yield();
    check_await_sleeping(sleeper->tid);
}

static inline void futex_finish(struct futex_sleeper *sleeper, int count) {
    for (int i = 0; i < count; i++)
        pthread_join(sleeper[i].thread, NULL);
}

static inline int futex_count_woken(struct futex_sleeper *sleeper, int count, int expected) {
    int woken = 0;
    // Those that were woken need a moment to say so; those that were not never will.
    for (int attempt = 0; attempt < 2000; attempt++) {
        woken = 0;
        for (int i = 0; i < count; i++)
            woken += sleeper[i].woken;
        if (woken >= expected)
            break;
        check_sleep_ms(1);
    }
    return woken;
}

#endif
