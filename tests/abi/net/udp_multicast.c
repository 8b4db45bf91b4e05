// Groups on the loopback: joining, leaving, sources, who gets what.
#include "udp.h"

#define GROUP 0xef010203
#define OTHER 0xef010204

static int member_call(int fd, int option, uint32_t group, uint32_t interface) {
    struct ip_mreq request = {{htonl(group)}, {htonl(interface)}};
    return setsockopt(fd, IPPROTO_IP, option, &request, sizeof request);
}

static int source_call(int fd, int option, uint32_t group, uint32_t source) {
    struct ip_mreq_source request = {
        .imr_multiaddr = {htonl(group)}, .imr_interface = {htonl(INADDR_LOOPBACK)}, .imr_sourceaddr = {htonl(source)}};
    return setsockopt(fd, IPPROTO_IP, option, &request, sizeof request);
}

static bool gets(int fd) {
    char byte;
    if (stays_quiet(fd))
        return false;
    return recv(fd, &byte, 1, 0) == 1;
}

static void ipv4(void) {
    int fd = v4_socket(), sender = v4_bound();
    REQUIRE(set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 && v4_bind(fd, INADDR_ANY, 0) == 0);
    uint16_t port = port_of(fd);
    struct in_addr out = {htonl(INADDR_LOOPBACK)};
    REQUIRE(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) == 0);
    CALL("join", member_call(fd, IP_ADD_MEMBERSHIP, GROUP, INADDR_LOOPBACK));
    CALL("join again", member_call(fd, IP_ADD_MEMBERSHIP, GROUP, INADDR_LOOPBACK));
    CALL("join what is no group", member_call(fd, IP_ADD_MEMBERSHIP, INADDR_LOOPBACK, INADDR_LOOPBACK));
    CALL("join on an address of others", member_call(fd, IP_ADD_MEMBERSHIP, GROUP, 0xc6336401));
    CALL("leave another one", member_call(fd, IP_DROP_MEMBERSHIP, OTHER, INADDR_LOOPBACK));
    struct ip_mreq request = {{htonl(GROUP)}, {htonl(INADDR_LOOPBACK)}};
    CALL("join, too short", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, 7));
    CALL("send to the group", v4_send(sender, "x", 1, GROUP, port));
    IS("a member gets it", gets(fd));
    CALL("without the loop", set_number(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    v4_send(sender, "x", 1, GROUP, port);
    IS("a member does not get it", gets(fd));
    set_number(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    int second = v4_socket();
    REQUIRE(set_number(second, SOL_SOCKET, SO_REUSEADDR, 1) == 0 && v4_bind(second, INADDR_ANY, port) == 0);
    v4_send(sender, "x", 1, GROUP, port);
    IS("the member gets it", gets(fd));
    IS("one beside it, too, with IP_MULTICAST_ALL", gets(second));
    REQUIRE(set_number(second, IPPROTO_IP, IP_MULTICAST_ALL, 0) == 0);
    v4_send(sender, "x", 1, GROUP, port);
    IS("and the member", gets(fd));
    IS("but not without IP_MULTICAST_ALL", gets(second));
    CALL("the second joins", member_call(second, IP_ADD_MEMBERSHIP, GROUP, INADDR_LOOPBACK));
    v4_send(sender, "x", 1, GROUP, port);
    IS("both get it: one", gets(fd));
    IS("both get it: two", gets(second));
    CALL("the first leaves", member_call(fd, IP_DROP_MEMBERSHIP, GROUP, INADDR_LOOPBACK));
    CALL("the first leaves again", member_call(fd, IP_DROP_MEMBERSHIP, GROUP, INADDR_LOOPBACK));
    CALL("block a source", source_call(second, IP_BLOCK_SOURCE, GROUP, INADDR_LOOPBACK));
    v4_send(sender, "x", 1, GROUP, port);
    IS("what it sends does not come", gets(second));
    CALL("block it again", source_call(second, IP_BLOCK_SOURCE, GROUP, INADDR_LOOPBACK));
    CALL("unblock it", source_call(second, IP_UNBLOCK_SOURCE, GROUP, INADDR_LOOPBACK));
    v4_send(sender, "x", 1, GROUP, port);
    IS("what it sends comes again", gets(second));
    CALL("unblock one that is not blocked", source_call(second, IP_UNBLOCK_SOURCE, GROUP, 0x7f000002));
    CALL("join a source of another group", source_call(second, IP_ADD_SOURCE_MEMBERSHIP, OTHER, 0x7f000002));
    v4_send(sender, "x", 1, OTHER, port);
    IS("others are not heard", gets(second));
    CALL("join the sender", source_call(second, IP_ADD_SOURCE_MEMBERSHIP, OTHER, INADDR_LOOPBACK));
    v4_send(sender, "x", 1, OTHER, port);
    IS("it is heard", gets(second));
    CALL("leave the one", source_call(second, IP_DROP_SOURCE_MEMBERSHIP, OTHER, 0x7f000002));
    CALL("leave the sender", source_call(second, IP_DROP_SOURCE_MEMBERSHIP, OTHER, INADDR_LOOPBACK));
    CALL("the group is left", member_call(second, IP_DROP_MEMBERSHIP, OTHER, INADDR_LOOPBACK));
    struct group_req group = {.gr_interface = 1};
    struct sockaddr_in address = v4_address(OTHER, 0);
    memcpy(&group.gr_group, &address, sizeof address);
    CALL("MCAST_JOIN_GROUP", setsockopt(second, IPPROTO_IP, MCAST_JOIN_GROUP, &group, sizeof group));
    v4_send(sender, "x", 1, OTHER, port);
    IS("is heard", gets(second));
    CALL("MCAST_LEAVE_GROUP", setsockopt(second, IPPROTO_IP, MCAST_LEAVE_GROUP, &group, sizeof group));
    group.gr_interface = 99999;
    CALL("no such interface", setsockopt(second, IPPROTO_IP, MCAST_JOIN_GROUP, &group, sizeof group));
    int fresh = v4_socket(), count = 0;
    while (count < 30 && member_call(fresh, IP_ADD_MEMBERSHIP, GROUP + count, INADDR_LOOPBACK) == 0)
        count++;
    VALUE("a socket joins at most", count);
    close(fresh);
    close(fd);
    close(second);
    close(sender);
}

static int v6_member(int fd, int option, const char *group, int interface) {
    struct ipv6_mreq request = {.ipv6mr_interface = interface};
    REQUIRE(inet_pton(AF_INET6, group, &request.ipv6mr_multiaddr) == 1);
    return setsockopt(fd, IPPROTO_IPV6, option, &request, sizeof request);
}

static void ipv6(void) {
    int fd = v6_socket(), sender = v6_socket();
    REQUIRE(v6_bind(fd, "::", 0) == 0);
    uint16_t port = port_of(fd);
    CALL("IPv6 join", v6_member(fd, IPV6_JOIN_GROUP, "ff11::1234", 1));
    CALL("IPv6 join again", v6_member(fd, IPV6_JOIN_GROUP, "ff11::1234", 1));
    CALL("IPv6 join what is no group", v6_member(fd, IPV6_JOIN_GROUP, "::1", 1));
    CALL("IPv6 no such interface", v6_member(fd, IPV6_JOIN_GROUP, "ff11::1234", 99999));
    REQUIRE(set_number(sender, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1) == 0);
    CALL("no way to IPv6 groups on the loopback", v6_send(sender, "x", 1, "ff11::1234", port));
    CALL("IPv6 leave", v6_member(fd, IPV6_LEAVE_GROUP, "ff11::1234", 1));
    CALL("IPv6 leave again", v6_member(fd, IPV6_LEAVE_GROUP, "ff11::1234", 1));
    close(fd);
    close(sender);
}

int main(void) {
    ipv4();
    ipv6();
}
