// What epoll and poll report of TCP sockets: levels, edges, one shot, and one of several waiters.
#include "tcp.h"

static int watch(int fd, uint32_t events) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = events, .data.fd = fd};
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    return epoll;
}

// The events that are reported at once, or -1 if there are none.
static long look(int epoll) {
    struct epoll_event event = {0};
    return epoll_wait(epoll, &event, 1, 0) == 1 ? (long)event.events : -1;
}

// The events that are reported as soon as there are some.
static long await(int epoll) {
    struct epoll_event event = {0};
    return epoll_wait(epoll, &event, 1, 10000) == 1 ? (long)event.events : -1;
}

static void level(void) {
    int pair[2];
    char text[16];
    tcp_pair(pair);
    int epoll = watch(pair[1], EPOLLIN | EPOLLRDHUP);
    VALUE("level: nothing", look(epoll));
    REQUIRE(write(pair[0], "ab", 2) == 2);
    VALUE("level: bytes", await(epoll));
    VALUE("level: still", look(epoll));
    REQUIRE(read(pair[1], text, 1) == 1);
    VALUE("level: one left", look(epoll));
    REQUIRE(read(pair[1], text, 1) == 1);
    VALUE("level: none left", look(epoll));
    shutdown(pair[0], SHUT_WR);
    HEX("level: end", await(epoll));
    HEX("level: still the end", look(epoll));
    close(pair[0]);
    close(pair[1]);
    close(epoll);
}

static void edge(void) {
    int pair[2];
    char text[16];
    tcp_pair(pair);
    int epoll = watch(pair[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    HEX("edge: writable at first", look(epoll));
    VALUE("edge: once", look(epoll));
    REQUIRE(write(pair[0], "ab", 2) == 2);
    HEX("edge: bytes", await(epoll));
    VALUE("edge: not again", look(epoll));
    REQUIRE(write(pair[0], "cd", 2) == 2);
    HEX("edge: more bytes though the first were not read", await(epoll));
    REQUIRE(read(pair[1], text, 1) == 1);
    VALUE("edge: reading a part is no edge", look(epoll));
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = pair[1]};
    CALL("edge: modify", epoll_ctl(epoll, EPOLL_CTL_MOD, pair[1], &event));
    HEX("edge: looks again", look(epoll));
    REQUIRE(read(pair[1], text, sizeof text) == 3);
    VALUE("edge: empty", look(epoll));
    shutdown(pair[0], SHUT_WR);
    HEX("edge: end", await(epoll));
    VALUE("edge: end once", look(epoll));
    tcp_close_pair(pair);
    close(epoll);

    // A writer that filled the connection hears of room once there is much.
    tcp_pair(pair);
    tcp_nonblocking(pair[0]);
    epoll = watch(pair[0], EPOLLOUT | EPOLLET);
    HEX("edge: writable", look(epoll));
    static char block[1 << 16];
    while (write(pair[0], block, sizeof block) > 0) {
    }
    // What lies in the receiver's buffer can have made some room meanwhile.
    while (look(epoll) != -1)
        while (write(pair[0], block, sizeof block) > 0) {
        }
    int unsent;
    do
        while (recv(pair[1], block, sizeof block, MSG_DONTWAIT) > 0) {
        }
    while (ioctl(pair[0], SIOCOUTQ, &unsent) == 0 && unsent > 0);
    HEX("edge: writable again", await(epoll));
    tcp_close_pair(pair);
    close(epoll);
}

static void one_shot(void) {
    int pair[2];
    tcp_pair(pair);
    int epoll = watch(pair[1], EPOLLIN | EPOLLONESHOT);
    REQUIRE(write(pair[0], "a", 1) == 1);
    HEX("one shot: bytes", await(epoll));
    REQUIRE(write(pair[0], "b", 1) == 1);
    tcp_await_bytes(pair[1], 2);
    VALUE("one shot: no more", look(epoll));
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = pair[1]};
    CALL("one shot: again", epoll_ctl(epoll, EPOLL_CTL_MOD, pair[1], &event));
    HEX("one shot: at once", look(epoll));
    tcp_close_pair(pair);
    close(epoll);
}

static void connecting(void) {
    int listener = tcp_listener(8);
    int epoll = watch(listener, EPOLLIN | EPOLLET);
    VALUE("listener: nobody", look(epoll));
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(tcp_connect(fd[i], listener) == 0);
        HEX("listener: an edge for each", await(epoll));
    }
    VALUE("listener: no more", look(epoll));
    HEX("listener: poll", tcp_poll(listener));
    tcp_nonblocking(listener);
    for (int i = 0; i < 3; i++)
        REQUIRE(accept(listener, NULL, NULL) >= 0);
    CALL("listener: no more to accept", accept(listener, NULL, NULL));
    close(epoll);
    int bound = tcp_bound();
    int refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    epoll = watch(refused, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP);
    HEX("connecting: before", look(epoll));
    CALL("connecting: to nobody", tcp_connect(refused, bound));
    HEX("connecting: refused", await(epoll));
    close(epoll);
    int good = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    epoll = watch(good, EPOLLOUT | EPOLLET);
    HEX("connecting: before, again", look(epoll));
    CALL("connecting", tcp_connect(good, listener));
    HEX("connecting: done", await(epoll));
    VALUE("connecting: once", look(epoll));
}

static void closed_while_watched(void) {
    int pair[2];
    tcp_pair(pair);
    int epoll = watch(pair[1], EPOLLIN);
    REQUIRE(write(pair[0], "a", 1) == 1);
    HEX("watched", await(epoll));
    close(pair[1]);
    VALUE("closed", look(epoll));
    CALL("not watched", epoll_ctl(epoll, EPOLL_CTL_DEL, pair[1], NULL));
    close(pair[0]);
}

#define WAITERS 3
struct waiter {
    int epoll;
    _Atomic pid_t tid;
    _Atomic int woken;
};

static void *wait_exclusively(void *argument) {
    struct waiter *waiter = argument;
    struct epoll_event event;
    waiter->tid = check_tid();
    for (;;) {
        int count = epoll_wait(waiter->epoll, &event, 1, -1);
        REQUIRE(count == 1);
        if (event.data.fd == -1)
            return NULL;
        int fd = accept4(event.data.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            waiter->woken++;
            char byte = 'x';
            REQUIRE(write(fd, &byte, 1) == 1);
        }
    }
}

// Several instances, each with a thread, watch one listener; each connection is taken by somebody.
static void exclusive(void) {
    int listener = tcp_listener(16);
    tcp_nonblocking(listener);
    int stop[2];
    REQUIRE(pipe(stop) == 0);
    static struct waiter waiters[WAITERS];
    pthread_t threads[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].epoll = watch(listener, EPOLLIN | EPOLLEXCLUSIVE);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = -1};
        REQUIRE(epoll_ctl(waiters[i].epoll, EPOLL_CTL_ADD, stop[0], &event) == 0);
        REQUIRE(pthread_create(&threads[i], NULL, wait_exclusively, &waiters[i]) == 0);
        while (waiters[i].tid == 0)
            sched_yield();
        check_await_sleeping(waiters[i].tid);
    }
    int served = 0;
    for (int i = 0; i < 60; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(tcp_connect(fd, listener) == 0);
        char byte = 0;
        served += read(fd, &byte, 1) == 1 && byte == 'x';
        close(fd);
    }
    VALUE("exclusive: served", served);
    close(stop[1]);
    int woken = 0;
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        woken += waiters[i].woken;
    }
    VALUE("exclusive: accepted", woken);
}

int main(void) {
    level();
    edge();
    one_shot();
    connecting();
    closed_while_watched();
    exclusive();
    return 0;
}
