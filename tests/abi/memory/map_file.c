// File mappings: private copies, shared coherence with read and write, offsets, the end of the file, protection
// against the descriptor's mode.
#include "fault.h"

int main(void) {
    fault_catch_all();
    check_enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    char data[3 * PAGE], buffer[PAGE];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)('a' + i / PAGE);
    REQUIRE(write(fd, data, sizeof data - 1000) == (ssize_t)sizeof data - 1000);

    char *private_map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    REQUIRE(private_map != MAP_FAILED);
    check_line("private: first bytes of the pages", "%c%c%c", private_map[0], private_map[PAGE], private_map[2 * PAGE]);
    VALUE("private: zero behind the end in the last page", private_map[3 * PAGE - 1]);
    private_map[0] = 'P';
    pread(fd, buffer, 1, 0);
    check_line("private: the file does not change", "%c", buffer[0]);
    pwrite(fd, "QR", 2, 0);
    check_line("private: a page that was written is its own", "%c%c", private_map[0], private_map[1]);
    pwrite(fd, "S", 1, PAGE);
    check_line("private: a page that was only read follows the file", "%c", private_map[PAGE]);

    char *shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    REQUIRE(shared != MAP_FAILED && second != MAP_FAILED);
    check_line("shared: sees the file", "%.2s %c", shared, shared[PAGE]);
    shared[PAGE + 1] = 'T';
    pread(fd, buffer, 2, PAGE);
    check_line("shared: read sees the map", "%.2s", buffer);
    check_line("shared: another map sees it", "%.2s", second);
    pwrite(fd, "UV", 2, PAGE + 2);
    check_line("shared: the map sees write", "%.4s", shared + PAGE);
    check_line("shared: private pages not written follow", "%.4s", private_map + PAGE);
    CALL("msync sync", msync(shared, 3 * PAGE, MS_SYNC));
    CALL("msync async", msync(shared, 3 * PAGE, MS_ASYNC));
    CALL("msync invalidate", msync(shared, 3 * PAGE, MS_INVALIDATE));
    CALL("msync, both", msync(shared, PAGE, MS_SYNC | MS_ASYNC));
    CALL("msync, unaligned", msync(shared + 1, PAGE, MS_SYNC));
    CALL("msync, unknown flag", msync(shared, PAGE, 64));
    CALL("msync, unmapped", msync((void *)0x10000000000UL, PAGE, MS_SYNC));
    CALL("msync, length 0", msync(shared, 0, MS_SYNC));

    // Behind the end of file, in its last page: writable memory that never reaches the file.
    shared[3 * PAGE - 1] = 'Z';
    struct stat status;
    fstat(fd, &status);
    VALUE("size after a write behind the end", status.st_size - (long)(sizeof data - 1000));
    REQUIRE(ftruncate(fd, 2 * PAGE + 10) == 0);
    check_line("after truncation in the page", "%c %d", shared[2 * PAGE + 9], shared[2 * PAGE + 10]);
    REQUIRE(ftruncate(fd, PAGE) == 0);
    READ_BYTE("first page stays", shared, 0);
    READ_BYTE("shared: cut off", shared, PAGE);
    READ_BYTE("private: cut off, not written", private_map, PAGE);
    READ_BYTE("private: written page stays", private_map, 0);
    REQUIRE(ftruncate(fd, 3 * PAGE) == 0);
    VALUE("grown again: zero", shared[PAGE]);
    WRITE_BYTE("grown again: writable", shared, 2 * PAGE);

    CALL("close", close(fd));
    check_line("the map outlives the descriptor", "%.2s", shared);
    CALL("unlink", unlink("file"));
    check_line("and the name", "%.2s", shared);

    int read_only = open("file", O_RDONLY | O_CREAT | O_CLOEXEC, 0600), write_only = open("file", O_WRONLY | O_CLOEXEC);
    REQUIRE(ftruncate(write_only, 2 * PAGE) == 0);
    CALL_OK("read-only descriptor, shared writable", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_only, 0));
    CALL_OK("read-only descriptor, private writable", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, read_only, 0));
    CALL_OK("write-only descriptor", mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, write_only, 0));
    CALL_OK("write-only descriptor, private", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, write_only, 0));
    CALL_OK("unaligned offset", mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 100));
    CALL_OK("offset past the end", mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 100 * PAGE));
    CALL_OK("offset overflows", mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, read_only, LONG_MAX - PAGE + 1));
    CALL_OK("directory", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, open(".", O_RDONLY | O_DIRECTORY), 0));
    CALL_OK("O_PATH descriptor", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, open("file", O_PATH), 0));
    CALL_OK("shared validate", mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, read_only, 0));
    CALL_OK("shared validate with an unknown flag", mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x1000000, read_only, 0));
    CALL_OK("deny write is ignored", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, read_only, 0));
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    char *zeros = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    VALUE("/dev/zero maps zeros", zeros == MAP_FAILED ? -1 : zeros[77]);
    WRITE_BYTE("and they are writable", zeros, 77);

    // A system call that reads or writes through a map, also one that must fault its pages in.
    REQUIRE((fd = open("other", O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0);
    REQUIRE(ftruncate(fd, 16 * PAGE) == 0);
    char *map = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CALL("write from a map", write(fd, map + 8 * PAGE, 8 * PAGE));
    CALL("read into a map of the same file", pread(fd, map + PAGE, 2 * PAGE, 0));
    CALL("write of bytes past the end of a mapped file", (ftruncate(fd, PAGE), write(open("third", O_RDWR | O_CREAT, 0600), map + 2 * PAGE, 10)));
    CALL("read into bytes past the end", pread(zero, map + 2 * PAGE, 10, 0));
    return 0;
}
