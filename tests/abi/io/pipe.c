// Pipes: flags, capacity, PIPE_BUF, end of file, EPIPE, and the errors of pipe(2) and pipe2(2).
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char buffer[1 << 20];
static volatile sig_atomic_t broken;

static void on_pipe(int number) {
    (void)number;
    broken++;
}

static void *blocked_read(void *argument) {
    int *end = argument;
    char data[100];
    return (void *)read(end[0], data, sizeof data);
}

static void *blocked_write(void *argument) {
    int *end = argument;
    return (void *)write(end[1], buffer, 200000);
}

static void *atomic_writer(void *argument) {
    int *parameters = argument;
    char block[PIPE_BUF];
    memset(block, parameters[1], sizeof block);
    for (int i = 0; i < 50; i++)
        if (write(parameters[0], block, sizeof block) != (ssize_t)sizeof block)
            return (void *)1;
    return NULL;
}

int main(void) {
    int end[2];
    signal(SIGPIPE, on_pipe);
    CALL("pipe", pipe(end));
    IS("lowest descriptors in order", end[1] == end[0] + 1);
    HEX("flags of the read end", fcntl(end[0], F_GETFL));
    HEX("flags of the write end", fcntl(end[1], F_GETFL));
    struct stat status;
    fstat(end[0], &status);
    IS("is a FIFO", S_ISFIFO(status.st_mode));
    HEX("mode", status.st_mode & 07777);
    VALUE("block size", status.st_blksize);
    CALL("write", write(end[1], "hello", 5));
    int available = -1;
    CALL("FIONREAD", ioctl(end[0], FIONREAD, &available));
    VALUE("available", available);
    CALL("read part", read(end[0], buffer, 3));
    CALL("read rest, short", read(end[0], buffer, 100));
    CALL("read 0 bytes of an empty pipe", read(end[0], buffer, 0));
    CALL("write 0 bytes", write(end[1], buffer, 0));
    CALL("read of the write end", read(end[1], buffer, 1));
    CALL("write to the read end", write(end[0], buffer, 1));
    CALL("lseek", lseek(end[0], 0, SEEK_SET));
    CALL("pread", pread(end[0], buffer, 1, 0));
    CALL("pwrite", pwrite(end[1], buffer, 1, 0));
    CALL("ftruncate", ftruncate(end[1], 0));
    CALL("fsync", fsync(end[1]));
    CALL("mmap", mmap(NULL, PAGE, PROT_READ, MAP_SHARED, end[0], 0));
    CALL("capacity", fcntl(end[0], F_GETPIPE_SZ));
    CALL("set capacity 4096", fcntl(end[0], F_SETPIPE_SZ, 4096));
    CALL("set capacity 5000 rounds up", fcntl(end[0], F_SETPIPE_SZ, 5000));
    CALL("set capacity 0 rounds up", fcntl(end[0], F_SETPIPE_SZ, 0));
    CALL("capacity of the other end", fcntl(end[1], F_GETPIPE_SZ));
    CALL("set capacity 65536", fcntl(end[0], F_SETPIPE_SZ, 65536));

    REQUIRE(fcntl(end[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(end[1], F_SETFL, O_NONBLOCK) == 0);
    CALL("read of an empty pipe", read(end[0], buffer, 1));
    CALL("fill", write(end[1], buffer, sizeof buffer));
    CALL("write to a full pipe", write(end[1], buffer, 1));
    struct pollfd set = {end[1], POLLOUT, 0};
    CALL("poll a full pipe", poll(&set, 1, 0));
    CALL("smaller than its contents", fcntl(end[0], F_SETPIPE_SZ, 4096));
    CALL("take one byte", read(end[0], buffer, 1));
    CALL("poll for writing with a byte free", poll(&set, 1, 0));
    CALL("take a page", read(end[0], buffer, 4095));
    CALL("poll for writing with a page free", poll(&set, 1, 0));
    CALL("write of PIPE_BUF that fits", write(end[1], buffer, PIPE_BUF));
    CALL("drain", read(end[0], buffer, sizeof buffer));
    CALL("partial write", (write(end[1], buffer, 60000), write(end[1], buffer, 10000)));
    CALL("write of PIPE_BUF that does not fit", write(end[1], buffer, PIPE_BUF));
    CALL("drain again", read(end[0], buffer, sizeof buffer));

    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cde", 3}}, into[2] = {{buffer, 1}, {buffer + 10, 10}};
    CALL("writev", writev(end[1], parts, 3));
    CALL("readv", readv(end[0], into, 2));
    check_line("gathered and scattered", "%.1s %.4s", buffer, buffer + 10);
    CALL("write, bad buffer", write(end[1], UNMAPPED, 5));
    CALL("read, bad buffer, empty pipe", read(end[0], UNMAPPED, 5));
    REQUIRE(write(end[1], "xyz", 3) == 3);
    CALL("read, bad buffer", read(end[0], UNMAPPED, 5));
    CALL("the data is still there", read(end[0], buffer, 5));
    char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + PAGE, PAGE);
    CALL("write, buffer runs into a hole", write(end[1], edge + PAGE - 10, 20));
    REQUIRE(fcntl(end[0], F_SETFL, O_NONBLOCK) == 0);
    while (read(end[0], buffer, sizeof buffer) > 0) {
    }

    REQUIRE(fcntl(end[0], F_SETFL, 0) == 0 && fcntl(end[1], F_SETFL, 0) == 0);
    pthread_t thread;
    void *result;
    REQUIRE(pthread_create(&thread, NULL, blocked_read, end) == 0);
    check_sleep_ms(20);
    write(end[1], "1234", 4);
    pthread_join(thread, &result);
    VALUE("a blocked reader got", (long)result);
    REQUIRE(pthread_create(&thread, NULL, blocked_write, end) == 0);
    long total = 0;
    while (total < 200000) {
        ssize_t got = read(end[0], buffer, 7777);
        if (got <= 0)
            break;
        total += got;
    }
    pthread_join(thread, &result);
    VALUE("a blocked writer wrote", (long)result);
    VALUE("all of it arrived", total);

    pthread_t writer[4];
    int parameters[4][2];
    for (int i = 0; i < 4; i++) {
        parameters[i][0] = end[1];
        parameters[i][1] = 'a' + i;
        REQUIRE(pthread_create(&writer[i], NULL, atomic_writer, parameters[i]) == 0);
    }
    int whole = 0;
    for (int i = 0; i < 200; i++) {
        size_t have = 0;
        while (have < PIPE_BUF)
            have += (size_t)read(end[0], buffer + have, PIPE_BUF - have);
        bool same = true;
        for (int j = 1; j < PIPE_BUF; j++)
            same = same && buffer[j] == buffer[0];
        whole += same;
    }
    for (int i = 0; i < 4; i++)
        pthread_join(writer[i], NULL);
    VALUE("blocks of PIPE_BUF that stayed whole", whole);

    write(end[1], "last", 4);
    close(end[1]);
    set = (struct pollfd){end[0], POLLIN, 0};
    poll(&set, 1, 0);
    HEX("poll with data and no writer", set.revents);
    CALL("data before the end", read(end[0], buffer, 10));
    CALL("end of file", read(end[0], buffer, 10));
    poll(&set, 1, 0);
    HEX("poll at the end", set.revents);
    close(end[0]);
    REQUIRE(pipe(end) == 0);
    close(end[0]);
    set = (struct pollfd){end[1], POLLOUT, 0};
    poll(&set, 1, 0);
    HEX("poll without reader", set.revents);
    CALL("write without reader", write(end[1], "x", 1));
    VALUE("SIGPIPE", broken);
    signal(SIGPIPE, SIG_IGN);
    CALL("write without reader, ignored", write(end[1], "x", 1));
    CALL("write of nothing without reader", write(end[1], "x", 0));
    close(end[1]);

    CALL("pipe2", pipe2(end, O_CLOEXEC | O_NONBLOCK));
    VALUE("close on exec", fcntl(end[0], F_GETFD));
    HEX("status flags", fcntl(end[0], F_GETFL));
    CALL("pipe2, unknown flag", pipe2(end, O_APPEND));
    CALL("pipe, bad pointer", syscall(SYS_pipe, UNMAPPED));
    CALL("close", close(end[0]));
    CALL("close twice", close(end[0]));
    return 0;
}
