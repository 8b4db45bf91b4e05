// Who can be bound beside whom, and who gets what comes.
#include "udp.h"

struct side {
    const char *name;
    int family;
    const char *address;
    int v6only;
};

static const struct side sides[] = {
    {"0.0.0.0", AF_INET, "0.0.0.0", 0},        {"127.0.0.1", AF_INET, "127.0.0.1", 0},
    {"127.0.0.2", AF_INET, "127.0.0.2", 0},    {"::", AF_INET6, "::", 0},
    {":: only", AF_INET6, "::", 1},            {"::1", AF_INET6, "::1", 0},
    {"mapped", AF_INET6, "::ffff:127.0.0.1", 0},
};

static int make(const struct side *side, int type, int reuse_address, int reuse_port) {
    int fd = socket(side->family, type | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    if (side->family == AF_INET6)
        REQUIRE(set_number(fd, IPPROTO_IPV6, IPV6_V6ONLY, side->v6only) == 0);
    REQUIRE(set_number(fd, SOL_SOCKET, SO_REUSEADDR, reuse_address) == 0);
    REQUIRE(set_number(fd, SOL_SOCKET, SO_REUSEPORT, reuse_port) == 0);
    return fd;
}

static int bind_to(int fd, const struct side *side, uint16_t port) {
    if (side->family == AF_INET)
        return v4_bind(fd, ntohl(inet_addr(side->address)), port);
    return v6_bind(fd, side->address, port);
}

static void pairs(const char *what, int type, int reuse_address, int reuse_port) {
    const size_t count = sizeof sides / sizeof *sides;
    for (size_t a = 0; a < count; a++) {
        char row[128] = "", name[64];
        for (size_t b = 0; b < count; b++) {
            int first = make(&sides[a], type, reuse_address, reuse_port);
            int second = make(&sides[b], type, reuse_address, reuse_port);
            REQUIRE(bind_to(first, &sides[a], 0) == 0);
            int result = bind_to(second, &sides[b], port_of(first));
            strcat(row, result == 0 ? " ok" : errno == EADDRINUSE ? " in-use" : " other");
            close(first);
            close(second);
        }
        snprintf(name, sizeof name, "%s, after %s", what, sides[a].name);
        TEXT(name, row + 1);
    }
}

static void errors(void) {
    int fd = v4_socket();
    struct sockaddr_in address = v4_address(INADDR_LOOPBACK, 0);
    CALL("bind, address too short", bind(fd, (struct sockaddr *)&address, 15));
    CALL("bind, no length", bind(fd, (struct sockaddr *)&address, 0));
    CALL("bind, length of -1", bind(fd, (struct sockaddr *)&address, (socklen_t)-1));
    CALL("bind, address unmapped", bind(fd, UNMAPPED, sizeof address));
    address.sin_family = AF_INET6;
    CALL("bind, other family", bind(fd, (struct sockaddr *)&address, sizeof address));
    address.sin_family = AF_UNSPEC;
    CALL("bind, no family, an address", bind(fd, (struct sockaddr *)&address, sizeof address));
    address.sin_addr.s_addr = 0;
    CALL("bind, no family, no address", bind(fd, (struct sockaddr *)&address, sizeof address));
    CALL("bind again", v4_bind(fd, INADDR_LOOPBACK, 0));
    close(fd);
    fd = v4_socket();
    CALL("bind to an address of others", v4_bind(fd, 0xc6336401, 0));
    CALL("with IP_FREEBIND", (set_number(fd, IPPROTO_IP, IP_FREEBIND, 1), v4_bind(fd, 0xc6336401, 0)));
    close(fd);
    fd = v4_socket();
    CALL("bind to a group", v4_bind(fd, 0xe0000105, 0));
    TEXT("that is its address", own_address(fd));
    close(fd);
    fd = v4_socket();
    CALL("bind to a privileged port", v4_bind(fd, INADDR_LOOPBACK, 1023));
    close(fd);
    fd = v6_socket();
    struct sockaddr_in6 address6 = v6_address("::1", 0);
    CALL("IPv6: bind, address too short", bind(fd, (struct sockaddr *)&address6, 23));
    CALL("IPv6: bind to a plain IPv4 address", v4_bind(fd, INADDR_LOOPBACK, 0));
    CALL("IPv6: bind to an address of others", v6_bind(fd, "2001:db8::1", 0));
    CALL("IPv6: bind to a link's address without link", v6_bind(fd, "fe80::1", 0));
    CALL("IPv6: bind without scope", bind(fd, (struct sockaddr *)&address6, 24));
    TEXT("IPv6: own address", own_address(fd));
    close(fd);
    IS("free ports differ", ({
           int a = v4_bound(), b = v4_bound();
           port_of(a) != port_of(b);
       }));
}

// Which of the sockets got it.
static char taker(int *fds, int count) {
    struct pollfd entries[4];
    for (int n = 0; n < count; n++)
        entries[n] = (struct pollfd){.fd = fds[n], .events = POLLIN};
    REQUIRE(poll(entries, count, 10000) == 1);
    for (int n = 0; n < count; n++) {
        if (entries[n].revents) {
            char byte;
            REQUIRE(recv(fds[n], &byte, 1, 0) == 1);
            return 'a' + n;
        }
    }
    return '?';
}

static void takers(void) {
    int fds[4];
    fds[0] = make(&sides[3], SOCK_DGRAM, 1, 0);
    REQUIRE(bind_to(fds[0], &sides[3], 0) == 0);
    uint16_t port = port_of(fds[0]);
    fds[1] = make(&sides[0], SOCK_DGRAM, 1, 0);
    REQUIRE(bind_to(fds[1], &sides[0], port) == 0);
    fds[2] = make(&sides[1], SOCK_DGRAM, 1, 0);
    REQUIRE(bind_to(fds[2], &sides[1], port) == 0);
    int sender = v4_bound();
    char got[8] = "";
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    got[0] = taker(fds, 3);
    v4_send(sender, "x", 1, 0x7f000002, port);
    got[1] = taker(fds, 3);
    int sender6 = v6_socket();
    v6_send(sender6, "x", 1, "::1", port);
    got[2] = taker(fds, 3);
    fds[3] = make(&sides[1], SOCK_DGRAM, 1, 0);
    REQUIRE(bind_to(fds[3], &sides[1], port) == 0);
    REQUIRE(v4_connect(fds[3], INADDR_LOOPBACK, port_of(sender)) == 0);
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    got[3] = taker(fds, 4);
    int other = v4_bound();
    v4_send(other, "x", 1, INADDR_LOOPBACK, port);
    got[4] = taker(fds, 4);
    TEXT("the most specific socket gets it", got);
    for (int n = 0; n < 4; n++)
        close(fds[n]);
    close(sender);
    close(sender6);
    close(other);
}

static void sharing(void) {
    int fds[3];
    uint16_t port = 0;
    for (int n = 0; n < 3; n++) {
        fds[n] = make(&sides[1], SOCK_DGRAM, 0, 1);
        REQUIRE(bind_to(fds[n], &sides[1], port) == 0);
        port = port_of(fds[n]);
    }
    int reached[3] = {0};
    bool steady = true;
    for (int round = 0; round < 64; round++) {
        int sender = v4_bound();
        v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
        char first = taker(fds, 3);
        v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
        steady &= taker(fds, 3) == first;
        reached[first - 'a'] = 1;
        close(sender);
    }
    IS("SO_REUSEPORT reaches all", reached[0] && reached[1] && reached[2]);
    IS("and one sender's all come to one", steady);
    int stranger = make(&sides[1], SOCK_DGRAM, 0, 0);
    CALL("who does not share stays out", bind_to(stranger, &sides[1], port));
    for (int n = 0; n < 3; n++)
        close(fds[n]);
    CALL("until all have gone", bind_to(stranger, &sides[1], port));
    close(stranger);
}

int main(void) {
    pairs("UDP", SOCK_DGRAM, 0, 0);
    pairs("UDP reusing", SOCK_DGRAM, 1, 0);
    pairs("UDP sharing", SOCK_DGRAM, 0, 1);
    pairs("TCP", SOCK_STREAM, 0, 0);
    pairs("TCP reusing", SOCK_STREAM, 1, 0);
    errors();
    takers();
    sharing();
}
