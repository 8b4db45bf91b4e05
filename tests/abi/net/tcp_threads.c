// Blocked TCP calls and other threads: signals, the JDK's way of closing (dup2 and a signal), many connections.
#include "tcp.h"
#include <sys/resource.h>

static void nothing(int number, siginfo_t *info, void *context) { (void)number, (void)info, (void)context; }

enum what { READ, WRITE, ACCEPT, CONNECT, POLL };

struct blocked {
    int fd;
    enum what what;
    struct sockaddr_in address;
    _Atomic pid_t tid;
    pthread_t thread;
    long result;
    int error;
};

static void *block(void *argument) {
    struct blocked *blocked = argument;
    static char bytes[1 << 16];
    struct pollfd set = {blocked->fd, POLLIN, 0};
    char byte;
    blocked->tid = check_tid();
    switch (blocked->what) {
    case READ:
        blocked->result = read(blocked->fd, &byte, 1);
        break;
    case WRITE:
        blocked->result = write(blocked->fd, bytes, sizeof bytes);
        break;
    case ACCEPT:
        blocked->result = accept(blocked->fd, NULL, NULL);
        break;
    case CONNECT:
        blocked->result = connect(blocked->fd, (struct sockaddr *)&blocked->address, sizeof blocked->address);
        break;
    case POLL:
        blocked->result = poll(&set, 1, -1);
        break;
    }
    blocked->error = errno;
    return NULL;
}

static void start(struct blocked *blocked) {
    REQUIRE(pthread_create(&blocked->thread, NULL, block, blocked) == 0);
    while (blocked->tid == 0)
        sched_yield();
    check_await_sleeping(blocked->tid);
}

static void interrupt(struct blocked *blocked) { pthread_kill(blocked->thread, SIGUSR1); }

static void finish(const char *name, struct blocked *blocked) {
    pthread_join(blocked->thread, NULL);
    check_result(name, blocked->result, blocked->error);
}

// Fills a connection until it takes no more, also after a while: then a write blocks for good.
static void fill(int fd) {
    static char bytes[1 << 16];
    for (int quiet = 0; quiet < 5; quiet++) {
        while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            quiet = 0;
        check_sleep_ms(20);
    }
}

// A listener whose queue is full: who connects now has to wait.
static int full_listener(int clients[8]) {
    int listener = tcp_listener(0);
    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        tcp_connect(clients[i], listener);
    }
    check_sleep_ms(20);
    return listener;
}

static void interrupted(void) {
    int pair[2], clients[8];
    tcp_pair(pair);
    int listener = tcp_listener(1);
    int full = full_listener(clients);
    struct blocked all[] = {
        {.fd = pair[0], .what = READ},
        {.fd = pair[0], .what = WRITE},
        {.fd = listener, .what = ACCEPT},
        {.fd = socket(AF_INET, SOCK_STREAM, 0), .what = CONNECT, .address = tcp_name(full)},
        {.fd = pair[0], .what = POLL},
    };
    static const char *const names[] = {"read", "write", "accept", "connect", "poll"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[80];
        if (all[i].what == WRITE)
            fill(all[i].fd);
        start(&all[i]);
        interrupt(&all[i]);
        snprintf(name, sizeof name, "a blocked %s and a signal", names[i]);
        finish(name, &all[i]);
    }
    tcp_nonblocking(all[3].fd);
    CALL("the connect goes on", tcp_connect(all[3].fd, full));
    close(all[3].fd);
    struct timeval long_time = {1000, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time);
    check_catch(SIGUSR2, nothing, SA_RESTART);
    struct blocked timed = {.fd = pair[0], .what = READ};
    start(&timed);
    pthread_kill(timed.thread, SIGUSR2);
    finish("a read with a timeout is not restarted", &timed);
    struct timeval none = {0, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    struct blocked restarted = {.fd = pair[0], .what = READ};
    start(&restarted);
    pthread_kill(restarted.thread, SIGUSR2);
    check_await_sleeping(restarted.tid);
    REQUIRE(write(pair[1], "x", 1) == 1);
    finish("a read without one is", &restarted);
    close(full);
    close(listener);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
    tcp_close_pair(pair);
}

// NioSocketImpl and the old SocketImpl: dup2 of a half-closed socket over the descriptor, then a signal.
static void closed_as_the_jdk_does(void) {
    int marker[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, marker) == 0);
    REQUIRE(shutdown(marker[0], SHUT_RDWR) == 0);
    int pair[2];
    tcp_pair(pair);
    struct blocked reader = {.fd = pair[0], .what = READ};
    start(&reader);
    CALL_OK("dup2 over a read", dup2(marker[0], pair[0]));
    interrupt(&reader);
    finish("the read", &reader);
    char byte;
    CALL("read again", read(pair[0], &byte, 1));
    HEX("the peer sees the end", tcp_poll_for(pair[1], POLLRDHUP));
    tcp_close_pair(pair);
    int listener = tcp_listener(1);
    struct sockaddr_in address = tcp_name(listener);
    struct blocked acceptor = {.fd = listener, .what = ACCEPT};
    start(&acceptor);
    CALL_OK("dup2 over an accept", dup2(marker[0], listener));
    interrupt(&acceptor);
    finish("the accept", &acceptor);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CALL("nobody listens any more", connect(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
    close(listener);
    // Closing alone does not end the call; what it holds stays open until it ends.
    tcp_pair(pair);
    struct blocked holder = {.fd = pair[0], .what = READ};
    start(&holder);
    CALL("close under a read", close(pair[0]));
    HEX("the peer sees nothing yet", tcp_poll(pair[1]));
    REQUIRE(write(pair[1], "x", 1) == 1);
    finish("the read that was under way", &holder);
    HEX("now it is closed", tcp_poll_for(pair[1], POLLRDHUP));
    close(pair[1]);
}

#define MANY 1000
static int many[MANY], accepted[MANY];

static void *accept_many(void *argument) {
    int listener = *(int *)argument;
    for (int i = 0; i < MANY; i++) {
        accepted[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        REQUIRE(accepted[i] >= 0);
    }
    return NULL;
}

static void many_connections(void) {
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int listener = tcp_listener(128);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, accept_many, &listener) == 0);
    int connected = 0;
    for (int i = 0; i < MANY; i++) {
        many[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connected += tcp_connect(many[i], listener) == 0;
    }
    pthread_join(thread, NULL);
    VALUE("connected", connected);
    int echoed = 0;
    for (int i = 0; i < MANY; i++)
        REQUIRE(write(many[i], &i, sizeof i) == sizeof i);
    // Accepted in the order of their coming.
    for (int i = 0; i < MANY; i++) {
        int number = -1;
        echoed += read(accepted[i], &number, sizeof number) == sizeof number && number == i;
    }
    VALUE("told apart", echoed);
    int epoll = epoll_create1(0);
    for (int i = 0; i < MANY; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = (unsigned)i};
        REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, accepted[i], &event) == 0);
    }
    for (int i = 0; i < MANY; i++)
        close(many[i]);
    static char ended[MANY];
    int ends = 0;
    while (ends < MANY) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, 10000);
        REQUIRE(count > 0);
        for (int i = 0; i < count; i++)
            if (!ended[events[i].data.u32]) {
                ended[events[i].data.u32] = 1;
                char byte;
                REQUIRE(read(accepted[events[i].data.u32], &byte, 1) == 0);
                close(accepted[events[i].data.u32]);
                ends++;
            }
    }
    VALUE("ended", ends);
    close(epoll);
    close(listener);
}

#define WORKERS 4
#define ROUNDS 100
static _Atomic int served;

static void *serve(void *argument) {
    int listener = *(int *)argument;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1)
            return NULL;
        char text[32];
        ssize_t length = read(fd, text, sizeof text);
        if (length > 0 && write(fd, text, (size_t)length) == length)
            served++;
        close(fd);
    }
}

static void *ask(void *argument) {
    int listener = *(int *)argument;
    for (long i = 0; i < ROUNDS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        long answer = -1;
        REQUIRE(tcp_connect(fd, listener) == 0);
        REQUIRE(write(fd, &i, sizeof i) == sizeof i);
        REQUIRE(read(fd, &answer, sizeof answer) == sizeof answer && answer == i);
        REQUIRE(read(fd, &answer, sizeof answer) == 0);
        close(fd);
    }
    return NULL;
}

static void many_threads(void) {
    int listener = tcp_listener(64);
    pthread_t servers[WORKERS], clients[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&servers[i], NULL, serve, &listener) == 0 &&
                pthread_create(&clients[i], NULL, ask, &listener) == 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(clients[i], NULL);
    shutdown(listener, SHUT_RD);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(servers[i], NULL);
    VALUE("served", served);
    close(listener);
}

int main(void) {
    check_catch(SIGUSR1, nothing, 0);
    interrupted();
    closed_as_the_jdk_does();
    many_connections();
    many_threads();
    return 0;
}
