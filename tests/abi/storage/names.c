// renameat2, linkat, O_TMPFILE-less hard links, utimensat, statx and extended attributes.
#include "storage.h"
#include <sys/xattr.h>

static void touch(const char *name, char value) {
    int fd = storage_file(name);
    storage_fill(fd, value, 10, 0);
    close(fd);
}

static char first_of(const char *name) {
    char value = '-';
    int fd = open(name, O_RDONLY);
    if (fd >= 0 && pread(fd, &value, 1, 0) != 1)
        value = '0';
    close(fd);
    return value;
}

static void renames(void) {
    touch("a", 'a');
    touch("b", 'b');
    REQUIRE(mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0 && mkdir("e/f", 0755) == 0);
    REQUIRE(symlink("a", "s") == 0);
#define RENAME(name, from, to, flags) CALL(name, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags))
    RENAME("NOREPLACE of what is there", "a", "b", RENAME_NOREPLACE);
    RENAME("NOREPLACE", "a", "c", RENAME_NOREPLACE);
    check_line("names", "%c %c %c", first_of("a"), first_of("b"), first_of("c"));
    RENAME("EXCHANGE", "b", "c", RENAME_EXCHANGE);
    check_line("names then", "%c %c", first_of("b"), first_of("c"));
    RENAME("EXCHANGE with nothing", "b", "missing", RENAME_EXCHANGE);
    RENAME("EXCHANGE of a file and a directory", "b", "d", RENAME_EXCHANGE);
    struct stat status;
    IS("b is a directory now", stat("b", &status) == 0 && S_ISDIR(status.st_mode));
    RENAME("EXCHANGE back", "b", "d", RENAME_EXCHANGE);
    RENAME("EXCHANGE of a directory and one inside of it", "e", "e/f", RENAME_EXCHANGE);
    RENAME("EXCHANGE and NOREPLACE", "b", "c", RENAME_EXCHANGE | RENAME_NOREPLACE);
    RENAME("EXCHANGE and WHITEOUT", "b", "c", RENAME_EXCHANGE | RENAME_WHITEOUT);
    RENAME("unknown flag", "b", "c", 0x80);
    RENAME("onto itself", "b", "b", 0);
    RENAME("NOREPLACE onto itself", "b", "b", RENAME_NOREPLACE);
    RENAME("EXCHANGE with itself", "b", "b", RENAME_EXCHANGE);
    RENAME("a directory into itself", "e", "e/g", 0);
    RENAME("a directory onto a file", "d", "b", 0);
    RENAME("a file onto a directory", "b", "d", 0);
    RENAME("a directory onto one that is not empty", "d", "e", 0);
    RENAME("a directory onto an empty one", "e/f", "d", 0);
    RENAME("a link, not what it leads to", "s", "t", 0);
    IS("t is a link", lstat("t", &status) == 0 && S_ISLNK(status.st_mode));
    RENAME("what is missing", "missing", "x", 0);
    RENAME("to a missing directory", "b", "missing/x", 0);
    RENAME("dot", ".", "x", 0);
    RENAME("dot dot", "d/..", "x", 0);
    int fd = open("b", O_RDWR);
    RENAME("over an open file", "c", "b", 0);
    fstat(fd, &status);
    check_line("which lives on without a name", "%ld links, %ld bytes", (long)status.st_nlink, (long)status.st_size);
    storage_fill(fd, 'q', 5, 0);
    storage_runs("and can be written", fd, 100);
}

static void links(void) {
    touch("file", 'f');
    REQUIRE(symlink("file", "symlink") == 0 && mkdir("directory", 0755) == 0);
    struct stat status;
    CALL("link", link("file", "second"));
    CALL("link to what is there", link("file", "second"));
    CALL("link of a directory", link("directory", "third"));
    CALL("link of what is missing", link("missing", "third"));
    CALL("link of a symlink", linkat(AT_FDCWD, "symlink", AT_FDCWD, "third", 0));
    IS("is a symlink", lstat("third", &status) == 0 && S_ISLNK(status.st_mode));
    CALL("AT_SYMLINK_FOLLOW", linkat(AT_FDCWD, "symlink", AT_FDCWD, "fourth", AT_SYMLINK_FOLLOW));
    IS("is the file", lstat("fourth", &status) == 0 && S_ISREG(status.st_mode));
    VALUE("links", status.st_nlink);
    int fd = open("file", O_RDONLY);
    CALL("AT_EMPTY_PATH", linkat(fd, "", AT_FDCWD, "fifth", AT_EMPTY_PATH));
    int path = open("file", O_PATH);
    CALL("AT_EMPTY_PATH of O_PATH", linkat(path, "", AT_FDCWD, "sixth", AT_EMPTY_PATH));
    CALL("empty path without it", linkat(fd, "", AT_FDCWD, "seventh", 0));
    CALL("AT_EMPTY_PATH of a directory", linkat(open("directory", O_RDONLY), "", AT_FDCWD, "seventh", AT_EMPTY_PATH));
    CALL("unknown flag", linkat(AT_FDCWD, "file", AT_FDCWD, "seventh", 0x8));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    CALL("by /proc", linkat(AT_FDCWD, name, AT_FDCWD, "seventh", AT_SYMLINK_FOLLOW));
    fstat(fd, &status);
    VALUE("links in the end", status.st_nlink);
    for (const char *const *each = (const char *const[]){"file", "second", "fourth", "fifth", "sixth", "seventh", NULL}; *each; each++)
        unlink(*each);
    fstat(fd, &status);
    VALUE("and without any", status.st_nlink);
    CALL("which cannot be linked again", linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
}

static void times(void) {
    touch("times", 't');
    struct stat status;
    const struct timespec both[2] = {{1000000000, 123456789}, {2000000000, 987654321}};
    CALL("utimensat", utimensat(AT_FDCWD, "times", both, 0));
    stat("times", &status);
    check_line("times", "%ld.%09ld %ld.%09ld", status.st_atim.tv_sec, status.st_atim.tv_nsec, status.st_mtim.tv_sec,
               status.st_mtim.tv_nsec);
    const struct timespec omit[2] = {{5, UTIME_OMIT}, {1234, 5678}};
    CALL("UTIME_OMIT", utimensat(AT_FDCWD, "times", omit, 0));
    stat("times", &status);
    check_line("one is kept", "%ld.%09ld %ld.%09ld", status.st_atim.tv_sec, status.st_atim.tv_nsec,
               status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    CALL("UTIME_NOW", utimensat(AT_FDCWD, "times", now, 0));
    stat("times", &status);
    IS("is now", status.st_atim.tv_sec > 1600000000 && status.st_mtim.tv_sec == 1234);
    const struct timespec wrong[2] = {{0, 1000000000}, {0, 0}};
    CALL("too many nanoseconds", utimensat(AT_FDCWD, "times", wrong, 0));
    const struct timespec early[2] = {{-1000, 5}, {-1, 999999999}};
    CALL("before 1970", utimensat(AT_FDCWD, "times", early, 0));
    stat("times", &status);
    check_line("times before 1970", "%ld.%09ld %ld.%09ld", status.st_atim.tv_sec, status.st_atim.tv_nsec,
               status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    REQUIRE(symlink("times", "link") == 0);
    CALL("of a link", utimensat(AT_FDCWD, "link", both, AT_SYMLINK_NOFOLLOW));
    lstat("link", &status);
    VALUE("the link's", status.st_mtim.tv_sec);
    CALL("unknown flag", utimensat(AT_FDCWD, "times", both, 0x4));
    CALL("missing", utimensat(AT_FDCWD, "missing", both, 0));
    CALL("no path", syscall(SYS_utimensat, open("times", O_RDONLY), NULL, both, 0));
    stat("times", &status);
    VALUE("is the descriptor's file", status.st_mtim.tv_sec);
}

static void extended(void) {
    touch("statx", 'x');
    struct statx s;
    CALL("statx", statx(AT_FDCWD, "statx", 0, STATX_BASIC_STATS | STATX_BTIME, &s));
    IS("all that was asked for", (s.stx_mask & (STATX_BASIC_STATS | STATX_BTIME)) == (STATX_BASIC_STATS | STATX_BTIME));
    check_line("mode, links, size", "%o %u %llu", s.stx_mode, s.stx_nlink, (unsigned long long)s.stx_size);
    VALUE("block size", s.stx_blksize);
    IS("born before it was changed", s.stx_btime.tv_sec <= s.stx_mtime.tv_sec);
    CALL("AT_EMPTY_PATH", statx(open("statx", O_RDONLY), "", AT_EMPTY_PATH, STATX_SIZE, &s));
    VALUE("size", s.stx_size);
    CALL("AT_STATX_FORCE_SYNC", statx(AT_FDCWD, "statx", AT_STATX_FORCE_SYNC, STATX_SIZE, &s));
    CALL("both kinds of sync", statx(AT_FDCWD, "statx", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &s));
    CALL("reserved bit of the mask", statx(AT_FDCWD, "statx", 0, 0x80000000u, &s));
    CALL("unknown flag of statx", statx(AT_FDCWD, "statx", 0x1, STATX_SIZE, &s));
    char value[300];
    CALL("setxattr", setxattr("statx", "user.one", "value", 5, 0));
    CALL("XATTR_CREATE of what is there", setxattr("statx", "user.one", "v", 1, XATTR_CREATE));
    CALL("XATTR_REPLACE of what is not", setxattr("statx", "user.two", "v", 1, XATTR_REPLACE));
    CALL("XATTR_REPLACE", setxattr("statx", "user.one", "longer value", 12, XATTR_REPLACE));
    CALL("its size", getxattr("statx", "user.one", NULL, 0));
    CALL("getxattr", getxattr("statx", "user.one", value, sizeof value));
    check_line("value", "%.12s", value);
    CALL("too small a buffer", getxattr("statx", "user.one", value, 3));
    CALL("empty value", setxattr("statx", "user.empty", "", 0, 0));
    CALL("getxattr of that", getxattr("statx", "user.empty", value, sizeof value));
    CALL("list", listxattr("statx", NULL, 0));
    CALL("removexattr", removexattr("statx", "user.one"));
    CALL("again", removexattr("statx", "user.one"));
    CALL("getxattr of what is gone", getxattr("statx", "user.one", value, sizeof value));
    CALL("no name space", setxattr("statx", "plain", "v", 1, 0));
    CALL("unknown name space", setxattr("statx", "other.name", "v", 1, 0));
    CALL("name that is too long", ({ char name[300] = "user."; memset(name + 5, 'n', 290); setxattr("statx", name, "v", 1, 0); }));
    CALL("unknown flag of setxattr", setxattr("statx", "user.one", "v", 1, 4));
    int fd = open("statx", O_RDONLY);
    memset(value, 'V', sizeof value);
    for (int i = 0; i < 8; i++) {
        char name[20];
        snprintf(name, sizeof name, "user.n%d", i);
        REQUIRE(fsetxattr(fd, name, value, 200, 0) == 0);
    }
    CALL("list of many", flistxattr(fd, NULL, 0));
    fsync(fd);
    CALL("one of many", fgetxattr(fd, "user.n5", value, sizeof value));
    REQUIRE(symlink("statx", "dangling") == 0);
    CALL("of a link", lsetxattr("dangling", "user.one", "v", 1, 0));
    REQUIRE(mkdir("attributes", 0755) == 0);
    CALL("of a directory", setxattr("attributes", "user.one", "v", 1, 0));
}

int main(void) {
    check_enter_scratch();
    renames();
    links();
    times();
    extended();
    return 0;
}
