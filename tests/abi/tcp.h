// What the TCP programs share: sockets on the loopback whose ports nobody has to know.
#ifndef CREMA_TESTS_ABI_TCP_H
#define CREMA_TESTS_ABI_TCP_H

#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

// linux/sockios.h and asm/sockios.h clash with nothing, but are not needed for more than these.
#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif
#ifndef SIOCOUTQ
#define SIOCOUTQ 0x5411
#endif
#ifndef SIOCOUTQNSD
#define SIOCOUTQNSD 0x894B
#endif

static inline struct sockaddr_in tcp_loopback(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline struct sockaddr_in tcp_name(int fd) {
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return address;
}

static inline int tcp_bound(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = tcp_loopback(0);
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static inline int tcp_listener(int backlog) {
    int fd = tcp_bound();
    REQUIRE(listen(fd, backlog) == 0);
    return fd;
}

static inline int tcp_connect(int fd, int listener) {
    struct sockaddr_in address = tcp_name(listener);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static inline void tcp_set(int fd, int level, int option, int value) {
    REQUIRE(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

static inline int tcp_get(int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) == 0 ? value : -errno;
}

static inline const char *tcp_error(int fd) {
    int error = tcp_get(fd, SOL_SOCKET, SO_ERROR);
    return error == 0 ? "none" : check_errno_name(error);
}

// Both ends of a connection: [0] connected, [1] accepted.
static inline void tcp_pair(int pair[2]) {
    int listener = tcp_listener(1);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(pair[0], listener) == 0);
    pair[1] = accept(listener, NULL, NULL);
    REQUIRE(pair[1] >= 0);
    close(listener);
    // What is written has to leave at once for the checks to be exact.
    for (int i = 0; i < 2; i++)
        tcp_set(pair[i], IPPROTO_TCP, TCP_NODELAY, 1);
}

static inline void tcp_close_pair(int pair[2]) {
    close(pair[0]);
    close(pair[1]);
}

// What poll says at once.
static inline int tcp_poll(int fd) {
    struct pollfd set = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0};
    return poll(&set, 1, 0) == -1 ? -1 : set.revents;
}

// What poll says once all of `events` are there: what the other end did can take a moment.
static inline int tcp_poll_for(int fd, int events) {
    for (;;) {
        int found = tcp_poll(fd);
        if ((found & events) == events)
            return found;
        check_sleep_ms(1);
    }
}

static inline int tcp_readable(int fd) {
    int bytes = -1;
    return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : -errno;
}

// Waits until that many bytes can be read.
static inline void tcp_await_bytes(int fd, int bytes) {
    while (tcp_readable(fd) < bytes)
        check_sleep_ms(1);
}

static inline int tcp_state(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_state : -errno;
}

// Waits until the connection is in a state, as TCP_INFO tells.
static inline void tcp_await_state(int fd, int state) {
    while (tcp_state(fd) != state)
        check_sleep_ms(1);
}

static inline void tcp_nonblocking(int fd) { REQUIRE(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0); }

static inline void tcp_fill(unsigned char *bytes, size_t length, unsigned seed) {
    for (size_t i = 0; i < length; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (unsigned char)(seed >> 16);
    }
}

#endif
