// read, write, pread, pwrite, their vector forms, lseek, truncation and holes.
#include "check.h"
#include <sys/uio.h>

static char buffer[1 << 20];

static long size_of(int fd) {
    struct stat status;
    return fstat(fd, &status) == -1 ? -1 : (long)status.st_size;
}

int main(void) {
    check_enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    REQUIRE(fd >= 0);
    CALL("write", write(fd, "hello world", 11));
    VALUE("offset", lseek(fd, 0, SEEK_CUR));
    CALL("read at the end", read(fd, buffer, 10));
    CALL("seek to 6", lseek(fd, 6, SEEK_SET));
    CALL("read", read(fd, buffer, 100));
    check_line("what was read", "%.5s", buffer);
    CALL("pread", pread(fd, buffer, 5, 0));
    check_line("what pread read", "%.5s", buffer);
    VALUE("pread does not move", lseek(fd, 0, SEEK_CUR));
    CALL("pwrite", pwrite(fd, "J", 1, 0));
    CALL("pread past the end", pread(fd, buffer, 10, 1000));
    CALL("pread, negative offset", pread(fd, buffer, 10, -1));
    CALL("pwrite, negative offset", pwrite(fd, buffer, 10, -1));
    CALL("write of nothing", write(fd, buffer, 0));
    CALL("read of nothing", read(fd, buffer, 0));
    CALL("read of nothing to a bad pointer", read(fd, UNMAPPED, 0));

    CALL("seek from the end", lseek(fd, -5, SEEK_END));
    CALL("seek before the start", lseek(fd, -100, SEEK_CUR));
    CALL("seek, overflow", lseek(fd, LONG_MAX, SEEK_END));
    CALL("seek, unknown whence", lseek(fd, 0, 99));
    CALL("seek past the end", lseek(fd, 100000, SEEK_SET));
    VALUE("it changes no size", size_of(fd));
    CALL("read there", read(fd, buffer, 10));
    CALL("write there makes a hole", write(fd, "end", 3));
    VALUE("size", size_of(fd));
    memset(buffer, 1, sizeof buffer);
    CALL("read across the hole", pread(fd, buffer, 100003, 0));
    long sum = 0;
    for (int i = 11; i < 100000; i++)
        sum += buffer[i];
    VALUE("the hole is zeros", sum);
    check_line("behind it", "%.3s", buffer + 100000);

    CALL("truncate", ftruncate(fd, 5));
    VALUE("size", size_of(fd));
    CALL("grow", ftruncate(fd, 20));
    CALL("read what grew", pread(fd, buffer, 20, 0));
    check_line("bytes", "%.5s %d %d", buffer, buffer[5], buffer[19]);
    CALL("truncate by name", truncate("file", 3));
    CALL("truncate, negative", ftruncate(fd, -1));
    CALL("truncate a directory", truncate(".", 0));
    CALL("truncate what is missing", truncate("missing", 0));
    CALL("truncate a read-only descriptor", ftruncate(open("file", O_RDONLY), 0));
    CALL("fallocate", fallocate(fd, 0, 0, 10000));
    VALUE("size after it", size_of(fd));
    CALL("fallocate, keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
    VALUE("size after that", size_of(fd));
    memset(buffer, 'x', 10000);
    pwrite(fd, buffer, 10000, 0);
    CALL("punch a hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
    pread(fd, buffer, 10000, 0);
    check_line("around the hole", "%c%d%d%c", buffer[4095], buffer[4096], buffer[8191], buffer[8192]);
    CALL("punch without keep size", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    CALL("fallocate, length 0", fallocate(fd, 0, 0, 0));
    CALL("fallocate, negative", fallocate(fd, 0, -1, 10));
    CALL("fallocate, read-only descriptor", fallocate(open("file", O_RDONLY), 0, 0, 10));
    PTHREAD("posix_fallocate", posix_fallocate(fd, 0, 20000));
    VALUE("size after posix_fallocate", size_of(fd));

    // SEEK_DATA and SEEK_HOLE, with blocks of at most 64 KiB.
    int sparse = open("sparse", O_RDWR | O_CREAT, 0600);
    pwrite(sparse, "a", 1, 0);
    pwrite(sparse, "b", 1, 1 << 20);
    ftruncate(sparse, 3 << 20);
    fsync(sparse);
    CALL("data from 0", lseek(sparse, 0, SEEK_DATA));
    IS("hole from 0 before 1 MiB", lseek(sparse, 0, SEEK_HOLE) <= 65536);
    IS("data from 512 KiB at 1 MiB", lseek(sparse, 512 << 10, SEEK_DATA) == 1 << 20);
    IS("hole from 2 MiB at once", lseek(sparse, 2 << 20, SEEK_HOLE) == 2 << 20);
    CALL("data from 2 MiB", lseek(sparse, 2 << 20, SEEK_DATA));
    CALL("data past the end", lseek(sparse, 4 << 20, SEEK_DATA));
    CALL("hole past the end", lseek(sparse, 4 << 20, SEEK_HOLE));
    struct stat status;
    fstat(sparse, &status);
    IS("a sparse file has few blocks", status.st_blocks < 1024);

    struct iovec parts[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
    int vector = open("vector", O_RDWR | O_CREAT, 0600);
    CALL("writev", writev(vector, parts, 3));
    CALL("pwritev", pwritev(vector, parts, 1, 4));
    char a[5] = "", b[20] = "";
    struct iovec into[2] = {{a, 4}, {b, 20}};
    CALL("preadv", preadv(vector, into, 2, 0));
    check_line("read", "%s|%s", a, b);
    CALL("readv at the end", readv(vector, into, 2));
    CALL("preadv2, current offset", (lseek(vector, 1, SEEK_SET), preadv2(vector, into, 1, -1, 0)));
    VALUE("preadv2 moves it", lseek(vector, 0, SEEK_CUR));
    CALL("preadv2, unknown flag", preadv2(vector, into, 1, 0, 0x1000));
    CALL("readv, no parts", readv(vector, into, 0));
    CALL("readv, too many parts", readv(vector, into, 1025));
    CALL("readv, negative count", readv(vector, into, -1));
    CALL("readv, bad vector", readv(vector, UNMAPPED, 1));
    into[0].iov_len = (size_t)-1;
    CALL("readv, negative length", readv(vector, into, 2));
    parts[1].iov_base = UNMAPPED;
    CALL("writev, second part bad", pwritev(vector, parts, 3, 0));
    parts[0].iov_base = UNMAPPED;
    CALL("writev, first part bad", pwritev(vector, parts, 3, 0));

    CALL("write, bad buffer", write(fd, UNMAPPED, 10));
    CALL("write, kernel buffer", write(fd, KERNEL_ADDRESS, 10));
    CALL("read, bad buffer", pread(fd, UNMAPPED, 10, 0));
    CALL("read, kernel buffer", pread(fd, KERNEL_ADDRESS, 10, 0));
    CALL("read, negative length", read(fd, buffer, (size_t)-1));
    char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + PAGE, PAGE);
    CALL("read into a buffer that runs into a hole", pread(fd, edge + PAGE - 10, 20, 0));
    CALL("write from a buffer that runs into a hole", pwrite(fd, edge + PAGE - 10, 20, 0));
    CALL("closed descriptor, read", read(1000, buffer, 1));
    CALL("closed descriptor, write", write(-1, buffer, 1));
    CALL("closed descriptor, lseek", lseek(1000, 0, SEEK_SET));
    CALL("closed descriptor, fsync", fsync(1000));
    CALL("fsync", fsync(fd));
    CALL("fdatasync", fdatasync(fd));
    CALL("sync_file_range", sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE));
    CALL("sync_file_range, unknown flag", sync_file_range(fd, 0, 4096, 64));
    CALL("syncfs", syncfs(fd));
    CALL("fsync of a directory", fsync(open(".", O_RDONLY)));
    PTHREAD("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    PTHREAD("fadvise, unknown", posix_fadvise(fd, 0, 0, 99));
    PTHREAD("fadvise of a pipe", ({ int end[2]; REQUIRE(pipe(end) == 0); posix_fadvise(end[0], 0, 0, POSIX_FADV_NORMAL); }));
    // A large transfer, pattern checked.
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (char)(i * 31 >> 3);
    int large = open("large", O_RDWR | O_CREAT, 0600);
    CALL("write 1 MiB", write(large, buffer, sizeof buffer));
    CALL("write 1 MiB unaligned", pwrite(large, buffer, sizeof buffer, 777));
    static char back[1 << 20];
    CALL("read it back", pread(large, back, sizeof back, 777));
    IS("same bytes", memcmp(back, buffer, sizeof back) == 0);
    return 0;
}
