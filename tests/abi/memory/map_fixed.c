// MAP_FIXED over existing mappings, MAP_FIXED_NOREPLACE, and the order and shape /proc/self/maps gives after
// splits and merges: what HotSpot's commit and uncommit of heap regions is made of.
#include "fault.h"

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

// Prints each line of /proc/self/maps inside [base, base + length) as page numbers relative to base, with protection.
static void print_maps(const char *name, const char *base, size_t length) {
    FILE *maps = fopen("/proc/self/maps", "re");
    REQUIRE(maps != NULL);
    char line[1024], text[1024] = "";
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char permissions[8];
        if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) != 3)
            continue;
        if (start >= (unsigned long)base && end <= (unsigned long)base + length)
            snprintf(text + strlen(text), sizeof text - strlen(text), " %lu-%lu %s", (start - (unsigned long)base) / PAGE,
                     (end - (unsigned long)base) / PAGE, permissions);
    }
    fclose(maps);
    check_line(name, "%s", *text ? text + 1 : "nothing");
}

int main(void) {
    fault_catch_all();
    size_t length = 16 * PAGE;
    // A reservation with room on both sides, so that neighbours outside the test cannot merge into it.
    char *outer = mmap(NULL, length + 2 * PAGE, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(outer != MAP_FAILED);
    REQUIRE(munmap(outer, PAGE) == 0 && munmap(outer + length + PAGE, PAGE) == 0);
    char *base = outer + PAGE;
    print_maps("reserved", base, length);

    IS("commit in the middle", mmap(base + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED, -1, 0) ==
                                   base + 4 * PAGE);
    memset(base + 4 * PAGE, 7, 4 * PAGE);
    WRITE_BYTE("before the commit", base, 4 * PAGE - 1);
    WRITE_BYTE("after the commit", base, 8 * PAGE);
    IS("commit beside it", mmap(base + 8 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED, -1, 0) ==
                               base + 8 * PAGE);
    VALUE("the old commit keeps its bytes", base[8 * PAGE - 1]);
    VALUE("the new one is zero", base[8 * PAGE]);
    IS("commit again over data",
       mmap(base + 5 * PAGE, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED, -1, 0) == base + 5 * PAGE);
    VALUE("data is gone", base[5 * PAGE]);
    VALUE("data before it stays", base[5 * PAGE - 1]);
    VALUE("data after it stays", base[6 * PAGE]);
    IS("uncommit", mmap(base + 4 * PAGE, 6 * PAGE, PROT_NONE, ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
                       base + 4 * PAGE);
    READ_BYTE("uncommitted memory faults", base, 4 * PAGE);
    print_maps("all reserved again", base, length);

    CALL("mprotect splits in three", mprotect(base + 2 * PAGE, PAGE, PROT_READ));
    print_maps("split", base, length);
    CALL("mprotect of two neighbours", mprotect(base + PAGE, 3 * PAGE, PROT_READ | PROT_WRITE));
    print_maps("one piece", base, length);
    CALL("mprotect back", mprotect(base + PAGE, 3 * PAGE, PROT_NONE));
    print_maps("merged", base, length);
    CALL("munmap in the middle", munmap(base + 7 * PAGE, 2 * PAGE));
    print_maps("with a hole", base, length);

    IS("noreplace in the hole", mmap(base + 7 * PAGE, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
                                    base + 7 * PAGE);
    CALL_OK("noreplace over a mapping", mmap(base + 7 * PAGE, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    CALL_OK("noreplace half over a mapping",
            mmap(base + 8 * PAGE, 2 * PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    CALL_OK("noreplace unaligned", mmap(base + 8 * PAGE + 1, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    print_maps("after noreplace", base, length);

    IS("a failing fixed map keeps what was there",
       mmap(base, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 1000, 0) == MAP_FAILED && errno == EBADF);
    print_maps("after the failure", base, length);
    CALL("munmap all", munmap(base, length));
    print_maps("empty", base, length);
    return 0;
}
