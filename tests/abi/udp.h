// What the programs about datagram sockets share: sockets on the loopback whose ports nobody has to know.
#ifndef CREMA_TESTS_ABI_UDP_H
#define CREMA_TESTS_ABI_UDP_H

#include "check.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static inline struct sockaddr_in v4_address(uint32_t address, uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

static inline struct sockaddr_in6 v6_address(const char *address, uint16_t port) {
    struct sockaddr_in6 made = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    REQUIRE(inet_pton(AF_INET6, address, &made.sin6_addr) == 1);
    return made;
}

static inline int v4_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    return fd;
}

static inline int v6_socket(void) {
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    return fd;
}

static inline int v4_bind(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in made = v4_address(address, port);
    return bind(fd, (struct sockaddr *)&made, sizeof made);
}

static inline int v6_bind(int fd, const char *address, uint16_t port) {
    struct sockaddr_in6 made = v6_address(address, port);
    return bind(fd, (struct sockaddr *)&made, sizeof made);
}

static inline int v4_connect(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in made = v4_address(address, port);
    return connect(fd, (struct sockaddr *)&made, sizeof made);
}

static inline int v6_connect(int fd, const char *address, uint16_t port) {
    struct sockaddr_in6 made = v6_address(address, port);
    return connect(fd, (struct sockaddr *)&made, sizeof made);
}

static inline ssize_t v4_send(int fd, const void *data, size_t len, uint32_t address, uint16_t port) {
    struct sockaddr_in made = v4_address(address, port);
    return sendto(fd, data, len, 0, (struct sockaddr *)&made, sizeof made);
}

static inline ssize_t v6_send(int fd, const void *data, size_t len, const char *address, uint16_t port) {
    struct sockaddr_in6 made = v6_address(address, port);
    return sendto(fd, data, len, 0, (struct sockaddr *)&made, sizeof made);
}

// The port that a socket of either family has.
static inline uint16_t port_of(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

// A socket bound to a free port of the loopback.
static inline int v4_bound(void) {
    int fd = v4_socket();
    REQUIRE(v4_bind(fd, INADDR_LOOPBACK, 0) == 0);
    return fd;
}

// The address that a socket has, or its peer's, as text.
static inline const char *address_text(const struct sockaddr *address) {
    static char text[INET6_ADDRSTRLEN];
    const void *bytes = address->sa_family == AF_INET ? (const void *)&((struct sockaddr_in *)address)->sin_addr
                                                      : (const void *)&((struct sockaddr_in6 *)address)->sin6_addr;
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return "of no family";
    return inet_ntop(address->sa_family, bytes, text, sizeof text);
}

static inline const char *own_address(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return address_text((struct sockaddr *)&address);
}

// Waits until something can be read: what is sent arrives, but not always at once.
static inline int await_input(int fd) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, 10000);
}

// Whether nothing comes within a moment.
static inline bool stays_quiet(int fd) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, 100) == 0;
}

static inline int get_number(int fd, int level, int option) {
    int value = -12345;
    socklen_t length = sizeof value;
    if (getsockopt(fd, level, option, &value, &length) == -1)
        return -1;
    return value;
}

static inline int set_number(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value);
}

#endif
