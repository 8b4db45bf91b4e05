// TCP over IPv6, and IPv6 sockets that speak IPv4 as well.
#include "tcp.h"

static struct sockaddr_in6 v6(const char *text, uint16_t port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    REQUIRE(inet_pton(AF_INET6, text, &address.sin6_addr) == 1);
    return address;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in6 address;
    socklen_t length = sizeof address;
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin6_port);
}

static void show(const char *name, int fd, int (*get)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_storage storage = {0};
    socklen_t length = sizeof storage;
    char text[64] = "";
    if (get(fd, (struct sockaddr *)&storage, &length) == -1) {
        check_line(name, "-1 %s", check_errno_name(errno));
        return;
    }
    if (storage.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&storage)->sin6_addr, text, sizeof text);
    else
        inet_ntop(AF_INET, &((struct sockaddr_in *)&storage)->sin_addr, text, sizeof text);
    check_line(name, "%d %s, %d bytes", storage.ss_family, text, (int)length);
}

static int my_getsockname(int fd, struct sockaddr *address, socklen_t *length) { return getsockname(fd, address, length); }
static int my_getpeername(int fd, struct sockaddr *address, socklen_t *length) { return getpeername(fd, address, length); }

static int listen_on(const char *text, int only, uint16_t port) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    tcp_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
    struct sockaddr_in6 address = v6(text, port);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1 || listen(fd, 4) == -1) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static long connect6(int fd, const char *text, uint16_t port) {
    struct sockaddr_in6 address = v6(text, port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static long connect4(int fd, uint16_t port) {
    struct sockaddr_in address = tcp_loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int stream(int family) { return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); }

static void talk(const char *name, int a, int b) {
    char text[8] = "";
    REQUIRE(write(a, "ping", 4) == 4);
    long length = recv(b, text, 4, MSG_WAITALL);
    check_line(name, "%ld %s", length, text);
}

int main(void) {
    int listener = listen_on("::1", 0, 0);
    CALL_OK("listen on ::1", listener);
    int client = stream(AF_INET6);
    CALL("connect to ::1", connect6(client, "::1", port_of(listener)));
    int server = accept(listener, NULL, NULL);
    show("client's name", client, my_getsockname);
    show("client's peer", client, my_getpeername);
    show("server's name", server, my_getsockname);
    show("server's peer", server, my_getpeername);
    talk("over ::1", client, server);
    close(client);
    close(server);
    client = stream(AF_INET);
    CALL("IPv4 to one that listens on ::1", connect4(client, port_of(listener)));
    close(client);
    close(listener);

    listener = listen_on("::", 0, 0);
    VALUE("V6ONLY", tcp_get(listener, IPPROTO_IPV6, IPV6_V6ONLY));
    show("listener's name", listener, my_getsockname);
    client = stream(AF_INET);
    CALL("IPv4 to a dual listener", connect4(client, port_of(listener)));
    server = accept(listener, NULL, NULL);
    show("its client's peer", client, my_getpeername);
    show("its server's name", server, my_getsockname);
    show("its server's peer", server, my_getpeername);
    talk("over mapped addresses", server, client);
    VALUE("family of the server", tcp_get(server, SOL_SOCKET, SO_DOMAIN));
    close(client);
    close(server);
    client = stream(AF_INET6);
    CALL("a mapped address", connect6(client, "::ffff:127.0.0.1", port_of(listener)));
    server = accept(listener, NULL, NULL);
    show("its name", client, my_getsockname);
    show("its peer", client, my_getpeername);
    talk("mapped both", client, server);
    close(client);
    close(server);
    client = stream(AF_INET6);
    CALL("IPv6 to a dual listener", connect6(client, "::1", port_of(listener)));
    server = accept(listener, NULL, NULL);
    show("its server's name, IPv6", server, my_getsockname);
    close(client);
    close(server);
    int four = stream(AF_INET);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port_of(listener))};
    CALL("IPv4 bind where a dual socket listens", bind(four, (struct sockaddr *)&any, sizeof any));
    close(four);
    CALL("V6ONLY once bound", setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)));
    close(listener);

    listener = listen_on("::", 1, 0);
    VALUE("V6ONLY on", tcp_get(listener, IPPROTO_IPV6, IPV6_V6ONLY));
    client = stream(AF_INET);
    CALL("IPv4 to one that is V6ONLY", connect4(client, port_of(listener)));
    close(client);
    four = stream(AF_INET);
    any.sin_port = htons(port_of(listener));
    CALL("IPv4 bind beside it", bind(four, (struct sockaddr *)&any, sizeof any));
    CALL("IPv4 listen beside it", listen(four, 1));
    client = stream(AF_INET);
    CALL("IPv4 to the one beside", connect4(client, port_of(listener)));
    server = accept(four, NULL, NULL);
    show("who took it", server, my_getsockname);
    close(client);
    close(server);
    close(four);
    close(listener);

    client = stream(AF_INET6);
    tcp_set(client, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    CALL("V6ONLY to a mapped address", connect6(client, "::ffff:127.0.0.1", 1));
    close(client);
    client = stream(AF_INET6);
    CALL("V6ONLY bind to a mapped address",
         (tcp_set(client, IPPROTO_IPV6, IPV6_V6ONLY, 1),
          bind(client, (struct sockaddr *)&(struct sockaddr_in6){.sin6_family = AF_INET6,
                                                                 .sin6_addr.s6_addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}},
               sizeof(struct sockaddr_in6))));
    close(client);
    client = stream(AF_INET6);
    struct sockaddr_in6 mapped = v6("::ffff:127.0.0.1", 0);
    CALL("bind to a mapped address", bind(client, (struct sockaddr *)&mapped, sizeof mapped));
    show("bound to it", client, my_getsockname);
    CALL("and to IPv6", connect6(client, "::1", 1));
    close(client);
    client = stream(AF_INET6);
    CALL("to a group", connect6(client, "ff02::1", 1));
    CALL("to a link-local address without an interface", connect6(client, "fe80::1", 1));
    CALL("an address that is too short", connect(client, (struct sockaddr *)&mapped, 16));
    CALL("an IPv4 address", connect4(client, 1));
    close(client);
    int bound = stream(AF_INET6);
    struct sockaddr_in6 loopback = v6("::1", 0);
    REQUIRE(bind(bound, (struct sockaddr *)&loopback, sizeof loopback) == 0);
    client = stream(AF_INET6);
    CALL("refused over IPv6", connect6(client, "::1", port_of(bound)));
    listener = listen_on("::", 0, 0);
    CALL("to the address of any", connect6(client, "::", port_of(listener)));
    show("means", client, my_getpeername);
    return 0;
}
