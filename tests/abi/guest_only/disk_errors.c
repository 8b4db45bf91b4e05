// A disk that fails: what reads, mappings, fsync and its kin say, and how often. What is expected is Linux's behaviour with such a
// disk, but for one thing: a page that could not be written stays dirty here, so that the next fsync which succeeds has written it.
// disk fault: write-once once
// disk fault: write always
// disk fault: read unreadable
#include "check.h"
#include <sys/uio.h>

enum { BYTES = 64 << 10 };

static sigjmp_buf back;
static volatile int code;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    code = info->si_code;
    siglongjmp(back, 1);
}

static void written_once(void) {
    int first = open("once", O_RDWR), second = open("once", O_RDWR);
    REQUIRE(first >= 0 && second >= 0);
    CALL("write", pwrite(first, "new!", 4, 0));
    CALL("fsync tells", fsync(first));
    CALL("but once", fsync(first));
    CALL("each open file is told", fdatasync(second));
    CALL("once", fdatasync(second));
    int third = open("once", O_RDWR);
    CALL("who opens after that is not", fsync(third));
    posix_fadvise(first, 0, 0, POSIX_FADV_DONTNEED);
    char text[5] = "";
    CALL("read it from the disk", pread(first, text, 4, 0));
    TEXT("it was written in the end", text);
    CALL("closing says nothing", close(first));
}

static void never_written(void) {
    int fd = open("always", O_RDWR);
    REQUIRE(fd >= 0);
    char *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    map[0] = 'm';
    CALL("msync tells", msync(map, BYTES, MS_SYNC));
    CALL("again, for it tried again", msync(map, BYTES, MS_SYNC));
    CALL("sync_file_range", sync_file_range(fd, 0, 0, 7));
    CALL("of other pages", sync_file_range(fd, 8192, 4096, SYNC_FILE_RANGE_WRITE));
    int synchronous = open("always", O_RDWR | O_DSYNC);
    CALL("a synchronous write", pwrite(synchronous, "x", 1, 10));
    CALL("RWF_DSYNC", pwritev2(fd, &(struct iovec){"y", 1}, 1, 20, RWF_DSYNC));
    CALL("fsync", fsync(fd));
    CALL("syncfs", syncfs(fd));
    char text[5] = "";
    CALL("memory has what was written", pread(fd, text, 1, 0));
    TEXT("namely", text);
    CALL("another file is all right", ({ int other = open("other", O_RDWR | O_CREAT, 0600); REQUIRE(write(other, "o", 1) == 1); fsync(other); }));
    munmap(map, BYTES);
    CALL("truncate", ftruncate(fd, 0));
    CALL("nothing is left to be written, but the failure of syncfs is still to be told", fsync(fd));
    CALL("and was", fsync(fd));
}

static void unreadable(void) {
    int fd = open("unreadable", O_RDWR);
    REQUIRE(fd >= 0);
    static char bytes[BYTES];
    CALL("read", pread(fd, bytes, 100, 0));
    CALL("again", pread(fd, bytes, 100, 0));
    CALL("read of the next page", pread(fd, bytes, 100, 4096));
    CALL("of all behind it", pread(fd, bytes, BYTES, 4096));
    CALL("a part of the page cannot be written", pwrite(fd, "part", 4, 100));
    char *map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    check_catch(SIGBUS, on_bus_error, SA_NODEFER);
    if (sigsetjmp(back, 1) == 0) {
        char value = *(volatile char *)map;
        check_line("mapped", "%c", value);
    } else {
        check_line("mapped", "SIGBUS, code %s", code == BUS_ADRERR ? "BUS_ADRERR" : "other");
    }
    check_line("mapped, the next page", "%c", *(volatile char *)(map + 4096));
    memset(bytes, 'w', sizeof bytes);
    CALL("all of the page can", pwrite(fd, bytes, 4096, 0));
    check_line("and is there", "%c", *(volatile char *)map);
    CALL("fsync", fsync(fd));
}

int main(void) {
    REQUIRE(chdir(getenv("TMPDIR")) == 0);
    written_once();
    never_written();
    unreadable();
    return 0;
}
