// Datagrams over the loopback: borders, lengths, senders, peeking, connections, both families.
#include "udp.h"

static char data[70000];

static void ipv4(void) {
    int receiver = v4_bound(), sender = v4_socket();
    uint16_t port = port_of(receiver);
    char buffer[64];
    CALL("nothing there", recv(receiver, buffer, sizeof buffer, MSG_DONTWAIT));
    CALL("send to a port", v4_send(sender, "hello", 5, INADDR_LOOPBACK, port));
    IS("the sender has a port now", port_of(sender) != 0);
    TEXT("and no address", own_address(sender));
    CALL("it can be read", await_input(receiver));
    int waiting = -1;
    CALL("FIONREAD", ioctl(receiver, FIONREAD, &waiting));
    VALUE("its length", waiting);
    CALL("SIOCOUTQ", ioctl(sender, TIOCOUTQ, &waiting));
    VALUE("nothing unsent", waiting);
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    CALL("peek", recvfrom(receiver, buffer, 2, MSG_PEEK, (struct sockaddr *)&from, &length));
    CALL("peek with its whole length", recv(receiver, buffer, 2, MSG_PEEK | MSG_TRUNC));
    CALL("receive", recvfrom(receiver, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length));
    IS("the data", memcmp(buffer, "hello", 5) == 0);
    VALUE("length of the address", length);
    TEXT("sender's address", address_text((struct sockaddr *)&from));
    IS("sender's port", ntohs(from.sin_port) == port_of(sender));
    CALL("send nothing", v4_send(sender, "", 0, INADDR_LOOPBACK, port));
    CALL("send more", v4_send(sender, "0123456789", 10, INADDR_LOOPBACK, port));
    REQUIRE(await_input(receiver) == 1);
    CALL("receive nothing", recv(receiver, buffer, sizeof buffer, 0));
    REQUIRE(await_input(receiver) == 1);
    struct iovec parts[2] = {{buffer, 3}, {buffer + 10, 4}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    CALL("receive a part into two buffers", recvmsg(receiver, &message, 0));
    HEX("which says so", message.msg_flags);
    IS("the parts", memcmp(buffer, "012", 3) == 0 && memcmp(buffer + 10, "3456", 4) == 0);
    CALL("and the rest is gone", recv(receiver, buffer, sizeof buffer, MSG_DONTWAIT));
    CALL("read of no bytes with data there", (v4_send(sender, "x", 1, INADDR_LOOPBACK, port), await_input(receiver),
                                              read(receiver, buffer, 0)));
    CALL("took it", recv(receiver, buffer, sizeof buffer, MSG_DONTWAIT));
    close(receiver);
    close(sender);
}

static void lengths(void) {
    int receiver = v4_bound(), sender = v4_socket();
    uint16_t port = port_of(receiver);
    REQUIRE(set_number(receiver, SOL_SOCKET, SO_RCVBUF, 400000) == 0);
    CALL("the longest datagram", v4_send(sender, data, 65507, INADDR_LOOPBACK, port));
    REQUIRE(await_input(receiver) == 1);
    CALL("arrives", recv(receiver, data, sizeof data, 0));
    CALL("a longer one", v4_send(sender, data, 65508, INADDR_LOOPBACK, port));
    CALL("much longer", v4_send(sender, data, 66000, INADDR_LOOPBACK, port));
    for (size_t length = 100; length <= 60000; length = length * 3 + 1) {
        for (size_t n = 0; n < length; n++)
            data[n] = (char)(n * 7 + length);
        REQUIRE(v4_send(sender, data, length, INADDR_LOOPBACK, port) == (ssize_t)length);
        REQUIRE(await_input(receiver) == 1);
        memset(data, 0, sizeof data);
        ssize_t got = recv(receiver, data, sizeof data, 0);
        bool same = got == (ssize_t)length;
        for (size_t n = 0; same && n < length; n++)
            same = data[n] == (char)(n * 7 + length);
        char name[64];
        snprintf(name, sizeof name, "%zu bytes arrive as they are", length);
        IS(name, same);
    }
    close(receiver);
    close(sender);
}

static void connected(void) {
    int a = v4_bound(), b = v4_bound(), stranger = v4_bound();
    char buffer[64];
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    CALL("peer of an unconnected socket", getpeername(a, (struct sockaddr *)&address, &length));
    CALL("send without address", send(a, "x", 1, 0));
    CALL("write without peer", write(a, "x", 1));
    CALL("connect", v4_connect(a, INADDR_LOOPBACK, port_of(b)));
    length = sizeof address;
    CALL("peer", getpeername(a, (struct sockaddr *)&address, &length));
    TEXT("its address", address_text((struct sockaddr *)&address));
    CALL("write to the peer", write(a, "one", 3));
    REQUIRE(await_input(b) == 1);
    CALL("arrives", read(b, buffer, sizeof buffer));
    CALL("a stranger sends", v4_send(stranger, "no", 2, INADDR_LOOPBACK, port_of(a)));
    CALL("the peer answers", v4_send(b, "yes", 3, INADDR_LOOPBACK, port_of(a)));
    REQUIRE(await_input(a) == 1);
    CALL("only the peer's arrives", recv(a, buffer, sizeof buffer, 0));
    IS("nothing more", stays_quiet(a));
    CALL("send to somebody else all the same", v4_send(a, "two", 3, INADDR_LOOPBACK, port_of(stranger)));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CALL("disconnect", connect(a, &none, sizeof none));
    length = sizeof address;
    CALL("no peer any more", getpeername(a, (struct sockaddr *)&address, &length));
    TEXT("the bound address stays", own_address(a));
    CALL("connect again, to another one", v4_connect(a, INADDR_LOOPBACK, port_of(stranger)));
    CALL("and again", v4_connect(a, INADDR_LOOPBACK, port_of(b)));
    int c = v4_socket();
    CALL("connect an unbound socket", v4_connect(c, INADDR_LOOPBACK, port_of(b)));
    TEXT("it has an address now", own_address(c));
    CALL("disconnect it", connect(c, &none, sizeof none));
    TEXT("it has none any more", own_address(c));
    CALL("connect to any address", v4_connect(c, INADDR_ANY, port_of(b)));
    length = sizeof address;
    getpeername(c, (struct sockaddr *)&address, &length);
    TEXT("which is this machine", address_text((struct sockaddr *)&address));
    CALL("listen", listen(c, 1));
    CALL("accept", accept(c, NULL, NULL));
    close(a);
    close(b);
    close(c);
    close(stranger);
}

static void ipv6(void) {
    int receiver = v6_socket(), sender4 = v4_socket(), sender6 = v6_socket();
    char buffer[64];
    CALL("bind to all", v6_bind(receiver, "::", 0));
    uint16_t port = port_of(receiver);
    CALL("send by IPv4", v4_send(sender4, "four", 4, INADDR_LOOPBACK, port));
    struct sockaddr_in6 from;
    socklen_t length = sizeof from;
    REQUIRE(await_input(receiver) == 1);
    CALL("receive", recvfrom(receiver, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length));
    TEXT("sender is mapped", address_text((struct sockaddr *)&from));
    CALL("answer", sendto(receiver, "re", 2, 0, (struct sockaddr *)&from, length));
    REQUIRE(await_input(sender4) == 1);
    CALL("answer arrives", recv(sender4, buffer, sizeof buffer, 0));
    CALL("send by IPv6", v6_send(sender6, "six", 3, "::1", port));
    length = sizeof from;
    REQUIRE(await_input(receiver) == 1);
    CALL("receive by IPv6", recvfrom(receiver, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length));
    TEXT("sender", address_text((struct sockaddr *)&from));
    VALUE("its scope", from.sin6_scope_id);
    VALUE("its flow", from.sin6_flowinfo);
    CALL("send to a mapped address", v6_send(sender6, "map", 3, "::ffff:127.0.0.1", port));
    REQUIRE(await_input(receiver) == 1);
    CALL("arrives", recv(receiver, buffer, sizeof buffer, 0));
    struct sockaddr_in plain = v4_address(INADDR_LOOPBACK, port);
    CALL("send to a plain IPv4 address", sendto(sender6, "p", 1, 0, (struct sockaddr *)&plain, sizeof plain));
    REQUIRE(await_input(receiver) == 1);
    CALL("arrives, too", recv(receiver, buffer, sizeof buffer, 0));
    int only = v6_socket();
    REQUIRE(set_number(only, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0);
    CALL("IPv6 only: send to a mapped address", v6_send(only, "x", 1, "::ffff:127.0.0.1", port));
    CALL("IPv6 only: connect to one", v6_connect(only, "::ffff:127.0.0.1", port));
    CALL("IPv6 only: bind to one", v6_bind(only, "::ffff:127.0.0.1", 0));
    CALL("IPv6 only: send to ::1", v6_send(only, "x", 1, "::1", port));
    REQUIRE(await_input(receiver) == 1);
    recv(receiver, buffer, sizeof buffer, 0);
    CALL("IPv6 only, after it was bound", set_number(only, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    CALL("longest by IPv6", v6_send(sender6, data, 65527, "::1", port));
    REQUIRE(set_number(receiver, SOL_SOCKET, SO_RCVBUF, 400000) == 0);
    CALL("longer by IPv6", v6_send(sender6, data, 65528, "::1", port));
    CALL("connect to ::1", v6_connect(sender6, "::1", port));
    TEXT("own address", own_address(sender6));
    close(receiver);
    close(sender4);
    close(sender6);
    close(only);
}

static void several(void) {
    int receiver = v4_bound(), sender = v4_socket();
    REQUIRE(v4_connect(sender, INADDR_LOOPBACK, port_of(receiver)) == 0);
    struct iovec parts[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr messages[3] = {0};
    for (int n = 0; n < 3; n++)
        messages[n].msg_hdr = (struct msghdr){.msg_iov = &parts[n], .msg_iovlen = 1};
    CALL("sendmmsg", sendmmsg(sender, messages, 3, 0));
    VALUE("length of the last", messages[2].msg_len);
    char buffers[4][8];
    struct iovec into[4];
    struct mmsghdr received[4] = {0};
    for (int n = 0; n < 4; n++) {
        into[n] = (struct iovec){buffers[n], sizeof buffers[n]};
        received[n].msg_hdr = (struct msghdr){.msg_iov = &into[n], .msg_iovlen = 1};
    }
    CALL("recvmmsg of three", recvmmsg(receiver, received, 3, 0, NULL));
    VALUE("first", received[0].msg_len);
    VALUE("third", received[2].msg_len);
    REQUIRE(sendmmsg(sender, messages, 2, 0) == 2);
    REQUIRE(await_input(receiver) == 1);
    check_sleep_ms(20);
    CALL("recvmmsg of those there", recvmmsg(receiver, received, 4, MSG_WAITFORONE, NULL));
    CALL("recvmmsg of none", recvmmsg(receiver, received, 4, MSG_DONTWAIT, NULL));
    CALL("MSG_MORE", send(sender, "one ", 4, MSG_MORE));
    CALL("and the rest", send(sender, "datagram", 8, 0));
    REQUIRE(await_input(receiver) == 1);
    char buffer[32];
    CALL("come as one", recv(receiver, buffer, sizeof buffer, 0));
    IS("in order", memcmp(buffer, "one datagram", 12) == 0);
    CALL("UDP_CORK", set_number(sender, IPPROTO_UDP, UDP_CORK, 1));
    CALL("corked", write(sender, "ab", 2));
    CALL("corked again", write(sender, "cd", 2));
    IS("nothing comes yet", stays_quiet(receiver));
    CALL("uncork", set_number(sender, IPPROTO_UDP, UDP_CORK, 0));
    REQUIRE(await_input(receiver) == 1);
    CALL("comes as one", recv(receiver, buffer, sizeof buffer, 0));
    CALL("UDP_SEGMENT", set_number(sender, IPPROTO_UDP, 103, 4));
    CALL("cut", send(sender, "0123456789", 10, 0));
    for (int n = 0; n < 3; n++) {
        REQUIRE(await_input(receiver) == 1);
        CALL("a piece", recv(receiver, buffer, sizeof buffer, 0));
    }
    close(receiver);
    close(sender);
}

int main(void) {
    ipv4();
    lengths();
    connected();
    ipv6();
    several();
}
