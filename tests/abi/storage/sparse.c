// Files with holes, files over 4 GiB, SEEK_DATA and SEEK_HOLE, truncation at odd places.
#include "storage.h"
#include <sys/uio.h>

static void seek_line(const char *name, int fd, off_t at, int whence) {
    errno = 0;
    off_t found = lseek(fd, at, whence);
    check_result(name, found, errno);
}

static void byte_line(const char *name, int fd, off_t at) {
    char byte = 0;
    ssize_t got = pread(fd, &byte, 1, at);
    check_line(name, "%zd %d", got, byte);
}

// All data and holes, by SEEK_DATA and SEEK_HOLE.
static void map_line(const char *name, int fd) {
    char text[1000] = "";
    size_t used = 0;
    off_t at = 0, data;
    while (used < sizeof text - 60 && (data = lseek(fd, at, SEEK_DATA)) != -1) {
        at = lseek(fd, data, SEEK_HOLE);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%ld-%ld", used ? " " : "", (long)data, (long)at);
    }
    check_line(name, "%s", text);
}

static void regions(void) {
    int fd = storage_file("regions");
    map_line("an empty file", fd);
    seek_line("data in it", fd, 0, SEEK_DATA);
    seek_line("a hole in it", fd, 0, SEEK_HOLE);
    ftruncate(fd, 1 * MIB);
    map_line("a file that is one hole", fd);
    seek_line("data in that", fd, 0, SEEK_DATA);
    seek_line("a hole in that", fd, 0, SEEK_HOLE);
    seek_line("a hole at its last byte", fd, MIB - 1, SEEK_HOLE);
    seek_line("a hole at its end", fd, MIB, SEEK_HOLE);
    storage_fill(fd, 'a', 4096, 64 * KIB);
    storage_fill(fd, 'b', 1, 512 * KIB);
    storage_fill(fd, 'c', 1, MIB - 1);
    map_line("before it is written back", fd);
    fsync(fd);
    map_line("and after", fd);
    seek_line("data from inside data", fd, 65 * KIB, SEEK_DATA);
    seek_line("a hole from inside data", fd, 65 * KIB, SEEK_HOLE);
    seek_line("data from inside a hole", fd, 70 * KIB, SEEK_DATA);
    seek_line("a hole from inside a hole", fd, 70 * KIB, SEEK_HOLE);
    seek_line("negative", fd, -1, SEEK_DATA);
    seek_line("negative, hole", fd, -1, SEEK_HOLE);
    VALUE("the offset is where it found", (lseek(fd, 0, SEEK_DATA), lseek(fd, 0, SEEK_CUR)));
    seek_line("a failed one", fd, 2 * MIB, SEEK_DATA);
    VALUE("moves nothing", lseek(fd, 0, SEEK_CUR));
    ftruncate(fd, 600 * KIB);
    map_line("after truncation", fd);
    ftruncate(fd, 70 * KIB + 1);
    map_line("and another", fd);
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * KIB, 4096);
    map_line("and a punch", fd);
    int directory = open(".", O_RDONLY);
    IS("of a directory the end is no data", lseek(directory, LONG_MAX, SEEK_DATA) == -1);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    seek_line("of a pipe", ends[0], 0, SEEK_DATA);
}

static void large(void) {
    int fd = storage_file("large");
    CALL("write at 4 GiB - 1", pwrite(fd, "ab", 2, 4 * GIB - 1));
    VALUE("size", storage_size(fd));
    CALL("write at 6 GiB", pwrite(fd, "c", 1, 6 * GIB));
    CALL("write at 100 GiB", pwrite(fd, "d", 1, 100 * GIB));
    VALUE("size then", storage_size(fd));
    fsync(fd);
    IS("few blocks", storage_kib(fd) <= 64);
    map_line("regions", fd);
    byte_line("byte below 4 GiB", fd, 4 * GIB - 1);
    byte_line("byte at 4 GiB", fd, 4 * GIB);
    byte_line("no byte at its low 32 bits", fd, 0);
    byte_line("byte at 6 GiB", fd, 6 * GIB);
    byte_line("at the end", fd, 100 * GIB + 1);
    CALL("offset past 4 GiB", lseek(fd, 6 * GIB - 1, SEEK_SET));
    char three[3] = "..";
    CALL("read across", read(fd, three, 3));
    check_line("bytes", "%d%c%d", three[0], three[1], three[2]);
    VALUE("offset", lseek(fd, 0, SEEK_CUR));
    char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 6 * GIB);
    REQUIRE(map != MAP_FAILED);
    check_line("mapped", "%c", map[0]);
    map[1] = 'e';
    CALL("msync", msync(map, PAGE, MS_SYNC));
    byte_line("read what was mapped", fd, 6 * GIB + 1);
    munmap(map, PAGE);
    CALL("truncate to 5 GiB", ftruncate(fd, 5 * GIB));
    map_line("regions then", fd);
    CALL("grow to 7 GiB", ftruncate(fd, 7 * GIB));
    byte_line("what was at 6 GiB", fd, 6 * GIB);
    CALL("the largest offset", pwrite(fd, "x", 1, LONG_MAX));
    CALL("size of the largest offset", ftruncate(fd, LONG_MAX));
    CALL("seek to the largest offset plus one", lseek(fd, LONG_MAX, SEEK_SET) == -1 ? -1 : 0);
    CALL("truncate to nothing", ftruncate(fd, 0));
    VALUE("blocks", storage_kib(fd));
}

static void edges(void) {
    int fd = storage_file("edges");
    storage_fill(fd, 'a', 10000, 0);
    char *map = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    map[10001] = 'x';
    CALL("grow over what a mapping left behind the end", ftruncate(fd, 12000));
    storage_runs("zeros", fd, 12288);
    ftruncate(fd, 5000);
    check_line("the mapping after truncation", "%c %d", map[4999], map[5000]);
    ftruncate(fd, 9000);
    storage_runs("never what was there", fd, 12288);
    storage_fill(fd, 'b', 10, 11000);
    storage_runs("a write beyond the end", fd, 12288);
    munmap(map, 12288);
    for (long size = 4095; size <= 4097; size++) {
        ftruncate(fd, size);
        ftruncate(fd, 8193);
        check_line("truncate and grow around a page", "%08x", storage_hash_of(fd));
    }
    struct iovec parts[3] = {{"one", 3}, {"", 0}, {"two", 3}};
    CALL("vector at the page's end", pwritev(fd, parts, 3, 4093));
    storage_runs("two pages", fd, 8193);
    close(fd);
    fd = storage_file("small");
    for (int i = 0; i < 300; i++)
        storage_fill(fd, (char)('a' + i % 26), 7, i * 37);
    check_line("many small pieces", "%08x", storage_hash_of(fd));
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    check_line("and from the disk", "%08x", storage_hash_of(fd));
}

int main(void) {
    check_enter_scratch();
    regions();
    large();
    edges();
    return 0;
}
