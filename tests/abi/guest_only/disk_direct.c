// O_DIRECT on ext4, on a disk with blocks of 512 bytes. The expectation was recorded on Linux 6.18, on ext4 on such a disk. How
// buffers have to be aligned differs from disk to disk, so theirs are.
#include "check.h"

static char *aligned;

static void contents(const char *name, int fd) {
    char bytes[16] = "";
    ssize_t got = pread(fd, bytes, 15, 0);
    check_line(name, "%zd %.15s", got, bytes);
}

int main(void) {
    const char *folder = getenv("TMPDIR");
    REQUIRE(chdir(folder && *folder ? folder : "/tmp") == 0);
    aligned = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(aligned != MAP_FAILED);
    int fd = open("direct", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600), plain = open("direct", O_RDWR);
    CALL_OK("open", fd);
    REQUIRE(fd >= 0 && plain >= 0);
    memset(aligned, 'd', 1 << 20);
    CALL("write", pwrite(fd, aligned, 65536, 0));
    contents("the page cache sees it", plain);
    CALL("write through the page cache", pwrite(plain, "plain", 5, 0));
    CALL("read", pread(fd, aligned, 4096, 0));
    check_line("sees that", "%.8s", aligned);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
    REQUIRE(map != MAP_FAILED);
    memcpy(map, "MAP", 3);
    CALL("read after a mapped write", pread(fd, aligned, 512, 0));
    check_line("sees that, too", "%.8s", aligned);
    memcpy(aligned, "direct again", 12);
    CALL("write of 512 bytes", pwrite(fd, aligned, 512, 0));
    check_line("the mapping sees it", "%.12s", map);
    CALL("write, offset not aligned", pwrite(fd, aligned, 512, 100));
    CALL("write, length not aligned", pwrite(fd, aligned, 100, 0));
    CALL("read, offset not aligned", pread(fd, aligned, 512, 1));
    CALL("read, length not aligned", pread(fd, aligned, 511, 0));
    CALL("write of nothing", pwrite(fd, aligned, 0, 7));
    CALL("read of nothing", pread(fd, aligned, 0, 7));
    CALL("read past the end, not aligned", pread(fd, aligned, 100, 70001));
    CALL("truncate to an odd size", ftruncate(fd, 1000));
    CALL("read up to the end", pread(fd, aligned, 4096, 0));
    CALL("read of the last block", pread(fd, aligned, 4096, 512));
    CALL("write beyond the end", pwrite(fd, aligned, 512, 8192));
    struct stat status;
    fstat(fd, &status);
    VALUE("size", status.st_size);
    CALL("F_SETFL without O_DIRECT", fcntl(fd, F_SETFL, 0));
    CALL("then nothing need be aligned", pwrite(fd, aligned + 1, 3, 5));
    CALL("F_SETFL with O_DIRECT", fcntl(fd, F_SETFL, O_DIRECT));
    CALL("and again it must", pwrite(fd, aligned + 1, 3, 5));
    int appender = open("direct", O_WRONLY | O_APPEND | O_DIRECT);
    CALL("append", write(appender, aligned, 512));
    fstat(fd, &status);
    VALUE("size then", status.st_size);
    ftruncate(fd, 1001);
    CALL("append at an odd end", write(appender, aligned, 512));
    int synchronous = open("direct", O_RDWR | O_DIRECT | O_DSYNC);
    CALL("O_DIRECT and O_DSYNC", pwrite(synchronous, aligned, 4096, 0));
    CALL("offset", lseek(synchronous, 512, SEEK_SET));
    CALL("read at the offset", read(synchronous, aligned, 1024));
    VALUE("moves it", lseek(synchronous, 0, SEEK_CUR));
    CALL("1 MiB", pwrite(fd, aligned, 1 << 20, 0));
    CALL("read 1 MiB", pread(fd, aligned, 1 << 20, 0));
    unlink("direct");
    return 0;
}
