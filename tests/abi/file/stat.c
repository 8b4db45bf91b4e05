// stat and its relatives: each field that a program can foretell, statx, statfs, access, chmod, chown, times.
#include "check.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define SECONDS 1234567890

static void print_mode(const char *name, const char *path) {
    struct stat status;
    if (lstat(path, &status) == -1)
        check_line(name, "-1 %s", check_errno_name(errno));
    else
        check_line(name, "%o", status.st_mode);
}

static bool close_to_now(struct timespec stamp) {
    int64_t distance = check_now_ns(CLOCK_REALTIME) - ((int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec);
    // File times are those of the last timer tick.
    return distance > -1000000000 && distance < 60000000000;
}

int main(void) {
    check_enter_scratch();
    struct stat status, other;
    int fd = open("file", O_RDWR | O_CREAT, 0640);
    REQUIRE(fd >= 0 && write(fd, "12345", 5) == 5);
    CALL("stat", stat("file", &status));
    check_line("mode", "%o", status.st_mode);
    VALUE("links", status.st_nlink);
    VALUE("size", status.st_size);
    check_line("owner", "%d %d", status.st_uid, status.st_gid);
    VALUE("preferred block size", status.st_blksize);
    VALUE("device number of a regular file", status.st_rdev);
    IS("times are now", close_to_now(status.st_mtim) && close_to_now(status.st_ctim) && close_to_now(status.st_atim));
    CALL("fstat", fstat(fd, &other));
    IS("same file", status.st_ino == other.st_ino && status.st_dev == other.st_dev);
    CALL("stat of what is missing", stat("missing", &status));
    CALL("stat through a file", stat("file/x", &status));
    CALL("stat, empty name", stat("", &status));
    CALL("stat, bad buffer", syscall(SYS_stat, "file", UNMAPPED));
    CALL("stat, bad name", stat(UNMAPPED, &status));
    CALL("fstat, closed", fstat(1000, &status));
    CALL("fstatat, empty path", fstatat(fd, "", &status, AT_EMPTY_PATH));
    CALL("fstatat, empty path of the directory", fstatat(AT_FDCWD, "", &status, AT_EMPTY_PATH));
    IS("it is one", S_ISDIR(status.st_mode));
    CALL("fstatat, empty path without the flag", fstatat(fd, "", &status, 0));
    CALL("fstatat, unknown flag", fstatat(AT_FDCWD, "file", &status, 0x10));
    CALL("fstatat, not a directory", fstatat(fd, "x", &status, 0));
    mkdir("directory", 0750);
    print_mode("mode of a directory", "directory");
    symlink("file", "link");
    print_mode("mode of a link", "link");
    lstat("link", &status);
    VALUE("size of a link", status.st_size);
    stat("link", &status);
    VALUE("size through a link", status.st_size);
    link("file", "second");
    fstat(fd, &status);
    VALUE("links after link", status.st_nlink);
    stat("/dev/null", &status);
    check_line("/dev/null", "%o %u:%u", status.st_mode, major(status.st_rdev), minor(status.st_rdev));

    struct statx extended;
    CALL("statx", statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS | STATX_BTIME, &extended));
    HEX("basic fields present", extended.stx_mask & STATX_BASIC_STATS);
    check_line("statx", "%o %u %llu %u %u", extended.stx_mode, extended.stx_nlink, (unsigned long long)extended.stx_size,
               extended.stx_uid, extended.stx_gid);
    IS("statx agrees with stat", extended.stx_ino == other.st_ino &&
                                     makedev(extended.stx_dev_major, extended.stx_dev_minor) == other.st_dev);
    CALL("statx, empty path", statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &extended));
    CALL("statx, unknown flag", statx(AT_FDCWD, "file", 0x8, STATX_SIZE, &extended));
    CALL("statx, reserved mask", statx(AT_FDCWD, "file", 0, 0x80000000U, &extended));
    CALL("statx, both syncs", statx(AT_FDCWD, "file", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &extended));
    CALL("statx, missing", statx(AT_FDCWD, "missing", 0, STATX_SIZE, &extended));
    CALL("statx of a link itself", statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &extended));
    check_line("its type", "%o", extended.stx_mode & S_IFMT);
    CALL("statx, bad buffer", statx(AT_FDCWD, "file", 0, STATX_SIZE, UNMAPPED));

    CALL("chmod", chmod("file", 04751));
    print_mode("mode", "file");
    CALL("fchmod", fchmod(fd, 0600));
    print_mode("mode", "file");
    CALL("chmod through a link", chmod("link", 0644));
    print_mode("mode", "file");
    print_mode("mode of the link", "link");
    CALL("chmod of what is missing", chmod("missing", 0));
    CALL("fchmodat", fchmodat(AT_FDCWD, "directory", 0700, 0));
    print_mode("mode", "directory");
    CALL("chown", chown("file", 12, 34));
    stat("file", &status);
    check_line("owner", "%d %d", status.st_uid, status.st_gid);
    chmod("file", 06755);
    CALL("chown, one only", chown("file", -1, 56));
    stat("file", &status);
    check_line("owner and mode", "%d %d %o", status.st_uid, status.st_gid, status.st_mode & 07777);
    CALL("lchown", lchown("link", 7, 8));
    lstat("link", &status);
    check_line("owner of the link", "%d %d", status.st_uid, status.st_gid);
    CALL("fchownat, empty path", fchownat(fd, "", 0, 0, AT_EMPTY_PATH));
    fstat(fd, &status);
    check_line("owner", "%d %d", status.st_uid, status.st_gid);

    struct timespec times[2] = {{SECONDS, 111}, {SECONDS + 1, 222}};
    CALL("utimensat", utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &status);
    check_line("times", "%ld %ld", status.st_atim.tv_sec, status.st_mtim.tv_sec);
    check_line("nanoseconds", "%ld %ld", status.st_atim.tv_nsec, status.st_mtim.tv_nsec);
    IS("change time is now", close_to_now(status.st_ctim));
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    CALL("omit and now", futimens(fd, times));
    fstat(fd, &status);
    VALUE("omitted", status.st_atim.tv_sec);
    IS("now", close_to_now(status.st_mtim));
    times[1].tv_nsec = 2000000000;
    CALL("bad nanoseconds", utimensat(AT_FDCWD, "file", times, 0));
    CALL("missing", utimensat(AT_FDCWD, "missing", NULL, 0));
    times[0] = times[1] = (struct timespec){SECONDS, 0};
    CALL("of a link itself", utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
    lstat("link", &status);
    VALUE("its time", status.st_mtim.tv_sec);
    times[0].tv_sec = times[1].tv_sec = -5;
    CALL("before 1970", utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &status);
    VALUE("time", status.st_mtim.tv_sec);
    times[0].tv_sec = times[1].tv_sec = 5000000000;
    CALL("after 2106", utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &status);
    VALUE("time", status.st_mtim.tv_sec);
    int64_t before = check_now_ns(CLOCK_REALTIME);
    check_sleep_ms(30);
    write(fd, "x", 1);
    fstat(fd, &status);
    IS("a write sets both times", status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec > before &&
                                      status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec > before);

    chmod("file", 0);
    CALL("access, exists", access("file", F_OK));
    CALL("access, root reads and writes all", access("file", R_OK | W_OK));
    CALL("access, execute needs a bit", access("file", X_OK));
    chmod("file", 0001);
    CALL("access, execute with one", access("file", X_OK));
    CALL("access, directory execute", (chmod("directory", 0), access("directory", X_OK)));
    CALL("access, missing", access("missing", F_OK));
    CALL("access, unknown mode", access("file", 8));
    CALL("faccessat2", syscall(SYS_faccessat2, AT_FDCWD, "file", R_OK, AT_EACCESS));
    CALL("faccessat2, unknown flag", syscall(SYS_faccessat2, AT_FDCWD, "file", R_OK, 0x8000));
    CALL("faccessat2, link itself", (unlink("file"), unlink("second"), syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, AT_SYMLINK_NOFOLLOW)));
    CALL("access, dangling link", access("link", F_OK));

    struct statfs system;
    CALL("statfs", statfs(".", &system));
    IS("blocks: free <= all", system.f_bfree <= system.f_blocks && system.f_bavail <= system.f_bfree);
    VALUE("longest name", system.f_namelen);
    CALL("fstatfs", fstatfs(fd, &system));
    CALL("statfs of what is missing", statfs("missing", &system));
    CALL("statfs of /proc", statfs("/proc", &system));
    HEX("its type", system.f_type);
    CALL("statfs of /sys", statfs("/sys", &system));
    HEX("its type", system.f_type);
    CALL("statfs of /dev/shm", statfs("/dev/shm", &system));
    HEX("its type", system.f_type);
    CALL("statfs, bad buffer", syscall(SYS_statfs, ".", UNMAPPED));
    return 0;
}
