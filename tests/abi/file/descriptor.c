// Descriptors: dup, dup2, dup3, fcntl, close_range, limits, locks, sendfile, copy_file_range, splice.
#include "check.h"
#include <linux/close_range.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>

static _Atomic int stage;

static void *take_lock(void *argument) {
    int fd = open("locked", O_RDWR);
    stage = 1;
    long result = flock(fd, LOCK_EX);
    stage = 2;
    close(fd);
    (void)argument;
    return (void *)result;
}

static void print_lock(const char *name, int fd, int command, short type, long start, long length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    errno = 0;
    int result = fcntl(fd, command, &lock);
    if (command == F_GETLK || command == F_OFD_GETLK)
        check_line(name, "%d type %d start %ld length %ld%s", result, lock.l_type, (long)lock.l_start, (long)lock.l_len,
                   lock.l_type == F_UNLCK ? "" : lock.l_pid == getpid() ? " ours" : lock.l_pid == -1 ? " pid -1" : " other");
    else
        check_result(name, result, errno);
}

int main(void) {
    check_enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT, 0600), copy, third;
    REQUIRE(fd >= 0 && write(fd, "0123456789", 10) == 10);
    CALL_OK("dup", copy = dup(fd));
    lseek(copy, 3, SEEK_SET);
    VALUE("the offset is shared", lseek(fd, 0, SEEK_CUR));
    fcntl(copy, F_SETFD, FD_CLOEXEC);
    VALUE("descriptor flags are not", fcntl(fd, F_GETFD));
    fcntl(copy, F_SETFL, O_APPEND);
    HEX("status flags are", fcntl(fd, F_GETFL));
    fcntl(copy, F_SETFL, 0);
    third = open("file", O_RDONLY);
    VALUE("another open has its own offset", lseek(third, 0, SEEK_CUR));
    CALL("dup, closed", dup(1000));
    CALL("dup2", dup2(fd, 100));
    CALL("dup2 onto itself", dup2(fd, fd) == fd);
    CALL("dup2, closed onto itself", dup2(1000, 1000));
    CALL("dup2, negative", dup2(fd, -1));
    CALL("dup2, beyond the limit", dup2(fd, 1 << 30));
    CALL("dup2 closes what was there", (dup2(third, 100), fcntl(100, F_GETFL) & O_ACCMODE));
    CALL("dup3", dup3(fd, 101, O_CLOEXEC));
    VALUE("its flag", fcntl(101, F_GETFD));
    CALL("dup3 onto itself", dup3(fd, fd, 0));
    CALL("dup3, unknown flag", dup3(fd, 102, O_NONBLOCK));
    CALL("F_DUPFD", fcntl(fd, F_DUPFD, 200));
    CALL("F_DUPFD_CLOEXEC", fcntl(fd, F_DUPFD_CLOEXEC, 200));
    VALUE("its flag", fcntl(201, F_GETFD));
    CALL("F_DUPFD, negative", fcntl(fd, F_DUPFD, -1));
    CALL("F_SETFL ignores the access mode", fcntl(fd, F_SETFL, O_WRONLY | O_NONBLOCK));
    HEX("flags", fcntl(fd, F_GETFL));
    fcntl(fd, F_SETFL, 0);
    CALL("unknown command", fcntl(fd, 9999, 0));
    CALL("closed", fcntl(1000, F_GETFL));
    CALL("close_range", close_range(100, 150, 0));
    CALL("it closed 100", fcntl(100, F_GETFD));
    CALL("and left 200", fcntl(200, F_GETFD));
    CALL("close_range, cloexec", close_range(200, 201, CLOSE_RANGE_CLOEXEC));
    CALL("200 has the flag", fcntl(200, F_GETFD));
    CALL("close_range, reversed", close_range(10, 5, 0));
    CALL("close_range, unknown flag", close_range(100, 150, 64));
    CALL("close_range to the end", close_range(200, ~0U, 0));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 300;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CALL("dup2 at the limit", dup2(fd, 300));
    CALL("dup2 below it", dup2(fd, 299));
    int opened = 0;
    while (dup(fd) != -1)
        opened++;
    check_line("too many", "%s", check_errno_name(errno));
    CALL("open with too many", open("file", O_RDONLY));
    CALL("pipe with too many", pipe((int[2]){0}));
    CALL("close", close_range(50, 299, 0));
    CALL("close, bad descriptor", close(299));
    CALL("close, negative", close(-1));

    int locked = open("locked", O_RDWR | O_CREAT, 0600), again = open("locked", O_RDWR);
    CALL("flock", flock(locked, LOCK_EX));
    CALL("flock by another open, at once", flock(again, LOCK_EX | LOCK_NB));
    CALL("flock shared by another open, at once", flock(again, LOCK_SH | LOCK_NB));
    CALL("flock twice", flock(locked, LOCK_EX | LOCK_NB));
    CALL("flock, downgrade", flock(locked, LOCK_SH));
    CALL("flock shared by another", flock(again, LOCK_SH | LOCK_NB));
    CALL("flock, upgrade at once", flock(locked, LOCK_EX | LOCK_NB));
    CALL("flock, unlock", flock(again, LOCK_UN));
    CALL("flock, unknown", flock(locked, 64));
    CALL("flock, closed", flock(1000, LOCK_EX));
    flock(locked, LOCK_EX);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, take_lock, NULL) == 0);
    while (stage == 0)
        sched_yield();
    check_sleep_ms(20);
    VALUE("a thread waits for the lock", stage);
    flock(locked, LOCK_UN);
    void *result;
    pthread_join(thread, &result);
    VALUE("then it has it", (long)result);

    print_lock("record lock", locked, F_SETLK, F_WRLCK, 0, 10);
    print_lock("our own does not stand in our way", again, F_SETLK, F_WRLCK, 5, 10);
    print_lock("nor is it reported", again, F_GETLK, F_WRLCK, 0, 100);
    print_lock("an open file's lock conflicts", again, F_OFD_SETLK, F_WRLCK, 0, 5);
    print_lock("it is told who", again, F_OFD_GETLK, F_RDLCK, 0, 100);
    print_lock("unlock the middle", locked, F_SETLK, F_UNLCK, 4, 4);
    print_lock("open file's lock in the middle", again, F_OFD_SETLK, F_WRLCK, 4, 4);
    print_lock("now a record lock conflicts", locked, F_SETLK, F_RDLCK, 0, 0);
    print_lock("it is told an open file has it", locked, F_GETLK, F_WRLCK, 0, 0);
    print_lock("unknown type", locked, F_SETLK, 99, 0, 1);
    print_lock("negative start", locked, F_SETLK, F_RDLCK, -1, 1);
    print_lock("negative length counts backwards", locked, F_SETLK, F_RDLCK, 104, -4);
    print_lock("write lock of a read-only file", third, F_SETLK, F_WRLCK, 0, 1);
    print_lock("read lock of a read-only file", third, F_SETLK, F_RDLCK, 0, 1);
    CALL("bad pointer", fcntl(locked, F_SETLK, UNMAPPED));
    close(open("locked", O_RDONLY));
    print_lock("closing any descriptor drops record locks", again, F_OFD_GETLK, F_WRLCK, 0, 2);

    int from = open("from", O_RDWR | O_CREAT, 0600), to = open("to", O_RDWR | O_CREAT, 0600), end[2];
    char buffer[200000];
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (char)(i % 251);
    REQUIRE(write(from, buffer, sizeof buffer) == (ssize_t)sizeof buffer && pipe(end) == 0);
    off_t offset = 100;
    CALL("sendfile with offset", sendfile(to, from, &offset, 1000));
    VALUE("the offset moved", offset);
    IS("the file's did not", lseek(from, 0, SEEK_CUR) == (off_t)sizeof buffer);
    lseek(from, 0, SEEK_SET);
    CALL("sendfile without offset", sendfile(to, from, NULL, 500));
    VALUE("the file's offset moved", lseek(from, 0, SEEK_CUR));
    CALL("sendfile past the end is short", (offset = sizeof buffer - 10, sendfile(to, from, &offset, 1000)));
    CALL("sendfile to a pipe", (offset = 0, sendfile(end[1], from, &offset, 3000)));
    CALL("sendfile from a pipe", sendfile(to, end[0], NULL, 10));
    CALL("sendfile, negative offset", (offset = -1, sendfile(to, from, &offset, 10)));
    CALL("sendfile, closed", sendfile(1000, from, NULL, 10));
    CALL("sendfile to a read-only file", sendfile(third, from, NULL, 10));
    CALL("sendfile to an appending file", sendfile(open("to", O_WRONLY | O_APPEND), from, NULL, 10));
    struct stat status;
    fstat(to, &status);
    VALUE("size", status.st_size);
    loff_t in = 0, out = 5000;
    CALL("copy_file_range", copy_file_range(from, &in, to, &out, 100000, 0));
    check_line("offsets", "%ld %ld", (long)in, (long)out);
    char back[100000];
    IS("bytes are equal", pread(to, back, sizeof back, 5000) == (ssize_t)sizeof back && memcmp(back, buffer, sizeof back) == 0);
    CALL("copy_file_range, past the end", (in = sizeof buffer, copy_file_range(from, &in, to, NULL, 10, 0)));
    CALL("copy_file_range, overlapping", (in = 0, out = 10, copy_file_range(from, &in, from, &out, 100, 0)));
    CALL("copy_file_range, flags", copy_file_range(from, NULL, to, NULL, 10, 8));
    CALL("copy_file_range to a pipe", copy_file_range(from, NULL, end[1], NULL, 10, 0));
    CALL("copy_file_range, directory", copy_file_range(open(".", O_RDONLY), NULL, to, NULL, 10, 0));
    CALL("splice from a pipe", splice(end[0], NULL, to, NULL, 1000, 0));
    CALL("splice to a pipe", (in = 0, splice(from, &in, end[1], NULL, 1000, 0)));
    CALL("splice without a pipe", splice(from, NULL, to, NULL, 10, 0));
    int waiting = -1;
    lseek(from, 50, SEEK_SET);
    CALL("FIONREAD of a file", ioctl(from, FIONREAD, &waiting));
    VALUE("bytes to its end", waiting);
    CALL("ioctl nobody knows", ioctl(from, 0x1234, 0));
    CALL("FIOCLEX", ioctl(from, FIOCLEX));
    VALUE("it sets the flag", fcntl(from, F_GETFD));
    CALL("FIONBIO", ioctl(end[0], FIONBIO, &(int){1}));
    HEX("it sets non-blocking", fcntl(end[0], F_GETFL));
    CALL("terminal call on a file", isatty(from));
    return 0;
}
