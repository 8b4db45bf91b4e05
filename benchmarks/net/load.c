// The host's end of `crema bench net`.
//
//     net-load tcp ADDRESS SECONDS ECHO_PORT SINK_PORT SOURCE_PORT      round trips, streams both ways, connections
//     net-load http ADDRESS PORT CONNECTIONS SECONDS                    requests on connections that are kept open
//     net-load paced ADDRESS PORT CONNECTIONS SECONDS RATE              so many requests a second, whatever the answers do
//
// Prints lines `NAME UNIT VALUE`. For `http` the load is closed: a connection sends its next request when it has the answer. For `paced` each
// request is due at a time that was known before, and how long it takes counts from then: a server that stops for a second is charged with
// all requests that were due meanwhile.

#include "net.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

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

// Reads what there is of an answer. Returns whether it is whole now.
static int take_answer(struct connection *connection) {
    ssize_t length =
        read(connection->fd, connection->answer + connection->have, sizeof connection->answer - 1 - connection->have);
    if (length <= 0)
        fail("read an answer");
    connection->have += (size_t)length;
    return is_whole(connection);
}

static void watch(int waiter, int fd, void *what) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(waiter, EPOLL_CTL_ADD, fd, &event) == -1)
        fail("epoll_ctl");
}

static _Noreturn void no_answer(void) {
    fputs("net-load: no answer for 20 s\n", stderr);
    exit(1);
}

static void measure_requests(const char *address, int port, int connections, double seconds) {
    struct connection *all = calloc((size_t)connections, sizeof *all);
    int waiter = epoll_create1(EPOLL_CLOEXEC);
    if (!all || waiter == -1)
        fail("epoll");
    for (int i = 0; i < connections; i++) {
        all[i].fd = open_connection(address, port);
        watch(waiter, all[i].fd, &all[i]);
        send_request(&all[i]);
    }
    // The first part warms up: compilers, caches, windows. It is not counted.
    struct times times = {0};
    uint64_t total = 0, begin = now_ns(), now = 0;
    uint64_t start = begin + (uint64_t)(seconds * 0.6e9), end = begin + (uint64_t)(seconds * 1e9);
    while (now < end) {
        struct epoll_event events[256];
        int count = epoll_wait(waiter, events, 256, 20000);
        if (count == 0)
            no_answer();
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!take_answer(connection))
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

// All requests that are due are sent and answered, so that the work is the same for each server. The first two fifths warm up.
static void measure_paced(const char *address, int port, int connections, double seconds, double rate) {
    struct connection *all = calloc((size_t)connections, sizeof *all), **idle = calloc((size_t)connections, sizeof *idle);
    int waiter = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!all || !idle || waiter == -1 || timer == -1)
        fail("epoll");
    int idle_count = 0;
    for (int i = 0; i < connections; i++) {
        all[i].fd = open_connection(address, port);
        watch(waiter, all[i].fd, &all[i]);
        idle[idle_count++] = &all[i];
    }
    watch(waiter, timer, NULL);
    struct times times = {0};
    long total = (long)(rate * seconds), warm_up = total * 2 / 5, sent = 0, answered = 0;
    uint64_t begin = now_ns(), now = begin, counted_from = 0;
    while (answered < total) {
        while (sent < total && idle_count > 0) {
            uint64_t due = begin + (uint64_t)((double)sent * 1e9 / rate);
            if (due > now) {
                struct itimerspec at = {.it_value = {(time_t)(due / 1000000000), (long)(due % 1000000000)}};
                timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
                break;
            }
            struct connection *connection = idle[--idle_count];
            send_request(connection);
            connection->sent_ns = due;
            if (++sent == warm_up)
                counted_from = due;
        }
        struct epoll_event events[256];
        int count = epoll_wait(waiter, events, 256, 20000);
        if (count == 0)
            no_answer();
        now = now_ns();
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                uint64_t expirations;
                (void)!read(timer, &expirations, sizeof expirations);
                continue;
            }
            if (!take_answer(connection))
                continue;
            if (connection->sent_ns > counted_from && counted_from > 0)
                add_time(&times, now - connection->sent_ns);
            answered++;
            idle[idle_count++] = connection;
        }
    }
    print_times("paced_requests", "1/s", &times, now - counted_from);
    printf("paced_answers work %ld\n", answered);
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
    if (count == 7 && strcmp(arguments[1], "paced") == 0) {
        measure_paced(arguments[2], atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]), atof(arguments[6]));
        return 0;
    }
    fputs("usage: net-load tcp ADDRESS SECONDS ECHO SINK SOURCE | net-load http ADDRESS PORT CONNECTIONS SECONDS\n"
          "       net-load paced ADDRESS PORT CONNECTIONS SECONDS RATE\n", stderr);
    return 1;
}
