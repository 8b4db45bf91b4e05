// mlock(2) and relatives.
#include "check.h"
#include <sys/resource.h>

int main(void) {
    char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char state[8];
    REQUIRE(memory != MAP_FAILED);
    CALL("mlock", mlock(memory + PAGE, 2 * PAGE));
    REQUIRE(mincore(memory, 8 * PAGE, state) == 0);
    check_line("locked pages are resident", "%d%d", state[1] & 1, state[2] & 1);
    CALL("dontneed of locked memory", madvise(memory + PAGE, PAGE, MADV_DONTNEED));
    CALL("munlock", munlock(memory + PAGE, 2 * PAGE));
    CALL("dontneed after it", madvise(memory + PAGE, PAGE, MADV_DONTNEED));
    CALL("mlock rounds outwards", mlock(memory + PAGE + 10, 10));
    CALL("mlock, length 0", mlock(memory, 0));
    CALL("mlock, unmapped", mlock((void *)0x10000000000UL, PAGE));
    CALL("munlock, unmapped", munlock((void *)0x10000000000UL, PAGE));
    CALL("mlock, wraps", mlock(memory, ~0UL - PAGE));
    CALL("mlock2 on fault", mlock2(memory, PAGE, MLOCK_ONFAULT));
    CALL("mlock2, unknown flag", mlock2(memory, PAGE, 8));
    CALL("mlockall, nothing asked", mlockall(0));
    CALL("mlockall, unknown flag", mlockall(64));
    CALL("mlockall, only on fault", mlockall(MCL_ONFAULT));
    CALL("mlockall", mlockall(MCL_CURRENT));
    CALL("munlockall", munlockall());
    CALL("locked map", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED);
    CALL("munmap of locked memory", munmap(memory, 8 * PAGE));
    return 0;
}
