// Control data beside datagrams, and what they say when they are sent.
#include "udp.h"

static void print_control(const char *prefix, struct msghdr *message) {
    char name[96];
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
        size_t length = item->cmsg_len - CMSG_LEN(0);
        snprintf(name, sizeof name, "%s: level %d type %d, %zu bytes", prefix, item->cmsg_level, item->cmsg_type,
                 length);
        char text[INET6_ADDRSTRLEN], other[INET6_ADDRSTRLEN];
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof info);
            inet_ntop(AF_INET, &info.ipi_addr, text, sizeof text);
            inet_ntop(AF_INET, &info.ipi_spec_dst, other, sizeof other);
            check_line(name, "to %s, answer from %s, interface %d", text, other, info.ipi_ifindex);
        } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof info);
            check_line(name, "to %s, interface %d", inet_ntop(AF_INET6, &info.ipi6_addr, text, sizeof text),
                       (int)info.ipi6_ifindex);
        } else if (length == 4) {
            int value;
            memcpy(&value, CMSG_DATA(item), sizeof value);
            check_line(name, "%d", value);
        } else if (length == 1) {
            check_line(name, "%d", *CMSG_DATA(item));
        } else if (item->cmsg_level == SOL_SOCKET) {
            int64_t seconds;
            memcpy(&seconds, CMSG_DATA(item), sizeof seconds);
            IS(name, llabs(seconds - time(NULL)) < 1000);
        } else {
            check_line(name, "?");
        }
    }
}

static void receive(const char *name, int fd) {
    char data[16], control[512];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    REQUIRE(await_input(fd) == 1);
    CALL(name, recvmsg(fd, &message, 0));
    HEX("flags", message.msg_flags);
    print_control(name, &message);
}

static ssize_t send_with(int fd, struct sockaddr *to, socklen_t length, int level, int type, const void *value,
                         size_t size) {
    char control[64] = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_name = to, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(item), value, size);
    return sendmsg(fd, &message, 0);
}

static void ipv4(void) {
    int receiver = v4_socket(), sender = v4_socket();
    REQUIRE(v4_bind(receiver, INADDR_ANY, 0) == 0);
    uint16_t port = port_of(receiver);
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    receive("nothing asked for", receiver);
    REQUIRE(set_number(receiver, IPPROTO_IP, IP_PKTINFO, 1) == 0);
    REQUIRE(set_number(receiver, IPPROTO_IP, IP_RECVTTL, 1) == 0);
    REQUIRE(set_number(receiver, IPPROTO_IP, IP_RECVTOS, 1) == 0);
    REQUIRE(set_number(receiver, SOL_SOCKET, SO_TIMESTAMP, 1) == 0);
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    receive("all asked for", receiver);
    v4_send(sender, "x", 1, 0x7f010203, port);
    receive("another address of the loopback", receiver);
    REQUIRE(set_number(sender, IPPROTO_IP, IP_TTL, 33) == 0);
    REQUIRE(set_number(sender, IPPROTO_IP, IP_TOS, 0x1c) == 0);
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    receive("the sender's options", receiver);
    struct sockaddr_in to = v4_address(INADDR_LOOPBACK, port);
    int value = 44;
    CALL("IP_TTL of one datagram",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_TTL, &value, sizeof value));
    receive("comes with it", receiver);
    value = 0;
    CALL("IP_TTL of 0",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_TTL, &value, sizeof value));
    value = 0x20;
    CALL("IP_TOS of one datagram",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_TOS, &value, sizeof value));
    receive("comes with that", receiver);
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f000009)};
    CALL("IP_PKTINFO with a source",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    char data[8];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    REQUIRE(await_input(receiver) == 1);
    CALL("comes", recvfrom(receiver, data, sizeof data, 0, (struct sockaddr *)&from, &length));
    TEXT("from there", address_text((struct sockaddr *)&from));
    info = (struct in_pktinfo){.ipi_ifindex = 99999};
    CALL("IP_PKTINFO with an interface that there is not",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    CALL("IP_PKTINFO too short",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, 8));
    CALL("unknown of IP", send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IP, 123, &value, 4));
    CALL("unknown of sockets", send_with(sender, (struct sockaddr *)&to, sizeof to, SOL_SOCKET, 123, &value, 4));
    CALL("of TCP, passed over", send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_TCP, 1, &value, 4));
    receive("that came", receiver);
    uint16_t segment = 3;
    struct iovec part = {"abcdefg", 7};
    char control[CMSG_SPACE(2)] = {0};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    CMSG_FIRSTHDR(&message)->cmsg_level = IPPROTO_UDP;
    CMSG_FIRSTHDR(&message)->cmsg_type = 103;
    CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(2);
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &segment, 2);
    CALL("UDP_SEGMENT of one call", sendmsg(sender, &message, 0));
    for (int n = 0; n < 3; n++) {
        REQUIRE(await_input(receiver) == 1);
        CALL("piece", recv(receiver, data, sizeof data, 0));
    }
    char little[CMSG_LEN(4)];
    struct msghdr small = {.msg_iov = &(struct iovec){data, 8}, .msg_iovlen = 1, .msg_control = little,
                           .msg_controllen = sizeof little};
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    REQUIRE(await_input(receiver) == 1);
    CALL("room for a part of them", recvmsg(receiver, &small, 0));
    HEX("cut off", small.msg_flags);
    REQUIRE(set_number(receiver, IPPROTO_IP, IP_MINTTL, 50) == 0);
    v4_send(sender, "x", 1, INADDR_LOOPBACK, port);
    IS("IP_MINTTL keeps it out", stays_quiet(receiver));
    close(receiver);
    close(sender);
}

static void ipv6(void) {
    int receiver = v6_socket(), sender = v6_socket();
    REQUIRE(v6_bind(receiver, "::", 0) == 0);
    uint16_t port = port_of(receiver);
    REQUIRE(set_number(receiver, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0);
    REQUIRE(set_number(receiver, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) == 0);
    REQUIRE(set_number(receiver, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) == 0);
    v6_send(sender, "x", 1, "::1", port);
    receive("IPv6", receiver);
    REQUIRE(set_number(sender, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 12) == 0);
    REQUIRE(set_number(sender, IPPROTO_IPV6, IPV6_TCLASS, 0x28) == 0);
    v6_send(sender, "x", 1, "::1", port);
    receive("IPv6 with options", receiver);
    int sender4 = v4_socket();
    v4_send(sender4, "x", 1, INADDR_LOOPBACK, port);
    receive("IPv4 to an IPv6 socket", receiver);
    struct sockaddr_in6 to = v6_address("::1", port);
    int value = 13;
    CALL("IPV6_HOPLIMIT of one datagram",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof value));
    receive("comes with it", receiver);
    value = 300;
    CALL("IPV6_HOPLIMIT of 300",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof value));
    CALL("unknown of IPv6", send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IPV6, 123, &value, 4));
    struct in6_pktinfo info = {.ipi6_ifindex = 1, .ipi6_addr = IN6ADDR_LOOPBACK_INIT};
    CALL("IPV6_PKTINFO",
         send_with(sender, (struct sockaddr *)&to, sizeof to, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info));
    receive("comes with that", receiver);
    close(receiver);
    close(sender);
    close(sender4);
}

int main(void) {
    ipv4();
    ipv6();
}
