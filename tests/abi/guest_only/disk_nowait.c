// RWF_NOWAIT on ext4: a read has what is in memory, and does not wait for the rest; buffered writes have no such thing. As on Linux 6.1;
// there it is less certain which pages are in memory, so it is no comparison.
#include "check.h"
#include <sys/uio.h>

static char bytes[1 << 16];

static ssize_t now(int fd, size_t length, off_t offset) {
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    return preadv2(fd, &part, 1, offset, RWF_NOWAIT);
}

int main(void) {
    const char *folder = getenv("TMPDIR");
    REQUIRE(chdir(folder && *folder ? folder : "/tmp") == 0);
    int fd = open("nowait", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && write(fd, bytes, 20000) == 20000 && fsync(fd) == 0);
    CALL("what was just written", now(fd, sizeof bytes, 0));
    CALL("a part of it", now(fd, 100, 5000));
    CALL("at the end", now(fd, 100, 20000));
    CALL("past the end", now(fd, 100, 1 << 20));
    CALL("nothing", now(fd, 0, 0));
    REQUIRE(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    CALL("what is not in memory", now(fd, 100, 0));
    REQUIRE(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) == 0);
    CALL("a usual read", pread(fd, bytes, 100, 4096));
    CALL("after which it is there", now(fd, 4096, 4096));
    REQUIRE(lseek(fd, 5000, SEEK_SET) == 5000);
    CALL("at the file's own offset", now(fd, 96, -1));
    REQUIRE(lseek(fd, 8000, SEEK_SET) == 8000);
    CALL("up to what is not there", now(fd, 192, -1));
    VALUE("the offset moves", lseek(fd, 0, SEEK_CUR));
    struct iovec part = {.iov_base = bytes, .iov_len = 10};
    CALL("a write", pwritev2(fd, &part, 1, 0, RWF_NOWAIT));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CALL("an empty pipe", now(ends[0], 10, -1));
    REQUIRE(write(ends[1], "abc", 3) == 3);
    CALL("a pipe", now(ends[0], 10, -1));
    return 0;
}
