// fsync and its kin: of what they are possible, O_SYNC and O_DSYNC, msync, sync_file_range, fadvise, readahead.
#include "storage.h"
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void of_all_kinds(void) {
    int fd = storage_file("file");
    storage_fill(fd, 's', 10000, 0);
    int ends[2], pair[2];
    REQUIRE(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && mkfifo("fifo", 0600) == 0);
    const struct {
        const char *name;
        int fd;
    } all[] = {
        {"file", fd},
        {"read-only file", open("file", O_RDONLY)},
        {"directory", open(".", O_RDONLY)},
        {"O_PATH", open("file", O_PATH)},
        {"pipe", ends[1]},
        {"named pipe", open("fifo", O_RDWR)},
        {"socket", pair[0]},
        {"event counter", eventfd(0, 0)},
        {"/dev/null", open("/dev/null", O_RDWR)},
        {"closed", 1000},
        {"negative", -1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[100];
        snprintf(name, sizeof name, "fsync of %s", all[i].name);
        CALL(name, fsync(all[i].fd));
        snprintf(name, sizeof name, "fdatasync of %s", all[i].name);
        CALL(name, fdatasync(all[i].fd));
        snprintf(name, sizeof name, "sync_file_range of %s", all[i].name);
        CALL(name, sync_file_range(all[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    }
    CALL("syncfs", syncfs(fd));
    CALL("syncfs of O_PATH", syncfs(open("file", O_PATH)));
    CALL("syncfs of a closed descriptor", syncfs(1000));
    sync();
}

static void ranges(void) {
    int fd = storage_file("ranges");
    storage_fill(fd, 'r', 300000, 0);
    CALL("nothing asked", sync_file_range(fd, 0, 4096, 0));
    CALL("write", sync_file_range(fd, 0, 100000, SYNC_FILE_RANGE_WRITE));
    CALL("wait", sync_file_range(fd, 0, 100000, SYNC_FILE_RANGE_WAIT_BEFORE));
    CALL("all three", sync_file_range(fd, 100000, 0, 7));
    CALL("past the end", sync_file_range(fd, 1 * GIB, 4096, 7));
    CALL("unaligned", sync_file_range(fd, 5, 3, 7));
    CALL("unknown flag", sync_file_range(fd, 0, 4096, 8));
    CALL("negative offset", sync_file_range(fd, -1, 4096, 7));
    CALL("negative length", sync_file_range(fd, 0, -1, 7));
    CALL("overflow", sync_file_range(fd, LONG_MAX, LONG_MAX, 7));
    PTHREAD("will need", posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
    PTHREAD("do not need", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    check_line("what is not needed is not lost", "%08x", storage_hash_of(fd));
    storage_fill(fd, 'q', 5000, 1000);
    PTHREAD("do not need what is dirty", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    check_line("it is not lost either", "%08x", storage_hash_of(fd));
    PTHREAD("do not need a part of a page", posix_fadvise(fd, 5000, 100, POSIX_FADV_DONTNEED));
    PTHREAD("random", posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
    PTHREAD("sequential", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    PTHREAD("no reuse", posix_fadvise(fd, 0, 0, POSIX_FADV_NOREUSE));
    PTHREAD("normal", posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
    PTHREAD("unknown advice", posix_fadvise(fd, 0, 0, 6));
    PTHREAD("negative length of advice", posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL));
    PTHREAD("advice past the end", posix_fadvise(fd, 1 * GIB, 10, POSIX_FADV_WILLNEED));
    PTHREAD("advice on a closed descriptor", posix_fadvise(1000, 0, 0, POSIX_FADV_NORMAL));
    PTHREAD("advice on O_PATH", posix_fadvise(open("ranges", O_PATH), 0, 0, POSIX_FADV_NORMAL));
    CALL("readahead", readahead(fd, 0, 100000));
    CALL("readahead past the end", readahead(fd, 1 * GIB, 4096));
    CALL("readahead of a write-only descriptor", readahead(open("ranges", O_WRONLY), 0, 4096));
    CALL("readahead of a directory", readahead(open(".", O_RDONLY), 0, 4096));
}

static void flags(void) {
    int fd = open("flags", O_RDWR | O_CREAT | O_SYNC, 0644);
    CALL("O_SYNC write", write(fd, "sync", 4));
    IS("the flag is there", (fcntl(fd, F_GETFL) & O_SYNC) == O_SYNC);
    CALL("it cannot be cleared", fcntl(fd, F_SETFL, 0));
    IS("it is still there", (fcntl(fd, F_GETFL) & O_SYNC) == O_SYNC);
    int data = open("flags", O_RDWR | O_DSYNC);
    CALL("O_DSYNC write", pwrite(data, "data", 4, 100));
    IS("that flag alone", (fcntl(data, F_GETFL) & O_SYNC) == O_DSYNC);
    int both = open("flags", O_RDWR | O_SYNC | O_APPEND);
    CALL("O_SYNC and O_APPEND", write(both, "end", 3));
    VALUE("size", storage_size(fd));
    CALL("vector", writev(both, &(struct iovec){"v", 1}, 1));
    CALL("write of nothing", write(fd, "", 0));
}

static void mappings(void) {
    int fd = storage_file("mapped");
    ftruncate(fd, 20000);
    char *map = mmap(NULL, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    for (int round = 0; round < 3; round++) {
        memset(map + 100 * round, 'A' + round, 5000);
        CALL("msync", msync(map, 5 * PAGE, MS_SYNC));
        check_line("contents", "%08x", storage_hash_of(fd));
        // The page is clean now: the next write has to make it dirty again.
        map[12000] = (char)('a' + round);
        CALL("fsync", fsync(fd));
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        check_line("contents then", "%08x", storage_hash_of(fd));
    }
    CALL("MS_ASYNC", msync(map, PAGE, MS_ASYNC));
    CALL("MS_INVALIDATE", msync(map, PAGE, MS_INVALIDATE));
    CALL("MS_SYNC and MS_INVALIDATE", msync(map, PAGE, MS_SYNC | MS_INVALIDATE));
    CALL("MS_SYNC and MS_ASYNC", msync(map, PAGE, MS_SYNC | MS_ASYNC));
    CALL("unknown flag", msync(map, PAGE, 64));
    CALL("unaligned", msync(map + 1, PAGE, MS_SYNC));
    CALL("of nothing", msync(map, 0, MS_SYNC));
    munmap(map + PAGE, PAGE);
    CALL("with a hole", msync(map, 3 * PAGE, MS_SYNC));
    CALL("a write through the mapping, after its file is closed", (close(fd), map[3] = 'z', msync(map, PAGE, MS_SYNC)));
    check_line("is in the file", "%08x", storage_hash_of(open("mapped", O_RDONLY)));
}

int main(void) {
    check_enter_scratch();
    of_all_kinds();
    ranges();
    flags();
    mappings();
    return 0;
}
