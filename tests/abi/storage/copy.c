// copy_file_range, sendfile and splice between files.
#include "storage.h"
#include <sys/sendfile.h>

static char bytes[300 * KIB];

static int source(const char *name) {
    int fd = storage_file(name);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 >> 4);
    REQUIRE(write(fd, bytes, sizeof bytes) == sizeof bytes);
    REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

// Copies until all is copied or nothing more comes; each call may copy less.
static long copy_all(int from, off_t *from_at, int to, off_t *to_at, size_t count) {
    long total = 0;
    ssize_t now = 0;
    while (count > (size_t)total && (now = copy_file_range(from, from_at, to, to_at, count - (size_t)total, 0)) > 0)
        total += now;
    return count > (size_t)total && now == -1 && total == 0 ? -1 : total;
}

static void ranges(void) {
    int from = source("from"), to = storage_file("to");
    CALL("copy all", copy_all(from, NULL, to, NULL, sizeof bytes));
    check_line("offsets", "%ld %ld", (long)lseek(from, 0, SEEK_CUR), (long)lseek(to, 0, SEEK_CUR));
    IS("same contents", storage_hash_of(from) == storage_hash_of(to));
    CALL("at the end", copy_file_range(from, NULL, to, NULL, 100, 0));
    off_t in = 1000, out = 5;
    CALL("with offsets", copy_all(from, &in, to, &out, 10000));
    check_line("they move", "%ld %ld", (long)in, (long)out);
    check_line("the files' own do not", "%ld %ld", (long)lseek(from, 0, SEEK_CUR), (long)lseek(to, 0, SEEK_CUR));
    check_line("contents", "%08x", storage_hash_of(to));
    in = (off_t)sizeof bytes - 10;
    out = 1 * MIB;
    CALL("beyond the end, into a hole", copy_all(from, &in, to, &out, 1000));
    VALUE("size", storage_size(to));
    in = 2 * MIB;
    CALL("from past the end", copy_file_range(from, &in, to, &out, 10, 0));
    in = 0;
    out = 100000;
    CALL("within a file", copy_all(from, &in, from, &out, 100000));
    check_line("contents then", "%08x", storage_hash_of(from));
    in = 0;
    out = 10;
    CALL("overlapping", copy_file_range(from, &in, from, &out, 100, 0));
    CALL("nothing", copy_file_range(from, NULL, to, NULL, 0, 0));
    CALL("flags", copy_file_range(from, NULL, to, NULL, 10, 1));
    in = -1;
    CALL("negative offset", copy_file_range(from, &in, to, NULL, 10, 0));
    int reader = open("to", O_RDONLY), writer = open("from", O_WRONLY), appender = open("to", O_WRONLY | O_APPEND);
    CALL("to a read-only descriptor", copy_file_range(from, NULL, reader, NULL, 10, 0));
    CALL("from a write-only descriptor", copy_file_range(writer, NULL, to, NULL, 10, 0));
    CALL("to one that appends", copy_file_range(from, NULL, appender, NULL, 10, 0));
    int directory = open(".", O_RDONLY), ends[2];
    REQUIRE(pipe(ends) == 0);
    CALL("from a directory", copy_file_range(directory, NULL, to, NULL, 10, 0));
    CALL("from a pipe", copy_file_range(ends[0], NULL, to, NULL, 10, 0));
    CALL("to a pipe", copy_file_range(from, NULL, ends[1], NULL, 10, 0));
    CALL("bad pointer", copy_file_range(from, UNMAPPED, to, NULL, 10, 0));
    CALL("no such descriptor", copy_file_range(1000, NULL, to, NULL, 10, 0));
}

static void sending(void) {
    int from = source("from"), to = storage_file("sent");
    CALL("sendfile", sendfile(to, from, NULL, 100000));
    check_line("both move", "%ld %ld", (long)lseek(from, 0, SEEK_CUR), (long)lseek(to, 0, SEEK_CUR));
    off_t at = 200000;
    CALL("with an offset", sendfile(to, from, &at, 1 * MIB));
    VALUE("which moves", at);
    check_line("the file's own does not", "%ld", (long)lseek(from, 0, SEEK_CUR));
    check_line("contents", "%08x %ld", storage_hash_of(to), storage_size(to));
    CALL("past the end", sendfile(to, from, &at, 10));
    at = -5;
    CALL("negative offset", sendfile(to, from, &at, 10));
    int reader = open("sent", O_RDONLY), appender = open("sent", O_WRONLY | O_APPEND);
    CALL("to a read-only descriptor", sendfile(reader, from, NULL, 10));
    CALL("to one that appends", sendfile(appender, from, NULL, 10));
    CALL("count 0", sendfile(to, from, NULL, 0));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    at = 0;
    CALL("to a pipe", sendfile(ends[1], from, &at, 1000));
    static char out[2000];
    CALL("which gets it", read(ends[0], out, sizeof out));
    IS("the same", memcmp(out, bytes, 1000) == 0);
    CALL("from a pipe", sendfile(to, ends[0], NULL, 10));
    CALL("from a pipe, offset", sendfile(to, ends[0], &at, 10));
    loff_t where = 4000;
    CALL("splice to a pipe", splice(from, &where, ends[1], NULL, 5000, 0));
    loff_t there = 100;
    CALL("splice from a pipe", splice(ends[0], NULL, to, &there, 5000, 0));
    check_line("offsets", "%ld %ld", (long)where, (long)there);
    check_line("contents then", "%08x", storage_hash_of(to));
}

int main(void) {
    check_enter_scratch();
    ranges();
    sending();
    return 0;
}
