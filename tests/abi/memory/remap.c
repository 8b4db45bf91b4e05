// mremap: growing in place, moving, MREMAP_FIXED, MREMAP_DONTUNMAP, shrinking, and its refusals.
#include "fault.h"

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

int main(void) {
    fault_catch_all();
    char *area = mmap(NULL, 64 * PAGE, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(area != MAP_FAILED && munmap(area, 64 * PAGE) == 0);
    char *memory = mmap(area, 4 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(memory == area);
    for (int page = 0; page < 4; page++)
        memory[page * PAGE] = (char)(page + 1);

    IS("grow in place", mremap(memory, 4 * PAGE, 8 * PAGE, 0) == memory);
    VALUE("contents of page 3", memory[3 * PAGE]);
    VALUE("the new part is zero", memory[7 * PAGE]);
    IS("shrink", mremap(memory, 8 * PAGE, 2 * PAGE, 0) == memory);
    READ_BYTE("what was cut is gone", memory, 2 * PAGE);
    IS("same size", mremap(memory, 2 * PAGE, 2 * PAGE, 0) == memory);

    char *wall = mmap(area + 2 * PAGE, PAGE, PROT_NONE, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(wall == area + 2 * PAGE);
    CALL_OK("cannot grow in place", mremap(memory, 2 * PAGE, 4 * PAGE, 0));
    char *moved = mremap(memory, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    IS("may move", moved != MAP_FAILED && moved != memory);
    VALUE("contents moved, page 0", moved[0]);
    VALUE("contents moved, page 1", moved[PAGE]);
    READ_BYTE("the old place is gone", memory, 0);

    char *target = area + 32 * PAGE;
    IS("fixed", mremap(moved, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    VALUE("contents at the fixed place", target[PAGE]);
    READ_BYTE("place before is gone", moved, 0);
    CALL_OK("fixed without maymove", mremap(target, PAGE, PAGE, MREMAP_FIXED, area));
    CALL_OK("fixed overlapping itself", mremap(target, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE));
    CALL_OK("fixed unaligned", mremap(target, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 1));
    CALL_OK("fixed to the kernel", mremap(target, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, KERNEL_ADDRESS));

    // The raw call: MREMAP_DONTUNMAP takes the fifth argument as a hint, and glibc 2.36 passes rubbish there.
    char *left = (char *)syscall(SYS_mremap, target, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    IS("dontunmap moves", left != MAP_FAILED && left != target);
    VALUE("dontunmap carries the contents", left == MAP_FAILED ? -1 : left[PAGE]);
    READ_BYTE("the old range is still mapped", target, 0);
    VALUE("and empty", target[PAGE]);
    CALL_OK("dontunmap changing size", mremap(target, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
    CALL_OK("dontunmap without maymove", mremap(target, PAGE, PAGE, MREMAP_DONTUNMAP));

    CALL_OK("unaligned address", mremap(target + 1, PAGE, PAGE, MREMAP_MAYMOVE));
    CALL_OK("new size 0", mremap(target, PAGE, 0, MREMAP_MAYMOVE));
    CALL_OK("old size 0 of private memory", mremap(target, 0, PAGE, MREMAP_MAYMOVE));
    CALL_OK("unknown flag", mremap(target, PAGE, PAGE, 0x10));
    CALL_OK("unmapped", mremap((void *)0x10000000000UL, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    CALL_OK("too long for the mapping", mremap(target, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE));

    char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[0] = 9;
    char *alias = mremap(shared, 0, PAGE, MREMAP_MAYMOVE);
    IS("old size 0 of shared memory makes an alias", alias != MAP_FAILED && alias != shared);
    shared[1] = 10;
    VALUE("the alias sees a write", alias == MAP_FAILED ? -1 : alias[1]);

    REQUIRE(mprotect(target + PAGE, PAGE, PROT_READ) == 0);
    moved = mremap(target + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    WRITE_BYTE("protection moves along", moved, PAGE);
    return 0;
}
