// futex(2): how many a wake wakes, in which order, and which bits it picks.
#include "futex.h"

#define COUNT 6

int main(void) {
    static uint32_t word, other;
    struct futex_sleeper sleeper[COUNT];
    for (int i = 0; i < COUNT; i++)
        futex_start(&sleeper[i], &word, FUTEX_WAIT_PRIVATE, 0);
    CALL("wake another word", futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    CALL("wake the shared key of a private wait", futex(&word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0));
    CALL("wake one", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    VALUE("threads woken", futex_count_woken(sleeper, COUNT, 1));
    IS("it was the first", sleeper[0].woken);
    VALUE("its wait returned", sleeper[0].result);
    CALL("wake two", futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0));
    VALUE("threads woken in all", futex_count_woken(sleeper, COUNT, 3));
    IS("in order", sleeper[1].woken && sleeper[2].woken);
    CALL("wake zero wakes one", futex(&word, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0));
    CALL("wake all", futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    VALUE("all woken", futex_count_woken(sleeper, COUNT, COUNT));
    CALL("nobody is left", futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    futex_finish(sleeper, COUNT);

    for (int i = 0; i < 3; i++)
        futex_start(&sleeper[i], &word, FUTEX_WAIT_BITSET_PRIVATE, 1u << i);
    CALL("bits nobody waits for", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 8));
    CALL("bit 1", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 2));
    futex_count_woken(sleeper, 3, 1);
    check_line("woken", "%d%d%d", sleeper[0].woken, sleeper[1].woken, sleeper[2].woken);
    CALL("bits 1 and 2", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 6));
    CALL("a plain wake matches any bits", futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    futex_finish(sleeper, 3);

    // A shared futex is known by the page behind it, not by its address.
    int memory = memfd_create("shared", MFD_CLOEXEC);
    REQUIRE(memory >= 0 && ftruncate(memory, PAGE) == 0);
    uint32_t *first = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    uint32_t *second = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    futex_start(&sleeper[0], first, FUTEX_WAIT, 0);
    CALL("wake through another mapping", futex(second, FUTEX_WAKE, INT_MAX, NULL, NULL, 0));
    futex_finish(sleeper, 1);
    futex_start(&sleeper[0], first, FUTEX_WAIT_PRIVATE, 0);
    CALL("private wait, another mapping", futex(second, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    CALL("private wait, its own", futex(first, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    futex_finish(sleeper, 1);

    // FUTEX_WAKE_OP: set *word2, wake on word, and on word2 if its old value compares.
    static uint32_t word2;
    word2 = 10;
    futex_start(&sleeper[0], &word, FUTEX_WAIT_PRIVATE, 0);
    futex_start(&sleeper[1], &word2, FUTEX_WAIT_PRIVATE, 0);
    CALL("wake op, comparison false", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, VALUE2(1), &word2,
                                            FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 11)));
    VALUE("added", word2);
    CALL("wake op, comparison true", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, VALUE2(1), &word2,
                                           FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 14)));
    VALUE("set", word2);
    CALL("wake op, unknown operation", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, VALUE2(1), &word2,
                                             FUTEX_OP(7, 1, FUTEX_OP_CMP_GT, 14)));
    CALL("wake op, unmapped", futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, VALUE2(1), UNMAPPED,
                                    FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 14)));
    futex_finish(sleeper, 2);
    return 0;
}
