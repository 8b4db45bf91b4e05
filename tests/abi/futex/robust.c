// What the kernel writes for a thread that exits while it holds locks: set_robust_list(2).
#include "futex.h"

struct lock {
    struct robust_list link;
    uint32_t word;
};

static struct lock owned, waited, foreign, pending;
static struct robust_list_head head;

static void *die_with_locks(void *argument) {
    (void)argument;
    uint32_t me = (uint32_t)check_tid();
    owned.word = me;
    waited.word = me | FUTEX_WAITERS;
    foreign.word = 0x12345;
    pending.word = me;
    head.list.next = &owned.link;
    owned.link.next = &waited.link;
    waited.link.next = &foreign.link;
    foreign.link.next = &head.list;
    head.futex_offset = offsetof(struct lock, word);
    head.list_op_pending = &pending.link;
    CALL("set_robust_list", syscall(SYS_set_robust_list, &head, sizeof head));
    CALL("set_robust_list, wrong length", syscall(SYS_set_robust_list, &head, sizeof head - 1));
    struct robust_list_head *got = NULL;
    size_t length = 0;
    CALL("get_robust_list of oneself", syscall(SYS_get_robust_list, 0, &got, &length));
    IS("it is the one", got == &head && length == sizeof head);
    return NULL;
}

static _Atomic bool release;

static void *die_when_told(void *argument) {
    struct lock *lock = argument;
    static struct robust_list_head own;
    own.list.next = &lock->link;
    lock->link.next = &own.list;
    own.futex_offset = offsetof(struct lock, word);
    REQUIRE(syscall(SYS_set_robust_list, &own, sizeof own) == 0);
    lock->word = (uint32_t)check_tid() | FUTEX_WAITERS;
    while (!release)
        sched_yield();
    return NULL;
}

static void *hold(void *mutex) {
    pthread_mutex_lock(mutex);
    return NULL;
}

int main(void) {
    pthread_t dying;
    REQUIRE(pthread_create(&dying, NULL, die_with_locks, NULL) == 0);
    pthread_join(dying, NULL);
    HEX("an owned lock", owned.word);
    HEX("an owned lock with waiters", waited.word);
    HEX("another's lock", foreign.word);
    HEX("the pending lock", pending.word);

    // One that waits is woken by the exit of the owner.
    static struct lock held;
    struct futex_sleeper sleeper;
    REQUIRE(pthread_create(&dying, NULL, die_when_told, &held) == 0);
    while (*(volatile uint32_t *)&held.word == 0)
        sched_yield();
    futex_start(&sleeper, &held.word, FUTEX_WAIT, 0);
    release = true;
    futex_finish(&sleeper, 1);
    VALUE("the waiter's wait returned", sleeper.result);
    HEX("the word it finds", held.word);
    pthread_join(dying, NULL);

    pthread_mutex_t mutex;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    REQUIRE(pthread_create(&dying, NULL, hold, &mutex) == 0);
    pthread_join(dying, NULL);
    PTHREAD("trylock of a dead owner's mutex", pthread_mutex_trylock(&mutex));
    PTHREAD("consistent", pthread_mutex_consistent(&mutex));
    PTHREAD("unlock", pthread_mutex_unlock(&mutex));
    PTHREAD("lock again", pthread_mutex_lock(&mutex));
    PTHREAD("unlock again", pthread_mutex_unlock(&mutex));
    REQUIRE(pthread_create(&dying, NULL, hold, &mutex) == 0);
    pthread_join(dying, NULL);
    PTHREAD("lock of a dead owner's mutex", pthread_mutex_lock(&mutex));
    PTHREAD("unlock without repair", pthread_mutex_unlock(&mutex));
    PTHREAD("lock is lost", pthread_mutex_lock(&mutex));
    return 0;
}
