// exit_group from a thread ends the process with its status, whatever the others do: run, sleep, or wait for a lock.
#include "futex.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t word;
static _Atomic int started;

static void *wait_for_lock(void *argument) {
    started++;
    pthread_mutex_lock(&mutex);
    return argument;
}

static void *wait_for_word(void *argument) {
    started++;
    futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return argument;
}

static void *run(void *argument) {
    started++;
    for (;;)
        __asm__ volatile("pause");
    return argument;
}

static void *leave(void *argument) {
    while (started < 3)
        sched_yield();
    TEXT("leaving", "with 300, of which the low eight bits count");
    syscall(SYS_exit_group, 300);
    return argument;
}

int main(void) {
    pthread_t thread;
    pthread_mutex_lock(&mutex);
    void *(*bodies[])(void *) = {wait_for_lock, wait_for_word, run, leave};
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread, NULL, bodies[i], NULL) == 0);
    pthread_join(thread, NULL);
    TEXT("still", "here");
    return 1;
}
