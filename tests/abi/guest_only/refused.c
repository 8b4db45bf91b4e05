// What Crema refuses as a Linux does that was built without it: rseq (ENOSYS without CONFIG_RSEQ), PI futexes (ENOSYS without
// CONFIG_FUTEX_PI).
#include "futex.h"

int main(void) {
    static uint32_t word, other;
    char area[64] __attribute__((aligned(32))) = {0};
    CALL("rseq", syscall(SYS_rseq, area, 32, 0, 0x53053053));
    CALL("lock PI", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CALL("trylock PI", futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CALL("unlock PI", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CALL("wait requeue PI", futex(&word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &other, 0));
    CALL("compare requeue PI", futex(&word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, VALUE2(1), &other, 0));
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    PTHREAD("pthread_mutex_init with priority inheritance", pthread_mutex_init(&mutex, &attributes));
    return 0;
}
