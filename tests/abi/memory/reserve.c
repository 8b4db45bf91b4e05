// Huge reservations without memory behind them: a JVM with ZGC reserves terabytes, touches little of it, and
// returns parts of it all the time.
#include "fault.h"

#define GIB (1UL << 30)
#define TIB (1UL << 40)

int main(void) {
    fault_catch_all();
    size_t length = 4 * TIB;
    char *memory = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    IS("reserve 4 TiB", memory != MAP_FAILED);
    REQUIRE(memory != MAP_FAILED);
    READ_BYTE("reserved memory faults", memory, TIB);
    CALL("open 1 TiB of it", mprotect(memory + TIB, TIB, PROT_READ | PROT_WRITE));
    long sum = 0;
    for (size_t offset = 0; offset < TIB; offset += 16 * GIB)
        memory[TIB + offset] = (char)(offset / (16 * GIB) + 1);
    for (size_t offset = 0; offset < TIB; offset += 16 * GIB)
        sum += memory[TIB + offset];
    VALUE("64 pages, 16 GiB apart", sum);
    CALL("give them back", madvise(memory + TIB, TIB, MADV_DONTNEED));
    sum = 0;
    for (size_t offset = 0; offset < TIB; offset += 16 * GIB)
        sum += memory[TIB + offset];
    VALUE("they are zero again", sum);
    IS("uncommit in one call", mmap(memory + TIB, TIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                                    -1, 0) == memory + TIB);
    READ_BYTE("closed again", memory, TIB);
    CALL("free a quarter", munmap(memory + 3 * TIB, TIB));
    char *readable = mmap(NULL, TIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    IS("writable 1 TiB without reserve", readable != MAP_FAILED);
    if (readable != MAP_FAILED) {
        readable[TIB - 1] = 77;
        VALUE("its last byte", readable[TIB - 1]);
        VALUE("its first byte", readable[0]);
        CALL("free it", munmap(readable, TIB));
    }
    // Zeroed memory that is only read must not cost a page each time, nor change.
    char *zeros = mmap(NULL, GIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(zeros != MAP_FAILED);
    sum = 0;
    for (size_t offset = 0; offset < GIB; offset += GIB / 256)
        sum |= zeros[offset];
    VALUE("read-only zeros", sum);
    int pieces = 0;
    char *before = NULL;
    for (int i = 0; i < 1000; i++) {
        char *piece = mmap(NULL, GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (piece != MAP_FAILED && piece != before)
            pieces++;
        before = piece;
    }
    VALUE("a thousand reservations of 1 GiB", pieces);
    CALL("free the rest", munmap(memory, 3 * TIB));
    return 0;
}
