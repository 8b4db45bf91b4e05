// The queue of a listener: how many fit, what becomes of those that do not, and sharing a port.
#include "tcp.h"

#define CLIENTS 6

static int start_connect(int listener) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && tcp_connect(fd, listener) == -1 && errno == EINPROGRESS);
    return fd;
}

// One after the other, so that it is certain who comes first.
static int connected_within(int fd, int milliseconds) {
    struct pollfd set = {fd, POLLOUT, 0};
    return poll(&set, 1, milliseconds) == 1 && set.revents == POLLOUT;
}

int main(void) {
    int listener = tcp_listener(1);
    tcp_nonblocking(listener);
    int clients[CLIENTS];
    int connected = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = start_connect(listener);
        connected += connected_within(clients[i], 300);
    }
    // One more than the backlog.
    VALUE("connected before anybody accepts", connected);
    int taken = 0;
    while (taken < CLIENTS) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            taken++;
        else
            tcp_poll_for(listener, POLLIN);
    }
    // The others have tried again.
    VALUE("accepted in the end", taken);
    int established = 0;
    for (int i = 0; i < CLIENTS; i++)
        established += connected_within(clients[i], 10000) && strcmp(tcp_error(clients[i]), "none") == 0;
    VALUE("connected in the end", established);
    close(listener);

    listener = tcp_listener(0);
    int first = start_connect(listener);
    IS("a backlog of 0 holds one", connected_within(first, 5000));
    CALL("a longer one", listen(listener, 5));
    int second = start_connect(listener);
    IS("holds another", connected_within(second, 5000));
    close(listener);

    // Several listeners on one port.
    int shared[2];
    shared[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    shared[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = tcp_loopback(0);
    tcp_set(shared[0], SOL_SOCKET, SO_REUSEPORT, 1);
    REQUIRE(bind(shared[0], (struct sockaddr *)&address, sizeof address) == 0);
    address = tcp_name(shared[0]);
    CALL("bind beside it without SO_REUSEPORT", bind(shared[1], (struct sockaddr *)&address, sizeof address));
    tcp_set(shared[1], SOL_SOCKET, SO_REUSEPORT, 1);
    CALL("bind beside it with SO_REUSEPORT", bind(shared[1], (struct sockaddr *)&address, sizeof address));
    CALL("listen", listen(shared[0], 128));
    CALL("listen beside it", listen(shared[1], 128));
    int fds[64];
    for (int i = 0; i < 64; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(tcp_connect(fds[i], shared[0]) == 0);
    }
    int counts[2] = {0, 0};
    while (counts[0] + counts[1] < 64) {
        struct pollfd set[2] = {{shared[0], POLLIN, 0}, {shared[1], POLLIN, 0}};
        REQUIRE(poll(set, 2, 10000) > 0);
        for (int i = 0; i < 2; i++)
            if (set[i].revents & POLLIN) {
                REQUIRE(accept(shared[i], NULL, NULL) >= 0);
                counts[i]++;
            }
    }
    VALUE("all came", counts[0] + counts[1]);
    IS("both got some", counts[0] > 0 && counts[1] > 0);
    close(shared[0]);
    int after = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("the other one is still there", tcp_connect(after, shared[1]));
    return 0;
}
