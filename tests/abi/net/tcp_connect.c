// Making TCP connections: who is called what, what each call answers in each state, and connections refused.
#include "tcp.h"

static void unconnected(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte = 'x';
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    CALL_OK("socket", fd);
    CALL("read, not connected", read(fd, &byte, 1));
    CALL("recv of nothing, not connected", recv(fd, &byte, 0, 0));
    CALL("send, not connected", send(fd, &byte, 1, MSG_NOSIGNAL));
    CALL("getpeername, not connected", getpeername(fd, (struct sockaddr *)&address, &length));
    length = sizeof address;
    CALL("getsockname, not bound", getsockname(fd, (struct sockaddr *)&address, &length));
    check_line("its name", "%d %s %d, %d bytes", address.sin_family, inet_ntoa(address.sin_addr), address.sin_port,
               (int)length);
    CALL("accept, not listening", accept(fd, NULL, NULL));
    CALL("shutdown, not connected", shutdown(fd, SHUT_RDWR));
    HEX("poll, not connected", tcp_poll(fd));
    TEXT("SO_ERROR, not connected", tcp_error(fd));
    VALUE("state, not connected", tcp_state(fd));
    VALUE("FIONREAD, not connected", tcp_readable(fd));
    VALUE("SO_ACCEPTCONN", tcp_get(fd, SOL_SOCKET, SO_ACCEPTCONN));
    VALUE("SO_TYPE", tcp_get(fd, SOL_SOCKET, SO_TYPE));
    VALUE("SO_DOMAIN", tcp_get(fd, SOL_SOCKET, SO_DOMAIN));
    VALUE("SO_PROTOCOL", tcp_get(fd, SOL_SOCKET, SO_PROTOCOL));
    CALL("ioctl, unknown", ioctl(fd, 0x5499, &byte));
    CALL("lseek", lseek(fd, 0, SEEK_SET));
    CALL("a listener without a bind", listen(fd, 3));
    length = sizeof address;
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    IS("it has a port", address.sin_port != 0);
    TEXT("on any address", inet_ntoa(address.sin_addr));
    VALUE("SO_ACCEPTCONN of a listener", tcp_get(fd, SOL_SOCKET, SO_ACCEPTCONN));
    VALUE("state of a listener", tcp_state(fd));
    HEX("poll of a listener", tcp_poll(fd));
    CALL("read of a listener", read(fd, &byte, 1));
    CALL("send on a listener", send(fd, &byte, 1, MSG_NOSIGNAL));
    VALUE("FIONREAD of a listener", tcp_readable(fd));
    CALL("connect on a listener", connect(fd, (struct sockaddr *)&address, sizeof address));
    CALL("listen again", listen(fd, 10));
    CALL("shutdown for writing of a listener", shutdown(fd, SHUT_WR));
    HEX("poll of it", tcp_poll(fd));
    tcp_nonblocking(fd);
    CALL("accept, nobody", accept(fd, NULL, NULL));
    CALL("shutdown for reading of a listener", shutdown(fd, SHUT_RD));
    VALUE("its state", tcp_state(fd));
    HEX("poll of what was a listener", tcp_poll(fd));
    CALL("accept of what was a listener", accept(fd, NULL, NULL));
    CALL("listen once more", listen(fd, 10));
    VALUE("its state again", tcp_state(fd));
    close(fd);
}

static void addresses(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = tcp_loopback(0), other;
    CALL("bind, address too short", bind(fd, (struct sockaddr *)&address, 4));
    CALL("bind, bad pointer", bind(fd, UNMAPPED, sizeof address));
    address.sin_family = AF_UNIX;
    CALL("bind, wrong family", bind(fd, (struct sockaddr *)&address, sizeof address));
    CALL("connect, wrong family", connect(fd, (struct sockaddr *)&address, sizeof address));
    CALL("connect, address too short", connect(fd, (struct sockaddr *)&address, 1));
    address = tcp_loopback(0);
    address.sin_addr.s_addr = inet_addr("192.0.2.77");
    CALL("bind to somebody else's address", bind(fd, (struct sockaddr *)&address, sizeof address));
    address = tcp_loopback(0);
    CALL("bind", bind(fd, (struct sockaddr *)&address, sizeof address));
    CALL("bind again", bind(fd, (struct sockaddr *)&address, sizeof address));
    address = tcp_name(fd);
    int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("bind where another is bound", bind(second, (struct sockaddr *)&address, sizeof address));
    REQUIRE(listen(fd, 5) == 0);
    tcp_set(second, SOL_SOCKET, SO_REUSEADDR, 1);
    CALL("bind with SO_REUSEADDR where another listens", bind(second, (struct sockaddr *)&address, sizeof address));
    other = address;
    other.sin_addr.s_addr = inet_addr("127.0.0.2");
    CALL("bind to the port at another address", bind(second, (struct sockaddr *)&other, sizeof other));
    CALL("and listen", listen(second, 5));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("connect to the second", connect(client, (struct sockaddr *)&other, sizeof other));
    int accepted = accept4(second, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CALL_OK("accept4", accepted);
    HEX("flags", fcntl(accepted, F_GETFL));
    TEXT("its address", inet_ntoa(tcp_name(accepted).sin_addr));
    IS("its port is the listener's", tcp_name(accepted).sin_port == other.sin_port);
    // A connection does not inherit the listener's file flags.
    close(client);
    close(accepted);
    tcp_nonblocking(fd);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(client, fd) == 0);
    tcp_poll_for(fd, POLLIN);
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    accepted = accept(fd, (struct sockaddr *)&from, &length);
    HEX("flags of an accepted socket", fcntl(accepted, F_GETFL));
    VALUE("length of its peer's address", length);
    IS("its peer is the client", from.sin_port == tcp_name(client).sin_port);
    length = 6;
    struct sockaddr_in peer = {0};
    CALL("getpeername with little room", getpeername(accepted, (struct sockaddr *)&peer, &length));
    check_line("the length that it would have", "%d, address %s", (int)length, inet_ntoa(peer.sin_addr));
    CALL("accept4, unknown flag", accept4(fd, NULL, NULL, 1));
    CALL("accept, bad pointer", (tcp_connect(second = socket(AF_INET, SOCK_STREAM, 0), fd), tcp_poll_for(fd, POLLIN),
                                 accept(fd, UNMAPPED, &length)));
    close(fd);
}

static void connecting(void) {
    int listener = tcp_listener(5);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("connect", tcp_connect(fd, listener));
    CALL("connect again", tcp_connect(fd, listener));
    VALUE("state", tcp_state(fd));
    HEX("poll, connected", tcp_poll(fd));
    CALL("listen on a connection", listen(fd, 1));
    CALL("bind of a connection", (bind)(fd, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 16));
    int accepted = accept(listener, NULL, NULL);
    CALL("accept on a connection", accept(accepted, NULL, NULL));
    CALL("send to an address on a connection",
         sendto(fd, "x", 1, 0, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 16));
    char text[8];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    CALL("recvfrom tells no address", recvfrom(accepted, text, sizeof text, 0, (struct sockaddr *)&from, &length));
    VALUE("length of none", length);
    close(fd);
    close(accepted);

    // Nobody listens.
    int bound = tcp_bound();
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("connect where nobody listens", tcp_connect(fd, bound));
    TEXT("the call took the error", tcp_error(fd));
    HEX("poll after it", tcp_poll(fd));
    CALL("and again", tcp_connect(fd, bound));
    CALL("then to a listener", tcp_connect(fd, listener));
    REQUIRE(accept(listener, NULL, NULL) >= 0);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CALL("non-blocking connect where nobody listens", tcp_connect(fd, bound));
    HEX("poll of it", tcp_poll_for(fd, POLLERR));
    char byte;
    CALL("read takes the error", read(fd, &byte, 1));
    TEXT("none is left", tcp_error(fd));
    CALL("read after it", read(fd, &byte, 1));
    CALL("send after it", send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CALL("another", tcp_connect(fd, bound));
    tcp_poll_for(fd, POLLERR);
    TEXT("SO_ERROR", tcp_error(fd));
    TEXT("only once", tcp_error(fd));
    HEX("poll after it, too", tcp_poll(fd));
    close(fd);

    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CALL("non-blocking connect", tcp_connect(fd, listener));
    HEX("poll", tcp_poll_for(fd, POLLOUT));
    TEXT("SO_ERROR", tcp_error(fd));
    CALL("connect when it is done", tcp_connect(fd, listener));
    CALL("and once more", tcp_connect(fd, listener));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CALL("connect to nobody ends it", connect(fd, &none, sizeof none));
    VALUE("state after", tcp_state(fd));
    IS("it lost its port", tcp_name(fd).sin_port == 0);
    CALL("the other end", (accepted = accept(listener, NULL, NULL), tcp_poll_for(accepted, POLLERR),
                           read(accepted, &byte, 1)));
    close(fd);
    close(bound);
    fd = tcp_bound();
    struct sockaddr_in self = tcp_name(fd);
    CALL("a socket can connect to itself", connect(fd, (struct sockaddr *)&self, sizeof self));
    CALL("write to itself", write(fd, "me", 2));
    CALL("read from itself", read(fd, text, sizeof text));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = tcp_name(listener);
    any.sin_addr.s_addr = INADDR_ANY;
    CALL("connect to the address of any", connect(fd, (struct sockaddr *)&any, sizeof any));
    struct sockaddr_in peer;
    length = sizeof peer;
    REQUIRE(getpeername(fd, (struct sockaddr *)&peer, &length) == 0);
    TEXT("means the loopback", inet_ntoa(peer.sin_addr));
    int broadcast = socket(AF_INET, SOCK_STREAM, 0);
    any.sin_addr.s_addr = INADDR_BROADCAST;
    CALL("connect to all", connect(broadcast, (struct sockaddr *)&any, sizeof any));
    any.sin_addr.s_addr = inet_addr("224.0.0.1");
    CALL("connect to a group", connect(broadcast, (struct sockaddr *)&any, sizeof any));
}

int main(void) {
    unconnected();
    addresses();
    connecting();
    return 0;
}
