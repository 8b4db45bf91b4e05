// Options of TCP sockets: what is there at first, what can be set, what is refused, what is inherited.
#include "tcp.h"

#define GET(fd, level, option) VALUE(#option, tcp_get(fd, level, option))
#define SET(fd, level, option, number)                                                                                \
    do {                                                                                                              \
        int set_value = (number);                                                                                     \
        CALL("set " #option " to " #number, setsockopt(fd, level, option, &set_value, sizeof set_value));             \
        VALUE(#option " is", tcp_get(fd, level, option));                                                             \
    } while (0)

static void show_all(int fd) {
    GET(fd, IPPROTO_TCP, TCP_NODELAY);
    GET(fd, IPPROTO_TCP, TCP_CORK);
    GET(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    GET(fd, IPPROTO_TCP, TCP_KEEPINTVL);
    GET(fd, IPPROTO_TCP, TCP_KEEPCNT);
    GET(fd, IPPROTO_TCP, TCP_SYNCNT);
    GET(fd, IPPROTO_TCP, TCP_LINGER2);
    GET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT);
    GET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT);
    GET(fd, SOL_SOCKET, SO_KEEPALIVE);
    GET(fd, SOL_SOCKET, SO_OOBINLINE);
    GET(fd, SOL_SOCKET, SO_RCVLOWAT);
}

int main(void) {
    int fd = tcp_bound();
    show_all(fd);
    GET(fd, SOL_SOCKET, SO_SNDBUF);
    GET(fd, SOL_SOCKET, SO_RCVBUF);
    GET(fd, SOL_SOCKET, SO_REUSEADDR);
    GET(fd, SOL_SOCKET, SO_REUSEPORT);
    GET(fd, SOL_SOCKET, SO_LINGER);
    GET(fd, IPPROTO_TCP, TCP_MAXSEG);
    GET(fd, IPPROTO_TCP, TCP_QUICKACK);
    GET(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT);
    GET(fd, IPPROTO_TCP, 9999);

    SET(fd, IPPROTO_TCP, TCP_NODELAY, 7);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 32768);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, -1);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 128);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 2);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 0);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 128);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 10);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, -1);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 100000);
    SET(fd, IPPROTO_TCP, TCP_LINGER2, 0);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
    SET(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096);
    SET(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0);
    SET(fd, IPPROTO_TCP, TCP_MAXSEG, 1000);
    SET(fd, IPPROTO_TCP, TCP_MAXSEG, 10);
    SET(fd, IPPROTO_TCP, TCP_MAXSEG, 0);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, SOL_SOCKET, SO_RCVLOWAT, 0);
    SET(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 50000);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 50000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 1);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 1);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 65536);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 65536);
    CALL("an unknown option", setsockopt(fd, IPPROTO_TCP, 9999, &(int){1}, sizeof(int)));
    CALL("an option that is too short", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, 2));
    CALL("an option at a bad address", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, UNMAPPED, 4));
    CALL("an option read to a bad address", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, UNMAPPED, &(socklen_t){4}));
    char small = 9;
    socklen_t length = 1;
    CALL("an option with little room", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &small, &length));
    check_line("its first byte", "%d, %d bytes", small, (int)length);
    char name[32] = "";
    length = sizeof name;
    CALL("TCP_CONGESTION", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    // Which one it is at first depends on how a Linux was configured.
    VALUE("its name's length", length);
    CALL("set TCP_CONGESTION", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    length = sizeof name;
    REQUIRE(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
    TEXT("it is now", name);
    CALL("set TCP_CONGESTION to what is not there", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
    CALL("set TCP_CONGESTION to nothing", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0));

    // A listener's options are its connections'.
    REQUIRE(listen(fd, 2) == 0);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(client, fd) == 0);
    int server = accept(fd, NULL, NULL);
    show_all(server);
    length = sizeof name;
    REQUIRE(getsockopt(server, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0);
    TEXT("inherited TCP_CONGESTION", name);
    GET(server, SOL_SOCKET, SO_SNDBUF);
    GET(server, SOL_SOCKET, SO_RCVBUF);
    GET(server, SOL_SOCKET, SO_ACCEPTCONN);
    IS("TCP_MAXSEG of a connection is large", tcp_get(client, IPPROTO_TCP, TCP_MAXSEG) > 30000);
    SET(client, IPPROTO_TCP, TCP_QUICKACK, 0);
    SET(client, IPPROTO_TCP, TCP_QUICKACK, 1);
    struct tcp_info info = {0};
    length = sizeof info;
    CALL("TCP_INFO", getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &length));
    check_line("state and options", "%d %d", info.tcpi_state, info.tcpi_options);
    IS("it has a round trip time", info.tcpi_rtt > 0);
    IS("and a window", info.tcpi_snd_cwnd >= 10);
    length = 1;
    uint8_t state = 0;
    CALL("TCP_INFO with little room", getsockopt(client, IPPROTO_TCP, TCP_INFO, &state, &length));
    check_line("the state alone", "%d, %d bytes", state, (int)length);
    REQUIRE(tcp_connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd) == 0);
    tcp_poll_for(fd, POLLIN);
    length = sizeof info;
    REQUIRE(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    check_line("a listener's queue", "%u of %u", info.tcpi_unacked, info.tcpi_sacked);
    return 0;
}
