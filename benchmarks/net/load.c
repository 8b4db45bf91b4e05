// The host's end of `crema bench net`.
//
//     net-load tcp ADDRESS SECONDS ECHO_PORT SINK_PORT SOURCE_PORT      round trips, streams both ways, connections
//     net-load http ADDRESS PORT CONNECTIONS SECONDS                    requests on connections that are kept open
//
// Prints lines `NAME UNIT VALUE`. The load is closed: a connection sends its next request when it has the answer.

#include "net.h"

#include <fcntl.h>
#include <sys/epoll.h>

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: crema\r\n\r\n";

struct connection {
    int fd;
    uint64_t sent_ns;
    char answer[8192];
    size_t have;
};

static void send_request(struct connection *connection) {
    connection->have = 0;
    connection->sent_ns = now_ns();
    if (write(connection->fd, REQUEST, sizeof REQUEST - 1) != sizeof REQUEST - 1)
        fail("write a request");
}

// Whether the answer is whole; anything but a good one ends the measurement.
static int is_whole(struct connection *connection) {
    connection->answer[connection->have] = 0;
    char *body = strstr(connection->answer, "\r\n\r\n");
    if (!body)
        return 0;
    char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (strncmp(connection->answer, "HTTP/1.1 200", 12) != 0 || !length || length > body) {
        fprintf(stderr, "net-load: not a good answer: %.60s\n", connection->answer);
        exit(1);
    }
    size_t whole = (size_t)(body + 4 - connection->answer) + strtoul(length + 17, NULL, 10);
    return connection->have >= whole;
}

static void measure_requests(const char *address, int port, int connections, double seconds) {
    struct connection *all = calloc((size_t)connections, sizeof *all);
    int waiter = epoll_create1(EPOLL_CLOEXEC);
    if (!all || waiter == -1)
        fail("epoll");
    for (int i = 0; i < connections; i++) {
        all[i].fd = open_connection(address, port);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (epoll_ctl(waiter, EPOLL_CTL_ADD, all[i].fd, &event) == -1)
            fail("epoll_ctl");
        send_request(&all[i]);
    }
    // The first part warms up: compilers, caches, windows. It is not counted.
    struct times times = {0};
    uint64_t total = 0, begin = now_ns(), now = 0;
    uint64_t start = begin + (uint64_t)(seconds * 0.6e9), end = begin + (uint64_t)(seconds * 1e9);
    while (now < end) {
        struct epoll_event events[256];
        int count = epoll_wait(waiter, events, 256, 10000);
        if (count == 0) {
            fputs("net-load: no answer for 10 s\n", stderr);
            exit(1);
        }
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            ssize_t length = read(connection->fd, connection->answer + connection->have,
                                  sizeof connection->answer - 1 - connection->have);
            if (length <= 0)
                fail("read an answer");
            connection->have += (size_t)length;
            if (!is_whole(connection))
                continue;
            now = now_ns();
            total++;
            if (now >= start && now < end)
                add_time(&times, now - connection->sent_ns);
            send_request(connection);
        }
    }
    print_times("http_requests", "1/s", &times, end - start);
    printf("http_total 1 %llu\n", (unsigned long long)total);
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 7 && strcmp(arguments[1], "tcp") == 0) {
        const char *address = arguments[2];
        double seconds = atof(arguments[3]);
        measure_round_trips("round_trips", address, atoi(arguments[4]), seconds);
        measure_sending("stream_to_guest", address, atoi(arguments[5]), seconds);
        measure_receiving("stream_from_guest", address, atoi(arguments[6]), seconds);
        measure_connections("connections", address, atoi(arguments[4]), seconds);
        return 0;
    }
    if (count == 6 && strcmp(arguments[1], "http") == 0) {
        measure_requests(arguments[2], atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]));
        return 0;
    }
    fputs("usage: net-load tcp ADDRESS SECONDS ECHO SINK SOURCE | net-load http ADDRESS PORT CONNECTIONS SECONDS\n", stderr);
    return 1;
}
