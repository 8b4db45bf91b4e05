// The devices of /dev that every program expects.
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

static char buffer[1 << 17];

static void print_node(const char *path) {
    struct stat status;
    if (stat(path, &status) == -1)
        check_line(path, "-1 %s", check_errno_name(errno));
    else
        check_line(path, "%c %u:%u", S_ISCHR(status.st_mode) ? 'c' : S_ISDIR(status.st_mode) ? 'd' : '?',
                   major(status.st_rdev), minor(status.st_rdev));
}

static bool zeros(const char *from, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (from[i])
            return false;
    return true;
}

int main(void) {
    const char *nodes[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        print_node(nodes[i]);
    IS("/dev/shm is a directory", ({ struct stat status; stat("/dev/shm", &status) == 0 && S_ISDIR(status.st_mode); }));
    int fd = open("/dev/null", O_RDWR);
    CALL("null: read", read(fd, buffer, 10));
    CALL("null: write", write(fd, buffer, 1000));
    CALL("null: write from a bad buffer", write(fd, UNMAPPED, 1000));
    CALL("null: seek", lseek(fd, 1000, SEEK_SET));
    CALL("null: truncate", ftruncate(fd, 0));
    CALL("null: mmap", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    CALL("null: terminal", ioctl(fd, TIOCGWINSZ, buffer));
    CALL_OK("null: truncating open", open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0666));
    fd = open("/dev/zero", O_RDWR);
    memset(buffer, 1, sizeof buffer);
    CALL("zero: read", read(fd, buffer, sizeof buffer));
    IS("zero: all zero", zeros(buffer, sizeof buffer));
    CALL("zero: write", write(fd, buffer, 10));
    CALL("zero: read to a bad buffer", read(fd, UNMAPPED, 10));
    char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    IS("zero: shared map", map != MAP_FAILED && zeros(map, PAGE));
    fd = open("/dev/full", O_RDWR);
    CALL("full: read", read(fd, buffer, 10));
    CALL("full: write", write(fd, buffer, 10));
    CALL("full: write of nothing", write(fd, buffer, 0));
    fd = open("/dev/urandom", O_RDWR);
    char first[64], second[64];
    CALL("urandom: read", read(fd, first, sizeof first));
    read(fd, second, sizeof second);
    IS("urandom: differs", memcmp(first, second, sizeof first) != 0);
    CALL("urandom: large read", read(fd, buffer, sizeof buffer));
    CALL("urandom: write", write(fd, "seed", 4));
    fd = open("/dev/random", O_RDONLY);
    CALL("random: read", read(fd, first, sizeof first));
    struct pollfd set = {fd, POLLIN, 0};
    CALL("random: poll", poll(&set, 1, 0));
    CALL("missing device", open("/dev/nosuch", O_RDONLY));
    char shared[64];
    snprintf(shared, sizeof shared, "/dev/shm/crema-abi-%d", getpid());
    fd = open(shared, O_RDWR | O_CREAT | O_EXCL, 0600);
    CALL_OK("shm: create", fd);
    CALL("shm: write", write(fd, "shared", 6));
    CALL("shm: truncate", ftruncate(fd, 1 << 20));
    CALL("shm: unlink", unlink(shared));
    fd = open("/dev/fd", O_RDONLY | O_DIRECTORY);
    CALL_OK("fd: a directory", fd);
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    CALL_OK("fd: opens what it names", open(path, O_RDONLY));
    return 0;
}
