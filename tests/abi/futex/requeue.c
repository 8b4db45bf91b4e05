// futex(2): FUTEX_REQUEUE and FUTEX_CMP_REQUEUE, which move sleepers from one word to another.
#include "futex.h"

#define COUNT 5

int main(void) {
    static uint32_t from = 3, to;
    struct futex_sleeper sleeper[COUNT];
    for (int i = 0; i < COUNT; i++)
        futex_start(&sleeper[i], &from, FUTEX_WAIT_PRIVATE, 0);
    CALL("compare fails", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(1), &to, 4));
    CALL("wake 1, move 2", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(2), &to, 3));
    VALUE("woken", futex_count_woken(sleeper, COUNT, 1));
    IS("it was the first", sleeper[0].woken);
    CALL("wake all of the second word", futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    VALUE("woken in all", futex_count_woken(sleeper, COUNT, 3));
    CALL("move the rest without waking", futex(&from, FUTEX_REQUEUE_PRIVATE, 0, VALUE2(INT_MAX), &to, 0));
    CALL("none is left at the first word", futex(&from, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    CALL("wake one at the second word", futex(&to, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    CALL("requeue onto itself", futex(&to, FUTEX_REQUEUE_PRIVATE, 0, VALUE2(5), &to, 0));
    CALL("wake the last", futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    futex_finish(sleeper, COUNT);

    CALL("requeue nobody", futex(&from, FUTEX_REQUEUE_PRIVATE, 1, VALUE2(1), &to, 0));
    CALL("compare, nobody", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(1), &to, 3));
    CALL("negative wake count", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, -1, VALUE2(1), &to, 3));
    CALL("negative move count", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(-1), &to, 3));
    CALL("second word unmapped, private", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(1), KERNEL_ADDRESS, 3));
    CALL("second word unaligned",
         futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(1), (char *)&to + 1, 3));
    CALL("first word unmapped", futex(UNMAPPED, FUTEX_CMP_REQUEUE_PRIVATE, 1, VALUE2(1), &to, 3));

    // A moved sleeper keeps its bits.
    static uint32_t word;
    futex_start(&sleeper[0], &word, FUTEX_WAIT_BITSET_PRIVATE, 4);
    CALL("move a bitset sleeper", futex(&word, FUTEX_REQUEUE_PRIVATE, 0, VALUE2(1), &to, 0));
    CALL("wake it with other bits", futex(&to, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 3));
    CALL("wake it with its bits", futex(&to, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 4));
    futex_finish(sleeper, 1);
    return 0;
}
