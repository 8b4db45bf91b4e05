// futex(2): waiting that does not block, and waiting that times out; which errors come first.
#include "futex.h"

static uint32_t word = 5;

static void timed(const char *name, int operation, uint32_t bits, clockid_t clock, bool absolute, const char *lower) {
    int64_t wait_ns = 30 * 1000000, start = check_now_ns(CLOCK_MONOTONIC);
    int64_t limit = absolute ? check_now_ns(clock) + wait_ns : wait_ns;
    struct timespec timeout = {limit / 1000000000, limit % 1000000000};
    CALL(name, futex(&word, operation, 5, &timeout, NULL, bits));
    IS(lower, check_now_ns(CLOCK_MONOTONIC) - start >= wait_ns - 1000000);
}

int main(void) {
    struct timespec zero = {0, 0}, negative = {-1, 0}, nanos = {0, 1000000000}, past = {1, 0};
    uint32_t any = FUTEX_BITSET_MATCH_ANY;
    CALL("wait, other value", futex(&word, FUTEX_WAIT_PRIVATE, 4, NULL, NULL, 0));
    CALL("wait, other value, shared", futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0));
    CALL("wait bitset, other value", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 4, NULL, NULL, any));
    CALL("wait, other value and bad timeout", futex(&word, FUTEX_WAIT_PRIVATE, 4, &negative, NULL, 0));
    CALL("wait, zero timeout", futex(&word, FUTEX_WAIT_PRIVATE, 5, &zero, NULL, 0));
    CALL("wait, negative timeout", futex(&word, FUTEX_WAIT_PRIVATE, 5, &negative, NULL, 0));
    CALL("wait, too many nanoseconds", futex(&word, FUTEX_WAIT_PRIVATE, 5, &nanos, NULL, 0));
    CALL("wait bitset, monotonic past", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 5, &past, NULL, any));
    CALL("wait bitset, realtime past",
         futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 5, &past, NULL, any));
    CALL("wait bitset, no bits", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 5, &zero, NULL, 0));
    CALL("wait bitset, no bits and other value", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 4, &zero, NULL, 0));
    CALL("wait, timeout pointer bad", futex(&word, FUTEX_WAIT_PRIVATE, 5, UNMAPPED, NULL, 0));
    CALL("wait, word unmapped", futex(UNMAPPED, FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
    CALL("wait, word in the kernel", futex(KERNEL_ADDRESS, FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
    CALL("wait, word unaligned", futex((uint32_t *)((char *)&word + 1), FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
    CALL("wait, word not readable",
         futex(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
    uint32_t *read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL("wait, word read-only, private", futex(read_only, FUTEX_WAIT_PRIVATE, 0, &zero, NULL, 0));
    CALL("wait, fresh page", futex(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                                   FUTEX_WAIT_PRIVATE, 0, &zero, NULL, 0));
    CALL("unknown operation", futex(&word, 99, 5, NULL, NULL, 0));
    CALL("removed operation FUTEX_FD", futex(&word, 2, 5, NULL, NULL, 0));
    CALL("realtime clock on wake", futex(&word, FUTEX_WAKE_PRIVATE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));
    CALL("realtime clock on requeue", futex(&word, FUTEX_REQUEUE_PRIVATE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));

    timed("relative", FUTEX_WAIT_PRIVATE, 0, CLOCK_MONOTONIC, false, "it waited");
    timed("relative, shared", FUTEX_WAIT, 0, CLOCK_MONOTONIC, false, "shared waited");
    timed("monotonic until", FUTEX_WAIT_BITSET_PRIVATE, any, CLOCK_MONOTONIC, true, "monotonic waited");
    timed("realtime until", FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, any, CLOCK_REALTIME, true,
          "realtime waited");
    timed("relative on the realtime clock", FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 0, CLOCK_REALTIME, false,
          "realtime relative waited");

    CALL("wake nobody", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    CALL("wake, word unmapped private", futex(UNMAPPED, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    CALL("wake, word unmapped shared", futex(UNMAPPED, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL("wake, word in the kernel", futex(KERNEL_ADDRESS, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    CALL("wake, word unaligned", futex((uint32_t *)((char *)&word + 2), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    CALL("wake bitset, no bits", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0));
    return 0;
}
