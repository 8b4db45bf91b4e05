// What the programs on both ends of `crema bench net` have in common: the measurements themselves.
//
// Each is a client; guest.c has the servers. They are what netperf calls TCP_RR (one byte there, one byte back), TCP_STREAM
// and TCP_MAERTS (as much as goes, in either direction) and TCP_CRR (a connection for each byte).

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// The services of guest.c.
enum { ECHO_PORT = 5001, SINK_PORT = 5002, SOURCE_PORT = 5003, END_PORT = 5004 };

#define BLOCK_BYTES (64 << 10)

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "net: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int open_connection(const char *address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
        fail(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd == -1 || connect(fd, (struct sockaddr *)&to, sizeof to) == -1)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

// Times of single operations in nanoseconds.
struct times {
    uint32_t *ns;
    size_t count, room;
};

static void add_time(struct times *times, uint64_t ns) {
    if (times->count == times->room) {
        times->room = times->room ? times->room * 2 : 1 << 16;
        times->ns = realloc(times->ns, times->room * sizeof *times->ns);
        if (!times->ns)
            fail("realloc");
    }
    times->ns[times->count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

// Prints the rate, and times that so many of a hundred operations do not exceed.
static void print_times(const char *name, const char *unit, struct times *times, uint64_t elapsed_ns) {
    if (times->count == 0)
        return;
    qsort(times->ns, times->count, sizeof *times->ns, by_value);
    printf("%s %s %.1f\n", name, unit, (double)times->count * 1e9 / (double)elapsed_ns);
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t at = (size_t)(parts[i].part * (double)(times->count - 1));
        printf("%s_%s us %.1f\n", name, parts[i].name, times->ns[at] / 1e3);
    }
    free(times->ns);
    *times = (struct times){0};
}

static inline void measure_round_trips(const char *name, const char *address, int port, double seconds) {
    int fd = open_connection(address, port);
    struct times times = {0};
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), before = start;
    for (char byte = 'x'; before < end;) {
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            fail(name);
        uint64_t after = now_ns();
        add_time(&times, after - before);
        before = after;
    }
    print_times(name, "1/s", &times, before - start);
    close(fd);
}

// Until the other side has all, as it says by closing.
static inline void measure_sending(const char *name, const char *address, int port, double seconds) {
    static char block[BLOCK_BYTES];
    int fd = open_connection(address, port);
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), bytes = 0, received;
    while (now_ns() < end) {
        ssize_t written = write(fd, block, sizeof block);
        if (written <= 0)
            fail(name);
        bytes += (uint64_t)written;
    }
    shutdown(fd, SHUT_WR);
    if (recv(fd, &received, sizeof received, MSG_WAITALL) != sizeof received)
        fail(name);
    if (received != bytes) {
        fprintf(stderr, "net: %s: %llu bytes of %llu arrived\n", name, (unsigned long long)received, (unsigned long long)bytes);
        exit(1);
    }
    printf("%s MB/s %.1f\n", name, (double)bytes * 1e3 / (double)(now_ns() - start));
    close(fd);
}

static inline void measure_receiving(const char *name, const char *address, int port, double seconds) {
    static char block[BLOCK_BYTES];
    int fd = open_connection(address, port);
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), bytes = 0;
    while (now_ns() < end) {
        ssize_t length = read(fd, block, sizeof block);
        if (length <= 0)
            fail(name);
        bytes += (uint64_t)length;
    }
    printf("%s MB/s %.1f\n", name, (double)bytes * 1e3 / (double)(now_ns() - start));
    close(fd);
}

static inline void measure_connections(const char *name, const char *address, int port, double seconds) {
    struct times times = {0};
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), before = start;
    for (char byte = 'x'; before < end;) {
        int fd = open_connection(address, port);
        // Ended by a reset, so that the client does not run out of ports in TIME_WAIT.
        struct linger none = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            fail(name);
        close(fd);
        uint64_t after = now_ns();
        add_time(&times, after - before);
        before = after;
    }
    print_times(name, "1/s", &times, before - start);
}
