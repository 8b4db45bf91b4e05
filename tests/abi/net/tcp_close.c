// The ends of TCP connections: half-close, reset, linger, what each end sees of it, and who is woken.
#include "tcp.h"

static volatile sig_atomic_t pipes;
static void count_pipe(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    pipes++;
}

static void half_close(void) {
    int pair[2];
    char text[16];
    tcp_pair(pair);
    REQUIRE(write(pair[0], "last", 4) == 4);
    CALL("shutdown for writing", shutdown(pair[0], SHUT_WR));
    CALL("and again", shutdown(pair[0], SHUT_WR));
    tcp_await_state(pair[0], TCP_FIN_WAIT2);
    VALUE("state of the other end", tcp_state(pair[1]));
    HEX("poll of the other end", tcp_poll(pair[1]));
    HEX("poll of this end", tcp_poll(pair[0]));
    CALL("write after shutdown", send(pair[0], "x", 1, MSG_NOSIGNAL));
    CALL("write after shutdown, with the signal", write(pair[0], "x", 1));
    VALUE("signals", pipes);
    CALL("read what came before", read(pair[1], text, sizeof text));
    CALL("read the end", read(pair[1], text, sizeof text));
    CALL("read the end again", read(pair[1], text, sizeof text));
    HEX("poll at the end", tcp_poll(pair[1]));
    CALL("write the other way", write(pair[1], "back", 4));
    CALL("read it", read(pair[0], text, sizeof text));
    CALL("shutdown of the other end", shutdown(pair[1], SHUT_WR));
    tcp_await_state(pair[1], TCP_CLOSE);
    VALUE("state of the first end", tcp_state(pair[0]));
    HEX("poll of the first end", tcp_poll(pair[0]));
    HEX("poll of the second end", tcp_poll(pair[1]));
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    CALL("getpeername when all is over", getpeername(pair[1], (struct sockaddr *)&peer, &length));
    CALL("read when all is over", read(pair[1], text, 1));
    CALL("write when all is over", send(pair[1], "x", 1, MSG_NOSIGNAL));
    CALL("shutdown when all is over", shutdown(pair[1], SHUT_WR));
    tcp_close_pair(pair);

    tcp_pair(pair);
    CALL("shutdown for reading", shutdown(pair[1], SHUT_RD));
    HEX("poll after it", tcp_poll(pair[1]));
    CALL("read after it", read(pair[1], text, 1));
    HEX("the peer knows nothing", tcp_poll(pair[0]));
    REQUIRE(write(pair[0], "late", 4) == 4);
    tcp_await_bytes(pair[1], 4);
    CALL("what comes is still read", read(pair[1], text, sizeof text));
    CALL("and then the end", read(pair[1], text, sizeof text));
    CALL("writing goes on", write(pair[1], "x", 1));
    tcp_close_pair(pair);

    tcp_pair(pair);
    CALL("shutdown for both", shutdown(pair[0], SHUT_RDWR));
    HEX("poll after both", tcp_poll(pair[0]));
    tcp_await_state(pair[1], TCP_CLOSE_WAIT);
    HEX("poll of the peer", tcp_poll(pair[1]));
    CALL("the peer writes", write(pair[1], "x", 1));
    CALL("a bad direction", shutdown(pair[0], 7));
    tcp_close_pair(pair);
}

static void resets(void) {
    int pair[2];
    char text[16];
    struct linger now = {1, 0};
    tcp_pair(pair);
    REQUIRE(write(pair[0], "lost", 4) == 4);
    tcp_await_bytes(pair[1], 4);
    CALL("linger of 0", setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(pair[0]);
    HEX("poll after a reset", tcp_poll_for(pair[1], POLLERR));
    VALUE("state after a reset", tcp_state(pair[1]));
    VALUE("FIONREAD after a reset", tcp_readable(pair[1]));
    CALL("read after a reset", read(pair[1], text, sizeof text));
    CALL("and then", read(pair[1], text, sizeof text));
    CALL("and then again", read(pair[1], text, sizeof text));
    CALL("write after a reset", send(pair[1], "x", 1, MSG_NOSIGNAL));
    CALL("getpeername after a reset", getpeername(pair[1], (struct sockaddr *)&(struct sockaddr_in){0}, &(socklen_t){16}));
    close(pair[1]);

    tcp_pair(pair);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(pair[0]);
    tcp_poll_for(pair[1], POLLERR);
    CALL("write meets the reset", send(pair[1], "x", 1, MSG_NOSIGNAL));
    CALL("the next is a broken pipe", send(pair[1], "x", 1, MSG_NOSIGNAL));
    CALL("read after it", read(pair[1], text, 1));
    close(pair[1]);

    tcp_pair(pair);
    REQUIRE(write(pair[0], "unread", 6) == 6);
    tcp_await_bytes(pair[1], 6);
    close(pair[1]);
    HEX("poll when the peer closed with bytes unread", tcp_poll_for(pair[0], POLLERR));
    TEXT("SO_ERROR", tcp_error(pair[0]));
    CALL("read", read(pair[0], text, 1));
    close(pair[0]);

    tcp_pair(pair);
    close(pair[1]);
    HEX("poll when the peer closed", tcp_poll_for(pair[0], POLLIN));
    CALL("read of the end", read(pair[0], text, 1));
    CALL("the first write goes out", send(pair[0], "x", 1, MSG_NOSIGNAL));
    HEX("and is answered by a reset", tcp_poll_for(pair[0], POLLERR));
    TEXT("which after the peer's end is", tcp_error(pair[0]));
    CALL("the second write", send(pair[0], "x", 1, MSG_NOSIGNAL));
    pipes = 0;
    CALL("with the signal", write(pair[0], "x", 1));
    VALUE("signals", pipes);
    CALL("read in the end", read(pair[0], text, 1));
    close(pair[0]);

    // The bytes before an end are still delivered.
    tcp_pair(pair);
    REQUIRE(write(pair[0], "farewell", 8) == 8);
    close(pair[0]);
    tcp_poll_for(pair[1], POLLRDHUP);
    CALL("read what a closed peer wrote", read(pair[1], text, sizeof text));
    CALL("and the end", read(pair[1], text, sizeof text));
    close(pair[1]);

    struct linger second = {1, 1}, seen;
    socklen_t length = sizeof seen;
    tcp_pair(pair);
    CALL("linger of a second", setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &second, sizeof second));
    CALL("get it", getsockopt(pair[0], SOL_SOCKET, SO_LINGER, &seen, &length));
    check_line("it is", "%d %d", seen.l_onoff, seen.l_linger);
    REQUIRE(write(pair[0], "slow", 4) == 4);
    CALL("close that lingers", close(pair[0]));
    CALL("the bytes are there", read(pair[1], text, sizeof text));
    close(pair[1]);
    int listener = tcp_listener(4);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(fd, listener) == 0);
    tcp_poll_for(listener, POLLIN);
    close(listener);
    HEX("the listener closed before it accepted", tcp_poll_for(fd, POLLERR));
    TEXT("that is", tcp_error(fd));
    close(fd);
    listener = tcp_listener(4);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(fd, listener) == 0);
    REQUIRE(write(fd, "early", 5) == 5);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    tcp_poll_for(listener, POLLIN);
    close(fd);
    int accepted = accept(listener, NULL, NULL);
    CALL_OK("accept of one that was reset", accepted);
    HEX("poll of it", tcp_poll_for(accepted, POLLERR));
    TEXT("SO_ERROR of it", tcp_error(accepted));
    close(accepted);
    // The port of a listener that had connections is free again at once if both have SO_REUSEADDR.
    tcp_set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    struct sockaddr_in address = tcp_name(listener);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(tcp_connect(fd, listener) == 0);
    accepted = accept(listener, NULL, NULL);
    close(accepted);
    char byte;
    REQUIRE(read(fd, &byte, 1) == 0);
    close(fd);
    close(listener);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CALL("bind to a port in TIME_WAIT", bind(fd, (struct sockaddr *)&address, sizeof address));
    tcp_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    CALL("with SO_REUSEADDR", bind(fd, (struct sockaddr *)&address, sizeof address));
    CALL("listen there", listen(fd, 1));
    close(fd);
}

struct waiter {
    int fd;
    int which;
    _Atomic pid_t tid;
    long result;
    int error;
};

static void *wait_there(void *argument) {
    struct waiter *waiter = argument;
    static char block[1 << 16];
    struct pollfd set = {waiter->fd, POLLIN | POLLRDHUP, 0};
    waiter->tid = check_tid();
    char byte;
    switch (waiter->which) {
    case 0:
        waiter->result = read(waiter->fd, &byte, 1);
        break;
    case 1:
        do
            waiter->result = send(waiter->fd, block, sizeof block, MSG_NOSIGNAL);
        while (waiter->result == sizeof block);
        // How much the last one sent before the end is not the same each time.
        if (waiter->result > 0)
            waiter->result = send(waiter->fd, block, 1, MSG_NOSIGNAL);
        break;
    case 2:
        waiter->result = poll(&set, 1, -1);
        waiter->error = set.revents;
        return NULL;
    default:
        waiter->result = accept(waiter->fd, NULL, NULL);
    }
    waiter->error = errno;
    return NULL;
}

static pthread_t start(struct waiter *waiter) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, wait_there, waiter) == 0);
    while (waiter->tid == 0)
        sched_yield();
    check_await_sleeping(waiter->tid);
    return thread;
}

static void finish(const char *name, pthread_t thread, struct waiter *waiter) {
    pthread_join(thread, NULL);
    if (waiter->which == 2)
        check_line(name, "%ld 0x%x", waiter->result, waiter->error);
    else
        check_result(name, waiter->result, waiter->error);
}

static void wakeups(void) {
    static const char *const names[] = {"a blocked read", "a blocked write", "a blocked poll"};
    for (int which = 0; which < 3; which++) {
        for (int end = 0; end < 4; end++) {
            int pair[2];
            tcp_pair(pair);
            struct waiter waiter = {.fd = pair[0], .which = which};
            pthread_t thread = start(&waiter);
            struct linger now = {1, 0};
            const char *what = "";
            switch (end) {
            case 0:
                what = "shutdown here";
                shutdown(pair[0], SHUT_RDWR);
                break;
            case 1:
                what = "reset by the peer";
                setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof now);
                close(pair[1]);
                break;
            case 2:
                what = "shutdown for reading here";
                shutdown(pair[0], which == 1 ? SHUT_WR : SHUT_RD);
                break;
            default:
                what = "end of the peer";
                // A writer that is blocked learns of it as the peer has bytes unread.
                if (which == 1)
                    close(pair[1]);
                else
                    shutdown(pair[1], SHUT_WR);
            }
            char name[80];
            snprintf(name, sizeof name, "%s, %s", names[which], what);
            finish(name, thread, &waiter);
            tcp_close_pair(pair);
        }
    }
    int listener = tcp_listener(1);
    struct waiter waiter = {.fd = listener, .which = 3};
    pthread_t thread = start(&waiter);
    CALL("shutdown of the listener", shutdown(listener, SHUT_RD));
    finish("a blocked accept", thread, &waiter);
    close(listener);
}

int main(void) {
    check_catch(SIGPIPE, count_pipe, 0);
    half_close();
    resets();
    wakeups();
    return 0;
}
