// Raw ICMP sockets, as InetAddress.isReachable uses them.
#include "udp.h"
#include <netinet/icmp6.h>

static uint16_t checksum(const void *data, size_t length) {
    const uint16_t *words = data;
    uint32_t sum = 0;
    for (size_t n = 0; n < length / 2; n++)
        sum += words[n];
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xffff);
    return ~sum;
}

// Receives until an echo reply with this identifier comes; returns its length.
static ssize_t await_reply(int fd, uint8_t type, uint16_t identifier, size_t skip, unsigned char *buffer, size_t size,
                           struct sockaddr_storage *from) {
    for (;;) {
        socklen_t length = sizeof *from;
        if (await_input(fd) != 1)
            return -1;
        ssize_t got = recvfrom(fd, buffer, size, 0, (struct sockaddr *)from, &length);
        if (got < (ssize_t)(skip + 8))
            continue;
        uint16_t found;
        memcpy(&found, buffer + skip + 4, 2);
        if (buffer[skip] == type && found == identifier)
            return got;
    }
}

static void ipv4(void) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    REQUIRE(fd >= 0);
    VALUE("port is the protocol", port_of(fd));
    uint32_t filter = 0x55;
    socklen_t length = sizeof filter;
    CALL("ICMP_FILTER", getsockopt(fd, SOL_RAW, 1, &filter, &length));
    VALUE("blocks nothing", filter);
    CALL("IP_HDRINCL", set_number(fd, IPPROTO_IP, IP_HDRINCL, 0));
    VALUE("is off", get_number(fd, IPPROTO_IP, IP_HDRINCL));
    filter = 1 << ICMP_ECHO;
    CALL("block requests", setsockopt(fd, SOL_RAW, 1, &filter, sizeof filter));
    uint16_t identifier = 0x1234;
    unsigned char packet[40] = {ICMP_ECHO, 0};
    memcpy(packet + 4, &identifier, 2);
    memcpy(packet + 8, "thirty-two bytes of echo's data.", 32);
    uint16_t sum = checksum(packet, sizeof packet);
    memcpy(packet + 2, &sum, 2);
    CALL("send without address", send(fd, packet, sizeof packet, 0));
    CALL("send", v4_send(fd, packet, sizeof packet, INADDR_LOOPBACK, 0));
    unsigned char buffer[256];
    struct sockaddr_storage from;
    CALL("reply", await_reply(fd, ICMP_ECHOREPLY, identifier, 20, buffer, sizeof buffer, &from));
    TEXT("from", address_text((struct sockaddr *)&from));
    HEX("its IP header begins with", buffer[0]);
    VALUE("protocol", buffer[9]);
    IS("the data", memcmp(buffer + 28, packet + 8, 32) == 0);
    CALL("connect", v4_connect(fd, INADDR_LOOPBACK, 0));
    CALL("send to the peer", send(fd, packet, sizeof packet, 0));
    CALL("reply again", await_reply(fd, ICMP_ECHOREPLY, identifier, 20, buffer, sizeof buffer, &from));
    filter = ~0U;
    REQUIRE(setsockopt(fd, SOL_RAW, 1, &filter, sizeof filter) == 0);
    REQUIRE(send(fd, packet, sizeof packet, 0) == sizeof packet);
    IS("all blocked", stays_quiet(fd));
    CALL("bind to an address of others", v4_bind(fd, 0xc6336401, 0));
    CALL("listen", listen(fd, 1));
    close(fd);
    int udp = v4_socket();
    CALL("ICMP_FILTER of UDP", getsockopt(udp, SOL_RAW, 1, &filter, &length));
    close(udp);
}

static void ipv6(void) {
    int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    REQUIRE(fd >= 0);
    CALL("IPV6_CHECKSUM by SOL_RAW", set_number(fd, SOL_RAW, IPV6_CHECKSUM, 2));
    CALL("IPV6_CHECKSUM by SOL_IPV6", set_number(fd, IPPROTO_IPV6, IPV6_CHECKSUM, 2));
    struct icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
    CALL("ICMP6_FILTER", setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter));
    socklen_t length = sizeof filter;
    CALL("get it", getsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, &length));
    VALUE("its length", length);
    uint16_t identifier = 0x4321;
    unsigned char packet[24] = {ICMP6_ECHO_REQUEST, 0};
    memcpy(packet + 4, &identifier, 2);
    memcpy(packet + 8, "sixteen bytes...", 16);
    CALL("send, checksum not filled in", v6_send(fd, packet, sizeof packet, "::1", 0));
    unsigned char buffer[256];
    struct sockaddr_storage from;
    CALL("reply", await_reply(fd, ICMP6_ECHO_REPLY, identifier, 0, buffer, sizeof buffer, &from));
    TEXT("from", address_text((struct sockaddr *)&from));
    IS("the data", memcmp(buffer + 8, packet + 8, 16) == 0);
    CALL("send to another protocol's port", v6_send(fd, packet, sizeof packet, "::1", 17));
    close(fd);
}

int main(void) {
    ipv4();
    ipv6();
}
