// fallocate: what each mode does to size, blocks and contents, and what it refuses.
#include "storage.h"

#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE

static void preallocation(void) {
    int fd = storage_file("allocate");
    CALL("allocate", fallocate(fd, 0, 0, 100000));
    VALUE("size", storage_size(fd));
    IS("blocks for it", storage_kib(fd) >= 98);
    storage_runs("contents", fd, 100000);
    CALL("keep size", fallocate(fd, KEEP, 200000, 100000));
    VALUE("size is kept", storage_size(fd));
    IS("blocks for that", storage_kib(fd) >= 195);
    CALL("inside of what there is", fallocate(fd, 0, 5000, 100));
    VALUE("size stays", storage_size(fd));
    storage_fill(fd, 'a', 10000, 1000);
    storage_fill(fd, 'b', 10, 250000);
    VALUE("size after a write beyond", storage_size(fd));
    CALL("over what is written", fallocate(fd, 0, 0, 300000));
    storage_runs("nothing is lost", fd, 300000);
    CALL("truncate", ftruncate(fd, 1500));
    IS("gives blocks back", storage_kib(fd) <= 8);
    CALL("grow", ftruncate(fd, 20000));
    storage_runs("zeros", fd, 20000);
    CALL("allocate the hole", fallocate(fd, 0, 0, 20000));
    storage_runs("still zeros", fd, 20000);
    close(fd);
}

static void holes(void) {
    int fd = storage_file("holes");
    storage_fill(fd, 'x', 100000, 0);
    CALL("punch whole blocks", fallocate(fd, PUNCH, 8192, 16384));
    storage_runs("a hole", fd, 100000);
    CALL("punch inside a block", fallocate(fd, PUNCH, 100, 200));
    CALL("punch across blocks", fallocate(fd, PUNCH, 40000, 10000));
    storage_runs("holes", fd, 100000);
    VALUE("size", storage_size(fd));
    fsync(fd);
    long before = storage_kib(fd);
    CALL("punch what is a hole", fallocate(fd, PUNCH, 8192, 16384));
    CALL("punch past the end", fallocate(fd, PUNCH, 90000, 1 * MIB));
    VALUE("size is never changed", storage_size(fd));
    storage_runs("to the end", fd, 100000);
    IS("fewer blocks", storage_kib(fd) < before);
    CALL("punch far beyond the end", fallocate(fd, PUNCH, 1 * GIB, 4096));
    CALL("punch all", fallocate(fd, PUNCH, 0, 200000));
    storage_runs("nothing left", fd, 100000);
    VALUE("no blocks", storage_kib(fd));
    storage_fill(fd, 'y', 10, 50000);
    storage_runs("write into the hole", fd, 100000);
    close(fd);
}

static void mapped_holes(void) {
    int fd = storage_file("mapped");
    storage_fill(fd, 'm', 65536, 0);
    char *map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    map[5000] = 'n';
    CALL("punch under a mapping", fallocate(fd, PUNCH, 4096, 8192));
    check_line("the mapping sees it", "%c %d %d %c", map[4095], map[5000], map[12287], map[12288]);
    map[5000] = 'o';
    storage_runs("and a write there", fd, 65536);
    CALL("zero under a mapping", fallocate(fd, ZERO, 20000, 10000));
    check_line("the mapping sees that", "%c %d %d %c", map[19999], map[20000], map[29999], map[30000]);
    munmap(map, 65536);
    close(fd);
}

static void zeros(void) {
    int fd = storage_file("zeros");
    storage_fill(fd, 'z', 50000, 0);
    CALL("zero range", fallocate(fd, ZERO, 10000, 20000));
    storage_runs("zeros", fd, 50000);
    CALL("zero range past the end, keep size", fallocate(fd, ZERO | KEEP, 45000, 20000));
    VALUE("size is kept", storage_size(fd));
    CALL("zero range past the end", fallocate(fd, ZERO, 48000, 20000));
    VALUE("size grows", storage_size(fd));
    storage_runs("all", fd, 70000);
    IS("blocks are there", storage_kib(fd) >= 66);
    storage_fill(fd, 'q', 100, 60000);
    storage_runs("and can be written", fd, 70000);
    close(fd);
}

static void errors(void) {
    int fd = storage_file("errors");
    storage_fill(fd, 'e', 8192, 0);
    CALL("length 0", fallocate(fd, 0, 0, 0));
    CALL("negative length", fallocate(fd, 0, 0, -1));
    CALL("negative offset", fallocate(fd, 0, -1, 10));
    CALL("past the largest offset", fallocate(fd, 0, LONG_MAX - 10, 100));
    CALL("larger than a file can be", fallocate(fd, 0, LONG_MAX - 4096, 4096));
    CALL("punch without keep size", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    CALL("punch and zero", fallocate(fd, PUNCH | ZERO, 0, 4096));
    CALL("unknown mode", fallocate(fd, 0x4000, 0, 4096));
    CALL("no such descriptor", fallocate(1000, 0, 0, 4096));
    int reader = open("errors", O_RDONLY);
    CALL("read-only descriptor", fallocate(reader, 0, 0, 4096));
    CALL("punch, read-only descriptor", fallocate(reader, PUNCH, 0, 4096));
    int path = open("errors", O_PATH);
    CALL("O_PATH descriptor", fallocate(path, 0, 0, 4096));
    int directory = open(".", O_RDONLY);
    CALL("directory", fallocate(directory, 0, 0, 4096));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CALL("pipe", fallocate(ends[1], 0, 0, 4096));
    VALUE("none of which changed anything", storage_size(fd));
    storage_runs("nothing", fd, 8192);
    PTHREAD("posix_fallocate of a directory", posix_fallocate(directory, 0, 10));
    PTHREAD("posix_fallocate, length 0", posix_fallocate(fd, 0, 0));
    PTHREAD("posix_fallocate", posix_fallocate(fd, 10000, 5000));
    VALUE("size after it", storage_size(fd));
}

static void times(void) {
    int fd = storage_file("times");
    storage_fill(fd, 't', 8192, 0);
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct stat status;
    REQUIRE(futimens(fd, old) == 0);
    CALL("keep size", fallocate(fd, KEEP, 0, 4096));
    fstat(fd, &status);
    IS("inside of the file, as a write", status.st_mtim.tv_sec > 1000);
    REQUIRE(futimens(fd, old) == 0);
    CALL("punch", fallocate(fd, PUNCH, 0, 4096));
    fstat(fd, &status);
    IS("a hole is one, too", status.st_mtim.tv_sec > 1000);
}

int main(void) {
    check_enter_scratch();
    preallocation();
    holes();
    mapped_holes();
    zeros();
    errors();
    times();
    return 0;
}
