// Options of sockets: what they are at first, what they can be set to, and what is refused.
#include "udp.h"
#include <netinet/tcp.h>

struct option {
    const char *name;
    int level, option;
};

#define O(level, option) {#option, level, option}

static const struct option at_first[] = {
    O(SOL_SOCKET, SO_REUSEADDR), O(SOL_SOCKET, SO_REUSEPORT), O(SOL_SOCKET, SO_KEEPALIVE),
    O(SOL_SOCKET, SO_BROADCAST), O(SOL_SOCKET, SO_DONTROUTE), O(SOL_SOCKET, SO_OOBINLINE),
    O(SOL_SOCKET, SO_PRIORITY), O(SOL_SOCKET, SO_RCVLOWAT), O(SOL_SOCKET, SO_SNDLOWAT),
    O(SOL_SOCKET, SO_ACCEPTCONN), O(SOL_SOCKET, SO_ERROR), O(SOL_SOCKET, SO_TIMESTAMP),
    O(SOL_SOCKET, SO_MARK), O(SOL_SOCKET, SO_DEBUG), O(SOL_SOCKET, SO_NO_CHECK),
    O(SOL_SOCKET, SO_RXQ_OVFL), O(SOL_SOCKET, SO_INCOMING_NAPI_ID), O(SOL_SOCKET, SO_BINDTOIFINDEX),
    O(SOL_SOCKET, SO_PEEK_OFF), O(SOL_SOCKET, SO_BUF_LOCK),
    O(IPPROTO_IP, IP_TOS), O(IPPROTO_IP, IP_TTL), O(IPPROTO_IP, IP_MINTTL), O(IPPROTO_IP, IP_MTU),
    O(IPPROTO_IP, IP_PKTINFO), O(IPPROTO_IP, IP_RECVTTL), O(IPPROTO_IP, IP_RECVTOS),
    O(IPPROTO_IP, IP_RECVERR), O(IPPROTO_IP, IP_FREEBIND), O(IPPROTO_IP, IP_MULTICAST_TTL),
    O(IPPROTO_IP, IP_MULTICAST_LOOP), O(IPPROTO_IP, IP_MULTICAST_ALL), O(IPPROTO_IP, IP_MULTICAST_IF),
    O(IPPROTO_IP, IP_HDRINCL), O(IPPROTO_IP, IP_MTU_DISCOVER), O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
    O(IPPROTO_IP, 12345), O(IPPROTO_IP, IP_ADD_MEMBERSHIP),
    O(IPPROTO_IPV6, IPV6_V6ONLY), O(IPPROTO_IPV6, IPV6_UNICAST_HOPS), O(IPPROTO_IPV6, IPV6_MULTICAST_HOPS),
    O(IPPROTO_IPV6, IPV6_MULTICAST_LOOP), O(IPPROTO_IPV6, IPV6_MULTICAST_IF), O(IPPROTO_IPV6, IPV6_TCLASS),
    O(IPPROTO_IPV6, IPV6_RECVPKTINFO), O(IPPROTO_IPV6, IPV6_RECVHOPLIMIT), O(IPPROTO_IPV6, IPV6_RECVTCLASS),
    O(IPPROTO_IPV6, IPV6_RECVERR), O(IPPROTO_IPV6, IPV6_DONTFRAG), O(IPPROTO_IPV6, IPV6_MTU),
    O(IPPROTO_IPV6, IPV6_MTU_DISCOVER), O(IPPROTO_IPV6, IPV6_CHECKSUM), O(IPPROTO_IPV6, 12345),
    O(IPPROTO_UDP, UDP_CORK), O(IPPROTO_UDP, 103), O(IPPROTO_UDP, 12345), O(12345, 1),
};

static void first(const char *what, int fd) {
    for (size_t n = 0; n < sizeof at_first / sizeof *at_first; n++) {
        const struct option *option = &at_first[n];
        int value = 0x55555555;
        socklen_t length = sizeof value;
        char name[96];
        snprintf(name, sizeof name, "%s %s", what, option->name);
        errno = 0;
        if (getsockopt(fd, option->level, option->option, &value, &length) == -1)
            check_line(name, "-1 %s", check_errno_name(errno));
        else
            check_line(name, "%d, %u bytes", value, length);
    }
}

static void set(const char *name, int fd, int level, int option, int value) {
    errno = 0;
    if (set_number(fd, level, option, value) == -1)
        check_line(name, "%d: -1 %s", value, check_errno_name(errno));
    else
        check_line(name, "%d becomes %d", value, get_number(fd, level, option));
}

#define SET(fd, level, option, value) set(#option, fd, level, option, value)

static void common(int fd) {
    static const int switches[] = {SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE, SO_BROADCAST, SO_DONTROUTE,
                                   SO_OOBINLINE, SO_TIMESTAMP, SO_RXQ_OVFL,  SO_NO_CHECK};
    for (size_t n = 0; n < sizeof switches / sizeof *switches; n++) {
        char name[32];
        snprintf(name, sizeof name, "switch %d", switches[n]);
        set(name, fd, SOL_SOCKET, switches[n], 7);
        set(name, fd, SOL_SOCKET, switches[n], 0);
    }
    SET(fd, SOL_SOCKET, SO_SNDBUF, 10000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 100);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 0);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 10000);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 100);
    SET(fd, SOL_SOCKET, SO_RCVBUFFORCE, 50000);
    VALUE("SO_RCVBUF after force", get_number(fd, SOL_SOCKET, SO_RCVBUF));
    CALL("SO_SNDBUFFORCE below zero", set_number(fd, SOL_SOCKET, SO_SNDBUFFORCE, -1));
    VALUE("SO_SNDBUF after that", get_number(fd, SOL_SOCKET, SO_SNDBUF));
    VALUE("SO_BUF_LOCK", get_number(fd, SOL_SOCKET, SO_BUF_LOCK));
    SET(fd, SOL_SOCKET, SO_BUF_LOCK, 4);
    SET(fd, SOL_SOCKET, SO_RCVLOWAT, 100);
    SET(fd, SOL_SOCKET, SO_RCVLOWAT, 0);
    SET(fd, SOL_SOCKET, SO_RCVLOWAT, -5);
    SET(fd, SOL_SOCKET, SO_SNDLOWAT, 5);
    SET(fd, SOL_SOCKET, SO_PRIORITY, 3);
    SET(fd, SOL_SOCKET, SO_MARK, 77);
    SET(fd, SOL_SOCKET, SO_TYPE, 1);
    SET(fd, SOL_SOCKET, SO_ERROR, 1);
    SET(fd, SOL_SOCKET, SO_DOMAIN, 1);
    SET(fd, SOL_SOCKET, SO_ACCEPTCONN, 1);
    SET(fd, SOL_SOCKET, 12345, 1);
    SET(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 1);
    SET(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 99999);
    SET(fd, SOL_SOCKET, SO_BINDTOIFINDEX, -1);
    SET(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0);
    char device[IFNAMSIZ] = "";
    socklen_t length = sizeof device;
    CALL("SO_BINDTODEVICE", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
    CALL("get it", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &length));
    TEXT("the device", device);
    VALUE("its length", length);
    CALL("one that there is not", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nonesuch0", 10));
    CALL("none", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    length = sizeof device;
    CALL("get none", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &length));
    VALUE("length of none", length);
    struct linger linger = {5, 9};
    CALL("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    length = sizeof linger;
    CALL("get linger", getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    check_line("linger", "%d %d %u", linger.l_onoff, linger.l_linger, length);
    linger = (struct linger){0, 1};
    CALL("linger off", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    length = sizeof linger;
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length);
    check_line("linger keeps its time", "%d %d", linger.l_onoff, linger.l_linger);
    CALL("linger too short", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
    struct timeval time = {3, 500000};
    CALL("SO_SNDTIMEO", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
    length = sizeof time;
    time = (struct timeval){0};
    CALL("get the time", getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, &length));
    check_line("the time", "%ld %ld %u", (long)time.tv_sec, (long)time.tv_usec, length);
    time = (struct timeval){-1, 0};
    CALL("SO_RCVTIMEO below zero", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    char byte;
    CALL("does not wait", recv(fd, &byte, 1, 0));
    int value = 0;
    length = 2;
    CALL("get, room for two bytes", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
    VALUE("two bytes", length);
    length = -1;
    CALL("get, room of -1", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
    length = 4;
    CALL("get to unmapped memory", getsockopt(fd, SOL_SOCKET, SO_TYPE, UNMAPPED, &length));
    CALL("get, length unmapped", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, UNMAPPED));
    CALL("set, too short", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, 3));
    CALL("set, length of -1", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, -1));
    CALL("set from unmapped memory", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, UNMAPPED, 4));
}

static void ipv4(int fd) {
    SET(fd, IPPROTO_IP, IP_TOS, 0x10);
    VALUE("priority follows", get_number(fd, SOL_SOCKET, SO_PRIORITY));
    SET(fd, IPPROTO_IP, IP_TOS, 0xff);
    SET(fd, IPPROTO_IP, IP_TOS, 0x123);
    SET(fd, IPPROTO_IP, IP_TTL, 5);
    SET(fd, IPPROTO_IP, IP_TTL, 0);
    SET(fd, IPPROTO_IP, IP_TTL, 256);
    SET(fd, IPPROTO_IP, IP_TTL, -1);
    SET(fd, IPPROTO_IP, IP_MINTTL, 3);
    SET(fd, IPPROTO_IP, IP_MINTTL, 0);
    SET(fd, IPPROTO_IP, IP_MINTTL, -1);
    SET(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    SET(fd, IPPROTO_IP, IP_MTU_DISCOVER, 6);
    SET(fd, IPPROTO_IP, IP_MULTICAST_TTL, 9);
    SET(fd, IPPROTO_IP, IP_MULTICAST_TTL, -1);
    SET(fd, IPPROTO_IP, IP_MULTICAST_TTL, 256);
    SET(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    SET(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    SET(fd, IPPROTO_IP, IP_MULTICAST_ALL, 2);
    SET(fd, IPPROTO_IP, IP_PKTINFO, 5);
    SET(fd, IPPROTO_IP, IP_HDRINCL, 1);
    SET(fd, IPPROTO_IP, IP_MTU, 1500);
    SET(fd, IPPROTO_IP, 12345, 1);
    unsigned char byte = 7;
    CALL("IP_TTL as one byte", setsockopt(fd, IPPROTO_IP, IP_TTL, &byte, 1));
    VALUE("is taken", get_number(fd, IPPROTO_IP, IP_TTL));
    CALL("IP_TTL of no bytes", setsockopt(fd, IPPROTO_IP, IP_TTL, &byte, 0));
    struct in_addr address = {htonl(INADDR_LOOPBACK)};
    CALL("IP_MULTICAST_IF by address", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    address.s_addr = htonl(0xc6336401);
    CALL("by an address of others", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
    struct ip_mreqn request = {.imr_ifindex = 1};
    CALL("by index", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request));
    request.imr_ifindex = 99999;
    CALL("by an index that there is not", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request));
    CALL("too short", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, 3));
}

static void ipv6(int fd) {
    SET(fd, IPPROTO_IPV6, IPV6_V6ONLY, 5);
    SET(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    SET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
    SET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 0);
    SET(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 9);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -2);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 2);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 99999);
    SET(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 0);
    SET(fd, IPPROTO_IPV6, IPV6_TCLASS, 8);
    SET(fd, IPPROTO_IPV6, IPV6_TCLASS, 256);
    SET(fd, IPPROTO_IPV6, IPV6_TCLASS, -1);
    SET(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 9);
    SET(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
    SET(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, 6);
    SET(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
    SET(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
    SET(fd, IPPROTO_IPV6, 12345, 1);
    SET(fd, IPPROTO_IP, IP_TOS, 8);
    int value = 0;
    CALL("IPV6_TCLASS too short", setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, 2));
    CALL("IPV6_MTU too small", set_number(fd, IPPROTO_IPV6, IPV6_MTU, 100));
}

int main(void) {
    int udp = v4_socket(), udp6 = v6_socket();
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(tcp >= 0);
    first("UDP", udp);
    first("UDP6", udp6);
    first("TCP", tcp);
    common(udp);
    ipv4(udp);
    ipv6(udp6);
    CALL("connect", v4_connect(udp, INADDR_LOOPBACK, 9));
    VALUE("IP_MTU of the loopback", get_number(udp, IPPROTO_IP, IP_MTU));
    CALL("connect by IPv6", v6_connect(udp6, "::1", 9));
    VALUE("IPV6_MTU of the loopback", get_number(udp6, IPPROTO_IPV6, IPV6_MTU));
    CALL("IPV6_V6ONLY when bound", set_number(udp6, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    SET(tcp, IPPROTO_IP, IP_TOS, 0x13);
    SET(tcp, IPPROTO_IP, IP_MULTICAST_TTL, 3);
    CALL("group on TCP", ({
             struct ip_mreq request = {{htonl(0xe0000105)}, {htonl(INADDR_LOOPBACK)}};
             setsockopt(tcp, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
         }));
}
