// madvise: contents after MADV_DONTNEED and its relatives, and its refusals.
#include "fault.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

int main(void) {
    fault_catch_all();
    check_enter_scratch();
    char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    memset(memory, 5, 8 * PAGE);
    CALL("dontneed", madvise(memory + PAGE, 2 * PAGE, MADV_DONTNEED));
    VALUE("before", memory[PAGE - 1]);
    VALUE("first byte is zero", memory[PAGE]);
    VALUE("last byte is zero", memory[3 * PAGE - 1]);
    VALUE("behind", memory[3 * PAGE]);
    unsigned char resident[8];
    CALL("dontneed again", madvise(memory, 8 * PAGE, MADV_DONTNEED));
    REQUIRE(mincore(memory, 8 * PAGE, resident) == 0);
    int count = 0;
    for (int i = 0; i < 8; i++)
        count += resident[i] & 1;
    VALUE("resident pages after dontneed", count);
    CALL("populate write", madvise(memory, 4 * PAGE, MADV_POPULATE_WRITE));
    REQUIRE(mincore(memory, 8 * PAGE, resident) == 0);
    count = 0;
    for (int i = 0; i < 8; i++)
        count += resident[i] & 1;
    VALUE("resident pages after populate", count);
    CALL("populate read", madvise(memory + 4 * PAGE, PAGE, MADV_POPULATE_READ));
    CALL("length rounds up", madvise(memory, 1, MADV_DONTNEED));
    CALL("length 0", madvise(memory, 0, MADV_DONTNEED));
    CALL("unaligned", madvise(memory + 1, PAGE, MADV_DONTNEED));
    CALL("unknown advice", madvise(memory, PAGE, 999));
    CALL("negative advice", madvise(memory, PAGE, -1));
    CALL("unknown advice with length 0", madvise(memory, 0, 999));
    CALL("wraps", madvise(memory, ~0UL - PAGE + 1, MADV_DONTNEED));
    CALL("unmapped", madvise((void *)0x10000000000UL, PAGE, MADV_DONTNEED));
    CALL("normal", madvise(memory, 8 * PAGE, MADV_NORMAL));
    CALL("random", madvise(memory, 8 * PAGE, MADV_RANDOM));
    CALL("sequential", madvise(memory, 8 * PAGE, MADV_SEQUENTIAL));
    CALL("willneed", madvise(memory, 8 * PAGE, MADV_WILLNEED));
    CALL("dontdump", madvise(memory, 8 * PAGE, MADV_DONTDUMP));
    CALL("dodump", madvise(memory, 8 * PAGE, MADV_DODUMP));
    CALL("dontfork", madvise(memory, 8 * PAGE, MADV_DONTFORK));
    CALL("dofork", madvise(memory, 8 * PAGE, MADV_DOFORK));
    CALL("free", madvise(memory, PAGE, MADV_FREE));
    memory[0] = 8;
    VALUE("a write after free stays", memory[0]);
    CALL("remove of private memory", madvise(memory, PAGE, MADV_REMOVE));

    REQUIRE(munmap(memory + 4 * PAGE, PAGE) == 0);
    memset(memory + 5 * PAGE, 6, PAGE);
    CALL("dontneed over a hole", madvise(memory + 3 * PAGE, 3 * PAGE, MADV_DONTNEED));
    VALUE("it was done behind the hole", memory[5 * PAGE]);
    REQUIRE(mprotect(memory, PAGE, PROT_READ) == 0);
    CALL("dontneed of read-only memory", madvise(memory, PAGE, MADV_DONTNEED));
    VALUE("it is zero", memory[0]);
    CALL("populate write of read-only memory", madvise(memory, PAGE, MADV_POPULATE_WRITE));
    REQUIRE(mprotect(memory, PAGE, PROT_NONE) == 0);
    CALL("dontneed of no-access memory", madvise(memory, PAGE, MADV_DONTNEED));
    CALL("populate read of no-access memory", madvise(memory, PAGE, MADV_POPULATE_READ));

    int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, "abcdefgh", 8) == 8);
    char *private_map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    private_map[0] = 'X';
    CALL("dontneed of a private file map", madvise(private_map, PAGE, MADV_DONTNEED));
    check_line("the file's bytes are back", "%.8s", private_map);
    char *shared_map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shared_map[1] = 'Y';
    CALL("dontneed of a shared file map", madvise(shared_map, PAGE, MADV_DONTNEED));
    check_line("the write was not lost", "%.8s", shared_map);
    CALL("free of a file map", madvise(shared_map, PAGE, MADV_FREE));
    return 0;
}
