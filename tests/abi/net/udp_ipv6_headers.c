// What options change in headers of IPv6: datagrams without a checksum, and how large packets may be.
#include "udp.h"

static char data[4000];

// A counter of IPv6.
static long count(const char *name) {
    char line[128], word[64];
    long value = -1, found = -1;
    FILE *file = fopen("/proc/net/snmp6", "r");
    REQUIRE(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %ld", word, &value) == 2 && !strcmp(word, name))
            found = value;
    fclose(file);
    return found;
}

static void set(const char *name, int fd, int level, int option, int value) {
    CALL(name, setsockopt(fd, level, option, &value, sizeof value));
}

static void without_checksums(void) {
    int from = v6_socket(), to = v6_socket();
    REQUIRE(v6_bind(to, "::1", 0) == 0);
    uint16_t port = port_of(to);
    VALUE("sends sums at first", !get_number(from, SOL_UDP, UDP_NO_CHECK6_TX));
    set("send none", from, SOL_UDP, UDP_NO_CHECK6_TX, 1);
    VALUE("sends none", get_number(from, SOL_UDP, UDP_NO_CHECK6_TX));
    CALL("a datagram without", v6_send(from, "one", 3, "::1", port));
    IS("is not taken", stays_quiet(to));
    set("take such", to, SOL_UDP, UDP_NO_CHECK6_RX, 1);
    CALL("another", v6_send(from, "two", 3, "::1", port));
    VALUE("is taken", await_input(to));
    CALL("it is the second", recv(to, data, sizeof data, MSG_DONTWAIT));
    set("with sums", from, SOL_UDP, UDP_NO_CHECK6_TX, 0);
    CALL("a third", v6_send(from, "three", 5, "::1", port));
    VALUE("is taken, too", await_input(to));
    CALL("of five bytes", recv(to, data, sizeof data, MSG_DONTWAIT));

    // The same over a connection.
    REQUIRE(v6_connect(from, "::1", port) == 0 && v6_connect(to, "::1", port_of(from)) == 0);
    set("send none again", from, SOL_UDP, UDP_NO_CHECK6_TX, 1);
    CALL("over a connection", send(from, "four", 4, 0));
    VALUE("it is taken", await_input(to));
    CALL("of four bytes", recv(to, data, sizeof data, MSG_DONTWAIT));
    set("take none", to, SOL_UDP, UDP_NO_CHECK6_RX, 0);
    CALL("over a connection again", send(from, "five", 4, 0));
    IS("it is not taken", stays_quiet(to));

    // Whoever cuts makes sums.
    set("cut", from, SOL_UDP, UDP_SEGMENT, 100);
    CALL("cut without sums", send(from, data, 300, 0));
    set("cut, with sums", from, SOL_UDP, UDP_NO_CHECK6_TX, 0);
    CALL("cut with sums", send(from, data, 300, 0));
    for (int n = 0; n < 3; n++) {
        VALUE("a part comes", await_input(to));
        CALL("of a hundred bytes", recv(to, data, sizeof data, MSG_DONTWAIT));
    }
    close(from);
    close(to);

    // The option is IPv6's.
    int from4 = v4_socket(), to4 = v4_bound();
    set("on a socket of IPv4", from4, SOL_UDP, UDP_NO_CHECK6_TX, 1);
    CALL("over IPv4", v4_send(from4, "six", 3, INADDR_LOOPBACK, port_of(to4)));
    VALUE("it has a sum", await_input(to4));
    close(from4);
    close(to4);
}

static void largest_packets(void) {
    int from = v6_socket(), to = v6_socket();
    REQUIRE(v6_bind(to, "::1", 0) == 0);
    uint16_t port = port_of(to);
    long before = count("Ip6FragCreates");
    CALL("a datagram in one piece", v6_send(from, data, 3000, "::1", port));
    VALUE("it comes", await_input(to));
    CALL("whole", recv(to, data, sizeof data, MSG_DONTWAIT));
    VALUE("fragments", count("Ip6FragCreates") - before);
    set("packets of 1280 bytes", from, IPPROTO_IPV6, IPV6_MTU, 1280);
    // Only what the path does not take whole is cut, and then into pieces of that size.
    CALL("a datagram that the loopback takes", v6_send(from, data, 3000, "::1", port));
    VALUE("it comes, too", await_input(to));
    CALL("whole, too", recv(to, data, sizeof data, MSG_DONTWAIT));
    VALUE("it is not cut", count("Ip6FragCreates") - before);
    CALL("the largest that fits", v6_send(from, data, 1280 - 48, "::1", port));
    VALUE("no more of them", count("Ip6FragCreates") - before);
    set("no fragments", from, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
    CALL("what does not fit", v6_send(from, data, 1280 - 47, "::1", port));
    CALL("what fits", v6_send(from, data, 1280 - 48, "::1", port));
    set("as large as the path allows", from, IPPROTO_IPV6, IPV6_MTU, 0);
    CALL("what did not fit", v6_send(from, data, 1280 - 47, "::1", port));
    close(from);
    close(to);
}

int main(void) {
    without_checksums();
    largest_packets();
}
